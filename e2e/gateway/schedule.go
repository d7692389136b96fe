package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"esc-connector-lambda-go/e2e/policy"
)

// RunSchedules plays that the time of each of the region's scheduled EventBridge rules has come. It
// answers what their functions answered. As EventBridge does, it needs the function's permission, and
// tries again what a function that is not ready refused.
func (g *Gateway) RunSchedules(ctx context.Context, region string) ([]string, error) {
	client := eventbridge.NewFromConfig(g.functions.config(region))
	rules, err := client.ListRules(ctx, &eventbridge.ListRulesInput{})
	if err != nil {
		return nil, fmt.Errorf("listing the scheduled rules: %w", err)
	}
	var answers []string
	for _, rule := range rules.Rules {
		if rule.ScheduleExpression == nil || rule.State != types.RuleStateEnabled {
			continue
		}
		ran, err := g.runRule(ctx, rule)
		if err != nil {
			return nil, err
		}
		answers = append(answers, ran...)
	}
	return answers, nil
}

// runRule runs one rule, and answers what its functions answered.
func (g *Gateway) runRule(ctx context.Context, rule types.Rule) ([]string, error) {
	targets, err := eventbridge.NewFromConfig(g.functions.config(strings.Split(*rule.Arn, ":")[3])).ListTargetsByRule(ctx,
		&eventbridge.ListTargetsByRuleInput{Rule: rule.Name})
	if err != nil {
		return nil, fmt.Errorf("listing the targets of rule %s: %w", *rule.Name, err)
	}
	var answers []string
	for _, target := range targets.Targets {
		answer, err := g.functions.deliver(ctx, *rule.Arn, target)
		if err != nil {
			return nil, fmt.Errorf("running rule %s: %w", *rule.Name, err)
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// patience is how often a rule tries a function that is not ready. EventBridge does so for a day.
const patience = 10

func (f *functions) deliver(ctx context.Context, rule string, target types.Target) (string, error) {
	function := f.find(functionName(*target.Arn))
	if function == nil || function.arn != *target.Arn {
		return "", fmt.Errorf("there is no function %s", *target.Arn)
	}
	document, err := lambda.NewFromConfig(f.config(function.region)).GetPolicy(ctx,
		&lambda.GetPolicyInput{FunctionName: &function.FunctionName})
	if err != nil {
		return "", fmt.Errorf("reading who may invoke %s: %w", function.FunctionName, err)
	}
	allowed, err := policy.Allows([]string{awssdk.ToString(document.Policy)}, policy.Request{
		Action: "lambda:InvokeFunction", Resource: function.arn, PrincipalType: "Service", Principal: "events.amazonaws.com",
		Context: map[string]string{"aws:SourceArn": rule},
	})
	if err != nil {
		return "", err
	}
	if !allowed {
		return "", fmt.Errorf("the rule may not invoke %s", function.FunctionName)
	}
	for tries := 1; f.ready(function) != "Active"; tries++ {
		if ctx.Err() != nil || tries > patience {
			return "", fmt.Errorf("the function %s is not ready", function.FunctionName)
		}
	}
	answer := f.run(ctx, function, []byte(awssdk.ToString(target.Input)))
	if answer.functionError != "" {
		return "", errors.New(string(answer.payload))
	}
	return string(answer.payload), nil
}
