package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/mysql"
)

// The tests of this file run on MySQL itself. It differs from MariaDB in the account's plugin, in the statement that
// changes the password, in a second password, in what it logs, and in the numbers of its errors.

// connects opens sessions over TLS, as an application does.
func connects(t *testing.T, server *dbtest.Server, username, password string) sqldriver.Connector {
	t.Helper()
	config := driver.NewConfig()
	config.Net, config.Addr = "tcp", address(server)
	config.User, config.Passwd, config.TLSConfig, config.Logger = username, password, "skip-verify", &driver.NopLogger{}
	connector, err := driver.NewConnector(config)
	require.NoError(t, err)
	return connector
}

// read is the one value that a query of the administrator answers.
func read(t *testing.T, server *dbtest.Server, query string) (value string) {
	t.Helper()
	database := sql.OpenDB(connects(t, server, server.AdminUser, server.AdminPassword))
	defer database.Close()
	require.NoError(t, database.QueryRowContext(t.Context(), query).Scan(&value))
	return value
}

func logIn(t *testing.T, server *dbtest.Server, username, password string) error {
	t.Helper()
	connection, err := connects(t, server, username, password).Connect(t.Context())
	if err == nil {
		err = connection.Close()
	}
	return err
}

// onMySQL rotates over verified TLS, as the connector does by default.
func onMySQL(t *testing.T, request event.Request) (connector.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return mysql.Rotate(ctx, connector.NewServer(request, trusted), request)
}

func TestMySQLTakesAnyPassword(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{
		"quotes": `it's "quoted" \'twice\' \\ and $more$`, "URL": "a%2Fb#c?d[e]f@g:h/i", "format verbs": "%s%d%v", "spaces": "  in the middle  ",
		"non-ASCII": "Pässwörter-密码-😀", "statement": `'; DROP USER root; --`, "control characters": "tab\tnewline\n\x1a", "90 bytes": strings.Repeat("0123456789", 9),
		"256 bytes": strings.Repeat("01234567", 32),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := newRequest(t, oracle, "%")
			request.RotateUser.NewPassword = event.NewSecret(password)
			outcome, err := onMySQL(t, request)
			require.NoError(t, err)
			assert.Equal(t, connector.Outcome{Proof: connector.ProofDone, Message: "ok"}, outcome)
			user := request.RotateUser.Username
			assert.NoError(t, logIn(t, oracle, user, password))
			assert.Error(t, logIn(t, oracle, user, oldPassword))

			// And as the managing user's.
			manager := request.ManagingUser.Username
			require.NoError(t, oracle.Exec(t.Context(), "ALTER USER "+manager+"@'%' IDENTIFIED BY '"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)+"'"))
			request.ManagingUser.Password = event.NewSecret(password)
			request.RotateUser.NewPassword = event.NewSecret(newPassword)
			_, err = onMySQL(t, request)
			require.NoError(t, err)
			assert.NoError(t, logIn(t, oracle, user, newPassword))
		})
	}
	t.Run("more than its plugin takes", func(t *testing.T) {
		request := newRequest(t, oracle, "%")
		request.RotateUser.NewPassword = event.NewSecret(strings.Repeat("0123456789", 26))
		_, err := onMySQL(t, request)
		assert.ErrorContains(t, err, "256 bytes at the most")
		assert.ErrorContains(t, err, "Nothing was changed")
		assert.NoError(t, logIn(t, oracle, request.RotateUser.Username, oldPassword))
	})
}

func TestMySQLIsRotatedWithoutTLS(t *testing.T) {
	t.Parallel()
	request := newRequest(t, oracle, "%")
	// rotate's terms are plain text: MySQL then gives its public key, by which the password is encrypted.
	for _, password := range []string{newPassword, "Another-Secret-4"} {
		request.RotateUser.NewPassword = event.NewSecret(password)
		outcome, err := rotate(t, request)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		assert.NoError(t, logIn(t, oracle, request.RotateUser.Username, password))
	}
}

