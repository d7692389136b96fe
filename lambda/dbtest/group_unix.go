//go:build unix

package dbtest

import "syscall"

// ownGroup keeps a Ctrl-C in the terminal from a process: it goes to this one, whose end the supervisor then sees.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
