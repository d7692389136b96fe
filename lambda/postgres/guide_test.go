package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/dbtest"
)

// The page's grant of rds_iam makes an IAM user, or nothing: it never takes the login by password from who runs it.
func TestGrantOfThePageLocksNoMasterOut(t *testing.T) {
	page, err := os.ReadFile("../../docs/IAM.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(page), "\n```sql\nBEGIN;\n")
	block, _, found := strings.Cut("BEGIN;\n"+rest, "```\n")
	require.True(t, found)
	on(t, withMembers, func(t *testing.T, version int, server *dbtest.Server) {
		number := serial.Add(1)
		master, manager := fmt.Sprintf("master_%d", number), fmt.Sprintf("managing_user_%d", number)
		const password = "Master-Secret-1"
		require.NoError(t, server.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN CREATEROLE PASSWORD '%s'", master, password)))
		output, err := psql(t, server, master, password, "CREATE ROLE "+manager+" LOGIN CREATEROLE NOINHERIT")
		require.NoError(t, err, output)
		statements := strings.ReplaceAll(block, "managing_user", manager)
		if version < 16 {
			output, err = psql(t, server, master, password, statements)
			require.NoError(t, err, output)
		} else {
			// Here nobody but a superuser, or a member of rds_iam, makes others its members; RDS has rules of its own. So a superuser
			// grants in the master's place, and then is the master.
			statements = strings.Replace(statements, "TO "+manager+";", "TO "+manager+"; SET LOCAL SESSION AUTHORIZATION "+master+";", 1)
			output, err = psql(t, server, server.AdminUser, server.AdminPassword, statements)
			assert.Error(t, err)
			assert.Contains(t, output, "this would take the login by password from "+master)
		}
		assert.Equal(t, map[bool]string{true: "t", false: "f"}[version < 16], asAdmin(t, server, "SELECT pg_has_role('"+manager+"', 'rds_iam', 'MEMBER')"))
		output, err = psql(t, server, master, password, "SELECT 1")
		assert.NoError(t, err, "the master is locked out: "+output)
	})
}
