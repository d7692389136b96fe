package mysql_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/mysql"
)

// replicates has a server follow another from here on. Both are of the same product.
var replicates = map[string]struct {
	start    func(context.Context, dbtest.Options) (*dbtest.Server, error)
	position string
	follow   func(source *dbtest.Server, file, position string) []string
}{
	"mariadb": {dbtest.StartMariaDB, "SHOW MASTER STATUS", func(source *dbtest.Server, file, position string) []string {
		return []string{fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='follower', MASTER_PASSWORD='follows', MASTER_SSL=1, MASTER_LOG_FILE='%s', MASTER_LOG_POS=%s",
			source.Host, source.Port, file, position), "START SLAVE"}
	}},
	"mysql": {dbtest.StartMySQL, "SHOW BINARY LOG STATUS", func(source *dbtest.Server, file, position string) []string {
		return []string{fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='follower', SOURCE_PASSWORD='follows', SOURCE_SSL=1, SOURCE_LOG_FILE='%s', SOURCE_LOG_POS=%s",
			source.Host, source.Port, file, position), "START REPLICA"}
	}},
}

// replicated starts a server and one that follows it. caughtUp waits until that has done all that was done before.
func replicated(t *testing.T, name string) (source, replica *dbtest.Server, caughtUp func(marker string)) {
	t.Helper()
	product := replicates[name]
	var both [2]*dbtest.Server
	for i := range both {
		server, err := product.start(t.Context(), dbtest.Options{TLS: true, Settings: map[string]string{"server_id": fmt.Sprint(i + 1)}})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, server.Stop()) })
		both[i] = server
	}
	source, replica = both[0], both[1]
	require.NoError(t, source.Exec(t.Context(), "CREATE DATABASE app", "CREATE USER follower@'%' IDENTIFIED BY 'follows'", "GRANT REPLICATION SLAVE ON *.* TO follower@'%'"))
	status, err := client(t, source, source.AdminUser, source.AdminPassword, product.position)
	require.NoError(t, err, status)
	fields := strings.Fields(status)
	require.NoError(t, replica.Exec(t.Context(), append([]string{"CREATE DATABASE app"}, product.follow(source, fields[0], fields[1])...)...))
	return source, replica, func(marker string) {
		t.Helper()
		require.NoError(t, source.Exec(t.Context(), "CREATE DATABASE "+marker))
		require.Eventually(t, func() bool { return replica.Exec(t.Context(), "USE "+marker) == nil }, time.Minute, 50*time.Millisecond,
			"the replica does not follow any more")
	}
}

// A replica may lack an account: it was made with sql_log_bin off, or a filter leaves the accounts out.
func TestReplicaThatLacksTheAccountGoesOn(t *testing.T) {
	t.Parallel()
	for name := range replicates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, replica, caughtUp := replicated(t, name)
			request := newRequest(t, source, "%")
			caughtUp("before_it")
			require.NoError(t, replica.Exec(t.Context(), "SET sql_log_bin = 0", "DROP USER "+request.RotateUser.Username+"@'%'"))
			outcome, err := mysql.Rotate(t.Context(), connector.NewServer(request, trust(t, source)), request)
			require.NoError(t, err)
			assert.Equal(t, connector.ProofDone, outcome.Proof)
			caughtUp("after_it")
		})
	}
}
