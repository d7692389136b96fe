package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/postgres"
)

const masterPassword = "Master-Secret-4"

// quoted is a name as SQL writes it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// newPreparation makes a master user as RDS has it, which is no superuser, and a database of its own, and is the request that
// prepares it. Names end with a number of the test's, and begin with what is given.
func newPreparation(t *testing.T, server *dbtest.Server, prefix string) event.Request {
	t.Helper()
	number := serial.Add(1)
	name := func(what string) string { return fmt.Sprintf("%s%s_%d", prefix, what, number) }
	master, database := name("master"), name("db")
	require.NoError(t, server.Exec(t.Context(), "CREATE ROLE "+quoted(master)+" LOGIN CREATEROLE CREATEDB PASSWORD '"+masterPassword+"'",
		"CREATE DATABASE "+quoted(database)+" OWNER "+quoted(master)))
	return event.Request{Type: event.TypePostgres, Host: server.Host, Port: server.Port, Database: database, Prepare: &event.Prepare{
		MasterUser:   event.MasterUser{Username: master, Password: event.NewSecret(masterPassword)},
		ManagingUser: event.ManagingUser{Username: name("manager"), Password: event.NewSecret(managerPassword)},
		RotateUsers:  []string{name("one"), name("two")}, ApplicationRole: name("app"),
	}}
}

func prepare(t *testing.T, request event.Request, timeout time.Duration) (connector.Outcome, error) {
	t.Helper()
	require.NoError(t, request.Check())
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	server := connector.NewServer(request, nil)
	defer server.Close()
	return postgres.Prepare(ctx, server, request)
}

// in runs statements in a database, as an application does, and answers the rows of the last.
func in(t *testing.T, server *dbtest.Server, database, user, password, statements string) (string, error) {
	t.Helper()
	session, err := connectTo(t, server, database, user, password)
	if err != nil {
		return "", err
	}
	defer session.Close(t.Context())
	results, err := session.Exec(t.Context(), statements).ReadAll()
	var lines []string
	if len(results) > 0 {
		for _, row := range results[len(results)-1].Rows {
			lines = append(lines, string(bytes.Join(row, []byte("|"))))
		}
	}
	return strings.Join(lines, "\n"), err
}

// all are the names that a preparation makes.
func all(request event.Request) []string {
	names := append([]string{request.Prepare.ManagingUser.Username}, request.Prepare.RotateUsers...)
	if request.Prepare.ApplicationRole != "" {
		names = append(names, request.Prepare.ApplicationRole)
	}
	return names
}

// rotateBoth rotates both users by the managing user, as ESC does, and logs in as they do with psql.
func rotateBoth(t *testing.T, server *dbtest.Server, request event.Request) {
	t.Helper()
	for _, user := range request.Prepare.RotateUsers {
		rotation := event.Request{Type: request.Type, Host: server.Host, Port: server.Port, Database: request.Database, ManagingUser: &request.Prepare.ManagingUser,
			RotateUser: &event.RotateUser{Username: user, NewPassword: event.NewSecret(newPassword)}}
		require.NoError(t, rotation.Check())
		outcome, err := rotate(t, rotation, plenty)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		if role := request.Prepare.ApplicationRole; role != "" {
			output, err := in(t, server, request.Database, user, newPassword, "SET ROLE "+quoted(role))
			assert.NoError(t, err, output)
		}
	}
}

