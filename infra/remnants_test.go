package infra

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// AWS has one of each kind whose name it or the provider chooses, and a rule of each group. Which of them are named depends on
// what the state has, and on what this update makes.
func TestWhatIsLeftInAWSIsNamed(t *testing.T) {
	const (
		group   = "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-left"
		bucket  = "arn:aws:s3:::esc-connector-left"
		profile = "arn:aws:signer:eu-west-1:111122223333:/signing-profiles/esc_connector_left"
		signing = "arn:aws:lambda:eu-west-1:111122223333:code-signing-config:csc-left"
	)
	all := []string{"the security group sg-left", "the bucket esc-connector-left", "the signing profile esc_connector_left", "the code signing configuration csc-left"}
	for name, c := range map[string]struct {
		state     map[string]any
		settings  map[string]string
		cancelled bool
		denied    bool
		want      []string
	}{
		"a new stack, of which an earlier state was lost": {want: all},
		"a stack that has its own": {state: map[string]any{"securityGroup": map[string]any{"arn": "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-own"},
			"archives": map[string]any{}, "signingProfile": map[string]any{}, "codeSigningConfig": map[string]any{}}},
		"a stack that has some of its own": {state: map[string]any{"securityGroup": map[string]any{}, "archives": map[string]any{}}, want: all[2:]},
		"without code signing":             {settings: map[string]string{"shop:codeSigning": "false"}, want: all[:1]},
		"a profile that was cancelled":     {cancelled: true, want: []string{all[0], all[1], all[3]}},
		"who may not ask":                  {denied: true},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			resources := written()
			for logicalName, outputs := range c.state {
				resources[logicalName] = outputs
			}
			cloud.answers[stateToken] = state(resources)
			answer := func(result map[string]any) func(resource.PropertyMap) (map[string]any, error) {
				return func(resource.PropertyMap) (map[string]any, error) { return result, nil }
			}
			if !c.denied {
				var found []any
				for _, arn := range []string{group, bucket, profile, signing, "arn:aws:lambda:eu-west-1:111122223333:function:f"} {
					found = append(found, map[string]any{"resourceArn": arn})
				}
				cloud.answers[taggedLookupToken] = answer(map[string]any{"resourceTagMappingLists": found})
			}
			cloud.answers[bucketLookupToken] = answer(map[string]any{})
			cloud.answers["aws:lambda/getCodeSigningConfig:getCodeSigningConfig"] = answer(map[string]any{})
			status := "Active"
			if c.cancelled {
				status = "Canceled"
			}
			cloud.answers[signingProfileLookupToken] = answer(map[string]any{"status": status})
			cloud.answers[rulesLookupToken] = answer(map[string]any{"ids": []any{"sgr-in", "sgr-out"}})
			cloud.answers[ruleLookupToken] = func(args resource.PropertyMap) (map[string]any, error) {
				if id := args["securityGroupRuleId"].StringValue(); id == "sgr-in" {
					return map[string]any{"securityGroupRuleId": id, "securityGroupId": "sg-database", "referencedSecurityGroupId": "sg-left"}, nil
				}
				return map[string]any{"securityGroupRuleId": "sgr-out", "securityGroupId": "sg-left", "referencedSecurityGroupId": "sg-database", "isEgress": true}, nil
			}
			require.NoError(t, run(t, cloud, minimal(c.settings), func(ctx *pulumi.Context, configuration Config) error {
				settings, err := ReadSettings(ctx, configuration)
				require.NoError(t, err)
				last, err := ReadLastState(ctx, settings)
				require.NoError(t, err)
				var names []string
				for _, left := range last.leftBehind(ctx, settings) {
					names = append(names, left.what)
					if left.what == all[0] {
						assert.Equal(t, []string{"ec2 revoke-security-group-ingress --region eu-west-1 --group-id sg-database --security-group-rule-ids sgr-in",
							"ec2 delete-security-group --region eu-west-1 --group-id sg-left"}, left.delete, "a rule of another group holds it")
					}
				}
				assert.Equal(t, c.want, names)
				return nil
			}))
		})
	}
}

