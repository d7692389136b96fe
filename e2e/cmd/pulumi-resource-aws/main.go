// Command pulumi-resource-aws stands in for Pulumi's AWS provider: it turns the
// resources and functions that this project's program uses into real calls of
// AWS's APIs, with the AWS SDK for Go. Credentials, region and endpoint come
// from the environment and the stack, as for the real provider. What it does
// not know it refuses by name.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/ec2"
	"esc-connector-lambda-go/e2e/provider"
)

// settings are those of the provider's that are understood here.
var settings = []string{
	"allowedAccountIds", "assumeRole", "defaultTags", "ignoreTags", "profile", "region", "skipCredentialsValidation", "skipRegionValidation",
}

func main() {
	c := &clients{}
	provider.Main(provider.Provider{
		Name:      "aws",
		Version:   "6.83.0",
		Config:    settings,
		Bridged:   true,
		Configure: c.configure,
		Resources: limited(map[string]provider.Resource{
			"aws:cloudwatch/eventRule:EventRule":                     c.eventRule(),
			"aws:cloudwatch/eventTarget:EventTarget":                 c.eventTarget(),
			"aws:cloudwatch/logGroup:LogGroup":                       c.logGroup(),
			"aws:ec2/securityGroup:SecurityGroup":                    c.taggable(c.securityGroup(), c.ec2Tagging()),
			"aws:iam/openIdConnectProvider:OpenIdConnectProvider":    c.openIDConnectProvider(),
			"aws:iam/role:Role":                                      c.role(),
			"aws:iam/rolePolicy:RolePolicy":                          c.rolePolicy(),
			"aws:lambda/codeSigningConfig:CodeSigningConfig":         c.codeSigningConfig(),
			"aws:lambda/function:Function":                           c.taggable(c.function(), c.lambdaTagging()),
			"aws:lambda/permission:Permission":                       c.permission(),
			"aws:s3/bucketObjectv2:BucketObjectv2":                   c.object(),
			"aws:s3/bucketPolicy:BucketPolicy":                       c.bucketPolicy(),
			"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": c.publicAccessBlock(),
			"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": c.bucketEncryption(),
			"aws:s3/bucketV2:BucketV2":                                  c.bucket(),
			"aws:s3/bucketVersioningV2:BucketVersioningV2":              c.bucketVersioning(),
			"aws:signer/signingJob:SigningJob":                          c.signingJob(),
			"aws:signer/signingProfile:SigningProfile":                  c.signingProfile(),
			"aws:cloudwatch/logMetricFilter:LogMetricFilter":            c.metricFilter(),
			"aws:cloudwatch/metricAlarm:MetricAlarm":                    c.metricAlarm(),
			"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":   c.taggable(c.securityGroupRule(true), c.ec2Tagging()),
			"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": c.taggable(c.securityGroupRule(false), c.ec2Tagging()),
		}),
		Functions: map[string]provider.Function{
			"aws:cloudwatch/getLogGroup:getLogGroup":                    c.getLogGroup,
			"aws:ec2/getSecurityGroup:getSecurityGroup":                 c.getSecurityGroup,
			"aws:ec2/getSubnet:getSubnet":                               c.getSubnet,
			"aws:ec2/getSubnets:getSubnets":                             c.getSubnets,
			"aws:ec2/getVpc:getVpc":                                     c.getVPC,
			"aws:ec2/getVpcDhcpOptions:getVpcDhcpOptions":               c.getVPCDHCPOptions,
			"aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider": c.getOpenIDConnectProvider,
			"aws:iam/getRole:getRole":                                   c.getRole,
			"aws:index/getCallerIdentity:getCallerIdentity":             c.getCallerIdentity,
			"aws:index/getPartition:getPartition":                       c.getPartition,
			"aws:index/getRegion:getRegion":                             c.getRegion,
			"aws:lambda/getFunction:getFunction":                        c.getFunction,
			"aws:lambda/getInvocation:getInvocation":                    c.getInvocation,
			"aws:rds/getCluster:getCluster":                             c.getCluster,
			"aws:rds/getClusters:getClusters":                           c.getClusters,
			"aws:rds/getInstance:getInstance":                           c.getInstance,
			"aws:rds/getInstances:getInstances":                         c.getInstances,
			"aws:rds/getSubnetGroup:getSubnetGroup":                     c.getSubnetGroup,
			"aws:secretsmanager/getSecretVersion:getSecretVersion":      c.getSecretVersion,
			"aws:s3/getBucket:getBucket":                                c.getBucket,
			"aws:lambda/getCodeSigningConfig:getCodeSigningConfig":      c.getCodeSigningConfig,
			"aws:resourcegroupstaggingapi/getResources:getResources":    c.getResources,
			"aws:signer/getSigningProfile:getSigningProfile":            c.getSigningProfile,
			"aws:vpc/getSecurityGroupRule:getSecurityGroupRule":         c.getSecurityGroupRule,
			"aws:vpc/getSecurityGroupRules:getSecurityGroupRules":       c.getSecurityGroupRules,
		},
	})
}

