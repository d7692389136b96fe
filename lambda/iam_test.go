package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// The tests of this file are of a managing user without a password. Their variables are the process's, and so none of them
// runs beside another.

// The credentials that Lambda gives a function, as those of a role are: with a session token that is longer than any password.
const (
	accessKey, secretKey = "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	iamRegion            = "eu-west-1"
)

var sessionToken = strings.Repeat("FwoGZXIvYXdzE+Session/Token", 40) // PAM would cut a token with it off

// credentials are what AWS knows of keys, and as whom their role may connect.
type credentials struct {
	lock    sync.Mutex
	session map[string]string // by access key
	users   map[string]bool
}

func newCredentials() *credentials {
	return &credentials{session: map[string]string{accessKey: sessionToken}, users: map[string]bool{}}
}

func (c *credentials) key(id string) (secret, session string, ok bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	session, ok = c.session[id]
	return secretKey, session, ok
}

func (c *credentials) mayConnect(_, user string) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.users[user]
}

func (c *credentials) allow(user string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.users[user] = true
}

// known are the credentials that both servers know. Each has a check of its own.
var known = newCredentials()

func newIAM() *dbtest.IAM {
	return &dbtest.IAM{Host: addresses[0], Region: iamRegion, Key: known.key, MayConnect: known.mayConnect}
}

var postgresIAM, mariaDBIAM = newIAM(), newIAM()

// iamDatabase is an engine with its check, and its statements for users who log in by it.
type iamDatabase struct {
	database
	iam *dbtest.IAM
}

func (d iamDatabase) createManager(t *testing.T, username string) {
	t.Helper()
	if d.kind == event.TypePostgres {
		require.NoError(t, d.Exec(t.Context(), "CREATE ROLE "+sqlName(username)+" LOGIN CREATEROLE", "GRANT rds_iam TO "+sqlName(username)))
		return
	}
	account := sqlAccount(username)
	require.NoError(t, d.Exec(t.Context(), "CREATE USER "+account+" IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'",
		"GRANT CREATE USER ON *.* TO "+account, "GRANT ALTER ON "+databaseName+".* TO "+account))
}

// rotation makes an IAM user who may connect, and a user, and is the event that rotates the latter.
func (d iamDatabase) rotation(t *testing.T) wire {
	t.Helper()
	manager, user := unique("iam_manager"), unique("user")
	d.createManager(t, manager)
	known.allow(manager)
	d.createUser(t, user, oldPassword)
	return rotationOf(d.database, manager, user)
}

// onBothByToken runs a test on both engines, one after the other, in a process with the variables that a function has.
func onBothByToken(t *testing.T, test func(t *testing.T, db iamDatabase)) {
	for name, db := range map[string]iamDatabase{"postgres": {postgresDatabase(), postgresIAM}, "mariadb": {mariaDBDatabase(), mariaDBIAM}} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range map[string]string{
				connector.ManagingAuthVariable: "iam", "AWS_REGION": iamRegion,
				"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_SESSION_TOKEN": sessionToken,
			} {
				t.Setenv(variable, value)
			}
			test(t, db)
		})
	}
}

// noToken checks that nothing of the tokens that a server has seen has left.
func noToken(t *testing.T, iam *dbtest.IAM, raw string) {
	t.Helper()
	for _, token := range iam.Tokens() {
		_, query, _ := strings.Cut(token, "?")
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		assert.False(t, strings.Contains(raw, values.Get("X-Amz-Signature")), "a token has left")
	}
	for _, secret := range []string{secretKey, sessionToken, accessKey, "X-Amz"} {
		assert.NotContains(t, raw, secret)
	}
}

