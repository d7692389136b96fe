package mysql_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// MySQL's IDENTIFIED BY keeps the account's plugin: a managing user who gets a password needs another one named. auth_socket
// stands for RDS's plugin, which is not to be had, and like that one takes no password.
func TestStatementOfThePageGivesAnIAMUserOfMySQLAPassword(t *testing.T) {
	page, err := os.ReadFile("../../docs/IAM.md")
	require.NoError(t, err)
	found := regexp.MustCompile("`ALTER USER 'managing_user' (IDENTIFIED WITH \\w+ BY)`").FindSubmatch(page)
	require.NotNil(t, found)
	user := fmt.Sprintf("guide_%d", serial.Add(1))
	require.NoError(t, oracle.Exec(t.Context(), "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'", "CREATE USER "+user+" IDENTIFIED WITH auth_socket AS 'RDS'"))
	defer func() { assert.NoError(t, oracle.Exec(t.Context(), "DROP USER "+user, "UNINSTALL PLUGIN auth_socket")) }()
	require.NoError(t, oracle.Exec(t.Context(), "ALTER USER "+user+" IDENTIFIED BY '"+newPassword+"'"))
	assert.Error(t, logIn(t, oracle, user, newPassword), "the page warns of this for nothing")
	require.NoError(t, oracle.Exec(t.Context(), fmt.Sprintf("ALTER USER %s %s '%s'", user, found[1], newPassword)))
	assert.NoError(t, logIn(t, oracle, user, newPassword))
}