// record passes connections on to the server. What it returns waits until the client has ended them all, and answers
// all that it sent.
func record(t *testing.T, server *dbtest.Server) (port int, sent func() []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	var lock sync.Mutex
	var all bytes.Buffer
	accepting := make(chan struct{})
	var clients sync.WaitGroup
	go func() {
		defer close(accepting)
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", address(server))
			if err != nil {
				client.Close()
				return
			}
			clients.Go(func() {
				var one bytes.Buffer
				_, _ = io.Copy(upstream, io.TeeReader(client, &one))
				upstream.Close()
				lock.Lock()
				defer lock.Unlock()
				all.Write(one.Bytes())
			})
			go func() { _, _ = io.Copy(client, upstream); client.Close() }()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port, func() []byte {
		listener.Close()
		<-accepting
		clients.Wait()
		return all.Bytes()
	}
}

// MySQL asks for the whole password of an account that nobody has logged in to, and for a digest later.
func TestMySQLLogsInToAnAccountThatItDoesNotRememberAndToOneThatItDoes(t *testing.T) {
	t.Parallel()
	for mode, terms := range map[string]*connector.TLS{"verify-full": trusted, "require": {}, "disable": nil} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			request := newRequest(t, oracle, "%")
			var lengths []int
			for range 2 {
				through := request
				port, sent := record(t, oracle)
				through.Port = port
				outcome, err := mysql.DryRun(ctx, connector.NewServer(through, terms), through)
				require.NoError(t, err)
				assert.Contains(t, outcome.Message, `logged in as "manager_`)
				wire := sent()
				lengths = append(lengths, len(wire))
				assert.False(t, bytes.Contains(wire, []byte(managerPassword)), "the managing password went over the wire in clear")
				if mode == "disable" {
					assert.True(t, bytes.Contains(wire, []byte(request.ManagingUser.Username)), "what went over the wire is seen")
				}
			}
			if mode == "disable" {
				assert.Greater(t, lengths[0], lengths[1]+200, "the first login sends the password encrypted with RSA, the second does not")
			}
			request.ManagingUser.Password = event.NewSecret("wrong")
			_, err := mysql.DryRun(ctx, connector.NewServer(request, terms), request)
			assert.ErrorContains(t, err, "1045")
		})
	}
}

