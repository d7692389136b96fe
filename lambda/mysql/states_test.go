package mysql_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
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

// States that a server can be in while the change is made, and what the answer says of them.

// administers is a session of the administrator's that stays, without TLS.
func administers(t *testing.T, server *dbtest.Server) func(statements ...string) {
	t.Helper()
	config := driver.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", address(server), server.AdminUser, server.AdminPassword
	connects, err := driver.NewConnector(config)
	require.NoError(t, err)
	database := sql.OpenDB(connects)
	session, err := database.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { session.Close(); database.Close() })
	return func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			_, err := session.ExecContext(t.Context(), statement)
			require.NoError(t, err, statement)
		}
	}
}

func maria(t *testing.T, settings map[string]string) *dbtest.Server {
	t.Helper()
	server, err := dbtest.StartMariaDB(t.Context(), dbtest.Options{Settings: settings})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	return server
}

// within rotates with so much time, and knows the old password, as ESC does.
func within(t *testing.T, timeout time.Duration, request event.Request) (connector.Outcome, error) {
	t.Helper()
	request.RotateUser.Password = event.NewSecret(oldPassword)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return mysql.Rotate(ctx, connector.NewServer(request, nil), request)
}

// MariaDB applies the change, and then waits for the backup until its time is over.
func TestBackupThatHoldsAChangeIsNotTakenForARefusal(t *testing.T) {
	t.Parallel()
	server := maria(t, nil)
	request := newRequest(t, server, "%")
	backup := administers(t, server)
	backup("BACKUP STAGE START", "BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL", "BACKUP STAGE BLOCK_COMMIT")
	outcome, err := within(t, 10*time.Second, request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof)
	assert.Regexp(t, "1205|1969", outcome.Note)
	backup("BACKUP STAGE END")
	_, err = client(t, server, request.RotateUser.Username, newPassword, "SELECT 1")
	assert.NoError(t, err)
	_, err = client(t, server, request.RotateUser.Username, oldPassword, "SELECT 1")
	assert.Error(t, err)
}

func TestChangeWhoseSessionIsKilledIsDecidedByALoginAndMadeAgain(t *testing.T) {
	t.Parallel()
	server := maria(t, nil)
	request := newRequest(t, server, "%")
	lock := administers(t, server)
	lock("FLUSH TABLES WITH READ LOCK")
	ended := make(chan error, 1)
	go func() {
		outcome, err := within(t, 30*time.Second, request)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		ended <- err
	}()
	waiting := "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '" + request.ManagingUser.Username + "' AND INFO LIKE 'ALTER USER%'"
	var thread string
	require.Eventually(t, func() bool {
		thread, _ = client(t, server, server.AdminUser, server.AdminPassword, waiting)
		return thread != ""
	}, 20*time.Second, 20*time.Millisecond)
	lock("KILL "+thread, "UNLOCK TABLES")
	require.NoError(t, <-ended)
	_, err := client(t, server, request.RotateUser.Username, newPassword, "SELECT 1")
	assert.NoError(t, err)
}

func TestServerThatIsShutDownDuringTheChangeIsNotCalledANetwork(t *testing.T) {
	t.Parallel()
	server := maria(t, nil)
	request := newRequest(t, server, "%")
	lock := administers(t, server)
	lock("FLUSH TABLES WITH READ LOCK")
	ended := make(chan error, 1)
	go func() {
		_, err := within(t, 10*time.Second, request)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		count, err := client(t, server, server.AdminUser, server.AdminPassword, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'ALTER USER%'")
		return err == nil && count != "0"
	}, 20*time.Second, 20*time.Millisecond)
	_ = server.Exec(t.Context(), "SHUTDOWN")
	err := <-ended
	assert.ErrorContains(t, err, "change: ")
	assert.ErrorContains(t, err, string(connector.MaybeChanged))
	assert.NotContains(t, err.Error(), "security group")
}

func TestManagingUserThatInitConnectBreaksIsTold(t *testing.T) {
	t.Parallel()
	server := maria(t, map[string]string{"init_connect": "broken"})
	request := newRequest(t, server, "%")
	_, err := within(t, 20*time.Second, request)
	assert.ErrorContains(t, err, "init_connect")
	assert.ErrorContains(t, err, "Nothing was changed")
}

func TestServerWithoutAccountsIsTold(t *testing.T) {
	t.Parallel()
	server := maria(t, map[string]string{"skip_grant_tables": "1"})
	request := requestOf(server, "manager", "user")
	_, err := within(t, 20*time.Second, request)
	assert.ErrorContains(t, err, "skip_grant_tables")
	assert.ErrorContains(t, err, "Nothing was changed")
}

