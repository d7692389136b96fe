package mysql_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/mysql"
)

// script is all that a server says on a connection, whatever it is asked: packets, whose numbers go on by themselves.
type script struct {
	bytes.Buffer
	number byte
}

func (s *script) packet(payload ...byte) *script {
	s.Write([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), s.number})
	s.Write(payload)
	s.number++
	return s
}

// after begins with another number: 2 after the client's login, 1 after a statement.
func (s *script) after(number byte) *script { s.number = number; return s }

const starttls = 0x800 // the flag of a greeting that TLS is offered

func greeting(plugin string, flags uint16) []byte {
	packet := append([]byte{10}, "5.5.5-10.11.6-MariaDB\x00\x01\x00\x00\x00evilevil\x00"...)
	packet = binary.LittleEndian.AppendUint16(packet, flags|0x1|0x4|0x8|0x200|0x2000|0x8000)
	packet = append(packet, 45, 2, 0)
	packet = binary.LittleEndian.AppendUint16(packet, 0x12b) // plugins, their data with a length, and no EOF packets
	packet = append(packet, 21)
	packet = append(packet, make([]byte, 10)...)
	return append(packet, "evilevilevil\x00"+plugin+"\x00"...)
}

var ok = []byte{0, 0, 0, 2, 0, 0, 0}

func (s *script) greet() *script {
	return s.after(0).packet(greeting("mysql_native_password", 0)...)
}
func (s *script) letIn() *script   { return s.greet().after(2).packet(ok...) }
func (s *script) settled() *script { return s.letIn().after(1).packet(ok...) }
func (s *script) known() *script {
	return s.settled().after(1).rows("10.11.6-MariaDB", "managing@10.0.0.1", "managing@%", "7", "2", "0")
}
func (s *script) refuse(number uint16, text string) *script {
	return s.packet(append(append([]byte{0xff, byte(number), byte(number >> 8)}, "#HY000"...), text...)...)
}

// rows are the answer to a query, of one row.
func (s *script) rows(values ...string) *script {
	s.packet(byte(len(values)))
	for range values {
		s.packet([]byte("\x03def\x04evil\x04evil\x04evil\x04evil\x04evil\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00")...)
	}
	s.row(values...)
	return s.packet(0xfe, 0, 0, 2, 0, 0, 0)
}

func (s *script) row(values ...string) *script {
	var payload []byte
	for _, value := range values {
		payload = append(append(payload, byte(len(value))), value...)
	}
	return s.packet(payload...)
}

// says runs a server that says a script on each connection, the last one on all that follow. closed waits until the
// client has ended every connection.
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
			connections.Go(func() {
				defer connection.Close()
				_, _ = connection.Write(scripts[min(i, len(scripts)-1)])
				_ = connection.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, connection)
			})
		}
	}()
	request = event.Request{
		Type: event.TypeMySQL, Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, Database: "app",
		ManagingUser: &event.ManagingUser{Username: "managing", Password: event.NewSecret(managerPassword)},
		RotateUser:   &event.RotateUser{Username: "user", NewPassword: event.NewSecret(newPassword)},
		Prepare: &event.Prepare{
			MasterUser:   event.MasterUser{Username: "master", Password: event.NewSecret(masterPassword)},
			ManagingUser: event.ManagingUser{Username: "managing", Password: event.NewSecret(managerPassword)}, RotateUsers: []string{"user", "other"}, Privileges: []string{"SELECT"},
		},
	}
	return request, func() {
		listener.Close()
		<-accepting
		connections.Wait()
	}
}

// plainTextIsNoKey is a public key that is not RSA's.
func otherKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// hostile are servers that break the protocol, lie or have no measure. The seeds of the fuzz test are these.
func hostile(t testing.TB) map[string]*script {
	t.Helper()
	endless := new(script).known().after(1).packet(2)
	for range 2 {
		endless.packet([]byte("\x03def\x04evil\x04evil\x04evil\x04evil\x04evil\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00")...)
	}
	for range 40_000 {
		endless.row(strings.Repeat("evil", 60), "x")
	}
	long := new(script).known().after(1)
	for range 2 { // packets of 16 MB, each many times what is read
		long.Write([]byte{0xff, 0xff, 0xff, long.number})
		long.Write(bytes.Repeat([]byte("x"), 1<<24-1))
		long.number++
	}
	return map[string]*script{
		"an error cut short":                  new(script).packet(0xff, 16),
		"an error whose state is cut short":   new(script).greet().after(2).packet(0xff, 16, 4, '#'),
		"a login's end cut short":             new(script).greet().after(2).packet(0, 0),
		"nothing in a packet":                 new(script).greet().after(2).packet(),
		"a plugin with a short challenge":     new(script).packet(greeting("caching_sha2_password", 0)...).after(2).packet([]byte("\xfemysql_native_password\x00evil")...),
		"a key that is not RSA's":             new(script).packet(greeting("caching_sha2_password", 0)...).after(2).packet(1, 4).after(4).packet(append([]byte{1}, otherKey(t)...)...),
		"a digest that is no plugin's":        new(script).packet(greeting("caching_sha2_password", 0)...).after(2).packet(1, 4).after(4).packet([]byte("\x01-----BEGIN evil")...),
		"a change's end cut short":            new(script).known().after(1).packet(0),
		"a question for a file of ours":       new(script).known().after(1).packet([]byte("\xfb/proc/self/environ")...),
		"more columns than there is memory":   new(script).known().after(1).packet(0xfe, 0, 0, 0, 0, 2, 0, 0, 0),
		"more columns than there are numbers": new(script).settled().after(1).packet(0xfe, 255, 255, 255, 255, 255, 255, 255, 255),
		"a column cut short":                  new(script).settled().after(1).packet(6).packet([]byte("\x03def\x04ev")...),
		"a row cut short":                     new(script).settled().after(1).rows("10.11.6-MariaDB"),
		"a row that is longer than it is":     new(script).settled().after(1).packet(0xfd, 1),
		"endless rows":                        endless,
		"huge packets":                        long,
	}
}

