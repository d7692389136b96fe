package mysql_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/mysql"
)

// products are the two servers, each with settings of a test's own.
var products = map[string]func(context.Context, dbtest.Options) (*dbtest.Server, error){"mariadb": dbtest.StartMariaDB, "mysql": dbtest.StartMySQL}

// siteOf starts a server of a test's own, with TLS.
func siteOf(t *testing.T, product string, settings map[string]string) site {
	t.Helper()
	server, err := products[product](t.Context(), dbtest.Options{TLS: true, Settings: settings})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	return site{server, trust(t, server)}
}

// through is the site as it is reached through a proxy in clear, which breaks connections at a place.
func through(t *testing.T, on site, frame dbtest.Frame, at dbtest.Break) (site, *dbtest.Proxy) {
	t.Helper()
	proxy, err := dbtest.StartProxy(address(on.Server), frame, at)
	require.NoError(t, err)
	t.Cleanup(proxy.Stop)
	return on, proxy
}

// Wherever a preparation is cut off, the answer is true, and the next one ends with both users rotated.
func TestPreparationThatIsCutAnywhereIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	for product := range products {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			on := siteOf(t, product, nil)
			whole, proxy := newPreparation(t, on), (*dbtest.Proxy)(nil)
			_, proxy = through(t, on, packet, dbtest.Break{After: -1})
			plain := site{on.Server, nil}
			request := whole
			request.Port = proxy.Port
			_, err := prepare(t, plain, request)
			require.NoError(t, err)
			passed := func(fromServer bool) int { return proxy.Passed(0, fromServer) }
			t.Logf("%d packets of the function's, %d of the server's", passed(false), passed(true))

			failed, places := 0, 0
			cut := func(at dbtest.Break, timeout time.Duration) {
				places++
				request := newPreparation(t, on)
				before := accounts(t, on, suffix(request))
				_, proxy := through(t, on, packet, at)
				defer proxy.Stop()
				broken := request
				broken.Port = proxy.Port
				_, err := prepareWithin(t, plain, timeout, broken)
				proxy.Stop()
				if err != nil {
					failed++
					if strings.Contains(err.Error(), string(connector.Unchanged)) {
						assert.Equal(t, before, accounts(t, on, suffix(request)), "%+v: %v", at, err)
					} else {
						assert.ErrorContains(t, err, string(connector.MaybeMade), "%+v", at)
					}
				}
				outcome, err := prepare(t, on, request)
				if assert.NoError(t, err, "%+v", at) {
					assert.ElementsMatch(t, names(request), append(outcome.Made, outcome.Found...))
					both(t, on, request)
				}
			}
			for _, fromServer := range []bool{false, true} {
				stride := 1
				if fromServer { // several packets are one answer
					stride = 5
				}
				for after := 0; after < passed(fromServer); after += stride {
					at := dbtest.Break{FromServer: fromServer, After: after, Abort: after%2 == 1}
					cut(at, plenty)
					if at.Connection = dbtest.Each; after%3 == 0 {
						cut(at, 700*time.Millisecond)
					}
				}
			}
			t.Logf("%d cuts, %d preparations failed", places, failed)
			assert.Positive(t, failed)
		})
	}
}

// A function that Lambda froze leaves a session with the lock, which the server ends. What is on its way comes too late then.
func TestLockOfAFrozenPreparationIsGivenBack(t *testing.T) {
	t.Parallel()
	for product := range products {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			on := siteOf(t, product, nil)
			for _, after := range []int{12, 16, 20} { // the function's packets: past the lock, and among the statements
				request := newPreparation(t, on)
				_, proxy := through(t, on, packet, dbtest.Break{After: after, Stall: true})
				frozen := request
				frozen.Port = proxy.Port
				_, err := prepareWithin(t, site{on.Server, nil}, 1500*time.Millisecond, frozen)
				require.Error(t, err)
				assert.NotEmpty(t, strings.TrimSpace(ask(t, on, "SELECT COALESCE(IS_USED_LOCK('esc-connector prepare'), '')")), "no session has the lock")
				_, err = prepare(t, on, request)
				require.NoError(t, err)
				before := accounts(t, on, suffix(request))
				proxy.Stop() // and now comes what was held on the way
				assert.Equal(t, before, accounts(t, on, suffix(request)))
				both(t, on, request)
			}
		})
	}
}

