package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/archive"

	"esc-connector-lambda-go/e2e/provider"
)

type functionInputs struct {
	Name, Role, Runtime, Handler, Description string
	Timeout, MemorySize                       *float64
	Architectures                             []string
	Environment                               *struct{ Variables map[string]string }
	VpcConfig                                 *struct {
		SubnetIDs               []string `json:"subnetIds"`
		SecurityGroupIDs        []string `json:"securityGroupIds"`
		Ipv6AllowedForDualStack bool
		VpcID                   string `json:"vpcId"`
	}
	LoggingConfig *struct {
		LogFormat, LogGroup, ApplicationLogLevel, SystemLogLevel string
	}
	ReplaceSecurityGroupsOnDestroy   bool
	ReplacementSecurityGroupIDs      []string `json:"replacementSecurityGroupIds"`
	S3Bucket, S3Key, S3ObjectVersion string
	CodeSigningConfigArn             string
	ReservedConcurrentExecutions     *int
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

func (in functionInputs) variables() map[string]string {
	if in.Environment == nil {
		return nil
	}
	return in.Environment.Variables
}

// function is the resource as the provider has it, by resourceFunction and what it calls in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function.go. Where the provider waits for five
// seconds before it looks, or tries for five minutes, this one is quicker.
func (c *clients) function() provider.Resource {
	return provider.Resource{
		Inputs: []string{
			"name", "role", "runtime", "handler", "code", "description", "timeout", "memorySize", "architectures",
			"environment", "vpcConfig", "loggingConfig", "replaceSecurityGroupsOnDestroy", "replacementSecurityGroupIds",
			"sourceCodeHash", "s3Bucket", "s3Key", "s3ObjectVersion", "codeSigningConfigArn", "reservedConcurrentExecutions", "tags",
		},
		Required: []string{"role"},
		Replace:  []string{"name"},
		// Of these the provider does not read the code, its hash and what it does at the end.
		Unread: []string{
			"code", "replaceSecurityGroupsOnDestroy", "replacementSecurityGroupIds", "sourceCodeHash", "s3Bucket", "s3Key", "s3ObjectVersion",
		},
		Computed: []string{
			"architectures", "handler", "runtime", "timeout", "memorySize", "vpcConfig.vpcId",
			"loggingConfig", "loggingConfig.logGroup", "loggingConfig.applicationLogLevel", "loggingConfig.systemLogLevel",
		},
		Same: map[string]provider.Same{
			"vpcConfig.subnetIds": provider.SameSet, "vpcConfig.securityGroupIds": provider.SameSet, "replacementSecurityGroupIds": provider.SameSet,
			// States of this stand-in's earlier versions have none.
			"reservedConcurrentExecutions": func(old, _ resource.PropertyValue) bool { return old.IsNull() },
		},
		Renews: map[string][]string{
			"code": {"lastModified"}, "sourceCodeHash": {"lastModified"}, "s3Bucket": {"lastModified"}, "s3Key": {"lastModified"},
			"s3ObjectVersion": {"lastModified"}, "architectures": {"lastModified"},
		},
		Check: func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if !inputs.HasValue("reservedConcurrentExecutions") {
				inputs["reservedConcurrentExecutions"] = resource.NewProperty(unreserved)
			}
			return provider.GeneratedName("name", 64)(urn, inputs)
		},
		Create: c.createFunction,
		Read:   c.readFunction,
		Update: c.updateFunction,
		Delete: c.deleteFunction,
	}
}

// unreserved is what the provider has where no concurrency is reserved for a function, and where the program says nothing of that.
const unreserved = -1.0

