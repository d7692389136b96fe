package infra

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"esc-connector-lambda-go/lambda/rdsca"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deploy runs all steps but the compilation.
func deploy(t *testing.T, c *cloud, settings map[string]string) error {
	t.Helper()
	return run(t, c, settings, func(ctx *pulumi.Context, configuration Config) error {
		settings, err := ReadSettings(ctx, configuration)
		if err != nil {
			return err
		}
		last, err := ReadLastState(ctx, settings)
		if err != nil {
			return err
		}
		site, err := FindSite(ctx, settings, last)
		if err != nil {
			return err
		}
		archive := &Archive{Path: "testdata/none.zip", SHA256: "c2hh", Architecture: "x86_64"}
		_, err = DeployConnector(ctx, settings, last, site, archive)
		return err
	})
}

const oidcToken = "aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider"

func answer(result map[string]any) func(resource.PropertyMap) (map[string]any, error) {
	return func(resource.PropertyMap) (map[string]any, error) { return result, nil }
}

func (c *cloud) input(name, property string) string {
	return c.registered[name].Inputs[resource.PropertyKey(property)].StringValue()
}

func TestTheInvocationRoleTrustsTheManagingEnvironmentAlone(t *testing.T) {
	for environment, want := range map[string]struct{ audience, subject string }{
		"shop/orders":    {"aws:acme", "pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:shop/ordersManagingCreds"},
		"default/orders": {"acme", "pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:ordersManagingCreds"},
	} {
		c := newCloud()
		require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:rotatedSecretsEnvironmentName": environment})))
		assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{
			"Effect": "Allow",
			"Action": ["sts:AssumeRoleWithWebIdentity"],
			"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/api.pulumi.com/oidc"},
			"Condition": {"StringEquals": {
				"api.pulumi.com/oidc:aud": "`+want.audience+`",
				"api.pulumi.com/oidc:sub": "`+want.subject+`"
			}}}]}`, c.input("invocationRole", "assumeRolePolicy"))
		assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{
			"Sid": "InvokeConnector", "Effect": "Allow",
			"Action": ["lambda:InvokeFunction", "lambda:GetFunction"],
			"Resource": ["`+"arn:aws:lambda:eu-west-1:111122223333:function:"+c.input("function", "name")+`"]}]}`,
			c.input("invocationPolicy", "policy"))
	}
}

func TestAnExistingOIDCProvider(t *testing.T) {
	const arn = "arn:aws:iam::111122223333:oidc-provider/api.pulumi.com/oidc"
	provider := func(tags map[string]any, audiences ...any) map[string]any {
		return map[string]any{"arn": arn, "clientIdLists": audiences, "tags": tags, "thumbprintLists": []any{"abc"}}
	}
	ours := map[string]any{providerTag: "oidc-provider"}

	t.Run("none yet: created with both audiences, and kept at destroy", func(t *testing.T) {
		c := newCloud()
		require.NoError(t, deploy(t, c, minimal(nil)))
		created := c.registered["oidcProvider"]
		assert.Equal(t, []any{"aws:acme", "acme"}, created.Inputs["clientIdLists"].Mappable())
		assert.Equal(t, "https://api.pulumi.com/oidc", created.Inputs["url"].StringValue())
		assert.Contains(t, created.Inputs["tags"].ObjectValue(), resource.PropertyKey(providerTag))
		assert.True(t, created.RegisterRPC.GetRetainOnDelete())
		assert.Empty(t, created.RegisterRPC.GetImportId())
	})
	t.Run("ours: imported as it is", func(t *testing.T) {
		c := newCloud()
		c.answers[oidcToken] = answer(provider(ours, "aws:acme", "other"))
		require.NoError(t, deploy(t, c, minimal(nil)))
		imported := c.registered["oidcProvider"]
		assert.Equal(t, arn, imported.RegisterRPC.GetImportId())
		assert.Equal(t, []any{"aws:acme", "other"}, imported.Inputs["clientIdLists"].Mappable())
		assert.True(t, imported.RegisterRPC.GetRetainOnDelete())
	})
	t.Run("another's with the audience: used", func(t *testing.T) {
		c := newCloud()
		c.answers[oidcToken] = answer(provider(nil, "x", "aws:acme"))
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.NotContains(t, c.registered, "oidcProvider")
		assert.Contains(t, c.input("invocationRole", "assumeRolePolicy"), `"Federated":"`+arn+`"`)
	})
	t.Run("without the audience: the command that adds it, and nothing is created", func(t *testing.T) {
		for _, tags := range []map[string]any{nil, ours} {
			c := newCloud()
			c.answers[oidcToken] = answer(provider(tags, "acme"))
			err := deploy(t, c, minimal(nil))
			require.Error(t, err)
			assert.Contains(t, err.Error(),
				"aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn "+arn+" --client-id aws:acme")
			assert.Empty(t, c.registered)
		}
	})
	t.Run("not allowed to look: the action that is missing", func(t *testing.T) {
		c := newCloud()
		c.answers[oidcToken] = func(resource.PropertyMap) (map[string]any, error) {
			return nil, fmt.Errorf("AccessDenied: User: x is not authorized to perform: iam:ListOpenIDConnectProviders on resource: y")
		}
		err := deploy(t, c, minimal(nil))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "needs the IAM permission iam:ListOpenIDConnectProviders")
		assert.Empty(t, c.registered)
	})
}

