package e2e

import (
	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// stateCommands are words about states that somebody has changed, or an update has left half made.
var stateCommands = map[string]command{
	"aws-refuse-function": awsRefuseFunction,
	"cloud-rename":        cloudRename,
	"go-on":               goOn,
	"walk":                walk,
}

// aws-refuse-function lets Lambda refuse the next new function.
func awsRefuseFunction(ts *testscript.TestScript, _ bool, _ []string) {
	of(ts).cloud.AWS.RefuseFunction()
}

// cloud-rename ORGANIZATION gives the organization that name in Pulumi Cloud, and its users log in again.
func cloudRename(ts *testscript.TestScript, _ bool, args []string) {
	cloud := of(ts).cloud
	cloud.RenameOrganization(args[0])
	ts.Check(cloud.Login(road.Token))
}

// go-on runs pulumi up, and the commands that it says, until it succeeds.
func goOn(ts *testscript.TestScript, _ bool, _ []string) {
	w := &walker{ts: ts, s: of(ts)}
	w.recover()
}