// everything is all that a server knows of the request's users, and of who may do what in the database.
func everything(t *testing.T, server *dbtest.Server, request event.Request) string {
	t.Helper()
	text := func(name string) string { return "'" + strings.ReplaceAll(name, "'", "''") + "'" }
	var names []string
	for _, name := range all(request) {
		names = append(names, text(name))
	}
	list := strings.Join(names, ", ")
	kept, err := server.Query(t.Context(), `SELECT (SELECT string_agg((to_jsonb(a) - 'oid')::text, E'\n' ORDER BY rolname) FROM pg_authid a WHERE rolname IN (`+list+`, `+text(request.Prepare.MasterUser.Username)+`)),
		(SELECT string_agg(format(E'\n%s in %s by %s %s', member::regrole, roleid::regrole, grantor::regrole, to_jsonb(m) - '{oid, member, roleid, grantor}'::text[]), '' ORDER BY roleid::regrole::text, member::regrole::text, grantor::regrole::text)
			FROM pg_auth_members m WHERE EXISTS (SELECT FROM pg_authid WHERE oid IN (m.member, m.roleid) AND rolname IN (`+list+`))),
		(SELECT datacl FROM pg_database WHERE datname = `+text(request.Database)+`)`)
	require.NoError(t, err)
	output, err := in(t, server, request.Database, server.AdminUser, server.AdminPassword, "SELECT nspacl FROM pg_namespace WHERE nspname = 'public'")
	require.NoError(t, err, output)
	return kept + "\n" + output
}

func TestPreparationGoesFromAnEmptyServerToBothUsersRotated(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		for _, prefix := range []string{"", `it's "a" `, "%_", "user@10.0.%", `back\slash;-- `, "UPPER.é密 ", "$$ $1 {user} "} {
			t.Run(prefix, func(t *testing.T) {
				t.Parallel()
				request := newPreparation(t, server, prefix)
				outcome, err := prepare(t, request, plenty)
				require.NoError(t, err)
				assert.Equal(t, all(request), outcome.Made)
				assert.Empty(t, outcome.Found)
				rotateBoth(t, server, request)
				for _, statement := range []string{"CREATE TABLE made ()", "INSERT INTO made DEFAULT VALUES"} {
					output, err := in(t, server, request.Database, request.Prepare.RotateUsers[0], newPassword, "SET ROLE "+quoted(request.Prepare.ApplicationRole)+"; "+statement)
					assert.NoError(t, err, output)
				}
				output, err := in(t, server, request.Database, request.Prepare.RotateUsers[1], newPassword, "SELECT * FROM made")
				assert.NoError(t, err, output)

				before := everything(t, server, request)
				outcome, err = prepare(t, request, plenty)
				require.NoError(t, err)
				assert.Empty(t, outcome.Made)
				assert.Equal(t, all(request), outcome.Found)
				assert.Contains(t, outcome.Message, "nothing was missing")
				assert.Equal(t, before, everything(t, server, request))
			})
		}
	})
}

// What a preparation makes is what the README's SQL makes.
func TestPreparedUsersAreThoseOfTheReadme(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		byHand, byEvent := newPreparation(t, server, ""), newPreparation(t, server, "")
		manager, one, two, role := quoted(byHand.Prepare.ManagingUser.Username), quoted(byHand.Prepare.RotateUsers[0]), quoted(byHand.Prepare.RotateUsers[1]), quoted(byHand.Prepare.ApplicationRole)
		output, err := in(t, server, byHand.Database, byHand.Prepare.MasterUser.Username, masterPassword, strings.Join([]string{
			"CREATE ROLE " + role + " NOLOGIN", "CREATE ROLE " + one + " LOGIN IN ROLE " + role, "CREATE ROLE " + two + " LOGIN IN ROLE " + role,
			"CREATE ROLE " + manager + " LOGIN CREATEROLE NOINHERIT", "GRANT " + one + ", " + two + " TO " + manager + " WITH ADMIN OPTION",
			"GRANT " + role + " TO CURRENT_USER", "GRANT CREATE ON SCHEMA public TO " + role, "GRANT USAGE ON SCHEMA public TO " + role,
			"ALTER ROLE " + manager + " PASSWORD '" + managerPassword + "'"}, "; "))
		require.NoError(t, err, output)
		_, err = prepare(t, byEvent, plenty)
		require.NoError(t, err)
		same := func(request event.Request) string { // but for numbers of the test's and for salts
			return regexp.MustCompile(`SCRAM-SHA-256[^"]+|_\d+`).ReplaceAllString(everything(t, server, request), "")
		}
		assert.Equal(t, same(byHand), same(byEvent))
	})
}

