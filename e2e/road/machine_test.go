package road

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asParent makes the test binary start a machine, print its servers' process ids, and wait to be killed.
const asParent = "ROAD_TEST_AS_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) == "" {
		os.Exit(m.Run())
	}
	machine, err := StartMachine(context.Background(), nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	postgres, postgresErr := machine.Postgres.PID()
	mariadb, mariadbErr := machine.MariaDB.PID()
	fmt.Println(machine.moto.Process.Pid, postgres, mariadb, postgresErr, mariadbErr, machine.folder)
	select {}
}

func TestServersDieWithTheirParentWhateverKillsIt(t *testing.T) {
	executable, err := os.Executable()
	require.NoError(t, err)
	parent := exec.CommandContext(t.Context(), executable)
	parent.Env = append(os.Environ(), asParent+"=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "the machine did not start")
	words := strings.Fields(line)
	require.Len(t, words, 6, line)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(words[5])) })

	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	_ = parent.Wait()
	for i, server := range []string{"moto", "PostgreSQL", "MariaDB"} {
		assert.Eventually(t, func() bool {
			_, err := os.Stat("/proc/" + words[i])
			return os.IsNotExist(err)
		}, 30*time.Second, 50*time.Millisecond, "%s (process %s) outlives its parent", server, words[i])
	}
}
