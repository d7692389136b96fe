package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/archive"

	"esc-connector-lambda-go/e2e/provider"
)

type logGroupInputs struct {
	Name            string
	RetentionInDays *float64
	Tags            map[string]string
}

func (c *clients) logGroup() provider.Resource {
	retain := func(ctx context.Context, in logGroupInputs) error {
		var err error
		if in.RetentionInDays != nil && *in.RetentionInDays > 0 {
			_, err = c.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{
				LogGroupName: &in.Name, RetentionInDays: aws.Int32(int32(*in.RetentionInDays)),
			})
		} else {
			_, err = c.logs.DeleteRetentionPolicy(ctx, &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: &in.Name})
		}
		if err != nil {
			return fmt.Errorf("setting the retention of CloudWatch Logs Log Group (%s): %w", in.Name, err)
		}
		return nil
	}
	return provider.Resource{
		Inputs:  []string{"name", "retentionInDays", "tags"},
		Replace: []string{"name"},
		Check:   provider.GeneratedName("name", 512),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in logGroupInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			if _, err := c.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &in.Name, Tags: in.Tags}); err != nil {
				return "", nil, fmt.Errorf("creating CloudWatch Logs Log Group (%s): %w", in.Name, err)
			}
			if in.RetentionInDays != nil {
				if err := retain(ctx, in); err != nil {
					return "", nil, err
				}
			}
			live, err := c.readLogGroup(ctx, in.Name)
			return in.Name, live, err
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readLogGroup(ctx, id)
		},
		Update: func(ctx context.Context, id string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			var in logGroupInputs
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			if err := retain(ctx, in); err != nil {
				return nil, err
			}
			return c.readLogGroup(ctx, id)
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &id})
			return ignoreNotFound(err)
		},
	}
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
		arn := aws.ToString(group.LogGroupArn)
		if arn == "" {
			arn = trimStar(aws.ToString(group.Arn))
		}
		tags, err := c.logs.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &arn})
		if err != nil {
			return nil, fmt.Errorf("listing the tags of CloudWatch Logs Log Group (%s): %w", name, err)
		}
		values := map[string]any{"name": name, "arn": arn, "retentionInDays": group.RetentionInDays}
		if len(tags.Tags) > 0 {
			values["tags"] = tags.Tags
		}
		return properties(values), nil
	}
	return nil, nil
}

func trimStar(arn string) string {
	if len(arn) > 2 && arn[len(arn)-2:] == ":*" {
		return arn[:len(arn)-2]
	}
	return arn
}

type functionInputs struct {
	Name, Role, Runtime, Handler, Description string
	Timeout, MemorySize                       *float64
	Architectures                             []string
	Environment                               *struct{ Variables map[string]string }
	VpcConfig                                 *struct {
		SubnetIDs               []string `json:"subnetIds"`
		SecurityGroupIDs        []string `json:"securityGroupIds"`
		Ipv6AllowedForDualStack bool
	}
	LoggingConfig *struct {
		LogFormat, LogGroup, ApplicationLogLevel, SystemLogLevel string
	}
	S3Bucket, S3Key, S3ObjectVersion string
	CodeSigningConfigArn             string
	Tags                             map[string]string
}

func (in functionInputs) vpc() *types.VpcConfig {
	if in.VpcConfig == nil {
		return nil
	}
	return &types.VpcConfig{
		SubnetIds: in.VpcConfig.SubnetIDs, SecurityGroupIds: in.VpcConfig.SecurityGroupIDs,
		Ipv6AllowedForDualStack: aws.Bool(in.VpcConfig.Ipv6AllowedForDualStack),
	}
}

func (in functionInputs) logging() *types.LoggingConfig {
	if in.LoggingConfig == nil {
		return nil
	}
	return &types.LoggingConfig{
		LogFormat: types.LogFormat(in.LoggingConfig.LogFormat), LogGroup: stringOrNil(in.LoggingConfig.LogGroup),
		ApplicationLogLevel: types.ApplicationLogLevel(in.LoggingConfig.ApplicationLogLevel),
		SystemLogLevel:      types.SystemLogLevel(in.LoggingConfig.SystemLogLevel),
	}
}

func (in functionInputs) environment() *types.Environment {
	if in.Environment == nil {
		return &types.Environment{Variables: map[string]string{}}
	}
	return &types.Environment{Variables: in.Environment.Variables}
}

