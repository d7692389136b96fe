package postgres_test

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
)

func TestPreparationsAtTheSameTimeWaitForEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newPreparation(t, server, "")
		elsewhere := request // where the lock of the first database is not seen
		elsewhere.Database = "app"
		made := make(chan string, 100)
		var together sync.WaitGroup
		for i := range 10 {
			together.Go(func() {
				each := request
				if i%5 == 4 {
					each = elsewhere
					without := *request.Prepare
					without.ApplicationRole = ""
					each.Prepare = &without
				}
				outcome, err := prepare(t, each, plenty)
				assert.NoError(t, err)
				for _, name := range outcome.Made {
					made <- name
				}
			})
		}
		together.Wait()
		close(made)
		var names []string
		for name := range made {
			names = append(names, name)
		}
		assert.ElementsMatch(t, all(request), names, "each is made once")
		rotateBoth(t, server, request)
	})
}

// A commit that waits for a standby is made, though others see it only after the wait.
func TestPreparationThatWaitsForAStandbyIsFoundToBeMade(t *testing.T) {
	t.Parallel()
	server, err := startServer(18)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	request := newPreparation(t, server, "")
	waitForStandby(t, server, request.Database, request.Prepare.MasterUser.Username, masterPassword)
	outcome, err := prepare(t, request, 10*time.Second)
	require.NoError(t, err)
	assert.Equal(t, all(request), outcome.Made)

	require.NoError(t, server.Exec(t.Context(), "SET synchronous_commit = local", "ALTER ROLE "+request.Prepare.ManagingUser.Username+" NOCREATEROLE"))
	outcome, err = prepare(t, request, 10*time.Second)
	require.NoError(t, err)
	assert.Empty(t, outcome.Made)
	assert.Contains(t, outcome.Message, "added CREATEROLE to")
}

func TestPreparationThatMeetsAnotherChangeOfARoleIsRepeated(t *testing.T) {
	onEach(t, func(t *testing.T, _ int, server *dbtest.Server) {
		request := newPreparation(t, server, "")
		master, user := request.Prepare.MasterUser.Username, request.Prepare.RotateUsers[0]
		output, err := in(t, server, request.Database, master, masterPassword, "CREATE ROLE "+user+" LOGIN; REVOKE CONNECT ON DATABASE "+request.Database+" FROM PUBLIC")
		require.NoError(t, err, output)
		session, err := connectTo(t, server, request.Database, master, masterPassword)
		require.NoError(t, err)
		defer session.Close(t.Context())
		_, err = session.Exec(t.Context(), "BEGIN; CREATE ROLE "+request.Prepare.RotateUsers[1]+" LOGIN; GRANT CONNECT ON DATABASE "+request.Database+" TO "+user).ReadAll()
		require.NoError(t, err)
		before := everything(t, server, request)
		_, err = prepare(t, request, 3*time.Second)
		assert.ErrorContains(t, err, "another session kept it locked (55P03)")
		assert.ErrorContains(t, err, "Nothing was changed")
		assert.Equal(t, before, everything(t, server, request))
		ended := make(chan error, 1)
		go func() {
			_, err := prepare(t, request, plenty)
			ended <- err
		}()
		require.Eventually(t, func() bool {
			waiting, err := server.Query(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+master+"' AND wait_event_type = 'Lock'")
			return err == nil && waiting != "0"
		}, 10*time.Second, 20*time.Millisecond)
		_, err = session.Exec(t.Context(), "COMMIT").ReadAll()
		require.NoError(t, err)
		require.NoError(t, <-ended)
		rotateBoth(t, server, request)
	})
}

func TestPreparationThatIsStillAtWorkIsNamed(t *testing.T) {
	t.Parallel()
	server := servers[15]
	request := newPreparation(t, server, "")
	session, err := connectTo(t, server, request.Database, request.Prepare.MasterUser.Username, masterPassword)
	require.NoError(t, err)
	defer session.Close(t.Context())
	_, err = session.Exec(t.Context(), "SELECT pg_advisory_lock(x'6573635f70726570'::bigint)").ReadAll()
	require.NoError(t, err)
	_, err = prepare(t, request, 3*time.Second)
	assert.ErrorContains(t, err, "another preparation is at work there, and did not end (55P03)")
	assert.ErrorContains(t, err, "Nothing was changed")
}

// mender is a database, and a master user, in which users are prepared again and again through proxies that break the connection.
type mender struct {
	t      *testing.T
	server *dbtest.Server
	first  event.Request
	done   string // all that is there when a preparation ended well, but for names
}