// What has another stack's tags is that stack's, unless this one's state has the name: then it was called so before.
func TestWhatHasAnotherStacksTagsIsThatStacks(t *testing.T) {
	tagged := func(project, stack string) map[string]any {
		return map[string]any{"pulumi:project": project, "pulumi:stack": stack}
	}
	for name, c := range map[string]struct {
		tags  map[string]any
		state map[string]any
		want  string
	}{
		"this stack's":      {tags: tagged("shop", "dev")},
		"another's":         {tags: tagged("shop", "prod"), want: "prod of the project shop"},
		"another project's": {tags: tagged("store", "dev"), want: "dev of the project store"},
		"without tags, or without a right to them": {},
		"this stack's, from before it was renamed": {tags: tagged("shop", "prod"), state: map[string]any{"function": map[string]any{"name": "shop-prod-01234567"}}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			cloud.answers[stateToken] = state(c.state)
			cloud.answers["aws:iam/getRole:getRole"] = answer(map[string]any{"tags": c.tags})
			cloud.answers["aws:lambda/getFunction:getFunction"] = answer(map[string]any{"tags": c.tags})
			cloud.answers[logGroupLookupToken] = answer(map[string]any{"tags": c.tags})
			require.NoError(t, run(t, cloud, minimal(nil), func(ctx *pulumi.Context, configuration Config) error {
				settings, err := ReadSettings(ctx, configuration)
				require.NoError(t, err)
				last, err := ReadLastState(ctx, settings)
				require.NoError(t, err)
				taken, _ := last.remnants(ctx, settings)
				require.Len(t, taken, 4-len(c.state))
				for _, remnant := range taken {
					assert.Equal(t, c.want, remnant.owner, remnant.what)
				}
				return nil
			}))
		})
	}
}

// Of the rules with this stack's tags those are lost that an update would make again: about its own group, and in no entry of
// the state.
func TestLostRulesAreThoseThatAnUpdateWouldMakeAgain(t *testing.T) {
	rules := map[string]map[string]any{
		"sgr-out":   {"securityGroupId": "sg-own", "referencedSecurityGroupId": "sg-database", "isEgress": true},
		"sgr-in":    {"securityGroupId": "sg-database", "referencedSecurityGroupId": "sg-own"},
		"sgr-dns":   {"securityGroupId": "sg-own", "cidrIpv4": "10.0.0.2/32", "ipProtocol": "udp", "isEgress": true},
		"sgr-old":   {"securityGroupId": "sg-own", "referencedSecurityGroupId": "sg-database", "isEgress": true},
		"sgr-other": {"securityGroupId": "sg-database", "referencedSecurityGroupId": "sg-of-another-stack"},
	}
	own := map[string]any{"arn": "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-own"}
	tagged := func(outputs map[string]any, stack string) map[string]any {
		return map[string]any{"arn": outputs["arn"], "tags": map[string]any{"pulumi:project": "shop", "pulumi:stack": stack}}
	}
	for name, c := range map[string]struct {
		state    map[string]any
		settings map[string]string
		gone     []string
		want     []string
	}{
		"no group yet":              {},
		"all are lost":              {state: map[string]any{"securityGroup": own}, want: []string{"sgr-dns", "sgr-in", "sgr-out"}},
		"the state has one by name": {state: map[string]any{"securityGroup": own, "toDatabase": map[string]any{"securityGroupRuleId": "sgr-newer"}}, want: []string{"sgr-dns", "sgr-in"}},
		"the state has one by ID":   {state: map[string]any{"securityGroup": own, "toDatabase": map[string]any{"securityGroupRuleId": "sgr-out"}}, want: []string{"sgr-dns", "sgr-in"}},
		"the stack was renamed":     {state: map[string]any{"securityGroup": tagged(own, "old")}, want: []string{"sgr-dns", "sgr-in", "sgr-old", "sgr-out"}},
		"what it was to be made anew from is gone": {state: map[string]any{"securityGroup": own, "toDatabase": map[string]any{"securityGroupRuleId": "sgr-older"}},
			gone: []string{"sgr-older"}, want: []string{"sgr-dns", "sgr-in", "sgr-out"}},
		"another stack made the identity provider": {state: map[string]any{"securityGroup": own, "oidcProvider": tagged(own, "elsewhere")}, want: []string{"sgr-dns", "sgr-in", "sgr-out"}},
		"another tool lets it in":                  {state: map[string]any{"securityGroup": own}, settings: map[string]string{"shop:manageDatabaseIngress": "false"}, want: []string{"sgr-dns", "sgr-out"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			resources := written()
			for logicalName, outputs := range c.state {
				resources[logicalName] = outputs
			}
			cloud.answers[stateToken] = state(resources)
			cloud.answers[rulesLookupToken] = func(args resource.PropertyMap) (map[string]any, error) {
				tags := args["tags"].ObjectValue().Mappable()
				assert.Equal(t, "shop", tags["pulumi:project"])
				if tags["pulumi:stack"] == "old" {
					return map[string]any{"ids": []any{"sgr-old"}}, nil
				}
				assert.Equal(t, "dev", tags["pulumi:stack"])
				return map[string]any{"ids": []any{"sgr-dns", "sgr-in", "sgr-other", "sgr-out"}}, nil
			}
			cloud.answers[ruleLookupToken] = func(args resource.PropertyMap) (map[string]any, error) {
				id := args["securityGroupRuleId"].StringValue()
				found := map[string]any{"securityGroupRuleId": id}
				for key, value := range rules[id] {
					found[key] = value
				}
				return found, nil
			}
			require.NoError(t, run(t, cloud, minimal(c.settings), func(ctx *pulumi.Context, configuration Config) error {
				settings, err := ReadSettings(ctx, configuration)
				require.NoError(t, err)
				last, err := ReadLastState(ctx, settings)
				require.NoError(t, err)
				var ids []string
				for _, rule := range last.lostRules(ctx, settings, c.gone) {
					ids = append(ids, rule.SecurityGroupRuleId)
				}
				slices.Sort(ids)
				assert.Equal(t, c.want, ids)
				return nil
			}))
		})
	}
}