func TestPasswordNeverReachesMySQLsLogs(t *testing.T) {
	t.Parallel()
	request := newRequest(t, oracle, "%")
	const unmistakable = "Xq7-unmistakable-Zw9"
	request.RotateUser.NewPassword = event.NewSecret(unmistakable)
	_, err := onMySQL(t, request)
	require.NoError(t, err)
	logs, err := filepath.Glob(filepath.Join(oracle.DataDir, "binlog.0*"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, log := range append(logs, oracle.LogFile, oracle.ErrorLogFile) {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.NotContains(t, string(text), unmistakable, log)
		if log == oracle.LogFile {
			assert.Contains(t, string(text), "ALTER USER IF EXISTS '"+request.RotateUser.Username+"'@'%' IDENTIFIED BY <secret>")
		}
	}
}

func TestMySQLKeepsThePluginAndLosesASecondPassword(t *testing.T) {
	t.Parallel()
	request := newRequest(t, oracle, "%")
	user := request.RotateUser.Username
	require.NoError(t, oracle.Exec(t.Context(), "ALTER USER "+user+"@'%' IDENTIFIED WITH sha256_password BY '"+oldPassword+"'"))
	outcome, err := onMySQL(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	assert.Equal(t, "sha256_password", read(t, oracle, "SELECT plugin FROM mysql.user WHERE User = '"+user+"'"))

	second := newRequest(t, oracle, "%")
	user = second.RotateUser.Username
	require.NoError(t, oracle.Exec(t.Context(), "ALTER USER "+user+"@'%' IDENTIFIED BY 'Between-Secret-5' RETAIN CURRENT PASSWORD"))
	require.NoError(t, logIn(t, oracle, user, oldPassword), "both are valid")
	outcome, err = onMySQL(t, second)
	require.NoError(t, err)
	assert.Empty(t, outcome.Note)
	assert.NoError(t, logIn(t, oracle, user, newPassword))
	assert.Error(t, logIn(t, oracle, user, oldPassword))
	assert.Error(t, logIn(t, oracle, user, "Between-Secret-5"))
}

func TestMySQLsModesDoNotMatter(t *testing.T) {
	server, err := dbtest.StartMySQL(t.Context(), dbtest.Options{TLS: true, Settings: map[string]string{
		"sql_mode": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT", "require_secure_transport": "ON", "character_set_server": "latin1"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	terms := trust(t, server)
	for _, password := range []string{`back\slash\\`, `it's`, `"quoted"`, `\'; DROP USER root; --`, "ümlaut-密码"} {
		request := newRequest(t, server, "%")
		request.RotateUser.NewPassword = event.NewSecret(password)
		outcome, err := mysql.Rotate(t.Context(), connector.NewServer(request, terms), request)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		assert.NoError(t, logIn(t, server, request.RotateUser.Username, password))
	}
	request := newRequest(t, server, "%")
	_, err = rotate(t, request)
	assert.ErrorContains(t, err, "the server wants TLS (require_secure_transport) (error 3159)")
	assert.ErrorContains(t, err, "databaseSslMode to verify-full")

	// The same server with a password policy.
	require.NoError(t, server.Exec(t.Context(), "INSTALL COMPONENT 'file://component_validate_password'", "SET GLOBAL validate_password.length = 14"))
	request.RotateUser.NewPassword = event.NewSecret("Short-1")
	_, err = mysql.Rotate(t.Context(), connector.NewServer(request, terms), request)
	for _, part := range []string{"does not satisfy the server's password policy (error 1819)", "validate_password.length = 14", "Nothing was changed"} {
		assert.ErrorContains(t, err, part)
	}

	// The same server as a replica.
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL super_read_only = ON"))
	request.RotateUser.NewPassword = event.NewSecret("Long-Enough-Secret-1")
	_, err = mysql.Rotate(t.Context(), connector.NewServer(request, terms), request)
	assert.ErrorContains(t, err, "the server is read-only")
	assert.ErrorContains(t, err, "writer endpoint")

	// As RDS has its replicas. A dry run sees it, and that it does not hold for who is above it.
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL super_read_only = OFF"))
	_, err = mysql.DryRun(t.Context(), connector.NewServer(request, terms), request)
	assert.ErrorContains(t, err, "the server is read-only")
	require.NoError(t, server.Exec(t.Context(), "GRANT CONNECTION_ADMIN ON *.* TO "+request.ManagingUser.Username+"@'%'"))
	outcome, err := mysql.DryRun(t.Context(), connector.NewServer(request, terms), request)
	require.NoError(t, err)
	assert.Contains(t, outcome.Message, "the managing user may change users")
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL read_only = OFF"))
}

func TestMySQLsRefusalsNameTheStageAndTheFixAndChangeNothing(t *testing.T) {
	t.Parallel()
	state := func(t *testing.T, user string) string { return fmt.Sprint(logIn(t, oracle, user, oldPassword)) }
	refused(t, oracle, onMySQL, state, refusals)
	refused(t, oracle, onMySQL, state, map[string]refusal{
		"a system user": {
			prepare: func(r *event.Request) []string {
				return []string{"GRANT SYSTEM_USER ON *.* TO " + r.RotateUser.Username + "@'%'"}
			},
			stage: connector.StageChange, says: []string{"1227", "system user", "GRANT SYSTEM_USER ON *.* TO 'manager_"},
		},
		"an account whose plugin MySQL no longer has": {
			prepare: func(r *event.Request) []string { return withoutPlugin(r.RotateUser.Username) },
			stage:   connector.StageChange, says: []string{"1524", "plugin is not loaded", "IDENTIFIED WITH caching_sha2_password", "'user_"},
		},
		"a managing user whose plugin MySQL no longer has": {
			prepare: func(r *event.Request) []string { return withoutPlugin(r.ManagingUser.Username) },
			stage:   connector.StageLogin, says: []string{"1524", "plugin is not loaded", "IDENTIFIED WITH caching_sha2_password", "'manager_"},
		},
		"a managing user whose password has expired": {
			prepare: func(r *event.Request) []string {
				return []string{"ALTER USER " + r.ManagingUser.Username + "@'%' PASSWORD EXPIRE"}
			},
			stage: connector.StageLogin, says: []string{"has expired"},
		},
	})
}

// withoutPlugin leaves an account as an upgrade from MySQL 8.0 does, where mysql_native_password was its plugin.
func withoutPlugin(user string) []string {
	return []string{"UPDATE mysql.user SET plugin = 'mysql_native_password' WHERE User = '" + user + "'", "FLUSH PRIVILEGES"}
}

func TestMySQLsAccountThatCannotLogInIsChangedAndNotProved(t *testing.T) {
	t.Parallel()
	for attribute, fix := range map[string]string{"ACCOUNT LOCK": "ACCOUNT UNLOCK", "REQUIRE X509": "client certificate"} {
		request := newRequest(t, oracle, "%")
		require.NoError(t, oracle.Exec(t.Context(), "ALTER USER "+request.RotateUser.Username+"@'%' "+attribute))
		_, err := onMySQL(t, request)
		assert.ErrorContains(t, err, "The password was changed, but a login with it did not succeed")
		assert.ErrorContains(t, err, fix)
	}
}

func TestMySQLIsRotatedByManyAtOnce(t *testing.T) {
	t.Parallel()
	manyAtOnce(t, oracle, onMySQL)
}

func TestChangeThatMySQLCouldNotMakeInTimeIsNotMadeLater(t *testing.T) {
	// Not parallel: the lock stops every change on the server.
	request := newRequest(t, oracle, "%")
	holder, err := connects(t, oracle, oracle.AdminUser, oracle.AdminPassword).Connect(t.Context())
	require.NoError(t, err)
	_, err = holder.(sqldriver.ExecerContext).ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err = mysql.Rotate(ctx, connector.NewServer(request, trusted), request)
	assert.ErrorContains(t, err, "kept it locked")
	assert.ErrorContains(t, err, "Nothing was changed")
	require.NoError(t, holder.Close())
	time.Sleep(500 * time.Millisecond) // a change that still waits would be made now
	assert.NoError(t, logIn(t, oracle, request.RotateUser.Username, oldPassword))
	_, err = mysql.Rotate(t.Context(), connector.NewServer(request, trusted), request)
	assert.NoError(t, err)
}

func TestDryRunOnMySQL(t *testing.T) {
	t.Parallel()
	request := newRequest(t, oracle, "%")
	outcome, err := mysql.DryRun(t.Context(), connector.NewServer(request, trusted), request)
	require.NoError(t, err)
	version, _, _ := strings.Cut(read(t, oracle, "SELECT VERSION()"), "-")
	for _, part := range []string{"; MySQL " + version + ";", `logged in as "manager_`, "the managing user may change users", "issued by", "'@'%' exists and may be changed"} {
		assert.Contains(t, outcome.Message, part)
	}
	assert.NoError(t, logIn(t, oracle, request.RotateUser.Username, oldPassword))
}
