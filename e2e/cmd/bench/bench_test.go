package main

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/dbtest"
)

func TestGoalIsJudgedByTheRatioOrByOurs(t *testing.T) {
	for name, c := range map[string]struct {
		row           row
		goal, verdict string
	}{
		"no goal":         {row{Ours: 9, Baseline: 1}, "", ""},
		"ratio at limit":  {row{Ours: 13, Baseline: 10, MaxRatio: atMost(1.3)}, "≤ 1.30 ×", "ok"},
		"ratio over":      {row{Ours: 14, Baseline: 10, MaxRatio: atMost(1.3)}, "≤ 1.30 ×", "over"},
		"ours at limit":   {row{Ours: 3.5, Baseline: 1, Unit: "MB", MaxOurs: atMost(3.5)}, "≤ 3.50 MB", "ok"},
		"ours over":       {row{Ours: 1, Baseline: 1, MaxOurs: atMost(0)}, "≤ 0", "over"},
		"no baseline yet": {row{Ours: 0, Baseline: 0, MaxOurs: atMost(0)}, "≤ 0", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			goal, verdict := c.row.goal()
			assert.Equal(t, c.goal, goal)
			assert.Equal(t, c.verdict, verdict)
		})
	}
}

func TestTableHasOneLineARow(t *testing.T) {
	r := newReport()
	r.Rows = []row{{Measure: "zip", Unit: "MB", Ours: 3.25, Baseline: 2.6, Against: emptyHandler, MaxOurs: atMost(3.5)}}
	var out bytes.Buffer
	r.print(&out)
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	require.Len(t, lines, 2)
	assert.Regexp(t, `^zip +3\.25 MB +2\.60 MB +empty handler +1\.25 +≤ 3\.50 MB +ok$`, string(lines[1]))
}

func TestQuantileIsTheNearestRank(t *testing.T) {
	samples := []float64{5, 1, 4, 2, 3}
	assert.Equal(t, 3.0, quantile(samples, 0.5))
	assert.Equal(t, 5.0, quantile(samples, 0.95))
	assert.Equal(t, 1.0, quantile(samples, 0))
	assert.Zero(t, quantile(nil, 0.5))
}

// A client that opens two connections one after the other, with one question on the first and two on the second.
func TestRoundTripsAndConnectionsAreCounted(t *testing.T) {
	ask := func(connection net.Conn) error {
		if _, err := connection.Write([]byte("?")); err != nil {
			return err
		}
		_, err := io.ReadFull(connection, make([]byte, 1))
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				_, _ = io.Copy(connection, connection)
			}()
		}
	}()
	server := &dbtest.Server{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port}
	found, err := countTurns(server, func(port int) error {
		for _, questions := range []int{1, 2} {
			connection, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			if err != nil {
				return err
			}
			for range questions {
				if err := ask(connection); err != nil {
					return err
				}
			}
			if err := connection.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 2+1+2, found.turns)
	assert.Equal(t, 1, found.open)

	// One that has both at once.
	found, err = countTurns(server, func(port int) error {
		for range 2 {
			connection, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			if err != nil {
				return err
			}
			defer connection.Close()
			if err := ask(connection); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 2, found.open)
}
