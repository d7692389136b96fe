// Package dbtest runs real database servers for tests: PostgreSQL by [StartPostgres], MariaDB by [StartMariaDB] and MySQL
// by [StartMySQL], each on a free loopback port, with a data folder of its own that goes when the server goes.
//
// A server ends with [Server.Stop], and also when the process that started it ends, whatever ends it: a shell
// supervises the server and stops it when the pipe to its parent closes; should the shell be killed, the kernel
// stops the server (setpriv's --pdeathsig). Started by root, the servers run as an unprivileged user, since
// PostgreSQL refuses root.
//
// The servers log every statement they are sent, so that a test can read what reached them.
package dbtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Options are the choices for a server. The zero value is a server without TLS, with the settings of its
// distribution, but for the logs.
type Options struct {
	// BinDir is the folder of the server's programs. Default: the system's own.
	BinDir string
	// TLS gives the server a certificate for localhost, 127.0.0.1 and ::1 from a CA of its own, see Server.CAFile.
	// It offers TLS then; to insist on it is up to HBA (PostgreSQL) or require_secure_transport (MariaDB, MySQL).
	TLS bool
	// Hosts are names that the certificate is for, besides those.
	Hosts []string
	// Standby starts PostgreSQL as a read-only replica of nothing: only AdminUser is there, and nothing can be changed.
	Standby bool
	// Settings go into the server's configuration as they are: postgresql.conf, or my.cnf.
	Settings map[string]string
	// HBA are the lines of pg_hba.conf, after one that lets AdminUser in. Default: the server's password_encryption
	// for everyone over TCP. PostgreSQL only.
	HBA []string
	// Addresses are what the server listens on. Default: 127.0.0.1.
	Addresses []string
	// IAM lets users in by a token over TLS, as RDS does: on PostgreSQL the members of a role rds_iam, on MariaDB the accounts that
	// are IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'.
	IAM *IAM
}

// Server is a running database server.
type Server struct {
	// Host and Port are where the server listens.
	Host string
	Port int
	// AdminUser may do anything: PostgreSQL's postgres, root of the others. Its password is random. On PostgreSQL it is the
	// same for all servers whose data is a copy of the same.
	AdminUser, AdminPassword string
	// Authority is the CA that signed the server's certificate, and CAFile its PEM file; nil and "" without TLS.
	Authority *Authority
	CAFile    string
	// LogFile is the file to which the server logs every statement it is sent.
	LogFile string
	// ErrorLogFile is the file of the server's own messages. On PostgreSQL it is LogFile.
	ErrorLogFile string
	// DataDir is the folder of the server's data: binary logs of MariaDB and MySQL lie there, named binlog.000001 and so on.
	DataDir string

	administering sync.Mutex
	session       *pgconn.PgConn // the administrator's, on PostgreSQL

	exec       func(ctx context.Context, statements []string) error
	supervisor *exec.Cmd
	lifeline   *os.File
	folder     string
	tokens     net.Listener // where the server asks about tokens, nil without Options.IAM
}

// Exec runs the statements as the administrator in one session, in the database postgres, or mysql.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	return s.exec(ctx, statements)
}

