package e2e

import "github.com/rogpeppe/go-internal/testscript"

// stateCommands are words about states that somebody has changed, or an update has left half made.
var stateCommands = map[string]command{
	"aws-refuse-function": awsRefuseFunction,
	"walk":                walk,
}

// aws-refuse-function lets Lambda refuse the next new function.
func awsRefuseFunction(ts *testscript.TestScript, _ bool, _ []string) {
	of(ts).cloud.AWS.RefuseFunction()
}
