package mysql_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/mysql"
)

// script is all that a server says on a connection, whatever it is asked: packets, whose numbers go on by themselves.
type script struct {
	bytes.Buffer
	number byte
	// iam: it speaks TLS, and lets a user in by a token.
	iam bool
}

func (s *script) packet(payload ...byte) *script {
	s.Write([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), s.number})
	s.Write(payload)
	s.number++
	return s
}

// after begins with another number: 1 after a statement.
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

// greet greets, and goes on after the client's login, before which a client that speaks TLS asks for it.
func (s *script) greet(plugin string) *script {
	if s.iam {
		return s.after(0).packet(greeting(plugin, starttls)...).after(3)
	}
	return s.after(0).packet(greeting(plugin, 0)...).after(2)
}

func (s *script) letIn() *script {
	s.greet("mysql_native_password")
	if s.iam {
		s.packet([]byte("\xfemysql_clear_password\x00")...)
		s.number++ // the token
	}
	return s.packet(ok...)
}
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
	request, played := plays(t, false, scripts...)
	return request, played.Close
}

// plays runs a server as says does, and has it speak TLS where the managing user logs in by a token.
func plays(t testing.TB, iam bool, scripts ...[]byte) (event.Request, *dbtest.Played) {
	t.Helper()
	var secure func(net.Conn, []byte) (net.Conn, []byte, error)
	if iam {
		secure = func(plain net.Conn, say []byte) (net.Conn, []byte, error) {
			greeting := len(say)
			if len(say) >= 4 {
				greeting = min(greeting, 4+int(say[0])|int(say[1])<<8|int(say[2])<<16)
			}
			if _, err := plain.Write(say[:greeting]); err != nil {
				return nil, nil, err
			}
			const request = 4 + 32 // bytes, for TLS
			if _, err := io.CopyN(io.Discard, plain, request); err != nil {
				return nil, nil, err
			}
			secured := tls.Server(plain, playedTLS)
			return secured, say[greeting:], secured.Handshake()
		}
	}
	played := dbtest.Play(t, secure, func(number int) []byte { return scripts[min(number, len(scripts)-1)] })
	return event.Request{
		Type: event.TypeMySQL, Host: "127.0.0.1", Port: played.Port, Database: "app",
		ManagingUser: &event.ManagingUser{Username: "managing", Password: event.NewSecret(managerPassword)},
		RotateUser:   &event.RotateUser{Username: "user", NewPassword: event.NewSecret(newPassword)},
		Prepare: &event.Prepare{
			MasterUser:   event.MasterUser{Username: "master", Password: event.NewSecret(masterPassword)},
			ManagingUser: event.ManagingUser{Username: "managing", Password: event.NewSecret(managerPassword)}, RotateUsers: []string{"user", "other"}, Privileges: []string{"SELECT"},
		},
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

// plainTextIsNoKey is a public key that is not RSA's.
func otherKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// hostile are servers that break the protocol, lie or have no measure, and let a user in by a password or by a token. The seeds
// of the fuzz test are these.
func hostile(t testing.TB, iam bool) map[string]*script {
	t.Helper()
	begin := func() *script { return &script{iam: iam} }
	next := func(s *script) *script { s.number++; return s } // after an answer of the client's
	endless := begin().known().after(1).packet(2)
	for range 2 {
		endless.packet([]byte("\x03def\x04evil\x04evil\x04evil\x04evil\x04evil\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00")...)
	}
	for range 40_000 {
		endless.row(strings.Repeat("evil", 60), "x")
	}
	long := begin().known().after(1)
	for range 2 { // packets of 16 MB, each many times what is read
		long.Write([]byte{0xff, 0xff, 0xff, long.number})
		long.Write(bytes.Repeat([]byte("x"), 1<<24-1))
		long.number++
	}
	return map[string]*script{
		"an error cut short":                  begin().packet(0xff, 16),
		"an error whose state is cut short":   begin().greet("mysql_native_password").packet(0xff, 16, 4, '#'),
		"a login's end cut short":             begin().greet("mysql_native_password").packet(0, 0),
		"nothing in a packet":                 begin().greet("mysql_native_password").packet(),
		"a plugin with a short challenge":     begin().greet("caching_sha2_password").packet([]byte("\xfemysql_native_password\x00evil")...),
		"a key that is not RSA's":             next(begin().greet("caching_sha2_password").packet(1, 4)).packet(append([]byte{1}, otherKey(t)...)...),
		"a digest that is no plugin's":        next(begin().greet("caching_sha2_password").packet(1, 4)).packet([]byte("\x01-----BEGIN evil")...),
		"a change's end cut short":            begin().known().after(1).packet(0),
		"a question for a file of ours":       begin().known().after(1).packet([]byte("\xfb/proc/self/environ")...),
		"more columns than there is memory":   begin().known().after(1).packet(0xfe, 0, 0, 0, 0, 2, 0, 0, 0),
		"more columns than there are numbers": begin().settled().after(1).packet(0xfe, 255, 255, 255, 255, 255, 255, 255, 255),
		"a column cut short":                  begin().settled().after(1).packet(6).packet([]byte("\x03def\x04ev")...),
		"a row cut short":                     begin().settled().after(1).rows("10.11.6-MariaDB"),
		"a row that is longer than it is":     begin().settled().after(1).packet(0xfd, 1),
		"endless rows":                        endless,
		"huge packets":                        long,
	}
}

func TestHostileServerCostsOneFailedRotation(t *testing.T) {
	for _, iam := range []bool{false, true} {
		denied := (&script{iam: iam}).greet("mysql_native_password").refuse(1045, "evil").Bytes() // to the login that decides
		for name, script := range hostile(t, iam) {
			t.Run(fmt.Sprintf("%s, by token %v", name, iam), func(t *testing.T) {
				request, played := plays(t, iam, script.Bytes(), denied)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := mysql.Rotate(ctx, at(request, iam), request)
				runtime.ReadMemStats(&after)
				require.NoError(t, ctx.Err(), "it took all the time there was")
				var failure *connector.Failure
				require.ErrorAs(t, err, &failure)
				assert.NotContains(t, err.Error(), "evil")
				const most = 32 << 20 // bytes
				assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(most))
				played.Close()
			})
		}
	}
}

// What a server gets of a managing user, whatever it asks for: in one mode never a password in clear where it asks for that, in
// the other the token there, and nothing else.
func TestServerGetsNothingElseThanItsDue(t *testing.T) {
	t.Parallel()
	const challenge = "evilevilevilevilevil\x00"
	switchTo := func(plugin string) []byte { return []byte("\xfe" + plugin + "\x00" + challenge) }
	for name, c := range map[string]struct {
		greets  string
		asks    [][]byte
		answers int // by a token: packets after the login
	}{
		"the password in clear":            {"mysql_native_password", [][]byte{switchTo("mysql_clear_password")}, 1},
		"the password in clear, twice":     {"mysql_native_password", [][]byte{switchTo("mysql_clear_password"), switchTo("mysql_clear_password")}, 1},
		"in clear, and then SHA-2":         {"mysql_native_password", [][]byte{switchTo("mysql_clear_password"), switchTo("caching_sha2_password")}, 1},
		"in clear, and then full SHA-2":    {"mysql_native_password", [][]byte{switchTo("mysql_clear_password"), {1, 4}}, 1},
		"in clear, in the greeting":        {"mysql_clear_password", nil, 0},
		"in clear, in the greeting and on": {"mysql_clear_password", [][]byte{{1, 4}}, 0},
		"native":                           {"caching_sha2_password", [][]byte{switchTo("mysql_native_password")}, 0},
		"native, and then in clear":        {"caching_sha2_password", [][]byte{switchTo("mysql_native_password"), switchTo("mysql_clear_password")}, 0},
		"SHA-2":                            {"mysql_native_password", [][]byte{switchTo("caching_sha2_password")}, 0},
		"full SHA-2":                       {"caching_sha2_password", [][]byte{{1, 4}}, 0},
		"SHA-256":                          {"mysql_native_password", [][]byte{switchTo("sha256_password")}, 0},
		"SHA-256, in the greeting":         {"sha256_password", [][]byte{{1, 4}}, 0},
		"a dialog":                         {"mysql_native_password", [][]byte{switchTo("dialog")}, 0},
		"a plugin of no name":              {"mysql_native_password", [][]byte{{0xfe}}, 0},
		"a plugin that nobody knows":       {"mysql_native_password", [][]byte{switchTo("evil")}, 0},
		"nothing":                          {"mysql_native_password", [][]byte{ok}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, iam := range []bool{false, true} {
				asks := (&script{iam: iam}).greet(c.greets)
				for _, packet := range c.asks {
					asks.packet(packet...)
					asks.number++
				}
				request, played := plays(t, iam, asks.Bytes())
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // too little to try again
				defer cancel()
				_, err := mysql.Rotate(ctx, at(request, iam), request)
				require.Error(t, err)
				assert.NotContains(t, err.Error(), "evil")
				assert.NotContains(t, err.Error(), "X-Amz")
				played.Close()
				heard := played.Heard()
				assert.False(t, bytes.Contains(bytes.Join(heard, nil), []byte(managerPassword)), "the password has left in clear")
				if iam {
					require.NotEmpty(t, heard)
					packets := packetsIn(heard[0])
					require.Len(t, packets, 1+c.answers)
					assert.NotContains(t, string(packets[0]), "X-Amz")
					assert.Equal(t, c.answers, bytes.Count(heard[0], []byte("X-Amz-Signature=")), "tokens")
				}
			}
		})
	}
}

