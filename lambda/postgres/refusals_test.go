package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// refusals are what the database refuses, or would: the failure, and the state that it leaves.
var refusals = map[string]struct {
	prepare func(request *event.Request) []string // statements of the administrator
	stage   connector.Stage
	says    []string
}{
	"a role that is not there": {
		prepare: func(r *event.Request) []string { r.RotateUser.Username = "user1"; return nil },
		stage:   connector.StageCheck, says: []string{`"user1"`, "CREATE ROLE", "rotateUser.username is what the template fills in"},
	},
	"a role that may not log in": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.RotateUser.Username + " NOLOGIN"}
		},
		stage: connector.StageCheck, says: []string{"ALTER ROLE", "LOGIN"},
	},
	"a role past its end": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.RotateUser.Username + " VALID UNTIL '2020-01-01'"}
		},
		stage: connector.StageCheck, says: []string{"VALID UNTIL"},
	},
	"a role without a connection": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.RotateUser.Username + " CONNECTION LIMIT 0"}
		},
		stage: connector.StageCheck, says: []string{"CONNECTION LIMIT"},
	},
	"a role that may not connect to the database": {
		prepare: func(r *event.Request) []string {
			r.Database = "closed_" + r.RotateUser.Username
			return []string{"CREATE DATABASE " + r.Database, "REVOKE CONNECT ON DATABASE " + r.Database + " FROM PUBLIC", "GRANT CONNECT ON DATABASE " + r.Database + " TO " + r.ManagingUser.Username}
		},
		stage: connector.StageCheck, says: []string{"GRANT CONNECT ON DATABASE"},
	},
	"a member of rds_iam": {
		prepare: func(r *event.Request) []string {
			return []string{"REVOKE " + r.RotateUser.Username + " FROM " + r.ManagingUser.Username, "GRANT rds_iam TO " + r.RotateUser.Username}
		},
		stage: connector.StageCheck, says: []string{"REVOKE rds_iam FROM", "by another role"},
	},
	// The managing user is a member of the other, and so of rds_iam as well, which on RDS decides how it logs in.
	"a managing user who is in rds_iam by the one to rotate": {
		prepare: func(r *event.Request) []string { return []string{"GRANT rds_iam TO " + r.RotateUser.Username} },
		stage:   connector.StageLogin, says: []string{"in clear", "such as one of the users to rotate: REVOKE rds_iam FROM"},
	},
	"a managing user outside rds_password": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " SET rds.restrict_password_commands = 'on'"}
		},
		stage: connector.StageCheck, says: []string{"GRANT rds_password TO"},
	},
	"a superuser": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.RotateUser.Username + " SUPERUSER"}
		},
		stage: connector.StageChange, says: []string{"42501", "superuser"},
	},
	"a managing user without CREATEROLE": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " NOCREATEROLE"}
		},
		stage: connector.StageChange, says: []string{"42501", "CREATEROLE"},
	},
	"a managing user whose sessions act as another role": {
		prepare: func(r *event.Request) []string {
			other, manager := "other_"+r.ManagingUser.Username, r.ManagingUser.Username
			return []string{"CREATE ROLE " + other, "GRANT " + other + " TO " + manager, "ALTER ROLE " + manager + " SET role = " + other}
		},
		stage: connector.StageChange, says: []string{"42501", "act as another role", "RESET role;"},
	},
	"a database whose sessions act as another role": {
		prepare: func(r *event.Request) []string {
			other, manager := "other_"+r.ManagingUser.Username, r.ManagingUser.Username
			r.Database = "acting_" + r.RotateUser.Username
			return []string{"CREATE ROLE " + other, "GRANT " + other + " TO " + manager, "CREATE DATABASE " + r.Database, "ALTER DATABASE " + r.Database + " SET role = " + other}
		},
		stage: connector.StageChange, says: []string{"42501", "act as another role", `ALTER DATABASE "acting_`, "RESET role;"},
	},
	"a managing user whose sessions act as another role in a database": {
		prepare: func(r *event.Request) []string {
			other, manager := "other_"+r.ManagingUser.Username, r.ManagingUser.Username
			return []string{"CREATE ROLE " + other, "GRANT " + other + " TO " + manager, "ALTER ROLE " + manager + " IN DATABASE app SET role = " + other}
		},
		stage: connector.StageChange, says: []string{"42501", "act as another role", `IN DATABASE "app" RESET role;`},
	},
	"a database whose sessions only read": {
		prepare: func(r *event.Request) []string {
			r.Database = "reading_" + r.RotateUser.Username
			return []string{"CREATE DATABASE " + r.Database, "ALTER DATABASE " + r.Database + " SET default_transaction_read_only = on"}
		},
		stage: connector.StageCheck, says: []string{"25006", `ALTER DATABASE "reading_`, "RESET default_transaction_read_only;"},
	},
	"a managing user whose sessions only read": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " SET default_transaction_read_only = on"}
		},
		stage: connector.StageCheck, says: []string{"25006", "ALTER ROLE", "RESET default_transaction_read_only;"},
	},
	"a wrong managing password": {
		prepare: func(r *event.Request) []string {
			r.ManagingUser.Password = event.NewSecret("manager_password")
			return nil
		},
		stage: connector.StageLogin, says: []string{"28P01", "managingUser.password is what the template fills in"},
	},
	"a managing password with a line end": {
		prepare: func(r *event.Request) []string {
			r.ManagingUser.Password = event.NewSecret(managerPassword + "\n")
			return nil
		},
		stage: connector.StageLogin, says: []string{"28P01", "managingUser.password begins or ends with a blank or a line end"},
	},
	"a role in quotes": {
		prepare: func(r *event.Request) []string {
			r.RotateUser.Username = `"` + r.RotateUser.Username + `"`
			return nil
		},
		stage: connector.StageCheck, says: []string{"there is no role", "rotateUser.username is in quotes"},
	},
	"a database with a line end": {
		prepare: func(r *event.Request) []string { r.Database += "\n"; return nil },
		stage:   connector.StageLogin, says: []string{"3D000", "database begins or ends with a blank or a line end"},
	},
	"the managing user at its limit, whose limit it is": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " CONNECTION LIMIT 0"}
		},
		stage: connector.StageLogin, says: []string{"53300", "the user's own limit", "CONNECTION LIMIT -1"},
	},
	"a database at its limit": {
		prepare: func(r *event.Request) []string {
			r.Database = "narrow_" + r.RotateUser.Username
			return []string{"CREATE DATABASE " + r.Database + " CONNECTION LIMIT 0"}
		},
		stage: connector.StageLogin, says: []string{"53300", "the database's own limit", "ALTER DATABASE"},
	},
	"a database that takes no connections": {
		prepare: func(r *event.Request) []string {
			r.Database = "shut_" + r.RotateUser.Username
			return []string{"CREATE DATABASE " + r.Database + " ALLOW_CONNECTIONS false"}
		},
		stage: connector.StageLogin, says: []string{"55000", "takes no connections", "ALLOW_CONNECTIONS true"},
	},
	"a library that is not there": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " SET session_preload_libraries = 'nowhere'"}
		},
		stage: connector.StageLogin, says: []string{"58P01", "session_preload_libraries"},
	},
	"a managing user that is not there": {
		prepare: func(r *event.Request) []string { r.ManagingUser.Username = "managing_user"; return nil },
		stage:   connector.StageLogin, says: []string{"28P01", "managingUser.username is what the template fills in"},
	},
	"a managing user that may not log in": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " NOLOGIN"}
		},
		stage: connector.StageLogin, says: []string{"28000", "LOGIN"},
	},
	"a managing user at its limit": {
		prepare: func(r *event.Request) []string {
			return []string{"ALTER ROLE " + r.ManagingUser.Username + " CONNECTION LIMIT 0"}
		},
		stage: connector.StageLogin, says: []string{"53300", "limit"},
	},
	"a database that is not there": {
		prepare: func(r *event.Request) []string { r.Database = "rotator_db"; return nil },
		stage:   connector.StageLogin, says: []string{"3D000", `"rotator_db"`, "database is what the template fills in"},
	},
	"a login by a password in clear": {
		prepare: func(r *event.Request) []string { r.ManagingUser.Username = "clear"; return nil },
		stage:   connector.StageLogin, says: []string{"in clear", "scram-sha-256"},
	},
	"a login without a password": {
		prepare: func(r *event.Request) []string { r.ManagingUser.Username = "trusted"; return nil },
		stage:   connector.StageLogin, says: []string{"trust"},
	},
	"a managing user whom pg_hba.conf leaves out": {
		prepare: func(r *event.Request) []string { r.ManagingUser.Username = "shut_out"; return nil },
		stage:   connector.StageLogin, says: []string{"28000", "pg_hba.conf", "DB_SSLMODE"},
	},
}