func TestPreparationThatIsAtWorkForLongIsTold(t *testing.T) {
	t.Parallel()
	for product := range products {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			on := siteOf(t, product, nil)
			request := newPreparation(t, on)
			holder := as(t, on, on.AdminUser, on.AdminPassword, "")
			holder.SetMaxOpenConns(1)
			_, err := holder.ExecContext(t.Context(), "DO GET_LOCK('esc-connector prepare', 1)")
			require.NoError(t, err)
			_, err = prepareWithin(t, on, 4*time.Second, request)
			for _, part := range []string{"another preparation is at work on this server", "Nothing was changed", "SELECT IS_USED_LOCK('esc-connector prepare')"} {
				assert.ErrorContains(t, err, part)
			}

			// One that ends in time is waited for, however long a query may take elsewhere.
			if product == "mysql" {
				require.NoError(t, on.Exec(t.Context(), "SET GLOBAL max_execution_time = 500"))
			}
			ended := time.AfterFunc(1500*time.Millisecond, func() { assert.NoError(t, holder.Close()) })
			_, err = prepare(t, on, request)
			assert.NoError(t, err)
			assert.False(t, ended.Stop(), "the lock was not waited for")
		})
	}
}

// when is a frame that runs something before the first packet that holds a text leaves the function.
func when(text string, run func()) dbtest.Frame {
	var once sync.Once
	return func(fromServer bool, number int, begun []byte) int {
		size := packet(fromServer, number, begun)
		if !fromServer && size > 0 && len(begun) >= size && strings.Contains(string(begun[:size]), text) {
			once.Do(run)
		}
		return size
	}
}

// MariaDB would make an account without a password of a GRANT to one that is not there.
func TestAccountThatIsDroppedMeanwhileIsNotMadeWithoutAPassword(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		user := request.Prepare.RotateUsers[0]
		require.NoError(t, on.Exec(t.Context(), "CREATE USER "+user+"@'%' IDENTIFIED BY '"+oldPassword+"'"))
		var dropped atomic.Int64
		drop := func() {
			dropped.Add(1)
			assert.NoError(t, on.Exec(t.Context(), "DROP USER "+user+"@'%'"))
		}
		_, proxy := through(t, on, when("GRANT SELECT, INSERT, UPDATE, DELETE ON `"+strings.ReplaceAll(request.Database, "_", `\_`)+"`.* TO `"+user, drop), dbtest.Break{After: -1})
		broken := request
		broken.Port = proxy.Port
		outcome, err := prepare(t, site{on.Server, nil}, broken)
		require.NoError(t, err)
		assert.EqualValues(t, 1, dropped.Load())
		assert.Contains(t, outcome.Made, user, "it is made again")
		assert.Error(t, tryIn(t, on, user, "", ""))
		both(t, on, request)
	})
}

// Somebody makes an account between the look and the creation: it is theirs.
func TestAccountThatIsMadeMeanwhileIsKept(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		user := request.Prepare.RotateUsers[1]
		create := func() {
			assert.NoError(t, on.Exec(t.Context(), "CREATE USER "+user+"@'%' IDENTIFIED BY '"+oldPassword+"'"))
		}
		_, proxy := through(t, on, when("CREATE USER IF NOT EXISTS `"+user, create), dbtest.Break{After: -1})
		broken := request
		broken.Port = proxy.Port
		outcome, err := prepare(t, site{on.Server, nil}, broken)
		require.NoError(t, err)
		assert.Equal(t, []string{user}, outcome.Found)
		inDatabase(t, on, user, oldPassword, request.Database, "SELECT a FROM t")
		both(t, on, request)
	})
}

// state is one of a server's, which the administrator brings about and ends.
type state struct {
	name       string
	begin, end []string
	plugin     string   // of an account that is made there
	refused    []string // what is said where none is made
}

func global(variable, value, usual string) (begin, end []string) {
	return []string{"SET GLOBAL " + variable + " = " + value}, []string{"SET GLOBAL " + variable + " = " + usual}
}

