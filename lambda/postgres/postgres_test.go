package postgres_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/postgres"
)

// versions are the major versions that the tests run on: the oldest, the system's, and those that changed the rules.
var versions = []int{13, 15, 16, 18}

// withMembers are those and 17, for tests of who becomes whose member by whom.
var withMembers = append(slices.Clone(versions), 17)

var (
	servers = map[int]*dbtest.Server{}
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

const secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

func run(m *testing.M) int {
	var err error
	if playedTLS, playedTerms, err = dbtest.VerifiedTLS(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for variable, value := range map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": secretKey} {
		if err := os.Setenv(variable, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" { // a fuzz test plays its servers, in many processes
		return m.Run()
	}
	var starts sync.WaitGroup
	var lock sync.Mutex
	failed := false
	for _, version := range withMembers {
		starts.Go(func() {
			server, err := startServer(version)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				failed = true
				return
			}
			servers[version] = server
		})
	}
	starts.Wait()
	for _, server := range servers {
		defer server.Stop()
	}
	if failed {
		return 1
	}
	return m.Run()
}

func startServer(version int) (*dbtest.Server, error) {
	binDir, err := dbtest.PostgresBinDir(version)
	if err != nil {
		return nil, err
	}
	server, err := dbtest.StartPostgres(context.Background(), dbtest.Options{BinDir: binDir, HBA: []string{
		"host all clear all password", "host all +rds_iam all password", "host all trusted all trust", "host all shut_out all reject", "host all scram_only all scram-sha-256", "host all all all md5",
	}, Settings: map[string]string{"log_min_duration_statement": "0", "track_activity_query_size": "4096"}})
	if err != nil {
		return nil, err
	}
	return server, server.Exec(context.Background(), "CREATE DATABASE app", "CREATE ROLE rds_iam", "CREATE ROLE rds_password")
}

// onEach runs a test on each version.
func onEach(t *testing.T, test func(t *testing.T, version int, server *dbtest.Server)) {
	on(t, versions, test)
}

func on(t *testing.T, versions []int, test func(t *testing.T, version int, server *dbtest.Server)) {
	t.Parallel()
	for _, version := range versions {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			t.Parallel()
			test(t, version, servers[version])
		})
	}
}

const managerPassword, oldPassword, newPassword = "Manager-Secret-1", "Old-Secret-2", "New-Secret-3"

// newRequest makes a managing role and a role that it may change, and is the request that rotates the latter.
func newRequest(t *testing.T, server *dbtest.Server) event.Request {
	t.Helper()
	number := serial.Add(1)
	manager, user := fmt.Sprintf("manager_%d", number), fmt.Sprintf("user_%d", number)
	require.NoError(t, server.Exec(t.Context(),
		fmt.Sprintf("CREATE ROLE %s LOGIN CREATEROLE PASSWORD '%s'", manager, managerPassword),
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", user, oldPassword),
		fmt.Sprintf("GRANT %s TO %s WITH ADMIN OPTION", user, manager)))
	return event.Request{
		Type: event.TypePostgres, Host: server.Host, Port: server.Port, Database: "app",
		ManagingUser: &event.ManagingUser{Username: manager, Password: event.NewSecret(managerPassword)},
		RotateUser:   &event.RotateUser{Username: user, NewPassword: event.NewSecret(newPassword)},
	}
}

func rotate(t *testing.T, request event.Request, timeout time.Duration) (connector.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return postgres.Rotate(ctx, connector.NewServer(request, nil), request)
}

const plenty = 30 * time.Second

// psql runs a statement with PostgreSQL's own client.
func psql(t *testing.T, server *dbtest.Server, username, password, statement string) (string, error) {
	t.Helper()
	return psqlIn(t, server, "app", username, password, statement)
}