// packetsIn are the packets of what a client said, but for those that are statements.
func packetsIn(heard []byte) (packets [][]byte) {
	for rest := heard; len(rest) >= 4; {
		length := 4 + (int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16)
		if rest[3] != 0 {
			packets = append(packets, rest[:length])
		}
		rest = rest[length:]
	}
	return packets
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
	for _, iam := range []bool{false, true} {
		begin := func() *script { return &script{iam: iam} }
		good := begin().known().after(1).packet(ok...).Bytes()
		proof := new(script).letIn().after(1).rows("user@%").Bytes()
		f.Add(iam, good, proof)
		for name, script := range hostile(f, iam) {
			if name != "huge packets" && name != "endless rows" {
				f.Add(iam, script.Bytes(), proof)
			}
			f.Add(iam, good, script.Bytes()[:min(script.Len(), 1<<12)])
		}
		f.Add(iam, begin().known().after(1).refuse(1396, "evil").after(1).rows("Error", "1410", "evil").Bytes(), proof)
		f.Add(iam, begin().known().after(1).refuse(1819, "evil").after(1).rows("evil", "8").Bytes(), proof)
	}
	prepares := new(script).known().after(1).rows("lower_case_table_names", "evil").after(1).packet(ok...).after(1).rows("1")
	proof := new(script).letIn().after(1).rows("user@%").Bytes()
	f.Add(false, bytes.Clone(prepares.Bytes()), proof)
	f.Add(false, bytes.Clone(prepares.after(1).rows("evil").after(1).rows("'managing'@'%'", "*", "evil", "evil").after(1).rows("'managing'@'%'", "%", "evil", "YES").Bytes()), proof)
	f.Fuzz(func(t *testing.T, iam bool, first, second []byte) {
		for _, run := range []func(context.Context, *connector.Server, event.Request) (connector.Outcome, error){mysql.Rotate, mysql.DryRun, mysql.Prepare} {
			request, played := plays(t, iam, first, second)
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond) // too little to try again
			outcome, err := run(ctx, at(request, iam), request)
			cancel()
			text := outcome.Message + outcome.Note
			if err != nil {
				var failure *connector.Failure
				require.ErrorAs(t, err, &failure)
				text = err.Error()
			}
			assert.NotContains(t, strings.ToLower(text), "evil")
			assert.NotContains(t, text, "X-Amz")
			const longest = 2 << 10 // bytes
			assert.LessOrEqual(t, len(text), longest)
			played.Close()
		}
	})
}

// Errors that no server here can be brought to: what is told of them, and of what became of the password.
func TestErrorsOfAServerInTroubleAreToldApart(t *testing.T) {
	t.Parallel()
	denied := new(script).greet("mysql_native_password").refuse(1045, "evil").Bytes()
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
			answer := new(script).greet("mysql_native_password")
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
	request, closed := says(t, taken.Bytes(), new(script).greet("mysql_native_password").refuse(1045, "evil").Bytes())
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
	denied := new(script).greet("mysql_native_password").refuse(1045, "evil").Bytes()
	request, closed := says(t, lost, asked, denied, new(script).letIn().after(1).rows("user@%").Bytes())
	request.RotateUser.Password = event.NewSecret(oldPassword)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := mysql.Rotate(ctx, connector.NewServer(request, nil), request)
	assert.ErrorContains(t, err, string(connector.MaybeChanged))
	closed()
}
