package postgres_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// A managing user's own short bounds are not the change's.
func TestBoundsOfTheSessionAreOurs(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		manager := request.ManagingUser.Username
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+manager+" SET lock_timeout = '1ms'", "ALTER ROLE "+manager+" SET default_transaction_isolation = 'serializable'",
			"ALTER ROLE "+manager+" SET default_transaction_deferrable = on", "ALTER ROLE "+manager+" SET idle_in_transaction_session_timeout = '1ms'"))
		_, err := rotate(t, request, plenty)
		assert.NoError(t, err)
	})
}

// A trigger ON login, from PostgreSQL 17 on, runs after the server took the password.
func TestLoginTriggers(t *testing.T) {
	t.Parallel()
	server, err := startServer(18)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	request := newRequest(t, server)
	trigger := func(user string) {
		asAdmin(t, server, "CREATE OR REPLACE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN IF session_user = ''"+user+"'' THEN RAISE EXCEPTION ''evil''; END IF; END'")
	}
	trigger(request.RotateUser.Username)
	asAdmin(t, server, "CREATE EVENT TRIGGER stop ON login EXECUTE FUNCTION stop()")
	outcome, err := rotate(t, request, plenty)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	assert.Contains(t, outcome.Note, "P0001")
	trigger(request.ManagingUser.Username)
	_, err = rotate(t, request, plenty)
	assert.ErrorContains(t, err, "log in as managing user")
	assert.ErrorContains(t, err, "event triggers ON login")
	assert.NotContains(t, err.Error(), "evil")
}

// A smart shutdown lets nobody in any more, and waits for those who are.
func TestServerThatShutsDownIsAskedAgain(t *testing.T) {
	t.Parallel()
	server, err := startServer(15)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	request := newRequest(t, server)
	pid, err := server.PID()
	require.NoError(t, err)
	process, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, err = rotate(t, request, 2*time.Second)
		return err != nil
	}, 10*time.Second, time.Millisecond)
	assert.ErrorContains(t, err, "the server is starting, shutting down or recovering (57P03)")
	assert.Regexp(t, `; tried \d+ times in \d\.\d s\. Nothing was changed\.`, err.Error())
}

// PostgreSQL cuts a long name, so that another text can be the managing user's name.
func TestManagingUserIsNotChangedUnderALongerName(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		const longest = 63 // bytes
		manager := (request.ManagingUser.Username + strings.Repeat("_long", longest))[:longest]
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+request.ManagingUser.Username+" RENAME TO "+manager))
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+manager+" PASSWORD '"+managerPassword+"'"))
		before := stored(t, server, manager)
		for _, names := range [][2]string{{manager, manager + "er"}, {manager + "er", manager}} {
			request.ManagingUser.Username, request.RotateUser.Username = names[0], names[1]
			_, err := rotate(t, request, plenty)
			assert.ErrorContains(t, err, "it is the managing user itself")
			assert.Equal(t, before, stored(t, server, manager))
		}
	})
}

// holdRole keeps a role locked until it is released.
func holdRole(t *testing.T, server *dbtest.Server, role string) (release func()) {
	t.Helper()
	session, err := connect(t, server, server.AdminUser, server.AdminPassword)
	require.NoError(t, err)
	_, err = session.Exec(t.Context(), "BEGIN; ALTER ROLE "+role+" CONNECTION LIMIT 7").ReadAll()
	require.NoError(t, err)
	release = func() { _ = session.Close(context.Background()) }
	t.Cleanup(release)
	return release
}

// A change whose session somebody ends was not made: that is found out, and it is made again.
func TestChangeWhoseSessionIsEndedIsMadeAgain(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newRequest(t, server)
		request.RotateUser.Password = event.NewSecret(oldPassword)
		release := holdRole(t, server, request.RotateUser.Username)
		done := make(chan error, 1)
		go func() {
			_, err := rotate(t, request, plenty)
			done <- err
		}()
		require.Eventually(t, func() bool {
			ended, err := server.Query(t.Context(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '"+request.ManagingUser.Username+"'")
			return err == nil && ended == "1"
		}, plenty, 10*time.Millisecond)
		release()
		require.NoError(t, <-done)
		_, err := psql(t, server, request.RotateUser.Username, newPassword, "SELECT 1")
		assert.NoError(t, err)
	})
}

// transaction_timeout, from PostgreSQL 17 on, ends the session.
func TestTransactionTimeoutIsNamed(t *testing.T) {
	t.Parallel()
	server := servers[18]
	request := newRequest(t, server)
	request.RotateUser.Password = event.NewSecret(oldPassword)
	require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+request.ManagingUser.Username+" SET transaction_timeout = '500ms'"))
	holdRole(t, server, request.RotateUser.Username)
	_, err := rotate(t, request, plenty)
	assert.ErrorContains(t, err, "the server's transaction_timeout was over (25P04)")
	assert.ErrorContains(t, err, "Nothing was changed")
}