func psqlIn(t *testing.T, server *dbtest.Server, database, username, password, statement string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), dbtest.Psql(), "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--command", statement)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGHOST=" + server.Host, "PGPORT=" + strconv.Itoa(server.Port),
		"PGUSER=" + username, "PGPASSWORD=" + password, "PGDATABASE=" + database}
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// stored is what the server keeps of a role's password.
func stored(t *testing.T, server *dbtest.Server, role string) string {
	t.Helper()
	kept, err := server.Query(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = '"+role+"'")
	require.NoError(t, err)
	return kept
}

func asAdmin(t *testing.T, server *dbtest.Server, statement string) string {
	t.Helper()
	output, err := psql(t, server, server.AdminUser, server.AdminPassword, statement)
	require.NoError(t, err, output)
	return output
}

func TestTheServersOwnEncryptionIsKept(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		for encryption, prefix := range map[string]string{"scram-sha-256": "SCRAM-SHA-256$4096:", "md5": "md5"} {
			request := newRequest(t, server)
			require.NoError(t, server.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s SET password_encryption = '%s'", request.ManagingUser.Username, encryption)))
			for range 2 {
				outcome, err := rotate(t, request, plenty)
				require.NoError(t, err)
				assert.Equal(t, connector.ProofDone, outcome.Proof)
			}
			user := request.RotateUser.Username
			assert.True(t, strings.HasPrefix(stored(t, server, user), prefix), encryption)
			_, err := psql(t, server, user, newPassword, "SELECT 1")
			assert.NoError(t, err)
			_, err = psql(t, server, user, oldPassword, "SELECT 1")
			assert.Error(t, err)
		}
	})
}

func TestSCRAMIterationsOfTheServerAreKept(t *testing.T) {
	for _, version := range []int{16, 18} {
		request := newRequest(t, servers[version])
		require.NoError(t, servers[version].Exec(t.Context(), "ALTER ROLE "+request.ManagingUser.Username+" SET scram_iterations = 12345"))
		_, err := rotate(t, request, plenty)
		require.NoError(t, err)
		assert.Contains(t, stored(t, servers[version], request.RotateUser.Username), "SCRAM-SHA-256$12345:")
		_, err = psql(t, servers[version], request.RotateUser.Username, newPassword, "SELECT 1")
		assert.NoError(t, err)
	}
}

func TestPasswordNeverReachesTheServerLog(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		const unmistakable = "Xq7-unmistakable-Zw9"
		request.RotateUser.NewPassword = event.NewSecret(unmistakable)
		_, err := rotate(t, request, plenty)
		require.NoError(t, err)
		log, err := os.ReadFile(server.LogFile)
		require.NoError(t, err)
		assert.True(t, bytes.Contains(log, []byte("ALTER ROLE \""+request.RotateUser.Username+"\" PASSWORD 'SCRAM-SHA-256$")), "the log does not hold the change")
		assert.False(t, bytes.Contains(log, []byte(unmistakable)), "the log holds the new password")
	})
}

func TestWhatComesAfterAuthenticationProvesThePassword(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		user := request.RotateUser.Username
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+user+" CONNECTION LIMIT 1"))
		session := exec.Command(dbtest.Psql(), "--no-psqlrc", "--quiet", "--tuples-only")
		session.Env = []string{"PATH=" + os.Getenv("PATH"), "PGHOST=" + server.Host, "PGPORT=" + strconv.Itoa(server.Port), "PGUSER=" + user, "PGPASSWORD=" + oldPassword, "PGDATABASE=app"}
		input, err := session.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, session.Start())
		t.Cleanup(func() { input.Close(); _ = session.Wait() })
		require.Eventually(t, func() bool {
			sessions, err := server.Query(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+user+"'")
			return err == nil && sessions == "1"
		}, 10*time.Second, 20*time.Millisecond)

		outcome, err := rotate(t, request, plenty)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		assert.Contains(t, outcome.Note, "53300")
	})
}

func TestProofIsSkippedWhereNoneIsPossible(t *testing.T) {
	t.Parallel()
	server := servers[15]
	request := newRequest(t, server)
	require.NoError(t, server.Exec(t.Context(), "CREATE ROLE shut_out LOGIN PASSWORD 'old'"))
	request.RotateUser.Username = "shut_out"
	outcome, err := rotate(t, request, plenty)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofSkipped, outcome.Proof)
	assert.Contains(t, outcome.Note, "pg_hba.conf")
}

