package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// database is one of the two engines, as the tests that both share see it.
type database struct {
	*dbtest.Server
	kind string // the wire's type
	// createManager and createUser make a managing user, with no privilege beyond what the README asks for, and a user
	// that it may change.
	createManager, createUser func(t *testing.T, username, password string)
	// login is the login of an ordinary client, not of ours: psql or mariadb.
	login func(t *testing.T, username, password string) error
}

const databaseName = "app"

// Both servers insist on TLS, run once for all tests of the package, and end with it.
var (
	postgresServer, mariaDBServer *dbtest.Server
	serial                        atomic.Int64
	testFolder                    string // goes with the tests
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// addresses are what both servers listen on. Their certificates name the first.
var addresses = []string{"127.0.0.1", "127.0.0.2"}

func run(m *testing.M) int {
	ctx := context.Background()
	var starts sync.WaitGroup
	var postgresErr, mariaDBErr error
	starts.Go(func() {
		postgresServer, postgresErr = dbtest.StartPostgres(ctx, dbtest.Options{TLS: true, Addresses: addresses, Hosts: []string{"*.test"}, IAM: postgresIAM, HBA: []string{"hostssl all all all scram-sha-256"}})
	})
	starts.Go(func() {
		mariaDBServer, mariaDBErr = dbtest.StartMariaDB(ctx, dbtest.Options{TLS: true, Addresses: addresses, Hosts: []string{"*.test"}, IAM: mariaDBIAM, Settings: map[string]string{"require_secure_transport": "ON"}})
	})
	starts.Wait()
	for _, server := range []*dbtest.Server{postgresServer, mariaDBServer} {
		if server != nil {
			defer server.Stop()
		}
	}
	for _, err := range []error{postgresErr, mariaDBErr} {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	for _, server := range []*dbtest.Server{postgresServer, mariaDBServer} {
		if err := server.Exec(ctx, "CREATE DATABASE "+databaseName); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	var err error
	if testFolder, err = os.MkdirTemp("", "connector-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(testFolder)
	if err := trust(filepath.Join(testFolder, "ca.pem"), postgresServer, mariaDBServer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := resolveHere(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// trust makes the CAs of the servers the ones that the connector is given.
func trust(file string, servers ...*dbtest.Server) error {
	var all []byte
	for _, server := range servers {
		pem, err := os.ReadFile(server.CAFile)
		if err != nil {
			return err
		}
		all = append(all, pem...)
	}
	if err := os.WriteFile(file, all, 0o644); err != nil {
		return err
	}
	return os.Setenv(connector.SSLRootCertVariable, file)
}

func postgresDatabase() database {
	server := postgresServer
	return database{
		Server: server, kind: event.TypePostgres,
		createManager: func(t *testing.T, username, password string) {
			require.NoError(t, server.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN CREATEROLE PASSWORD %s", sqlName(username), sqlText(password))))
		},
		createUser: func(t *testing.T, username, password string) {
			require.NoError(t, server.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD %s", sqlName(username), sqlText(password))))
		},
		login: func(t *testing.T, username, password string) error {
			return psql(t, server, username, password, "SELECT 1")
		},
	}
}

func mariaDBDatabase() database {
	server := mariaDBServer
	return database{
		Server: server, kind: event.TypeMySQL,
		createManager: func(t *testing.T, username, password string) {
			account := sqlAccount(username)
			require.NoError(t, server.Exec(t.Context(),
				fmt.Sprintf("CREATE USER %s IDENTIFIED BY %s", account, strings.TrimPrefix(sqlText(password), "E")),
				fmt.Sprintf("GRANT CREATE USER ON *.* TO %s", account), fmt.Sprintf("GRANT ALTER ON %s.* TO %s", databaseName, account)))
		},
		createUser: func(t *testing.T, username, password string) {
			require.NoError(t, server.Exec(t.Context(), fmt.Sprintf("CREATE USER %s IDENTIFIED BY %s", sqlAccount(username), strings.TrimPrefix(sqlText(password), "E"))))
		},
		login: func(t *testing.T, username, password string) error {
			name, _ := event.SplitAccount(username)
			return mariadb(t, server, name, password)
		},
	}
}

// onBoth runs a test on both engines.
func onBoth(t *testing.T, test func(t *testing.T, db database)) {
	t.Parallel()
	for name, db := range map[string]database{"postgres": postgresDatabase(), "mariadb": mariaDBDatabase()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, db)
		})
	}
}

func sqlName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// sqlText is a literal in the default modes: MariaDB knows the backslash, and PostgreSQL's E'…' does.
func sqlText(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

func sqlAccount(username string) string {
	name, host := username, "%"
	if at := strings.LastIndex(username, "@"); at >= 0 {
		name, host = username[:at], username[at+1:]
	}
	return strings.TrimPrefix(sqlText(name), "E") + "@" + strings.TrimPrefix(sqlText(host), "E")
}

// psql logs in with PostgreSQL's own client and runs a statement.
func psql(t *testing.T, server *dbtest.Server, username, password, statement string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), dbtest.Psql(), "--no-psqlrc", "--no-password", "--command", statement)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGHOST=" + server.Host, "PGPORT=" + strconv.Itoa(server.Port),
		"PGUSER=" + username, "PGPASSWORD=" + password, "PGDATABASE=" + databaseName, "PGCONNECT_TIMEOUT=20"}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w\n%s", err, output)
	}
	return nil
}

// mariadb logs in with MariaDB's own client.
func mariadb(t *testing.T, server *dbtest.Server, username, password string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "mariadb", "--no-defaults", "--protocol=tcp", "--ssl", "--host", server.Host, "--port", strconv.Itoa(server.Port),
		"--user", username, "--execute", "SELECT 1")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "MYSQL_PWD=" + password}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb: %w\n%s", err, output)
	}
	return nil
}

