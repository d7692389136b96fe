package dbtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Record is the frame of TLS: a type, a version and a length (RFC 8446, section 5.1), after so many bytes of each side's
// that come before.
func Record(client, server int) Frame {
	return func(fromServer bool, number int, begun []byte) int {
		switch {
		case number == 0 && fromServer:
			return server
		case number == 0:
			return client
		case len(begun) < 5:
			return 0
		}
		return 5 + int(binary.BigEndian.Uint16(begun[3:]))
	}
}

// Broken are rotations through proxies that break the connection, of which each answer is compared with what the server
// stores.
type Broken struct {
	Server *Server
	Terms  *connector.TLS
	Frame  Frame
	// Rotate is the engine's.
	Rotate func(context.Context, *connector.Server, event.Request) (connector.Outcome, error)
	// Request makes a user, and is the request that rotates it. Its password is the current one.
	Request func() event.Request
	// Stored is what the server stores of a user's password.
	Stored func(user string) string
	// Timeout is what a rotation has.
	Timeout time.Duration
}

// patient is one user who is rotated again and again.
type patient struct {
	Broken
	t       *testing.T
	request event.Request
	number  int
}

// rotate rotates through a proxy and compares the answer. It is not definite where the answer says that it does not know.
func (p *patient) rotate(at Break) (definite bool, proxy *Proxy, err error) {
	proxy, err = StartProxy(net.JoinHostPort(p.Server.Host, strconv.Itoa(p.Server.Port)), p.Frame, at)
	require.NoError(p.t, err)
	defer proxy.Stop()
	p.number++
	next := event.NewSecret(fmt.Sprintf("New-Secret-%d", p.number))
	request := p.request
	request.Port = proxy.Port
	request.RotateUser = &event.RotateUser{Username: p.request.RotateUser.Username, Password: p.request.RotateUser.Password, NewPassword: next}
	before := p.Stored(request.RotateUser.Username)
	ctx, cancel := context.WithTimeout(p.t.Context(), p.Timeout)
	defer cancel()
	server := connector.NewServer(request, p.Terms)
	_, err = p.Rotate(ctx, server, request)
	server.Close()
	proxy.Deliver() // and now comes what was held on the way
	proxy.Stop()
	changed := p.Stored(request.RotateUser.Username) != before
	if changed {
		p.request.RotateUser = &event.RotateUser{Username: request.RotateUser.Username, Password: next}
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

// At breaks the connection at each of the places, several at once, and tells how many answers were not definite.
func (b Broken) At(t *testing.T, places []Break) (unknown int) {
	t.Helper()
	queue := make(chan Break, len(places))
	for _, place := range places {
		queue <- place
	}
	close(queue)
	var lock sync.Mutex
	done, failed := 0, 0
	var all sync.WaitGroup
	for range 12 { // most of them wait
		p := &patient{Broken: b, t: t, request: b.Request()}
		all.Go(func() {
			for place := range queue {
				definite, _, err := p.rotate(place)
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
	return unknown
}

// Places are all places of a rotation in both of its connections, but for those that skip leaves out.
func (b Broken) Places(t *testing.T, stall bool, skip func(connection int, fromServer bool, after, last int) bool) []Break {
	t.Helper()
	p := &patient{Broken: b, t: t, request: b.Request()}
	_, proxy, err := p.rotate(Break{After: -1})
	require.NoError(t, err)
	var all []Break
	for connection := range 2 {
		for _, fromServer := range []bool{false, true} {
			last := proxy.Passed(connection, fromServer)
			for after := range last {
				if skip == nil || !skip(connection, fromServer, after, last) {
					all = append(all, Break{Connection: connection, FromServer: fromServer, After: after, Stall: stall, Abort: after%2 == 1})
				}
			}
		}
	}
	return all
}
