package postgres_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/postgres"
)

// script is what a server says on a connection, whatever it hears.
type script struct {
	bytes.Buffer
	iam bool // it lets a user in by a token
}

// say adds messages.
func (s *script) say(messages ...pgproto3.BackendMessage) *script {
	for _, message := range messages {
		encoded, err := message.Encode(nil)
		if err != nil {
			panic(err) // one of this file is wrong
		}
		s.Write(encoded)
	}
	return s
}

// raw adds a message of a type and a body, with a length that may lie.
func (s *script) raw(kind byte, length int, body string) *script {
	s.WriteByte(kind)
	_ = binary.Write(s, binary.BigEndian, uint32(length))
	s.WriteString(body)
	return s
}

func (s *script) ready() *script { return s.say(&pgproto3.ReadyForQuery{TxStatus: 'I'}) }

// letIn lets anyone in, by md5, which is no proof that the server knows the password, or by any token.
func (s *script) letIn() *script {
	if s.iam {
		return s.say(&pgproto3.AuthenticationCleartextPassword{}, &pgproto3.AuthenticationOk{}).ready()
	}
	return s.say(&pgproto3.AuthenticationMD5Password{Salt: [4]byte{1, 2, 3, 4}}, &pgproto3.AuthenticationOk{}).ready()
}

// known answers what is asked before the change.
func (s *script) known() *script {
	s.letIn().ready()
	row := []string{"150004", "scram-sha-256", "", "f", "off", "", "", "managing", "user", "t", "", "-1", "f", "f", "t", "", "t", "f", "t", "off"}
	return s.row(row...).ready().ready()
}

func (s *script) row(values ...string) *script {
	var encoded [][]byte
	for _, value := range values {
		encoded = append(encoded, []byte(value))
	}
	return s.say(&pgproto3.DataRow{Values: encoded})
}

func (s *script) refuse(code string) *script {
	return s.say(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "evil", Detail: "evil", Hint: "evil", Routine: "evil"})
}

