package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/ec2"
	"esc-connector-lambda-go/e2e/road"
)

// handCommands are the words about what others do by hand in the AWS account.
var handCommands = map[string]command{
	"by-hand": changeByHand,
}

// colleague is somebody who changes by hand, in AWS's console, what the stack has made.
type colleague struct {
	aws       aws.Config
	resources map[string]keptResource // of the stack, by logical name
}

func (c *colleague) id(name string) *string { return aws.String(c.resources[name].ID) }

func (c *colleague) output(name, property string) *string {
	text, _ := c.resources[name].Outputs[property].(string)
	return &text
}

func (c *colleague) s3() *s3.Client {
	return s3.NewFromConfig(c.aws, func(o *s3.Options) { o.UsePathStyle = true })
}

// otherPort lets the function in at another port than the database's.
func (c *colleague) otherPort() []ec2.IpPermission {
	const port = 6543
	return []ec2.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(port), ToPort: aws.Int32(port),
		UserIdGroupPairs: []ec2.UserIdGroupPair{{GroupId: c.output("fromConnector", "referencedSecurityGroupId")}}}}
}

// changes are what a colleague may do, and never should.
var changes = map[string]func(ctx context.Context, c *colleague) error{
	"log-retention": func(ctx context.Context, c *colleague) error {
		_, err := cloudwatchlogs.NewFromConfig(c.aws).PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{
			LogGroupName: c.id("logs"), RetentionInDays: aws.Int32(1)})
		return err
	},
	"log-kept-for-ever": func(ctx context.Context, c *colleague) error {
		_, err := cloudwatchlogs.NewFromConfig(c.aws).DeleteRetentionPolicy(ctx, &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: c.id("logs")})
		return err
	},
	"log-deleted": func(ctx context.Context, c *colleague) error {
		_, err := cloudwatchlogs.NewFromConfig(c.aws).DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: c.id("logs")})
		return err
	},
	"log-encrypted": func(ctx context.Context, c *colleague) error {
		// moto knows no AssociateKmsKey. What stands in the end is the same.
		client := cloudwatchlogs.NewFromConfig(c.aws)
		tags, err := client.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: c.output("logs", "arn")})
		if err != nil {
			return err
		}
		if _, err := client.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: c.id("logs")}); err != nil {
			return err
		}
		_, err = client.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: c.id("logs"), Tags: tags.Tags,
			KmsKeyId: aws.String("arn:aws:kms:us-west-2:111122223333:key/0123")})
		if err != nil {
			return err
		}
		_, err = client.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: c.id("logs"), RetentionInDays: aws.Int32(30)})
		return err
	},
	"bucket-public": func(ctx context.Context, c *colleague) error {
		_, err := c.s3().PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: c.id("archives"),
			PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{
				BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(false), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(false),
			}})
		return err
	},
	"bucket-block-deleted": func(ctx context.Context, c *colleague) error {
		_, err := c.s3().DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: c.id("archives")})
		return err
	},
	"bucket-unversioned": func(ctx context.Context, c *colleague) error {
		_, err := c.s3().PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: c.id("archives"),
			VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusSuspended}})
		return err
	},
	"bucket-encryption": func(ctx context.Context, c *colleague) error {
		_, err := c.s3().PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: c.id("archives"),
			ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{Rules: []s3types.ServerSideEncryptionRule{{
				ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryptionAwsKms},
			}}}})
		return err
	},
	"bucket-policy": func(ctx context.Context, c *colleague) error {
		_, err := c.s3().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: c.id("archives"),
			Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject","Resource":"*"}]}`)})
		return err
	},
	"bucket-policy-deleted": func(ctx context.Context, c *colleague) error {
		_, err := c.s3().DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: c.id("archives")})
		return err
	},
	"profile-cancelled": func(ctx context.Context, c *colleague) error {
		_, err := signer.NewFromConfig(c.aws).CancelSigningProfile(ctx, &signer.CancelSigningProfileInput{ProfileName: c.id("signingProfile")})
		return err
	},
	"signing-only-warns": func(ctx context.Context, c *colleague) error {
		_, err := lambda.NewFromConfig(c.aws).UpdateCodeSigningConfig(ctx, &lambda.UpdateCodeSigningConfigInput{CodeSigningConfigArn: c.id("codeSigningConfig"),
			CodeSigningPolicies: &lambdatypes.CodeSigningPolicies{UntrustedArtifactOnDeployment: lambdatypes.CodeSigningPolicyWarn}})
		return err
	},
	"signing-by-others": func(ctx context.Context, c *colleague) error {
		theirs := *c.output("signingProfile", "versionArn") + "x"
		_, err := lambda.NewFromConfig(c.aws).UpdateCodeSigningConfig(ctx, &lambda.UpdateCodeSigningConfigInput{CodeSigningConfigArn: c.id("codeSigningConfig"),
			AllowedPublishers: &lambdatypes.AllowedPublishers{SigningProfileVersionArns: []string{theirs, *c.output("signingProfile", "versionArn")}}})
		return err
	},
	"rule-disabled": func(ctx context.Context, c *colleague) error {
		_, err := eventbridge.NewFromConfig(c.aws).DisableRule(ctx, &eventbridge.DisableRuleInput{Name: c.id("keepWarm")})
		return err
	},
	"rule-rarer": func(ctx context.Context, c *colleague) error {
		_, err := eventbridge.NewFromConfig(c.aws).PutRule(ctx, &eventbridge.PutRuleInput{Name: c.id("keepWarm"),
			Description: c.output("keepWarm", "description"), ScheduleExpression: aws.String("rate(60 days)")})
		return err
	},
	"target-input": func(ctx context.Context, c *colleague) error {
		_, err := eventbridge.NewFromConfig(c.aws).PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: c.id("keepWarm"),
			Targets: []eventtypes.Target{{Id: aws.String("connector"), Arn: c.output("function", "arn"), Input: aws.String(`{}`)}}})
		return err
	},
	"target-removed": func(ctx context.Context, c *colleague) error {
		_, err := eventbridge.NewFromConfig(c.aws).RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: c.id("keepWarm"), Ids: []string{"connector"}})
		return err
	},
	"target-added": func(ctx context.Context, c *colleague) error {
		_, err := eventbridge.NewFromConfig(c.aws).PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: c.id("keepWarm"),
			Targets: []eventtypes.Target{{Id: aws.String("theirs"), Arn: aws.String("arn:aws:sqs:us-west-2:111122223333:theirs")}}})
		return err
	},
	"target-added-removed": func(ctx context.Context, c *colleague) error {
		_, err := eventbridge.NewFromConfig(c.aws).RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: c.id("keepWarm"), Ids: []string{"theirs"}})
		return err
	},
	"permission-removed": func(ctx context.Context, c *colleague) error {
		_, err := lambda.NewFromConfig(c.aws).RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: c.id("function"), StatementId: c.id("keepWarmPermission")})
		return err
	},
	"permission-wider": func(ctx context.Context, c *colleague) error {
		client := lambda.NewFromConfig(c.aws)
		if _, err := client.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: c.id("function"), StatementId: c.id("keepWarmPermission")}); err != nil {
			return err
		}
		_, err := client.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: c.id("function"), StatementId: c.id("keepWarmPermission"),
			Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("events.amazonaws.com")})
		return err
	},
	"trust-wider": func(ctx context.Context, c *colleague) error {
		_, err := iam.NewFromConfig(c.aws).UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: c.id("invocationRole"),
			PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`)})
		return err
	},
	"invocation-wider": func(ctx context.Context, c *colleague) error {
		_, err := iam.NewFromConfig(c.aws).PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: c.id("invocationRole"), PolicyName: aws.String("invoke"),
			PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:*","Resource":"*"}]}`)})
		return err
	},
	"function-stopped": func(ctx context.Context, c *colleague) error {
		_, err := lambda.NewFromConfig(c.aws).PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{
			FunctionName: c.id("function"), ReservedConcurrentExecutions: aws.Int32(0)})
		return err
	},
	"function-let-run": func(ctx context.Context, c *colleague) error {
		_, err := lambda.NewFromConfig(c.aws).DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: c.id("function")})
		return err
	},
	"port-opened": func(ctx context.Context, c *colleague) error {
		_, err := ec2.NewFromConfig(c.aws).AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: c.output("fromConnector", "securityGroupId"), IpPermissions: c.otherPort()})
		return err
	},
	"port-closed": func(ctx context.Context, c *colleague) error {
		_, err := ec2.NewFromConfig(c.aws).RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{
			GroupId: c.output("fromConnector", "securityGroupId"), IpPermissions: c.otherPort()})
		return err
	},
	"policies-added": func(ctx context.Context, c *colleague) error {
		client := iam.NewFromConfig(c.aws)
		watched, err := client.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("watched"), PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"organizations:*","Resource":"*"}]}`)})
		if err != nil {
			return err
		}
		for _, role := range []string{"executionRole", "invocationRole"} {
			if _, err := client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: c.id(role), PolicyArn: watched.Policy.Arn}); err != nil {
				return err
			}
			_, err := client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: c.id(role), PolicyName: aws.String("theirs"), PolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"organizations:*","Resource":"*"}]}`)})
			if err != nil {
				return err
			}
		}
		return nil
	},
	"provider-deleted": func(ctx context.Context, c *colleague) error {
		_, err := iam.NewFromConfig(c.aws).DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: c.id("oidcProvider")})
		return err
	},
	"audience-removed": func(ctx context.Context, c *colleague) error {
		// moto knows no RemoveClientIDFromOpenIDConnectProvider. What stands in the end is the same.
		client, arn := iam.NewFromConfig(c.aws), c.id("oidcProvider")
		live, err := client.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		if err != nil {
			return err
		}
		if _, err := client.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}); err != nil {
			return err
		}
		_, err = client.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
			Url: aws.String("https://" + strings.TrimPrefix(*live.Url, "https://")), Tags: live.Tags, ThumbprintList: live.ThumbprintList,
			ClientIDList: slices.DeleteFunc(live.ClientIDList, func(audience string) bool { return audience == "aws:"+road.Organization }),
		})
		return err
	},
	"tags-removed": untagAll,
	"tags-added":   tagAll,
}

