package infra

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestADatabaseThatIsNotThereIsAnEmptyListOrAnError(t *testing.T) {
	missing := func(code string) func(resource.PropertyMap) (map[string]any, error) {
		return func(resource.PropertyMap) (map[string]any, error) {
			return nil, fmt.Errorf("reading RDS: api error %s: orders", code)
		}
	}
	c := newCloud()
	c.answers[clustersToken] = missing("DBClusterNotFoundFault")
	c.answers[instancesToken] = answer(map[string]any{"instanceIdentifiers": []any{"orders"}})
	c.answers[instanceToken] = answer(map[string]any{"address": "orders.abc.eu-west-1.rds.amazonaws.com", "port": 5432, "engine": "postgres"})
	assert.Equal(t, "instance", lookUp(t, c, "orders").kind)

	c = newCloud()
	c.answers[instancesToken] = missing("DBInstanceNotFound")
	assert.Equal(t, "cluster", lookUp(t, c, "orders").kind)
	c.answers[clustersToken] = missing("DBClusterNotFoundFault")
	assert.ErrorContains(t, deploy(t, c, minimal(nil)), "there is no RDS cluster or instance of that name")

	// Who may not ask is told so, whatever the other answer is.
	c.answers[clustersToken] = missing("AccessDenied: not authorized to perform: rds:DescribeDBClusters")
	err := deploy(t, c, minimal(nil))
	require.ErrorContains(t, err, "rds:DescribeDBClusters")
	assert.NotContains(t, err.Error(), "there is no RDS cluster")
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

func TestADatabaseOnTheFunctionItselfGetsAWarning(t *testing.T) {
	for _, host := range []string{"localhost", "127.0.0.1", "127.1.2.3", "::1"} {
		assert.Equal(t, []string{"databaseHost is " + host + ", which to the function is itself, and no database is there.\n" +
			"  Name the database as its VPC does: pulumi config set shop:databaseHost <host>"},
			(&record{}).warnings(&Settings{Project: "shop", DatabaseHost: host}, "aws"))
	}
	assert.Empty(t, (&record{}).warnings(&Settings{DatabaseHost: "localhost.example"}, "aws"))
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