func TestOnlyAnAnswerOfAWSTellsThatSomethingIsNotThere(t *testing.T) {
	for _, there := range []string{
		"NoSuchEntity: OpenIDConnect Provider not found for arn", "InvalidSubnetID.NotFound: The subnet ID 'subnet-a' does not exist",
		"no matching EC2 Subnet found", "DBClusterNotFoundFault: DBCluster x not found.",
	} {
		assert.True(t, isNotFound(errors.New(there)), there)
	}
	for _, unknown := range []string{
		"dial tcp: lookup iam.amazonaws.com: no such host",
		"no valid credential sources for aws found: no EC2 IMDS role found, http response error StatusCode: 404",
		"AccessDenied: not authorized to perform: iam:GetOpenIDConnectProvider, which was not found in a policy",
		"Throttling: Rate exceeded",
	} {
		assert.False(t, isNotFound(errors.New(unknown)), unknown)
	}
	c := newCloud()
	c.answers[oidcToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("dial tcp: lookup iam.amazonaws.com: no such host")
	}
	require.ErrorContains(t, deploy(t, c, minimal(nil)), "looking for the OIDC identity provider")
	assert.Empty(t, c.registered)
}

func TestEnginesAndTheirRotators(t *testing.T) {
	for engine, want := range map[string]string{
		"postgres": "postgres", "aurora-postgresql": "postgres",
		"mysql": "mysql", "aurora-mysql": "mysql", "aurora": "mysql", "mariadb": "mysql",
		"oracle-ee": "", "sqlserver-se": "", "db2-se": "", "custom-oracle-ee": "", "docdb": "", "neptune": "",
	} {
		assert.Equal(t, want, rotators[engine], engine)
	}
	c := newCloud()
	c.answers[clusterToken] = answer(map[string]any{"engine": "docdb", "endpoint": "h", "port": 27017,
		"dbSubnetGroupName": "g", "vpcSecurityGroupIds": []any{"sg"}})
	err := deploy(t, c, minimal(nil))
	require.Error(t, err)
	assert.Contains(t, err.Error(), `"docdb"`)
	assert.Empty(t, c.registered)
}

func TestADatabaseThatIsNotThereIsNotThoughtForbidden(t *testing.T) {
	c := newCloud()
	err := deploy(t, c, minimal(map[string]string{"shop:rdsDbIdentifier": "invoices"}))
	require.Error(t, err)
	assert.Contains(t, err.Error(), `rdsDbIdentifier "invoices": there is no RDS cluster or instance of that name in eu-west-1`)
	assert.Contains(t, err.Error(), "aws rds describe-db-clusters --region eu-west-1")
	assert.Empty(t, c.registered)

	c.answers[clustersToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, fmt.Errorf("api error AccessDenied: User: arn:x is not authorized to perform: rds:DescribeDBClusters")
	}
	err = deploy(t, c, minimal(nil))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "there is no RDS cluster")
	assert.Contains(t, err.Error(), "needs the IAM permission rds:DescribeDBClusters")
}