// clients are the services' API clients, made when the engine sends the configuration.
type clients struct {
	region  string
	tags    tagSettings
	account string // empty where the credentials were not to be checked
	alarms  *cloudwatch.Client
	ec2     *ec2.Client
	events  *eventbridge.Client
	iam     *iam.Client
	lambda  *lambda.Client
	logs    *cloudwatchlogs.Client
	rds     *rds.Client
	s3      *s3.Client
	json    *jsonClient
	signer  *signer.Client
	sts     *sts.Client
}

// nested reads a setting that is no text: the engine passes its JSON.
func nested(settings map[string]string, key string, into any) error {
	if settings[key] == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(settings[key]), into); err != nil {
		return fmt.Errorf("reading aws:%s: %w", key, err)
	}
	return nil
}

func (c *clients) configure(ctx context.Context, settings map[string]string) error {
	var role struct{ RoleArn, SessionName, ExternalID string }
	var accounts []string
	if err := errors.Join(nested(settings, "defaultTags", &c.tags.DefaultTags), nested(settings, "ignoreTags", &c.tags.IgnoreTags),
		nested(settings, "assumeRole", &role), nested(settings, "allowedAccountIds", &accounts)); err != nil {
		return err
	}
	var options []func(*config.LoadOptions) error
	if region := settings["region"]; region != "" {
		options = append(options, config.WithRegion(region))
	}
	if profile := settings["profile"]; profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if loaded.Region == "" {
		return errors.New("no AWS region: `pulumi config set aws:region <region>`")
	}
	loaded.Retryer = newRetryer
	if role.RoleArn != "" {
		loaded.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(loaded), role.RoleArn, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName, o.ExternalID = cmp.Or(role.SessionName, "pulumi-aws"), stringOrNil(role.ExternalID)
		}))
	}
	c.region = loaded.Region
	c.ec2 = ec2.NewFromConfig(loaded)
	c.alarms = cloudwatch.NewFromConfig(loaded)
	c.events = eventbridge.NewFromConfig(loaded)
	c.iam = iam.NewFromConfig(loaded)
	c.lambda = lambda.NewFromConfig(loaded)
	c.logs = cloudwatchlogs.NewFromConfig(loaded)
	c.rds = rds.NewFromConfig(loaded)
	c.s3 = s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = true })
	c.json = &jsonClient{loaded}
	c.signer = signer.NewFromConfig(loaded)
	c.sts = sts.NewFromConfig(loaded)
	if settings["skipCredentialsValidation"] == "true" && len(accounts) == 0 {
		return nil
	}
	identity, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("checking the AWS credentials: %w", err)
	}
	c.account = aws.ToString(identity.Account)
	if len(accounts) > 0 && !slices.Contains(accounts, *identity.Account) {
		return fmt.Errorf("AWS account ID not allowed: %s", *identity.Account)
	}
	return nil
}

