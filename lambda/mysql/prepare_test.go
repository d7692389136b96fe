package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// site is a server on which users are prepared, and the terms of its TLS.
type site struct {
	*dbtest.Server
	terms *connector.TLS
}

// onEach runs a test on MariaDB without TLS and on MySQL with it.
func onEach(t *testing.T, test func(t *testing.T, on site)) {
	t.Parallel()
	for name, on := range map[string]site{"mariadb": {plain, nil}, "mysql": {oracle, trusted}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, on)
		})
	}
}

const masterPassword = "Master-Secret-0"

// ofRDS are the privileges of the master user of MySQL and MariaDB on RDS, on the whole server, WITH GRANT OPTION:
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.MasterAccounts.html
const ofRDS = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, " +
	"EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER"

// newPreparation makes a database and a master user as RDS has it, and is the request that prepares three users there.
func newPreparation(t *testing.T, on site) event.Request {
	t.Helper()
	number := serial.Add(1)
	master, database := fmt.Sprintf("master_%dth", number), fmt.Sprintf("my_app_%dth", number)
	require.NoError(t, on.Exec(t.Context(), "CREATE DATABASE "+database, "CREATE TABLE "+database+".t (a INT)",
		fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", master, masterPassword), fmt.Sprintf("GRANT %s ON *.* TO %s@'%%' WITH GRANT OPTION", ofRDS, master)))
	return event.Request{
		Type: event.TypeMySQL, Host: on.Host, Port: on.Port, Database: database,
		Prepare: &event.Prepare{
			MasterUser:   event.MasterUser{Username: master, Password: event.NewSecret(masterPassword)},
			ManagingUser: event.ManagingUser{Username: fmt.Sprintf("esc_manager_%dth", number), Password: event.NewSecret(managerPassword)},
			RotateUsers:  []string{fmt.Sprintf("app_1_%dth", number), fmt.Sprintf("app_2_%dth", number)},
			Privileges:   []string{"SELECT", "INSERT", "UPDATE", "DELETE"},
		},
	}
}

func names(request event.Request) []string {
	return append([]string{request.Prepare.ManagingUser.Username}, request.Prepare.RotateUsers...)
}

func prepareWithin(t *testing.T, on site, timeout time.Duration, request event.Request) (connector.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	require.NoError(t, request.Check())
	server := connector.NewServer(request, on.terms)
	defer server.Close()
	outcome, err := mysql.Prepare(ctx, server, request)
	if err != nil {
		require.NotNil(t, connector.AsFailure(err), "%v", err)
	}
	return outcome, err
}

func prepare(t *testing.T, on site, request event.Request) (connector.Outcome, error) {
	t.Helper()
	return prepareWithin(t, on, plenty, request)
}

// both rotates both users of a preparation by its managing user, as ESC does.
func both(t *testing.T, on site, request event.Request) {
	t.Helper()
	for i, user := range request.Prepare.RotateUsers {
		rotation := request
		rotation.Prepare, rotation.ManagingUser = nil, &request.Prepare.ManagingUser
		rotation.RotateUser = &event.RotateUser{Username: user, NewPassword: event.NewSecret(fmt.Sprintf("Rotated-Secret-%d", i))}
		outcome, err := mysql.Rotate(t.Context(), connector.NewServer(rotation, on.terms), rotation)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof, outcome.Note)
	}
}

// accounts are all accounts of a server whose names hold a text, with what the server stores of their passwords, and their
// privileges, as the administrator sees them.
func accounts(t *testing.T, on site, part string) string {
	t.Helper()
	return ask(t, on, "SELECT CONCAT_WS(' ', User, Host, plugin, HEX(authentication_string)) FROM mysql.user WHERE INSTR(User, '"+part+"') ORDER BY User, Host") +
		held(t, on, part)
}

// held are the privileges of all accounts whose names hold a text.
func held(t *testing.T, on site, part string) string {
	t.Helper()
	const query = "SELECT CONCAT_WS(' ', GRANTEE, %s, PRIVILEGE_TYPE, IS_GRANTABLE) FROM information_schema.%s WHERE INSTR(GRANTEE, '%s') AND PRIVILEGE_TYPE != 'USAGE' ORDER BY 1"
	return ask(t, on, fmt.Sprintf(query, "'*'", "USER_PRIVILEGES", part)) + ask(t, on, fmt.Sprintf(query, "TABLE_SCHEMA", "SCHEMA_PRIVILEGES", part))
}

// ask is what a query of the administrator answers, a line for each row.
func ask(t *testing.T, on site, query string) (lines string) {
	t.Helper()
	pool := as(t, on, on.AdminUser, on.AdminPassword, "")
	defer pool.Close()
	rows, err := pool.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		lines += line + "\n"
	}
	require.NoError(t, rows.Err())
	return lines
}