func TestServerThatIsBusyIsAskedAgain(t *testing.T) {
	t.Parallel()
	// Three of the eleven connections are the superusers', and the administrator has another.
	server, err := dbtest.StartPostgres(t.Context(), dbtest.Options{Settings: map[string]string{"max_connections": "11"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app", "CREATE ROLE crowd LOGIN PASSWORD 'crowd'"))
	request := newRequest(t, server)
	var crowd []*pgconn.PgConn
	require.Eventually(t, func() bool { // connections that tests have ended are on their way out
		if session, err := connect(t, server, "crowd", "crowd"); err == nil {
			crowd = append(crowd, session)
		}
		return len(crowd) == 7
	}, 20*time.Second, time.Millisecond)
	_, err = rotate(t, request, 2*time.Second)
	assert.ErrorContains(t, err, "53300")
	ended := make(chan error, 1)
	go func() {
		_, err := rotate(t, request, plenty)
		ended <- err
	}()
	for _, session := range crowd {
		assert.NoError(t, session.Close(t.Context()))
	}
	assert.NoError(t, <-ended)
}

func TestServerWithoutTLSIsRefusedUnlessDisabled(t *testing.T) {
	for _, mode := range []string{"", "verify-full", "require"} {
		t.Setenv(connector.SSLModeVariable, mode)
		terms, err := connector.ReadTLS()
		require.NoError(t, err)
		request := newRequest(t, servers[15])
		_, err = postgres.Rotate(t.Context(), connector.NewServer(request, terms), request)
		assert.ErrorContains(t, err, "TLS: ")
		assert.ErrorContains(t, err, "offers no TLS")
		assert.ErrorContains(t, err, "databaseSslMode disable")
	}
}

func TestFailedProofSaysThatThePasswordWasChanged(t *testing.T) {
	t.Parallel()
	server := servers[15]
	request := newRequest(t, server)
	require.NoError(t, server.Exec(t.Context(), "CREATE ROLE scram_only LOGIN", "ALTER ROLE "+request.ManagingUser.Username+" SET password_encryption = 'md5'"))
	request.RotateUser.Username = "scram_only"
	_, err := rotate(t, request, plenty)
	var failure *connector.Failure
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, connector.StageProve, failure.Stage)
	assert.ErrorContains(t, err, "The password was changed, but a login with it did not succeed")
	assert.ErrorContains(t, err, "password_encryption is md5")
}

func TestTooManySCRAMIterationsAreRefused(t *testing.T) {
	for _, version := range []int{16, 18} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			t.Parallel()
			server := servers[version]
			request := newRequest(t, server)
			require.NoError(t, server.Exec(t.Context(), "SET scram_iterations = 1500000; ALTER ROLE "+request.ManagingUser.Username+" PASSWORD '"+managerPassword+"'"))
			_, err := rotate(t, request, plenty)
			assert.ErrorContains(t, err, "log in as managing user")
			assert.ErrorContains(t, err, "more SCRAM iterations than the connector does, 1000000 at the most")

			request = newRequest(t, server)
			require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+request.ManagingUser.Username+" SET scram_iterations = 2000000"))
			_, err = rotate(t, request, plenty)
			assert.ErrorContains(t, err, "Nothing was changed")
			assert.ErrorContains(t, err, "the server's scram_iterations is more than 1000000")
			_, err = dryRun(t, request)
			assert.ErrorContains(t, err, "the server's scram_iterations is more than 1000000", "and a dry run tells it before")
		})
	}
}

func TestSameRequestAtTheSameTimeSucceedsEachTime(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request, other := newRequest(t, server), newRequest(t, server)
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				each := request
				if i%4 == 3 {
					each = other
				}
				_, err := rotate(t, each, plenty)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		for _, each := range []event.Request{request, other} {
			_, err := psql(t, server, each.RotateUser.Username, newPassword, "SELECT 1")
			assert.NoError(t, err)
		}
	})
}

func TestNoFunctionOfAnotherUserRunsAsTheManagingUser(t *testing.T) {
	t.Parallel()
	server := servers[15]
	request := newRequest(t, server)
	schema := "evil_" + request.RotateUser.Username
	asAdmin(t, server, "CREATE SCHEMA "+schema+"; GRANT USAGE ON SCHEMA "+schema+" TO PUBLIC; "+
		"CREATE FUNCTION "+schema+".current_setting(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''ran''; END'; "+
		"ALTER ROLE "+request.ManagingUser.Username+" SET search_path = "+schema+", pg_catalog")
	_, err := rotate(t, request, plenty)
	assert.NoError(t, err)
}

func dryRun(t *testing.T, request event.Request) (connector.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), plenty)
	defer cancel()
	return postgres.DryRun(ctx, connector.NewServer(request, nil), request)
}