// unique makes a name that no other test uses.
func unique(prefix string) string { return fmt.Sprintf("%s_%d", prefix, serial.Add(1)) }

// wire is an event, as ESC writes it.
type wire map[string]any

func (e wire) with(field string, value any) wire {
	changed := wire{}
	for name, old := range e {
		changed[name] = old
	}
	part, rest, nested := strings.Cut(field, ".")
	if nested {
		object := map[string]any{}
		for name, old := range changed[part].(map[string]any) {
			object[name] = old
		}
		object[rest] = value
		if value == nil {
			delete(object, rest)
		}
		value = object
	}
	changed[part] = value
	if value == nil {
		delete(changed, part)
	}
	return changed
}

const managerPassword, oldPassword, newPassword = "Manager-Secret-1", "Old-Secret-2", "New-Secret-3"

// rotation makes a managing user and a user, and is the event that rotates the latter.
func rotation(t *testing.T, db database) wire {
	manager, user := unique("manager"), unique("user")
	db.createManager(t, manager, managerPassword)
	db.createUser(t, user, oldPassword)
	return rotationOf(db, manager, user)
}

func rotationOf(db database, manager, user string) wire {
	return wire{
		"type": db.kind, "host": db.Host, "port": db.Port, "database": databaseName,
		"managingUser": map[string]any{"username": manager, "password": managerPassword},
		"rotateUser":   map[string]any{"username": user, "password": oldPassword, "newPassword": newPassword},
	}
}

// answer is what came of an event: the wire's answer, and the log's line.
type answer struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Warning string `json:"warning"`
	log     map[string]any
	raw     string // everything that left: the answer and the log
}

// invoke sends an event to a handler, with a deadline as Lambda's.
func invoke(t *testing.T, event wire, timeout time.Duration) answer {
	t.Helper()
	return invokeWith(t, engines, event, timeout)
}

func invokeWith(t *testing.T, engines map[string]Engine, event wire, timeout time.Duration) answer {
	t.Helper()
	text, err := json.Marshal(event)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var log bytes.Buffer
	handler := &Handler{Log: slog.New(slog.NewJSONHandler(&log, nil)), Engines: engines}
	reply, err := handler.Invoke(ctx, text)
	require.NoError(t, err)
	require.NoError(t, ctx.Err(), "the answer came after the deadline: %s", reply)
	result := answer{raw: string(reply) + "\n" + log.String()}
	require.NoError(t, json.Unmarshal(reply, &result))
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &result.log))
	return result
}

// plenty is a deadline that no test of a working rotation should come near.
const plenty = 30 * time.Second
