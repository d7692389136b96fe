package infra

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Database is where the database is, what runs there, and how its network is reached.
type Database struct {
	Engine  string // the rotator's word: postgres or mysql
	Product string // RDS's words: engine and version, for people
	Host    string // the writer's endpoint
	Port    int

	VPC           string
	SecurityGroup string
	Subnets       []string // where the function gets its network interfaces, at most 16
	DualStack     bool     // every one of Subnets has IPv6 addresses too
}

// rotators says which rotator changes the passwords of an engine of RDS.
var rotators = map[string]string{
	"postgres":          "postgres",
	"aurora-postgresql": "postgres",
	"mysql":             "mysql",
	"aurora-mysql":      "mysql",
	"aurora":            "mysql",
	"mariadb":           "mysql",
}

// mostSubnets is the quota of a function's subnets:
// https://docs.aws.amazon.com/lambda/latest/api/API_VpcConfig.html
const mostSubnets = 16

// record is what RDS tells of a cluster or of an instance.
type record struct {
	kind           string // cluster or instance
	engine         string
	version        string
	host           string
	port           int
	subnetGroup    string
	securityGroups []string
	public         bool
}

// FindDatabase looks the database up in RDS, and its subnets in its VPC.
func FindDatabase(ctx *pulumi.Context, settings *Settings) (*Database, error) {
	found, err := find(ctx, settings)
	if err != nil {
		return nil, err
	}
	if found.public {
		err := ctx.Log.Warn(fmt.Sprintf("%s %q is publicly accessible; the connector reaches it inside its VPC, and needs no public access",
			found.kind, settings.DatabaseIdentifier), nil)
		if err != nil {
			return nil, err
		}
	}
	database := &Database{
		Engine:        rotators[found.engine],
		Product:       strings.TrimSpace(found.engine + " " + found.version),
		Host:          found.host,
		Port:          found.port,
		SecurityGroup: found.securityGroups[0],
	}
	var group subnetGroup
	err = invoke(ctx, subnetGroupToken, subnetGroupArgs{Name: found.subnetGroup}, &group, "rds:DescribeDBSubnetGroups")
	if err != nil {
		return nil, fmt.Errorf("reading the subnet group %q of %s %q: %w", found.subnetGroup, found.kind,
			settings.DatabaseIdentifier, err)
	}
	database.VPC = group.VpcId
	if err := database.findNetwork(ctx, settings, group.SubnetIds); err != nil {
		return nil, err
	}
	return database, ctx.Log.Info(fmt.Sprintf("%s %q: %s at %s:%d, in %d subnets of %s", found.kind,
		settings.DatabaseIdentifier, database.Product, database.Host, database.Port, len(database.Subnets), database.VPC), nil)
}

// find asks for a cluster and for an instance of that name at once: lists with a filter, since they
// are empty where there is none, and errors only where AWS would not answer.
func find(ctx *pulumi.Context, settings *Settings) (*record, error) {
	identifier := settings.DatabaseIdentifier
	var clusters clusterList
	var instances instanceList
	err := together(
		func() error {
			filters := filterArgs{Filters: []filter{{Name: "db-cluster-id", Values: []string{identifier}}}}
			return invoke(ctx, clustersToken, filters, &clusters, "rds:DescribeDBClusters")
		},
		func() error {
			filters := filterArgs{Filters: []filter{{Name: "db-instance-id", Values: []string{identifier}}}}
			return invoke(ctx, instancesToken, filters, &instances, "rds:DescribeDBInstances")
		},
	)
	if err != nil {
		return nil, fmt.Errorf("looking up rdsDbIdentifier %q in RDS in %s: %w", identifier, settings.Region, err)
	}
	var found *record
	switch {
	case slices.Contains(clusters.ClusterIdentifiers, identifier):
		found, err = findCluster(ctx, identifier)
	case slices.Contains(instances.InstanceIdentifiers, identifier):
		found, err = findInstance(ctx, identifier)
	default:
		return nil, fmt.Errorf(`looking up rdsDbIdentifier %q: there is no RDS cluster or instance of that name in %s.
  The names in this region:
    aws rds describe-db-clusters --region %s --query 'DBClusters[].DBClusterIdentifier'
    aws rds describe-db-instances --region %s --query 'DBInstances[].DBInstanceIdentifier'
  Another name:   pulumi config set %s:rdsDbIdentifier <identifier>
  Another region: pulumi config set aws:region <region>`,
			identifier, settings.Region, settings.Region, settings.Region, settings.Project)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up rdsDbIdentifier %q in RDS in %s: %w", identifier, settings.Region, err)
	}
	return found, found.check(identifier)
}

func findCluster(ctx *pulumi.Context, identifier string) (*record, error) {
	var c cluster
	if err := invoke(ctx, clusterToken, clusterArgs{ClusterIdentifier: identifier}, &c, "rds:DescribeDBClusters"); err != nil {
		return nil, err
	}
	return &record{kind: "cluster", engine: c.Engine, version: c.EngineVersion, host: c.Endpoint, port: c.Port,
		subnetGroup: c.DbSubnetGroupName, securityGroups: c.VpcSecurityGroupIds}, nil
}

// findInstance reads an instance, or the cluster that it belongs to: the instance's own endpoint may
// become a reader's.
func findInstance(ctx *pulumi.Context, identifier string) (*record, error) {
	var i instance
	err := invoke(ctx, instanceToken, instanceArgs{DbInstanceIdentifier: identifier}, &i, "rds:DescribeDBInstances")
	if err != nil {
		return nil, err
	}
	if i.DbClusterIdentifier != "" {
		found, err := findCluster(ctx, i.DbClusterIdentifier)
		if found != nil {
			found.public = i.PubliclyAccessible
		}
		return found, err
	}
	return &record{kind: "instance", engine: i.Engine, version: i.EngineVersion, host: i.Address, port: i.Port,
		subnetGroup: i.DbSubnetGroup, securityGroups: i.VpcSecurityGroups, public: i.PubliclyAccessible}, nil
}