// What a MySQL server keeps of a change where all of it is kept.
func TestPasswordIsInMySQLsGeneralLogWithLogRawAlone(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMySQL(t.Context(), dbtest.Options{Settings: map[string]string{"slow_query_log": "ON", "long_query_time": "0", "slow_query_log_file": "slow.log"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app", "UPDATE performance_schema.setup_consumers SET ENABLED = 'YES'"))
	request := newRequest(t, server, "%")
	outcome, err := dryRun(t, request)
	require.NoError(t, err)
	assert.NotContains(t, outcome.Message, "log_raw")
	for password, raw := range map[string]string{"Xq7-unmistakable-Zw9": "OFF", "Xq8-unmistakable-Zw8": "ON"} {
		require.NoError(t, server.Exec(t.Context(), "SET GLOBAL log_raw = "+raw))
		request.RotateUser.NewPassword = event.NewSecret(password)
		_, err := rotate(t, request)
		require.NoError(t, err)
		slow := filepath.Join(server.DataDir, "slow.log")
		for file, holds := range map[string]bool{server.LogFile: raw == "ON", slow: false} {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, holds, strings.Contains(string(text), password), "%s, log_raw %s", file, raw)
			assert.Contains(t, string(text), "ALTER USER IF EXISTS")
		}
	}
	for _, table := range []string{"events_statements_history_long", "events_statements_summary_by_digest"} {
		column := map[string]string{"events_statements_history_long": "SQL_TEXT", "events_statements_summary_by_digest": "QUERY_SAMPLE_TEXT"}[table]
		kept := read(t, server, "SELECT GROUP_CONCAT("+column+") FROM performance_schema."+table+" WHERE "+column+" LIKE 'ALTER USER%'")
		assert.Contains(t, kept, "IDENTIFIED BY <secret>")
		assert.NotContains(t, kept, "unmistakable")
	}
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL log_raw = ON"))
	outcome, err = dryRun(t, request)
	require.NoError(t, err)
	assert.Contains(t, outcome.Message, "SET GLOBAL log_raw = OFF")
}

func TestMySQLsStatesAreTold(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMySQL(t.Context(), dbtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	request := newRequest(t, server, "%")
	user := request.RotateUser.Username

	// The same request again, of an account whose history holds its current password.
	require.NoError(t, server.Exec(t.Context(), "ALTER USER "+user+"@'%' PASSWORD HISTORY 5"))
	for range 2 {
		outcome, err := within(t, 20*time.Second, request)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
	}
	used := request
	used.RotateUser = &event.RotateUser{Username: user, NewPassword: event.NewSecret("Between-Secret-7")}
	_, err = within(t, 20*time.Second, used)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request.RotateUser.Password = used.RotateUser.NewPassword
	_, err = mysql.Rotate(ctx, connector.NewServer(request, nil), request)
	assert.ErrorContains(t, err, "password history")
	assert.ErrorContains(t, err, "Nothing was changed")
	assert.ErrorContains(t, err, "3638")

	// An account that is locked for a while.
	guessed := newRequest(t, server, "%")
	user = guessed.RotateUser.Username
	require.NoError(t, server.Exec(t.Context(), "ALTER USER "+user+"@'%' FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1"))
	require.Error(t, logIn(t, server, user, "a guess"))
	_, err = within(t, 20*time.Second, guessed)
	assert.ErrorContains(t, err, "FAILED_LOGIN_ATTEMPTS")
	assert.ErrorContains(t, err, string(connector.Changed))

	// Limits of connections that are each user's.
	crowded := newRequest(t, server, "%")
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL max_user_connections = 1"))
	holder, err := connects(t, server, crowded.ManagingUser.Username, managerPassword).Connect(t.Context())
	require.NoError(t, err)
	_, err = within(t, 20*time.Second, crowded)
	assert.ErrorContains(t, err, "max_user_connections")
	assert.ErrorContains(t, err, "1203")
	assert.ErrorContains(t, err, "Nothing was changed")
	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL max_user_connections = 0"))
	require.NoError(t, holder.Close())

	require.NoError(t, server.Exec(t.Context(), "SET GLOBAL offline_mode = ON"))
	_, err = within(t, 2*time.Second, guessed)
	assert.ErrorContains(t, err, "offline mode")
	assert.ErrorContains(t, err, "SET GLOBAL offline_mode = OFF")
	assert.True(t, strings.HasPrefix(err.Error(), "log in as managing user: "), err)
}

// With IF EXISTS an account that is not there is a mere note, and a server can be told to keep no notes. Its proof is skipped, too, where
// no login is possible from here.
func TestAccountThatIsNotThereIsToldByAServerThatKeepsNoNotes(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMySQL(t.Context(), dbtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	for product, server := range map[string]*dbtest.Server{"MariaDB": maria(t, nil), "MySQL": server} {
		request := newRequest(t, server, "%")
		there := request.RotateUser.Username
		request.RotateUser.Username = "nobody_at_all@10.9.9.9"
		require.NoError(t, server.Exec(t.Context(), "SET GLOBAL sql_notes = 0"))
		_, err := within(t, 20*time.Second, request)
		require.Error(t, err, product)
		assert.ErrorContains(t, err, "Nothing was changed", product)
		require.NoError(t, server.Exec(t.Context(), "SET GLOBAL max_error_count = 0"))
		_, err = within(t, 20*time.Second, request)
		require.Error(t, err, product)
		assert.ErrorContains(t, err, string(connector.MaybeChanged), product)

		request.RotateUser.Username = there
		outcome, err := within(t, 20*time.Second, request)
		require.NoError(t, err, product)
		assert.Equal(t, connector.ProofDone, outcome.Proof, product)
	}
}

func TestTransactionsThatOnlyReadAreNotCalledAReplica(t *testing.T) {
	t.Parallel()
	server := maria(t, nil)
	request := newRequest(t, server, "%")
	administers(t, server)("SET GLOBAL tx_read_only = ON")
	_, err := within(t, 20*time.Second, request)
	assert.ErrorContains(t, err, "transaction_read_only")
	assert.ErrorContains(t, err, "Nothing was changed")
	assert.NotContains(t, err.Error(), "replica")
	administers(t, server)("SET GLOBAL tx_read_only = OFF")
	_, err = within(t, 20*time.Second, request)
	assert.NoError(t, err)
}
