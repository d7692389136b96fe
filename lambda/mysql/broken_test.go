package mysql_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/mysql"
)

// everyByte has the connection cut at every byte: go test -run Breaks ./lambda/mysql -every-byte
var everyByte = flag.Bool("every-byte", false, "cut the connection at every byte of the exchange")

// packet is MySQL's frame: a length and a number (MySQL's source documentation, page "MySQL Packets").
func packet(_ bool, _ int, begun []byte) int {
	if len(begun) < 4 {
		return 0
	}
	return 4 + (int(begun[0]) | int(begun[1])<<8 | int(begun[2])<<16)
}

func broken(t *testing.T, server *dbtest.Server, terms *connector.TLS, frame dbtest.Frame, timeout time.Duration) dbtest.Broken {
	return dbtest.Broken{
		Server: server, Terms: terms, Frame: frame, Rotate: mysql.Rotate, Timeout: timeout,
		Request: func() event.Request {
			request := newRequest(t, server, "%")
			request.RotateUser.Password = event.NewSecret(oldPassword)
			return request
		},
		Stored: func(user string) string {
			return read(t, server, "SELECT authentication_string FROM mysql.user WHERE User = '"+user+"'")
		},
	}
}

func TestWhereverTheConnectionBreaksTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(context.Context, dbtest.Options) (*dbtest.Server, error){"mariadb": dbtest.StartMariaDB, "mysql": dbtest.StartMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := start(t.Context(), dbtest.Options{TLS: true})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, server.Stop()) })
			require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
			t.Run("cut anywhere", func(t *testing.T) {
				all := broken(t, server, nil, dbtest.Byte, plenty)
				unknown := all.At(t, all.Places(t, false, func(connection int, fromServer bool, after, last int) bool {
					change := connection == 0 && (fromServer && after > last-40 || !fromServer && after > last-180)
					const stride = 23
					sampled := after%stride == 0 || change && after%3 == 0
					return !*everyByte && !sampled
				}))
				assert.Zero(t, unknown, "the deciding login was possible each time")
			})
			t.Run("stalled at each packet", func(t *testing.T) {
				all := broken(t, server, nil, packet, stalled)
				assert.Zero(t, all.At(t, all.Places(t, true, nil)), "the deciding login was possible each time")
			})
			for name, stall := range map[string]bool{"cut": false, "stalled": true} {
				t.Run(name+" at each record of TLS", func(t *testing.T) {
					all := broken(t, server, &connector.TLS{}, afterGreeting, stalled)
					assert.Zero(t, all.At(t, all.Places(t, stall, nil)), "the deciding login was possible each time")
				})
			}
		})
	}
}

// What a rotation has: plenty, and where it has to wait until a part of it is over.
const plenty, stalled = 30 * time.Second, 7 * time.Second

// afterGreeting is the frame of TLS, after a packet of each side's.
func afterGreeting(fromServer bool, number int, begun []byte) int {
	if number == 0 {
		return packet(fromServer, number, begun)
	}
	return dbtest.Record(0, 0)(fromServer, number, begun)
}
