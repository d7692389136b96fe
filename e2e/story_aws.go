package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// accountCommands are the words about the AWS account, its functions and its rules.
var accountCommands = map[string]command{
	"aws-deploy":       awsDeploy,
	"aws-idle":         awsIdle,
	"aws-invoke":       awsInvoke,
	"aws-left":         awsLeft,
	"aws-lose-answer":  awsLoseAnswer,
	"aws-name-servers": awsNameServers,
	"aws-oidc":         awsOIDC,
	"aws-public-cas":   awsPublicCAs,
	"aws-publish":      awsPublish,
	"aws-refuse-code":  awsRefuseCode,
	"aws-throttle":     awsThrottle,
	"aws-update":       awsUpdate,
	"aws-weekly":       awsWeekly,
}

// aws-idle FILE lets the function whose ARN the file holds be unused for weeks.
func awsIdle(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts).cloud.AWS.Idle(strings.TrimSpace(ts.ReadFile(args[0]))))
}

// aws-weekly runs what the account's EventBridge rules have scheduled, and prints the functions' answers.
func awsWeekly(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answers, err := of(ts).cloud.AWS.RunSchedules(ctx, road.Region)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.Join(append(answers, ""), "\n"))
}

// aws-deploy FILE BOOTSTRAP uploads a zip of that bootstrap to the function whose ARN the file holds.
func awsDeploy(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	zip, err := road.Zip(ts.MkAbs(args[1]))
	ts.Check(err)
	err = of(ts).cloud.UpdateCode(ctx, strings.TrimSpace(ts.ReadFile(args[0])), zip)
	switch {
	case err != nil && !neg:
		ts.Fatalf("%v", err)
	case err == nil && neg:
		ts.Fatalf("the code was deployed, and should have been refused")
	case err != nil:
		fmt.Fprintln(ts.Stderr(), err)
	}
}

// aws-publish SOURCE ANSWER makes a connector of that Go file, which answers ANSWER, the archive that Pulumi publishes.
func awsPublish(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bootstrap := ts.MkAbs("../bootstrap")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X 'main.answer="+args[1]+"'", "-o", bootstrap, ts.MkAbs(args[0]))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("building the published connector: %v\n%s", err, out)
	}
	zip, err := road.Zip(bootstrap)
	ts.Check(err)
	ts.Check(of(ts).cloud.AWS.Publish(ctx, road.Region, zip))
}

// aws-update FILE gives the function whose ARN the file holds what Pulumi publishes now, as ESC does.
func awsUpdate(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(of(ts).cloud.UpdatePublishedCode(ctx, strings.TrimSpace(ts.ReadFile(args[0]))))
}

// aws-invoke FILE EVENT-FILE invokes the function whose ARN the file holds, and prints its answer.
func awsInvoke(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := of(ts).cloud.Invoke(ctx, strings.TrimSpace(ts.ReadFile(args[0])), []byte(ts.ReadFile(args[1])))
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", answer)
}

// aws-throttle on|off lets Lambda refuse every invocation, as it does when as many functions run as may at once.
func awsThrottle(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).cloud.AWS.Throttle(args[0] == "on")
}

// aws-lose-answer kills the function's process at the end of the next invocation, before it has answered.
func awsLoseAnswer(ts *testscript.TestScript, _ bool, _ []string) { of(ts).cloud.AWS.LoseAnswer() }

// aws-name-servers IP... names DNS servers in the DHCP options of the account's VPCs.
func awsNameServers(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(of(ts).cloud.SetNameServers(ctx, args...))
}

// aws-refuse-code lets Lambda refuse the next new code of a function.
func awsRefuseCode(ts *testscript.TestScript, _ bool, _ []string) { of(ts).cloud.AWS.RefuseCode() }

// aws-public-cas lets functions trust the public certificate authorities alone, which have issued no story's certificate.
func awsPublicCAs(ts *testscript.TestScript, _ bool, _ []string) { of(ts).cloud.AWS.TrustPublicCAs() }

// aws-left prints, a line each, what stands in the account that the story's database did not bring.
func awsLeft(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	left, err := of(ts).cloud.Left(ctx)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.Join(append(left, ""), "\n"))
}

// aws-oidc AUDIENCE... makes an OIDC provider for the story's ESC, as another team would.
func awsOIDC(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(of(ts).cloud.AddOIDCProvider(ctx, args...))
}