func TestNoPasswordOfAPreparationReachesTheServerLog(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		const unmistakable = "Xq8-unmistakable-Zw8"
		for encryption, prefix := range map[string]string{"scram-sha-256": "SCRAM-SHA-256$4096:", "md5": "md5"} {
			request := newPreparation(t, server, "")
			request.Prepare.ManagingUser.Password = event.NewSecret(unmistakable)
			require.NoError(t, server.Exec(t.Context(), "ALTER ROLE "+quoted(request.Prepare.MasterUser.Username)+" SET password_encryption = '"+encryption+"'"))
			_, err := prepare(t, request, plenty)
			require.NoError(t, err)
			manager := request.Prepare.ManagingUser.Username
			assert.True(t, strings.HasPrefix(stored(t, server, manager), prefix))
			_, err = psql(t, server, manager, unmistakable, "SELECT 1")
			assert.NoError(t, err)
			_, err = prepare(t, request, plenty)
			require.NoError(t, err)
			log, err := os.ReadFile(server.LogFile)
			require.NoError(t, err)
			assert.Contains(t, string(log), `CREATE ROLE "`+manager+`" LOGIN CREATEROLE NOINHERIT PASSWORD '`+prefix)
			assert.NotContains(t, string(log), unmistakable)
		}
	})
}

// Without TLS, whoever reads along sees verifiers, and proofs of passwords, which are another each time.
func TestNoPasswordOfAPreparationIsSentInClear(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newPreparation(t, server, "")
		var lock sync.Mutex
		var heard bytes.Buffer
		proxy, err := dbtest.StartProxy(net.JoinHostPort(server.Host, strconv.Itoa(server.Port)), func(fromServer bool, number int, begun []byte) int {
			size := message(fromServer, number, begun)
			lock.Lock()
			defer lock.Unlock()
			if size > 0 && size <= len(begun) {
				heard.Write(begun[:size])
			}
			return size
		}, dbtest.Break{After: -1})
		require.NoError(t, err)
		defer proxy.Stop()
		through := request
		through.Port = proxy.Port
		for range 2 {
			_, err = prepare(t, through, plenty)
			require.NoError(t, err)
		}
		rotateBoth(t, server, request)
		proxy.Stop()
		assert.Contains(t, heard.String(), "NOINHERIT PASSWORD 'SCRAM-SHA-256$")
		assert.Contains(t, heard.String(), request.Prepare.ManagingUser.Username+"\x00", "its login is heard as well")
		for _, secret := range []string{masterPassword, managerPassword} {
			assert.NotContains(t, heard.String(), secret)
		}
	})
}

func TestRolesOfAPreparationMayBeLeftOut(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newPreparation(t, server, "")
		request.Prepare.ApplicationRole = ""
		outcome, err := prepare(t, request, plenty)
		require.NoError(t, err)
		assert.Len(t, outcome.Made, 3)
		rotateBoth(t, server, request)
		roles, err := server.Query(t.Context(), "SELECT count(*) FROM pg_auth_members WHERE member = '"+request.Prepare.RotateUsers[0]+"'::regrole")
		require.NoError(t, err)
		assert.Equal(t, "0", roles, "a user is in no role")
	})
}