func (c *clients) function() provider.Resource {
	return provider.Resource{
		Inputs: []string{
			"name", "role", "runtime", "handler", "code", "description", "timeout", "memorySize", "architectures",
			"environment", "vpcConfig", "loggingConfig", "replaceSecurityGroupsOnDestroy", "replacementSecurityGroupIds",
			"sourceCodeHash", "s3Bucket", "s3Key", "s3ObjectVersion", "codeSigningConfigArn", "tags",
		},
		Required: []string{"role"},
		Replace:  []string{"name"},
		// Of these the provider does not read the code, its hash and what it does at the end.
		Unread: []string{
			"code", "vpcConfig", "loggingConfig", "replaceSecurityGroupsOnDestroy", "replacementSecurityGroupIds",
			"sourceCodeHash", "s3Bucket", "s3Key", "s3ObjectVersion", "codeSigningConfigArn",
		},
		Computed: []string{"architectures", "handler", "runtime", "timeout", "memorySize"},
		Check:    provider.GeneratedName("name", 64),
		Create:   c.createFunction,
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readFunction(ctx, id)
		},
		Update: c.updateFunction,
		Delete: c.deleteFunction,
	}
}

// codeOf is the function's code as AWS gets it: an archive, or where one is in S3.
func codeOf(inputs resource.PropertyMap, in functionInputs) (*types.FunctionCode, error) {
	code, set := inputs["code"]
	switch {
	case set == (in.S3Bucket != ""):
		return nil, errors.New("the function's code must be one of an archive and an object in S3")
	case !set:
		return &types.FunctionCode{S3Bucket: &in.S3Bucket, S3Key: &in.S3Key, S3ObjectVersion: stringOrNil(in.S3ObjectVersion)}, nil
	case !code.IsArchive():
		return nil, errors.New("the function's code must be an archive")
	}
	content, err := code.ArchiveValue().Bytes(archive.ZIPArchive)
	if err != nil {
		return nil, fmt.Errorf("reading the function's archive: %w", err)
	}
	return &types.FunctionCode{ZipFile: content}, nil
}

// withoutCode decodes the inputs that JSON can carry.
func withoutCode(inputs resource.PropertyMap) (functionInputs, error) {
	plain := inputs.Copy()
	delete(plain, "code")
	var in functionInputs
	err := decode(plain, &in)
	return in, err
}

func int32Pointer(value *float64) *int32 {
	if value == nil {
		return nil
	}
	return aws.Int32(int32(*value))
}

func (c *clients) createFunction(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
	in, err := withoutCode(inputs)
	if err != nil {
		return "", nil, err
	}
	code, err := codeOf(inputs, in)
	if err != nil {
		return "", nil, err
	}
	request := &lambda.CreateFunctionInput{
		FunctionName: &in.Name, Role: &in.Role, Code: code, Runtime: types.Runtime(in.Runtime),
		Handler: stringOrNil(in.Handler), Description: stringOrNil(in.Description), Timeout: int32Pointer(in.Timeout),
		MemorySize: int32Pointer(in.MemorySize), Environment: in.environment(), VpcConfig: in.vpc(),
		LoggingConfig: in.logging(), Architectures: architectures(in.Architectures), Tags: in.Tags,
		CodeSigningConfigArn: stringOrNil(in.CodeSigningConfigArn),
	}
	if _, err := c.lambda.CreateFunction(ctx, request); err != nil {
		return "", nil, fmt.Errorf("creating Lambda Function (%s): %w", in.Name, err)
	}
	live, err := c.waitForFunction(ctx, in.Name)
	return in.Name, live, err
}

func architectures(names []string) []types.Architecture {
	var list []types.Architecture
	for _, name := range names {
		list = append(list, types.Architecture(name))
	}
	return list
}

func (c *clients) waitForFunction(ctx context.Context, name string) (resource.PropertyMap, error) {
	waiter := lambda.NewFunctionActiveV2Waiter(c.lambda)
	if err := waiter.Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, 5*time.Minute); err != nil {
		return nil, fmt.Errorf("waiting for Lambda Function (%s) to become active: %w", name, err)
	}
	return c.readFunction(ctx, name)
}