// hostile are servers that break the protocol, lie or have no measure, and let a user in by a password or by a token. The seeds
// of the fuzz test are these.
func hostile(iam bool) map[string]*script {
	begin := func() *script { return &script{iam: iam} }
	const most = 1<<31 - 1
	endless := func(begin *script, message pgproto3.BackendMessage) *script {
		for range 40_000 {
			begin.say(message)
		}
		return begin
	}
	notice := &pgproto3.NoticeResponse{Severity: "NOTICE", Message: strings.Repeat("evil ", 50)}
	large := strings.Repeat("evil", 1<<20)
	return map[string]*script{
		"nothing":                       begin(),
		"no message":                    begin().raw('?', 4, ""),
		"a message of the largest size": begin().raw('R', most, large),
		"a message without a length":    begin().raw('R', 0, ""),
		"a message of a negative size":  begin().raw('R', -1, large),
		"a login of no kind":            begin().raw('R', 8, "\xff\xff\xff\xff"),
		"a SASL login without a name":   begin().raw('R', 8, "\x00\x00\x00\x0a"),
		"a SASL login cut short":        begin().raw('R', 12, "\x00\x00\x00\x0aSCRA"),
		"a challenge nobody asked for":  begin().say(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=evil,s=,i=1")}),
		"a salt that is none":           begin().say(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=evil,s=evil,i=999999999999")}),
		"the end of no exchange":        begin().say(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationSASLFinal{Data: []byte("v=evil")}),
		"ready without a login":         begin().ready(),
		"a login that is let in twice":  begin().letIn().letIn(),
		"endless notices at the login":  endless(begin(), notice),
		"endless notices at a query":    endless(begin().letIn(), notice),
		"endless parameters":            endless(begin(), &pgproto3.ParameterStatus{Name: "server_version", Value: strings.Repeat("evil ", 50)}),
		"endless rows":                  endless(begin().letIn().ready(), &pgproto3.DataRow{Values: [][]byte{[]byte(strings.Repeat("evil", 60))}}),
		"a row of too many columns":     begin().letIn().ready().raw('D', 6, "\xff\xff"),
		"a row of a negative column":    begin().letIn().ready().raw('D', 10, "\x00\x01\xff\xff\xff\xfe"),
		"a row cut short":               begin().letIn().ready().raw('D', 12, "\x00\x02\x00\x00\x00\x09ev"),
		"a row without columns":         begin().letIn().ready().row().ready().ready(),
		"a version that is none":        begin().letIn().ready().row(append([]string{"evil"}, make([]string, 19)...)...).ready().ready(),
		"an error of no code":           begin().refuse(""),
		"an error of a long code":       begin().refuse(strings.Repeat("evil", 100)),
		"an error at the change":        begin().known().refuse("evil!").ready(),
		"an error without an end":       begin().known().refuse("XX000"),
		"a change that goes well":       begin().known().ready(),
		"a change and rows":             endless(begin().known(), &pgproto3.DataRow{Values: [][]byte{[]byte("evil")}}),
		"a copy":                        begin().known().raw('G', 7, "\x00\x00\x00"),
		"a notification":                begin().known().say(&pgproto3.NotificationResponse{PID: 1, Channel: "evil", Payload: "evil"}),
	}
}

// says runs a server that says a script on each connection, and refuses the passwords of all that follow. closed waits until
// the client has ended each.
func says(t testing.TB, scripts ...[]byte) (request event.Request, closed func()) {
	t.Helper()
	request, played := plays(t, false, scripts...)
	return request, played.Close
}

// plays runs a server as says does, and has it speak TLS where the managing user logs in by a token.
func plays(t testing.TB, iam bool, scripts ...[]byte) (event.Request, *dbtest.Played) {
	t.Helper()
	var secure func(net.Conn, []byte) (net.Conn, []byte, error)
	if iam {
		secure = func(plain net.Conn, say []byte) (net.Conn, []byte, error) {
			const request = 8 // bytes, for TLS
			if _, err := io.CopyN(io.Discard, plain, request); err != nil {
				return nil, nil, err
			}
			if _, err := plain.Write([]byte("S")); err != nil {
				return nil, nil, err
			}
			secured := tls.Server(plain, playedTLS)
			return secured, say, secured.Handshake()
		}
	}
	played := dbtest.Play(t, secure, func(number int) []byte {
		if number < len(scripts) {
			return scripts[number]
		}
		return new(script).refuse("28P01").Bytes()
	})
	return event.Request{
		Type: event.TypePostgres, Host: "127.0.0.1", Port: played.Port, Database: "app",
		ManagingUser: &event.ManagingUser{Username: "managing", Password: event.NewSecret(managerPassword)},
		RotateUser:   &event.RotateUser{Username: "user", Password: event.NewSecret(oldPassword), NewPassword: event.NewSecret(newPassword)},
	}, played
}

// at is a server that plays gave, as the event's work sees it.
func at(request event.Request, iam bool) *connector.Server {
	if !iam {
		return connector.NewServer(request, nil)
	}
	server := connector.NewServer(request, playedTerms)
	server.IAM = true
	return server
}

// tokenIn is the signature of the token in what a server has heard, "" where there is none.
func tokenIn(heard []byte) string {
	const name, length = "X-Amz-Signature=", 64
	_, rest, found := bytes.Cut(heard, []byte(name))
	if !found {
		return ""
	}
	return string(rest[:length])
}

// suffer rotates at a server that says a script, and checks what holds whatever it says.
func suffer(t testing.TB, iam bool, first []byte, timeout time.Duration) error {
	t.Helper()
	request, played := plays(t, iam, first)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	outcome, err := postgres.Rotate(ctx, at(request, iam), request)
	played.Close() // which no connection that was left open would let end
	heard := bytes.Join(played.Heard(), nil)
	token := tokenIn(heard)
	assert.True(t, iam || token == "")
	assert.False(t, iam && bytes.Contains(heard, []byte(managerPassword)))
	assert.NotContains(t, outcome.Note, "evil")
	assert.False(t, err != nil && token != "" && strings.Contains(err.Error(), token))
	return harmless(t, err)
}

// harmless checks an error that a server has caused.
func harmless(t testing.TB, err error) error {
	t.Helper()
	if err == nil {
		return nil
	}
	var failure *connector.Failure
	require.True(t, errors.As(err, &failure), err)
	for _, word := range []string{"evil", "{", managerPassword, oldPassword, newPassword, "X-Amz", secretKey} {
		assert.NotContains(t, err.Error(), word)
	}
	const longest = 2000 // bytes
	assert.Less(t, len(err.Error()), longest)
	return err
}

func TestHostileServerCostsOneFailedRotation(t *testing.T) {
	for _, iam := range []bool{false, true} {
		for name, script := range hostile(iam) {
			t.Run(fmt.Sprintf("%s, by token %v", name, iam), func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := suffer(t, iam, script.Bytes(), 2*time.Second)
				runtime.ReadMemStats(&after)
				assert.Error(t, err)
				const most = 32 << 20 // bytes
				assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(most))
			})
		}
	}
}

