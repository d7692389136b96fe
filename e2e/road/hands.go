package road

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"esc-connector-lambda-go/e2e/ec2"
)

// ChangeFunction changes the account's one function as somebody does in the console: "delete" deletes it, "unsigned" ends that its code
// must be signed, "publish" makes a version of it, "groups=default" gives it the default group of its VPC, "timeout=5" those seconds, and any other NAME=VALUE a variable.
func (c *Cloud) ChangeFunction(ctx context.Context, changes ...string) error {
	client := lambda.NewFromConfig(c.config())
	all, err := client.ListFunctions(ctx, &lambda.ListFunctionsInput{})
	if err != nil || len(all.Functions) != 1 {
		return fmt.Errorf("looking for the one function: there are %d: %w", len(all.Functions), err)
	}
	name := all.Functions[0].FunctionName
	live, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name})
	if err != nil {
		return err
	}
	request := &lambda.UpdateFunctionConfigurationInput{FunctionName: name}
	for _, change := range changes {
		key, value, _ := strings.Cut(change, "=")
		switch key {
		case "delete":
			_, err := client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
			return err
		case "unsigned":
			_, err := client.DeleteFunctionCodeSigningConfig(ctx, &lambda.DeleteFunctionCodeSigningConfigInput{FunctionName: name})
			return err
		case "publish":
			_, err := client.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name})
			return err
		case "groups":
			group, err := c.group(ctx, *live.VpcConfig.VpcId, value)
			if err != nil {
				return err
			}
			request.VpcConfig = &types.VpcConfig{SecurityGroupIds: []string{*group.GroupId}}
		case "timeout":
			seconds, err := strconv.ParseInt(value, 10, 32)
			if err != nil {
				return err
			}
			request.Timeout = aws.Int32(int32(seconds))
		default:
			request.Environment = &types.Environment{Variables: map[string]string{key: value}}
		}
	}
	if _, err := client.UpdateFunctionConfiguration(ctx, request); err != nil {
		return fmt.Errorf("changing %s by hand: %w", *name, err)
	}
	return c.settled(ctx, *name)
}

// settled waits until Lambda has made a change of the function.
func (c *Cloud) settled(ctx context.Context, function string) error {
	return lambda.NewFunctionUpdatedV2Waiter(lambda.NewFromConfig(c.config()), func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 50*time.Millisecond
	}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &function}, time.Minute)
}

// Network is where the RDS cluster of that identifier is.
func (c *Cloud) Network(ctx context.Context, identifier string) (vpc string, subnets []string, group string, err error) {
	databases := rds.NewFromConfig(c.config())
	clusters, err := databases.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &identifier})
	if err != nil {
		return "", nil, "", fmt.Errorf("looking for the cluster %s: %w", identifier, err)
	}
	groups, err := databases.DescribeDBSubnetGroups(ctx, &rds.DescribeDBSubnetGroupsInput{DBSubnetGroupName: &identifier})
	if err != nil {
		return "", nil, "", fmt.Errorf("looking for the subnets of %s: %w", identifier, err)
	}
	for _, subnet := range groups.DBSubnetGroups[0].Subnets {
		subnets = append(subnets, *subnet.SubnetIdentifier)
	}
	return *groups.DBSubnetGroups[0].VpcId, subnets, *clusters.DBClusters[0].VpcSecurityGroups[0].VpcSecurityGroupId, nil
}

// group is the group of that name in the VPC, or of a name that begins so, in any VPC where that is empty.
func (c *Cloud) group(ctx context.Context, vpc, name string) (*ec2.SecurityGroup, error) {
	found, err := ec2.NewFromConfig(c.config()).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{})
	if err != nil {
		return nil, err
	}
	for _, group := range found.SecurityGroups {
		if strings.HasPrefix(*group.GroupName, name) && (vpc == "" || *group.VpcId == vpc) {
			return &group, nil
		}
	}
	return nil, fmt.Errorf("there is no security group %s in %s", name, vpc)
}

// ChangeRules removes rules, or gives them another port: those of the function's group, or those by which the database's admits it.
func (c *Cloud) ChangeRules(ctx context.Context, functions bool, change string) error {
	client := ec2.NewFromConfig(c.config())
	own, err := c.group(ctx, "", "securityGroup-")
	if err != nil {
		return err
	}
	found, err := client.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{})
	if err != nil {
		return err
	}
	changed := 0
	for _, rule := range found.SecurityGroupRules {
		of, from := aws.ToString(rule.GroupId) == *own.GroupId, rule.ReferencedGroupInfo != nil && aws.ToString(rule.ReferencedGroupInfo.GroupId) == *own.GroupId
		if functions && !of || !functions && !from {
			continue
		}
		if err := changeRule(ctx, client, rule, change); err != nil {
			return fmt.Errorf("changing the rule %s by hand: %w", *rule.SecurityGroupRuleId, err)
		}
		changed++
	}
	if changed == 0 {
		return fmt.Errorf("there is no such rule of %s", *own.GroupId)
	}
	return nil
}

func changeRule(ctx context.Context, client *ec2.Client, rule ec2.SecurityGroupRule, change string) error {
	ids := []string{*rule.SecurityGroupRuleId}
	if change != "remove" {
		port, err := strconv.ParseInt(change, 10, 32)
		if err != nil {
			return err
		}
		_, err = client.ModifySecurityGroupRules(ctx, &ec2.ModifySecurityGroupRulesInput{
			GroupId: rule.GroupId, SecurityGroupRules: []ec2.SecurityGroupRuleUpdate{{
				SecurityGroupRuleId: rule.SecurityGroupRuleId, SecurityGroupRule: &ec2.SecurityGroupRuleRequest{
					IpProtocol: rule.IpProtocol, FromPort: aws.Int32(int32(port)), ToPort: aws.Int32(int32(port)),
					ReferencedGroupId: rule.ReferencedGroupInfo.GroupId,
				},
			}},
		})
		return err
	}
	if aws.ToBool(rule.IsEgress) {
		_, err := client.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: rule.GroupId, SecurityGroupRuleIds: ids})
		return err
	}
	_, err := client.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: rule.GroupId, SecurityGroupRuleIds: ids})
	return err
}

// ChangeRole deletes the role whose name has that part, run or invoke, or leaves it one permission that is of no use.
func (c *Cloud) ChangeRole(ctx context.Context, part string, remove bool) error {
	client := iam.NewFromConfig(c.config())
	all, err := client.ListRoles(ctx, &iam.ListRolesInput{})
	if err != nil {
		return err
	}
	for _, role := range all.Roles {
		if !strings.Contains(*role.RoleName, "-"+part+"-") {
			continue
		}
		policies, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role.RoleName})
		if err != nil {
			return err
		}
		for _, policy := range policies.PolicyNames {
			if remove {
				_, err = client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role.RoleName, PolicyName: &policy})
			} else {
				_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: &policy, PolicyDocument: aws.String(
					`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}]}`)})
			}
			if err != nil {
				return err
			}
		}
		if remove {
			_, err = client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role.RoleName})
		}
		return err
	}
	return fmt.Errorf("there is no role with -%s- in its name", part)
}
