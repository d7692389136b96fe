package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// connect logs in at a server or a pooler, as an application does.
func connect(t *testing.T, server *dbtest.Server, user, password string) (*pgconn.PgConn, error) {
	t.Helper()
	return connectTo(t, server, "app", user, password)
}

func connectTo(t *testing.T, server *dbtest.Server, database, user, password string) (*pgconn.PgConn, error) {
	t.Helper()
	config, err := pgconn.ParseConfig("sslmode=disable")
	require.NoError(t, err)
	config.Host, config.Port, config.User, config.Password, config.Database = server.Host, uint16(server.Port), user, password, database
	return pgconn.ConnectConfig(t.Context(), config)
}

// ask runs a query at a pooler, and answers all values.
func ask(t *testing.T, pooler *dbtest.Server, user, password, query string) string {
	t.Helper()
	session, err := connect(t, pooler, user, password)
	require.NoError(t, err)
	defer session.Close(t.Context())
	results, err := session.Exec(t.Context(), query).ReadAll()
	require.NoError(t, err)
	var values []string
	for _, result := range results {
		for _, row := range result.Rows {
			for _, value := range row {
				values = append(values, string(value))
			}
		}
	}
	return strings.Join(values, " | ")
}

// settings are what a session of the connector's could leave to the next one.
const settings = "SHOW search_path; SHOW statement_timeout; SHOW lock_timeout; SHOW standard_conforming_strings; SHOW transaction_isolation"

// One session that all clients share, whatever they log in as at the pooler.
func TestNothingIsLeftOnAPooledSession(t *testing.T) {
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server, err := startServer(15)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, server.Stop()) })
			request := newRequest(t, server)
			user := request.RotateUser.Username
			require.NoError(t, server.Exec(t.Context(), "CREATE ROLE pool LOGIN CREATEROLE PASSWORD 'pool'"))
			pooler, err := dbtest.StartPgBouncer(t.Context(), server, "app user=pool password=pool pool_size=1", map[string]string{"pool_mode": mode, "server_reset_query": ""},
				request.ManagingUser.Username, managerPassword, "webapp", "web-secret", user, oldPassword)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, pooler.Stop()) })
			session := func() string { return ask(t, pooler, "webapp", "web-secret", "SELECT pg_backend_pid()") }
			before, pid := ask(t, pooler, "webapp", "web-secret", settings), session()
			request.Host, request.Port = pooler.Host, pooler.Port

			_, err = dryRun(t, request)
			require.NoError(t, err)
			assert.Equal(t, before, ask(t, pooler, "webapp", "web-secret", settings))
			assert.Equal(t, pid, session(), "the pooler had to give the session up")

			// The pooler compares with a password of its own: the proof cannot succeed, and the answer says so.
			_, err = rotate(t, request, plenty)
			assert.ErrorContains(t, err, "The password was changed")
			assert.ErrorContains(t, err, "a pooler between")
			assert.Equal(t, before, ask(t, pooler, "webapp", "web-secret", settings))
			assert.Equal(t, pid, session(), "the pooler had to give the session up")
			_, err = psql(t, server, user, newPassword, "SELECT 1")
			assert.NoError(t, err)
		})
	}
}

// A pooler that asks the database for the passwords can prove the new one.
func TestRotationThroughAPoolerThatAsksTheDatabase(t *testing.T) {
	server := servers[15]
	require.NoError(t, server.Exec(t.Context(), "CREATE ROLE asker LOGIN SUPERUSER PASSWORD 'asker'"))
	for mode, says := range map[string]string{"session": "", "transaction": "", "statement": "pool_mode statement"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			request := newRequest(t, server)
			pooler, err := dbtest.StartPgBouncer(t.Context(), server, "app auth_user=asker pool_size=2",
				map[string]string{"pool_mode": mode, "auth_query": "SELECT usename, passwd FROM pg_shadow WHERE usename = $1"}, "asker", "asker")
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, pooler.Stop()) })
			request.Host, request.Port = pooler.Host, pooler.Port
			for i := range 3 {
				request.RotateUser.NewPassword = event.NewSecret(fmt.Sprintf("%s-%d", newPassword, i))
				_, err := rotate(t, request, 10*time.Second)
				if says != "" {
					assert.ErrorContains(t, err, says)
					assert.ErrorContains(t, err, "Nothing was changed")
					continue
				}
				require.NoError(t, err)
				_, err = psql(t, server, request.RotateUser.Username, request.RotateUser.NewPassword.Reveal(), "SELECT 1")
				assert.NoError(t, err)
			}
		})
	}
}