// as logs in as a user, as an application does.
func as(t *testing.T, on site, user, password, database string) *sql.DB {
	t.Helper()
	config := driver.NewConfig()
	config.Net, config.Addr, config.DBName = "tcp", address(on.Server), database
	config.User, config.Passwd, config.Logger = user, password, &driver.NopLogger{}
	if on.CAFile != "" {
		config.TLSConfig = "skip-verify"
	}
	connector, err := driver.NewConnector(config)
	require.NoError(t, err)
	return sql.OpenDB(connector)
}

// suffix is what the names of a request's users end with, and no others.
func suffix(request event.Request) string {
	name := request.Prepare.RotateUsers[0]
	return name[strings.LastIndex(name, "_"):]
}

func TestFromAnEmptyServerToBothUsersRotated(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		dry := request
		dry.DryRun = true
		outcome, err := prepare(t, on, dry)
		require.NoError(t, err)
		database := strings.ReplaceAll(request.Database, "_", `\_`)
		assert.Contains(t, outcome.Message, "nothing was changed")
		assert.Contains(t, outcome.Message, "would make '"+request.Prepare.ManagingUser.Username+"'@'%' with CREATE USER ON *.* and ALTER ON `"+database+"`.*, ")
		assert.Contains(t, outcome.Message, ", '"+request.Prepare.RotateUsers[1]+"'@'%' with SELECT, INSERT, UPDATE, DELETE ON `"+database+"`.*")
		assert.NotContains(t, outcome.Message, "Not known")

		outcome, err = prepare(t, on, request)
		require.NoError(t, err)
		assert.Equal(t, names(request), outcome.Made)
		assert.Empty(t, outcome.Found)
		assert.Contains(t, outcome.Message, "made '"+request.Prepare.ManagingUser.Username+"'@'%' with ")
		assert.Contains(t, outcome.Message, ", '"+request.Prepare.RotateUsers[0]+"'@'%' with SELECT, INSERT, UPDATE, DELETE ON ")
		both(t, on, request)
		manager := request.Prepare.ManagingUser.Username
		assert.Equal(t, "'"+manager+"'@'%' * CREATE USER NO\n'"+manager+"'@'%' "+database+" ALTER NO\n", held(t, on, manager))
		for i, user := range request.Prepare.RotateUsers {
			inDatabase(t, on, user, fmt.Sprintf("Rotated-Secret-%d", i), request.Database, "INSERT INTO t VALUES (1)", "DELETE FROM t")
		}

		before := accounts(t, on, suffix(request))
		for _, again := range []event.Request{request, dry} {
			outcome, err = prepare(t, on, again)
			require.NoError(t, err)
			assert.Empty(t, outcome.Made)
			assert.Equal(t, names(request), outcome.Found)
			assert.Contains(t, outcome.Message, "nothing was missing")
			assert.NotContains(t, outcome.Message, "would")
			assert.Equal(t, before, accounts(t, on, suffix(request)), "a second run changed something")
		}
		both(t, on, request)
	})
}

// inDatabase runs statements in a database as a user.
func inDatabase(t *testing.T, on site, user, password, database string, statements ...string) {
	t.Helper()
	require.NoError(t, tryIn(t, on, user, password, database, statements...))
}

