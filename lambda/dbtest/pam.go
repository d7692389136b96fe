package dbtest

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// AWSAuthenticationPlugin is the name of RDS's plugin for accounts that log in by a token.
const AWSAuthenticationPlugin = "AWSAuthenticationPlugin"

// pamPlugins makes a folder of MariaDB's plugins in which the one for PAM has the name of RDS's plugin, and asks a listener
// at a port whether a token is good. RDS's own is not to be had. Like that one, MariaDB's asks a client for the password in clear
// (pam_use_cleartext_plugin). It leaves PAM to a program beside it, auth_pam_tool, in whose place stands one that passes on
// what it says (plugin/auth_pam/auth_pam.c of MariaDB): PAM itself would cut a token off at 512 bytes.
func pamPlugins(folder string, port int, as *user.User) (string, error) {
	const plugins = "/usr/lib/mysql/plugin" // Debian's place
	ours := filepath.Join(folder, "plugin")
	tools := filepath.Join(ours, "auth_pam_tool_dir")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(plugins, "*.so"))
	if err != nil {
		return "", err
	}
	for _, library := range found {
		if err := os.Symlink(library, filepath.Join(ours, filepath.Base(library))); err != nil {
			return "", err
		}
	}
	library, err := renamed(filepath.Join(plugins, "auth_pam.so"), AWSAuthenticationPlugin)
	if err != nil {
		return "", fmt.Errorf("giving MariaDB's plugin for PAM another name: %w", err)
	}
	if err := os.WriteFile(filepath.Join(ours, pamLibrary), library, 0o755); err != nil {
		return "", err
	}
	// mariadbd waits until all who hold its pipe have ended, and gives its children its signal mask, in which SIGTERM is blocked.
	relay := fmt.Sprintf("#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/%d 4<&0 || exit 1\ncat <&4 >&3 &\ncat <&3\nkill -KILL $!\n", port)
	tool := filepath.Join(tools, "auth_pam_tool")
	if err := os.WriteFile(tool, []byte(relay), 0o755); err != nil {
		return "", err
	}
	for _, path := range []string{ours, tools, tool} {
		if err := own(path, as, 0o755); err != nil {
			return "", err
		}
	}
	return ours, nil
}

// The file of the plugin under its other name, and its variable pam_use_cleartext_plugin.
const pamLibrary, pamCleartext = "aws_auth.so", "awsauthenticationplugin_use_cleartext_plugin"

// renamed is a MariaDB plugin whose name, in its declaration (struct st_maria_plugin of mysql/plugin.h), is another. The new
// name takes the place of the description, which must be as long.
func renamed(file, name string) ([]byte, error) {
	library, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer library.Close()
	symbols, err := library.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	var declaration uint64
	for _, symbol := range symbols {
		if symbol.Name == "_maria_plugin_declarations_" {
			declaration = symbol.Value
		}
	}
	relocations := library.Section(".rela.dyn")
	if declaration == 0 || relocations == nil {
		return nil, errors.New("it declares no plugin, or is no 64-bit library")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const toName, toDescription, entry = 16, 32, 24 // bytes into the declaration, and of a relocation
	addend := map[uint64]uint64{}                   // the place in the file of what a pointer points to
	for at := relocations.Offset; at < relocations.Offset+relocations.Size; at += entry {
		addend[library.ByteOrder.Uint64(content[at:])] = at + 16
	}
	ofName, ofDescription := addend[declaration+toName], addend[declaration+toDescription]
	if ofName == 0 || ofDescription == 0 {
		return nil, errors.New("its declaration has no name or description")
	}
	address := library.ByteOrder.Uint64(content[ofDescription:])
	for _, program := range library.Progs {
		if program.Type != elf.PT_LOAD || address < program.Vaddr || address >= program.Vaddr+program.Filesz {
			continue
		}
		text := content[address-program.Vaddr+program.Off:]
		if end := strings.IndexByte(string(text[:min(len(text), 200)]), 0); end < len(name) {
			return nil, fmt.Errorf("its description has %d bytes", end)
		}
		copy(text, name+"\x00")
		library.ByteOrder.PutUint64(content[ofName:], address)
		return content, nil
	}
	return nil, errors.New("its description is nowhere")
}

// answerPAM is auth_pam_tool's part, for each login: the plugin sends a byte, the user and the service (the account's AS), and
// gives what the client answered to a question. E lets the user in (plugin/auth_pam/auth_pam_tool.h).
func answerPAM(connection net.Conn, admit func(user, token string) bool) {
	from := bufio.NewReader(connection)
	if _, err := from.ReadByte(); err != nil {
		return
	}
	user, userErr := pamText(from)
	service, serviceErr := pamText(from)
	if errors.Join(userErr, serviceErr) != nil || service != "RDS" {
		return
	}
	const conversation, echoOff, success = 'C', 4, 'E'
	question := string(byte(echoOff)) + "Token: "
	if _, err := connection.Write(append([]byte{conversation, 0, byte(len(question))}, question...)); err != nil {
		return
	}
	token, err := pamText(from)
	if err == nil && admit(user, strings.TrimSuffix(token, "\x00")) {
		_, _ = connection.Write([]byte{success})
	}
}

// pamText reads a text after its length.
func pamText(from io.Reader) (string, error) {
	header := make([]byte, 2)
	if _, err := io.ReadFull(from, header); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint16(header))
	_, err := io.ReadFull(from, text)
	return string(text), err
}
