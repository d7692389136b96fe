package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/dbtest"
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