func TestRefusalsNameTheStageAndTheFixAndChangeNothing(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		require.NoError(t, server.Exec(t.Context(), "CREATE ROLE trusted LOGIN CREATEROLE"))
		for name, refusal := range refusals {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := newRequest(t, server)
				user := request.RotateUser.Username
				if statements := refusal.prepare(&request); statements != nil {
					require.NoError(t, server.Exec(t.Context(), statements...))
				}
				before := stored(t, server, user)
				timeout := plenty
				if strings.Contains(name, "at its limit") { // is asked again until the end
					timeout = 2 * time.Second
				}
				_, err := rotate(t, request, timeout)
				var failure *connector.Failure
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, refusal.stage, failure.Stage, err)
				assert.Equal(t, connector.Unchanged, failure.State, err)
				for _, part := range refusal.says {
					assert.ErrorContains(t, err, part)
				}
				assert.Equal(t, before, stored(t, server, user))
			})
		}
	})
}

func TestMissingPrivilegesAreNamedWithTheGrant(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		request := newRequest(t, server)
		manager, user := request.ManagingUser.Username, request.RotateUser.Username
		require.NoError(t, server.Exec(t.Context(), "REVOKE "+user+" FROM "+manager))
		_, err := rotate(t, request, plenty)
		if version < 16 { // CREATEROLE alone may change any role but superusers
			assert.NoError(t, err)
			require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+user+" REPLICATION"))
			_, err = rotate(t, request, plenty)
			assert.ErrorContains(t, err, "NOREPLICATION")
			return
		}
		const grant = `GRANT "`
		require.ErrorContains(t, err, grant+user+`" TO "`+manager+`" WITH ADMIN OPTION`)
		require.NoError(t, server.Exec(t.Context(), err.Error()[strings.Index(err.Error(), grant):]))
		_, err = rotate(t, request, plenty)
		assert.NoError(t, err)
		require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+manager+" NOCREATEROLE"))
		_, err = rotate(t, request, plenty)
		assert.ErrorContains(t, err, `ALTER ROLE "`+manager+`" CREATEROLE`)
		assert.NotContains(t, err.Error(), "GRANT", "what is granted already")
	})
}

func TestReplicaIsRefusedByName(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartPostgres(t.Context(), dbtest.Options{Standby: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	_, err = rotate(t, event.Request{Type: event.TypePostgres, Host: server.Host, Port: server.Port, Database: "postgres",
		ManagingUser: &event.ManagingUser{Username: server.AdminUser, Password: event.NewSecret(server.AdminPassword)},
		RotateUser:   &event.RotateUser{Username: "user1", NewPassword: event.NewSecret(newPassword)}}, plenty)
	assert.ErrorContains(t, err, "read-only replica")
	assert.ErrorContains(t, err, "writer endpoint")
}
