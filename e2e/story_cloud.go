package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/pulumicloud/rest"
	"esc-connector-lambda-go/e2e/pulumicloud/state"
)

// cloudCommands are the words about Pulumi Cloud's part that keeps the state, about services that fail, and about updates that are
// cut off.
var cloudCommands = map[string]command{
	"cloud-expire":   cloudExpire,
	"cloud-export":   cloudExport,
	"cloud-form":     cloudForm,
	"cloud-record":   cloudRecord,
	"cloud-revoke":   cloudRevoke,
	"cloud-unserved": cloudUnserved,
	"cut-off":        cutOff,
	"fail":           failService,
	"hangs":          hangs,
	"own-state":      ownState,
	"recover":        recoverService,
}

// own-state keeps the state of the story's stacks in a folder from now on, and not in Pulumi Cloud.
func ownState(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("PULUMI_BACKEND_URL", of(ts).cloud.FolderURL())
	ts.Setenv("PULUMI_CONFIG_PASSPHRASE", "road")
}

// inCloud does what needs Pulumi Cloud, wherever the state is.
func inCloud(ts *testscript.TestScript, do func()) {
	state := ts.Getenv("PULUMI_BACKEND_URL")
	ts.Setenv("PULUMI_BACKEND_URL", of(ts).cloud.ESCURL)
	defer ts.Setenv("PULUMI_BACKEND_URL", state)
	do()
}

// cloud-form whole|deltas|journal is how updates send their checkpoints from now on.
func cloudForm(ts *testscript.TestScript, _ bool, args []string) {
	form, known := map[string]state.Form{"whole": state.Whole, "deltas": state.Deltas, "journal": state.Journal}[args[0]]
	if !known {
		ts.Fatalf("no checkpoint has the form %s", args[0])
	}
	of(ts).cloud.State.Announce(form)
}

// cloud-export so-far|last-complete is what an export answers while an update runs.
func cloudExport(ts *testscript.TestScript, _ bool, args []string) {
	reading, known := map[string]state.Reading{"so-far": state.SoFar, "last-complete": state.LastComplete}[args[0]]
	if !known {
		ts.Fatalf("an export does not answer %s", args[0])
	}
	of(ts).cloud.State.Export(reading)
}

// faultOf is what STATUS [METHOD [PATH]] say: "hang" answers nothing, "late" does what is asked and answers nothing,
// "drop" closes the connection. A PATH without a slash is what the request says, as the name of a call of AWS.
func faultOf(ts *testscript.TestScript, args []string) rest.Fault {
	fault := rest.Fault{Drop: args[0] == "drop", Late: args[0] == "late"}
	if args[0] != "hang" && !fault.Drop && !fault.Late {
		_, err := fmt.Sscan(args[0], &fault.Status)
		ts.Check(err)
	}
	if len(args) > 1 {
		fault.Method = args[1]
	}
	if len(args) > 2 {
		if strings.HasPrefix(args[2], "/") {
			fault.Path = args[2]
		} else {
			fault.Says = args[2]
		}
	}
	return fault
}

// faultsOf are those of a service: aws, esc, or cloud, which keeps the stacks.
func faultsOf(ts *testscript.TestScript, service string) *rest.Faults {
	cloud := of(ts).cloud
	faults := map[string]*rest.Faults{"aws": &cloud.AWSFaults, "esc": &cloud.ESC.Faults, "cloud": &cloud.State.Faults}[service]
	if faults == nil {
		ts.Fatalf("no service is called %s", service)
	}
	return faults
}

// fail SERVICE STATUS [METHOD [PATH]] makes requests to the service fail, as faultOf has it.
func failService(ts *testscript.TestScript, _ bool, args []string) {
	faultsOf(ts, args[0]).Fail(faultOf(ts, args[1:]))
}

// hangs SERVICE waits until a request to the service hangs, by what fail began.
func hangs(ts *testscript.TestScript, _ bool, args []string) {
	faults := faultsOf(ts, args[0])
	for deadline := time.Now().Add(time.Minute); !faults.Hanging(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("no request hangs")
		}
	}
}

// recover SERVICE ends what fail began.
func recoverService(ts *testscript.TestScript, _ bool, args []string) {
	faultsOf(ts, args[0]).Recover()
}

// cloud-expire lets the leases of running updates run out.
func cloudExpire(ts *testscript.TestScript, _ bool, _ []string) { of(ts).cloud.State.ExpireLeases() }

// cloud-revoke revokes the access token of the user who is logged in.
func cloudRevoke(ts *testscript.TestScript, _ bool, _ []string) {
	of(ts).cloud.Directory.Revoke(ts.Getenv("PULUMI_ACCESS_TOKEN"))
}

// cloud-record writes what the service is sent about stacks from now on to the file $WORK/sent, but for values to encrypt,
// which must be in clear.
func cloudRecord(ts *testscript.TestScript, _ bool, _ []string) {
	var mu sync.Mutex
	file := filepath.Join(ts.Getenv("WORK"), "sent")
	of(ts).cloud.State.Hear(func(method, path string, body []byte) {
		if name := filepath.Base(path); name == "encrypt" || name == "batch-encrypt" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		sent, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintf(sent, "%s %s\n%s\n", method, path, body)
			_ = sent.Close()
		}
		if err != nil {
			panic(err)
		}
	})
}

// cloud-unserved prints, a line each, the calls about stacks that the service does not serve.
func cloudUnserved(ts *testscript.TestScript, _ bool, _ []string) {
	_, err := fmt.Fprint(ts.Stdout(), strings.Join(append(of(ts).cloud.State.Unserved(), ""), "\n"))
	ts.Check(err)
}

// cut-off SERVICE STATUS METHOD PATH COMMAND... runs the CLI, and kills it with all that it has started as soon as a request
// to the service hangs by that fault. Then the service is well again.
func cutOff(ts *testscript.TestScript, _ bool, args []string) {
	s, faults := of(ts), faultsOf(ts, args[0])
	faults.Fail(faultOf(ts, args[1:4]))
	var ended error
	killed, err := s.killWhenHanging(faults, func() {
		ended = ts.Exec(s.machine.Pulumi, append(args[4:], "--yes", "--skip-preview", "--non-interactive")...)
	})
	ts.Check(err)
	if !killed {
		ts.Fatalf("%v came to its end without such a request (%v), and should have been cut off", args[4:], ended)
	}
	for deadline := time.Now().Add(time.Minute); faults.Hanging(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("the request still hangs, and its client was killed")
		}
	}
	faults.Recover()
}

// killWhenHanging does what runs the CLI, and kills that with all that it has started as soon as a request hangs. It reports whether
// one did.
func (s *story) killWhenHanging(faults *rest.Faults, do func()) (killed bool, err error) {
	ended, cut := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(cut)
		for !faults.Hanging() {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		killed, err = true, killAllOf(s.cloud.Home)
	}()
	do()
	close(ended)
	<-cut
	return killed, err
}

// killAllOf kills the processes whose PULUMI_HOME is in that folder: providers and the program outlive a CLI that is killed.
func killAllOf(home string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids) // the CLI before what it has started
	for _, pid := range pids {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !bytes.Contains(environ, []byte("PULUMI_HOME="+home)) {
			continue // another user's, or gone
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	return nil
}