// reserve changes how many of the function may run at once.
func (c *clients) reserve(ctx context.Context, id string, most int) error {
	var err error
	if most < 0 {
		_, err = c.lambda.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: &id})
	} else {
		_, err = c.lambda.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: &id, ReservedConcurrentExecutions: aws.Int32(int32(most))})
	}
	if err != nil {
		return fmt.Errorf("setting Lambda Function (%s) concurrency: %w", id, err)
	}
	return nil
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
		MemorySize: int32Pointer(in.MemorySize), VpcConfig: in.vpc(),
		LoggingConfig: in.logging(), Architectures: architectures(in.Architectures), Tags: in.Tags,
		CodeSigningConfigArn: stringOrNil(in.CodeSigningConfigArn),
	}
	if variables := in.variables(); len(variables) > 0 {
		request.Environment = &types.Environment{Variables: variables}
	}
	if err := patiently(ctx, func() error { _, err := c.lambda.CreateFunction(ctx, request); return err }); err != nil {
		return "", nil, fmt.Errorf("creating Lambda Function (%s): %w", in.Name, err)
	}
	// Of a function that fails from here on, the state has the inputs alone: no ARN, and no VPC's ID.
	if err := c.waitForFunction(ctx, in.Name, creation); err != nil {
		return in.Name, nil, fmt.Errorf("waiting for Lambda Function (%s) create: %w", in.Name, err)
	}
	if most := in.ReservedConcurrentExecutions; most != nil && *most >= 0 {
		return in.Name, nil, c.reserve(ctx, in.Name, *most)
	}
	return in.Name, nil, nil
}

func architectures(names []string) []types.Architecture {
	var list []types.Architecture
	for _, name := range names {
		list = append(list, types.Architecture(name))
	}
	return list
}

// passing are the refusals after which the provider tries again: of a role that IAM has just made, among others.
var passing = []string{
	"The role defined for the function cannot be assumed by Lambda",
	"The provided execution role does not have permissions",
	"throttled by EC2",
	"Lambda was unable to configure access to your environment variables because the KMS key is invalid for CreateGrant",
}

