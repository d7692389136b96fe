package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

// away is a port on the way to a server, where nobody listens for two seconds after so many connections have ended.
func away(t *testing.T, db database, after int) int {
	t.Helper()
	const outage = 2 * time.Second
	port, err := dbtest.FreePort("127.0.0.1")
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	pass := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", net.JoinHostPort(db.Host, strconv.Itoa(db.Port)))
		if err != nil {
			return
		}
		defer server.Close()
		go func() { _, _ = io.Copy(client, server) }()
		_, _ = io.Copy(server, client)
	}
	go func() {
		for range after {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			pass(client)
		}
		listener.Close()
		time.Sleep(outage)
		again, err := net.Listen("tcp", address)
		if err != nil {
			return
		}
		t.Cleanup(func() { again.Close() })
		for {
			client, err := again.Accept()
			if err != nil {
				return
			}
			go pass(client)
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return port
}

func TestFailOverOfTwoSecondsFailsNoRotation(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		for name, after := range map[string]int{"before the change": 0, "before the proof": 1} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rotation := rotation(t, db)
				answer := invoke(t, rotation.with("port", away(t, db, after)), plenty)
				assert.Equal(t, 200, answer.Code, answer.Message)
				assert.Equal(t, "done", answer.log["proof"])
				assert.NoError(t, db.login(t, rotation["rotateUser"].(map[string]any)["username"].(string), newPassword))
			})
		}
	})
}

// A way that the server has answered over is open: neither a security group nor the port is what is wrong.
func TestTheNetworkIsNotBlamedOnceTheServerHasAnswered(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		rotation := rotation(t, db)
		for _, stall := range []bool{true, false} {
			for _, after := range []int{1, 500} { // in the first message, and within TLS
				t.Run(fmt.Sprintf("stall %t after %d", stall, after), func(t *testing.T) {
					t.Parallel()
					proxy, err := dbtest.StartProxy(net.JoinHostPort(db.Host, strconv.Itoa(db.Port)), dbtest.Byte,
						dbtest.Break{Connection: dbtest.Each, FromServer: true, After: after, Stall: stall})
					require.NoError(t, err)
					t.Cleanup(proxy.Stop)
					answer := invoke(t, rotation.with("port", proxy.Port), 3*time.Second)
					assert.Equal(t, 400, answer.Code)
					assert.Contains(t, answer.Message, "the server had answered before, and then ")
					assert.Contains(t, answer.Message, "Nothing was changed")
					assert.NotContains(t, answer.Message, "security group")
				})
			}
		}
	})
}

// Whatever a driver makes of it: a connection takes a megabyte at the most, and ends with the event.
func TestConnectionIsBoundedAndEndsWithTheEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		run  func(conn net.Conn) error
		says string
	}{
		"a driver that breaks down":    {func(net.Conn) error { panic("out of luck") }, "the connector broke down"},
		"a driver that never ends":     {func(net.Conn) error { select {} }, "not done after"},
		"a driver that reads all":      {func(conn net.Conn) error { _, err := io.Copy(io.Discard, conn); return err }, "more than a rotation reads"},
		"a driver that forgets it all": {func(net.Conn) error { return errors.New("forgotten") }, "forgotten"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{}, 1)
			port := serve(t, "127.0.0.1", func(conn net.Conn) {
				for word := make([]byte, 1<<16); ; { // which ends only when the client has closed
					if _, err := conn.Write(word); err != nil {
						ended <- struct{}{}
						return
					}
				}
			})
			engine := Engine{Rotate: func(ctx context.Context, server *connector.Server, _ event.Request) (connector.Outcome, error) {
				conn, err := server.Dial(ctx, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)))
				if err == nil {
					if err = c.run(conn); err != nil && strings.Contains(err.Error(), "rotation reads") {
						err = server.Broken(err)
					}
				}
				return connector.Outcome{}, err
			}}
			answer := invokeWith(t, map[string]Engine{"postgres": engine}, anyEvent(newPassword), 2*time.Second)
			assert.Equal(t, 400, answer.Code)
			assert.Contains(t, answer.Message, c.says)
			select {
			case <-ended:
			case <-time.After(plenty):
				assert.Fail(t, "the connection is still open")
			}
		})
	}
}
