package postgres_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/postgres"
)

// everyByte has the connection cut at every byte, and not only around the change: go test -run Cut ./lambda/postgres -every-byte
var everyByte = flag.Bool("every-byte", false, "cut the connection at every byte of the exchange")

// message is PostgreSQL's frame: a type and a length with itself (the manual's chapter "Message Formats"). A client's
// first message has no type.
func message(fromServer bool, number int, begun []byte) int {
	typed := 1
	if !fromServer && number == 0 {
		typed = 0
	}
	if len(begun) < typed+4 {
		return 0
	}
	return typed + int(binary.BigEndian.Uint32(begun[typed:]))
}

// record is the frame of TLS: a type, a version and a length (RFC 8446, section 5.1), after the 8 bytes that ask for it
// and the one that answers.
func record(fromServer bool, number int, begun []byte) int {
	switch {
	case number == 0 && fromServer:
		return 1
	case number == 0:
		return 8
	case len(begun) < 5:
		return 0
	}
	return 5 + int(binary.BigEndian.Uint16(begun[3:]))
}

// patient is one user whose rotations go through proxies that break the connection.
type patient struct {
	t        *testing.T
	server   *dbtest.Server
	terms    *connector.TLS
	request  connector.Request
	password string // that logs in
	number   int
}

func newPatient(t *testing.T, server *dbtest.Server, terms *connector.TLS) *patient {
	return &patient{t: t, server: server, terms: terms, request: newRequest(t, server), password: oldPassword}
}

// rotate rotates through a proxy and compares what the answer says with what the server stores. It is false where the
// answer says that it does not know.
func (p *patient) rotate(frame dbtest.Frame, at dbtest.Break, timeout time.Duration) (definite bool, proxy *dbtest.Proxy, err error) {
	proxy, err = dbtest.StartProxy(net.JoinHostPort(p.server.Host, strconv.Itoa(p.server.Port)), frame, at)
	require.NoError(p.t, err)
	defer proxy.Stop()
	p.number++
	next := fmt.Sprintf("New-Secret-%d", p.number)
	request := p.request
	request.Port = proxy.Port
	request.RotateUser = &connector.RotateUser{Username: p.request.RotateUser.Username, Password: connector.NewSecret(p.password), NewPassword: connector.NewSecret(next)}
	before := stored(p.t, p.server, request.RotateUser.Username)
	ctx, cancel := context.WithTimeout(p.t.Context(), timeout)
	defer cancel()
	server := connector.NewServer(request, p.terms)
	_, err = postgres.Rotate(ctx, server, request)
	server.Close()
	proxy.Deliver() // and now comes what was held on the way
	proxy.Stop()
	changed := stored(p.t, p.server, request.RotateUser.Username) != before
	if changed {
		p.password = next
	}
	var failure *connector.Failure
	switch {
	case err == nil:
		assert.True(p.t, changed, "%+v: ok, but nothing was changed", at)
		return true, proxy, nil
	case !errors.As(err, &failure):
		assert.NoError(p.t, err)
	case failure.State == connector.Unchanged:
		assert.False(p.t, changed, "%+v: %v", at, err)
		return true, proxy, err
	case failure.State == connector.Changed:
		assert.True(p.t, changed, "%+v: %v", at, err)
		return true, proxy, err
	}
	return false, proxy, err
}

// breakAll breaks the connection at each of the places, several at once.
func breakAll(t *testing.T, server *dbtest.Server, terms *connector.TLS, frame dbtest.Frame, places []dbtest.Break, timeout time.Duration) {
	t.Helper()
	queue := make(chan dbtest.Break, len(places))
	for _, place := range places {
		queue <- place
	}
	close(queue)
	var lock sync.Mutex
	done, failed, unknown := 0, 0, 0
	var all sync.WaitGroup
	for range 16 {
		p := newPatient(t, server, terms)
		all.Go(func() {
			for place := range queue {
				definite, _, err := p.rotate(frame, place, timeout)
				lock.Lock()
				done++
				if err != nil {
					failed++
				}
				if !definite {
					unknown++
					t.Logf("%+v: %v", place, err)
				}
				lock.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("%d breaks, %d rotations failed, %d of them without knowing what became of the password", done, failed, unknown)
	assert.Zero(t, unknown, "the deciding login was possible each time")
}

// measure is how many messages of a frame pass in each direction of each connection of a rotation that goes well.
func measure(t *testing.T, server *dbtest.Server, terms *connector.TLS, frame dbtest.Frame) (passed [2][2]int) {
	_, proxy, err := newPatient(t, server, terms).rotate(frame, dbtest.Break{After: -1}, plenty)
	require.NoError(t, err)
	for connection := range passed {
		passed[connection] = [2]int{proxy.Passed(connection, false), proxy.Passed(connection, true)}
	}
	return passed
}

// places are all places of a rotation, but for those that skip leaves out.
func places(passed [2][2]int, stall bool, skip func(connection int, fromServer bool, after, last int) bool) []dbtest.Break {
	var all []dbtest.Break
	for connection, directions := range passed {
		for direction, last := range directions {
			for after := range last {
				if skip == nil || !skip(connection, direction == 1, after, last) {
					all = append(all, dbtest.Break{Connection: connection, FromServer: direction == 1, After: after, Stall: stall, Abort: after%2 == 1})
				}
			}
		}
	}
	return all
}

func TestCutAnywhereTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	server := servers[15]
	breakAll(t, server, nil, dbtest.Byte, places(measure(t, server, nil, dbtest.Byte), false, func(connection int, fromServer bool, after, last int) bool {
		change := connection == 0 && (fromServer && after > last-120 || !fromServer && after > last-330)
		const stride = 23
		chosen := change && after%3 == 0 || after%stride == 0
		return !*everyByte && !chosen
	}), plenty)
}

func TestStalledAtEachMessageTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	server := servers[15]
	breakAll(t, server, nil, message, places(measure(t, server, nil, message), true, nil), 8*time.Second)
}

func TestBrokenAtEachRecordOfTLSTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartPostgres(t.Context(), dbtest.Options{TLS: true, HBA: []string{"hostssl all all all scram-sha-256"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	terms := &connector.TLS{}
	for _, stall := range []bool{false, true} {
		breakAll(t, server, terms, record, places(measure(t, server, terms, record), stall, nil), 8*time.Second)
	}
}

// A change that waits for a standby is committed, though others see it only after the wait.
func TestChangeThatWaitsForAStandbyIsNotCalledUnchanged(t *testing.T) {
	onEach(t, func(t *testing.T, version int, _ *dbtest.Server) {
		server, err := startServer(version)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, server.Stop()) })
		request := newRequest(t, server)
		request.RotateUser.Password = connector.NewSecret(oldPassword)
		before := stored(t, server, request.RotateUser.Username)
		require.NoError(t, server.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names = 'none'", "SELECT pg_reload_conf()"))
		outcome, err := rotate(t, request, 8*time.Second)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		assert.Contains(t, outcome.Note, "the change's own answer did not come")
		assert.NotEqual(t, before, stored(t, server, request.RotateUser.Username))
	})
}
