package main

import (
	"bytes"
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// names are what the tests' name server answers. It never answers for a name that is not among them.
var names = map[string][]string{
	"first-is-silent.test.": {"127.0.0.3", "127.0.0.1"},
	"first-is-closed.test.": {"127.0.0.4", "127.0.0.1"},
	"metadata.test.":        {"169.254.169.254"},
	"database.test.":        {"127.0.0.1"},
}

// resolveHere has this process ask a name server of its own. Its answers keep their order.
func resolveHere() error {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(packet[:n]) != nil || len(query.Questions) != 1 {
				continue
			}
			question := query.Questions[0]
			addresses, known := names[question.Name.String()]
			if !known {
				continue
			}
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true}, Questions: query.Questions}
			for _, address := range addresses {
				if question.Type == dnsmessage.TypeA {
					reply.Answers = append(reply.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1},
						Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(address).To4())},
					})
				}
			}
			if text, err := reply.Pack(); err == nil {
				_, _ = server.WriteTo(text, from)
			}
		}
	}()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	return nil
}

func TestEachAddressOfANameGetsItsShare(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.3:%d", db.Port)) // accepts and never answers
		require.NoError(t, err)
		t.Cleanup(func() { listener.Close() })
		rotation := rotation(t, db)
		for _, host := range []string{"first-is-silent.test", "first-is-closed.test"} {
			answer := invoke(t, rotation.with("host", host), 8*time.Second)
			assert.Equal(t, 200, answer.Code, answer.Message)
			assert.Equal(t, "done", answer.log["proof"])
		}
	})
}

func TestLinkLocalAddressesAreRefusedWhereTheConnectionIsMade(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		rotation := rotation(t, db)
		for _, host := range []string{
			"169.254.169.254", "169.254.170.2", "169.254.0.1", "::ffff:169.254.169.254", "[::ffff:169.254.169.254]", "::ffff:a9fe:a9fe",
			"fe80::1", "fe80::1%lo", "febf::1", "fd00:ec2::254", "fd00:ec2:ffff::1", "metadata.test",
		} {
			for _, event := range []wire{rotation, {"type": db.kind, "host": "", "port": db.Port, "dryRun": true}} {
				answer := invoke(t, event.with("host", host), plenty)
				assert.Equal(t, 400, answer.Code, host)
				assert.Contains(t, answer.Message, "link-local", host)
				assert.Contains(t, answer.Message, "Nothing was changed", host)
			}
		}
	})
}

func TestNameThatNeverResolvesEndsBeforeTheDeadline(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		answer := invoke(t, rotation(t, db).with("host", "never.test"), 2*time.Second)
		assert.Equal(t, 400, answer.Code)
		assert.Contains(t, answer.Message, "connect: ")
		assert.Contains(t, answer.Message, "did not resolve within")
		assert.Contains(t, answer.Message, "Nothing was changed")
	})
}

