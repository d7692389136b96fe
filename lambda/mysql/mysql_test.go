package mysql_test

import (
	"bytes"
	"context"
	"crypto/tls"
	sqldriver "database/sql/driver"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

var (
	// plain is MariaDB as it comes; odd has other modes, and a password check that refuses hashes; both without TLS.
	plain, odd *dbtest.Server
	// oracle is MySQL, and trusted are the terms on which its certificate is verified.
	oracle  *dbtest.Server
	trusted *connector.TLS
	serial  atomic.Int64
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// The terms of the servers that tests play, on which a token goes out.
var (
	playedTLS   *tls.Config
	playedTerms *connector.TLS
)

func run(m *testing.M) int {
	var err error
	if playedTLS, playedTerms, err = dbtest.VerifiedTLS(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for variable, value := range map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"} {
		if err := os.Setenv(variable, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" { // a fuzz test plays its servers, in many processes
		return m.Run()
	}
	ctx := context.Background()
	var starts sync.WaitGroup
	var plainErr, oddErr, oracleErr error
	starts.Go(func() { plain, plainErr = dbtest.StartMariaDB(ctx, dbtest.Options{}) })
	starts.Go(func() {
		odd, oddErr = dbtest.StartMariaDB(ctx, dbtest.Options{Settings: map[string]string{"sql_mode": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,NO_AUTO_CREATE_USER"}})
	})
	starts.Go(func() { oracle, oracleErr = dbtest.StartMySQL(ctx, dbtest.Options{TLS: true}) })
	starts.Wait()
	for _, server := range []*dbtest.Server{plain, odd, oracle} {
		if server != nil {
			defer server.Stop()
		}
	}
	for _, err := range []error{plainErr, oddErr, oracleErr} {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	for _, server := range []*dbtest.Server{plain, odd, oracle} {
		if err := server.Exec(ctx, "CREATE DATABASE app"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if trusted, err = verifying(oracle); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// verifying are the terms on which the server's certificate is verified.
func verifying(server *dbtest.Server) (*connector.TLS, error) {
	for name, value := range map[string]string{connector.SSLModeVariable: "verify-full", connector.SSLRootCertVariable: server.CAFile} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
		defer os.Unsetenv(name)
	}
	return connector.ReadTLS()
}

func trust(t *testing.T, server *dbtest.Server) *connector.TLS {
	t.Helper()
	terms, err := verifying(server)
	require.NoError(t, err)
	return terms
}

const managerPassword, oldPassword, newPassword = "Manager-Secret-1", "Old-Secret-2", "New-Secret-3"

// newRequest makes a managing user with no privilege beyond those that are asked for, and a user for the host, and is
// the request that rotates the latter, without its host.
func newRequest(t *testing.T, server *dbtest.Server, host string) event.Request {
	t.Helper()
	number := serial.Add(1)
	manager, user := fmt.Sprintf("manager_%d", number), fmt.Sprintf("user_%d", number)
	require.NoError(t, server.Exec(t.Context(),
		fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", manager, managerPassword),
		fmt.Sprintf("GRANT CREATE USER ON *.* TO %s@'%%'", manager), fmt.Sprintf("GRANT ALTER ON app.* TO %s@'%%'", manager),
		fmt.Sprintf("CREATE USER %s@'%s' IDENTIFIED BY '%s'", user, host, oldPassword)))
	return requestOf(server, manager, user)
}

func requestOf(server *dbtest.Server, manager, user string) event.Request {
	return event.Request{
		Type: event.TypeMySQL, Host: server.Host, Port: server.Port, Database: "app",
		ManagingUser: &event.ManagingUser{Username: manager, Password: event.NewSecret(managerPassword)},
		RotateUser:   &event.RotateUser{Username: user, NewPassword: event.NewSecret(newPassword)},
	}
}

func address(server *dbtest.Server) string {
	return net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
}

func rotate(t *testing.T, request event.Request) (connector.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return mysql.Rotate(ctx, connector.NewServer(request, nil), request)
}

func dryRun(t *testing.T, request event.Request) (connector.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return mysql.DryRun(ctx, connector.NewServer(request, nil), request)
}

// client runs a statement with MariaDB's own client.
func client(t *testing.T, server *dbtest.Server, username, password, statement string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "mariadb", "--no-defaults", "--protocol=tcp", "--skip-column-names", "--batch", "--host", server.Host,
		"--port", strconv.Itoa(server.Port), "--user", username, "--execute", statement)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "MYSQL_PWD=" + password}
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func stored(t *testing.T, server *dbtest.Server, username string) string {
	t.Helper()
	output, err := client(t, server, server.AdminUser, server.AdminPassword, "SELECT Host, Priv FROM mysql.global_priv WHERE User = '"+username+"' ORDER BY Host")
	require.NoError(t, err, output)
	return output
}

func TestServersModesDoNotMatter(t *testing.T) {
	t.Parallel()
	for _, password := range []string{`back\slash\\`, `it's`, `"quoted"`, `\'; DROP USER root; --`, "newline\n", `trailing\`} {
		request := newRequest(t, odd, "%")
		request.RotateUser.NewPassword = event.NewSecret(password)
		outcome, err := rotate(t, request)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		_, err = client(t, odd, request.RotateUser.Username, password, "SELECT 1")
		assert.NoError(t, err)
	}
}

func TestPasswordNeverReachesMariaDBsLogs(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	const unmistakable = "Xq7-unmistakable-Zw9"
	request.RotateUser.NewPassword = event.NewSecret(unmistakable)
	_, err := rotate(t, request)
	require.NoError(t, err)
	logs, err := filepath.Glob(filepath.Join(plain.DataDir, "binlog.0*"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	// The hash is MariaDB's own.
	hash, err := client(t, plain, plain.AdminUser, plain.AdminPassword, "SELECT PASSWORD(CONCAT('Xq7-unmis', 'takable-Zw9'))")
	require.NoError(t, err)
	found := 0
	for _, file := range append(logs, plain.LogFile, plain.ErrorLogFile) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.False(t, bytes.Contains(content, []byte(unmistakable)), "%s holds the new password", file)
		if bytes.Contains(content, []byte("IDENTIFIED BY PASSWORD '"+hash+"'")) {
			found++
		}
	}
	assert.Equal(t, 2, found, "the change is not in both the general and the binary log")
}

func TestAccountGrammar(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host   string // of the account
		suffix string // of the username in the request
		proof  connector.Proof
	}{
		"no host is any host":    {host: "%", suffix: "", proof: connector.ProofDone},
		"the host is named":      {host: "127.0.0.1", suffix: "@127.0.0.1", proof: connector.ProofDone},
		"a pattern":              {host: "127.0.%", suffix: "@127.0.%", proof: connector.ProofDone},
		"a network":              {host: "127.0.0.0/255.255.255.0", suffix: "@127.0.0.0/255.255.255.0", proof: connector.ProofDone},
		"another host":           {host: "10.0.%", suffix: "@10.0.%", proof: connector.ProofSkipped},
		"another network":        {host: "10.1.0.0/255.255.0.0", suffix: "@10.1.0.0/255.255.0.0", proof: connector.ProofSkipped},
		"a name of another host": {host: "app.example", suffix: "@app.example", proof: connector.ProofSkipped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := newRequest(t, plain, c.host)
			user := request.RotateUser.Username
			request.RotateUser.Username += c.suffix
			for range 2 {
				outcome, err := rotate(t, request)
				require.NoError(t, err)
				assert.Equal(t, c.proof, outcome.Proof, outcome.Note)
			}
			hash, err := client(t, plain, plain.AdminUser, plain.AdminPassword, "SELECT PASSWORD('"+newPassword+"')")
			require.NoError(t, err)
			assert.Contains(t, stored(t, plain, user), hash)
		})
	}
}

func TestNameWithAnAtDividesAtTheLastOne(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	name := "ops@corp" + request.RotateUser.Username
	require.NoError(t, plain.Exec(t.Context(), "CREATE USER '"+name+"'@'%' IDENTIFIED BY 'old'"))
	request.RotateUser.Username = name + "@%"
	outcome, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	_, err = client(t, plain, name, newPassword, "SELECT 1")
	assert.NoError(t, err)
}

func TestOnlyTheNamedAccountIsChanged(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	user := request.RotateUser.Username
	require.NoError(t, plain.Exec(t.Context(), "CREATE USER "+user+"@'10.9.9.9' IDENTIFIED BY 'other'"))
	before := strings.Split(stored(t, plain, user), "\n")[1]
	_, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, before, strings.Split(stored(t, plain, user), "\n")[1])
}

func TestShadowedAccountIsNotTakenForProved(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	user := request.RotateUser.Username
	require.NoError(t, plain.Exec(t.Context(), "CREATE USER "+user+"@'127.0.0.1' IDENTIFIED BY '"+newPassword+"'"))
	outcome, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofSkipped, outcome.Proof)
	assert.Contains(t, outcome.Note, "shadows")
}

// refusal is what the database refuses: how it comes to that, and what the failure says.
type refusal struct {
	prepare func(request *event.Request) []string // statements of the administrator
	stage   connector.Stage
	says    []string
}

// refusals are those of MariaDB and MySQL alike.
var refusals = map[string]refusal{
	"an account that is not there": {
		prepare: func(r *event.Request) []string { r.RotateUser.Username = "user2"; return nil },
		stage:   connector.StageChange, says: []string{"'user2'@'%'", "no such account", "rotateUser.username is what the template fills in"},
	},
	"an account of another host": {
		prepare: func(r *event.Request) []string { r.RotateUser.Username += "@localhost"; return nil },
		stage:   connector.StageChange, says: []string{"@'localhost'", "no such account"},
	},
	"a managing user without CREATE USER": {
		prepare: func(r *event.Request) []string {
			return []string{"REVOKE CREATE USER ON *.* FROM " + r.ManagingUser.Username + "@'%'"}
		},
		stage: connector.StageChange, says: []string{"GRANT CREATE USER ON *.* TO 'manager_"},
	},
	"a wrong managing password": {
		prepare: func(r *event.Request) []string {
			r.ManagingUser.Password = event.NewSecret("manager_password")
			return nil
		},
		stage: connector.StageLogin, says: []string{"1045", "managingUser.password is what the template fills in"},
	},
	"a managing user that is not there": {
		prepare: func(r *event.Request) []string { r.ManagingUser.Username = "managing_user"; return nil },
		stage:   connector.StageLogin, says: []string{"1045", "managingUser.username is what the template fills in"},
	},
	"a managing user that is locked": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER USER " + r.ManagingUser.Username + "@'%' ACCOUNT LOCK"}
		},
		stage: connector.StageLogin, says: []string{"locked", "ACCOUNT UNLOCK"},
	},
	"an account in quotes": {
		prepare: func(r *event.Request) []string {
			r.RotateUser.Username = "'" + r.RotateUser.Username + "'@'%'"
			return nil
		},
		stage: connector.StageChange, says: []string{"no such account", "rotateUser.username is in quotes", `write "user_`},
	},
	"a managing user that is its own target, in quotes": { // the server takes them off the name that logs in
		prepare: func(r *event.Request) []string {
			r.RotateUser.Username = r.ManagingUser.Username
			r.ManagingUser.Username = "'" + r.ManagingUser.Username + "'@'%'"
			return nil
		},
		stage: connector.StageCheck, says: []string{"managingUser and rotateUser name the same user", "lock the connector out"},
	},
	"a managing user that is its own target, in another case": {
		prepare: func(r *event.Request) []string {
			r.RotateUser.Username = strings.ToUpper(r.ManagingUser.Username)
			return nil
		},
		stage: connector.StageCheck, says: []string{"differ in quotes or case alone", "lock the connector out"},
	},
	"a name longer than any": {
		prepare: func(r *event.Request) []string { r.RotateUser.Username = strings.Repeat("long", 40); return nil },
		stage:   connector.StageChange, says: []string{"error 1470", "longer than an account's can be"},
	},
	"a managing user that may ask no more": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER USER " + r.ManagingUser.Username + "@'%' WITH MAX_QUERIES_PER_HOUR 1"}
		},
		stage: connector.StageCheck, says: []string{"error 1226", "MAX_QUERIES_PER_HOUR", "Raise the account's limits"},
	},
	"a database that is not there": {
		prepare: func(r *event.Request) []string {
			r.Database = "rotator_db"
			return []string{"GRANT ALTER ON rotator_db.* TO " + r.ManagingUser.Username + "@'%'"}
		},
		stage: connector.StageLogin, says: []string{"1049", `"rotator_db"`, "database is what the template fills in"},
	},
	"a database without rights": {
		prepare: func(r *event.Request) []string { r.Database = "mysql"; return nil },
		stage:   connector.StageLogin, says: []string{"1044", "GRANT ALTER ON `mysql`.* TO 'manager_"},
	},
}

// refused runs rotations that the server refuses. state is what must stay as it is of a user.
func refused(t *testing.T, server *dbtest.Server, rotate func(*testing.T, event.Request) (connector.Outcome, error),
	state func(t *testing.T, user string) string, cases map[string]refusal) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := newRequest(t, server, "%")
			user := request.RotateUser.Username
			if statements := c.prepare(&request); statements != nil {
				require.NoError(t, server.Exec(t.Context(), statements...))
			}
			before := state(t, user)
			_, err := rotate(t, request)
			var failure *connector.Failure
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, c.stage, failure.Stage, err)
			assert.Equal(t, connector.Unchanged, failure.State, err)
			for _, part := range c.says {
				assert.ErrorContains(t, err, part)
			}
			assert.Equal(t, before, state(t, user))
		})
	}
}

func TestRefusalsNameTheStageAndTheFixAndChangeNothing(t *testing.T) {
	t.Parallel()
	state := func(t *testing.T, user string) string { return stored(t, plain, user) }
	refused(t, plain, rotate, state, refusals)
	refused(t, plain, rotate, state, map[string]refusal{
		"a managing user that has to use TLS": {
			prepare: func(r *event.Request) []string {
				return []string{"ALTER USER " + r.ManagingUser.Username + "@'%' REQUIRE SSL"}
			},
			stage: connector.StageLogin, says: []string{"1045", "REQUIRE SSL", "DB_SSLMODE"},
		},
		"a managing user of the server's machine": {
			prepare: func(r *event.Request) []string {
				return []string{"ALTER USER " + r.ManagingUser.Username + "@'%' IDENTIFIED VIA unix_socket"}
			},
			stage: connector.StageLogin, says: []string{"unix_socket", "mysql_native_password on MariaDB", "1698"},
		},
		"a managing user whose plugin the server has not": {
			prepare: func(r *event.Request) []string {
				return []string{"UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.plugin', 'nonesuch') WHERE User = '" + r.ManagingUser.Username + "'", "FLUSH PRIVILEGES"}
			},
			stage: connector.StageLogin, says: []string{"1524", "plugin is not loaded", "on MariaDB: ALTER USER 'manager_"},
		},
		"a wrong password without TLS": {
			prepare: func(r *event.Request) []string {
				r.ManagingUser.Password = event.NewSecret("another")
				return nil
			},
			stage: connector.StageLogin, says: []string{"1045", "TLS", "DB_SSLMODE"},
		},
	})
}

func TestLockedAccountIsChangedAndNotProved(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	require.NoError(t, plain.Exec(t.Context(), "ALTER USER "+request.RotateUser.Username+"@'%' ACCOUNT LOCK"))
	_, err := rotate(t, request)
	assert.ErrorContains(t, err, "The password was changed, but a login with it did not succeed")
	assert.ErrorContains(t, err, "ACCOUNT UNLOCK")
}

func TestAccountLimitsStay(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	user := request.RotateUser.Username
	require.NoError(t, plain.Exec(t.Context(), "ALTER USER "+user+"@'%' WITH MAX_USER_CONNECTIONS 3 MAX_QUERIES_PER_HOUR 1000"))
	_, err := rotate(t, request)
	require.NoError(t, err)
	grants, err := client(t, plain, plain.AdminUser, plain.AdminPassword, "SHOW CREATE USER "+user+"@'%'")
	require.NoError(t, err)
	assert.Contains(t, grants, "MAX_QUERIES_PER_HOUR 1000 MAX_USER_CONNECTIONS 3")
}

func TestWhatComesAfterAuthenticationProvesThePassword(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	user := request.RotateUser.Username
	require.NoError(t, plain.Exec(t.Context(), "ALTER USER "+user+"@'%' WITH MAX_USER_CONNECTIONS 1"))
	session := exec.Command("mariadb", "--no-defaults", "--protocol=tcp", "--host", plain.Host, "--port", strconv.Itoa(plain.Port), "--user", user)
	session.Env = []string{"PATH=" + os.Getenv("PATH"), "MYSQL_PWD=" + oldPassword}
	input, err := session.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start())
	t.Cleanup(func() { input.Close(); _ = session.Wait() })
	require.Eventually(t, func() bool {
		count, err := client(t, plain, plain.AdminUser, plain.AdminPassword, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '"+user+"'")
		return err == nil && count == "1"
	}, 10*time.Second, 20*time.Millisecond)
	outcome, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	assert.Contains(t, outcome.Note, "1226")
}

func TestSameRequestAtTheSameTimeSucceedsEachTime(t *testing.T) {
	t.Parallel()
	manyAtOnce(t, plain, rotate)
}

// manyAtOnce runs one request many times at once, and beside it another.
func manyAtOnce(t *testing.T, server *dbtest.Server, rotate func(*testing.T, event.Request) (connector.Outcome, error)) {
	t.Helper()
	request, other := newRequest(t, server, "%"), newRequest(t, server, "%")
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			each := request
			if i%4 == 3 {
				each = other
			}
			_, err := rotate(t, each)
			assert.NoError(t, err)
		})
	}
	all.Wait()
}