func TestAnInstanceOfAClusterStandsForItsCluster(t *testing.T) {
	c := newCloud()
	c.answers[clustersToken] = answer(map[string]any{"clusterIdentifiers": []any{}})
	c.answers[instancesToken] = answer(map[string]any{"instanceIdentifiers": []any{"orders-1"}})
	c.answers[instanceToken] = answer(map[string]any{"dbClusterIdentifier": "orders", "engine": "aurora-postgresql",
		"address": "orders-1.abc.eu-west-1.rds.amazonaws.com", "port": 5432})
	found := lookUp(t, c, "orders-1")
	assert.Equal(t, "orders.cluster-abc.eu-west-1.rds.amazonaws.com", found.host, "the writer's endpoint")
	assert.Equal(t, `cluster "orders"`, found.String())
}

// lookUp asks RDS for a database, and for the members of a cluster.
func lookUp(t *testing.T, c *cloud, identifier string) *record {
	t.Helper()
	var found *record
	require.NoError(t, run(t, c, minimal(map[string]string{"shop:rdsDbIdentifier": identifier}), func(ctx *pulumi.Context, configuration Config) error {
		settings, err := ReadSettings(ctx, configuration)
		if err != nil {
			return err
		}
		if found, err = find(ctx, settings); err != nil {
			return err
		}
		return found.askMembers(ctx)
	}))
	return found
}

func TestADatabaseThatIsPubliclyAccessibleGetsAWarning(t *testing.T) {
	c := newCloud()
	cluster := map[string]any{"engine": "aurora-postgresql", "clusterMembers": []any{"orders-1", "orders-2", "orders-gone"}}
	c.answers[clusterToken] = answer(cluster)
	c.answers[instanceToken] = func(args resource.PropertyMap) (map[string]any, error) {
		switch id := args["dbInstanceIdentifier"].StringValue(); id {
		case "orders-1":
			return map[string]any{"publiclyAccessible": false}, nil
		case "orders-2":
			return map[string]any{"publiclyAccessible": true}, nil
		default:
			return nil, fmt.Errorf("DBInstanceNotFound: DBInstance %s not found", id)
		}
	}
	assert.Equal(t, []string{`the instance "orders-2" of the cluster "orders" is publicly accessible. ` +
		`The connector reaches it inside its VPC, and does not need that`}, lookUp(t, c, "orders").warnings(&Settings{}, "aws"))

	c.answers[clustersToken] = answer(map[string]any{"clusterIdentifiers": []any{}})
	c.answers[instancesToken] = answer(map[string]any{"instanceIdentifiers": []any{"orders-2"}})
	warnings := lookUp(t, c, "orders-2").warnings(&Settings{}, "aws")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], `the instance "orders-2" is publicly accessible`)
}

func TestLessThanVerifiedTLSGetsAWarning(t *testing.T) {
	for mode, says := range map[string]string{"disable": "can be read on the network", "require": "can pose as the database"} {
		warnings := (&record{}).warnings(&Settings{SSLMode: mode, DatabaseHost: "db.example"}, "aws")
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "databaseSslMode is "+mode)
		assert.Contains(t, warnings[0], says)
		assert.Contains(t, warnings[0], "pulumi config set databaseCaFile")
	}
	assert.Empty(t, (&record{}).warnings(&Settings{SSLMode: "verify-full", DatabaseHost: "db.example"}, "aws"))
}

func TestAReadReplicaGetsAWarning(t *testing.T) {
	c := newCloud()
	c.answers[clustersToken] = answer(map[string]any{"clusterIdentifiers": []any{}})
	c.answers[instancesToken] = answer(map[string]any{"instanceIdentifiers": []any{"copy"}})
	c.answers[instanceToken] = answer(map[string]any{"engine": "postgres", "replicateSourceDb": "orders"})
	replica := lookUp(t, c, "copy")
	assert.Equal(t, []string{`the instance "copy" is a read replica of orders, where passwords are changed: set rdsDbIdentifier to that one`},
		replica.warnings(&Settings{}, "aws"))
	assert.Empty(t, replica.warnings(&Settings{DatabaseHost: "writer.example"}, "aws"))
}

func TestAClusterWithoutInstancesGetsAWarning(t *testing.T) {
	c := newCloud()
	empty := lookUp(t, c, "orders")
	assert.Equal(t, []string{`the cluster "orders" has no instance, so that nothing answers at its endpoint: rotations fail until it has one.
  If it is not being made just now: aws rds create-db-instance --db-cluster-identifier orders, or another rdsDbIdentifier`},
		empty.warnings(&Settings{}, "aws"))
	assert.Empty(t, empty.warnings(&Settings{DatabaseHost: "elsewhere.example"}, "aws"))
}

