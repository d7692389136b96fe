package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StartPgBouncer starts a PgBouncer, Debian's, in front of a PostgreSQL server, and returns when it answers. settings go
// into its section pgbouncer; database is the line of the one database that it knows, but for host and port of the server.
// users are name and password in turns. Only Host, Port, LogFile and Stop of the Server are of use.
func StartPgBouncer(ctx context.Context, server *Server, database string, settings map[string]string, users ...string) (*Server, error) {
	const program = "/usr/sbin/pgbouncer"
	if _, err := os.Stat(program); err != nil {
		return nil, errors.New("no PgBouncer here; install it with: apt-get install pgbouncer")
	}
	as, err := account("postgres")
	if err != nil {
		return nil, err
	}
	folder, err := newFolder(as)
	if err != nil {
		return nil, err
	}
	pooler := &Server{Host: "127.0.0.1", LogFile: filepath.Join(folder, "log"), ErrorLogFile: filepath.Join(folder, "log"), folder: folder}
	if pooler.Port, err = FreePort(pooler.Host); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	all := map[string]string{
		"listen_addr": pooler.Host, "listen_port": strconv.Itoa(pooler.Port), "unix_socket_dir": "",
		"auth_type": "scram-sha-256", "auth_file": filepath.Join(folder, "users"), "server_tls_sslmode": "prefer",
	}
	for name, value := range settings {
		all[name] = value
	}
	var config, known strings.Builder
	name, rest, _ := strings.Cut(database, " ")
	fmt.Fprintf(&config, "[databases]\n%s = host=%s port=%d %s\n[pgbouncer]\n", name, server.Host, server.Port, rest)
	for name, value := range all {
		fmt.Fprintf(&config, "%s = %s\n", name, value)
	}
	for i := 0; i+1 < len(users); i += 2 {
		fmt.Fprintf(&known, "%q %q\n", users[i], users[i+1])
	}
	file := filepath.Join(folder, "ini")
	err = errors.Join(writeFile(file, config.String(), as), writeFile(all["auth_file"], known.String(), as))
	if err == nil {
		err = pooler.start(ctx, as, "INT", []string{program, file}, func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(pooler.Host, strconv.Itoa(pooler.Port)))
			if err != nil {
				return err
			}
			return conn.Close()
		})
	} else {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return pooler, err
}
