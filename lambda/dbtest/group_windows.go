package dbtest

import "syscall"

// ownGroup lets the tests compile on Windows, where no server starts: their supervisor is a shell.
func ownGroup() *syscall.SysProcAttr { return nil }