// partial are states of a server between none of the users and all of them. The statements run as the master user, or as the
// administrator where they say so, and hold the names by what they are.
var partial = map[string]struct {
	master, admin []string
	found         string // of m (manager), 1, 2 and r (role)
	adds          []string
}{
	"one user":                                  {master: []string{"CREATE ROLE {1} LOGIN PASSWORD 'kept'"}, found: "1", adds: []string{"ADMIN OPTION", "membership in"}},
	"both users":                                {master: []string{"CREATE ROLE {1} LOGIN", "CREATE ROLE {2} LOGIN"}, found: "12"},
	"both users, one in the role":               {master: []string{"CREATE ROLE {r}", "CREATE ROLE {1} LOGIN IN ROLE {r}", "CREATE ROLE {2} LOGIN"}, found: "12r"},
	"the role":                                  {master: []string{"CREATE ROLE {r}"}, found: "r"},
	"the role, which may log in":                {master: []string{"CREATE ROLE {r} LOGIN"}, found: "r"},
	"the managing user":                         {master: []string{"CREATE ROLE {m} LOGIN CREATEROLE NOINHERIT PASSWORD '" + managerPassword + "'"}, found: "m"},
	"a managing user without CREATEROLE":        {master: []string{"CREATE ROLE {m} LOGIN PASSWORD '" + managerPassword + "'"}, found: "m", adds: []string{"CREATEROLE"}},
	"a managing user and its users":             {master: []string{"CREATE ROLE {m} LOGIN CREATEROLE PASSWORD '" + managerPassword + "'", "CREATE ROLE {1} LOGIN", "CREATE ROLE {2} LOGIN", "GRANT {1} TO {m} WITH ADMIN OPTION"}, found: "m12"},
	"a managing user without ADMIN OPTION":      {master: []string{"CREATE ROLE {m} LOGIN CREATEROLE PASSWORD '" + managerPassword + "'", "CREATE ROLE {1} LOGIN", "CREATE ROLE {2} LOGIN", "GRANT {1}, {2} TO {m}"}, found: "m12", adds: []string{"ADMIN OPTION"}},
	"a managing user that may not connect":      {master: []string{"CREATE ROLE {m} LOGIN CREATEROLE PASSWORD '" + managerPassword + "'", "REVOKE CONNECT ON DATABASE {d} FROM PUBLIC"}, found: "m", adds: []string{"CONNECT"}},
	"nobody may connect":                        {master: []string{"REVOKE CONNECT ON DATABASE {d} FROM PUBLIC"}, found: ""},
	"a user that may not connect":               {master: []string{"CREATE ROLE {1} LOGIN", "REVOKE CONNECT ON DATABASE {d} FROM PUBLIC"}, found: "1", adds: []string{"CONNECT"}},
	"a superuser for managing user":             {admin: []string{"CREATE ROLE {m} LOGIN SUPERUSER PASSWORD '" + managerPassword + "'"}, found: "m"},
	"nobody may use plpgsql":                    {master: []string{"CREATE TABLE public.kept ()"}, admin: []string{"REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC"}, adds: []string{"of the 1 tables and sequences in the schema public the role may use 0"}},
	"no plpgsql":                                {admin: []string{"DROP EXTENSION plpgsql"}},
	"no schema public":                          {admin: []string{"DROP SCHEMA public"}, found: ""},
	"a role whose members users are by another": {master: []string{"CREATE ROLE {r}", "CREATE ROLE {r}_more IN ROLE {r}", "CREATE ROLE {1} LOGIN IN ROLE {r}_more"}, found: "1r"},
}

// naming puts the names of a request into statements.
func naming(request event.Request, statements []string) string {
	return strings.NewReplacer("{m}", request.Prepare.ManagingUser.Username, "{1}", request.Prepare.RotateUsers[0], "{2}", request.Prepare.RotateUsers[1],
		"{r}", request.Prepare.ApplicationRole, "{d}", request.Database, "{master}", request.Prepare.MasterUser.Username).Replace(strings.Join(statements, "; "))
}

