package e2e

import (
	"slices"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// stateCommands are words about states that somebody has changed, or an update has left half made.
var stateCommands = map[string]command{
	"cloud-rename": cloudRename,
	"go-on":        goOn,
	"make-anew":    makeAnew,
	"walk":         walk,
}

// cloud-rename ORGANIZATION gives the organization that name in Pulumi Cloud, and its users log in again.
func cloudRename(ts *testscript.TestScript, _ bool, args []string) {
	cloud := of(ts).cloud
	cloud.RenameOrganization(args[0])
	ts.Check(cloud.Login(road.Token))
}

// go-on does what the last output says, and then runs pulumi up and does what that says, until it succeeds.
func goOn(ts *testscript.TestScript, _ bool, _ []string) {
	w := &walker{ts: ts, s: of(ts)}
	w.obey(ts.ReadFile("stdout"))
	w.recover()
}

// make-anew NAME... has pulumi up replace what the state has in AWS under these logical names.
func makeAnew(ts *testscript.TestScript, _ bool, names []string) {
	w := &walker{ts: ts, s: of(ts)}
	args := []string{"up"}
	for _, part := range w.parts() {
		if name := part.Name(); slices.Contains(names, name) {
			args = append(args, "--replace", string(part))
		}
	}
	if len(args) != 1+2*len(names) {
		ts.Fatalf("the state does not have all of %s", names)
	}
	pulumiCommand(ts, false, args)
}
