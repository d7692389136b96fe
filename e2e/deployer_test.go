package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/policy"
)

// Calls that the provider makes and its stand-in does not, with the files of
// https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service in which they were read. The actions are
// IAM's; those of S3 have other names than the calls:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
var furtherCalls = []struct{ file, actions, resource string }{
	{"s3/bucket.go (read)", `s3:ListBucket s3:GetBucketPolicy s3:GetBucketAcl s3:GetBucketCORS s3:GetBucketWebsite s3:GetBucketVersioning
		s3:GetAccelerateConfiguration s3:GetBucketRequestPayment s3:GetBucketLogging s3:GetLifecycleConfiguration
		s3:GetReplicationConfiguration s3:GetEncryptionConfiguration s3:GetBucketObjectLockConfiguration`,
		"arn:aws:s3:::esc-connector-0123"},
	{"s3/tags.go", "s3:GetBucketTagging s3:PutBucketTagging", "arn:aws:s3:::esc-connector-0123"},
	{"s3/bucket_public_access_block.go, s3/bucket_policy.go (read)", "s3:GetBucketPublicAccessBlock s3:GetBucketPolicy", "arn:aws:s3:::esc-connector-0123"},
	{"s3/object.go, s3/tags.go", `s3:GetObject s3:GetObjectVersion s3:GetObjectTagging s3:PutObjectTagging s3:DeleteObjectTagging s3:GetObjectVersionTagging`,
		"arn:aws:s3:::esc-connector-0123/unsigned/connector.zip"},
	{"s3/delete.go", "s3:ListBucketVersions s3:ListBucket", "arn:aws:s3:::esc-connector-0123"},
	{"s3/delete.go", "s3:DeleteObject s3:DeleteObjectVersion", "arn:aws:s3:::esc-connector-0123/signed/x.zip"},
	{"lambda/function.go", `lambda:GetFunction lambda:GetFunctionConfiguration lambda:GetFunctionCodeSigningConfig lambda:ListVersionsByFunction
		lambda:ListTags lambda:TagResource lambda:UntagResource`, "arn:aws:lambda:us-west-2:111122223333:function:orders-dev-0123"},
	// With the qualifier $LATEST, which the provider sends, IAM compares the function's ARN with that at its end.
	{"lambda/invocation_data_source.go", "lambda:InvokeFunction", "arn:aws:lambda:us-west-2:111122223333:function:orders-dev-0123:$LATEST"},
	{"secretsmanager/secret_version_data_source.go", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-west-2:111122223333:secret:rds!cluster-0123-AbCdEf"},
	{"lambda/permission.go", "lambda:GetPolicy lambda:AddPermission lambda:RemovePermission", "arn:aws:lambda:us-west-2:111122223333:function:orders-dev-0123"},
	{"lambda/code_signing_config.go, lambda/tags_gen.go", "lambda:GetCodeSigningConfig lambda:ListTags lambda:TagResource lambda:UntagResource",
		"arn:aws:lambda:us-west-2:111122223333:code-signing-config:csc-0123"},
	{"signer/signing_profile.go, signer/tags_gen.go", "signer:GetSigningProfile signer:ListTagsForResource signer:TagResource signer:UntagResource",
		"arn:aws:signer:us-west-2:111122223333:/signing-profiles/esc_connector_0123"},
	{"signer/signing_job.go", "signer:DescribeSigningJob", "arn:aws:signer:us-west-2:111122223333:/signing-jobs/0123"},
	{"logs/group.go, logs/tags_gen.go", "logs:ListTagsForResource logs:TagResource logs:UntagResource logs:PutRetentionPolicy logs:DeleteRetentionPolicy",
		"arn:aws:logs:us-west-2:111122223333:log-group:/aws/lambda/orders-dev-0123"},
	{"logs/group.go", "logs:DescribeLogGroups", "*"},
	{"logs/metric_filter.go", "logs:PutMetricFilter logs:DeleteMetricFilter logs:DescribeMetricFilters",
		"arn:aws:logs:us-west-2:111122223333:log-group:/aws/lambda/orders-dev-0123"},
	{"cloudwatch/metric_alarm.go, cloudwatch/tags_gen.go", `cloudwatch:PutMetricAlarm cloudwatch:DeleteAlarms cloudwatch:DescribeAlarms
		cloudwatch:ListTagsForResource cloudwatch:TagResource cloudwatch:UntagResource`, "arn:aws:cloudwatch:us-west-2:111122223333:alarm:orders-dev-0123-failed"},
	{"events/rule.go, events/target.go, events/tags_gen.go", `events:DescribeRule events:ListTagsForResource events:TagResource events:UntagResource
		events:ListTargetsByRule`, "arn:aws:events:us-west-2:111122223333:rule/orders-dev-0123"},
	// Before a role is deleted, the provider looks for instance profiles that have it.
	{"iam/role.go", `iam:GetRole iam:ListRolePolicies iam:GetRolePolicy iam:ListAttachedRolePolicies iam:DetachRolePolicy iam:ListInstanceProfilesForRole iam:ListRoleTags
		iam:TagRole iam:UntagRole iam:UpdateRole iam:UpdateRoleDescription iam:UpdateAssumeRolePolicy`,
		"arn:aws:iam::111122223333:role/orders-dev-run-0123"},
	{"iam/openid_connect_provider.go", "iam:GetOpenIDConnectProvider iam:ListOpenIDConnectProviders iam:TagOpenIDConnectProvider",
		"arn:aws:iam::111122223333:oidc-provider/api.pulumi.com/oidc"},
	{"ec2/vpc_security_group.go, ec2/vpc_security_group_data_source.go, ec2/vpc_network_interface.go",
		"ec2:DescribeSecurityGroups ec2:DescribeNetworkInterfaces", "*"},
	// A new group's own rules, which let everything out, for IPv4 and for IPv6.
	{"ec2/vpc_security_group.go (create)", "ec2:RevokeSecurityGroupEgress", "arn:aws:ec2:us-west-2:111122223333:security-group/sg-0123"},
	{"ec2/vpc_security_group_ingress_rule.go", "ec2:DescribeSecurityGroupRules", "*"},
	{"ec2/vpc_security_group_ingress_rule.go", "ec2:ModifySecurityGroupRules ec2:CreateTags ec2:DeleteTags",
		"arn:aws:ec2:us-west-2:111122223333:security-group-rule/sgr-0123"},
	{"ec2/vpc_network_interface.go (what a function leaves)", "ec2:DetachNetworkInterface ec2:DeleteNetworkInterface",
		"arn:aws:ec2:us-west-2:111122223333:network-interface/eni-0123"},
	{"ec2/vpc_data_source.go, ec2/vpc_subnet_data_source.go, ec2/vpc_dhcp_options_data_source.go",
		"ec2:DescribeVpcs ec2:DescribeVpcAttribute ec2:DescribeRouteTables ec2:DescribeSubnets ec2:DescribeDhcpOptions", "*"},
	{"rds/clusters_data_source.go, rds/instances_data_source.go, rds/cluster_data_source.go, rds/instance_data_source.go, rds/subnet_group_data_source.go",
		"rds:DescribeDBClusters rds:DescribeDBInstances rds:DescribeDBSubnetGroups rds:ListTagsForResource", "*"},
	{"sts/caller_identity_data_source.go", "sts:GetCallerIdentity", "*"},
}

func TestTheDeployersPolicyAllowsWhatTheProviderCallsBesides(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../docs/deployer-policy.json")
	require.NoError(t, err)
	document := strings.NewReplacer("ACCOUNT", "111122223333", "REGION", "us-west-2", "PROJECT-STACK", "orders-dev", "/KEY", "/0123").Replace(string(template))
	for _, call := range furtherCalls {
		for _, action := range strings.Fields(call.actions) {
			allowed, err := policy.Allows([]string{document}, policy.Request{Action: action, Resource: call.resource})
			require.NoError(t, err)
			assert.True(t, allowed, "%s on %s, which %s calls", action, call.resource, call.file)
		}
	}
	for via, want := range map[string]bool{"secretsmanager.us-west-2.amazonaws.com": true, "s3.us-west-2.amazonaws.com": false, "": false} {
		allowed, err := policy.Allows([]string{document}, policy.Request{Action: "kms:Decrypt", Resource: "arn:aws:kms:us-west-2:111122223333:key/0123",
			Context: map[string]string{"kms:ViaService": via}})
		require.NoError(t, err)
		assert.Equal(t, want, allowed, "the secret's key by %q", via)
	}
	for action, resource := range map[string]string{
		"lambda:InvokeFunction":         "arn:aws:lambda:us-west-2:111122223333:function:others-dev-0123",
		"secretsmanager:GetSecretValue": "arn:aws:secretsmanager:us-west-2:111122223333:secret:others-AbCdEf",
		"kms:Decrypt":                   "arn:aws:kms:us-west-2:111122223333:key/4567",
	} {
		allowed, err := policy.Allows([]string{document}, policy.Request{Action: action, Resource: resource,
			Context: map[string]string{"kms:ViaService": "secretsmanager.us-west-2.amazonaws.com"}})
		require.NoError(t, err)
		assert.False(t, allowed, "%s on %s", action, resource)
	}
	for _, action := range []string{"iam:DeleteOpenIDConnectProvider", "iam:AttachRolePolicy", "s3:DeleteBucket"} {
		allowed, err := policy.Allows([]string{document}, policy.Request{Action: action, Resource: "arn:aws:s3:::others"})
		require.NoError(t, err)
		assert.False(t, allowed, "the check would pass anything: %s", action)
	}
}