func newMender(t *testing.T, server *dbtest.Server) *mender {
	m := &mender{t: t, server: server, first: newPreparation(t, server, "")}
	m.sql(naming(m.first, []string{"REVOKE CONNECT ON DATABASE {d} FROM PUBLIC"}))
	return m
}

func (m *mender) sql(statements string) {
	output, err := in(m.t, m.server, m.first.Database, m.first.Prepare.MasterUser.Username, masterPassword, statements)
	require.NoError(m.t, err, output)
}

// prepare prepares other users, of whom one and the managing user are there, through a proxy that breaks the connection. Whatever the answer
// is, it is true, and a second preparation succeeds. passed is how many messages each side of both connections sent.
func (m *mender) prepare(at dbtest.Break, timeout time.Duration) (passed [2][2]int, unknown bool) {
	t, number := m.t, serial.Add(1)
	request := m.first
	wanted := *m.first.Prepare
	wanted.ManagingUser.Username, wanted.ApplicationRole = fmt.Sprintf("manager_%d", number), fmt.Sprintf("app_%d", number)
	wanted.RotateUsers = []string{fmt.Sprintf("one_%d", number), fmt.Sprintf("two_%d", number)}
	request.Prepare = &wanted
	m.sql(naming(request, []string{"CREATE ROLE {m} LOGIN PASSWORD '" + managerPassword + "'", "CREATE ROLE {1} LOGIN"}))
	before := everything(t, m.server, request)
	proxy, err := dbtest.StartProxy(net.JoinHostPort(m.server.Host, strconv.Itoa(m.server.Port)), message, at)
	require.NoError(t, err)
	defer proxy.Stop()
	broken := request
	broken.Port = proxy.Port
	outcome, err := prepare(t, broken, timeout)
	for connection := range passed {
		passed[connection] = [2]int{proxy.Passed(connection, false), proxy.Passed(connection, true)}
	}
	proxy.Stop() // and now comes what was held on the way
	changed := everything(t, m.server, request) != before
	if err == nil {
		assert.True(t, changed, "%+v: ok, but nothing was made: %s", at, outcome.Message)
		assert.Equal(t, []string{wanted.RotateUsers[1], wanted.ApplicationRole}, outcome.Made, "%+v", at)
	} else {
		failure := connector.AsFailure(err)
		unknown = failure.State == connector.MaybeMade
		assert.True(t, unknown || failure.State == connector.Unchanged && !changed, "%+v: %v", at, err)
	}
	_, err = prepare(t, request, plenty)
	assert.NoError(t, err, "%+v", at)
	now := regexp.MustCompile(`_\d+|SCRAM-SHA-256[^"]+`).ReplaceAllString(strings.ReplaceAll(everything(t, m.server, request), fmt.Sprintf("_%d", number), ""), "")
	now, _, _ = strings.Cut(now, "|{") // who else may connect
	if m.done == "" {
		m.done = now
		rotateBoth(t, m.server, request)
	}
	assert.Equal(t, m.done, now, "%+v", at)
	return passed, unknown
}

// Each place of each side of both connections is cut on one of the versions, and stalled at on some; -every-byte has all of them on each.
func TestPreparationCutAtEachMessageSucceedsWhenItIsRepeated(t *testing.T) {
	onEach(t, func(t *testing.T, version int, server *dbtest.Server) {
		whole, _ := newMender(t, server).prepare(dbtest.Break{After: -1}, plenty)
		var places []dbtest.Break
		for connection := range whole {
			for side, last := range whole[connection] {
				require.NotZero(t, last)
				for after := range last {
					if side == 1 && after%3 != 0 && !*everyByte { // an answer is several messages
						continue
					}
					places = append(places, dbtest.Break{Connection: connection, FromServer: side == 1, After: after, Abort: after%2 == 1})
				}
			}
		}
		chosen := make(chan dbtest.Break, 2*len(places))
		for i, place := range places {
			turn := i + slices.Index(versions, version)
			if *everyByte || turn%len(versions) == 0 {
				chosen <- place
			}
			if place.Stall = true; *everyByte || turn%(4*len(versions)) == 1 {
				chosen <- place
			}
		}
		close(chosen)
		breaks := len(chosen)
		var together sync.WaitGroup
		var unknown atomic.Int64
		for range 4 {
			m := newMender(t, server)
			together.Go(func() {
				for place := range chosen {
					timeout := plenty
					if place.Stall {
						timeout = 4 * time.Second // half of it is waited
					}
					if _, lost := m.prepare(place, timeout); lost {
						unknown.Add(1)
					}
				}
			})
		}
		together.Wait()
		t.Logf("%d places, %d breaks; %d answers did not know what was made", len(places), breaks, unknown.Load())
	})
}