func TestARefusedLookupIsToldOnce(t *testing.T) {
	c := newCloud()
	c.answers[subnetToken] = func(args resource.PropertyMap) (map[string]any, error) {
		return nil, fmt.Errorf("api error UnauthorizedOperation: User: arn:aws:iam::111122223333:user/u is not authorized to perform: ec2:DescribeSubnets. "+
			"Encoded authorization failure message: %[1]s-encoded, RequestID: %[1]s", args["id"].StringValue())
	}
	err := deploy(t, c, minimal(nil))
	require.ErrorContains(t, err, "reading the subnets: ")
	assert.Equal(t, 1, strings.Count(err.Error(), "needs the IAM permission ec2:DescribeSubnets"), err)
}

func TestAPermissionsBoundaryOfAnotherAccountIsRefused(t *testing.T) {
	c := newCloud()
	boundary := func(arn string) error {
		return deploy(t, c, minimal(map[string]string{"shop:permissionsBoundaryArn": arn}))
	}
	err := boundary("arn:aws:iam::444455556666:policy/boundary")
	require.ErrorContains(t, err, "the policy belongs to the AWS account 444455556666, but these credentials are of 111122223333")
	require.ErrorContains(t, err, "pulumi config set shop:permissionsBoundaryArn <arn>")
	assert.Empty(t, c.registered)
	require.NoError(t, boundary("arn:aws:iam::aws:policy/PowerUserAccess"))
}

func TestIndependentLookupsAreUnderWayAtTheSameTime(t *testing.T) {
	c := newCloud()
	first := []string{callerIdentityToken, partitionToken, clustersToken, instancesToken, oidcToken, signingProfileLookupToken}
	var waiting sync.WaitGroup
	waiting.Add(len(first))
	all := make(chan struct{})
	go func() { waiting.Wait(); close(all) }()
	for _, token := range first {
		answer := c.answers[token]
		c.answers[token] = func(args resource.PropertyMap) (map[string]any, error) {
			waiting.Done()
			select {
			case <-all:
				return answer(args)
			case <-t.Context().Done():
				return nil, t.Context().Err()
			case <-time.After(time.Minute):
				return nil, fmt.Errorf("AccessDenied: %s was asked for before the others were", token)
			}
		}
	}
	require.NoError(t, deploy(t, c, minimal(nil)))
}

func TestAllThatAWSRefusesIsReportedAtOnce(t *testing.T) {
	refuse := func(action string) func(resource.PropertyMap) (map[string]any, error) {
		return func(resource.PropertyMap) (map[string]any, error) {
			return nil, fmt.Errorf("AccessDenied: User: x is not authorized to perform: %s on resource: *", action)
		}
	}
	c := newCloud()
	c.answers[clustersToken] = refuse("rds:DescribeDBClusters")
	c.answers[oidcToken] = refuse("iam:ListOpenIDConnectProviders")
	c.answers[signingProfileLookupToken] = refuse("signer:GetSigningProfile")
	err := deploy(t, c, minimal(nil))
	require.Error(t, err)
	for _, action := range []string{"rds:DescribeDBClusters", "iam:ListOpenIDConnectProviders", "signer:GetSigningProfile"} {
		assert.Contains(t, err.Error(), "needs the IAM permission "+action)
	}
	assert.Empty(t, c.registered)

	c.answers[callerIdentityToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("ExpiredToken: The security token included in the request is expired")
	}
	c.answers[partitionToken] = c.answers[callerIdentityToken]
	err = deploy(t, c, minimal(nil))
	require.ErrorContains(t, err, "Log in to AWS first")
	assert.Equal(t, 1, strings.Count(err.Error(), "ExpiredToken"))
	assert.NotContains(t, err.Error(), "rds:", "without an account nothing else counts")
}