func TestPreparationCompletesWhatIsThere(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		for name, c := range partial {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := newPreparation(t, server, "")
				output, err := in(t, server, request.Database, request.Prepare.MasterUser.Username, masterPassword, naming(request, c.master))
				require.NoError(t, err, output)
				output, err = in(t, server, request.Database, server.AdminUser, server.AdminPassword, naming(request, c.admin))
				require.NoError(t, err, output)
				kept := map[string]string{}
				for _, user := range all(request) {
					kept[user] = stored(t, server, user)
				}

				dry := request
				dry.DryRun = true
				before := everything(t, server, request)
				would, err := prepare(t, dry, plenty)
				require.NoError(t, err)
				assert.Equal(t, before, everything(t, server, request))
				assert.Contains(t, would.Message, "dry run, nothing was changed: ")
				assert.Empty(t, would.Made)

				outcome, err := prepare(t, request, plenty)
				require.NoError(t, err)
				var made, found []string
				for i, one := range all(request) {
					if strings.Contains(c.found, string("m12r"[i])) {
						found = append(found, one)
						assert.Equal(t, kept[one], stored(t, server, one), "its password is kept")
					} else {
						made = append(made, one)
					}
				}
				assert.Equal(t, made, outcome.Made)
				assert.Equal(t, found, outcome.Found)
				assert.Equal(t, found, would.Found)
				for _, part := range c.adds {
					assert.Contains(t, outcome.Message, part)
				}
				for _, one := range made {
					assert.Contains(t, would.Message, strconv.Quote(one))
				}
				rotateBoth(t, server, request)
				before = everything(t, server, request)
				outcome, err = prepare(t, request, plenty)
				require.NoError(t, err)
				assert.Empty(t, outcome.Made)
				assert.Contains(t, outcome.Message, "nothing was missing")
				assert.Equal(t, before, everything(t, server, request))
			})
		}
	})
}