// bad is the table of requests that are refused before any connection.
var bad = map[string]struct {
	field string
	value any
	says  []string
}{
	"no host":                  {"host", nil, []string{"host"}},
	"empty host":               {"host", "", []string{"host"}},
	"a host with a line end":   {"host", "db.example\n", []string{`host "db.example\n"`, "line end"}},
	"a host with a blank":      {"host", " db.example", []string{"host", "blank"}},
	"a host with a port":       {"host", "db.example:5432", []string{`"db.example:5432"`, "holds a port"}},
	"an address with a port":   {"host", "[::1]:5432", []string{"holds a port"}},
	"a URL for a host":         {"host", "postgres://db.example/app", []string{"is a URL"}},
	"a URL with a password":    {"host", "postgres://user:Hidden-9@db.example/app", []string{"is a URL"}},
	"a user before the host":   {"host", "user:Hidden-9@db.example", []string{"more than a host's name"}},
	"a password for a port":    {"host", "db.example:Hidden-9", []string{"holds a port"}},
	"a connection string":      {"host", "host=db.example password=Hidden-9", []string{"holds a blank"}},
	"a managing password":      {"host", "mysql://managing:" + managerPassword + "@db.example", []string{"is a URL"}},
	"a path after the host":    {"host", "db.example/app", []string{"more than a host's name"}},
	"several hosts":            {"host", "a.example,b.example", []string{"several hosts"}},
	"half an address":          {"host", "fe80::zz", []string{"neither a host's name nor an address"}},
	"a URL for a database":     {"database", "postgres://managing:" + managerPassword + "@db.example/app", []string{"database", "is a URL"}},
	"a string for a database":  {"database", "dbname=app password=Hidden-9", []string{"database", "connection string"}},
	"a URL for a user":         {"rotateUser.username", "mysql://user:Hidden-9@db.example", []string{"rotateUser.username", "is a URL"}},
	"no database":              {"database", nil, []string{"database"}},
	"empty database":           {"database", "", []string{"database"}},
	"no managing user":         {"managingUser", nil, []string{"managingUser.username"}},
	"no managing username":     {"managingUser.username", "", []string{"managingUser.username"}},
	"no rotate user":           {"rotateUser", nil, []string{"rotateUser.username"}},
	"no rotate username":       {"rotateUser.username", nil, []string{"rotateUser.username"}},
	"no new password":          {"rotateUser.newPassword", nil, []string{"rotateUser.newPassword"}},
	"empty new password":       {"rotateUser.newPassword", "", []string{"rotateUser.newPassword"}},
	"NUL in the new password":  {"rotateUser.newPassword", "Hidden\x00Secret", []string{"rotateUser.newPassword", "NUL"}},
	"NUL in the password":      {"managingUser.password", "Hidden\x00Secret", []string{"managingUser.password", "NUL"}},
	"NUL in a name":            {"rotateUser.username", "a\x00b", []string{"rotateUser.username", "NUL"}},
	"NUL in the database":      {"database", "a\x00b", []string{"database", "NUL"}},
	"NUL in the host":          {"host", "a\x00b", []string{"host", "NUL"}},
	"no Unicode in a password": {"rotateUser.newPassword", "Hidden\ufffdSecret", []string{"rotateUser.newPassword", "Unicode"}}, // as JSON's lone surrogate is read
	"no Unicode in a name":     {"managingUser.username", "a\xffb", []string{"managingUser.username", "Unicode"}},
	"too long an event":        {"rotateUser.newPassword", strings.Repeat("Hidden", 50_000), []string{"bytes long"}},
	"no port":                  {"port", nil, []string{"port 0"}},
	"port 0":                   {"port", 0, []string{"port 0", "65535"}},
	"port 65536":               {"port", 65536, []string{"port 65536", "65535"}},
	"negative port":            {"port", -1, []string{"port -1"}},
	"a port in quotes":         {"port", "5432", []string{"port", "wrong type"}},
	"a broken port":            {"port", 5432.5, []string{"port", "wrong type"}},
	"a huge port":              {"port", 1e30, []string{"port", "wrong type"}},
	"a password that is none":  {"rotateUser.newPassword", 12345678, []string{"rotateUser.newPassword", "wrong type"}},
	"a user that is none":      {"rotateUser", "user1", []string{"rotateUser", "wrong type"}},
	"no type":                  {"type", nil, []string{"type", "postgres", "mysql"}},
	"unknown type":             {"type", "oracle", []string{`"oracle"`, "postgres", "mysql"}},
	"another spelling":         {"type", "Postgres", []string{`"Postgres"`, "postgres", "mysql"}},
	"an RDS Proxy":             {"host", "orders.proxy-abc123.eu-west-1.rds.amazonaws.com", []string{"RDS Proxy", "Secrets Manager", "writer endpoint"}},
	"an RDS Proxy's own":       {"host", "x.endpoint.PROXY-abc.cn-north-1.rds.amazonaws.com.cn.", []string{"RDS Proxy"}},
	"the managing user itself": {"rotateUser.username", "managing", []string{"managing", "both"}},
}

func TestBadRequestsAreRefusedBeforeAnyConnection(t *testing.T) {
	t.Parallel()
	untouched := map[string]Engine{}
	for _, kind := range []string{"postgres", "mysql"} {
		untouched[kind] = Engine{Rotate: func(context.Context, *connector.Server, event.Request) (connector.Outcome, error) {
			panic("a connection would have been made")
		}}
	}
	for _, kind := range []string{"postgres", "mysql"} {
		good := wire{"type": kind, "host": "db.example", "port": 5432, "database": "app",
			"managingUser": map[string]any{"username": "managing", "password": managerPassword},
			"rotateUser":   map[string]any{"username": "user", "password": oldPassword, "newPassword": newPassword}}
		for name, c := range bad {
			t.Run(kind+": "+name, func(t *testing.T) {
				answer := invokeWith(t, untouched, good.with(c.field, c.value), plenty)
				assert.Equal(t, 400, answer.Code)
				for _, part := range append(c.says, "read the request: ", "Nothing was changed") {
					assert.Contains(t, answer.Message, part)
				}
				for _, secret := range []string{managerPassword, oldPassword, newPassword, "Hidden", "12345678"} {
					assert.NotContains(t, answer.raw, secret)
				}
			})
		}
	}
	answer := invoke(t, wire{"type": "mysql", "host": "proxy-named.test", "port": 3306, "dryRun": true}, time.Second)
	assert.Contains(t, answer.Message, "connect: ", "a database may be named proxy-…")
	answer = invokeWith(t, untouched, wire{"type": "mysql", "host": "db.example", "port": 3306, "database": "app",
		"managingUser": map[string]any{"username": "managing@%", "password": managerPassword},
		"rotateUser":   map[string]any{"username": "managing@10.0.%", "newPassword": newPassword}}, plenty)
	assert.Contains(t, answer.Message, "both")
	for _, field := range []string{"managingUser.username", "rotateUser.username"} {
		answer = invokeWith(t, untouched, anyEvent(newPassword).with("type", "mysql").with(field, "@%"), plenty)
		assert.Contains(t, answer.Message, field+` "@%" has no name before its @`)
	}
}