// What a server gets of a managing user, whatever it asks for: in one mode never a password in clear, in the other the token
// where it asks for that, and nothing else.
func TestServerGetsNothingElseThanItsDue(t *testing.T) {
	t.Parallel()
	inClear := &pgproto3.AuthenticationCleartextPassword{}
	md5 := &pgproto3.AuthenticationMD5Password{Salt: [4]byte{1, 2, 3, 4}}
	scram := &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}
	for name, c := range map[string]struct {
		asks    []pgproto3.BackendMessage
		answers int // by a token
	}{
		"the password in clear":        {[]pgproto3.BackendMessage{inClear}, 1},
		"the password in clear, twice": {[]pgproto3.BackendMessage{inClear, inClear}, 1},
		"in clear, and then md5":       {[]pgproto3.BackendMessage{inClear, md5}, 1},
		"md5":                          {[]pgproto3.BackendMessage{md5}, 0},
		"md5, and then in clear":       {[]pgproto3.BackendMessage{md5, inClear}, 0},
		"SCRAM":                        {[]pgproto3.BackendMessage{scram}, 0},
		"SCRAM with channel binding":   {[]pgproto3.BackendMessage{&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}}}, 0},
		"SCRAM, and then in clear":     {[]pgproto3.BackendMessage{scram, inClear}, 0},
		"Kerberos":                     {[]pgproto3.BackendMessage{&pgproto3.AuthenticationGSS{}}, 0},
		"nothing":                      {[]pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, iam := range []bool{false, true} {
				request, played := plays(t, iam, new(script).say(c.asks...).Bytes())
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // too little to try again
				defer cancel()
				_, err := postgres.Rotate(ctx, at(request, iam), request)
				require.Error(t, err)
				played.Close()
				heard := played.Heard()
				assert.False(t, bytes.Contains(bytes.Join(heard, nil), []byte(managerPassword)), "the password has left in clear")
				if iam {
					assert.Equal(t, c.answers, bytes.Count(heard[0], []byte("X-Amz-Signature=")), "tokens")
					assert.Equal(t, c.answers, answersIn(heard[0]))
				}
			}
		})
	}
}

// answersIn counts the answers to a server's requests for a proof, of any kind, in what a client said: messages of the type p.
func answersIn(heard []byte) (answers int) {
	const header = 4 // bytes, the length, which the first message begins with
	for rest := heard[binary.BigEndian.Uint32(heard):]; len(rest) > header; rest = rest[1+binary.BigEndian.Uint32(rest[1:]):] {
		if rest[0] == 'p' {
			answers++
		}
	}
	return answers
}

func TestHostileServerCostsOneFailedPreparation(t *testing.T) {
	scripts := hostile(false)
	row := func(values ...string) *script {
		return new(script).letIn().ready().ready().ready().row(values...).ready()
	}
	known := []string{"150004", "scram-sha-256", "", "f", "t", "", "f", "t"}
	scripts["a server's version that is none"] = row(slices.Repeat([]string{"evil"}, len(known))...)
	scripts["a role of another name"] = row(known...).ready().row(slices.Repeat([]string{"evil"}, 13)...).ready()
	scripts["roles of too few columns"] = row(known...).ready().row("evil").ready()
	scripts["statements that are refused"] = row(known...).ready().row(make([]string, 13)...).ready().refuse("evil!").ready()
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			rotation, played := plays(t, false, script.Bytes())
			request := event.Request{Type: rotation.Type, Host: rotation.Host, Port: rotation.Port, Database: rotation.Database, Prepare: &event.Prepare{
				MasterUser: event.MasterUser{Username: "master", Password: event.NewSecret(oldPassword)}, ManagingUser: *rotation.ManagingUser, RotateUsers: []string{"one", "two"}}}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := postgres.Prepare(ctx, connector.NewServer(request, nil), request)
			played.Close() // which no connection that was left open would let end
			assert.Error(t, harmless(t, err))
		})
	}
}

// FuzzServerSaysAnything lets a server say anything. In go test it runs the seeds; make test has it look further for a while.
func FuzzServerSaysAnything(f *testing.F) {
	for _, iam := range []bool{false, true} {
		for _, script := range hostile(iam) {
			f.Add(iam, script.Bytes()[:min(script.Len(), 2000)])
		}
	}
	f.Fuzz(func(t *testing.T, iam bool, first []byte) {
		_ = suffer(t, iam, first, 250*time.Millisecond) // too little to try again
	})
}

// A standby has other sessions, and may have an older password: what it tells is not what became of the change.
func TestStandbyDoesNotDecide(t *testing.T) {
	t.Parallel()
	refused := new(script).refuse("28P01").Bytes()
	for inRecovery, state := range map[string]connector.State{"t": connector.MaybeChanged, "f": connector.Unchanged} {
		asked := new(script).letIn().ready().row("1", "0", inRecovery).ready().ready().Bytes()
		request, closed := says(t, new(script).known().Bytes(), asked, refused, new(script).letIn().Bytes())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := postgres.Rotate(ctx, connector.NewServer(request, nil), request)
		assert.ErrorContains(t, err, string(state))
		closed()
	}
}
