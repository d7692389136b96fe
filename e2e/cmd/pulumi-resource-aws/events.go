package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

type eventRuleInputs struct {
	Name, Description, ScheduleExpression, State string
	Tags                                         map[string]string
}

// eventRule is a rule of the default event bus, as internal/service/events/rule.go makes it in
// https://github.com/hashicorp/terraform-provider-aws.
func (c *clients) eventRule() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap, tags []types.Tag) (string, error) {
		var in eventRuleInputs
		if err := decode(inputs, &in); err != nil {
			return "", err
		}
		if _, err := c.events.PutRule(ctx, &eventbridge.PutRuleInput{
			Name: &in.Name, Description: stringOrNil(in.Description), ScheduleExpression: stringOrNil(in.ScheduleExpression),
			State: types.RuleState(in.State), Tags: tags,
		}); err != nil {
			return "", fmt.Errorf("putting EventBridge Rule (%s): %w", in.Name, err)
		}
		return in.Name, nil
	}
	return c.taggable(provider.Resource{
		Inputs:  []string{"name", "description", "scheduleExpression", "state", "tags"},
		Replace: []string{"name"},
		// A state that the program does not set is no difference, so that a rule which somebody has disabled stays so.
		Computed: []string{"state"},
		Check:    provider.GeneratedName("name", 64),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			id, err := put(ctx, inputs, eventTags(textMap(inputs["tags"])))
			return id, nil, err
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.events.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading EventBridge Rule (%s): %w", id, err)
			}
			listed, err := c.events.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: live.Arn})
			if err != nil {
				return nil, fmt.Errorf("listing tags for EventBridge Rule (%s): %w", *live.Arn, err)
			}
			tags := map[string]string{}
			for _, tag := range listed.Tags {
				tags[*tag.Key] = *tag.Value
			}
			return properties(map[string]any{
				"name": live.Name, "arn": live.Arn, "description": live.Description, "scheduleExpression": live.ScheduleExpression,
				"state": string(live.State), "isEnabled": live.State == types.RuleStateEnabled, "tags": tags,
			}), nil
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			for _, key := range []resource.PropertyKey{"description", "scheduleExpression", "state"} {
				if !state[key].DeepEquals(inputs[key]) {
					// The provider sends the tags as well; AWS passes over them where the rule is there:
					// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
					_, err := put(ctx, inputs, nil)
					return nil, err
				}
			}
			return nil, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			// A target that somebody has added is not the provider's to remove.
			err := provider.Retry(ctx, 5*time.Minute, func(err error) bool {
				return strings.Contains(err.Error(), "Rule can't be deleted since it has targets")
			}, func() error {
				_, err := c.events.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: &id})
				return ignoreNotFound(err)
			})
			if err != nil {
				return fmt.Errorf("deleting EventBridge Rule (%s): %w", id, err)
			}
			return nil
		},
	}, c.eventTagging())
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
			return nil, err
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
	StatementIDPrefix                      string `json:"statementIdPrefix"`
	Action, Function, Principal, SourceArn string
}

// propagation is how long the provider tries again what Lambda does not know yet (internal/service/lambda/consts.go of
// https://github.com/hashicorp/terraform-provider-aws).
const propagation = 5 * time.Minute

// permission is a statement of a function's resource policy, as internal/service/lambda/permission.go makes it in
// https://github.com/hashicorp/terraform-provider-aws. All changes replace it. A conflict is tried again, be it by an id that is taken.
func (c *clients) permission() provider.Resource {
	named := provider.GeneratedName("statementId", 100)
	return provider.Resource{
		Inputs:   []string{"statementId", "statementIdPrefix", "action", "function", "principal", "sourceArn"},
		Required: []string{"action", "function", "principal"},
		Computed: []string{"statementId", "statementIdPrefix"},
		Check: func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if _, set := inputs["statementIdPrefix"]; set {
				return inputs, nil
			}
			return named(urn, inputs)
		},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in permissionInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			if in.StatementID == "" {
				var err error
				if in.StatementID, err = resource.NewUniqueHex(in.StatementIDPrefix, suffix, 100); err != nil {
					return "", nil, fmt.Errorf("naming Lambda Permission (%s): %w", in.Function, err)
				}
			}
			err := provider.Retry(ctx, propagation, func(err error) bool { return isNotFound(err) || isConflict(err) }, func() error {
				_, err := c.lambda.AddPermission(ctx, &lambda.AddPermissionInput{
					FunctionName: &in.Function, StatementId: &in.StatementID, Action: &in.Action, Principal: &in.Principal,
					SourceArn: stringOrNil(in.SourceArn),
				})
				return err
			})
			if err != nil {
				return "", nil, fmt.Errorf("adding Lambda Permission (%s/%s): %w", in.Function, in.StatementID, err)
			}
			return in.StatementID, nil, nil
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readPermission(ctx, state["function"].StringValue(), id)
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			function := state["function"].StringValue()
			_, err := c.lambda.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: &function, StatementId: &id})
			if ignoreNotFound(err) != nil {
				return fmt.Errorf("removing Lambda Permission (%s/%s): %w", function, id, err)
			}
			return nil
		},
	}
}

func (c *clients) readPermission(ctx context.Context, function, id string) (resource.PropertyMap, error) {
	live, err := c.lambda.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: &function})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Lambda Permission (%s/%s): %w", function, id, err)
	}
	var document struct {
		Statement []struct {
			Sid, Action, Resource string
			Principal             any
			Condition             map[string]map[string]string
		}
	}
	if err := json.Unmarshal([]byte(*live.Policy), &document); err != nil {
		return nil, fmt.Errorf("reading the policy of Lambda Function (%s): %w", function, err)
	}
	for _, statement := range document.Statement {
		if statement.Sid != id {
			continue
		}
		principal := statement.Principal
		if named, is := principal.(map[string]any); is {
			principal = cmp.Or(named["AWS"], named["Service"])
		}
		values := map[string]any{
			"statementId": id, "statementIdPrefix": namePrefix(id), "action": statement.Action, "principal": principal,
			"function": statement.Resource[strings.LastIndex(statement.Resource, ":")+1:],
		}
		// The provider looks for the source under this operator and this spelling alone.
		if source := statement.Condition["ArnLike"]["AWS:SourceArn"]; source != "" {
			values["sourceArn"] = source
		}
		return properties(values), nil
	}
	return nil, nil
}