func TestPanicBecomesAnAnswerWithItsStage(t *testing.T) {
	t.Parallel()
	for stage, state := range map[connector.Stage]connector.State{
		connector.StageConnect: connector.Unchanged, connector.StageChange: connector.MaybeChanged, connector.StageProve: connector.Changed,
	} {
		broken := Engine{Rotate: func(_ context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
			server.SetState(state)
			server.SetStage(stage)
			panic(fmt.Errorf("out of luck with %s", request.RotateUser.NewPassword.Reveal()))
		}}
		answer := invokeWith(t, map[string]Engine{"postgres": broken}, anyEvent(newPassword), plenty)
		assert.Equal(t, 400, answer.Code)
		assert.True(t, strings.HasPrefix(answer.Message, string(stage)+": "), answer.Message)
		assert.Contains(t, answer.Message, string(state))
		assert.NotContains(t, answer.raw, newPassword)
		assert.Contains(t, answer.raw, "TestPanicBecomesAnAnswerWithItsStage", "the place is not in the log")
		assert.Equal(t, 2, strings.Count(answer.raw, "\n"), "more than the answer and one line of the log")
	}
}

func TestWorkThatNeverEndsIsAnsweredBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	stuck := Engine{Rotate: func(_ context.Context, server *connector.Server, _ event.Request) (connector.Outcome, error) {
		server.SetState(connector.Changed)
		server.SetStage(connector.StageConnect)
		<-make(chan struct{}) // a driver that knows no deadline
		return connector.Outcome{}, nil
	}}
	// invokeWith fails where the answer comes after the deadline; how long before depends on what else the machine does.
	answer := invokeWith(t, map[string]Engine{"postgres": stuck}, anyEvent(newPassword), 5*time.Second)
	assert.Equal(t, 400, answer.Code)
	assert.Contains(t, answer.Message, "prove: ")
	assert.Regexp(t, `not done after \d\.\d s`, answer.Message)
	assert.Contains(t, answer.Message, string(connector.Changed))
}

func anyEvent(password string) wire {
	return wire{"type": "postgres", "host": "db.example", "port": 5432, "database": "app",
		"managingUser": map[string]any{"username": "managing", "password": managerPassword},
		"rotateUser":   map[string]any{"username": "user", "password": oldPassword, "newPassword": password}}
}

// saying is an engine that says a text wherever an engine can say something.
func saying(text string, fail bool) map[string]Engine {
	run := func(context.Context, *connector.Server, event.Request) (connector.Outcome, error) {
		if fail {
			return connector.Outcome{}, &connector.Failure{Stage: connector.StageChange, Why: text, Fix: text}
		}
		return connector.Outcome{Message: text, Note: text}, nil
	}
	return map[string]Engine{"postgres": {run, run, run}, "mysql": {run, run, run}}
}

func TestGuardMasksSecretsWholeAndEscaped(t *testing.T) {
	t.Parallel()
	const secret = `p"a's\s<wörd>%/é&`
	inJSON, err := json.Marshal(secret)
	require.NoError(t, err)
	for _, text := range []string{
		secret, strconv.Quote(secret), strconv.QuoteToASCII(secret), string(inJSON), strings.ReplaceAll(secret, "'", "''"),
		strings.ReplaceAll(secret, `"`, `""`), "p%22a%27s%5Cs%3Cw%C3%B6rd%3E%25%2F%C3%A9%26",
	} {
		for _, fail := range []bool{true, false} {
			answer := invokeWith(t, saying("before "+text+" after", fail), anyEvent(secret), plenty)
			assert.Contains(t, answer.Message, "before ")
			assert.Contains(t, answer.Message, " after")
			assert.NotContains(t, answer.Message, strings.Trim(text, `"`))
			assert.Contains(t, answer.Message, masked)
		}
	}
}

