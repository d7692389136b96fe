package road

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"esc-connector-lambda-go/lambda/dbtest"
)

// Engines, as a rotator document names them.
const (
	Postgres = "postgres"
	MySQL    = "mysql"
)

// Server is the machine's server of an engine.
func (m *Machine) Server(engine string) (*dbtest.Server, error) {
	switch engine {
	case Postgres:
		return m.Postgres, nil
	case MySQL:
		return m.MariaDB, nil
	default:
		return nil, fmt.Errorf("no server runs the engine %q; there are %s and %s", engine, Postgres, MySQL)
	}
}

// Users are what a database's administrator makes before the first rotation.
type Users struct {
	Database                         string
	ManagingUser, ManagingPassword   string
	RotateUser1, RotateUser2         string
	RotatePassword1, RotatePassword2 string
}

// Statements are the administrator's SQL, with no more privileges than the README asks for.
func (u Users) Statements(engine string) []string {
	if engine == Postgres {
		name := func(s string) string { return quoted(s, `"`) }
		text := func(s string) string { return text(engine, s) }
		return []string{
			"CREATE DATABASE " + name(u.Database),
			"CREATE ROLE " + name(u.RotateUser1) + " LOGIN PASSWORD " + text(u.RotatePassword1),
			"CREATE ROLE " + name(u.RotateUser2) + " LOGIN PASSWORD " + text(u.RotatePassword2),
			"CREATE ROLE " + name(u.ManagingUser) + " LOGIN CREATEROLE NOINHERIT PASSWORD " + text(u.ManagingPassword),
			"GRANT " + name(u.RotateUser1) + ", " + name(u.RotateUser2) + " TO " + name(u.ManagingUser) + " WITH ADMIN OPTION",
		}
	}
	name := func(s string) string { return quoted(s, "`") }
	text := func(s string) string { return text(engine, s) }
	return []string{
		"CREATE DATABASE " + name(u.Database),
		"CREATE USER " + text(u.RotateUser1) + "@'%' IDENTIFIED BY " + text(u.RotatePassword1),
		"CREATE USER " + text(u.RotateUser2) + "@'%' IDENTIFIED BY " + text(u.RotatePassword2),
		"CREATE USER " + text(u.ManagingUser) + "@'%' IDENTIFIED BY " + text(u.ManagingPassword),
		"GRANT CREATE USER ON *.* TO " + text(u.ManagingUser) + "@'%'",
		"GRANT ALTER ON " + name(u.Database) + ".* TO " + text(u.ManagingUser) + "@'%'",
	}
}

// Login logs in over verified TLS, as an application would, and answers the
// server's refusal as an error.
func (m *Machine) Login(ctx context.Context, engine, user, password string) error {
	database, err := m.open(engine, user, password)
	if err != nil {
		return err
	}
	defer database.Close()
	if err := database.PingContext(ctx); err != nil {
		return fmt.Errorf("logging in to %s as %s: %w", engine, user, err)
	}
	return nil
}

// version is what an engine's server says of itself, such as 15.14.
func (m *Machine) version(ctx context.Context, engine string) (string, error) {
	server, err := m.Server(engine)
	if err != nil {
		return "", err
	}
	database, err := m.open(engine, server.AdminUser, server.AdminPassword)
	if err != nil {
		return "", err
	}
	defer database.Close()
	question := map[string]string{Postgres: "SHOW server_version", MySQL: "SELECT version()"}[engine]
	var version string
	if err := database.QueryRowContext(ctx, question).Scan(&version); err != nil {
		return "", fmt.Errorf("asking the server of %s for its version: %w", engine, err)
	}
	version, _, _ = strings.Cut(version, " ") // 15.14 (Debian 15.14-0+deb12u1)
	return version, nil
}

// open prepares logins over verified TLS.
func (m *Machine) open(engine, user, password string) (*sql.DB, error) {
	pem, err := os.ReadFile(m.CABundle)
	if err != nil {
		return nil, fmt.Errorf("reading the CA bundle: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	terms := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	if engine == Postgres {
		config, err := pgx.ParseConfig("")
		if err != nil {
			return nil, fmt.Errorf("preparing a login to PostgreSQL: %w", err)
		}
		config.Host, config.Port, config.Database = "localhost", uint16(m.Postgres.Port), "postgres"
		config.User, config.Password, config.TLSConfig, config.Fallbacks = user, password, terms, nil
		return stdlib.OpenDB(*config), nil
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", fmt.Sprintf("localhost:%d", m.MariaDB.Port)
	config.User, config.Passwd, config.TLS = user, password, terms
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("preparing a login to MariaDB: %w", err)
	}
	return sql.OpenDB(connector), nil
}