func TestIAMUserRotatesWithoutAPassword(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		rotation := db.rotation(t)
		manager := rotation["managingUser"].(map[string]any)["username"].(string)
		user := rotation["rotateUser"].(map[string]any)["username"].(string)
		for i, password := range []any{"unused", nil, "manager_password", manager, "a NUL \x00", "�"} {
			came := len(db.iam.Tokens())
			fresh := fmt.Sprintf("New-Secret-%d", i)
			answer := invoke(t, rotation.with("managingUser.password", password).with("rotateUser.newPassword", fresh), plenty)
			require.Equal(t, 200, answer.Code, answer.Message)
			assert.Equal(t, "done", answer.log["proof"])
			assert.NoError(t, db.login(t, user, fresh))
			assert.Equal(t, came+1, len(db.iam.Tokens()), "the managing user logs in once, and nobody else gives a token")
			noToken(t, db.iam, answer.raw)
		}
		answer := invoke(t, rotation.with("dryRun", true).with("managingUser.password", nil), plenty)
		assert.Equal(t, 200, answer.Code, answer.Message)
		assert.Contains(t, answer.Message, "by RDS IAM authentication")
		noToken(t, db.iam, answer.raw)
	})
}

// What is no secret is not masked, though another mode would.
func TestManagingPasswordIsNoSecretWhereNobodyHasOne(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		rotation := db.rotation(t).with("managingUser.password", "Nothing was changed")
		answer := invoke(t, rotation.with("rotateUser.username", "nobody_of_that_name"), plenty)
		assert.Equal(t, 400, answer.Code)
		assert.Contains(t, answer.Message, "Nothing was changed")
	})
}

// The names of users are the database's, with whatever is in them.
func TestTokenNamesAnyUser(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		for _, name := range []string{"with blank", "plus+and&amp=%20", "ümläut", "Case"} {
			manager, user := unique(name), unique("user")
			db.createManager(t, manager)
			known.allow(manager)
			db.createUser(t, user, oldPassword)
			answer := invoke(t, rotationOf(db.database, manager, user), plenty)
			assert.Equal(t, 200, answer.Code, "%s: %s %v", name, answer.Message, db.iam.Refusals())
		}
	})
}

func TestRefusedTokenListsTheCauses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, db iamDatabase, rotation wire) wire
		reason string // which the server keeps to itself
	}{
		"IAM is off": {func(t *testing.T, db iamDatabase, rotation wire) wire {
			db.iam.TurnOff(true)
			t.Cleanup(func() { db.iam.TurnOff(false) })
			return rotation
		}, "IAM authentication is off"},
		"no right to connect": {func(t *testing.T, db iamDatabase, rotation wire) wire {
			manager := unique("iam_manager")
			db.createManager(t, manager)
			return rotation.with("managingUser.username", manager)
		}, "not allowed rds-db:connect"},
		"an alias": {func(_ *testing.T, _ iamDatabase, rotation wire) wire {
			return rotation.with("host", "database.test")
		}, "signed for database.test:"},
		"another region": {func(t *testing.T, _ iamDatabase, rotation wire) wire {
			t.Setenv("AWS_REGION", "eu-west-2")
			return rotation
		}, "the scope "},
		"credentials that have expired": {func(t *testing.T, _ iamDatabase, rotation wire) wire {
			t.Setenv("AWS_ACCESS_KEY_ID", "ASIAEXPIRED")
			return rotation
		}, "expired"},
		"the session token of another": {func(t *testing.T, _ iamDatabase, rotation wire) wire {
			t.Setenv("AWS_SESSION_TOKEN", "another")
			return rotation
		}, "another session token"},
		"another secret": {func(t *testing.T, _ iamDatabase, rotation wire) wire {
			t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
			return rotation
		}, "another signature"},
	} {
		t.Run(name, func(t *testing.T) {
			onBothByToken(t, func(t *testing.T, db iamDatabase) {
				rotation := c.change(t, db, db.rotation(t))
				refused := len(db.iam.Refusals())
				answer := invoke(t, rotation, plenty)
				require.Equal(t, 400, answer.Code)
				for _, says := range []string{"log in as managing user: ", "refused the token", "Nothing was changed", "--enable-iam-database-authentication", "rds-db:connect", "case", "alias", "expired"} {
					assert.Contains(t, answer.Message, says)
				}
				require.Greater(t, len(db.iam.Refusals()), refused)
				assert.Contains(t, db.iam.Refusals()[refused], c.reason)
				noToken(t, db.iam, answer.raw)
			})
		})
	}
}