// anyPreparation is an event that creates users.
func anyPreparation(masterPassword, managingPassword string) wire {
	return wire{"type": "postgres", "host": "db.example", "port": 5432, "database": "app", "prepare": map[string]any{
		"masterUser":   map[string]any{"username": "master", "password": masterPassword},
		"managingUser": map[string]any{"username": "managing", "password": managingPassword},
		"rotateUsers":  []string{"app_1", "app_2"}}}
}

func TestGuardMasksThePasswordsOfAPreparation(t *testing.T) {
	t.Parallel()
	const master, managing = `Mas"ter'%-1`, `Man"aging'%-2`
	for _, fail := range []bool{true, false} {
		answer := invokeWith(t, saying("before "+master+" "+strconv.Quote(managing)+" after app_1", fail), anyPreparation(master, managing), plenty)
		assert.Contains(t, answer.Message, `before *** "***" after app_1`)
		for _, secret := range []string{`ter'%-1`, `aging'%-2`} {
			assert.NotContains(t, answer.raw, secret)
		}
	}
}

func TestAnswerAndLogOfAPreparation(t *testing.T) {
	t.Parallel()
	prepared := Engine{Prepare: func(context.Context, *connector.Server, event.Request) (connector.Outcome, error) {
		return connector.Outcome{Proof: connector.ProofNone, Message: "made app_1", Made: []string{"app_1"}, Found: []string{"managing", "app_2"}}, nil
	}}
	answer := invokeWith(t, map[string]Engine{"postgres": prepared}, anyPreparation("Master-Secret-1", managerPassword), plenty)
	assert.True(t, strings.HasPrefix(answer.raw, `{"code":200,"message":"made app_1","made":["app_1"],"found":["managing","app_2"]}`), answer.raw)
	assert.Equal(t, "preparation", answer.log["event"])
	assert.Equal(t, "app_1, app_2", answer.log["targetUser"])
	assert.Equal(t, "ok", answer.log["result"])

	for kind, sent := range map[string]wire{
		"rotation": anyEvent(newPassword), "dry run": anyEvent(newPassword).with("dryRun", true), "preparation": anyPreparation("Master-Secret-1", managerPassword).with("dryRun", true),
	} {
		answer := invokeWith(t, saying("ok", false), sent, plenty)
		assert.True(t, strings.HasPrefix(answer.raw, `{"code":200,"message":"ok"}`), "nothing but what ESC reads: %s", answer.raw)
		assert.Equal(t, kind, answer.log["event"])
	}
}

func TestGuardLeavesThePublicAndTheFixedAlone(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"postgres", "db.example", "managing", "example", "message", "code\":400", "app", "5432", "ed",
		"password", "newPassword", "managing user", "log in as", "Nothing was changed", "changed"} {
		text := "db.example:5432, database app, managing, user, postgres, newPassword, log in as managing user, Nothing was changed"
		answer := invokeWith(t, saying(text, true), anyEvent(secret), plenty)
		assert.Contains(t, answer.Message, text, secret)
		assert.Equal(t, 400, answer.Code)
		assert.Equal(t, "db.example", answer.log["host"])
		assert.Equal(t, "failed", answer.log["result"])
	}
}

func TestSecretThatHoldsAPublicWordIsMaskedWhole(t *testing.T) {
	t.Parallel()
	answer := invokeWith(t, saying("it is managing-Secret-of-user", true), anyEvent("managing-Secret-of-user"), plenty)
	assert.Contains(t, answer.Message, "it is ***")
	assert.NotContains(t, answer.raw, "Secret-of")
}

// A message is printed in a terminal, which obeys what a name holds.
func TestNamesInAMessageHoldNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	for _, fail := range []bool{true, false} {
		answer := invokeWith(t, saying("ALTER ROLE \"ad\x1b[2Jmin\u202e\nx\" LOGIN;", fail), anyEvent(newPassword), plenty)
		assert.Contains(t, answer.Message, `ALTER ROLE "ad\x1b[2Jmin\u202e\nx" LOGIN;`)
		assert.Contains(t, answer.Message, "stand here for one character each")
		assert.NotRegexp(t, `[[:cntrl:]]|\x{202e}`, answer.Message)
		assert.Equal(t, `ALTER ROLE "größe" LOGIN;`, invokeWith(t, saying(`ALTER ROLE "größe" LOGIN;`, false), anyEvent(newPassword), plenty).Message)
	}
}

func TestTextOfTheServerIsPrintedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"15.18 (Debian 15.18-0+deb12u1)", "8.0.mysql_aurora.3.04.0", "10.11.14-MariaDB-log", "ip-10-0-1-5.ec2.internal", "app@10.0.%", "2001:db8::7"} {
		assert.Equal(t, text, connector.Printable(text))
	}
	for _, text := range []string{"8.0.36 pass#word!of$many?signs", strings.Repeat("a", 250) + "password", "line\nline", "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"} {
		assert.Equal(t, "(not printable)", connector.Printable(text))
	}
}

