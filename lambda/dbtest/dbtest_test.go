package dbtest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/dbtest"
)

// starters is the table of the servers that this package runs.
var starters = map[string]func(context.Context, dbtest.Options) (*dbtest.Server, error){
	"postgres": dbtest.StartPostgres,
	"mariadb":  dbtest.StartMariaDB,
}

// childVariable makes this test program a process that starts one server, tells where, and waits to be killed.
const childVariable = "DBTEST_CHILD"

func TestMain(m *testing.M) {
	if engine := os.Getenv(childVariable); engine != "" {
		server, err := starters[engine](context.Background(), dbtest.Options{TLS: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		pid, err := server.PID()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(pid, filepath.Dir(server.DataDir))
		select {}
	}
	os.Exit(m.Run())
}

func TestStopEndsTheServerAndDeletesItsData(t *testing.T) {
	for engine, start := range starters {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			server, err := start(t.Context(), dbtest.Options{})
			require.NoError(t, err)
			assert.NoError(t, server.Exec(t.Context(), "SELECT 'a statement that the log holds'"))
			pid, err := server.PID()
			require.NoError(t, err)
			log, err := os.ReadFile(server.LogFile)
			require.NoError(t, err)
			assert.Contains(t, string(log), "a statement that the log holds")

			require.NoError(t, server.Stop())
			assert.NoDirExists(t, filepath.Dir(server.DataDir))
			assert.NoDirExists(t, fmt.Sprintf("/proc/%d", pid))
		})
	}
}

func TestServerDiesWithItsParentWhateverKillsIt(t *testing.T) {
	for engine := range starters {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), childVariable+"="+engine)
			parent.Stderr = os.Stderr
			output, err := parent.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, parent.Start())
			var pid int
			var folder string
			_, err = fmt.Fscan(bufio.NewReader(output), &pid, &folder)
			require.NoError(t, err)
			require.DirExists(t, fmt.Sprintf("/proc/%d", pid))

			require.NoError(t, parent.Process.Kill())
			_ = parent.Wait()
			assert.Eventually(t, func() bool {
				_, running := os.Stat(fmt.Sprintf("/proc/%d", pid))
				_, there := os.Stat(folder)
				return os.IsNotExist(running) && os.IsNotExist(there)
			}, 20*time.Second, 20*time.Millisecond, "server %d and its folder %s outlive their parent", pid, folder)
		})
	}
}

// Other processes take ports by the hundred between the choice of one and the server's start.
func TestFreePortIsNoneThatTheKernelGivesAway(t *testing.T) {
	const first = 32768 // unless the system was told otherwise: https://docs.kernel.org/networking/ip-sysctl.html
	for range 100 {
		port, err := dbtest.FreePort("127.0.0.1", "127.0.0.2")
		require.NoError(t, err)
		assert.Greater(t, port, 1023)
		assert.Less(t, port, first)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
		require.NoError(t, err)
		require.NoError(t, listener.Close())
	}

	_, err := dbtest.FreePort("127.0.0.1", "192.0.2.1")
	require.ErrorContains(t, err, "127.0.0.1, 192.0.2.1")
}