func TestSubnetsOfTheFunction(t *testing.T) {
	subnets := func(c *cloud, found map[string]map[string]any) {
		ids := []any{}
		for id := range found {
			ids = append(ids, id)
		}
		c.answers[subnetGroupToken] = answer(map[string]any{"subnetIds": ids, "vpcId": "vpc-1"})
		c.answers[subnetToken] = func(args resource.PropertyMap) (map[string]any, error) {
			id := args["id"].StringValue()
			if found[id] == nil {
				return nil, fmt.Errorf("InvalidSubnetID.NotFound: The subnet ID '%s' does not exist", id)
			}
			found[id]["id"] = id
			return found[id], nil
		}
	}
	chosen := func(c *cloud) []any {
		return c.registered["function"].Inputs["vpcConfig"].ObjectValue()["subnetIds"].Mappable().([]any)
	}

	t.Run("gone, full and IPv6-only ones are left out", func(t *testing.T) {
		c := newCloud()
		subnets(c, map[string]map[string]any{
			"subnet-good": {"availabilityZone": "a", "availableIpAddressCount": 3},
			"subnet-gone": nil,
			"subnet-full": {"availabilityZone": "b", "availableIpAddressCount": 0},
			"subnet-six":  {"availabilityZone": "c", "ipv6Native": true, "ipv6CidrBlock": "fd00::/64"},
		})
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Equal(t, []any{"subnet-good"}, chosen(c))
	})
	t.Run("a full one that the function is in already stays", func(t *testing.T) {
		c := newCloud()
		stood := written()
		stood["function"].(map[string]any)["vpcConfig"] = map[string]any{"subnetIds": []any{"subnet-mine"}}
		c.answers[stateToken] = state(stood)
		subnets(c, map[string]map[string]any{
			"subnet-mine":  {"availabilityZone": "a", "availableIpAddressCount": 0},
			"subnet-other": {"availabilityZone": "b", "availableIpAddressCount": 0},
		})
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Equal(t, []any{"subnet-mine"}, chosen(c))
	})
	t.Run("none left", func(t *testing.T) {
		c := newCloud()
		subnets(c, map[string]map[string]any{"subnet-gone": nil})
		err := deploy(t, c, minimal(nil))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "the subnet subnet-gone is gone")
		assert.Empty(t, c.registered)
	})
	t.Run("at most 16, of every zone", func(t *testing.T) {
		c := newCloud()
		many := map[string]map[string]any{}
		for i := range 20 {
			many[fmt.Sprintf("subnet-a%02d", i)] = map[string]any{"availabilityZone": "a"}
		}
		many["subnet-b"] = map[string]any{"availabilityZone": "b"}
		many["subnet-c"] = map[string]any{"availabilityZone": "c"}
		subnets(c, many)
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Len(t, chosen(c), 16)
		assert.Contains(t, chosen(c), "subnet-b")
		assert.Contains(t, chosen(c), "subnet-c")
	})
	t.Run("dual-stack when every one is", func(t *testing.T) {
		for ipv6, want := range map[string]bool{"": false, "fd00::/64": true} {
			c := newCloud()
			subnets(c, map[string]map[string]any{
				"subnet-a": {"ipv6CidrBlock": "fd01::/64"},
				"subnet-b": {"ipv6CidrBlock": ipv6},
			})
			require.NoError(t, deploy(t, c, minimal(nil)))
			assert.Equal(t, want, c.registered["function"].Inputs["vpcConfig"].ObjectValue()["ipv6AllowedForDualStack"].BoolValue())
		}
	})
	t.Run("dedicated tenancy", func(t *testing.T) {
		c := newCloud()
		c.answers[vpcToken] = answer(map[string]any{"instanceTenancy": "dedicated"})
		err := deploy(t, c, minimal(nil))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "dedicated tenancy")
		assert.Empty(t, c.registered)
	})
}

func TestNamesAreShortUniqueAndFixed(t *testing.T) {
	settings := func(organization, project, stack, region string) *Settings {
		return &Settings{Organization: organization, Project: project, Stack: stack, Region: region}
	}
	none := &LastState{}
	seen := map[string]bool{}
	for _, s := range []*Settings{
		settings("acme", "shop", "dev", "eu-west-1"),
		settings("acme", "shop", "dev", "eu-west-2"),
		settings("other", "shop", "dev", "eu-west-1"),
		settings("acme", "shop", "d.e_v", "eu-west-1"),
		settings("acme", strings.Repeat("long", 30), strings.Repeat("stack", 30), "eu-west-1"),
	} {
		n := newNames(s, none)
		for _, name := range []string{n.function, n.invocationRole, n.executionRole} {
			assert.Regexp(t, `^[a-zA-Z][a-zA-Z0-9-]{0,63}$`, name)
			assert.False(t, seen[name], "%s is taken", name)
			seen[name] = true
		}
		assert.Equal(t, n, newNames(s, none))
	}

	before := &LastState{resources: map[string]resourceOutputs{
		"function":       {Name: "shop-dev-0badcafe"},
		"invocationRole": {Name: "shop-dev-invoke-0badcafe"},
	}}
	renamed := newNames(settings("acme", "shop", "prod", "eu-west-1"), before)
	assert.Equal(t, "shop-dev-0badcafe", renamed.function)
	assert.Equal(t, "shop-dev-invoke-0badcafe", renamed.invocationRole)
}