func FuzzNoSecretComesOut(f *testing.F) {
	f.Add("Xq7unmistakable", "user1", "db.example", "text", uint64(1))
	f.Add(`a"b'c\d%e{f}g`, `u"1`, "h", `%s\`, uint64(2))
	f.Fuzz(func(t *testing.T, secret, user, host, text string, seed uint64) {
		const shortestSecret = 8
		if len(secret) < shortestSecret || strings.ToValidUTF8(secret, "") != secret {
			return
		}
		// Secrets are random, as ESC's are: each of the three differs, and none is a word of the rest.
		random := rand.New(rand.NewPCG(seed, seed))
		secrets := make([]string, 3)
		for i := range secrets {
			secrets[i] = fmt.Sprintf("%s%x", secret, random.Uint64())
		}
		content := wire{"type": []string{"postgres", "mysql"}[seed%2], "host": host, "port": int(seed % 70000), "database": "app", "dryRun": seed%3 == 0,
			"managingUser": map[string]any{"username": "managing", "password": secrets[0]},
			"rotateUser":   map[string]any{"username": user, "password": secrets[1], "newPassword": secrets[2]}}
		if seed%4 == 0 {
			content = content.with("managingUser", nil).with("rotateUser", nil).with("prepare", map[string]any{"rotateUsers": []string{user, "app_2"},
				"masterUser": map[string]any{"username": "master", "password": secrets[0]}, "managingUser": map[string]any{"username": "managing", "password": secrets[1]}})
			secrets[2] = secrets[1] // there are two
		}
		event, err := json.Marshal(content)
		require.NoError(t, err)
		if seed%5 == 0 { // not quite JSON, or not the right shape
			event = bytes.Replace(event, []byte(`"port"`), []byte(text), 1)
		}
		for _, fail := range []bool{true, false} {
			var log bytes.Buffer
			handler := &Handler{Log: slog.New(slog.NewJSONHandler(&log, nil)),
				Engines: saying(text+secrets[0]+" "+strconv.Quote(secrets[1])+" "+strings.ReplaceAll(secrets[2], "'", "''"), fail)}
			reply, err := handler.Invoke(t.Context(), event)
			left := string(reply) + log.String() + fmt.Sprint(err)
			for _, secret := range secrets {
				inJSON, _ := json.Marshal(secret)
				assert.NotContains(t, left, secret)
				assert.NotContains(t, left, string(inJSON[1:len(inJSON)-1]))
			}
		}
	})
}

func TestSecretPrintsAsAPlaceholder(t *testing.T) {
	t.Parallel()
	secret := event.NewSecret(newPassword)
	inJSON, err := json.Marshal(map[string]any{"a": secret, "b": &secret})
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("line", "secret", secret, "user", event.RotateUser{NewPassword: secret})
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", secret, secret, secret, secret, secret, secret, secret), string(inJSON), log.String(),
		fmt.Sprintf("%v %+v %#v", event.RotateUser{NewPassword: secret}, &event.ManagingUser{Password: secret}, event.Request{RotateUser: &event.RotateUser{NewPassword: secret}}),
	} {
		assert.NotContains(t, text, newPassword)
		assert.NotContains(t, text, fmt.Sprintf("%x", newPassword))
	}
}

// scripted is a PostgreSQL server that accepts any md5 login but that of the user "user", and answers each query by the script: rows of text, an
// error by its SQLSTATE, or the end of the connection.
func scripted(t *testing.T, answer func(query string) (row []string, code string, hangUp bool)) int {
	t.Helper()
	return serve(t, "127.0.0.1", func(conn net.Conn) { converse(conn, answer) })
}

// serve is a port whose connections are each handled by a goroutine.
func serve(t *testing.T, address string, handle func(net.Conn)) int {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func converse(conn net.Conn, answer func(query string) ([]string, string, bool)) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	startup, err := backend.ReceiveStartupMessage()
	if err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationMD5Password{Salt: [4]byte{1, 2, 3, 4}})
	if backend.Flush() != nil || backend.SetAuthType(pgproto3.AuthTypeMD5Password) != nil {
		return
	}
	if _, err := backend.Receive(); err != nil {
		return
	}
	if message, is := startup.(*pgproto3.StartupMessage); is && message.Parameters["user"] == "user" {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01"})
		_ = backend.Flush()
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		message, err := backend.Receive()
		if err != nil {
			return
		}
		query := ""
		switch message := message.(type) {
		case *pgproto3.Query:
			query = message.String
		case *pgproto3.Parse:
			query = message.Query
		case *pgproto3.Sync:
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			continue
		default:
			continue
		}
		row, code, hangUp := answer(query)
		if hangUp {
			return
		}
		if code != "" {
			backend.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: "the statement was " + query})
			if strings.HasPrefix(code, "57P") { // ends the session
				_ = backend.Flush()
				return
			}
		} else {
			var values [][]byte
			for _, value := range row {
				values = append(values, []byte(value))
			}
			backend.Send(&pgproto3.DataRow{Values: values})
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("OK")})
		}
		if _, simple := message.(*pgproto3.Query); simple {
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}

// scriptedAlter is a script in which all goes well until the change.
func scriptedAlter(code string, hangUp bool) func(string) ([]string, string, bool) {
	return func(query string) ([]string, string, bool) {
		switch {
		case strings.Contains(query, "ALTER ROLE"):
			return nil, code, hangUp
		case strings.Contains(query, "server_version_num"):
			return []string{"150004", "scram-sha-256", "", "f", "off", "", "", "managing",
				"user", "t", "", "-1", "f", "f", "t", "", "t", "f", "t", "off"}, "", false
		default:
			return nil, "", false
		}
	}
}

func TestScriptedServers(t *testing.T) {
	t.Setenv(connector.SSLModeVariable, "disable")
	for name, c := range map[string]struct {
		code   string
		hangUp bool
		says   []string
	}{
		"a hook that refuses a verifier":       {code: "22023", says: []string{"change: ", "22023", "in clear", "never sends", "Nothing was changed"}},
		"a connection lost during the change":  {hangUp: true, says: []string{"change: ", "closed the connection", "may have been changed", "rotate again"}},
		"a session ended during the change":    {code: "57P01", says: []string{"change: ", "57P01", "may have been changed"}},
		"a transaction that takes too long":    {code: "25P04", says: []string{"change: ", "transaction_timeout was over", "25P04", "Nothing was changed"}},
		"a server that is out of disk":         {code: "53100", says: []string{"change: ", "disk is full (53100)", "log", "Nothing was changed"}},
		"a server whose code is none":          {code: "SECRE", says: []string{"change: ", "no SQLSTATE", "Nothing was changed"}},
		"a change that is always in the way":   {code: "XX000", says: []string{"change: ", "XX000", "Nothing was changed"}},
		"a server with more words than wanted": {code: "P0001", says: []string{"change: ", "P0001"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := invoke(t, anyEvent(newPassword).with("host", "127.0.0.1").with("port", scripted(t, scriptedAlter(c.code, c.hangUp))), 2*time.Second)
			assert.Equal(t, 400, answer.Code)
			for _, part := range c.says {
				assert.Contains(t, answer.Message, part)
			}
			assert.NotContains(t, answer.raw, "SCRAM-SHA-256$")
			assert.NotContains(t, answer.raw, "the statement was")
		})
	}
}

func TestServerThatNamesAnotherRoleIsNotBelieved(t *testing.T) {
	t.Setenv(connector.SSLModeVariable, "disable")
	for _, name := range []string{"", "managing", "New-Secr", "users"} {
		script := func(query string) ([]string, string, bool) {
			assert.NotContains(t, query, "ALTER ROLE")
			row, code, hangUp := scriptedAlter("42501", false)(query)
			if len(row) > 1 {
				row[8] = name // rolname
			}
			return row, code, hangUp
		}
		answer := invoke(t, anyEvent(newPassword).with("host", "127.0.0.1").with("port", scripted(t, script)), 2*time.Second)
		assert.Contains(t, answer.Message, "check before the change: ")
		assert.NotContains(t, answer.raw, "New-Secr")
	}
}

func TestGarbageIsAnsweredByAFailure(t *testing.T) {
	t.Setenv(connector.SSLModeVariable, "disable")
	huge := binary.BigEndian.AppendUint32([]byte{'R'}, 1<<31-1)
	for _, garbage := range []string{"", "\x00", "HTTP/1.1 400 Bad Request\r\n\r\n", string(huge), strings.Repeat("\xff", 300), "\x4a\x00\x00\x00\x0a5.7.0\x00", "R\x00\x00\x00\x0c\x00\x00\x00\x0b", "\x05\x00\x00\x00\xff\x15\x04ab"} {
		port := serve(t, "127.0.0.1", func(conn net.Conn) {
			_, _ = io.WriteString(conn, garbage)
			conn.Close()
		})
		for _, kind := range []string{"postgres", "mysql"} {
			for _, dryRun := range []bool{false, true} {
				event := anyEvent(newPassword).with("type", kind).with("host", "127.0.0.1").with("port", port).with("dryRun", dryRun)
				if dryRun {
					event = event.with("managingUser", nil).with("rotateUser", nil)
				}
				answer := invoke(t, event, 600*time.Millisecond)
				if answer.Code == 200 {
					assert.True(t, dryRun && garbage != "", "%s %q: %s", kind, garbage, answer.Message)
					continue
				}
				assert.Contains(t, answer.Message, "Nothing was changed", "%s %q", kind, garbage)
			}
		}
	}
}

func TestServiceThatIsNoPostgreSQLIsNotTakenForIt(t *testing.T) {
	for _, mode := range []string{"disable", "verify-full"} {
		t.Setenv(connector.SSLModeVariable, mode)
		for _, greeting := range []string{"ERROR\r\n", "E\x00\x00\x00\x08\x00\x00\x00\x00", "SSH-2.0-OpenSSH_9.6\r\n", "NICK"} {
			port := serve(t, "127.0.0.1", func(conn net.Conn) {
				t.Cleanup(func() { conn.Close() }) // which stays open until then
				_, _ = io.WriteString(conn, greeting)
			})
			answer := invoke(t, anyEvent(newPassword).with("type", "postgres").with("host", "127.0.0.1").with("port", port).
				with("dryRun", true).with("managingUser", nil).with("rotateUser", nil), plenty)
			assert.Equal(t, 400, answer.Code, "%s %q: %s", mode, greeting, answer.Message)
			if mode == "disable" || strings.HasPrefix(greeting, "E") { // S and N are a yes and a no to TLS
				assert.Contains(t, answer.Message, "no PostgreSQL server", "%s %q", mode, greeting)
			}
		}
	}
}

// A guard that compares each secret with each public word takes longer for this than it has.
func TestLargeEventIsAnsweredBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	answer := invoke(t, anyEvent("aaaaaa").with("type", strings.Repeat("a", 200_000)).with("database", "a"), 10*time.Second)
	assert.Equal(t, 400, answer.Code)
}

// offering is a PostgreSQL server that says yes to TLS on its own terms.
func offering(t *testing.T, terms *tls.Config) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(conn, make([]byte, 8))
			_, _ = io.WriteString(conn, "S")
			_ = tls.Server(conn, terms).Handshake()
			conn.Close()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestCertificatesThatAreNotBelieved(t *testing.T) {
	authority, err := dbtest.NewAuthority("own CA")
	require.NoError(t, err)
	stranger, err := dbtest.NewAuthority("own CA") // the same name, another key
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, authority.PEM, 0o644))
	t.Setenv(connector.SSLRootCertVariable, file)
	for name, c := range map[string]struct {
		by   *dbtest.Authority
		host string // of the certificate
		as   string // the host of the event
		end  time.Time
		code int
		says []string
	}{
		"a good one":                   {by: authority, host: "127.0.0.1", code: 200, says: []string{"verified", "own CA"}},
		"one that has expired":         {by: authority, host: "127.0.0.1", end: time.Now().Add(-time.Hour), code: 400, says: []string{"TLS: ", "valid from", time.Now().UTC().Add(-time.Hour).Format(time.DateOnly)}},
		"a good one for an address":    {by: authority, host: "127.0.0.1", as: "::ffff:127.0.0.1%lo", code: 200, says: []string{"verified"}},
		"one for another, of a zone":   {by: authority, host: "127.0.0.9", as: "::ffff:127.0.0.1%lo", code: 400, says: []string{"TLS: ", "127.0.0.9", "not for this host"}},
		"one for another address":      {by: authority, host: "127.0.0.9", code: 400, says: []string{"TLS: ", "127.0.0.9", "not for this host"}},
		"one for no host":              {by: authority, code: 400, says: []string{"TLS: ", "names no host", "databaseCaFile"}},
		"one for a long name":          {by: authority, host: strings.Repeat("evil.", 40) + "example", code: 400, says: []string{"TLS: ", `for "(not printable)"`}},
		"one by a CA of the same name": {by: stranger, host: "127.0.0.1", code: 400, says: []string{"TLS: ", "own CA", "DB_SSLROOTCERT"}},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, key, err := c.by.Issue(c.end, strings.Fields(c.host)...)
			require.NoError(t, err)
			pair, err := tls.X509KeyPair(certificate, key)
			require.NoError(t, err)
			port := offering(t, &tls.Config{Certificates: []tls.Certificate{pair}})
			answer := invoke(t, wire{"type": "postgres", "host": cmp.Or(c.as, "127.0.0.1"), "port": port, "dryRun": true}, plenty)
			assert.Equal(t, c.code, answer.Code, answer.Message)
			for _, part := range c.says {
				assert.Contains(t, answer.Message, part)
			}
		})
	}
}

// What expires some day is no news; what does so soon is, before it fails.
func TestAuthorityThatExpiresSoonIsAWarning(t *testing.T) {
	const aDay = 24 * time.Hour
	for _, days := range []int{59, 61} {
		end := time.Now().Add(time.Duration(days) * aDay)
		authority, err := dbtest.NewAuthorityUntil("ending CA", end)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(file, authority.PEM, 0o644))
		t.Setenv(connector.SSLRootCertVariable, file)
		certificate, key, err := authority.Issue(time.Time{}, "127.0.0.1")
		require.NoError(t, err)
		pair, err := tls.X509KeyPair(certificate, key)
		require.NoError(t, err)
		dryRun := wire{"type": "postgres", "host": "127.0.0.1", "port": offering(t, &tls.Config{Certificates: []tls.Certificate{pair}}), "dryRun": true}

		answer := invoke(t, dryRun, plenty)
		require.Equal(t, 200, answer.Code, answer.Message)
		if days > 60 {
			assert.Empty(t, answer.Warning)
			assert.NotContains(t, answer.log, "warning")
			continue
		}
		for _, part := range []string{"127.0.0.1:", `"ending CA"`, end.UTC().Format(time.DateOnly), "databaseCaFile", "aws rds modify-db-instance"} {
			assert.Contains(t, answer.Warning, part)
		}
		assert.Equal(t, answer.Warning, answer.log["warning"])
		assert.Equal(t, "ok", answer.log["result"])

		// Without verification nobody looks at it.
		t.Setenv(connector.SSLModeVariable, "require")
		answer = invoke(t, dryRun, plenty)
		assert.Equal(t, 200, answer.Code, answer.Message)
		assert.Empty(t, answer.Warning)
		t.Setenv(connector.SSLModeVariable, "")
	}
}

// What cannot agree is no fault of the network, and builds of MySQL 5.7 have no ephemeral keys.
func TestVersionsAndCiphersOfOldServers(t *testing.T) {
	t.Setenv(connector.SSLModeVariable, "require")
	key, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(cryptorand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pair := []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}
	for name, c := range map[string]struct {
		terms *tls.Config
		code  int
		says  string
	}{
		"TLS 1.1": {&tls.Config{Certificates: pair, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 400,
			"the TLS handshake failed: server and connector agree on no version or cipher"},
		"a client's certificate": {&tls.Config{Certificates: pair, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}, 400,
			"the server asks for a client certificate"},
		"a client's certificate, over TLS 1.3": {&tls.Config{Certificates: pair, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}, 400,
			"the server broke off the TLS connection"},
		"no ephemeral key": {&tls.Config{Certificates: pair, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, 200, "TLS 1.2"},
	} {
		t.Run(name, func(t *testing.T) {
			event := wire{"type": "postgres", "host": "127.0.0.1", "port": offering(t, c.terms), "dryRun": true}
			if c.terms.MinVersion == tls.VersionTLS13 { // the alert comes after the handshake
				event = anyEvent(newPassword).with("host", "127.0.0.1").with("port", event["port"])
			}
			answer := invoke(t, event, plenty)
			assert.Equal(t, c.code, answer.Code, answer.Message)
			assert.Contains(t, answer.Message, c.says)
			assert.NotContains(t, answer.Message, "security group")
		})
	}
}

func TestDryRunOverTLSTellsTheCertificate(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		answer := invoke(t, wire{"type": db.kind, "host": db.Host, "port": db.Port, "dryRun": true}, plenty)
		require.Equal(t, 200, answer.Code, answer.Message)
		until := time.Now().UTC().Add(24 * time.Hour).Format(time.DateOnly) // dbtest's certificates live for a day
		for _, part := range []string{"nothing was changed", "127.0.0.1", "TLS 1.3", "verified", "dbtest CA", until} {
			assert.Contains(t, answer.Message, part)
		}
		assert.Equal(t, "none", answer.log["proof"])
		assert.Equal(t, true, answer.log["dryRun"])

		answer = invoke(t, wire{"type": db.kind, "host": db.Host, "port": db.Port, "dryRun": true, "database": "", "managingUser": map[string]any{}, "rotateUser": map[string]any{"username": ""}}, plenty)
		assert.Equal(t, 200, answer.Code, answer.Message)

		rotation := rotation(t, db).with("dryRun", true)
		user := rotation["rotateUser"].(map[string]any)["username"].(string)
		answer = invoke(t, rotation, plenty)
		require.Equal(t, 200, answer.Code, answer.Message)
		assert.Contains(t, answer.Message, "exists and may be changed")
		assert.NoError(t, db.login(t, user, oldPassword))
		assert.Error(t, db.login(t, user, newPassword))
	})
}
