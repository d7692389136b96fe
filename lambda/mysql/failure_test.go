package mysql

import (
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"

	"esc-connector-lambda-go/lambda/connector"
)

// The errors of MySQL that no server here gives, with the texts of the manual's "Server Error Message Reference".
func TestMySQLsRefusalsOfTheChangeNameTheFix(t *testing.T) {
	request := connector.Request{Type: connector.TypeMySQL, Host: "db.example", Port: 3306,
		ManagingUser: &connector.ManagingUser{Username: "managing"}, RotateUser: &connector.RotateUser{Username: "app@10.0.%"}}
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
