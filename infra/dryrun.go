package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"esc-connector-lambda-go/lambda/event"
)

// dryRun is the event that has the function reach the database, and change nothing:
//
//	{"type":"postgres","host":"db.example","port":5432,"dryRun":true}
func dryRun(database *Database) (string, error) {
	text, err := event.Request{Type: database.Engine, Host: database.Host, Port: database.Port, DryRun: true}.Wire()
	if err != nil {
		return "", fmt.Errorf("writing the dry run's event: %w", err)
	}
	return string(text), nil
}

// checkCommand is a line for bash and zsh that invokes the function with a dry run. The payload is a
// file, since version 1 of the AWS CLI takes it as it is and version 2 as base64 where it is inline. The answer goes
// through a pipe, since the CLI opens its output anew and empties it, and comes without what the CLI itself says of the
// invocation. The command succeeds if the check does.
func (d *deployment) checkCommand() (string, error) {
	payload, err := dryRun(d.database)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("(answer=$(%s lambda invoke --region %s --function-name %s --payload fileb://<(printf %%s '%s') /dev/fd/3 3>&1 >/dev/null) && "+
		`printf '%%s\n' "$answer" && [[ $answer == '{"code":200,'* ]])`,
		d.account.CLI, d.account.Region, d.names.function, payload), nil
}

// keepWarm invokes the function once a week. Lambda takes the network interfaces of a VPC function that
// was not invoked for some weeks; the next invocation then fails, and has them made again:
// https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
func (d *deployment) keepWarm(function *lambda.Function) (*eventTarget, error) {
	input, err := dryRun(d.database)
	if err != nil {
		return nil, err
	}
	var rule eventRule
	err = register(d.ctx, eventRuleToken, "keepWarm", eventRuleArgs{
		Name:               pulumi.String(d.names.rule),
		Description:        pulumi.String("Keeps the rotation connector " + d.names.function + " ready: a dry run, which changes nothing"),
		ScheduleExpression: pulumi.String("rate(7 days)"),
		// The provider passes over the state of a rule whose program sets none, so that one which somebody has disabled stayed so
		// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/events/rule.go).
		State: pulumi.String("ENABLED"),
		Tags:  d.tags,
	}, &rule, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, err
	}
	permission, err := lambda.NewPermission(d.ctx, "keepWarmPermission", &lambda.PermissionArgs{
		StatementId: pulumi.String("keepWarm"),
		Action:      pulumi.String("lambda:InvokeFunction"),
		Function:    function.Name,
		Principal:   pulumi.String("events.amazonaws.com"),
		SourceArn:   pulumi.String(d.account.arn("events", "rule/"+d.names.rule)),
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, fmt.Errorf("registering the permission of the rule %s to invoke the function: %w", d.names.rule, err)
	}
	var target eventTarget
	return &target, register(d.ctx, eventTargetToken, "keepWarmTarget", eventTargetArgs{
		TargetId: pulumi.String("connector"),
		Rule:     rule.Name,
		Arn:      function.Arn,
		Input:    pulumi.String(input),
	}, &target, pulumi.DeleteBeforeReplace(true), pulumi.DependsOn([]pulumi.Resource{permission}))
}