// hopeless are preparations that are refused. Where a message has statements, they mend it.
var hopeless = map[string]struct {
	admin   []string // statements of the administrator, in the request's database
	spoil   func(request *event.Request)
	since   int // the version from which it is so
	until   int
	stage   connector.Stage
	says    []string
	mending bool
}{
	"a master user without CREATEROLE": {admin: []string{"ALTER ROLE {master} NOCREATEROLE"}, stage: connector.StagePrepare,
		says: []string{"the master user", "may not create it (42501), which takes CREATEROLE"}, mending: true},
	"a user of somebody else's": {admin: []string{"CREATE ROLE {1} LOGIN"}, since: 16, stage: connector.StagePrepare,
		says: []string{`may not give the managing user`, "which takes ADMIN OPTION on"}, mending: true},
	"a role of somebody else's": {admin: []string{"CREATE ROLE {r}"}, since: 16, stage: connector.StagePrepare,
		says: []string{`may not make it a member of`, "which takes ADMIN OPTION on"}, mending: true},
	"a managing user of somebody else's, without CREATEROLE": {admin: []string{"CREATE ROLE {m} LOGIN PASSWORD '" + managerPassword + "'"}, since: 16, stage: connector.StagePrepare,
		says: []string{`may not give it CREATEROLE`, "which takes ADMIN OPTION on"}, mending: true},
	"a database of somebody else's": {admin: []string{"ALTER DATABASE {d} OWNER TO postgres", "REVOKE CONNECT ON DATABASE {d} FROM PUBLIC", "GRANT CONNECT ON DATABASE {d} TO {master}"}, stage: connector.StagePrepare,
		spoil: func(r *event.Request) { r.Prepare.ApplicationRole = "" }, says: []string{"may not let it connect to the database", "GRANT CONNECT ON DATABASE"}, mending: true},
	"a schema of somebody else's": {admin: []string{"ALTER SCHEMA public OWNER TO postgres", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"}, stage: connector.StagePrepare,
		says: []string{"may not let it create tables in the schema public (the server only warned)"}, mending: true},
	"a schema that nobody may use": {admin: []string{"ALTER SCHEMA public OWNER TO postgres", "REVOKE ALL ON SCHEMA public FROM PUBLIC"}, stage: connector.StagePrepare,
		says: []string{"may not let it create tables in the schema public (42501)"}, mending: true},
	"a managing user with another password": {admin: []string{"CREATE ROLE {m} LOGIN CREATEROLE PASSWORD 'another'"}, stage: connector.StageLogin,
		says: []string{"is there already: the given password does not log in (28P01)", "never changes it", `\password`}},
	"a managing user without a password": {admin: []string{"CREATE ROLE {m} LOGIN CREATEROLE"}, stage: connector.StageLogin, says: []string{"the given password does not log in (28P01)"}},
	"a managing user that may not log in": {admin: []string{"CREATE ROLE {m} CREATEROLE PASSWORD '" + managerPassword + "'"}, stage: connector.StageLogin,
		says: []string{"is there already: the role may not log in (28000)"}},
	"a managing user in rds_iam": {admin: []string{"CREATE ROLE {m} LOGIN CREATEROLE PASSWORD '" + managerPassword + "'", "GRANT rds_iam TO {m}"}, stage: connector.StageLogin,
		says: []string{"is there already: the server asks for the password in clear"}},
	"a user that may not log in":    {admin: []string{"CREATE ROLE {1}"}, stage: connector.StageCheck, says: []string{"may not log in", "ALTER ROLE"}, mending: true},
	"a user past its end":           {admin: []string{"CREATE ROLE {2} LOGIN VALID UNTIL '2020-01-01'"}, stage: connector.StageCheck, says: []string{"VALID UNTIL"}},
	"a user without a connection":   {admin: []string{"CREATE ROLE {2} LOGIN CONNECTION LIMIT 0"}, stage: connector.StageCheck, says: []string{"connection limit is 0"}},
	"a superuser":                   {admin: []string{"CREATE ROLE {2} LOGIN SUPERUSER"}, stage: connector.StageCheck, says: []string{"no managing user may change its password", "superuser"}},
	"a user for replication":        {admin: []string{"CREATE ROLE {2} LOGIN REPLICATION"}, until: 15, stage: connector.StageCheck, says: []string{"NOREPLICATION"}},
	"a member of rds_iam":           {admin: []string{"CREATE ROLE {1} LOGIN", "GRANT rds_iam TO {1}"}, stage: connector.StageCheck, says: []string{"REVOKE rds_iam FROM"}},
	"users that are each other's":   {admin: []string{"CREATE ROLE {m} LOGIN CREATEROLE PASSWORD '" + managerPassword + "'", "CREATE ROLE {1} LOGIN", "GRANT {m} TO {1}", "GRANT {1} TO {master} WITH ADMIN OPTION"}, stage: connector.StagePrepare, says: []string{"0LP01", "members of each other"}},
	"too many iterations":           {admin: []string{"ALTER ROLE {master} SET scram_iterations = 2000000"}, since: 16, stage: connector.StagePrepare, says: []string{"scram_iterations is more than 1000000"}},
	"a wrong master password":       {spoil: func(r *event.Request) { r.Prepare.MasterUser.Password = event.NewSecret("wrong\n") }, stage: connector.StageMaster, says: []string{"28P01", "masterPassword", "line end"}},
	"a master user that is none":    {spoil: func(r *event.Request) { r.Prepare.MasterUser.Username = "nobody_there" }, stage: connector.StageMaster, says: []string{"28P01"}},
	"a master user without login":   {admin: []string{"ALTER ROLE {master} NOLOGIN"}, stage: connector.StageMaster, says: []string{"28000", "LOGIN"}},
	"a master user shut out":        {admin: []string{"REVOKE CONNECT ON DATABASE {d} FROM PUBLIC, {master}", "ALTER DATABASE {d} OWNER TO postgres"}, stage: connector.StageMaster, says: []string{"42501", "GRANT CONNECT ON DATABASE"}, mending: true},
	"a database that is none":       {spoil: func(r *event.Request) { r.Database = "nowhere" }, stage: connector.StageMaster, says: []string{"3D000", "CREATE DATABASE"}},
	"a master user that only reads": {admin: []string{"ALTER ROLE {master} SET default_transaction_read_only = on"}, stage: connector.StagePrepare, says: []string{"25006", "default_transaction_read_only"}},
	"a master user who acts as another": {admin: []string{"CREATE ROLE {master}_as", "GRANT {master}_as TO {master}", "ALTER ROLE {master} SET role = {master}_as"}, stage: connector.StagePrepare,
		says: []string{"42501", "act as another role"}},
}

func TestPreparationThatCannotGoWellMakesNothingAndSaysWhy(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		for name, c := range hopeless {
			if version < c.since || c.until > 0 && version > c.until {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := newPreparation(t, server, "")
				if c.admin != nil {
					output, err := in(t, server, request.Database, server.AdminUser, server.AdminPassword, naming(request, c.admin))
					require.NoError(t, err, output)
				}
				names := request
				before := everything(t, server, names)
				if c.spoil != nil {
					prepare := *request.Prepare
					request.Prepare = &prepare
					c.spoil(&request)
				}
				for _, dryRun := range []bool{true, false} {
					request.DryRun = dryRun
					_, err := prepare(t, request, plenty)
					var failure *connector.Failure
					require.ErrorAs(t, err, &failure)
					assert.Equal(t, c.stage, failure.Stage, err)
					assert.Equal(t, connector.Unchanged, failure.State, err)
					assert.NotEmpty(t, failure.Fix)
					for _, part := range c.says {
						assert.ErrorContains(t, err, part)
					}
					assert.NotContains(t, err.Error(), "{")
					assert.Equal(t, before, everything(t, server, names))
				}
				// Each statement of a message mends one thing, as whoever may run it.
				for tries := 0; c.mending; tries++ {
					_, err := prepare(t, request, plenty)
					if err == nil {
						rotateBoth(t, server, request)
						return
					}
					require.Less(t, tries, 6, err)
					statement := regexp.MustCompile(`: ((GRANT|ALTER) [^;]*;)`).FindStringSubmatch(err.Error())
					require.NotNil(t, statement, err)
					output, failed := in(t, server, names.Database, server.AdminUser, server.AdminPassword, statement[1])
					require.NoError(t, failed, output)
				}
			})
		}
	})
}

