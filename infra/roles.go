package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// detachForeign has a role's policies go with it. Guardrails of an account give policies of theirs to each role, and IAM deletes none that has any:
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRole.html
const detachForeign = pulumi.Bool(true)

// executionRole is what the function runs as. Lambda itself needs the permissions on network
// interfaces, on all resources; the function's own code is denied them:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
func (d *deployment) executionRole() (*iam.Role, *iam.RolePolicy, error) {
	trust, err := newPolicy(statement{
		Effect:    "Allow",
		Principal: map[string]string{"Service": "lambda.amazonaws.com"},
		Action:    []string{"sts:AssumeRole"},
	}).json()
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(d.ctx, executionRoleResource, &iam.RoleArgs{
		Name:                pulumi.String(d.names.executionRole),
		Description:         pulumi.String("The rotation connector's function runs as this role"),
		AssumeRolePolicy:    pulumi.String(trust),
		PermissionsBoundary: d.permissionsBoundary(),
		ForceDetachPolicies: detachForeign,
		Tags:                d.tags,
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, nil, fmt.Errorf("registering the execution role: %w", err)
	}
	interfaces := []string{
		"ec2:CreateNetworkInterface",
		"ec2:DescribeNetworkInterfaces",
		"ec2:DescribeSubnets",
		"ec2:DeleteNetworkInterface",
		"ec2:AssignPrivateIpAddresses",
		"ec2:UnassignPrivateIpAddresses",
	}
	// By the names, which are known: so a preview shows no change of this policy where the log group is made anew.
	document, err := newPolicy(
		statement{Sid: "WriteLogs", Effect: "Allow",
			Action:   []string{"logs:CreateLogStream", "logs:PutLogEvents"},
			Resource: []string{d.account.arn("logs", "log-group:"+d.names.logGroup) + ":*"}},
		statement{Sid: "NetworkInterfaces", Effect: "Allow", Action: interfaces, Resource: []string{"*"}},
		statement{Sid: "NoNetworkInterfacesForTheCode", Effect: "Deny", Action: interfaces, Resource: []string{"*"},
			Condition: conditions{"ArnEquals": {"lambda:SourceFunctionArn": d.functionARN()}}},
	).json()
	if err != nil {
		return nil, nil, err
	}
	permissions, err := iam.NewRolePolicy(d.ctx, executionPolicyResource, &iam.RolePolicyArgs{
		Name:   pulumi.String(executionPolicyName),
		Role:   role.Name,
		Policy: pulumi.String(document),
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, nil, fmt.Errorf("registering the execution role's permissions: %w", err)
	}
	return role, permissions, nil
}

// invocationRole is the role that ESC assumes. It may invoke this function, and look at it.
func (d *deployment) invocationRole(trust *Trust, function *lambda.Function) (*iam.Role, *iam.RolePolicy, error) {
	provider, err := trust.provider(d.ctx, d.last)
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(d.ctx, invocationRoleResource, &iam.RoleArgs{
		Name:        pulumi.String(d.names.invocationRole),
		Description: pulumi.String("Pulumi ESC assumes this role to invoke the rotation connector"),
		AssumeRolePolicy: provider.ToStringOutput().ApplyT(func(providerARN string) (string, error) {
			return trust.policy(providerARN).json()
		}).(pulumi.StringOutput),
		PermissionsBoundary: d.permissionsBoundary(),
		ForceDetachPolicies: detachForeign,
		Tags:                d.tags,
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, nil, fmt.Errorf("registering the invocation role: %w", err)
	}
	mayInvoke, err := iam.NewRolePolicy(d.ctx, invocationPolicyResource, &iam.RolePolicyArgs{
		Name: pulumi.String(invocationPolicyName),
		Role: role.Name,
		Policy: function.Arn.ApplyT(func(functionARN string) (string, error) {
			statements := []statement{{Sid: "InvokeConnector", Effect: "Allow",
				Action: []string{"lambda:InvokeFunction", "lambda:GetFunction"}, Resource: []string{functionARN}}}
			if d.settings.Published {
				statements = append(statements, d.updateByESC(functionARN)...)
			}
			return newPolicy(statements...).json()
		}).(pulumi.StringOutput),
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, nil, fmt.Errorf("registering the invocation role's permissions: %w", err)
	}
	return role, mayInvoke, nil
}

// permissionsBoundary is nil without one: an empty string would be a policy of no name.
func (d *deployment) permissionsBoundary() pulumi.StringPtrInput {
	if d.settings.PermissionsBoundary == "" {
		return nil
	}
	return pulumi.String(d.settings.PermissionsBoundary)
}