func TestUserOfTheOtherModeIsToldApart(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		byToken, byPassword := db.rotation(t), rotation(t, db.database)
		came := len(db.iam.Tokens())
		answer := invoke(t, byPassword, plenty)
		assert.Equal(t, 400, answer.Code)
		assert.Contains(t, answer.Message, "asks for a password")
		assert.Contains(t, answer.Message, "managingAuthentication to password")
		assert.Contains(t, answer.Message, "Nothing was changed")
		t.Setenv(connector.ManagingAuthVariable, "password")
		answer = invoke(t, byToken, plenty)
		assert.Equal(t, 400, answer.Code)
		assert.Contains(t, answer.Message, "password in clear")
		assert.Contains(t, answer.Message, "managingAuthentication to iam")
		assert.Contains(t, answer.Message, "Nothing was changed")
		assert.Equal(t, came, len(db.iam.Tokens()), "nothing was given to a server that asked for something else")
	})
}

// Both servers treat a user that is not there as one of those that are, MariaDB as any of them (find_mpvio_user in
// sql/sql_acl.cc).
func TestUserThatIsNotThereMayBeTheReason(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		answer := invoke(t, db.rotation(t).with("managingUser.username", "nobody_of_that_name"), plenty)
		assert.Equal(t, 400, answer.Code)
		assert.Regexp(t, "asks for a password|refused the token", answer.Message)
		assert.Regexp(t, "no such account|is none that logs in by IAM|no member of rds_iam", answer.Message)
		noToken(t, db.iam, answer.raw)
	})
}

// Lambda renews the credentials in a function's environment.
func TestCredentialsAreReadAnewForEachLogin(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		rotation := db.rotation(t)
		require.Equal(t, 200, invoke(t, rotation, plenty).Code)
		known.lock.Lock()
		known.session["ASIARENEWED"] = "renewed"
		known.lock.Unlock()
		t.Setenv("AWS_ACCESS_KEY_ID", "ASIARENEWED")
		t.Setenv("AWS_SESSION_TOKEN", "renewed")
		answer := invoke(t, rotation, plenty)
		assert.Equal(t, 200, answer.Code, answer.Message)
		tokens := db.iam.Tokens()
		assert.True(t, strings.Contains(tokens[len(tokens)-1], "ASIARENEWED"))
		for _, variable := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} {
			t.Run("without "+variable, func(t *testing.T) {
				t.Setenv(variable, "")
				answer := invoke(t, rotation, plenty)
				assert.Equal(t, 400, answer.Code)
				assert.Contains(t, answer.Message, "no "+variable)
				assert.Contains(t, answer.Message, "Nothing was changed")
				noToken(t, db.iam, answer.raw)
			})
		}
		assert.Equal(t, len(tokens), len(db.iam.Tokens()))
	})
}

func TestTokenTakesVerifiedTLS(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		rotation := db.rotation(t)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close()
		var connected atomic.Int64
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				connected.Add(1)
				connection.Close()
			}
		}()
		rotation = rotation.with("port", listener.Addr().(*net.TCPAddr).Port)
		for _, mode := range []string{"require", "disable"} {
			t.Setenv(connector.SSLModeVariable, mode)
			answer := invoke(t, rotation, plenty)
			assert.Equal(t, 400, answer.Code)
			assert.Contains(t, answer.Message, "verified TLS")
			assert.Contains(t, answer.Message, mode)
		}
		assert.Zero(t, connected.Load())
		t.Setenv(connector.SSLModeVariable, "")
		t.Setenv(connector.ManagingAuthVariable, "kerberos")
		answer := invoke(t, rotation, plenty)
		assert.Contains(t, answer.Message, `DB_MANAGING_AUTH is "kerberos"`)
		assert.Zero(t, connected.Load())

		// And where the server's certificate is not believed, no token is made.
		t.Setenv(connector.ManagingAuthVariable, "iam")
		other, err := dbtest.NewAuthority("of another")
		require.NoError(t, err)
		file := t.TempDir() + "/ca.pem"
		require.NoError(t, os.WriteFile(file, other.PEM, 0o600))
		t.Setenv(connector.SSLRootCertVariable, file)
		came := len(db.iam.Tokens())
		answer = invoke(t, db.rotation(t), plenty)
		assert.Equal(t, 400, answer.Code)
		assert.Contains(t, answer.Message, "TLS: ")
		assert.Equal(t, came, len(db.iam.Tokens()))
	})
}

