package dbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// PostgresBinDir is the folder of the programs of a PostgreSQL major version: the system's own (Debian's layout), or
// what install-postgres.sh fetched.
func PostgresBinDir(major int) (string, error) {
	cache, err := CacheFolder()
	if err != nil {
		return "", err
	}
	version := strconv.Itoa(major)
	for _, folder := range []string{
		filepath.Join("/usr/lib/postgresql", version, "bin"),
		filepath.Join(cache, "postgres", version, "bin"),
	} {
		if _, err := os.Stat(filepath.Join(folder, "initdb")); err == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL %d is not installed here; install it with: lambda/dbtest/install-postgres.sh", major)
}

// systemPostgres is the newest PostgreSQL of the system's packages.
func systemPostgres() (string, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(folders) == 0 {
		return "", errors.New("no PostgreSQL server under /usr/lib/postgresql; install it with: apt-get install postgresql")
	}
	major := func(folder string) int {
		number, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
		return number
	}
	return slices.MaxFunc(folders, func(a, b string) int { return major(a) - major(b) }), nil
}

// Psql is PostgreSQL's own client: the program itself where Debian has it, since what stands on PATH there is a wrapper
// in Perl, which takes three times as long to start.
func Psql() string {
	if folder, err := systemPostgres(); err == nil {
		client := filepath.Join(folder, "psql")
		if _, err := os.Stat(client); err == nil {
			return client
		}
	}
	return "psql"
}

// StartPostgres starts a PostgreSQL server, and returns when it answers.
func StartPostgres(ctx context.Context, options Options) (*Server, error) {
	server, err := startPostgres(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return server, nil
}

func startPostgres(ctx context.Context, options Options) (server *Server, err error) {
	if options.BinDir == "" {
		if options.BinDir, err = systemPostgres(); err != nil {
			return nil, err
		}
	}
	if len(options.Addresses) == 0 {
		options.Addresses = []string{"127.0.0.1"}
	}
	as, err := account("postgres")
	if err != nil {
		return nil, err
	}
	folder, err := newFolder(as)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(folder)
		}
	}()
	binDir, err := readable(ctx, options.BinDir, "postgres", folder, as)
	if err != nil {
		return nil, err
	}
	server = &Server{
		Host:         options.Addresses[0],
		AdminUser:    "postgres",
		LogFile:      filepath.Join(folder, "log"),
		ErrorLogFile: filepath.Join(folder, "log"),
		DataDir:      filepath.Join(folder, "data"),
		folder:       folder,
	}
	if server.Port, err = FreePort(options.Addresses...); err != nil {
		return nil, err
	}
	passwordFile := filepath.Join(server.DataDir, "administrator")
	initdb := []string{"--username", server.AdminUser, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"}
	err = makeData(ctx, as, filepath.Join(options.BinDir, "postgres"), server.DataDir, initdb, func() error {
		// initdb wants its folder empty.
		first := filepath.Join(folder, "administrator")
		if err := writeFile(first, randomPassword(), as); err != nil {
			return err
		}
		line := append([]string{filepath.Join(binDir, "initdb"), "--pgdata", server.DataDir, "--pwfile", first}, initdb...)
		return errors.Join(prepare(ctx, as, folder, line...), os.Rename(first, passwordFile))
	})
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, err
	}
	server.AdminPassword = string(password)

	settings := map[string]string{
		"listen_addresses":        quote(strings.Join(options.Addresses, ",")),
		"port":                    strconv.Itoa(server.Port),
		"unix_socket_directories": "''",
		"fsync":                   "off",
		"shared_buffers":          "16MB",
		"log_statement":           "all",
		"log_connections":         "on",
		"log_error_verbosity":     "verbose",
		"password_encryption":     quote("scram-sha-256"),
	}
	if options.TLS {
		files, err := server.writeTLS(folder, options.Hosts, func(path, content string) error { return writeFile(path, content, as) })
		if err != nil {
			return nil, err
		}
		settings["ssl"] = "on"
		settings["ssl_cert_file"] = quote(files.certificate)
		settings["ssl_key_file"] = quote(files.key)
	}
	for name, value := range options.Settings {
		settings[name] = value
	}
	var config strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&config, "%s = %s\n", name, value)
	}
	hba := options.HBA
	if hba == nil {
		hba = []string{"host all all all md5"} // md5 lets a SCRAM verifier in by SCRAM, says the manual's page on pg_hba.conf
	}
	if options.IAM != nil {
		port, err := server.listenForTokens(options.IAM, answerLDAP)
		if err != nil {
			return nil, err
		}
		hba = append([]string{
			fmt.Sprintf("hostssl all +rds_iam all ldap ldapserver=127.0.0.1 ldapport=%d ldapprefix=\"%s\"", port, userPrefix),
			"hostnossl all +rds_iam all reject",
		}, hba...)
	}
	hba = append([]string{"host all " + server.AdminUser + " all md5"}, hba...)
	if err := writeFile(filepath.Join(server.DataDir, "postgresql.conf"), config.String(), as); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(server.DataDir, "pg_hba.conf"), strings.Join(hba, "\n")+"\n", as); err != nil {
		return nil, err
	}

	if options.Standby {
		if err := writeFile(filepath.Join(server.DataDir, "standby.signal"), "", as); err != nil {
			return nil, err
		}
	}

	server.exec = server.execPostgres
	// SIGQUIT is PostgreSQL's immediate shutdown, which frees its shared memory.
	err = server.start(ctx, as, "QUIT", []string{filepath.Join(binDir, "postgres"), "-D", server.DataDir}, func(ctx context.Context) error {
		return server.execPostgres(ctx, []string{"SELECT 1"})
	})
	if err == nil && options.IAM != nil {
		err = server.execPostgres(ctx, []string{"CREATE ROLE rds_iam"})
	}
	return server, err
}

// quote is a string as postgresql.conf writes it.
func quote(value string) string {
	return "'" + strings.ReplaceAll(value, "'", "''") + "'"
}

func (s *Server) execPostgres(ctx context.Context, statements []string) error {
	_, err := s.Query(ctx, statements...)
	return err
}

// Query runs the statements as Exec does, and answers the rows of the last result: a line each, with the columns' text
// between bars. PostgreSQL only. Its callers wait for each other: they share a session, which forgets what they set.
func (s *Server) Query(ctx context.Context, statements ...string) (string, error) {
	s.administering.Lock()
	defer s.administering.Unlock()
	if s.session == nil || s.session.IsClosed() {
		config, err := pgconn.ParseConfig("sslmode=disable")
		if err != nil {
			return "", err
		}
		config.Host, config.Port = s.Host, uint16(s.Port)
		config.User, config.Password, config.Database = s.AdminUser, s.AdminPassword, "postgres"
		if s.session, err = pgconn.ConnectConfig(ctx, config); err != nil {
			return "", err
		}
	}
	var last *pgconn.Result
	for _, statement := range append(statements, "DISCARD ALL") {
		results, err := s.session.Exec(ctx, statement).ReadAll()
		if err != nil {
			return "", fmt.Errorf("%s: %w", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), errors.Join(err, s.session.Close(ctx)))
		}
		if len(results) > 0 && statement != "DISCARD ALL" {
			last = results[len(results)-1]
		}
	}
	if last == nil {
		return "", nil
	}
	var lines []string
	for _, row := range last.Rows {
		lines = append(lines, string(bytes.Join(row, []byte("|"))))
	}
	return strings.Join(lines, "\n"), nil
}