// What the state has and AWS does not is named, and no more: a question that fails says nothing.
func TestWhatIsGoneFromAWSIsNamed(t *testing.T) {
	const signing = "aws:lambda/getCodeSigningConfig:getCodeSigningConfig"
	fails := func(words string) func(resource.PropertyMap) (map[string]any, error) {
		return func(resource.PropertyMap) (map[string]any, error) { return nil, errors.New(words) }
	}
	type answers = map[string]func(resource.PropertyMap) (map[string]any, error)
	there := answers{
		"aws:iam/getRole:getRole":            answer(map[string]any{}),
		"aws:lambda/getFunction:getFunction": answer(map[string]any{}),
		logGroupLookupToken:                  answer(map[string]any{}),
		securityGroupLookupToken:             answer(map[string]any{}),
		bucketLookupToken:                    answer(map[string]any{}),
		signingProfileLookupToken:            answer(map[string]any{"status": "Active"}),
		signing:                              answer(map[string]any{}),
		rulesLookupToken: func(args resource.PropertyMap) (map[string]any, error) {
			if args["tags"].IsObject() {
				return map[string]any{"ids": []any{}}, nil
			}
			assert.Equal(t, []any{map[string]any{"name": "security-group-rule-id", "values": []any{"sgr-1", "sgr-2"}}}, args["filters"].Mappable())
			return map[string]any{"ids": []any{"sgr-1", "sgr-2"}}, nil
		},
	}
	for name, c := range map[string]struct {
		answers answers
		want    []string
	}{
		"nothing": {},
		"each": {answers{
			"aws:iam/getRole:getRole":            fails("reading IAM Role: NoSuchEntity: The role cannot be found."),
			"aws:lambda/getFunction:getFunction": fails("reading Lambda Function (f): ResourceNotFoundException: Function not found"),
			logGroupLookupToken:                  fails("reading CloudWatch Logs Log Group (g): couldn't find resource"),
			securityGroupLookupToken:             fails("no matching EC2 Security Group found"),
			bucketLookupToken:                    fails("reading S3 Bucket (b): couldn't find resource"),
			signingProfileLookupToken:            fails("reading Signer Signing Profile (p): ResourceNotFoundException"),
			signing:                              fails("reading Lambda Code Signing Config (c): ResourceNotFoundException"),
			rulesLookupToken: func(args resource.PropertyMap) (map[string]any, error) {
				if args["tags"].IsObject() {
					return map[string]any{"ids": []any{}}, nil
				}
				return map[string]any{"ids": []any{"sgr-2"}}, nil
			},
		}, []string{"the function shop-dev-862e37e7", "the role shop-dev-run-862e37e7", "the role shop-dev-invoke-862e37e7",
			"the log group /aws/lambda/shop-dev-862e37e7", "the security group sg-1", "the bucket esc-connector-1", "the signing profile esc_connector_1",
			"the code signing configuration csc-1", "the security group rule sgr-1"}},
		"a profile that was cancelled": {answers{signingProfileLookupToken: answer(map[string]any{"status": "Canceled"})},
			[]string{"the signing profile esc_connector_1"}},
		"who may not ask": {answers{
			"aws:iam/getRole:getRole":            fails("AccessDenied: not authorized to perform: iam:GetRole"),
			"aws:lambda/getFunction:getFunction": fails("AccessDeniedException: not authorized to perform: lambda:GetFunction"),
			logGroupLookupToken:                  fails("AccessDeniedException: not authorized to perform: logs:DescribeLogGroups"),
			securityGroupLookupToken:             fails("UnauthorizedOperation: You are not authorized to perform this operation"),
			bucketLookupToken:                    fails("reading S3 Bucket (b): operation error S3: HeadBucket, https response error StatusCode: 403"),
			signingProfileLookupToken:            fails("AccessDeniedException: not authorized to perform: signer:GetSigningProfile"),
			signing:                              fails("AccessDeniedException: not authorized to perform: lambda:GetCodeSigningConfig"),
			rulesLookupToken:                     fails("UnauthorizedOperation: You are not authorized to perform this operation"),
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			resources := written()
			resources["executionRole"] = map[string]any{"name": "shop-dev-run-862e37e7"}
			resources["invocationRole"] = map[string]any{"name": "shop-dev-invoke-862e37e7"}
			resources["logs"] = map[string]any{"name": "/aws/lambda/shop-dev-862e37e7"}
			resources["securityGroup"] = map[string]any{"arn": "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1"}
			resources["toDatabase"] = map[string]any{"securityGroupRuleId": "sgr-2"}
			resources["archives"] = map[string]any{"arn": "arn:aws:s3:::esc-connector-1"}
			resources["signingProfile"] = map[string]any{"arn": "arn:aws:signer:eu-west-1:111122223333:/signing-profiles/esc_connector_1"}
			resources["codeSigningConfig"] = map[string]any{"arn": "arn:aws:lambda:eu-west-1:111122223333:code-signing-config:csc-1"}
			cloud.answers[stateToken] = func(args resource.PropertyMap) (map[string]any, error) {
				answer, err := state(resources)(args)
				answer["outputs"].(map[string]any)["urn:pulumi:dev::shop::"+ingressRuleToken+"::fromConnector"] =
					map[string]any{"outputs": map[string]any{"securityGroupRuleId": "sgr-1"}}
				answer["outputs"].(map[string]any)["urn:pulumi:dev::shop::"+ingressRuleToken+"::theirs"] =
					map[string]any{"outputs": map[string]any{"securityGroupRuleId": "sgr-theirs"}}
				return answer, err
			}
			maps.Copy(cloud.answers, there)
			maps.Copy(cloud.answers, c.answers)
			require.NoError(t, run(t, cloud, minimal(nil), func(ctx *pulumi.Context, configuration Config) error {
				settings, err := ReadSettings(ctx, configuration)
				require.NoError(t, err)
				last, err := ReadLastState(ctx, settings)
				require.NoError(t, err)
				taken, gone := last.remnants(ctx, settings)
				assert.Empty(t, taken)
				assert.Equal(t, c.want, gone)
				return nil
			}))
		})
	}
}