func TestStatesOfAServerThatAPreparationMeets(t *testing.T) {
	t.Parallel()
	const native, caching, sha256 = "mysql_native_password", "caching_sha2_password", "sha256_password"
	const modes = "'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,IGNORE_SPACE'"
	of := func(name, plugin string, refused []string, variable, value, usual string) state {
		begin, end := global(variable, value, usual)
		return state{name: name, begin: begin, end: end, plugin: plugin, refused: refused}
	}
	readOnly, initConnect := []string{"the server is read-only", "writer endpoint"}, []string{"init_connect"}
	for product, states := range map[string][]state{
		"mariadb": {
			of("other modes", native, nil, "sql_mode", modes, "DEFAULT"), of("no modes", native, nil, "sql_mode", "''", "DEFAULT"),
			of("another character set", native, nil, "character_set_server", "latin1", "utf8mb4"), of("TLS alone", native, nil, "require_secure_transport", "ON", "OFF"),
			of("no notes", native, nil, "sql_notes", "OFF", "ON"), of("a replica", "", readOnly, "read_only", "ON", "OFF"), of("a broken init_connect", "", initConnect, "init_connect", "'broken'", "''"),
			{name: "a check of passwords that takes hashes", begin: []string{"INSTALL SONAME 'simple_password_check'", "SET GLOBAL strict_password_validation = OFF"},
				end: []string{"UNINSTALL SONAME 'simple_password_check'", "SET GLOBAL strict_password_validation = ON"}, plugin: native},
			{name: "a check of passwords that refuses hashes", begin: []string{"INSTALL SONAME 'simple_password_check'"}, end: []string{"UNINSTALL SONAME 'simple_password_check'"},
				refused: []string{"refuses the hash that was computed here", "SET GLOBAL strict_password_validation = OFF"}},
		},
		"mysql": {
			of("other modes", caching, nil, "sql_mode", modes[:len(modes)-len(",IGNORE_SPACE'")]+"'", "DEFAULT"), of("another character set", caching, nil, "character_set_server", "latin1", "utf8mb4"),
			of("TLS alone", caching, nil, "require_secure_transport", "ON", "OFF"), of("no notes", caching, nil, "sql_notes", "OFF", "ON"),
			{name: "a check of passwords", begin: []string{"INSTALL COMPONENT 'file://component_validate_password'"}, end: []string{"UNINSTALL COMPONENT 'file://component_validate_password'"}, plugin: caching},
			of("a default for the first factor", sha256, nil, "authentication_policy", "'*:sha256_password,,'", "'*,,'"), of("a fixed first factor", sha256, nil, "authentication_policy", "'sha256_password,,'", "'*,,'"),
			of("names that are no patterns", caching, nil, "partial_revokes", "ON", "OFF"),
			of("a replica", "", readOnly, "super_read_only", "ON", "OFF"), of("a broken init_connect", "", initConnect, "init_connect", "'broken'", "''"),
		},
	} {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			on := siteOf(t, product, nil)
			for _, state := range states {
				t.Run(state.name, func(t *testing.T) {
					request := newPreparation(t, on)
					request.Database = fmt.Sprintf(`Odd_\%%'%d`, serial.Add(1))
					request.Prepare.RotateUsers[0] = `o'dd_\` + request.Prepare.RotateUsers[0]
					require.NoError(t, on.Exec(t.Context(), append([]string{"CREATE DATABASE `" + request.Database + "`", "CREATE TABLE `" + request.Database + "`.t (a INT)"}, state.begin...)...))
					defer func() { assert.NoError(t, on.Exec(context.WithoutCancel(t.Context()), state.end...)) }()
					dry := request
					dry.DryRun = true
					foreseen, dryErr := prepare(t, on, dry)
					outcome, err := prepare(t, on, request)
					if state.refused != nil {
						for _, part := range append(state.refused, "Nothing was changed") {
							assert.ErrorContains(t, err, part)
							assert.ErrorContains(t, dryErr, part)
						}
						assert.NotContains(t, accounts(t, on, suffix(request)), "app_")
						return
					}
					require.NoError(t, dryErr)
					assert.Contains(t, foreseen.Message, "would make")
					require.NoError(t, err)
					assert.Equal(t, names(request), outcome.Made)
					assert.Equal(t, state.plugin+"\n", ask(t, on, "SELECT plugin FROM mysql.user WHERE User = '"+request.Prepare.RotateUsers[1]+"'"))
					before := accounts(t, on, suffix(request))
					outcome, err = prepare(t, on, request)
					require.NoError(t, err)
					assert.Equal(t, names(request), outcome.Found)
					assert.Equal(t, before, accounts(t, on, suffix(request)))
					both(t, on, request)
					inDatabase(t, on, request.Prepare.RotateUsers[0], "Rotated-Secret-0", request.Database, "INSERT INTO t VALUES (1)", "DELETE FROM t")
				})
			}
		})
	}
}

// A database's name in a grant is in lower case there, whatever it is in the event.
func TestServerWhoseDatabasesKnowNoCase(t *testing.T) {
	t.Parallel()
	on := siteOf(t, "mariadb", map[string]string{"lower_case_table_names": "1"})
	request := newPreparation(t, on)
	request.Database = strings.ToUpper(request.Database)
	_, err := prepare(t, on, request)
	require.NoError(t, err)
	before := accounts(t, on, suffix(request))
	outcome, err := prepare(t, on, request)
	require.NoError(t, err)
	assert.Equal(t, names(request), outcome.Found)
	assert.Equal(t, before, accounts(t, on, suffix(request)))
	both(t, on, request)
}

// On RDS for MySQL 8.0.36 and later, and on Aurora MySQL 3, the master user has its privileges by a role:
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.MySQL.CommonDBATasks.privilege-model.html
func TestMasterMayHaveItsPrivilegesByARole(t *testing.T) {
	t.Parallel()
	on := site{oracle, trusted}
	request := newPreparation(t, on)
	master := request.Prepare.MasterUser.Username
	require.NoError(t, on.Exec(t.Context(), "REVOKE ALL PRIVILEGES, GRANT OPTION FROM "+master+"@'%'", "CREATE ROLE IF NOT EXISTS rds_superuser_role",
		"GRANT "+ofRDS+", CREATE ROLE, DROP ROLE, ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO rds_superuser_role WITH GRANT OPTION",
		"GRANT rds_superuser_role TO "+master+"@'%' WITH ADMIN OPTION", "SET DEFAULT ROLE ALL TO "+master+"@'%'"))
	dry := request
	dry.DryRun = true
	outcome, err := prepare(t, on, dry)
	require.NoError(t, err)
	assert.NotContains(t, outcome.Message, "Not known")
	outcome, err = prepare(t, on, request)
	require.NoError(t, err)
	assert.Equal(t, names(request), outcome.Made)
	both(t, on, request)
}

// A replica that has or lacks an account goes on.
func TestReplicasFollowAPreparation(t *testing.T) {
	t.Parallel()
	for name := range replicates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, replica, caughtUp := replicated(t, name)
			on := site{source, trust(t, source)}
			request := newPreparation(t, on)
			caughtUp("before_it")
			user := request.Prepare.RotateUsers[0]
			require.NoError(t, replica.Exec(t.Context(), "SET sql_log_bin = 0", "CREATE USER "+user+"@'%' IDENTIFIED BY '"+oldPassword+"'"))
			_, err := prepare(t, on, request)
			require.NoError(t, err)
			both(t, on, request)
			caughtUp("after_it")
			assert.NoError(t, tryIn(t, site{Server: replica}, request.Prepare.RotateUsers[1], "Rotated-Secret-1", request.Database, "SELECT a FROM t"))
		})
	}
}

func TestPasswordThatMySQLDoesNotTakeIsToldBefore(t *testing.T) {
	t.Parallel()
	on := site{oracle, trusted}
	for length, says := range map[int]string{256: "", 257: "longer than MySQL's caching_sha2_password takes"} {
		request := newPreparation(t, on)
		request.Prepare.ManagingUser.Password = event.NewSecret(strings.Repeat("a'b\\", 64)[:min(length, 256)] + strings.Repeat("x", max(0, length-256)))
		_, err := prepare(t, on, request)
		if says == "" {
			require.NoError(t, err)
			both(t, on, request)
			continue
		}
		assert.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "256 bytes at the most")
		assert.ErrorContains(t, err, "Nothing was changed")
		assert.Empty(t, ask(t, on, fmt.Sprintf("SELECT User FROM mysql.user WHERE User = '%s'", request.Prepare.RotateUsers[0])))
	}
}

// A server can take a GRANT and give less, as one with revokes of its own does.
func TestGrantThatGivesLessIsSeen(t *testing.T) {
	onEach(t, func(t *testing.T, on site) {
		request := newPreparation(t, on)
		user := request.Prepare.RotateUsers[1]
		revoke := func() {
			assert.NoError(t, on.Exec(t.Context(), "REVOKE DELETE ON `"+strings.ReplaceAll(request.Database, "_", `\_`)+"`.* FROM "+user+"@'%'"))
		}
		_, proxy := through(t, on, when(`WHERE GRANTEE = '\'`+user, revoke), dbtest.Break{After: -1})
		lessened := request
		lessened.Port = proxy.Port
		before := accounts(t, on, suffix(request))
		_, err := prepare(t, site{on.Server, nil}, lessened)
		for _, part := range []string{"the server took GRANT SELECT, INSERT, UPDATE, DELETE ON ", "still lacks DELETE ON ", "SHOW GRANTS FOR `" + user, "Nothing was changed"} {
			assert.ErrorContains(t, err, part)
		}
		assert.Equal(t, before, accounts(t, on, suffix(request)))
		_, err = prepare(t, on, request)
		require.NoError(t, err)
		both(t, on, request)
	})
}

// Not parallel: the variables are the process's.
func TestManagingUserWithoutAPasswordIsPrepared(t *testing.T) {
	const id, secret, session = "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session"
	for variable, value := range map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": session} {
		t.Setenv(variable, value)
	}
	refused := map[string]bool{}
	iam := &dbtest.IAM{Host: "127.0.0.1", Region: "eu-west-1", Key: func(key string) (string, string, bool) { return secret, session, key == id },
		MayConnect: func(_, user string) bool { return !refused[user] }}
	server, err := dbtest.StartMariaDB(t.Context(), dbtest.Options{TLS: true, IAM: iam})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	on := site{server, trust(t, server)}
	byToken := func(request event.Request) *connector.Server {
		reached := connector.NewServer(request, on.terms)
		reached.IAM = true
		return reached
	}
	newPreparation := func() event.Request {
		request := newPreparation(t, on)
		request.Prepare.ManagingUser.Password = event.Secret{}
		return request
	}

	request := newPreparation()
	manager := request.Prepare.ManagingUser.Username
	for _, made := range []bool{true, false} {
		outcome, err := mysql.Prepare(t.Context(), byToken(request), request)
		require.NoError(t, err)
		assert.Equal(t, made, outcome.Found == nil, outcome.Message)
	}
	assert.Contains(t, read(t, server, "SHOW CREATE USER "+manager+"@'%'"), "AWSAuthenticationPlugin")
	for i, user := range request.Prepare.RotateUsers {
		rotation := request
		rotation.ManagingUser, rotation.RotateUser = &event.ManagingUser{Username: manager}, &event.RotateUser{Username: user, NewPassword: event.NewSecret(fmt.Sprintf("Rotated-Secret-%d", i))}
		_, err := mysql.Rotate(t.Context(), byToken(rotation), rotation)
		require.NoError(t, err)
	}

	// A user with a password is never made an IAM user, and one who may not connect is not left behind.
	request = newPreparation()
	require.NoError(t, on.Exec(t.Context(), "CREATE USER "+request.Prepare.ManagingUser.Username+"@'%' IDENTIFIED BY '"+managerPassword+"'"))
	before := accounts(t, on, suffix(request))
	_, err = mysql.Prepare(t.Context(), byToken(request), request)
	assert.ErrorContains(t, err, "the managing user is there and kept as it is")
	assert.ErrorContains(t, err, "not for the token of RDS IAM authentication")
	assert.Equal(t, before, accounts(t, on, suffix(request)))

	request = newPreparation()
	refused[request.Prepare.ManagingUser.Username] = true
	before = accounts(t, on, suffix(request))
	_, err = mysql.Prepare(t.Context(), byToken(request), request)
	for _, part := range []string{"refused the token of RDS IAM authentication", "rds-db:connect", "Nothing was changed"} {
		assert.ErrorContains(t, err, part)
	}
	assert.Equal(t, before, accounts(t, on, suffix(request)))
}

// Nothing that was given up is made later, and what may have been is said.
func TestPreparationThatALockHoldsUp(t *testing.T) {
	t.Parallel()
	for product := range products {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			on := siteOf(t, product, nil)
			for name, lock := range map[string][2]string{"reads": {"FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"}, "a backup": {"BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT", "BACKUP STAGE END"}} {
				if name == "a backup" && product == "mysql" {
					continue // which has none of these
				}
				request := newPreparation(t, on)
				before := accounts(t, on, suffix(request))
				holder := as(t, on, on.AdminUser, on.AdminPassword, "")
				holder.SetMaxOpenConns(1)
				for _, statement := range strings.Split(lock[0], "; ") {
					_, err := holder.ExecContext(t.Context(), statement)
					require.NoError(t, err)
				}
				_, err := prepareWithin(t, on, 5*time.Second, request)
				require.Error(t, err, name)
				t.Log(err)
				assert.Contains(t, err.Error(), "create the users: ")
				_, unlockErr := holder.ExecContext(t.Context(), lock[1])
				require.NoError(t, unlockErr)
				require.NoError(t, holder.Close())
				if strings.Contains(err.Error(), string(connector.Unchanged)) {
					time.Sleep(500 * time.Millisecond) // a statement that still waits would be run now
					assert.Equal(t, before, accounts(t, on, suffix(request)), name)
				} else {
					assert.ErrorContains(t, err, string(connector.MaybeMade))
				}
				outcome, err := prepare(t, on, request)
				require.NoError(t, err)
				assert.ElementsMatch(t, names(request), append(outcome.Made, outcome.Found...))
				both(t, on, request)
			}
		})
	}
}
