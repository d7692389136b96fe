package e2e

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// functionCommands are the words of stories about the function, its network and its roles: what AWS does to them, and what a colleague
// does in the AWS console.
var functionCommands = map[string]command{
	"aws-deny":         awsDeny,
	"aws-interfaces":   awsInterfaces,
	"aws-share":        awsShare,
	"function-by-hand": functionByHand,
	"group-by-hand":    groupByHand,
	"role-by-hand":     roleByHand,
	"without-in-state": withoutInState,
}

// byHand is how long a change by hand may take.
func byHand() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// aws-interfaces fail|undo CODE REASON lets AWS make no network interfaces for functions, and work ends that: with fail it tells of
// an update that failed by it as it was sent, and with undo of what was before. With hold it does not delete those that functions
// have left, and release ends that.
func awsInterfaces(ts *testscript.TestScript, _ bool, args []string) {
	aws := of(ts).cloud.AWS
	switch args[0] {
	case "fail", "undo":
		aws.FailInterfaces(args[1], args[2], args[0] == "undo")
	case "work":
		aws.FailInterfaces("", "", false)
	default:
		aws.HoldInterfaces(args[0] == "hold")
	}
}

// aws-share DATABASE lets another account, $OWNER, share its VPCs with this one, and keep their security groups. $VPC, $SUBNETS and
// $GROUP are the database's.
func awsShare(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := byHand()
	defer cancel()
	const owner = "999999999999"
	vpc, subnets, group, err := of(ts).cloud.Network(ctx, args[0])
	ts.Check(err)
	ts.Check(of(ts).cloud.AWS.ShareNetwork(ctx, road.Region, owner))
	ts.Setenv("OWNER", owner)
	ts.Setenv("VPC", vpc)
	ts.Setenv("SUBNETS", strings.Join(subnets, ","))
	ts.Setenv("GROUP", group)
}

// aws-deny ACTION... takes these rights, such as lambda:UpdateFunctionConfiguration, from everyone; without any it gives all back.
func awsDeny(ts *testscript.TestScript, _ bool, args []string) { of(ts).cloud.AWS.Deny(args...) }

// function-by-hand delete|unsigned|publish|groups=default|KEY=VALUE... changes the function: its timeout, or its variables.
func functionByHand(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := byHand()
	defer cancel()
	ts.Check(of(ts).cloud.ChangeFunction(ctx, args...))
}

// group-by-hand function|database remove|PORT removes the rules of the function's group, or those that admit the function to the
// database's, or gives them another port.
func groupByHand(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := byHand()
	defer cancel()
	ts.Check(of(ts).cloud.ChangeRules(ctx, args[0] == "function", args[1]))
}

// role-by-hand run|invoke delete|narrow deletes the execution or the invocation role, or leaves it no permission but to list buckets.
func roleByHand(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := byHand()
	defer cancel()
	ts.Check(of(ts).cloud.ChangeRole(ctx, args[0], args[1] == "delete"))
}

// without-in-state KEY takes a property out of the stack's state, as if an earlier version had made the stack.
func withoutInState(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs("../edited-state.json")
	run(ts, false, of(ts).machine.Pulumi, "stack", "export", "--file", path)
	text, err := os.ReadFile(path)
	ts.Check(err)
	if !strings.Contains(string(text), `"`+args[0]+`"`) {
		ts.Fatalf("the state holds no %s", args[0])
	}
	var state any
	ts.Check(json.Unmarshal(text, &state))
	text, err = json.Marshal(without(state, args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(path, text, 0o600))
	run(ts, false, of(ts).machine.Pulumi, "stack", "import", "--file", path)
}

func without(value any, key string) any {
	switch v := value.(type) {
	case map[string]any:
		delete(v, key)
		for name, inner := range v {
			v[name] = without(inner, key)
		}
	case []any:
		for i, inner := range v {
			v[i] = without(inner, key)
		}
		return slices.Clone(v)
	}
	return value
}