// patience tries a call again as the provider does: 25 times, but for a host that refuses connections, where it gives up after
// nine; one that nobody knows the SDK does not try again. It waits twice as long each time, from two seconds on (resolveRetryer and
// networkErrorShortcutter in https://github.com/hashicorp/aws-sdk-go-base/blob/main/aws_config.go); here the seconds are shorter.
type patience struct{ aws.RetryerV2 }

func newRetryer() aws.Retryer {
	return patience{retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.RateLimiter = 25, ratelimit.None })}
}

func (p patience) RetryDelay(attempt int, err error) (time.Duration, error) {
	const mostForNetwork, most = 9, 300 * time.Second
	var network *net.OpError
	if attempt >= mostForNetwork && errors.As(err, &network) && strings.Contains(network.Error(), "connection refused") {
		return 0, &retry.MaxAttemptsError{Attempt: attempt, Err: err}
	}
	return provider.Hurry(min(time.Second<<min(attempt, 16), most)), nil
}

func (c *clients) getCallerIdentity(ctx context.Context, _ resource.PropertyMap) (resource.PropertyMap, error) {
	identity, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, err
	}
	return properties(map[string]any{
		"id": identity.Account, "accountId": identity.Account, "arn": identity.Arn, "userId": identity.UserId,
	}), nil
}

func (c *clients) partition() string {
	switch {
	case strings.HasPrefix(c.region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(c.region, "cn-"):
		return "aws-cn"
	default:
		return "aws"
	}
}

func (c *clients) getPartition(context.Context, resource.PropertyMap) (resource.PropertyMap, error) {
	partition, suffix := c.partition(), "amazonaws.com"
	if partition == "aws-cn" {
		suffix = "amazonaws.com.cn"
	}
	return properties(map[string]any{
		"id": partition, "partition": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse(suffix),
	}), nil
}

func reverse(domain string) string {
	labels := strings.Split(domain, ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, ".")
}

func (c *clients) getRegion(context.Context, resource.PropertyMap) (resource.PropertyMap, error) {
	return properties(map[string]any{
		"id": c.region, "name": c.region, "description": c.region, "endpoint": "ec2." + c.region + ".amazonaws.com",
	}), nil
}

// decode reads properties into a struct with json tags. Numbers become what the field is.
func decode(inputs resource.PropertyMap, into any) error {
	text, err := json.Marshal(inputs.Mappable())
	if err != nil {
		return fmt.Errorf("reading the inputs: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading the inputs: %w", err)
	}
	return nil
}

// properties are outputs from plain values; pointers are followed, nil ones left out.
func properties(values map[string]any) resource.PropertyMap {
	plain := map[string]any{}
	for key, value := range values {
		switch v := value.(type) {
		case nil:
		case *string:
			if v != nil {
				plain[key] = *v
			}
		case *int32:
			if v != nil {
				plain[key] = float64(*v)
			}
		case *bool:
			if v != nil {
				plain[key] = *v
			}
		case []string:
			list := make([]any, len(v))
			for i, item := range v {
				list[i] = item
			}
			plain[key] = list
		case map[string]string:
			object := map[string]any{}
			for name, item := range v {
				object[name] = item
			}
			plain[key] = object
		default:
			plain[key] = v
		}
	}
	return resource.NewPropertyMapFromMap(plain)
}

// isNotFound reports whether AWS answered that the thing is not there.
func isNotFound(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	code := api.ErrorCode()
	return strings.Contains(code, "NotFound") || strings.Contains(code, "NoSuch")
}

// isConflict reports whether AWS answered that another change of it is under way.
func isConflict(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ResourceConflictException"
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

func stringOrNil(value string) *string {
	if value == "" {
		return nil
	}
	return aws.String(value)
}