// From a master user with a password to both users rotated, and no password for the managing user anywhere.
func TestManagingUserWithoutAPasswordIsPreparedAndRotates(t *testing.T) {
	onBothByToken(t, func(t *testing.T, db iamDatabase) {
		master := unique("master")
		if db.kind == event.TypePostgres {
			require.NoError(t, db.Exec(t.Context(), "CREATE ROLE "+master+" LOGIN CREATEROLE PASSWORD 'Master-Secret-1'"))
		} else {
			require.NoError(t, db.Exec(t.Context(), "CREATE USER "+master+"@'%' IDENTIFIED BY 'Master-Secret-1'", "GRANT ALL ON *.* TO "+master+"@'%' WITH GRANT OPTION"))
		}
		preparation := func(manager string, users ...string) wire {
			known.allow(manager)
			return preparationOf(db.database, manager, "", users...).with("prepare.masterUser", map[string]any{"username": master, "password": "Master-Secret-1"}).
				with("prepare.managingUser", map[string]any{"username": manager, "authentication": "iam"})
		}
		manager, users := unique("iam_manager"), []string{unique("user"), unique("user")}
		prepared := preparation(manager, users...)
		for _, list := range []string{`"made":["`, `"found":["`} {
			answer := invoke(t, prepared, plenty)
			require.Equal(t, 200, answer.Code, answer.Message)
			assert.Contains(t, answer.raw, list+manager+`","`+users[0]+`","`+users[1]+`"]`)
			noToken(t, db.iam, answer.raw)
			assert.NotContains(t, answer.raw, "Master-Secret-1")
			for _, user := range users {
				answer := invoke(t, rotationOf(db.database, manager, user), plenty)
				require.Equal(t, 200, answer.Code, answer.Message)
				assert.NoError(t, db.login(t, user, newPassword))
			}
			assert.NoError(t, db.login(t, master, "Master-Secret-1"), "the master user is locked out")
		}

		// A managing user with a password is never made an IAM user, and none is made where the function would not use it.
		withPassword := unique("manager")
		db.database.createManager(t, withPassword, managerPassword)
		for name, c := range map[string]struct {
			sent wire
			says string
		}{
			"a user with a password":  {preparation(withPassword, unique("user"), unique("user")), "not for the token of RDS IAM authentication"},
			"a password beside it":    {preparation(unique("manager"), unique("user"), unique("user")).with("prepare.managingUser", map[string]any{"username": "m", "authentication": "iam", "password": managerPassword}), "a password beside authentication iam"},
			"another authentication":  {preparation(unique("manager"), unique("user"), unique("user")).with("prepare.managingUser", map[string]any{"username": "m", "authentication": "kerberos"}), "which is not known"},
			"a password in this mode": {preparationOf(db.database, unique("manager"), managerPassword, unique("user"), unique("user")), "managingAuthentication"},
		} {
			answer := invoke(t, c.sent, plenty)
			assert.Equal(t, 400, answer.Code, name)
			assert.Contains(t, answer.Message, c.says, name)
			assert.Contains(t, answer.Message, "Nothing was changed", name)
			assert.NotContains(t, answer.raw, managerPassword, name)
		}
		assert.NoError(t, db.login(t, withPassword, managerPassword))
		t.Setenv(connector.ManagingAuthVariable, "password")
		answer := invoke(t, preparation(unique("manager"), unique("user"), unique("user")), plenty)
		assert.Contains(t, answer.Message, "managingAuthentication")
		assert.Contains(t, answer.Message, "Nothing was changed")
	})
}