// byTag is how one tag comes to each kind of resource that has tags, and goes.
var byTag = map[string]struct {
	on          string // the property that names it; empty is the id
	add, remove func(ctx context.Context, c *colleague, on, key string) error
}{
	"aws:cloudwatch/logGroup:LogGroup": {"arn",
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := cloudwatchlogs.NewFromConfig(c.aws).TagResource(ctx, &cloudwatchlogs.TagResourceInput{ResourceArn: &on, Tags: map[string]string{key: "theirs"}})
			return err
		},
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := cloudwatchlogs.NewFromConfig(c.aws).UntagResource(ctx, &cloudwatchlogs.UntagResourceInput{ResourceArn: &on, TagKeys: []string{key}})
			return err
		}},
	"aws:cloudwatch/eventRule:EventRule": {"arn",
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := eventbridge.NewFromConfig(c.aws).TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: &on, Tags: []eventtypes.Tag{{Key: &key, Value: aws.String("theirs")}}})
			return err
		},
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := eventbridge.NewFromConfig(c.aws).UntagResource(ctx, &eventbridge.UntagResourceInput{ResourceARN: &on, TagKeys: []string{key}})
			return err
		}},
	"aws:ec2/securityGroup:SecurityGroup":                       {"", tagEC2, untagEC2},
	"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":   {"", tagEC2, untagEC2},
	"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"", tagEC2, untagEC2},
	"aws:iam/role:Role": {"",
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := iam.NewFromConfig(c.aws).TagRole(ctx, &iam.TagRoleInput{RoleName: &on, Tags: []iamtypes.Tag{{Key: &key, Value: aws.String("theirs")}}})
			return err
		},
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := iam.NewFromConfig(c.aws).UntagRole(ctx, &iam.UntagRoleInput{RoleName: &on, TagKeys: []string{key}})
			return err
		}},
	"aws:lambda/codeSigningConfig:CodeSigningConfig": {"arn", tagLambda, untagLambda},
	"aws:lambda/function:Function":                   {"arn", tagLambda, untagLambda},
	"aws:signer/signingProfile:SigningProfile": {"arn",
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := signer.NewFromConfig(c.aws).TagResource(ctx, &signer.TagResourceInput{ResourceArn: &on, Tags: map[string]string{key: "theirs"}})
			return err
		},
		func(ctx context.Context, c *colleague, on, key string) error {
			_, err := signer.NewFromConfig(c.aws).UntagResource(ctx, &signer.UntagResourceInput{ResourceArn: &on, TagKeys: []string{key}})
			return err
		}},
	"aws:s3/bucketV2:BucketV2": {"",
		func(ctx context.Context, c *colleague, on, key string) error {
			return retagBucket(ctx, c, on, func(tags []s3types.Tag) []s3types.Tag {
				return append(tags, s3types.Tag{Key: &key, Value: aws.String("theirs")})
			})
		},
		func(ctx context.Context, c *colleague, on, key string) error {
			return retagBucket(ctx, c, on, func(tags []s3types.Tag) []s3types.Tag {
				return slices.DeleteFunc(tags, func(tag s3types.Tag) bool { return *tag.Key == key })
			})
		}},
}