// tryIn is inDatabase where that may fail.
func tryIn(t *testing.T, on site, user, password, database string, statements ...string) error {
	t.Helper()
	pool := as(t, on, user, password, database)
	defer pool.Close()
	session, err := pool.Conn(t.Context())
	if err != nil {
		return err
	}
	defer session.Close()
	for _, statement := range statements {
		if _, err := session.ExecContext(t.Context(), statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// What is there is kept, whatever of it that is.
func TestUsersThatAreThereAreKeptAndGetWhatTheyLack(t *testing.T) {
	type state struct {
		there   func(r event.Request) []string // statements of the administrator
		made    func(r event.Request) []string
		refused []string
	}
	create := func(user, password string) string {
		return "CREATE USER " + user + "@'%' IDENTIFIED BY '" + password + "'"
	}
	grant := func(privileges, user string) string { return "GRANT " + privileges + " TO " + user + "@'%'" }
	manager := func(r event.Request) string { return r.Prepare.ManagingUser.Username }
	for name, c := range map[string]state{
		"one user to rotate": {
			there: func(r event.Request) []string { return []string{create(r.Prepare.RotateUsers[1], oldPassword)} },
			made:  func(r event.Request) []string { return []string{manager(r), r.Prepare.RotateUsers[0]} },
		},
		"both users to rotate, by the README's SQL": {
			there: func(r event.Request) (all []string) {
				for _, user := range r.Prepare.RotateUsers {
					all = append(all, create(user, oldPassword), grant("SELECT, INSERT, UPDATE, DELETE ON "+r.Database+".*", user))
				}
				return all
			},
			made: func(r event.Request) []string { return []string{manager(r)} },
		},
		"all, by the README's SQL": {
			there: func(r event.Request) (all []string) {
				for _, user := range r.Prepare.RotateUsers {
					all = append(all, create(user, oldPassword), grant("SELECT, INSERT, UPDATE, DELETE ON "+r.Database+".*", user))
				}
				return append(all, create(manager(r), managerPassword), grant("CREATE USER ON *.*", manager(r)), grant("ALTER ON "+r.Database+".*", manager(r)))
			},
			made: func(event.Request) []string { return nil },
		},
		"a managing user without privileges": {
			there: func(r event.Request) []string { return []string{create(manager(r), managerPassword)} },
			made:  func(r event.Request) []string { return r.Prepare.RotateUsers },
		},
		"a managing user without its right on the database": {
			there: func(r event.Request) []string {
				return []string{create(manager(r), managerPassword), grant("CREATE USER ON *.*", manager(r))}
			},
			made: func(r event.Request) []string { return r.Prepare.RotateUsers },
		},
		"a managing user with more than it needs": {
			there: func(r event.Request) []string {
				return []string{create(manager(r), managerPassword), grant("ALTER, CREATE USER, PROCESS ON *.*", manager(r))}
			},
			made: func(r event.Request) []string { return r.Prepare.RotateUsers },
		},
		"a managing user with another password": {
			there: func(r event.Request) []string { return []string{create(manager(r), "Another-Secret-9")} },
			refused: []string{"the managing user is there", "refused the given password (error 1045)", "its password is never changed here", "Nothing was changed",
				"Set managingPassword to the one that it has"},
		},
		"a user to rotate with some privileges": {
			there: func(r event.Request) []string {
				return []string{create(r.Prepare.RotateUsers[0], oldPassword), grant("SELECT ON `"+strings.ReplaceAll(r.Database, "_", `\_`)+"`.*", r.Prepare.RotateUsers[0])}
			},
			made: func(r event.Request) []string { return []string{manager(r), r.Prepare.RotateUsers[1]} },
		},
		"a user of the same name for other hosts": {
			there: func(r event.Request) []string {
				return []string{"CREATE USER " + r.Prepare.RotateUsers[0] + "@'10.9.%' IDENTIFIED BY 'x'"}
			},
			refused: []string{"'@'%' is not there, but 'app_1_", "'@'10.9.%' is", `th@10.9.%", or another user`, "Nothing was changed"},
		},
		"a user of the same name on the server's own machine": {
			there: func(r event.Request) []string {
				return []string{"CREATE USER " + r.Prepare.RotateUsers[0] + "@localhost IDENTIFIED BY 'x'"}
			},
			made: names,
		},
		"a user whose name differs in case": {
			there: func(r event.Request) []string {
				return []string{create(strings.ToUpper(r.Prepare.RotateUsers[0]), "x")}
			},
			made: names,
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, on site) {
				request := newPreparation(t, on)
				require.NoError(t, on.Exec(t.Context(), c.there(request)...))
				before := accounts(t, on, suffix(request))
				outcome, err := prepare(t, on, request)
				if c.refused != nil {
					for _, part := range c.refused {
						assert.ErrorContains(t, err, part)
					}
					assert.Equal(t, before, accounts(t, on, suffix(request)))
					return
				}
				require.NoError(t, err)
				assert.Equal(t, c.made(request), outcome.Made)
				assert.ElementsMatch(t, names(request), slices.Concat(outcome.Made, outcome.Found))
				after := accounts(t, on, suffix(request))
				for _, line := range strings.Split(before, "\n") {
					assert.Contains(t, after, line, "what was there is not kept")
				}
				both(t, on, request)
				for i, user := range request.Prepare.RotateUsers {
					inDatabase(t, on, user, fmt.Sprintf("Rotated-Secret-%d", i), request.Database, "INSERT INTO t VALUES (1)", "UPDATE t SET a = 2", "SELECT a FROM t", "DELETE FROM t")
				}
			})
		})
	}
}

