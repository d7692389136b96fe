package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// keepWarm invokes the function once a week, or each day where somebody hears of it. Lambda takes the network interfaces of a VPC function that
// was not invoked for some weeks; the next invocation then fails, and has them made again:
// https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
func (d *deployment) keepWarm(function *lambda.Function) (*eventTarget, error) {
	input, err := dryRun(d.database).Wire()
	if err != nil {
		return nil, fmt.Errorf("writing the dry run's event: %w", err)
	}
	schedule := "rate(7 days)"
	if d.settings.checksDaily() {
		schedule = "rate(1 day)"
	}
	var rule eventRule
	err = register(d.ctx, eventRuleToken, keepWarmResource, eventRuleArgs{
		Name:               pulumi.String(d.names.rule),
		Description:        pulumi.String("Keeps the rotation connector " + d.names.function + " ready: a dry run, which changes nothing"),
		ScheduleExpression: pulumi.String(schedule),
		// The provider passes over the state of a rule whose program sets none, so that one which somebody has disabled stayed so
		// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/events/rule.go).
		State: pulumi.String("ENABLED"),
		Tags:  d.tags,
	}, &rule, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, err
	}
	args := &lambda.PermissionArgs{
		Action:    pulumi.String("lambda:InvokeFunction"),
		Function:  function.Name,
		Principal: pulumi.String("events.amazonaws.com"),
		SourceArn: pulumi.String(d.account.arn("events", "rule/"+d.names.rule)),
	}
	// Lambda refuses a second statement of an id, and nothing can look for one that an update has made and was killed before it knew.
	// That one lets the same rule do the same, and goes with the function. Earlier versions gave the id, which a stack keeps.
	const statement = "keepWarm"
	if text(d.last.outputs(keepWarmPermissionResource).StatementId) == statement {
		args.StatementId = pulumi.String(statement)
	} else {
		args.StatementIdPrefix = pulumi.String(statement)
	}
	permission, err := lambda.NewPermission(d.ctx, keepWarmPermissionResource, args, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, fmt.Errorf("registering the permission of the rule %s to invoke the function: %w", d.names.rule, err)
	}
	var target eventTarget
	return &target, register(d.ctx, eventTargetToken, keepWarmTargetResource, eventTargetArgs{
		TargetId: pulumi.String("connector"),
		Rule:     rule.Name,
		Arn:      function.Arn,
		Input:    pulumi.String(input),
	}, &target, pulumi.DeleteBeforeReplace(true), pulumi.DependsOn([]pulumi.Resource{permission}))
}
