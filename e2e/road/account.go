package road

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"esc-connector-lambda-go/e2e/ec2"
)

// Left lists, a line each, what the account holds that [Cloud.AddCluster] and [Cloud.AddInstance] did
// not bring: "iam role NAME", "ec2 security-group-rule ID of GROUP" and so on.
func (c *Cloud) Left(ctx context.Context) ([]string, error) {
	var left []string
	for _, list := range []func(context.Context) ([]string, error){c.functions, c.identities, c.logGroups, c.securityGroups, c.rules, c.alarms, c.signing} {
		lines, err := list(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing what the account holds: %w", err)
		}
		left = append(left, lines...)
	}
	return left, nil
}

func (c *Cloud) functions(ctx context.Context) ([]string, error) {
	found, err := lambda.NewFromConfig(c.config()).ListFunctions(ctx, &lambda.ListFunctionsInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, function := range found.Functions {
		lines = append(lines, "lambda function "+*function.FunctionName)
	}
	return lines, nil
}

func (c *Cloud) identities(ctx context.Context) ([]string, error) {
	client := iam.NewFromConfig(c.config())
	roles, err := client.ListRoles(ctx, &iam.ListRolesInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, role := range roles.Roles {
		// AWS keeps service-linked roles for itself.
		if !strings.HasPrefix(aws.ToString(role.Path), "/aws-service-role/") {
			lines = append(lines, "iam role "+*role.RoleName)
		}
	}
	providers, err := client.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil, err
	}
	for _, provider := range providers.OpenIDConnectProviderList {
		lines = append(lines, "iam oidc-provider "+*provider.Arn)
	}
	return lines, nil
}

func (c *Cloud) logGroups(ctx context.Context) ([]string, error) {
	found, err := cloudwatchlogs.NewFromConfig(c.config()).DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, group := range found.LogGroups {
		lines = append(lines, "logs log-group "+*group.LogGroupName)
	}
	return lines, nil
}

// securityGroups lists groups but the VPCs' default ones and the user's own, and
// in the user's own the rules that admit another group.
func (c *Cloud) securityGroups(ctx context.Context) ([]string, error) {
	found, err := ec2.NewFromConfig(c.config()).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, group := range found.SecurityGroups {
		users := false
		for _, tag := range group.Tags {
			users = users || *tag.Key == "owner" && *tag.Value == "the user"
		}
		if !users && *group.GroupName != "default" {
			lines = append(lines, "ec2 security-group "+*group.GroupName)
		}
		if !users {
			continue
		}
		for _, permission := range group.IpPermissions {
			for _, pair := range permission.UserIdGroupPairs {
				lines = append(lines, fmt.Sprintf("ec2 ingress %d from %s to %s",
					aws.ToInt32(permission.FromPort), *pair.GroupId, *group.GroupName))
			}
		}
	}
	return lines, nil
}

func (c *Cloud) rules(ctx context.Context) ([]string, error) {
	found, err := eventbridge.NewFromConfig(c.config()).ListRules(ctx, &eventbridge.ListRulesInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, rule := range found.Rules {
		lines = append(lines, "events rule "+*rule.Name)
	}
	return lines, nil
}

func (c *Cloud) alarms(ctx context.Context) ([]string, error) {
	found, err := cloudwatch.NewFromConfig(c.config()).DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, alarm := range found.MetricAlarms {
		lines = append(lines, "cloudwatch alarm "+*alarm.AlarmName)
	}
	return lines, nil
}

// signing lists the parts of code signing. AWS keeps a cancelled signing profile for ever.
func (c *Cloud) signing(ctx context.Context) ([]string, error) {
	buckets, err := s3.NewFromConfig(c.config()).ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, bucket := range buckets.Buckets {
		lines = append(lines, "s3 bucket "+*bucket.Name)
	}
	return append(lines, c.AWS.Signing()...), nil
}

// UpdateCode uploads a zip as the function's code.
func (c *Cloud) UpdateCode(ctx context.Context, function string, zip []byte) error {
	_, err := lambda.NewFromConfig(c.config()).UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &function, ZipFile: zip})
	if err != nil {
		return fmt.Errorf("updating the code of %s: %w", function, err)
	}
	return c.settled(ctx, function)
}

// UpdatePublishedCode gives the function Pulumi's archive of today, as ESC does.
func (c *Cloud) UpdatePublishedCode(ctx context.Context, function string) error {
	_, err := lambda.NewFromConfig(c.config()).UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{
		FunctionName: &function, S3Bucket: aws.String("public-esc-rotator-lambdas-production-" + Region), S3Key: aws.String("aws-lambda/latest.zip"),
	})
	if err != nil {
		return fmt.Errorf("updating the code of %s: %w", function, err)
	}
	return c.settled(ctx, function)
}

// Zip is a function's archive with that file as its bootstrap.
func Zip(bootstrap string) ([]byte, error) {
	content, err := os.ReadFile(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("reading a bootstrap: %w", err)
	}
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	header.SetMode(0o755)
	entry, err := writer.CreateHeader(header)
	if err == nil {
		_, err = entry.Write(content)
	}
	if err := errors.Join(err, writer.Close()); err != nil {
		return nil, fmt.Errorf("zipping a bootstrap: %w", err)
	}
	return archive.Bytes(), nil
}

// AddOIDCProvider makes an OIDC provider for the cloud's ESC, as another team
// would: without this project's tag.
func (c *Cloud) AddOIDCProvider(ctx context.Context, audiences ...string) error {
	_, err := iam.NewFromConfig(c.config()).CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(c.ESCURL + "/oidc"), ClientIDList: audiences,
	})
	if err != nil {
		return fmt.Errorf("making an OIDC provider for %s: %w", c.ESCURL, err)
	}
	return nil
}

// SetNameServers names these DNS servers in the DHCP options of each VPC.
func (c *Cloud) SetNameServers(ctx context.Context, servers ...string) error {
	network := ec2.NewFromConfig(c.config())
	options, err := network.CreateDhcpOptions(ctx, &ec2.CreateDhcpOptionsInput{
		DhcpConfigurations: []ec2.NewDhcpConfiguration{{Key: aws.String("domain-name-servers"), Values: servers}},
	})
	if err != nil {
		return fmt.Errorf("making DHCP options: %w", err)
	}
	vpcs, err := network.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	if err != nil {
		return fmt.Errorf("listing the VPCs: %w", err)
	}
	for _, vpc := range vpcs.Vpcs {
		_, err := network.AssociateDhcpOptions(ctx, &ec2.AssociateDhcpOptionsInput{VpcId: vpc.VpcId, DhcpOptionsId: options.DhcpOptions.DhcpOptionsId})
		if err != nil {
			return fmt.Errorf("giving the VPC %s DHCP options: %w", *vpc.VpcId, err)
		}
	}
	return nil
}

// AddPolicy makes a managed policy of that document.
func (c *Cloud) AddPolicy(ctx context.Context, name, document string) error {
	if _, err := iam.NewFromConfig(c.config()).CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document}); err != nil {
		return fmt.Errorf("making the policy %s: %w", name, err)
	}
	return nil
}

// Invoke has the function, a name or an ARN, answer the event.
func (c *Cloud) Invoke(ctx context.Context, function string, event []byte) ([]byte, error) {
	answer, err := lambda.NewFromConfig(c.config()).Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: event})
	if err != nil {
		return nil, fmt.Errorf("invoking %s: %w", function, err)
	}
	if answer.FunctionError != nil {
		return nil, fmt.Errorf("invoking %s: %s: %s", function, *answer.FunctionError, answer.Payload)
	}
	return answer.Payload, nil
}