func tagEC2(ctx context.Context, c *colleague, on, key string) error {
	_, err := ec2.NewFromConfig(c.aws).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{on}, Tags: []ec2.Tag{{Key: &key, Value: aws.String("theirs")}}})
	return err
}

func untagEC2(ctx context.Context, c *colleague, on, key string) error {
	_, err := ec2.NewFromConfig(c.aws).DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{on}, Tags: []ec2.Tag{{Key: &key}}})
	return err
}

func tagLambda(ctx context.Context, c *colleague, on, key string) error {
	_, err := lambda.NewFromConfig(c.aws).TagResource(ctx, &lambda.TagResourceInput{Resource: &on, Tags: map[string]string{key: "theirs"}})
	return err
}

func untagLambda(ctx context.Context, c *colleague, on, key string) error {
	_, err := lambda.NewFromConfig(c.aws).UntagResource(ctx, &lambda.UntagResourceInput{Resource: &on, TagKeys: []string{key}})
	return err
}

func retagBucket(ctx context.Context, c *colleague, bucket string, change func([]s3types.Tag) []s3types.Tag) error {
	live, err := c.s3().GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &bucket})
	if err != nil {
		return err
	}
	_, err = c.s3().PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &bucket, Tagging: &s3types.Tagging{TagSet: change(live.TagSet)}})
	return err
}

