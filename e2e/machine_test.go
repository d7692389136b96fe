package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/road"
)

// asParent makes the test binary start a machine, tell its servers' process ids, and wait to be killed.
const asParent = "E2E_TEST_AS_PARENT"

func startAndWait() {
	machine, err := road.StartMachine(context.Background(), nil)
	var servers map[string]int
	if err == nil {
		servers, err = machine.ServerPIDs()
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(servers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

func TestServersDieWithTheirParentWhateverKillsIt(t *testing.T) {
	t.Parallel()
	executable, err := os.Executable()
	require.NoError(t, err)
	parent := exec.CommandContext(t.Context(), executable)
	// Unlike a folder of the test, servers of other users may enter this one.
	folder, err := os.MkdirTemp("", "e2e-")
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return os.RemoveAll(folder) == nil }, 10*time.Second, 50*time.Millisecond, "the servers' supervisors empty it, too")
	})
	require.NoError(t, os.Chmod(folder, 0o755))
	parent.Env = append(os.Environ(), asParent+"=1", "TMPDIR="+folder)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var servers map[string]int
	require.NoError(t, json.NewDecoder(out).Decode(&servers), "the machine did not start")
	require.Len(t, servers, 3)

	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	_ = parent.Wait()
	for name, process := range servers {
		assert.Eventually(t, func() bool {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", process))
			return os.IsNotExist(err)
		}, 30*time.Second, 50*time.Millisecond, "%s (process %d) outlives its parent", name, process)
	}
}