func (c *clients) readFunction(ctx context.Context, name string) (resource.PropertyMap, error) {
	live, err := c.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Lambda Function (%s): %w", name, err)
	}
	config := live.Configuration
	values := map[string]any{
		"name": config.FunctionName, "arn": config.FunctionArn, "role": config.Role, "runtime": string(config.Runtime),
		"handler": config.Handler, "timeout": config.Timeout, "memorySize": config.MemorySize, "codeSha256": config.CodeSha256,
		"lastModified": config.LastModified, "version": config.Version,
	}
	if description := aws.ToString(config.Description); description != "" {
		values["description"] = description
	}
	if len(live.Tags) > 0 {
		values["tags"] = live.Tags
	}
	var architectureNames []string
	for _, architecture := range config.Architectures {
		architectureNames = append(architectureNames, string(architecture))
	}
	values["architectures"] = architectureNames
	if config.Environment != nil && len(config.Environment.Variables) > 0 {
		variables := map[string]any{}
		for key, value := range config.Environment.Variables {
			variables[key] = value
		}
		values["environment"] = map[string]any{"variables": variables}
	}
	return properties(values), nil
}

// codeInputs are those whose change has the provider update the function's code.
var codeInputs = []resource.PropertyKey{"code", "s3Bucket", "s3Key", "s3ObjectVersion", "architectures"}

func (c *clients) updateFunction(
	ctx context.Context, id string, state, inputs resource.PropertyMap,
) (resource.PropertyMap, error) {
	in, err := withoutCode(inputs)
	if err != nil {
		return nil, err
	}
	if !state["codeSigningConfigArn"].DeepEquals(inputs["codeSigningConfigArn"]) {
		if err := c.enforceSigning(ctx, id, in.CodeSigningConfigArn); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(codeInputs, func(key resource.PropertyKey) bool { return !state[key].DeepEquals(inputs[key]) }) {
		code, err := codeOf(inputs, in)
		if err != nil {
			return nil, err
		}
		if _, err := c.lambda.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{
			FunctionName: &id, ZipFile: code.ZipFile, S3Bucket: code.S3Bucket, S3Key: code.S3Key, S3ObjectVersion: code.S3ObjectVersion,
			Architectures: architectures(in.Architectures),
		}); err != nil {
			return nil, fmt.Errorf("updating Lambda Function (%s) code: %w", id, err)
		}
		if _, err := c.waitForFunction(ctx, id); err != nil {
			return nil, err
		}
	}
	if _, err := c.lambda.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &id, Role: &in.Role, Runtime: types.Runtime(in.Runtime), Handler: stringOrNil(in.Handler),
		Description: aws.String(in.Description), Timeout: int32Pointer(in.Timeout), MemorySize: int32Pointer(in.MemorySize),
		Environment: in.environment(), VpcConfig: in.vpc(), LoggingConfig: in.logging(),
	}); err != nil {
		return nil, fmt.Errorf("updating Lambda Function (%s) configuration: %w", id, err)
	}
	if len(in.Tags) > 0 {
		if _, err := c.lambda.TagResource(ctx, &lambda.TagResourceInput{
			Resource: aws.String(state["arn"].StringValue()), Tags: in.Tags,
		}); err != nil {
			return nil, fmt.Errorf("tagging Lambda Function (%s): %w", id, err)
		}
	}
	return c.waitForFunction(ctx, id)
}

// deleteFunction first moves the function's network interfaces to other groups
// where the program asks for that: by default the VPC's default group.
func (c *clients) deleteFunction(ctx context.Context, id string, state resource.PropertyMap) error {
	in, err := withoutCode(state)
	if err != nil {
		return err
	}
	if replace := state["replaceSecurityGroupsOnDestroy"]; replace.IsBool() && replace.BoolValue() && in.VpcConfig != nil {
		if err := c.moveInterfaces(ctx, id, in); err != nil {
			return err
		}
	}
	if _, err := c.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &id}); ignoreNotFound(err) != nil {
		return fmt.Errorf("deleting Lambda Function (%s): %w", id, err)
	}
	return nil
}

func (c *clients) moveInterfaces(ctx context.Context, id string, in functionInputs) error {
	subnets, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: in.VpcConfig.SubnetIDs[:1]})
	if err != nil {
		return fmt.Errorf("finding the VPC of Lambda Function (%s): %w", id, err)
	}
	groups, err := c.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("group-name"), Values: []string{"default"}},
		{Name: aws.String("vpc-id"), Values: []string{*subnets.Subnets[0].VpcId}},
	}})
	if err != nil || len(groups.SecurityGroups) == 0 {
		return fmt.Errorf("finding the default security group of VPC %s: %w", *subnets.Subnets[0].VpcId, err)
	}
	_, err = c.lambda.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &id,
		VpcConfig: &types.VpcConfig{
			SubnetIds: in.VpcConfig.SubnetIDs, SecurityGroupIds: []string{*groups.SecurityGroups[0].GroupId},
		},
	})
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("replacing the security groups of Lambda Function (%s): %w", id, err)
	}
	return nil
}
