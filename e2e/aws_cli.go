package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/signer"

	"esc-connector-lambda-go/e2e/ec2"
)

// Commands are what a process that tells stories plays itself, for testscript.Main: the AWS CLI, where the machine has none.
func Commands() map[string]func() {
	// This process may be that aws, which is on PATH then.
	if _, err := exec.LookPath("aws"); err == nil && filepath.Base(os.Args[0]) != "aws" {
		return nil
	}
	return map[string]func(){"aws": func() {
		if err := runByCommand(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(254)
		}
	}}
}

// awsCommands are the commands of the AWS CLI that messages and pages tell a reader to run.
var awsCommands = map[string]func(ctx context.Context, args []string) error{
	"ec2 delete-security-group": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := ec2.NewFromConfig(c).DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: flag("group-id")})
		return err
	}),
	"ec2 revoke-security-group-egress": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := ec2.NewFromConfig(c).RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{
			GroupId: flag("group-id"), SecurityGroupRuleIds: []string{aws.ToString(flag("security-group-rule-ids"))}})
		return err
	}),
	"ec2 revoke-security-group-ingress": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := ec2.NewFromConfig(c).RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{
			GroupId: flag("group-id"), SecurityGroupRuleIds: []string{aws.ToString(flag("security-group-rule-ids"))}})
		return err
	}),
	"iam add-client-id-to-open-id-connect-provider": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := iam.NewFromConfig(c).AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: flag("open-id-connect-provider-arn"), ClientID: flag("client-id")})
		return err
	}),
	"iam delete-role": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := iam.NewFromConfig(c).DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: flag("role-name")})
		return err
	}),
	"iam delete-role-policy": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := iam.NewFromConfig(c).DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: flag("role-name"), PolicyName: flag("policy-name")})
		return err
	}),
	"lambda delete-code-signing-config": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := lambda.NewFromConfig(c).DeleteCodeSigningConfig(ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: flag("code-signing-config-arn")})
		return err
	}),
	"lambda delete-function": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := lambda.NewFromConfig(c).DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: flag("function-name")})
		return err
	}),
	"lambda invoke": invokeByCommand,
	"logs delete-log-group": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := cloudwatchlogs.NewFromConfig(c).DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: flag("log-group-name")})
		return err
	}),
	"rds modify-db-cluster": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := rds.NewFromConfig(c).ModifyDBCluster(ctx, &rds.ModifyDBClusterInput{DBClusterIdentifier: flag("db-cluster-identifier"),
			EnableIAMDatabaseAuthentication: aws.Bool(flag("enable-iam-database-authentication") != nil), ApplyImmediately: aws.Bool(flag("apply-immediately") != nil)})
		return err
	}),
	"rds modify-db-instance": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := rds.NewFromConfig(c).ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: flag("db-instance-identifier"),
			EnableIAMDatabaseAuthentication: aws.Bool(flag("enable-iam-database-authentication") != nil), ApplyImmediately: aws.Bool(flag("apply-immediately") != nil)})
		return err
	}),
	"s3api delete-bucket": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true }).DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: flag("bucket")})
		return err
	}),
	"signer cancel-signing-profile": simply(func(ctx context.Context, c aws.Config, flag func(string) *string) error {
		_, err := signer.NewFromConfig(c).CancelSigningProfile(ctx, &signer.CancelSigningProfileInput{ProfileName: flag("profile-name")})
		return err
	}),
}

// simply is a command with flags alone, each with a value or without one.
func simply(do func(ctx context.Context, c aws.Config, flag func(string) *string) error) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error {
		values := map[string]string{}
		name := ""
		for _, arg := range args {
			switch {
			case strings.HasPrefix(arg, "--"):
				name, arg = strings.TrimPrefix(arg, "--"), ""
			case name == "" || values[name] != "":
				return fmt.Errorf("aws: %q is not a flag's value", arg)
			}
			values[name] = arg
		}
		loaded, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return err
		}
		if region, given := values["region"]; given {
			loaded.Region = region
		}
		return do(ctx, loaded, func(name string) *string {
			if value, given := values[name]; given {
				return &value
			}
			return nil
		})
	}
}

func runByCommand(ctx context.Context, args []string) error {
	if len(args) > 1 && args[0] == "--profile" {
		// A profile that is named counts for more than the variables.
		if err := errors.Join(os.Setenv("AWS_PROFILE", args[1]), os.Unsetenv("AWS_ACCESS_KEY_ID"), os.Unsetenv("AWS_SECRET_ACCESS_KEY")); err != nil {
			return err
		}
		args = args[2:]
	}
	if len(args) >= 2 {
		if command, known := awsCommands[args[0]+" "+args[1]]; known {
			return command(ctx, args[2:])
		}
	}
	return fmt.Errorf("aws %q: this stand-in knows %q only", args, slices.Sorted(maps.Keys(awsCommands)))
}

// invokeByCommand is `aws lambda invoke --region REGION --function-name NAME --payload fileb://FILE OUT`. Another
// form of payload, which the versions of the CLI read differently, is an error.
func invokeByCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("aws lambda invoke", flag.ContinueOnError)
	region := flags.String("region", "", "")
	function := flags.String("function-name", "", "")
	payload := flags.String("payload", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	path, isFile := strings.CutPrefix(*payload, "fileb://")
	if !isFile || flags.NArg() != 1 {
		return errors.New("aws lambda invoke: a payload fileb://FILE and one file for the answer are needed")
	}
	event, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(*region))
	if err != nil {
		return err
	}
	answer, err := lambda.NewFromConfig(loaded).Invoke(ctx, &lambda.InvokeInput{FunctionName: function, Payload: event})
	if err != nil {
		return err
	}
	return os.WriteFile(flags.Arg(0), answer.Payload, 0o600)
}