// A grant on the database alone is the only one at which the server looks from then on.
func TestWiderGrantStaysInForce(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		user, other := request.Prepare.RotateUsers[0], strings.Replace(request.Database, "_", "X", 1)
		require.NoError(t, on.Exec(t.Context(), "CREATE DATABASE "+other, "CREATE TABLE "+other+".t (a INT)", "CREATE USER "+user+"@'%' IDENTIFIED BY '"+oldPassword+"'",
			"GRANT SELECT, INSERT, CREATE, DROP ON "+request.Database+".* TO "+user+"@'%'"))
		outcome, err := prepare(t, on, request)
		require.NoError(t, err)
		assert.Regexp(t, "found '"+user+"'@'%'; added .*UPDATE.* to '"+user+"'@'%'$", outcome.Message)
		work := []string{"CREATE TABLE made (a INT)", "DROP TABLE made", "INSERT INTO t VALUES (1)", "UPDATE t SET a = 2", "DELETE FROM t", "SELECT a FROM t"}
		inDatabase(t, on, user, oldPassword, request.Database, work...)
		inDatabase(t, on, user, oldPassword, other, "SELECT a FROM t")
		assert.Error(t, tryIn(t, on, user, oldPassword, other, "UPDATE t SET a = 2"), "the other database is reached by more than before")
		before := accounts(t, on, suffix(request))
		_, err = prepare(t, on, request)
		require.NoError(t, err)
		assert.Equal(t, before, accounts(t, on, suffix(request)))

		// Where it cannot be repeated, nothing is done.
		user = request.Prepare.RotateUsers[1]
		for _, wide := range [][]string{
			{"SELECT ON `my%" + suffix(request) + "`.* TO " + user + "@'%'", "INSERT ON `" + request.Database + "`.* TO " + user + "@'%'"},
			{"SELECT ON `" + request.Database + "`.* TO " + user + "@'%' WITH GRANT OPTION"},
		} {
			statements := []string{"DROP USER " + user + "@'%'", "CREATE USER " + user + "@'%' IDENTIFIED BY '" + oldPassword + "'"}
			for _, grant := range wide {
				statements = append(statements, "GRANT "+grant)
			}
			require.NoError(t, on.Exec(t.Context(), statements...))
			before := accounts(t, on, suffix(request))
			_, err = prepare(t, on, request)
			for _, part := range []string{"by a wider grant", "SHOW GRANTS FOR `" + user + "`@`%`", "Nothing was changed"} {
				assert.ErrorContains(t, err, part)
			}
			assert.Equal(t, before, accounts(t, on, suffix(request)))
		}
	})
}