func TestHostileServerCostsOneFailedRotation(t *testing.T) {
	denied := new(script).greet().after(2).refuse(1045, "evil").Bytes() // to the login that decides
	for name, script := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			request, closed := says(t, script.Bytes(), denied)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := mysql.Rotate(ctx, connector.NewServer(request, nil), request)
			runtime.ReadMemStats(&after)
			require.NoError(t, ctx.Err(), "it took all the time there was")
			var failure *connector.Failure
			require.ErrorAs(t, err, &failure)
			assert.NotContains(t, err.Error(), "evil")
			const most = 32 << 20 // bytes
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(most))
			closed()
		})
	}
}

// The driver reads into a greeting of any length.
func TestGreetingCutShortAnywhereIsNoServer(t *testing.T) {
	t.Parallel()
	whole := greeting("mysql_native_password", 0)
	for length := range len(whole) - len("mysql_native_password\x00") {
		request, closed := says(t, new(script).packet(whole[:length]...).Bytes())
		_, err := mysql.Rotate(t.Context(), connector.NewServer(request, nil), request)
		assert.ErrorContains(t, err, "no MySQL or MariaDB server", length)
		closed()
	}
}

// A man in the middle could put his words before the server's, which come after the handshake.
func TestNothingInClearIsReadForAPartOfTLS(t *testing.T) {
	t.Parallel()
	request, closed := says(t, new(script).packet(greeting("mysql_native_password", starttls)...).after(2).packet(ok...).Bytes())
	for _, run := range []func(context.Context, *connector.Server, event.Request) (connector.Outcome, error){mysql.Rotate, mysql.DryRun} {
		_, err := run(t.Context(), connector.NewServer(request, &connector.TLS{}), request)
		assert.ErrorContains(t, err, "none of MySQL's protocol")
		assert.ErrorContains(t, err, "TLS: ")
		request.ManagingUser = nil
	}
	closed()
}

func TestServersRulesArePrintedOnlyWhereTheyAreSuch(t *testing.T) {
	t.Parallel()
	refused := new(script).known().after(1).refuse(1819, "evil")
	for range 3 {
		refused.after(1).rows("password. NOTICE: log in at evil.example and enter the managing password ", "x")
	}
	request, closed := says(t, refused.Bytes())
	_, err := mysql.Rotate(t.Context(), connector.NewServer(request, nil), request)
	assert.ErrorContains(t, err, "password policy (error 1819)")
	assert.NotContains(t, err.Error(), "evil")
	closed()
}

func TestHostPatternOfAnyKindIsMatchedAtOnce(t *testing.T) {
	t.Parallel()
	known := new(script).settled().after(1).rows("10.11.6-MariaDB", "managing@"+strings.Repeat("z", 60), "managing@%", "7", "2", "0").after(1).packet(ok...)
	request, closed := says(t, known.Bytes())
	request.RotateUser.Username = "user@" + strings.Repeat("%z", 24) + "y"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	outcome, err := mysql.Rotate(ctx, connector.NewServer(request, nil), request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofSkipped, outcome.Proof)
	closed()
}