func TestPreparationOnAReplicaIsRefused(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartPostgres(t.Context(), dbtest.Options{Standby: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	_, err = prepare(t, event.Request{Type: event.TypePostgres, Host: server.Host, Port: server.Port, Database: "postgres", Prepare: &event.Prepare{
		MasterUser:   event.MasterUser{Username: server.AdminUser, Password: event.NewSecret(server.AdminPassword)},
		ManagingUser: event.ManagingUser{Username: "manager", Password: event.NewSecret(managerPassword)}, RotateUsers: []string{"one", "two"}}}, plenty)
	assert.ErrorContains(t, err, "read-only replica")
	assert.ErrorContains(t, err, "writer endpoint")
}

func TestManagingUserGetsRDSPasswordWhereItIsRestricted(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		for _, there := range []bool{false, true} {
			request := newPreparation(t, server, "")
			manager, master := request.Prepare.ManagingUser.Username, request.Prepare.MasterUser.Username
			require.NoError(t, server.Exec(t.Context(), "ALTER DATABASE "+quoted(request.Database)+" SET rds.restrict_password_commands = 'on'"))
			if there {
				output, err := in(t, server, request.Database, master, masterPassword, "CREATE ROLE "+manager+" LOGIN PASSWORD '"+managerPassword+"'")
				require.NoError(t, err, output)
			}
			if version >= 16 {
				_, err := prepare(t, request, plenty)
				require.ErrorContains(t, err, `which takes ADMIN OPTION on "rds_password"`)
				require.NoError(t, server.Exec(t.Context(), "GRANT rds_password TO "+master+" WITH ADMIN OPTION"))
			}
			outcome, err := prepare(t, request, plenty)
			require.NoError(t, err)
			assert.Equal(t, there, strings.Contains(outcome.Message, `membership in "rds_password"`))
			member, err := server.Query(t.Context(), "SELECT pg_has_role('"+manager+"', 'rds_password', 'MEMBER')")
			require.NoError(t, err)
			assert.Equal(t, "t", member)
			rotateBoth(t, server, request)
		}
	})
}