func TestAnyNameIsPrepared(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		for _, name := range []string{"it's", `say "hi"`, "with space", "100%", "under_score", "a@b", "dotted.name", "UpperCase", `back\slash`, `\_`, "back`tick", "naïve", "semi;colon--",
			"what?", "a/b?c#d", "'quoted'", `tail\`} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := newPreparation(t, on)
				number := fmt.Sprintf("_%dth", serial.Add(1))
				database := name + number
				require.NoError(t, on.Exec(t.Context(), "CREATE DATABASE `"+strings.ReplaceAll(database, "`", "``")+"`", "CREATE TABLE `"+strings.ReplaceAll(database, "`", "``")+"`.t (a INT)"))
				request.Database = database
				request.Prepare.ManagingUser.Username = name + "m" + number + "@127.0.%"
				request.Prepare.RotateUsers = []string{name + "1" + number + "@%", name + "2" + number + "@127.0.0.0/255.255.255.0"}
				outcome, err := prepare(t, on, request)
				require.NoError(t, err)
				assert.Equal(t, names(request), outcome.Made)
				both(t, on, request)
				inDatabase(t, on, name+"2"+number, "Rotated-Secret-1", database, "INSERT INTO t VALUES (1)")
				outcome, err = prepare(t, on, request)
				require.NoError(t, err)
				assert.Equal(t, names(request), outcome.Found)
			})
		}
	})
}

// A database whose name matches the other's as a pattern stays out of reach.
func TestDatabaseOfASimilarNameStaysOutOfReach(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		similar := strings.Replace(request.Database, "_", "X", 1)
		require.NoError(t, on.Exec(t.Context(), "CREATE DATABASE "+similar))
		_, err := prepare(t, on, request)
		require.NoError(t, err)
		assert.Error(t, tryIn(t, on, request.Prepare.ManagingUser.Username, managerPassword, similar))
		inDatabase(t, on, request.Prepare.ManagingUser.Username, managerPassword, request.Database)
	})
}

func TestPrivilegesMayBeMissing(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		request.Prepare.Privileges = nil
		outcome, err := prepare(t, on, request)
		require.NoError(t, err)
		assert.Contains(t, outcome.Message, "'"+request.Prepare.RotateUsers[0]+"'@'%' with no privilege")
		both(t, on, request)
		assert.Error(t, tryIn(t, on, request.Prepare.RotateUsers[0], "Rotated-Secret-0", request.Database))
	})
}

// Each privilege that an event may name is one of both products.
func TestEachPrivilegeIsGiven(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		request.Prepare.Privileges = strings.Split("ALTER,ALTER ROUTINE,CREATE,CREATE ROUTINE,CREATE TEMPORARY TABLES,CREATE VIEW,DELETE,DROP,EXECUTE,INDEX,INSERT,LOCK TABLES,REFERENCES,SELECT,SHOW VIEW,TRIGGER,UPDATE", ",")
		_, err := prepare(t, on, request)
		require.NoError(t, err)
		for _, privilege := range request.Prepare.Privileges {
			assert.Contains(t, held(t, on, request.Prepare.RotateUsers[0]), " "+privilege+" NO\n")
		}
	})
}

func TestMasterThatMayNotMakesNothingAndIsToldThePrivilege(t *testing.T) {
	for name, c := range map[string]struct {
		grants []string // in place of those that it has; $master, $database
		says   []string
	}{
		"no right to make users":            {[]string{"SELECT, ALTER ON *.* TO $master WITH GRANT OPTION"}, []string{"making 'esc_manager_", "lacks a privilege (error 1227)", "CREATE USER ON *.*"}},
		"no right to pass it on":            {[]string{"SELECT, CREATE USER ON *.* TO $master", "ALL ON $database.* TO $master WITH GRANT OPTION"}, []string{"giving 'esc_manager_", "lacks a privilege (error 1045)", "GRANT CREATE USER ON *.* TO 'master_", "WITH GRANT OPTION"}},
		"no right to pass on one on tables": {[]string{"SELECT, INSERT, UPDATE, ALTER, CREATE USER ON *.* TO $master WITH GRANT OPTION"}, []string{"giving 'app_1_", "lacks a privilege (error 1044)", "GRANT SELECT, INSERT, UPDATE, DELETE ON `my"}},
		"no right to pass on ALTER":         {[]string{"SELECT, INSERT, UPDATE, DELETE, CREATE USER ON *.* TO $master WITH GRANT OPTION"}, []string{"giving 'esc_manager_", "lacks a privilege (error 1044)", "GRANT ALTER ON `my"}},
		"no right to see accounts":          {[]string{"CREATE USER ON *.* TO $master WITH GRANT OPTION", "ALL ON $database.* TO $master WITH GRANT OPTION"}, []string{"looking for 'esc_manager_", "lacks a privilege", "GRANT SELECT ON `mysql`.* TO 'master_"}},
		"no right on the database":          {[]string{"CREATE USER ON *.* TO $master"}, []string{"log in as master user: ", "no rights on the database", "error 1044"}},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, on site) {
				request := newPreparation(t, on)
				master := request.Prepare.MasterUser.Username + "@'%'"
				statements := []string{"REVOKE ALL PRIVILEGES, GRANT OPTION FROM " + master}
				for _, grant := range c.grants {
					statements = append(statements, "GRANT "+strings.NewReplacer("$master", master, "$database", request.Database).Replace(grant))
				}
				require.NoError(t, on.Exec(t.Context(), statements...))
				before := accounts(t, on, suffix(request))
				_, err := prepare(t, on, request)
				for _, part := range append(c.says, "Nothing was changed") {
					assert.ErrorContains(t, err, part)
				}
				assert.Equal(t, before, accounts(t, on, suffix(request)))
			})
		})
	}
}

func TestPreparationsThatCannotGoWellAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *event.Request)
		says   []string
	}{
		"a wrong master password":         {func(r *event.Request) { r.Prepare.MasterUser.Password = event.NewSecret("Wrong-Secret-7") }, []string{"log in as master user: ", "error 1045", "masterPassword"}},
		"a database that is not there":    {func(r *event.Request) { r.Database = "no_such_app" }, []string{`there is no database "no_such_app" (error 1049)`, "CREATE DATABASE `no_such_app`"}},
		"the server's own database":       {func(r *event.Request) { r.Database = "mysql" }, []string{"the server's own"}},
		"a managing user for other hosts": {func(r *event.Request) { r.Prepare.ManagingUser.Username += "@10.9.9.9" }, []string{"would not let in this function, which the server sees as 127.0.0.1"}},
		"the master, in another case": {func(r *event.Request) { r.Prepare.RotateUsers[0] = strings.ToUpper(r.Prepare.MasterUser.Username) },
			[]string{"is the master user, or differs from it in quotes or case alone"}},
		"a name that is too long":      {func(r *event.Request) { r.Prepare.RotateUsers[1] = strings.Repeat("long", 40) }, []string{"error 1470", "longer than an account's can be"}},
		"a name in quotes, as in SQL":  {func(r *event.Request) { r.Prepare.RotateUsers[0] = "'" + r.Prepare.RotateUsers[0] + "'@'%'" }, []string{"no such name could log in", `is in quotes, which count as a part of the name: write "app_1_`}},
		"a name with an emoji":         {func(r *event.Request) { r.Prepare.RotateUsers[1] = "app😀" }, []string{"characters that none can have, those of four bytes in UTF-8"}},
		"a master in quotes as in SQL": {func(r *event.Request) { r.Prepare.MasterUser.Username = "'no_master'@'%'" }, []string{"error 1045", "prepare.masterUser.username is in quotes"}},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, on site) {
				request := newPreparation(t, on)
				part := suffix(request)
				c.change(&request)
				before := accounts(t, on, part)
				_, err := prepare(t, on, request)
				for _, says := range append(c.says, "Nothing was changed") {
					assert.ErrorContains(t, err, says)
				}
				for _, secret := range request.Secrets() {
					assert.NotContains(t, err.Error(), secret.Reveal())
				}
				assert.Equal(t, before, accounts(t, on, part))
			})
		})
	}
}

func TestManyAtOnceMakeOneOfEach(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		var lock sync.Mutex
		var made []string
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				outcome, err := prepare(t, on, request)
				lock.Lock()
				defer lock.Unlock()
				assert.NoError(t, err)
				made = append(made, outcome.Made...)
				assert.Len(t, slices.Concat(outcome.Made, outcome.Found), 3)
			})
		}
		all.Wait()
		assert.ElementsMatch(t, names(request), made)
		both(t, on, request)
	})
}

