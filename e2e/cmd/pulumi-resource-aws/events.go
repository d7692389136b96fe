package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

type eventRuleInputs struct {
	Name, Description, ScheduleExpression string
	Tags                                  map[string]string
}

// eventRule is a rule of the default event bus.
func (c *clients) eventRule() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
		var in eventRuleInputs
		if err := decode(inputs, &in); err != nil {
			return "", nil, err
		}
		// AWS refuses tags for a rule that is there; TagResource changes those.
		if _, err := c.events.PutRule(ctx, &eventbridge.PutRuleInput{
			Name: &in.Name, Description: stringOrNil(in.Description), ScheduleExpression: stringOrNil(in.ScheduleExpression),
		}); err != nil {
			return "", nil, fmt.Errorf("putting EventBridge Rule (%s): %w", in.Name, err)
		}
		live, err := c.readEventRule(ctx, in.Name)
		if err != nil || len(in.Tags) == 0 {
			return in.Name, live, err
		}
		arn := live["arn"].StringValue()
		var tags []types.Tag
		for key, value := range in.Tags {
			tags = append(tags, types.Tag{Key: &key, Value: &value})
		}
		if _, err := c.events.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: &arn, Tags: tags}); err != nil {
			return "", nil, fmt.Errorf("tagging EventBridge Rule (%s): %w", in.Name, err)
		}
		return in.Name, live, nil
	}
	return provider.Resource{
		Inputs:  []string{"name", "description", "scheduleExpression", "tags"},
		Replace: []string{"name"},
		Unread:  []string{"tags"},
		Check:   provider.GeneratedName("name", 64),
		Create:  put,
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.readEventRule(ctx, id)
			if isNotFound(err) {
				return nil, nil
			}
			return live, err
		},
		Update: func(ctx context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, live, err := put(ctx, inputs)
			return live, err
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.events.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: &id})
			return ignoreNotFound(err)
		},
	}
}

func (c *clients) readEventRule(ctx context.Context, name string) (resource.PropertyMap, error) {
	live, err := c.events.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: &name})
	if err != nil {
		return nil, fmt.Errorf("reading EventBridge Rule (%s): %w", name, err)
	}
	return properties(map[string]any{
		"name": live.Name, "arn": live.Arn, "description": live.Description, "scheduleExpression": live.ScheduleExpression,
		"state": string(live.State),
	}), nil
}

type eventTargetInputs struct {
	TargetID         string `json:"targetId"`
	Rule, Arn, Input string
}

func (c *clients) eventTarget() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (eventTargetInputs, error) {
		var in eventTargetInputs
		if err := decode(inputs, &in); err != nil {
			return in, err
		}
		answer, err := c.events.PutTargets(ctx, &eventbridge.PutTargetsInput{
			Rule: &in.Rule, Targets: []types.Target{{Id: &in.TargetID, Arn: &in.Arn, Input: stringOrNil(in.Input)}},
		})
		if err == nil && answer.FailedEntryCount > 0 {
			err = fmt.Errorf("%s: %s", *answer.FailedEntries[0].ErrorCode, *answer.FailedEntries[0].ErrorMessage)
		}
		if err != nil {
			return in, fmt.Errorf("putting EventBridge Target (%s) of rule %s: %w", in.TargetID, in.Rule, err)
		}
		return in, nil
	}
	return provider.Resource{
		Inputs:   []string{"targetId", "rule", "arn", "input"},
		Required: []string{"targetId", "rule", "arn"},
		Replace:  []string{"targetId", "rule"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			in, err := put(ctx, inputs)
			return in.Rule + "-" + in.TargetID, nil, err
		},
		Read: func(ctx context.Context, _ string, state resource.PropertyMap) (resource.PropertyMap, error) {
			rule, target := state["rule"].StringValue(), state["targetId"].StringValue()
			live, err := c.events.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: &rule})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading the targets of EventBridge Rule (%s): %w", rule, err)
			}
			for _, found := range live.Targets {
				if *found.Id == target {
					return properties(map[string]any{"targetId": target, "rule": rule, "arn": found.Arn, "input": found.Input}), nil
				}
			}
			return nil, nil
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := put(ctx, inputs)
			return state, err
		},
		Delete: func(ctx context.Context, _ string, state resource.PropertyMap) error {
			rule := state["rule"].StringValue()
			_, err := c.events.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{
				Rule: &rule, Ids: []string{state["targetId"].StringValue()},
			})
			return ignoreNotFound(err)
		},
	}
}

type permissionInputs struct {
	StatementID                            string `json:"statementId"`
	Action, Function, Principal, SourceArn string
}

// permission is a statement of a function's resource policy. All changes replace it.
func (c *clients) permission() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"statementId", "action", "function", "principal", "sourceArn"},
		Required: []string{"statementId", "action", "function", "principal"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in permissionInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			if _, err := c.lambda.AddPermission(ctx, &lambda.AddPermissionInput{
				FunctionName: &in.Function, StatementId: &in.StatementID, Action: &in.Action, Principal: &in.Principal,
				SourceArn: stringOrNil(in.SourceArn),
			}); err != nil {
				return "", nil, fmt.Errorf("adding Lambda Permission (%s/%s): %w", in.Function, in.StatementID, err)
			}
			return in.StatementID, nil, nil
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			function := state["function"].StringValue()
			live, err := c.lambda.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: &function})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading Lambda Permission (%s/%s): %w", function, id, err)
			}
			var document struct{ Statement []struct{ Sid string } }
			if err := json.Unmarshal([]byte(*live.Policy), &document); err != nil {
				return nil, fmt.Errorf("reading the policy of Lambda Function (%s): %w", function, err)
			}
			for _, statement := range document.Statement {
				if statement.Sid == id {
					return state, nil
				}
			}
			return nil, nil
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			function := state["function"].StringValue()
			_, err := c.lambda.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: &function, StatementId: &id})
			return ignoreNotFound(err)
		},
	}
}
