package postgres_test

import (
	"context"
	"encoding/binary"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
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

func broken(t *testing.T, server *dbtest.Server, terms *connector.TLS, frame dbtest.Frame, timeout time.Duration) dbtest.Broken {
	return dbtest.Broken{
		Server: server, Terms: terms, Frame: frame, Rotate: postgres.Rotate, Timeout: timeout,
		Request: func() event.Request {
			request := newRequest(t, server)
			request.RotateUser.Password = event.NewSecret(oldPassword)
			return request
		},
		Stored: func(user string) string { return stored(t, server, user) },
	}
}

func TestCutAnywhereTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	server := servers[15]
	all := broken(t, server, nil, dbtest.Byte, plenty)
	assert.Zero(t, all.At(t, all.Places(t, false, func(connection int, fromServer bool, after, last int) bool {
		change := connection == 0 && (fromServer && after > last-120 || !fromServer && after > last-330)
		const stride = 23
		sampled := after%stride == 0 || change && after%3 == 0
		return !*everyByte && !sampled
	})), "the deciding login was possible each time")
}

func TestStalledAtEachMessageTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	server := servers[15]
	all := broken(t, server, nil, message, 8*time.Second)
	assert.Zero(t, all.At(t, all.Places(t, true, nil)), "the deciding login was possible each time")
}

func TestBrokenAtEachRecordOfTLSTheAnswerIsTrue(t *testing.T) {
	t.Parallel()
	server, err := dbtest.StartPostgres(t.Context(), dbtest.Options{TLS: true, HBA: []string{"hostssl all all all scram-sha-256"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	require.NoError(t, server.Exec(t.Context(), "CREATE DATABASE app"))
	terms := &connector.TLS{}
	for _, stall := range []bool{false, true} {
		all := broken(t, server, terms, dbtest.Record(8, 1), 8*time.Second) // after the request for TLS and its answer
		assert.Zero(t, all.At(t, all.Places(t, stall, nil)), "the deciding login was possible each time")
	}
}

// waitForStandby has each commit wait for a standby that never comes. A reload takes effect some time after it was asked for, and not
// before the checkpointer has seen it (SyncRepWaitForLSN in PostgreSQL's src/backend/replication/syncrep.c).
func waitForStandby(t *testing.T, server *dbtest.Server, database, user, password string) {
	t.Helper()
	require.NoError(t, server.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names = 'none'", "SELECT pg_reload_conf()"))
	require.Eventually(t, func() bool {
		session, err := connectTo(t, server, database, user, password)
		if !assert.NoError(t, err) {
			return false
		}
		defer session.Close(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err = session.Exec(ctx, "CREATE TEMPORARY TABLE probe ()").ReadAll()
		return err != nil && ctx.Err() != nil
	}, plenty, 50*time.Millisecond, "no commit waits")
}

// A change that waits for a standby is committed, though others see it only after the wait.
func TestChangeThatWaitsForAStandbyIsNotCalledUnchanged(t *testing.T) {
	onEach(t, func(t *testing.T, version int, _ *dbtest.Server) {
		server, err := startServer(version)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, server.Stop()) })
		request := newRequest(t, server)
		request.RotateUser.Password = event.NewSecret(oldPassword)
		before := stored(t, server, request.RotateUser.Username)
		waitForStandby(t, server, request.Database, request.ManagingUser.Username, managerPassword)
		outcome, err := rotate(t, request, 8*time.Second)
		require.NoError(t, err)
		assert.Equal(t, connector.ProofDone, outcome.Proof)
		assert.Contains(t, outcome.Note, "the change's own answer did not come")
		assert.NotEqual(t, before, stored(t, server, request.RotateUser.Username))
	})
}
