package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"esc-connector-lambda-go/lambda/connector"
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
	"empty new password":       {"rotateUser.newPassword", "", []string{"rotateUser.newPassword", "dryRun"}},
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
