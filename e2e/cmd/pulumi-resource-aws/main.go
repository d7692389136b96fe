// Command pulumi-resource-aws stands in for Pulumi's AWS provider: it turns the
// resources and functions that this project's program uses into real calls of
// AWS's APIs, with the AWS SDK for Go. Credentials, region and endpoint come
// from the environment and the stack, as for the real provider. What it does
// not know it refuses by name.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

func main() {
	c := &clients{}
	provider.Main(provider.Provider{
		Name:                     "aws",
		Version:                  "6.83.0",
		Config:                   []string{"region", "skipCredentialsValidation", "skipRegionValidation"},
		FailedUpdatesStandAsDone: true,
		Configure:                c.configure,
		Resources: map[string]provider.Resource{
			"aws:cloudwatch/eventRule:EventRule":                     c.eventRule(),
			"aws:cloudwatch/eventTarget:EventTarget":                 c.eventTarget(),
			"aws:cloudwatch/logGroup:LogGroup":                       c.logGroup(),
			"aws:ec2/securityGroup:SecurityGroup":                    c.securityGroup(),
			"aws:iam/openIdConnectProvider:OpenIdConnectProvider":    c.openIDConnectProvider(),
			"aws:iam/role:Role":                                      c.role(),
			"aws:iam/rolePolicy:RolePolicy":                          c.rolePolicy(),
			"aws:lambda/codeSigningConfig:CodeSigningConfig":         c.codeSigningConfig(),
			"aws:lambda/function:Function":                           c.function(),
			"aws:lambda/permission:Permission":                       c.permission(),
			"aws:s3/bucketObjectv2:BucketObjectv2":                   c.object(),
			"aws:s3/bucketPolicy:BucketPolicy":                       c.bucketPolicy(),
			"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": c.publicAccessBlock(),
			"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": c.bucketEncryption(),
			"aws:s3/bucketV2:BucketV2":                                  c.bucket(),
			"aws:s3/bucketVersioningV2:BucketVersioningV2":              c.bucketVersioning(),
			"aws:signer/signingJob:SigningJob":                          c.signingJob(),
			"aws:signer/signingProfile:SigningProfile":                  c.signingProfile(),
			"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":   c.securityGroupRule(true),
			"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": c.securityGroupRule(false),
		},
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
			"aws:rds/getCluster:getCluster":                             c.getCluster,
			"aws:rds/getClusters:getClusters":                           c.getClusters,
			"aws:rds/getInstance:getInstance":                           c.getInstance,
			"aws:rds/getInstances:getInstances":                         c.getInstances,
			"aws:rds/getSubnetGroup:getSubnetGroup":                     c.getSubnetGroup,
			"aws:signer/getSigningProfile:getSigningProfile":            c.getSigningProfile,
		},
	})
}

// clients are the services' API clients, made when the engine sends the configuration.
type clients struct {
	region  string
	account string // empty where the credentials were not to be checked
	ec2     *ec2.Client
	events  *eventbridge.Client
	iam     *iam.Client
	lambda  *lambda.Client
	logs    *cloudwatchlogs.Client
	rds     *rds.Client
	s3      *s3.Client
	signer  *signer.Client
	sts     *sts.Client
}

func (c *clients) configure(ctx context.Context, settings map[string]string) error {
	var options []func(*config.LoadOptions) error
	if region := settings["region"]; region != "" {
		options = append(options, config.WithRegion(region))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if loaded.Region == "" {
		return errors.New("no AWS region: `pulumi config set aws:region <region>`")
	}
	c.region = loaded.Region
	c.ec2 = ec2.NewFromConfig(loaded)
	c.events = eventbridge.NewFromConfig(loaded)
	c.iam = iam.NewFromConfig(loaded)
	c.lambda = lambda.NewFromConfig(loaded)
	c.logs = cloudwatchlogs.NewFromConfig(loaded)
	c.rds = rds.NewFromConfig(loaded)
	c.s3 = s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = true })
	c.signer = signer.NewFromConfig(loaded)
	c.sts = sts.NewFromConfig(loaded)
	if settings["skipCredentialsValidation"] == "true" {
		return nil
	}
	identity, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("checking the AWS credentials: %w", err)
	}
	c.account = aws.ToString(identity.Account)
	return nil
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

func (c *clients) getPartition(context.Context, resource.PropertyMap) (resource.PropertyMap, error) {
	partition, suffix := "aws", "amazonaws.com"
	switch {
	case strings.HasPrefix(c.region, "us-gov-"):
		partition = "aws-us-gov"
	case strings.HasPrefix(c.region, "cn-"):
		partition, suffix = "aws-cn", "amazonaws.com.cn"
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

// isNotFound tells whether AWS answered that the thing is not there.
func isNotFound(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	code := api.ErrorCode()
	return strings.Contains(code, "NotFound") || strings.Contains(code, "NoSuchEntity")
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