// PID is the process id of the server, for tests that freeze or look at it.
func (s *Server) PID() (int, error) {
	text, err := os.ReadFile(filepath.Join(s.folder, "pid"))
	if err != nil {
		return 0, fmt.Errorf("reading the server's process id: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Stop ends the server and deletes its data.
func (s *Server) Stop() error {
	if s.session != nil {
		// A server that a test has frozen does not answer.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = s.session.Close(ctx)
		cancel()
	}
	if s.tokens != nil {
		_ = s.tokens.Close()
	}
	if err := s.lifeline.Close(); err != nil {
		return fmt.Errorf("stopping the server on port %d: %w", s.Port, err)
	}
	if err := s.supervisor.Wait(); err != nil {
		return fmt.Errorf("stopping the server on port %d: %w", s.Port, err)
	}
	return nil
}

// listenForTokens has the server's questions about tokens, each on a connection of its own, answered by the IAM of its options,
// until the server stops.
func (s *Server) listenForTokens(iam *IAM, answer func(connection net.Conn, admit func(user, token string) bool)) (port int, err error) {
	if s.tokens, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return 0, err
	}
	go func() {
		for {
			connection, err := s.tokens.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				answer(connection, func(user, token string) bool { return iam.admit(s.Port, user, token) })
			}()
		}
	}()
	return s.tokens.Addr().(*net.TCPAddr).Port, nil
}

// startTimeout bounds a server's way from its start to its first answer.
const startTimeout = 60 * time.Second

// supervise runs the server in $5…, in the folder $1, and ends it with the signal $2 when file descriptor 3, the
// pipe from the parent, closes. The folder goes last.
const supervise = `
folder=$1 signal=$2
shift 2
"$@" </dev/null 3<&- &
server=$!
echo "$server" >"$folder/pid"
(cat <&3 >/dev/null; kill -s "$signal" "$server" 2>/dev/null) &
wait "$server"
echo "$?" >"$folder/exited"
wait
rm -rf "$folder"
`

// account is the unprivileged user that servers run as; nil when this process is unprivileged itself.
func account(names ...string) (*user.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range append(names, "nobody") {
		if found, err := user.Lookup(name); err == nil {
			return found, nil
		}
	}
	return nil, fmt.Errorf("no user to run the server as: none of %s exists here", strings.Join(names, ", "))
}

// command is the line that runs args as the account, and has the kernel send the signal when its parent dies.
func command(as *user.User, signal string, args ...string) []string {
	line := []string{"setpriv", "--pdeathsig", signal}
	if as != nil {
		line = append(line, "--reuid", as.Uid, "--regid", as.Gid, "--clear-groups")
	}
	return append(append(line, "--"), args...)
}

// newFolder makes a folder that the account owns and everyone may enter.
func newFolder(as *user.User) (string, error) {
	folder, err := os.MkdirTemp("", "dbtest-")
	if err != nil {
		return "", err
	}
	return folder, own(folder, as, 0o755)
}

func own(path string, as *user.User, mode os.FileMode) error {
	if as != nil {
		uid, _ := strconv.Atoi(as.Uid)
		gid, _ := strconv.Atoi(as.Gid)
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// writeFile writes a file that the account alone may read.
func writeFile(path, content string, as *user.User) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	return own(path, as, 0o600)
}

// readable is the bin folder, or that of a copy of the installation inside folder where the account could not read the
// original, such as one in root's home.
func readable(ctx context.Context, binDir, program, folder string, as *user.User) (string, error) {
	if as == nil {
		return binDir, nil
	}
	line := command(as, "KILL", "test", "-x", filepath.Join(binDir, program))
	if exec.CommandContext(ctx, line[0], line[1:]...).Run() == nil {
		return binDir, nil
	}
	home := filepath.Join(folder, "install")
	return filepath.Join(home, filepath.Base(binDir)), copyFolder(ctx, filepath.Dir(binDir), home)
}

// prepare runs a program that sets up a server's data, as the account, and shows its output when it fails.
func prepare(ctx context.Context, as *user.User, folder string, args ...string) error {
	line := command(as, "KILL", args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "TMPDIR=" + folder, "LC_ALL=C"}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", args[0], err, output)
	}
	return nil
}

// dataVersion is to be raised when what a server's install function makes changes.
const dataVersion = 1

// makeData has install make a server's data, and keeps a copy in the user's cache folder: the next server's data is a copy of
// that, which takes a fraction of the time. The copy is for the server program of that path, the account, and the options.
func makeData(ctx context.Context, as *user.User, program, dataDir string, options []string, install func() error) error {
	file, err := os.Stat(program)
	if err != nil {
		return err
	}
	cache, err := CacheFolder()
	if err != nil {
		return install()
	}
	owner := "self"
	if as != nil {
		owner = as.Uid
	}
	identity := sha256.Sum256(fmt.Appendf(nil, "%d %s %d %d %s %q", dataVersion, program, file.Size(), file.ModTime().UnixNano(), owner, options))
	kept := filepath.Join(cache, "data", filepath.Base(program)+"-"+hex.EncodeToString(identity[:8]))
	if _, err := os.Stat(kept); err == nil && copyFolder(ctx, kept, dataDir) == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(dataDir), install()); err != nil {
		return err
	}
	// A cache that cannot be written, or that another process has filled meanwhile, is no reason to do without the server.
	_ = keepData(ctx, dataDir, kept)
	return nil
}

// keepData puts a copy of the data at kept, whole or not at all.
func keepData(ctx context.Context, dataDir, kept string) error {
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(filepath.Dir(kept), "partial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	whole := filepath.Join(partial, "data")
	if err := copyFolder(ctx, dataDir, whole); err != nil {
		return err
	}
	return os.Rename(whole, kept)
}

// copyFolder copies a folder with its modes and owners.
func copyFolder(ctx context.Context, from, to string) error {
	if output, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s to %s: %w\n%s", from, to, err, output)
	}
	return nil
}

// start runs the server under its supervisor and waits until ready answers without an error.
func (s *Server) start(ctx context.Context, as *user.User, signal string, args []string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	lifelineEnd, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lifelineEnd.Close()
	errorLog, err := os.OpenFile(s.ErrorLogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return errors.Join(err, lifeline.Close())
	}
	defer errorLog.Close()

	line := append([]string{"-c", supervise, "supervise", s.folder, signal}, command(as, signal, args...)...)
	cmd := exec.Command("/bin/sh", line...)
	cmd.Dir = s.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "TMPDIR=" + s.folder, "LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = errorLog, errorLog
	cmd.ExtraFiles = []*os.File{lifelineEnd}
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return errors.Join(err, lifeline.Close())
	}
	s.supervisor, s.lifeline = cmd, lifeline

	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		code, exited := os.ReadFile(filepath.Join(s.folder, "exited"))
		if exited == nil {
			err = fmt.Errorf("the server ended with code %s", strings.TrimSpace(string(code)))
		}
		if exited == nil || ctx.Err() != nil {
			log, _ := os.ReadFile(s.ErrorLogFile)
			return errors.Join(fmt.Errorf("%w\n%s", err, tail(string(log))), s.Stop())
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
	}
}

// tail is the end of a log, short enough for an error message.
func tail(log string) string {
	const enough = 3000
	if len(log) > enough {
		return log[len(log)-enough:]
	}
	return log
}

// CacheFolder is where this project keeps what takes long to fetch or to make.
func CacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}
	return filepath.Join(cache, "esc-connector-lambda-go"), nil
}

// FreePort is a TCP port that nobody listens on, on any of the addresses, for a server that must be told one. It is below
// those that Linux gives to whoever takes any (ip_local_port_range), or one of them would be gone before the server listens.
func FreePort(addresses ...string) (int, error) {
	var err error
	for range 100 {
		port := 15000 + mathrand.IntN(15000)
		if err = listen(port, addresses); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("looking for a free port of %s: %w", strings.Join(addresses, ", "), err)
}

// listen fails where somebody listens on that port of an address.
func listen(port int, addresses []string) error {
	for _, address := range addresses {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		if err := listener.Close(); err != nil {
			return err
		}
	}
	return nil
}

func randomPassword() string {
	random := make([]byte, 16)
	rand.Read(random) // never fails, says crypto/rand
	return hex.EncodeToString(random)
}
