package mysql

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// The errors of MySQL that no server here gives, with the texts of the manual's "Server Error Message Reference".
func TestMySQLsRefusalsOfTheChangeNameTheFix(t *testing.T) {
	request := event.Request{Type: event.TypeMySQL, Host: "db.example", Port: 3306,
		ManagingUser: &event.ManagingUser{Username: "managing"}, RotateUser: &event.RotateUser{Username: "app@10.0.%"}}
	for _, refused := range []struct {
		err  mysql.MySQLError
		says []string
	}{
		{mysql.MySQLError{Number: 1227, Message: "Access denied; you need (at least one of) the SYSTEM_USER privilege(s) for this operation"},
			[]string{"system user", "GRANT SYSTEM_USER ON *.* TO 'managing'@'%'", "1227"}},
		{mysql.MySQLError{Number: 1227, Message: "Access denied; you need (at least one of) the CREATE USER privilege(s) for this operation"},
			[]string{"GRANT CREATE USER ON *.* TO 'managing'@'%'", "1227"}},
		{mysql.MySQLError{Number: 1396, Message: "Operation ALTER USER failed for 'app'@'10.0.%'"}, []string{"'app'@'10.0.%'", "no such account", "1396"}},
		{mysql.MySQLError{Number: 1290, Message: "The MySQL server is running with the --read-only option so it cannot execute this statement"}, []string{"read-only", "writer endpoint"}},
		{mysql.MySQLError{Number: 1836, Message: "Running in read-only mode"}, []string{"read-only", "writer endpoint"}},
		{mysql.MySQLError{Number: 1205, Message: "Lock wait timeout exceeded; try restarting transaction"}, []string{"locked for 2.0 s", "1205", "SHOW FULL PROCESSLIST"}},
		{mysql.MySQLError{Number: 1064, Message: "near 'Hidden-Secret-9' at line 1"}, []string{"1064"}},
	} {
		r := newRotation(connector.NewServer(request, nil), request)
		r.found = &findings{version: "8.4.6"}
		r.server.SetState(connector.MaybeChanged)
		failure := r.changeFailure(t.Context(), &refused.err, 2*time.Second)
		assert.Equal(t, connector.Unchanged, failure.State)
		for _, part := range refused.says {
			assert.ErrorContains(t, failure, part)
		}
		assert.NotContains(t, failure.Error(), "Hidden")
	}
}

func TestEachCauseIsToldOnceAndSaysWhatToDo(t *testing.T) {
	for name, causes := range map[string][]cause{"login": causesOfLogin, "change": causesOfChange} {
		told := map[uint16]bool{}
		for _, cause := range causes {
			assert.False(t, told[cause.number], "%s: %d is there twice", name, cause.number)
			told[cause.number] = true
			assert.NotEmpty(t, cause.why, "%s: %d", name, cause.number)
			// The managing user's missing rights on the database are a failure of their own.
			assert.Equal(t, name == "login" && cause.number == databaseDenied, cause.fix == "", "%s: %d", name, cause.number)
		}
	}
}

// A server that has restarted, or another one of the same name, gives the numbers of sessions anew: the one that the
// change had may be anybody's, and a managing user with the right to end it must not.
func TestSessionOfSomebodyElseIsNotEnded(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartMariaDB(t.Context(), dbtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	const secret = "Some-Secret-9"
	require.NoError(t, server.Exec(t.Context(),
		"CREATE USER manager@'%' IDENTIFIED BY '"+secret+"'", "GRANT ALL ON *.* TO manager@'%'", "CREATE USER bystander@'%' IDENTIFIED BY '"+secret+"'"))
	request := event.Request{Type: event.TypeMySQL, Host: server.Host, Port: server.Port,
		ManagingUser: &event.ManagingUser{Username: "manager", Password: event.NewSecret(secret)},
		RotateUser:   &event.RotateUser{Username: "user"}}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(server.Port))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	connected := connector.NewServer(request, nil)
	bystander, err := login(ctx, connected, address, connector.StageCheck, credential{name: "bystander", password: event.NewSecret(secret)}, "")
	require.NoError(t, err)
	defer bystander.Close()
	thread, err := bystander.row(ctx, 1, "SELECT CONNECTION_ID()")
	require.NoError(t, err)
	r := newRotation(connected, request)
	r.found = &findings{mariaDB: true, thread: thread[0]}
	assert.Error(t, r.Settle(ctx, address), "it is not known what became of the change's own session")
	_, err = bystander.row(ctx, 1, "SELECT 1")
	assert.NoError(t, err)
}