// The README's grants fail at the first table of another owner's.
func TestRoleThatIsMadeMayUseTheTablesThatTheMasterUserMayGive(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newPreparation(t, server, "")
		master := request.Prepare.MasterUser.Username
		output, err := in(t, server, request.Database, server.AdminUser, server.AdminPassword, naming(request, []string{
			`CREATE TABLE public."it's ""mine"" $$" (id serial)`, `ALTER TABLE public."it's ""mine"" $$" OWNER TO {master}`, "CREATE TABLE public.theirs (id serial)", "CREATE TABLE public.lent ()",
			"GRANT SELECT ON public.lent TO {master} WITH GRANT OPTION", "CREATE SCHEMA elsewhere AUTHORIZATION {master}", "CREATE TABLE elsewhere.mine ()", "ALTER TABLE elsewhere.mine OWNER TO {master}"}))
		require.NoError(t, err, output)
		outcome, err := prepare(t, request, plenty)
		require.NoError(t, err)
		assert.Contains(t, outcome.Message, "of the 5 tables and sequences in the schema public the role may use 2, and for the others their owners", master)
		rotateBoth(t, server, request)
		user := request.Prepare.RotateUsers[1]
		for statement, allowed := range map[string]bool{
			`INSERT INTO public."it's ""mine"" $$" DEFAULT VALUES`: true, `SELECT * FROM public."it's ""mine"" $$"`: true, "SELECT * FROM public.theirs": false,
			"SELECT * FROM public.lent": true, "INSERT INTO public.lent DEFAULT VALUES": false, "SELECT * FROM elsewhere.mine": false,
		} {
			output, err := in(t, server, request.Database, user, newPassword, statement)
			assert.Equal(t, allowed, err == nil, "%s: %s", statement, output)
		}
		_, err = in(t, server, request.Database, server.AdminUser, server.AdminPassword, `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM `+quoted(request.Prepare.ApplicationRole))
		require.NoError(t, err)
		_, err = prepare(t, request, plenty)
		require.NoError(t, err)
		output, err = in(t, server, request.Database, user, newPassword, `SELECT * FROM public."it's ""mine"" $$"`)
		assert.Error(t, err, "a role that is there is left as it is: %s", output)
	})
}

// From PostgreSQL 16 on nobody but a member of rds_iam, or a superuser, makes others its members; RDS has rules of its own. A master
// user that is refused is not locked out.
func TestManagingUserWithoutAPasswordIsMadeOrTheMasterUserIsLeftAsItIs(t *testing.T) {
	on(t, withMembers, func(t *testing.T, version int, server *dbtest.Server) {
		request := newPreparation(t, server, "")
		manager, master := &request.Prepare.ManagingUser, request.Prepare.MasterUser.Username
		manager.Password, manager.Authentication = event.Secret{}, event.AuthenticationIAM
		require.NoError(t, request.Check())
		before := everything(t, server, request)
		for _, dry := range []bool{true, false} {
			request.DryRun = dry
			reached := connector.NewServer(request, nil)
			reached.IAM = true
			outcome, err := postgres.Prepare(t.Context(), reached, request)
			reached.Close()
			if version >= 16 {
				for _, part := range []string{fmt.Sprintf("%q may not make it a member of rds_iam (42501)", master), "managingAuthentication to password", "Nothing was changed"} {
					assert.ErrorContains(t, err, part)
				}
				assert.Equal(t, before, everything(t, server, request))
			} else if require.NoError(t, err); !dry {
				assert.Equal(t, all(request), outcome.Made)
				kept, err := server.Query(t.Context(), fmt.Sprintf("SELECT rolpassword, pg_has_role(oid, 'rds_iam', 'MEMBER'), rolcanlogin, rolcreaterole, rolinherit FROM pg_authid WHERE rolname = '%s'", manager.Username))
				require.NoError(t, err)
				assert.Equal(t, "|t|t|t|f", strings.TrimSpace(kept))
			}
			output, err := in(t, server, request.Database, master, masterPassword, "SELECT 1")
			assert.NoError(t, err, output)
		}
	})
}