// tagged does it to each of the stack's resources that have tags but the identity provider, whose tags the program leaves alone.
func (c *colleague) tagged(do func(kind string, on string) error) error {
	done := 0
	for _, made := range c.resources {
		tags, _ := made.Outputs["tags"].(map[string]any)
		if len(tags) == 0 || made.Type == "aws:iam/openIdConnectProvider:OpenIdConnectProvider" {
			continue
		}
		kind, known := byTag[made.Type]
		if !known {
			return fmt.Errorf("%s has tags, and nobody knows how to take one away by hand", made.Type)
		}
		on := made.ID
		if kind.on != "" {
			on, _ = made.Outputs[kind.on].(string)
		}
		if err := do(made.Type, on); err != nil {
			return fmt.Errorf("%s: %w", on, err)
		}
		done++
	}
	if done < 9 {
		return fmt.Errorf("only %d resources of the stack have tags", done)
	}
	return nil
}

func untagAll(ctx context.Context, c *colleague) error {
	return c.tagged(func(kind, on string) error { return byTag[kind].remove(ctx, c, on, "pulumi:stack") })
}

func tagAll(ctx context.Context, c *colleague) error {
	return c.tagged(func(kind, on string) error { return byTag[kind].add(ctx, c, on, "theirs") })
}

// by-hand CHANGE... changes in AWS what the stack has made, past the stack: rows of changes, in that order.
func changeByHand(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	file := ts.MkAbs("../by-hand.json")
	run(ts, false, of(ts).machine.Pulumi, "stack", "export", "--file", file)
	c := &colleague{resources: map[string]keptResource{}, aws: aws.Config{
		Region: road.Region, BaseEndpoint: &of(ts).cloud.AWSURL, Credentials: credentials.NewStaticCredentialsProvider("hand", "hand", ""),
	}}
	for _, made := range resourcesOf(ts, ts.ReadFile(file)) {
		c.resources[made.name()] = made
	}
	for _, name := range args {
		change, known := changes[name]
		if !known {
			ts.Fatalf("nobody knows how to do %s by hand; known are %q", name, slices.Sorted(maps.Keys(changes)))
		}
		if err := change(ctx, c); err != nil {
			ts.Fatalf("doing %s by hand: %v", name, err)
		}
	}
}