func TestManagingUserAsInTheReadmeReadsNoTables(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		owner, user := "owner_"+request.RotateUser.Username, request.RotateUser.Username
		manager := "readme_" + request.ManagingUser.Username
		require.NoError(t, server.Exec(t.Context(), "CREATE ROLE "+owner, "GRANT "+owner+" TO "+user,
			"CREATE ROLE "+manager+" LOGIN CREATEROLE NOINHERIT PASSWORD '"+managerPassword+"'", "GRANT "+user+" TO "+manager+" WITH ADMIN OPTION"))
		asAdmin(t, server, "CREATE TABLE of_"+owner+" (); ALTER TABLE of_"+owner+" OWNER TO "+owner)
		request.ManagingUser.Username = manager
		_, err := rotate(t, request, plenty)
		require.NoError(t, err)
		for _, statement := range []string{"SELECT * FROM of_" + owner, "DROP TABLE of_" + owner} {
			output, err := psql(t, server, manager, managerPassword, statement)
			assert.Error(t, err, statement)
			assert.Regexp(t, "permission denied|must be owner", output)
			output, err = psql(t, server, user, newPassword, "EXPLAIN "+"SELECT * FROM of_"+owner)
			assert.NoError(t, err, output)
		}
	})
}

func TestManagingUserWhoseSessionsActAsTheRotatedUserMayChangeIt(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+request.ManagingUser.Username+" NOCREATEROLE",
			"ALTER ROLE "+request.ManagingUser.Username+" SET role = "+request.RotateUser.Username))
		_, err := dryRun(t, request)
		assert.NoError(t, err)
		_, err = rotate(t, request, plenty)
		assert.NoError(t, err)
	})
}

func TestDryRunChangesNothingAndTellsWhatItFound(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		request := newRequest(t, server)
		before := stored(t, server, request.RotateUser.Username)
		dryRun := func(request event.Request) (connector.Outcome, error) { return dryRun(t, request) }
		outcome, err := dryRun(request)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofNone, outcome.Proof)
		for _, part := range []string{"nothing was changed", "127.0.0.1", fmt.Sprintf("PostgreSQL %d.", version), `"` + request.RotateUser.Username + `" exists and may be changed`} {
			assert.Contains(t, outcome.Message, part)
		}
		assert.Equal(t, before, stored(t, server, request.RotateUser.Username))

		other := newRequest(t, server)
		both := request
		both.RotateUser, both.RotateUsers = nil, []string{request.RotateUser.Username, other.RotateUser.Username}
		require.NoError(t, server.Exec(t.Context(), "GRANT "+other.RotateUser.Username+" TO "+request.ManagingUser.Username+" WITH ADMIN OPTION"))
		outcome, err = dryRun(both)
		require.NoError(t, err)
		for _, user := range both.RotateUsers {
			assert.Contains(t, outcome.Message, `"`+user+`" exists and may be changed`)
		}
		both.RotateUsers = []string{other.RotateUser.Username, "nobody_here"}
		_, err = dryRun(both)
		assert.ErrorContains(t, err, `there is no role "nobody_here"`)
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+other.RotateUser.Username+" NOLOGIN"))
		_, err = dryRun(both)
		assert.ErrorContains(t, err, "may not log in")
		assert.ErrorContains(t, err, `Besides, there is no role "nobody_here"`)
		assert.ErrorContains(t, err, `CREATE ROLE "nobody_here"`)

		bare := request
		bare.RotateUser = nil
		outcome, err = dryRun(bare)
		require.NoError(t, err)
		assert.Contains(t, outcome.Message, "logged in as")
		bare.ManagingUser, bare.Database = nil, ""
		outcome, err = dryRun(bare)
		require.NoError(t, err)
		assert.Contains(t, outcome.Message, "PostgreSQL answers")

		bare = request
		bare.RotateUser, bare.Database = nil, ""
		outcome, err = dryRun(bare)
		require.NoError(t, err)
		assert.Contains(t, outcome.Message, `to the database "postgres"`)
		require.NoError(t, server.Exec(t.Context(), "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC"))
		_, err = dryRun(bare)
		assert.ErrorContains(t, err, `GRANT CONNECT ON DATABASE "postgres" TO "`+bare.ManagingUser.Username)

		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+request.ManagingUser.Username+" NOCREATEROLE"))
		_, err = dryRun(request)
		assert.ErrorContains(t, err, "CREATEROLE")
		request.RotateUser.Username = "nobody_there"
		_, err = dryRun(request)
		assert.ErrorContains(t, err, `there is no role "nobody_there"`)
	})
}

func TestDebianAndNpmServersAreFound(t *testing.T) {
	for _, version := range withMembers {
		folder, err := dbtest.PostgresBinDir(version)
		require.NoError(t, err)
		assert.FileExists(t, filepath.Join(folder, "postgres"))
	}
	_, err := dbtest.PostgresBinDir(9)
	assert.ErrorContains(t, err, "lambda/dbtest/install-postgres.sh")
}
