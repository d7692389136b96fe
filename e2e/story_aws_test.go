package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

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
