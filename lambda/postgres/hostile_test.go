package postgres_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/postgres"
)

// script is what a server says on a connection, whatever it hears.
type script struct{ bytes.Buffer }

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

// letIn lets anyone in by md5, which is no proof that the server knows the password.
func (s *script) letIn() *script {
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

// hostile are servers that break the protocol, lie or have no measure. The seeds of the fuzz test are these.
func hostile() map[string]*script {
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
		"nothing":                       new(script),
		"no message":                    new(script).raw('?', 4, ""),
		"a message of the largest size": new(script).raw('R', most, large),
		"a message without a length":    new(script).raw('R', 0, ""),
		"a message of a negative size":  new(script).raw('R', -1, large),
		"a login of no kind":            new(script).raw('R', 8, "\xff\xff\xff\xff"),
		"a SASL login without a name":   new(script).raw('R', 8, "\x00\x00\x00\x0a"),
		"a SASL login cut short":        new(script).raw('R', 12, "\x00\x00\x00\x0aSCRA"),
		"a challenge nobody asked for":  new(script).say(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=evil,s=,i=1")}),
		"a salt that is none":           new(script).say(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=evil,s=evil,i=999999999999")}),
		"the end of no exchange":        new(script).say(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationSASLFinal{Data: []byte("v=evil")}),
		"ready without a login":         new(script).ready(),
		"a login that is let in twice":  new(script).letIn().letIn(),
		"endless notices at the login":  endless(new(script), notice),
		"endless notices at a query":    endless(new(script).letIn(), notice),
		"endless parameters":            endless(new(script), &pgproto3.ParameterStatus{Name: "server_version", Value: strings.Repeat("evil ", 50)}),
		"endless rows":                  endless(new(script).letIn().ready(), &pgproto3.DataRow{Values: [][]byte{[]byte(strings.Repeat("evil", 60))}}),
		"a row of too many columns":     new(script).letIn().ready().raw('D', 6, "\xff\xff"),
		"a row of a negative column":    new(script).letIn().ready().raw('D', 10, "\x00\x01\xff\xff\xff\xfe"),
		"a row cut short":               new(script).letIn().ready().raw('D', 12, "\x00\x02\x00\x00\x00\x09ev"),
		"a row without columns":         new(script).letIn().ready().row().ready().ready(),
		"a version that is none":        new(script).letIn().ready().row(append([]string{"evil"}, make([]string, 19)...)...).ready().ready(),
		"an error of no code":           new(script).refuse(""),
		"an error of a long code":       new(script).refuse(strings.Repeat("evil", 100)),
		"an error at the change":        new(script).known().refuse("evil!").ready(),
		"an error without an end":       new(script).known().refuse("XX000"),
		"a change that goes well":       new(script).known().ready(),
		"a change and rows":             endless(new(script).known(), &pgproto3.DataRow{Values: [][]byte{[]byte("evil")}}),
		"a copy":                        new(script).known().raw('G', 7, "\x00\x00\x00"),
		"a notification":                new(script).known().say(&pgproto3.NotificationResponse{PID: 1, Channel: "evil", Payload: "evil"}),
	}
}

// says runs a server that says a script on each connection, and refuses the passwords of all that follow. closed waits until
// the client has ended each.
func says(t testing.TB, scripts ...[]byte) (request event.Request, closed func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for i := 0; ; i++ {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			say := new(script).refuse("28P01").Bytes()
			if i < len(scripts) {
				say = scripts[i]
			}
			connections.Go(func() {
				defer connection.Close()
				_, _ = connection.Write(say)
				_ = connection.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, connection)
			})
		}
	}()
	request = event.Request{
		Type: event.TypePostgres, Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, Database: "app",
		ManagingUser: &event.ManagingUser{Username: "managing", Password: event.NewSecret(managerPassword)},
		RotateUser:   &event.RotateUser{Username: "user", Password: event.NewSecret(oldPassword), NewPassword: event.NewSecret(newPassword)},
	}
	return request, func() {
		listener.Close()
		<-accepting
		connections.Wait()
	}
}

// suffer rotates at a server that says a script, and checks what holds whatever it says.
func suffer(t testing.TB, first []byte, timeout time.Duration) error {
	t.Helper()
	request, closed := says(t, first)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	outcome, err := postgres.Rotate(ctx, connector.NewServer(request, nil), request)
	closed() // which no connection that was left open would let end
	assert.NotContains(t, outcome.Note, "evil")
	if err == nil {
		return nil
	}
	var failure *connector.Failure
	require.True(t, errors.As(err, &failure), err)
	for _, word := range []string{"evil", "{", managerPassword, oldPassword, newPassword} {
		assert.NotContains(t, err.Error(), word)
	}
	const longest = 2000 // bytes
	assert.Less(t, len(err.Error()), longest)
	return err
}

func TestHostileServerCostsOneFailedRotation(t *testing.T) {
	for name, script := range hostile() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := suffer(t, script.Bytes(), 2*time.Second)
			runtime.ReadMemStats(&after)
			assert.Error(t, err)
			const most = 32 << 20 // bytes
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(most))
		})
	}
}

// FuzzServerSaysAnything lets a server say anything. In go test it runs the seeds; make test has it look further for a while.
func FuzzServerSaysAnything(f *testing.F) {
	for _, script := range hostile() {
		f.Add(script.Bytes()[:min(script.Len(), 2000)])
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		_ = suffer(t, first, 250*time.Millisecond) // too little to try again
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