// patiently calls Lambda again where the answer may be another in a while. The provider does so for five minutes.
func patiently(ctx context.Context, call func() error) error {
	const attempts = 20
	for attempt := 1; ; attempt++ {
		err := call()
		var api smithy.APIError
		if err == nil || attempt == attempts || !errors.As(err, &api) {
			return err
		}
		again := api.ErrorCode() == "ResourceConflictException" || api.ErrorCode() == "InvalidParameterValueException" &&
			slices.ContainsFunc(passing, func(words string) bool { return strings.Contains(api.ErrorMessage(), words) })
		if !again {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// pause is between two looks, and two tries.
func pause(ctx context.Context) error {
	select {
	case <-time.After(50 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transition is a change of a function that Lambda has begun, and that ends well in the target.
type transition struct {
	pending, target string
	status          func(*types.FunctionConfiguration) (status, code, reason string)
}

var creation = transition{string(types.StatePending), string(types.StateActive),
	func(f *types.FunctionConfiguration) (string, string, string) {
		return string(f.State), string(f.StateReasonCode), aws.ToString(f.StateReason)
	}}

var changeOf = transition{string(types.LastUpdateStatusInProgress), string(types.LastUpdateStatusSuccessful),
	func(f *types.FunctionConfiguration) (string, string, string) {
		return string(f.LastUpdateStatus), string(f.LastUpdateStatusReasonCode), aws.ToString(f.LastUpdateStatusReason)
	}}

// waitForFunction waits until the change has ended, for ten minutes in the provider. It fails with AWS's reason.
func (c *clients) waitForFunction(ctx context.Context, name string, change transition) error {
	const looks = 200
	for look := 1; ; look++ {
		live, err := c.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name})
		if isNotFound(err) {
			return errors.New("couldn't find resource (21 retries)")
		}
		if err != nil {
			return err
		}
		status, code, reason := change.status(live.Configuration)
		switch {
		case status == change.target:
			return nil
		case status != change.pending:
			return fmt.Errorf("unexpected state '%s', wanted target '%s'. last error: %s: %s", status, change.target, code, reason)
		case look == looks:
			return fmt.Errorf("timeout while waiting for state to become '%s' (last state: '%s', timeout: 10m0s)", change.target, status)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// signingRegions are where the provider reads a function's code signing configuration: signerServiceIsAvailable.
var signingRegions = strings.Fields(`us-east-1 us-east-2 us-west-1 us-west-2 af-south-1 ap-east-1 ap-south-1 ap-northeast-1 ap-northeast-2
	ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-west-1 eu-west-2 eu-west-3 eu-south-1 eu-north-1 me-south-1 sa-east-1`)

// readFunction answers all that AWS has of the function. Code is what it is not asked for.
func (c *clients) readFunction(ctx context.Context, name string, state resource.PropertyMap) (resource.PropertyMap, error) {
	return c.readVersion(ctx, name, nil, state)
}

func (c *clients) readVersion(ctx context.Context, name string, qualifier *string, state resource.PropertyMap) (resource.PropertyMap, error) {
	live, err := c.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name, Qualifier: qualifier})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Lambda Function (%s): %w", name, err)
	}
	config := live.Configuration
	var architectureNames []string
	for _, architecture := range config.Architectures {
		architectureNames = append(architectureNames, string(architecture))
	}
	outputs := properties(map[string]any{
		"name": config.FunctionName, "arn": config.FunctionArn, "role": config.Role, "runtime": string(config.Runtime),
		"handler": config.Handler, "timeout": config.Timeout, "memorySize": config.MemorySize, "codeSha256": config.CodeSha256,
		"lastModified": config.LastModified, "version": config.Version, "architectures": architectureNames,
		"signingJobArn": config.SigningJobArn,
	})
	set := func(key resource.PropertyKey, there bool, value any) {
		outputs[key] = resource.NewNullProperty()
		if there {
			outputs[key] = resource.NewPropertyValue(value)
		}
	}
	set("description", aws.ToString(config.Description) != "", aws.ToString(config.Description))
	set("tags", len(live.Tags) > 0, live.Tags)
	set("environment", config.Environment != nil, nil)
	if config.Environment != nil {
		set("environment", true, map[string]any{"variables": config.Environment.Variables})
	}
	set("vpcConfig", false, nil)
	if vpc := config.VpcConfig; vpc != nil && aws.ToString(vpc.VpcId) != "" {
		set("vpcConfig", true, map[string]any{
			"subnetIds": vpc.SubnetIds, "securityGroupIds": vpc.SecurityGroupIds, "vpcId": *vpc.VpcId,
			"ipv6AllowedForDualStack": aws.ToBool(vpc.Ipv6AllowedForDualStack),
		})
	}
	if logging := config.LoggingConfig; logging != nil {
		set("loggingConfig", true, map[string]any{
			"logFormat": string(logging.LogFormat), "logGroup": aws.ToString(logging.LogGroup),
			"applicationLogLevel": string(logging.ApplicationLogLevel), "systemLogLevel": string(logging.SystemLogLevel),
		})
	}
	outputs["reservedConcurrentExecutions"] = resource.NewProperty(unreserved)
	if live.Concurrency != nil {
		outputs["reservedConcurrentExecutions"] = resource.NewProperty(float64(aws.ToInt32(live.Concurrency.ReservedConcurrentExecutions)))
	}
	outputs["codeSigningConfigArn"] = state["codeSigningConfigArn"]
	if slices.Contains(signingRegions, c.region) {
		signing, err := c.lambda.GetFunctionCodeSigningConfig(ctx, &lambda.GetFunctionCodeSigningConfigInput{FunctionName: &name})
		if err != nil {
			return nil, fmt.Errorf("reading Lambda Function (%s) code signing config: %w", name, err)
		}
		set("codeSigningConfigArn", aws.ToString(signing.CodeSigningConfigArn) != "", aws.ToString(signing.CodeSigningConfigArn))
	}
	return outputs, nil
}

// updateFunction sends what has changed, in the provider's order: what the configuration is refused for, no new code runs with.
func (c *clients) updateFunction(
	ctx context.Context, id string, state, inputs resource.PropertyMap,
) (resource.PropertyMap, error) {
	in, err := withoutCode(inputs)
	if err != nil {
		return nil, err
	}
	differing := c.function().Changed(state, inputs)
	changed := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(differing, key) })
	}
	if changed("codeSigningConfigArn") {
		if err := c.enforceSigning(ctx, id, in.CodeSigningConfigArn); err != nil {
			return nil, err
		}
	}
	if err := c.updateConfiguration(ctx, id, in, changed); err != nil {
		return nil, err
	}
	if changed("code", "sourceCodeHash", "s3Bucket", "s3Key", "s3ObjectVersion", "architectures") {
		if err := c.updateCode(ctx, id, inputs, in, changed); err != nil {
			return nil, err
		}
	}
	if changed("reservedConcurrentExecutions") {
		return nil, c.reserve(ctx, id, *in.ReservedConcurrentExecutions)
	}
	return nil, nil
}

func (c *clients) updateConfiguration(ctx context.Context, id string, in functionInputs, changed func(...string) bool) error {
	if !changed("role", "runtime", "handler", "description", "timeout", "memorySize", "environment", "vpcConfig") &&
		!changed("loggingConfig") {
		return nil
	}
	request := &lambda.UpdateFunctionConfigurationInput{FunctionName: &id}
	if changed("role") {
		request.Role = &in.Role
	}
	if changed("runtime") {
		request.Runtime = types.Runtime(in.Runtime)
	}
	if changed("handler") {
		request.Handler = &in.Handler
	}
	if changed("description") {
		request.Description = &in.Description
	}
	if changed("timeout") {
		request.Timeout = int32Pointer(in.Timeout)
	}
	if changed("memorySize") {
		request.MemorySize = int32Pointer(in.MemorySize)
	}
	if changed("environment") {
		request.Environment = &types.Environment{Variables: map[string]string{}}
		if variables := in.variables(); len(variables) > 0 {
			request.Environment.Variables = variables
		}
	}
	if changed("loggingConfig") {
		request.LoggingConfig = in.logging()
	}
	if changed("vpcConfig") {
		if request.VpcConfig = in.vpc(); request.VpcConfig == nil {
			request.VpcConfig = &types.VpcConfig{SubnetIds: []string{}, SecurityGroupIds: []string{}, Ipv6AllowedForDualStack: aws.Bool(false)}
		}
	}
	return c.reconfigure(ctx, request)
}

// reconfigure has Lambda change the configuration, and waits until it has.
func (c *clients) reconfigure(ctx context.Context, request *lambda.UpdateFunctionConfigurationInput) error {
	id := *request.FunctionName
	if err := patiently(ctx, func() error { _, err := c.lambda.UpdateFunctionConfiguration(ctx, request); return err }); err != nil {
		return fmt.Errorf("updating Lambda Function (%s) configuration: %w", id, err)
	}
	if err := c.waitForFunction(ctx, id, changeOf); err != nil {
		return fmt.Errorf("waiting for Lambda Function (%s) configuration update: %w", id, err)
	}
	return nil
}

// updateCode gives up at once where another change is in progress, as the provider does.
func (c *clients) updateCode(
	ctx context.Context, id string, inputs resource.PropertyMap, in functionInputs, changed func(...string) bool,
) error {
	code, err := codeOf(inputs, in)
	if err != nil {
		return err
	}
	request := &lambda.UpdateFunctionCodeInput{
		FunctionName: &id, ZipFile: code.ZipFile, S3Bucket: code.S3Bucket, S3Key: code.S3Key, S3ObjectVersion: code.S3ObjectVersion,
	}
	if changed("architectures") {
		request.Architectures = architectures(in.Architectures)
	}
	if _, err := c.lambda.UpdateFunctionCode(ctx, request); err != nil {
		return fmt.Errorf("updating Lambda Function (%s) code: %w", id, err)
	}
	if err := c.waitForFunction(ctx, id, changeOf); err != nil {
		return fmt.Errorf("waiting for Lambda Function (%s) code update: %w", id, err)
	}
	return nil
}

// deleteFunction first moves the function's network interfaces to other groups where the program asks for that. Any failure of it
// ends the deletion, that of a function which is gone among them: replaceSecurityGroupsOnDestroy.
func (c *clients) deleteFunction(ctx context.Context, id string, state resource.PropertyMap) error {
	in, err := withoutCode(state)
	if err != nil {
		return err
	}
	if in.ReplaceSecurityGroupsOnDestroy && in.VpcConfig != nil && len(in.VpcConfig.SecurityGroupIDs) > 0 {
		groups := in.ReplacementSecurityGroupIDs
		if len(groups) == 0 {
			group, err := c.findSecurityGroup(ctx, "", "default", in.VpcConfig.VpcID)
			if err != nil {
				return fmt.Errorf("finding VPC (%s) default security group: %w", in.VpcConfig.VpcID, err)
			}
			groups = []string{*group.GroupId}
		}
		// The groups alone: Lambda keeps the subnets.
		err := c.reconfigure(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &id, VpcConfig: &types.VpcConfig{SecurityGroupIds: groups}})
		if err != nil {
			return err
		}
	}
	_, err = c.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &id})
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("deleting Lambda Function (%s): %w", id, err)
	}
	return nil
}