func TestServerThatIsBusyIsAskedAgain(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMariaDB(t.Context(), dbtest.Options{Settings: map[string]string{"max_connections": "10", "read_only": "0"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app", "CREATE USER crowd@'%' IDENTIFIED BY 'crowd'"))
	request := newRequest(t, server, "%")
	config := driver.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", fmt.Sprintf("%s:%d", server.Host, server.Port), "crowd", "crowd"
	connects, err := driver.NewConnector(config)
	require.NoError(t, err)
	var crowd []sqldriver.Conn
	require.Eventually(t, func() bool { // the connections before are on their way out
		if session, err := connects.Connect(t.Context()); err == nil {
			crowd = append(crowd, session)
		}
		return len(crowd) == 10
	}, 20*time.Second, time.Millisecond)
	bounded, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = mysql.Rotate(bounded, connector.NewServer(request, nil), request)
	assert.ErrorContains(t, err, "1040")
	ended := make(chan error, 1)
	go func() {
		_, err := rotate(t, request)
		ended <- err
	}()
	for _, session := range crowd {
		assert.NoError(t, session.Close())
	}
	assert.NoError(t, <-ended)

	// The same server with an init_connect that breaks every session but those of administrators.
	require.NoError(t, server.Exec(t.Context(), "GRANT CONNECTION ADMIN ON *.* TO "+request.ManagingUser.Username+"@'%'", "SET GLOBAL init_connect = 'broken'"))
	outcome, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	assert.Contains(t, outcome.Note, "1184")
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL init_connect = ''"))

	// The same server as a replica.
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL read_only = 1"))
	_, err = rotate(t, request)
	assert.ErrorContains(t, err, "read-only")
	assert.ErrorContains(t, err, "writer endpoint")
}

func TestServerWithoutTLSIsRefusedUnlessDisabled(t *testing.T) {
	for _, mode := range []string{"", "verify-full", "require"} {
		t.Setenv(connector.SSLModeVariable, mode)
		terms, err := connector.ReadTLS()
		require.NoError(t, err)
		request := newRequest(t, plain, "%")
		_, err = mysql.Rotate(t.Context(), connector.NewServer(request, terms), request)
		assert.ErrorContains(t, err, "TLS: ")
		assert.ErrorContains(t, err, "offers no TLS")
		request.ManagingUser, request.RotateUser = nil, nil
		_, err = mysql.DryRun(t.Context(), connector.NewServer(request, terms), request)
		assert.ErrorContains(t, err, "offers no TLS")
	}
}

func TestServerWithoutInnoDBIsRotated(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMariaDB(t.Context(), dbtest.Options{Settings: map[string]string{"innodb": "OFF", "default_storage_engine": "Aria"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	count, err := client(t, server, server.AdminUser, server.AdminPassword, "SELECT COUNT(*) FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME LIKE 'innodb%'")
	require.NoError(t, err)
	require.Equal(t, "0", count)
	request := newRequest(t, server, "%")
	outcome, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	general, err := os.ReadFile(server.LogFile)
	require.NoError(t, err)
	assert.Regexp(t, `SET [^\n]*lock_wait_timeout = \d+ /\*M! , max_statement_time = [\d.]+ \*/\n`, string(general))
}

func TestCharacterSetOfInitConnectDoesNotMatter(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMariaDB(t.Context(), dbtest.Options{Settings: map[string]string{"init_connect": "'SET NAMES latin1'"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	request := newRequest(t, server, "%")
	request.RotateUser.Username, request.RotateUser.NewPassword = "używa_é", event.NewSecret("señal-ł")
	_, err = client(t, server, server.AdminUser, server.AdminPassword, "SET NAMES utf8mb4; CREATE USER 'używa_é'@'%' IDENTIFIED BY 'old'")
	require.NoError(t, err)
	outcome, err := rotate(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof, outcome.Note)
	_, err = client(t, server, "używa_é", "señal-ł", "SELECT 1")
	assert.NoError(t, err)
}

func TestPasswordCheckThatRefusesHashesIsNamed(t *testing.T) {
	server := odd
	request := newRequest(t, server, "%")
	require.NoError(t, server.Exec(t.Context(), "INSTALL SONAME 'simple_password_check'", "SET GLOBAL strict_password_validation = ON"))
	t.Cleanup(func() {
		assert.NoError(t, server.Exec(context.Background(), "UNINSTALL SONAME 'simple_password_check'"))
	})
	_, err := rotate(t, request)
	assert.ErrorContains(t, err, "strict_password_validation = OFF")
	assert.ErrorContains(t, err, "Nothing was changed")
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL strict_password_validation = OFF"))
	_, err = rotate(t, request)
	assert.NoError(t, err)
}

func TestDryRunChangesNothingAndTellsWhatItFound(t *testing.T) {
	t.Parallel()
	request := newRequest(t, plain, "%")
	user := request.RotateUser.Username
	before := stored(t, plain, user)
	outcome, err := dryRun(t, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofNone, outcome.Proof)
	for _, part := range []string{"nothing was changed", "127.0.0.1", "MariaDB 10.", "'" + user + "'@'%' exists and may be changed"} {
		assert.Contains(t, outcome.Message, part)
	}
	assert.Equal(t, before, stored(t, plain, user))

	bare := request
	bare.RotateUser, bare.Database = nil, ""
	outcome, err = dryRun(t, bare)
	require.NoError(t, err)
	assert.Contains(t, outcome.Message, "logged in as")
	bare.ManagingUser = nil
	outcome, err = dryRun(t, bare)
	require.NoError(t, err)
	assert.Contains(t, outcome.Message, "server version 10.")

	require.NoError(t, plain.Exec(t.Context(), "REVOKE CREATE USER ON *.* FROM "+request.ManagingUser.Username+"@'%'"))
	_, err = dryRun(t, request)
	assert.ErrorContains(t, err, "GRANT CREATE USER")
	require.NoError(t, plain.Exec(t.Context(), "GRANT CREATE USER ON *.* TO "+request.ManagingUser.Username+"@'%'"))
	request.RotateUser.Username = "nobody_there"
	_, err = dryRun(t, request)
	assert.ErrorContains(t, err, "no such account")
}
