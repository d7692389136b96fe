package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

type logGroupInputs struct {
	Name            string
	RetentionInDays float64
	KmsKeyID        string `json:"kmsKeyId"`
	Tags            map[string]string
}

// logGroup is what internal/service/logs/group.go makes of one in https://github.com/hashicorp/terraform-provider-aws. A key that the
// program does not set is one to take away.
func (c *clients) logGroup() provider.Resource {
	return c.taggable(provider.Resource{
		Inputs:  []string{"name", "retentionInDays", "kmsKeyId", "tags"},
		Replace: []string{"name"},
		Check:   provider.GeneratedName("name", 512),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in logGroupInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			if _, err := c.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{
				LogGroupName: &in.Name, KmsKeyId: stringOrNil(in.KmsKeyID), Tags: in.Tags,
			}); err != nil {
				return "", nil, fmt.Errorf("creating CloudWatch Logs Log Group (%s): %w", in.Name, err)
			}
			if in.RetentionInDays > 0 {
				return in.Name, nil, c.retain(ctx, in)
			}
			return in.Name, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readLogGroup(ctx, id)
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			var in logGroupInputs
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			if !state["retentionInDays"].DeepEquals(inputs["retentionInDays"]) {
				if err := c.retain(ctx, in); err != nil {
					return nil, err
				}
			}
			if state["kmsKeyId"].DeepEquals(inputs["kmsKeyId"]) {
				return nil, nil
			}
			return nil, c.encrypt(ctx, in)
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &id})
			return ignoreNotFound(err)
		},
	}, c.logTagging())
}

func (c *clients) retain(ctx context.Context, in logGroupInputs) error {
	var err error
	if in.RetentionInDays > 0 {
		_, err = c.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{
			LogGroupName: &in.Name, RetentionInDays: aws.Int32(int32(in.RetentionInDays)),
		})
	} else {
		_, err = c.logs.DeleteRetentionPolicy(ctx, &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: &in.Name})
	}
	if err != nil {
		return fmt.Errorf("setting CloudWatch Logs Log Group (%s) retention policy: %w", in.Name, err)
	}
	return nil
}

func (c *clients) encrypt(ctx context.Context, in logGroupInputs) error {
	var err error
	if in.KmsKeyID != "" {
		_, err = c.logs.AssociateKmsKey(ctx, &cloudwatchlogs.AssociateKmsKeyInput{LogGroupName: &in.Name, KmsKeyId: &in.KmsKeyID})
	} else {
		_, err = c.logs.DisassociateKmsKey(ctx, &cloudwatchlogs.DisassociateKmsKeyInput{LogGroupName: &in.Name})
	}
	if err != nil {
		return fmt.Errorf("setting CloudWatch Logs Log Group (%s) KMS key: %w", in.Name, err)
	}
	return nil
}

func (c *clients) readLogGroup(ctx context.Context, name string) (resource.PropertyMap, error) {
	found, err := c.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &name})
	if err != nil {
		return nil, fmt.Errorf("reading CloudWatch Logs Log Group (%s): %w", name, err)
	}
	for _, group := range found.LogGroups {
		if *group.LogGroupName != name {
			continue
		}
		// AWS lists the ARN with a closing ":*", which the provider cuts.
		arn := strings.TrimSuffix(aws.ToString(group.Arn), ":*")
		tags, err := c.logs.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &arn})
		if err != nil {
			return nil, fmt.Errorf("listing tags for CloudWatch Logs Log Group (%s): %w", arn, err)
		}
		return properties(map[string]any{
			"name": name, "arn": arn, "retentionInDays": float64(aws.ToInt32(group.RetentionInDays)), "kmsKeyId": group.KmsKeyId, "tags": tags.Tags,
		}), nil
	}
	return nil, nil
}