// The hash alone leaves, so that not even a log of what the server is sent holds a password.
func TestNoPasswordOfAPreparationIsInAnyLog(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(context.Context, dbtest.Options) (*dbtest.Server, error){"mariadb": dbtest.StartMariaDB, "mysql": dbtest.StartMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := map[string]string{"slow_query_log": "ON", "long_query_time": "0", "slow_query_log_file": "slow.log"}
			if name == "mysql" {
				settings["log_raw"] = "ON"
			}
			server, err := start(t.Context(), dbtest.Options{TLS: true, Settings: settings})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, server.Stop()) })
			on := site{server, trust(t, server)}
			request := newPreparation(t, on)
			const unmistakable = "Xq7-unmistakable-Zw9"
			request.Prepare.ManagingUser.Password = event.NewSecret(unmistakable)
			for range 2 {
				outcome, err := prepare(t, on, request)
				require.NoError(t, err)
				assert.NotContains(t, fmt.Sprintf("%+v", outcome), unmistakable)
			}
			logs, err := filepath.Glob(filepath.Join(server.DataDir, "binlog.0*"))
			require.NoError(t, err)
			require.NotEmpty(t, logs)
			held := 0
			for _, file := range append(logs, server.LogFile, server.ErrorLogFile, filepath.Join(server.DataDir, "slow.log")) {
				content, err := os.ReadFile(file)
				require.NoError(t, err)
				assert.False(t, bytes.Contains(content, []byte(unmistakable)), "%s holds the managing password", file)
				if bytes.Contains(content, []byte("CREATE USER IF NOT EXISTS")) && bytes.Contains(content, []byte(request.Prepare.ManagingUser.Username)) {
					held++
				}
			}
			assert.GreaterOrEqual(t, held, 2, "the statement is not in both the general and the binary log")
		})
	}
}

// A dry run of both users to rotate tells of each whether it is there and may be changed, with the managing user's rights.
func TestDryRunOfBothUsers(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		prepared := newPreparation(t, on)
		_, err := prepare(t, on, prepared)
		require.NoError(t, err)
		users := prepared.Prepare.RotateUsers
		look := func(change func(r *event.Request)) (connector.Outcome, error) {
			request := prepared
			request.Prepare, request.DryRun, request.ManagingUser = nil, true, &event.ManagingUser{Username: prepared.Prepare.ManagingUser.Username, Password: prepared.Prepare.ManagingUser.Password}
			request.RotateUsers = slices.Clone(users)
			change(&request)
			require.NoError(t, request.Check())
			return mysql.DryRun(t.Context(), connector.NewServer(request, on.terms), request)
		}
		before := accounts(t, on, suffix(prepared))
		outcome, err := look(func(*event.Request) {})
		require.NoError(t, err)
		for _, user := range users {
			assert.Contains(t, outcome.Message, "'"+user+"'@'%' exists and may be changed")
		}
		for name, c := range map[string]struct {
			change func(r *event.Request)
			says   []string
		}{
			"the second is not there":      {func(r *event.Request) { r.RotateUsers[1] = "user2" }, []string{"'user2'@'%'", "no such account", "template"}},
			"the first is of another host": {func(r *event.Request) { r.RotateUsers[0] += "@10.0.%" }, []string{"'@'10.0.%'", "no such account"}},
			"the second is who asks":       {func(r *event.Request) { r.RotateUsers[1] = strings.ToUpper(r.ManagingUser.Username) }, []string{"differ in quotes or case alone"}},
		} {
			_, err := look(c.change)
			for _, part := range append(c.says, "Nothing was changed") {
				assert.ErrorContains(t, err, part, name)
			}
		}
		assert.Equal(t, before, accounts(t, on, suffix(prepared)))
		require.NoError(t, on.Exec(t.Context(), "REVOKE CREATE USER ON *.* FROM "+prepared.Prepare.ManagingUser.Username+"@'%'"))
		_, err = look(func(*event.Request) {})
		assert.ErrorContains(t, err, "the managing user may not change it")
	})
}