func TestOtherPartitionsAreWrittenIntoNoARN(t *testing.T) {
	c := newCloud()
	c.answers[partitionToken] = answer(map[string]any{"partition": "aws-us-gov", "dnsSuffix": "amazonaws.com"})
	require.NoError(t, deploy(t, c, minimal(map[string]string{"aws:region": "us-gov-west-1"})))
	assert.Contains(t, c.input("executionPolicy", "policy"),
		`"lambda:SourceFunctionArn":"arn:aws-us-gov:lambda:us-gov-west-1:111122223333:function:`)
}

// state answers for the stack's own state.
func state(resources map[string]any) func(resource.PropertyMap) (map[string]any, error) {
	return func(args resource.PropertyMap) (map[string]any, error) {
		outputs := map[string]any{}
		for name, values := range resources {
			outputs["urn:pulumi:dev::shop::"+registeredTypes[name]+"::"+name] = map[string]any{"type": registeredTypes[name], "outputs": values}
		}
		return map[string]any{"name": args["stackName"].StringValue(), "outputs": outputs}, nil
	}
}

func written() map[string]any {
	return map[string]any{
		"managingCreds": map[string]any{"organization": "acme", "project": "shop", "name": "ordersManagingCreds"},
		"rotator":       map[string]any{"organization": "acme", "project": "shop", "name": "orders"},
		"pulumiCloud":   map[string]any{"apiUrl": "https://api.pulumi.com"},
		"function": map[string]any{"arn": "arn:aws:lambda:eu-west-1:111122223333:function:shop-dev-862e37e7",
			"name": "shop-dev-862e37e7"},
	}
}

func TestTheRegionsOfBuiltInAuthoritiesAreThoseOfTheBundle(t *testing.T) {
	regions := map[string]bool{}
	require.NoError(t, rdsca.Each(func(der []byte) error {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		name, _, found := strings.Cut(strings.TrimPrefix(certificate.Subject.CommonName, "Amazon RDS "), " Root CA")
		if found && !strings.HasPrefix(name, "Preview") {
			regions[name] = true
		}
		return nil
	}))
	assert.ElementsMatch(t, slices.Collect(maps.Keys(regions)), builtInRegions)

	for account, want := range map[Account]string{
		{Partition: "aws", Region: "eu-west-1"}:            "",
		{Partition: "aws", Region: "il-central-1"}:         "https://truststore.pki.rds.amazonaws.com/il-central-1/il-central-1-bundle.pem",
		{Partition: "aws-us-gov", Region: "us-gov-west-1"}: "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem",
		{Partition: "aws-cn", Region: "cn-north-1"}:        "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/cn-north-1/cn-north-1-bundle.pem",
		{Partition: "aws-iso", Region: "us-iso-east-1"}:    "<the bundle that AWS publishes for this region>",
	} {
		assert.Equal(t, want, authoritiesOf(&account))
	}
}

func TestAChangeThatWouldDeleteAnEnvironmentStopsBeforeAnythingHappens(t *testing.T) {
	for setting, c := range map[string]struct{ value, back string }{
		"shop:rotatedSecretsEnvironmentName": {"shop/other", "pulumi config set shop:rotatedSecretsEnvironmentName shop/orders"},
		"shop:managingCredsEnvironmentName":  {"shop/other", "pulumi config set shop:managingCredsEnvironmentName shop/ordersManagingCreds"},
		"shop:backendUrl":                    {"https://api.acme.example", "pulumi config set shop:backendUrl https://api.pulumi.com"},
		"aws:region":                         {"us-east-1", "pulumi config set aws:region eu-west-1"},
	} {
		t.Run(setting, func(t *testing.T) {
			cloud := newCloud()
			cloud.answers[stateToken] = state(written())
			err := deploy(t, cloud, minimal(map[string]string{setting: c.value}))
			require.Error(t, err)
			assert.Contains(t, err.Error(), setting+" has changed")
			assert.Contains(t, err.Error(), c.back)
			assert.Equal(t, 1, strings.Count(err.Error(), "has changed"))
			assert.Empty(t, cloud.registered)
		})
	}
	cloud := newCloud()
	cloud.answers[stateToken] = state(written())
	require.NoError(t, deploy(t, cloud, minimal(map[string]string{"shop:backendUrl": "https://API.pulumi.com/"})),
		"another spelling is no change")
}

