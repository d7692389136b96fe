package infra

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"esc-connector-lambda-go/infra/archive"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheFunctionIsMadeAsAWSAsksForIt(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(nil)))
	const interfaces = `["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
		"ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]`
	name := c.input("function", "name")
	assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [
		{"Sid": "WriteLogs", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
			"Resource": ["arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/`+name+`:*"]},
		{"Sid": "NetworkInterfaces", "Effect": "Allow", "Action": `+interfaces+`, "Resource": ["*"]},
		{"Sid": "NoNetworkInterfacesForTheCode", "Effect": "Deny", "Action": `+interfaces+`, "Resource": ["*"], "Condition":
			{"ArnEquals": {"lambda:SourceFunctionArn": "arn:aws:lambda:eu-west-1:111122223333:function:`+name+`"}}}]}`,
		c.input("executionPolicy", "policy"))

	function := c.registered["function"]
	for property, want := range map[resource.PropertyKey]any{
		"runtime": "provided.al2023", "handler": "bootstrap", "architectures": []any{"x86_64"}, "timeout": 30.0, "memorySize": 256.0,
		"loggingConfig":                  map[string]any{"logFormat": "JSON", "logGroup": c.input("logs", "name")},
		"replaceSecurityGroupsOnDestroy": true,
		"role":                           "arn:aws:iam::111122223333:role/" + c.input("executionRole", "name"),
	} {
		assert.Equal(t, want, function.Inputs[property].Mappable(), property)
	}
	assert.NotContains(t, function.Inputs, resource.PropertyKey("reservedConcurrentExecutions"))
	var first []string
	for _, urn := range function.RegisterRPC.GetDependencies() {
		first = append(first, urn[strings.LastIndex(urn, "::")+2:])
	}
	assert.Subset(t, first, []string{"logs", "executionPolicy", "toDatabase", "fromConnector"},
		"there before the function is made, and until after it is deleted")
	assert.Equal(t, "1h", c.registered["securityGroup"].RegisterRPC.GetCustomTimeouts().GetDelete(), "network interfaces outlive the function")
}

// A replacement that was made first would be refused where AWS knows the old one by the same name or content, or would go with it.
func TestWhatKeepsItsNameIsDeletedBeforeItIsReplaced(t *testing.T) {
	named := []string{"securityGroup", "archives", "signingProfile", "codeSigningConfig"} // anew by AWS or the provider
	none := []string{"signingJob", "oidcProvider"}                                        // are not deleted
	c := iamCluster(true)
	require.NoError(t, deploy(t, c, byIAM(map[string]string{"shop:alarmTopicArn": "arn:aws:sns:eu-west-1:111122223333:alarms"})))
	for name, registered := range c.registered {
		if strings.HasPrefix(registered.TypeToken, "aws:") {
			assert.Equal(t, !slices.Contains(append(named, none...), name), registered.RegisterRPC.GetDeleteBeforeReplace(), name)
		}
	}
}

func TestTheNetworkReachesTheDatabaseAndNothingElse(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(nil)))
	assert.NotContains(t, c.registered["securityGroup"].Inputs, resource.PropertyKey("egress"))
	for name, want := range map[string][2]string{
		"toDatabase":    {"securityGroup-id", "sg-database"},
		"fromConnector": {"sg-database", "securityGroup-id"},
	} {
		rule := c.registered[name].Inputs
		assert.Equal(t, want[0], rule["securityGroupId"].StringValue(), name)
		assert.Equal(t, want[1], rule["referencedSecurityGroupId"].StringValue(), name)
		assert.Equal(t, "tcp", rule["ipProtocol"].StringValue(), name)
		assert.InDelta(t, 5432, rule["fromPort"].NumberValue(), 0, name)
		assert.InDelta(t, 5432, rule["toPort"].NumberValue(), 0, name)
	}
}

func TestTheDatabasesGroupStaysWhileTheDatabaseHasIt(t *testing.T) {
	for before, want := range map[string]string{"sg-second": "sg-second", "sg-gone": "sg-first", "": "sg-first"} {
		c := newCloud()
		lookup := c.answers[clusterToken]
		c.answers[clusterToken] = func(args resource.PropertyMap) (map[string]any, error) {
			found, err := lookup(args)
			found["vpcSecurityGroupIds"] = []any{"sg-first", "sg-second"}
			return found, err
		}
		stood := written()
		stood["toDatabase"] = map[string]any{"referencedSecurityGroupId": before}
		c.answers[stateToken] = state(stood)
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Equal(t, want, c.input("toDatabase", "referencedSecurityGroupId"))
		assert.Equal(t, want, c.input("fromConnector", "securityGroupId"))
	}
}

// Amazon's DNS servers need no rule, and others do.
func TestTheFunctionReachesTheVPCsOwnNameServers(t *testing.T) {
	c := newCloud()
	c.answers[vpcToken] = answer(map[string]any{"enableDnsSupport": true, "instanceTenancy": "default", "dhcpOptionsId": "dopt-1"})
	c.answers[dhcpOptionsToken] = answer(map[string]any{"domainNameServers": []any{"10.0.0.2", "AmazonProvidedDNS", "fd00::2", "10.0.0.2", "169.254.169.253", "fd00:ec2::253"}})
	require.NoError(t, deploy(t, c, minimal(nil)))
	var rules []string
	for name, registered := range c.registered {
		if rule := registered.Inputs; strings.HasPrefix(name, "toNameServer") {
			assert.InDelta(t, 53, rule["fromPort"].NumberValue(), 0)
			assert.InDelta(t, 53, rule["toPort"].NumberValue(), 0)
			rules = append(rules, fmt.Sprint(name, " ", rule["ipProtocol"].V, " ", rule["cidrIpv4"].V, " ", rule["cidrIpv6"].V))
		}
	}
	assert.ElementsMatch(t, []string{
		"toNameServer-udp-10-0-0-2 udp 10.0.0.2/32 <nil>", "toNameServer-tcp-10-0-0-2 tcp 10.0.0.2/32 <nil>",
		"toNameServer-udp-fd00--2 udp <nil> fd00::2/128", "toNameServer-tcp-fd00--2 tcp <nil> fd00::2/128",
	}, rules)

	c = newCloud() // a database at an address, in the same VPC
	c.answers[vpcToken] = answer(map[string]any{"enableDnsSupport": true, "instanceTenancy": "default", "dhcpOptionsId": "dopt-1"})
	require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:databaseHost": "10.0.0.9"})))
	assert.NotContains(t, c.asked, dhcpOptionsToken)
}

// At the end the function's interfaces move to the VPC's default group, which belongs to the VPC's owner. The provider is told which that
// is: it would look for it by the VPC in the state, where a function whose creation failed has none.
func TestAFunctionMovesToTheVPCsDefaultGroupAtItsEndUnlessTheVPCIsShared(t *testing.T) {
	for owner, own := range map[string]bool{"111122223333": true, "999999999999": false} {
		c := newCloud()
		c.answers[vpcToken] = answer(map[string]any{"enableDnsSupport": true, "instanceTenancy": "default", "ownerId": owner})
		if !own { // a participant does not see it
			c.answers[securityGroupLookupToken] = func(resource.PropertyMap) (map[string]any, error) {
				return nil, errors.New("no matching EC2 Security Group found")
			}
		}
		require.NoError(t, deploy(t, c, minimal(nil)))
		function := c.registered["function"].Inputs
		assert.Equal(t, own, function["replaceSecurityGroupsOnDestroy"].BoolValue(), owner)
		if own {
			assert.Equal(t, []any{"sg-default-of-vpc-1"}, function["replacementSecurityGroupIds"].Mappable())
		} else {
			assert.NotContains(t, function, resource.PropertyKey("replacementSecurityGroupIds"))
		}
	}
	c := newCloud()
	c.answers[securityGroupLookupToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("UnauthorizedOperation: You are not authorized to perform this operation")
	}
	require.ErrorContains(t, deploy(t, c, minimal(nil)), "needs the IAM permission ec2:DescribeSecurityGroups")
	assert.Empty(t, c.registered)
}

// Variables are encrypted by a grant of the execution role's, so that there are none without need.
func TestTheFunctionHasNoVariablesForDefaults(t *testing.T) {
	variables := func(before map[string]any, settings map[string]string) any {
		d := &deployment{settings: &Settings{SSLMode: settings["mode"]}, last: &LastState{resources: map[string]resourceOutputs{
			"function": {Environment: map[string]any{"variables": before}}, "schedule": {Environment: "orders"},
		}}}
		environment := d.environment(&archive.Archive{CAFile: settings["ca"]})
		if environment == nil {
			return nil
		}
		return environment.(lambda.FunctionEnvironmentArgs).Variables
	}
	file := map[string]any{"DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": "database-ca.pem"}
	assert.Nil(t, variables(nil, map[string]string{"mode": "verify-full"}))
	assert.Nil(t, variables(nil, map[string]string{"mode": "verify-full", "ca": "database-ca.pem"}))
	assert.Equal(t, pulumi.StringMap{"DB_SSLMODE": pulumi.String("require")}, variables(nil, map[string]string{"mode": "require"}))
	assert.Equal(t, pulumi.StringMap{"DB_SSLROOTCERT": pulumi.String("database-ca.pem")},
		variables(file, map[string]string{"mode": "verify-full", "ca": "database-ca.pem"}), "the code that is there needs it yet")
	assert.Nil(t, variables(file, map[string]string{"mode": "verify-full"}))
}

// In a VPC that accounts share, the database's group may be another account's: it is named by both, and its rules are the other's.
func TestASecurityGroupOfAnotherAccount(t *testing.T) {
	settings := func(group string, further map[string]string) map[string]string {
		all := map[string]string{"shop:databaseSecurityGroupId": group}
		maps.Copy(all, further)
		return minimal(all)
	}
	const foreign = "999999999999/sg-0123456789abcdef0"
	c := newCloud()
	err := deploy(t, c, settings(foreign, nil))
	require.ErrorContains(t, err, "pulumi config set shop:manageDatabaseIngress false")
	require.ErrorContains(t, err, "sg-0123456789abcdef0 belongs to the AWS account 999999999999")
	assert.Empty(t, c.registered)

	c = newCloud()
	require.NoError(t, deploy(t, c, settings(foreign, map[string]string{"shop:manageDatabaseIngress": "false"})))
	assert.Equal(t, foreign, c.input("toDatabase", "referencedSecurityGroupId"))

	c = newCloud() // this account's own, written the same way
	require.NoError(t, deploy(t, c, settings("111122223333/sg-0123456789abcdef0", nil)))
	assert.Equal(t, "sg-0123456789abcdef0", c.input("fromConnector", "securityGroupId"))

	c = newCloud() // without its account it is not found
	c.answers[securityGroupLookupToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("no matching EC2 Security Group found")
	}
	err = deploy(t, c, settings("sg-0123456789abcdef0", nil))
	require.ErrorContains(t, err, "pulumi config set shop:databaseSecurityGroupId <account>/sg-0123456789abcdef0")
	assert.Empty(t, c.registered)
}