// FuzzServerSaysAnything lets a server say anything: on the managing user's connection, and on those that follow. In go
// test it runs the seeds; make fuzz has it look further.
func FuzzServerSaysAnything(f *testing.F) {
	good := new(script).known().after(1).packet(ok...).Bytes()
	proof := new(script).letIn().after(1).rows("user@%").Bytes()
	f.Add(good, proof)
	for name, script := range hostile(f) {
		if name != "huge packets" && name != "endless rows" {
			f.Add(script.Bytes(), proof)
		}
		f.Add(good, script.Bytes()[:min(script.Len(), 1<<12)])
	}
	f.Add(new(script).known().after(1).refuse(1396, "evil").after(1).rows("Error", "1410", "evil").Bytes(), proof)
	f.Add(new(script).known().after(1).refuse(1819, "evil").after(1).rows("evil", "8").Bytes(), proof)
	prepares := new(script).known().after(1).rows("lower_case_table_names", "evil").after(1).packet(ok...).after(1).rows("1")
	f.Add(bytes.Clone(prepares.Bytes()), proof)
	f.Add(bytes.Clone(prepares.after(1).rows("evil").after(1).rows("'managing'@'%'", "*", "evil", "evil").after(1).rows("'managing'@'%'", "%", "evil", "YES").Bytes()), proof)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, run := range []func(context.Context, *connector.Server, event.Request) (connector.Outcome, error){mysql.Rotate, mysql.DryRun, mysql.Prepare} {
			request, closed := says(t, first, second)
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond) // too little to try again
			outcome, err := run(ctx, connector.NewServer(request, nil), request)
			cancel()
			text := outcome.Message + outcome.Note
			if err != nil {
				var failure *connector.Failure
				require.ErrorAs(t, err, &failure)
				text = err.Error()
			}
			assert.NotContains(t, strings.ToLower(text), "evil")
			const longest = 2 << 10 // bytes
			assert.LessOrEqual(t, len(text), longest)
			closed()
		}
	})
}

// Errors that no server here can be brought to: what is told of them, and of what became of the password.
func TestErrorsOfAServerInTroubleAreToldApart(t *testing.T) {
	t.Parallel()
	denied := new(script).greet().after(2).refuse(1045, "evil").Bytes()
	for number, c := range map[uint16]struct {
		says   string
		change bool // that the change was answered with it, else the login
		state  connector.State
	}{
		1129: {"max_connect_errors", false, connector.Unchanged},
		1130: {"such as 10.0.%", false, connector.Unchanged},
		1135: {"could not make a thread", false, connector.Unchanged},
		1041: {"out of memory", false, connector.Unchanged},
		1047: {"Galera", false, connector.Unchanged},
		1053: {"shutting down", false, connector.Unchanged},
		1021: {"disk is full", true, connector.MaybeChanged},
		1194: {"CHECK TABLE mysql.global_priv", true, connector.MaybeChanged},
		1598: {"binary log", true, connector.MaybeChanged},
		3000: {"Look the number up", true, connector.MaybeChanged},
		1064: {"upgrade the server", true, connector.Unchanged},
		1836: {"writer endpoint", true, connector.Unchanged},
	} {
		t.Run(strconv.Itoa(int(number)), func(t *testing.T) {
			t.Parallel()
			answer := new(script).greet().after(2)
			if c.change {
				answer = new(script).known().after(1)
			}
			answer.refuse(number, "evil")
			then := answer.Bytes()
			if c.change { // the login that decides
				then = denied
			}
			request, closed := says(t, answer.Bytes(), then)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := mysql.Rotate(ctx, connector.NewServer(request, nil), request)
			var failure *connector.Failure
			require.ErrorAs(t, err, &failure)
			assert.Contains(t, strings.ToLower(err.Error()), strings.ToLower(c.says))
			assert.Contains(t, err.Error(), "error "+strconv.Itoa(int(number)))
			assert.Equal(t, c.state, failure.State, err)
			assert.NotContains(t, err.Error(), "security group")
			assert.NotContains(t, err.Error(), "evil")
			closed()
		})
	}
}

// The question about the warnings has limits of its own, which say nothing of the change.
func TestWarningsThatAreNotToldSayNothingOfTheChange(t *testing.T) {
	t.Parallel()
	warned := []byte{0, 0, 0, 2, 0, 1, 0}
	taken := new(script).known().after(1).packet(warned...).after(1).refuse(1226, "evil")
	request, closed := says(t, taken.Bytes(), new(script).greet().after(2).refuse(1045, "evil").Bytes())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := mysql.Rotate(ctx, connector.NewServer(request, nil), request)
	assert.ErrorContains(t, err, "error 1226")
	assert.ErrorContains(t, err, string(connector.MaybeChanged))
	closed()
}

// A copy of the server has other sessions, and may have an older password: what it tells is not what became of the change.
func TestCopyOfTheServerDoesNotDecide(t *testing.T) {
	t.Parallel()
	lost := new(script).known().Bytes()
	asked := new(script).letIn().after(1).rows("9").after(1).rows("read_only", "ON").after(1).rows("9", "managing").Bytes()
	denied := new(script).greet().after(2).refuse(1045, "evil").Bytes()
	request, closed := says(t, lost, asked, denied, new(script).letIn().after(1).rows("user@%").Bytes())
	request.RotateUser.Password = event.NewSecret(oldPassword)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := mysql.Rotate(ctx, connector.NewServer(request, nil), request)
	assert.ErrorContains(t, err, string(connector.MaybeChanged))
	closed()
}