func TestCredentialsOfAnotherAccountStopAnUpdate(t *testing.T) {
	c := newCloud()
	c.answers[stateToken] = state(written())
	c.answers[callerIdentityToken] = answer(map[string]any{"accountId": "999999999999"})
	err := deploy(t, c, minimal(nil))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "deployed to 111122223333, and these credentials are of 999999999999")
	assert.Empty(t, c.registered)
}

// outsideRDS is a database that RDS does not run.
func outsideRDS(further map[string]string) map[string]string {
	settings := minimal(map[string]string{
		"shop:databaseHost": "db.example.com", "shop:databaseEngine": "mysql", "shop:vpcId": "vpc-1",
		"shop:subnetIds": "subnet-0a,subnet-0b", "shop:databaseSecurityGroupId": "sg-0d",
	})
	delete(settings, "shop:rdsDbIdentifier")
	for name, value := range further {
		settings[name] = value
	}
	return settings
}

func TestADatabaseOutsideRDSIsNotLookedUpThere(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, outsideRDS(nil)))
	for _, token := range c.asked {
		assert.NotContains(t, token, "aws:rds/")
	}
	assert.InDelta(t, 3306, c.registered["toDatabase"].Inputs["toPort"].NumberValue(), 0)
	assert.Equal(t, "sg-0d", c.input("toDatabase", "referencedSecurityGroupId"))
	assert.Equal(t, "vpc-1", c.input("securityGroup", "vpcId"))

	err := deploy(t, c, outsideRDS(map[string]string{"shop:vpcId": "vpc-2"}))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "is in vpc-1, and not in vpc-2")

	c.answers[vpcToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("no matching EC2 VPC found")
	}
	err = deploy(t, c, outsideRDS(map[string]string{"shop:vpcId": "vpc-3"}))
	require.ErrorContains(t, err, "reading the VPC vpc-3: there is none of that ID in eu-west-1")
	require.ErrorContains(t, err, "pulumi config set shop:vpcId")
}

func TestSettingsReachTheResources(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{
		"shop:databaseSslMode": "require", "shop:logRetentionDays": "7",
		"shop:permissionsBoundaryArn": "arn:aws:iam::111122223333:policy/boundary",
		"shop:trustedSubject":         "*", "shop:manageDatabaseIngress": "false",
	})))
	variables := c.registered["function"].Inputs["environment"].ObjectValue()["variables"].Mappable()
	assert.Equal(t, map[string]any{"DB_SSLMODE": "require"}, variables)
	assert.InDelta(t, 7, c.registered["logs"].Inputs["retentionInDays"].NumberValue(), 0)
	for _, role := range []string{"executionRole", "invocationRole"} {
		assert.Equal(t, "arn:aws:iam::111122223333:policy/boundary", c.input(role, "permissionsBoundary"))
	}
	assert.Contains(t, c.input("invocationRole", "assumeRolePolicy"),
		`"Condition":{"StringEquals":{"api.pulumi.com/oidc:aud":"aws:acme"},"StringLike":{"api.pulumi.com/oidc:sub":"*"}}`)
	assert.NotContains(t, c.registered, "fromConnector")
	assert.Contains(t, c.registered, "toDatabase")
}

func TestAStateThatIsJustBeingWrittenIsReadAgain(t *testing.T) {
	c := newCloud()
	tries := 0
	c.answers[stateToken] = func(args resource.PropertyMap) (map[string]any, error) {
		if tries++; tries < 3 {
			return nil, errors.New("failed to load checkpoint: EOF")
		}
		return state(written())(args)
	}
	err := deploy(t, c, minimal(map[string]string{"shop:rotatedSecretsEnvironmentName": "shop/other"}))
	require.ErrorContains(t, err, "shop:rotatedSecretsEnvironmentName has changed")
}

func TestAStateThatCannotBeReadStopsTheUpdate(t *testing.T) {
	c := newCloud()
	c.answers[stateToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("failed to load checkpoint: EOF")
	}
	require.ErrorContains(t, deploy(t, c, minimal(nil)), "reading the state of the stack acme/shop/dev, to see what it has written: ")
	assert.Empty(t, c.registered)
}