// check refuses what the connector cannot serve.
func (r *record) check(identifier string) error {
	subject := fmt.Sprintf("looking up rdsDbIdentifier %q: the %s", identifier, r.kind)
	switch {
	case rotators[r.engine] == "":
		return fmt.Errorf("%s runs the engine %q, for which there is no rotator.\n  Rotators there are for PostgreSQL, MySQL and MariaDB, "+
			"on RDS and on Aurora", subject, r.engine)
	case r.host == "" || r.port == 0:
		return fmt.Errorf("%s has no endpoint yet: it is still being created.\n  Wait until it is available, and run pulumi up again", subject)
	case len(r.securityGroups) == 0:
		return fmt.Errorf("%s has no VPC security group, to which the connector could be let in.\n  Give it one in RDS, and run pulumi up again", subject)
	case r.subnetGroup == "":
		return fmt.Errorf("%s is in no DB subnet group, by which the connector would find its subnets.\n  "+
			"Move it to one in RDS, and run pulumi up again", subject)
	}
	return nil
}

// findNetwork chooses the function's subnets, and checks the VPC.
func (d *Database) findNetwork(ctx *pulumi.Context, settings *Settings, ids []string) error {
	subnets := make([]subnet, len(ids))
	var network vpc
	lookups := []func() error{func() error {
		if err := invoke(ctx, vpcToken, vpcArgs{Id: d.VPC}, &network, "ec2:DescribeVpcs"); err != nil {
			return fmt.Errorf("reading the VPC %s: %w", d.VPC, err)
		}
		return nil
	}}
	for i, id := range ids {
		lookups = append(lookups, func() error {
			err := invoke(ctx, subnetToken, subnetArgs{Id: id}, &subnets[i], "ec2:DescribeSubnets")
			if err != nil && !isNotFound(err) {
				return fmt.Errorf("reading the subnet %s: %w", id, err)
			}
			return nil
		})
	}
	if err := together(lookups...); err != nil {
		return fmt.Errorf("reading the network of rdsDbIdentifier %q: %w", settings.DatabaseIdentifier, err)
	}

	if network.InstanceTenancy == "dedicated" {
		return fmt.Errorf("reading the network of rdsDbIdentifier %q: its VPC %s has dedicated tenancy, in which Lambda runs no function.\n"+
			"  Peer a VPC with default tenancy to it, or change its tenancy: aws ec2 modify-vpc-tenancy --vpc-id %s --instance-tenancy default",
			settings.DatabaseIdentifier, d.VPC, d.VPC)
	}
	if network.EnableDnsSupport != nil && !*network.EnableDnsSupport {
		err := ctx.Log.Warn(fmt.Sprintf("the VPC %s has no DNS support, so that the connector cannot resolve %s there.\n  aws ec2 modify-vpc-attribute --vpc-id %s --enable-dns-support",
			d.VPC, d.Host, d.VPC), nil)
		if err != nil {
			return err
		}
	}

	usable, left, err := usableSubnets(ctx, ids, subnets)
	if err != nil {
		return err
	}
	if len(usable) == 0 {
		return fmt.Errorf("reading the network of rdsDbIdentifier %q: none of its subnets can hold the connector.\n  %s\n"+
			"  Add a subnet with free IPv4 addresses to its DB subnet group", settings.DatabaseIdentifier, strings.Join(left, "\n  "))
	}
	d.DualStack = true
	for _, s := range spread(usable, mostSubnets) {
		d.Subnets = append(d.Subnets, s.Id)
		d.DualStack = d.DualStack && s.Ipv6CidrBlock != ""
	}
	return nil
}

// usableSubnets leaves out, with a warning, those that cannot hold a network interface of Lambda's.
func usableSubnets(ctx *pulumi.Context, ids []string, subnets []subnet) (usable []subnet, left []string, err error) {
	for i, s := range subnets {
		reason := ""
		switch {
		case s.Id == "":
			reason = "is gone"
		case s.Ipv6Native:
			reason = "has IPv6 addresses only"
		case s.AvailableIpAddressCount != nil && *s.AvailableIpAddressCount == 0:
			reason = "has no free address"
		default:
			usable = append(usable, s)
			continue
		}
		left = append(left, fmt.Sprintf("the subnet %s %s", ids[i], reason))
		err = errors.Join(err, ctx.Log.Warn(left[len(left)-1]+"; the connector does without it", nil))
	}
	return usable, left, err
}

// spread picks at most n subnets, one of each zone in turn. The choice depends on the subnets alone, not
// on the order in which AWS lists them.
func spread(subnets []subnet, n int) []subnet {
	byZone := slices.SortedFunc(slices.Values(subnets), func(a, b subnet) int {
		return cmp.Or(strings.Compare(a.AvailabilityZone, b.AvailabilityZone), strings.Compare(a.Id, b.Id))
	})
	turn := map[string]int{}  // by subnet
	taken := map[string]int{} // by zone
	for _, s := range byZone {
		turn[s.Id] = taken[s.AvailabilityZone]
		taken[s.AvailabilityZone]++
	}
	slices.SortStableFunc(byZone, func(a, b subnet) int { return cmp.Compare(turn[a.Id], turn[b.Id]) })
	chosen := byZone[:min(n, len(byZone))]
	slices.SortFunc(chosen, func(a, b subnet) int { return strings.Compare(a.Id, b.Id) })
	return chosen
}
