package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// accountCommands are the words about the AWS account, its functions and its rules.
var accountCommands = map[string]command{
	"aws-calls":            awsCalls,
	"aws-delay-versioning": awsDelayVersioning,
	"aws-deploy":           awsDeploy,
	"aws-fail-signing":     awsFailSigning,
	"aws-idle":             awsIdle,
	"aws-invoke":           awsInvoke,
	"aws-left":             awsLeft,
	"aws-lose-answer":      awsLoseAnswer,
	"aws-name-servers":     awsNameServers,
	"aws-oidc":             awsOIDC,
	"aws-profiles":         awsProfiles,
	"aws-public-cas":       awsPublicCAs,
	"aws-publish":          awsPublish,
	"aws-refuse-code":      awsRefuseCode,
	"aws-refuse-function":  awsRefuseFunction,
	"aws-refuse-missing":   awsRefuseMissing,
	"aws-replica":          awsReplica,
	"aws-secret-status":    awsSecretStatus,
	"aws-throttle":         awsThrottle,
	"aws-throttle-once":    awsThrottleOnce,
	"aws-update":           awsUpdate,
	"aws-weekly":           awsWeekly,
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

// aws-delay-versioning N lets the next N objects land without a version.
func awsDelayVersioning(ts *testscript.TestScript, _ bool, args []string) {
	var objects int
	_, err := fmt.Sscan(args[0], &objects)
	ts.Check(err)
	of(ts).cloud.AWS.DelayVersioning(objects)
}

// aws-refuse-missing lets RDS answer a filter by a name that is not there with an error.
func awsRefuseMissing(ts *testscript.TestScript, _ bool, _ []string) {
	of(ts).cloud.AWS.RefuseMissing()
}

// aws-fail-signing REASON lets the next signing job fail.
func awsFailSigning(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).cloud.AWS.FailSigning(args[0])
}

// aws-throttle-once lets AWS refuse each call once.
func awsThrottleOnce(ts *testscript.TestScript, _ bool, _ []string) { of(ts).cloud.AWS.ThrottleOnce() }

// aws-profiles writes the AWS CLI's file of credentials, as somebody has it who works in two accounts: the profile "shop" is
// of the story's account, and the default one of another, as the variables are.
func awsProfiles(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	const theirs, elsewhere, shop = "AKIAIOSFODNN7EXAMPLE", "AKIAELSEWHERE7EXAMPLE", "AKIASHOP7EXAMPLE"
	s.cloud.AWS.BelongsTo(theirs, "999988887777")
	s.cloud.AWS.BelongsTo(elsewhere, "999988887777")
	s.cloud.AWS.BelongsTo(shop, s.cloud.Account)
	folder := filepath.Join(ts.Getenv("HOME"), ".aws")
	ts.Check(os.MkdirAll(folder, 0o755))
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = secret\n[shop]\naws_access_key_id = %s\naws_secret_access_key = secret\n", elsewhere, shop)
	ts.Check(os.WriteFile(filepath.Join(folder, "credentials"), []byte(text), 0o600))
}

// aws-replica NAME SOURCE makes a read replica of an RDS instance.
func awsReplica(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := rds.New(rds.Options{
		Region: road.Region, BaseEndpoint: &of(ts).cloud.AWSURL, Credentials: credentials.NewStaticCredentialsProvider("hand", "hand", ""),
	})
	_, err := client.CreateDBInstanceReadReplica(ctx, &rds.CreateDBInstanceReadReplicaInput{DBInstanceIdentifier: &args[0], SourceDBInstanceIdentifier: &args[1]})
	ts.Check(err)
}

// aws-refuse-function lets Lambda refuse the next new function.
func awsRefuseFunction(ts *testscript.TestScript, _ bool, _ []string) {
	of(ts).cloud.AWS.RefuseFunction()
}

// iam-policy NAME makes a policy in the account that allows everything, to be a permissions boundary.
func iamPolicy(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(of(ts).cloud.AddPolicy(ctx, args[0], `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`))
}

// aws-secret-status STATUS is what RDS says of the secrets that it keeps; "as-it-is" ends that.
func awsSecretStatus(ts *testscript.TestScript, _ bool, args []string) {
	status := args[0]
	if status == "as-it-is" {
		status = ""
	}
	of(ts).cloud.AWS.SecretStatus(status)
}

// aws-calls FILE writes the calls that have reached AWS since the last aws-calls, or since the story began, to a file: a line each,
// as in lambda:InvokeFunction, sorted.
func awsCalls(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	var lines []string
	calls := s.cloud.AWS.Calls()
	for _, call := range calls[s.called:] {
		lines = append(lines, call.Service+":"+call.Action+"\n")
	}
	s.called = len(calls)
	slices.Sort(lines)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "")), 0o600))
}
