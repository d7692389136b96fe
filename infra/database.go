package infra

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Database is where the database is, what runs there, and how its network is reached.
type Database struct {
	Engine string // the rotator's word: postgres or mysql
	Host   string // the writer's endpoint
	Port   int
	// ResourceID is what RDS calls it in the permission to log in by RDS IAM authentication; empty elsewhere.
	ResourceID string

	VPC           string
	VPCOwner      string       // the ID of an AWS account
	NameServers   []netip.Addr // of the user's own, which the VPC's DHCP options name
	SecurityGroup string       // as account/group where it is of another account
	DefaultGroup  string       // the VPC's default security group
	noDefault     error        // why that could not be found
	Subnets       []string     // where the function gets its network interfaces, at most 16
	DualStack     bool         // every one of Subnets has IPv6 addresses too

	master masterUser
}

// masterUser is what RDS says of who administers the database.
type masterUser struct {
	username string
	secret   masterUserSecret // empty where RDS does not keep the password
}

func newMasterUser(username string, secrets []masterUserSecret) masterUser {
	if len(secrets) == 0 {
		return masterUser{username: username}
	}
	return masterUser{username, secrets[0]}
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

// record is what RDS knows of a cluster or of an instance, or what the settings say of another database.
type record struct {
	kind           string // cluster, instance or database
	identifier     string // in RDS, or empty
	engine         string
	version        string
	host           string
	port           int
	subnetGroup    string
	securityGroups []string
	source         string   // what it is a read replica of, or empty
	public         []string // its instances that are publicly accessible
	members        []string // instances of a cluster, of which that must be asked yet
	empty          bool     // a cluster without instances
	master         masterUser
	resourceID     string // in RDS, where permissions name it so
	iam            bool   // whether a cluster lets users in by RDS IAM authentication
}

// findDatabase looks the database up in RDS, and its subnets in its VPC. What the settings say of it
// counts for more than what RDS does.
func findDatabase(ctx *pulumi.Context, settings *Settings, last *LastState) (*Database, error) {
	found := &record{kind: "database"}
	if settings.DatabaseIdentifier != "" {
		var err error
		if found, err = find(ctx, settings); err != nil {
			return nil, err
		}
	}
	found.override(settings)
	if err := found.check(settings); err != nil {
		return nil, err
	}
	if err := found.checkIAM(settings, awsCLI(ctx)); err != nil {
		return nil, err
	}
	database := &Database{
		Engine:        rotators[found.engine],
		Host:          found.host,
		Port:          found.port,
		ResourceID:    found.resourceID,
		SecurityGroup: found.securityGroup(last),
		VPC:           settings.VPC,
		master:        found.master,
	}
	subnets := settings.Subnets
	err := together(
		func() error { return found.askMembers(ctx) },
		func() error {
			if database.VPC != "" && len(subnets) > 0 {
				return nil
			}
			var group subnetGroup
			err := invoke(ctx, subnetGroupToken, subnetGroupArgs{Name: found.subnetGroup}, &group, "rds:DescribeDBSubnetGroups")
			if err != nil {
				return fmt.Errorf("reading the DB subnet group %q of the %s: %w", found.subnetGroup, found, err)
			}
			database.VPC = cmp.Or(database.VPC, group.VpcId)
			if len(subnets) == 0 {
				subnets = group.SubnetIds
			}
			return nil
		},
	)
	if err != nil {
		return nil, err
	}
	if err := warn(ctx, found.warnings(settings, awsCLI(ctx))); err != nil {
		return nil, err
	}
	if err := database.findNetwork(ctx, settings, last, found, subnets); err != nil {
		return nil, err
	}
	return database, ctx.Log.Info(fmt.Sprintf("The %s: %s at %s:%d, reached from %d of its subnets in %s, through its security group %s", found,
		strings.TrimSpace(found.engine+" "+found.version), database.Host, database.Port, len(database.Subnets), database.VPC, database.SecurityGroup), nil)
}

// find asks for a cluster and for an instance of that name at once: lists with a filter, since they
// are empty where there is none, and errors only where AWS would not answer.
func find(ctx *pulumi.Context, settings *Settings) (*record, error) {
	identifier := settings.DatabaseIdentifier
	var clusters clusterList
	var instances instanceList
	list := func(token, name string, result any, action string) func() error {
		return func() error {
			err := invoke(ctx, token, filterArgs{Filters: []filter{{Name: name, Values: []string{identifier}}}}, result, action)
			if isNotFound(err) {
				return nil
			}
			return err
		}
	}
	err := together(
		list(clustersToken, "db-cluster-id", &clusters, "rds:DescribeDBClusters"),
		list(instancesToken, "db-instance-id", &instances, "rds:DescribeDBInstances"),
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
		return nil, fmt.Errorf(`looking up rdsDbIdentifier %[1]q: there is no RDS cluster or instance of that name in %[2]s; nothing was created.
  The names in this region:
    %[3]s rds describe-db-clusters --region %[2]s --query 'DBClusters[].DBClusterIdentifier'
    %[3]s rds describe-db-instances --region %[2]s --query 'DBInstances[].DBInstanceIdentifier'
  Another name:   pulumi config set %[4]s:rdsDbIdentifier <identifier>
  Another region: pulumi config set aws:region <region>`,
			identifier, settings.Region, awsCLI(ctx), settings.Project)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up rdsDbIdentifier %q in RDS in %s: %w", identifier, settings.Region, err)
	}
	return found, nil
}

// securityGroup is the one of the database's to which the function gets its way: as before while the database has it,
// since the provider lists a cluster's in no order of theirs, and else the first.
func (r *record) securityGroup(last *LastState) string {
	if before := text(last.outputs(toDatabaseResource).ReferencedSecurityGroupId); slices.Contains(r.securityGroups, before) {
		return before
	}
	return r.securityGroups[0]
}

func findCluster(ctx *pulumi.Context, identifier string) (*record, error) {
	var c cluster
	if err := invoke(ctx, clusterToken, clusterArgs{ClusterIdentifier: identifier}, &c, "rds:DescribeDBClusters"); err != nil {
		return nil, err
	}
	return &record{kind: "cluster", identifier: identifier, engine: c.Engine, version: c.EngineVersion, host: c.Endpoint, port: c.Port,
		subnetGroup: c.DbSubnetGroupName, securityGroups: c.VpcSecurityGroupIds, source: c.ReplicationSource,
		members: c.ClusterMembers, empty: len(c.ClusterMembers) == 0, master: newMasterUser(c.MasterUsername, c.MasterUserSecrets),
		resourceID: c.ClusterResourceId, iam: c.IAMEnabled}, nil
}

// findInstance reads an instance, or the cluster that it belongs to: the instance's own endpoint may
// become a reader's.
func findInstance(ctx *pulumi.Context, identifier string) (*record, error) {
	var i instance
	err := invoke(ctx, instanceToken, instanceArgs{DbInstanceIdentifier: identifier}, &i, "rds:DescribeDBInstances")
	if err != nil {
		return nil, err
	}
	found := &record{kind: "instance", identifier: identifier, engine: i.Engine, version: i.EngineVersion, host: i.Address, port: i.Port,
		subnetGroup: i.DbSubnetGroup, securityGroups: i.VpcSecurityGroups, source: i.ReplicateSourceDb,
		master: newMasterUser(i.MasterUsername, i.MasterUserSecrets), resourceID: i.ResourceId}
	if i.DbClusterIdentifier != "" {
		if found, err = findCluster(ctx, i.DbClusterIdentifier); err != nil {
			return nil, err
		}
		found.members = slices.DeleteFunc(found.members, func(member string) bool { return member == identifier })
	}
	if i.PubliclyAccessible {
		found.public = []string{identifier}
	}
	return found, nil
}

// askMembers asks which of a cluster's instances are publicly accessible: RDS knows that of instances alone.
// One that does not answer is left out, since only a warning depends on it.
func (r *record) askMembers(ctx *pulumi.Context) error {
	members := make([]instance, len(r.members))
	var lookups []func() error
	for i, identifier := range r.members {
		lookups = append(lookups, func() error {
			err := invoke(ctx, instanceToken, instanceArgs{DbInstanceIdentifier: identifier}, &members[i], "rds:DescribeDBInstances")
			if err != nil {
				return ctx.Log.Debug(fmt.Sprintf("reading the instance %s of the %s: %v", identifier, r, err), nil)
			}
			return nil
		})
	}
	err := together(lookups...)
	for i, identifier := range r.members {
		if members[i].PubliclyAccessible {
			r.public = append(r.public, identifier)
		}
	}
	return err
}

// String names the database for messages: the cluster "orders", the database at db.example.com.
func (r *record) String() string {
	if r.identifier == "" {
		return r.kind + " at " + r.host
	}
	return fmt.Sprintf("%s %q", r.kind, r.identifier)
}

// override puts the settings in the place of what RDS says.
func (r *record) override(settings *Settings) {
	r.engine = cmp.Or(settings.DatabaseEngine, r.engine)
	r.host = cmp.Or(settings.DatabaseHost, r.host)
	r.port = cmp.Or(settings.DatabasePort, r.port)
	if r.identifier == "" {
		r.port = cmp.Or(r.port, map[string]int{"postgres": 5432, "mysql": 3306}[r.engine])
	}
	if settings.DatabaseSecurityGroup != "" {
		r.securityGroups = []string{settings.DatabaseSecurityGroup}
	}
}

// check refuses what the connector cannot serve.
func (r *record) check(settings *Settings) error {
	subject := fmt.Sprintf("checking the %s: it", r)
	switch {
	case rotators[r.engine] == "":
		return fmt.Errorf("%s runs the engine %q, for which there is no rotator; nothing was created.\n"+
			"  There are rotators for PostgreSQL, MySQL and MariaDB, on RDS and on Aurora: choose such a database", subject, r.engine)
	case r.host == "" || r.port == 0:
		return fmt.Errorf("%s has no endpoint yet, since it is still being created; nothing was created.\n"+
			"  Wait until it is available, and run pulumi up again", subject)
	case len(r.securityGroups) == 0:
		return fmt.Errorf("%s has no VPC security group that could let the connector in; nothing was created.\n"+
			"  Give it one in RDS, and run pulumi up again", subject)
	case r.subnetGroup == "" && (settings.VPC == "" || len(settings.Subnets) == 0):
		return fmt.Errorf("%s has no DB subnet group, by which its subnets would be found; nothing was created.\n"+
			"  Set vpcId and subnetIds, or move it into a DB subnet group", subject)
	}
	return nil
}

// warnings are of what may be wrong, but need not be.
func (r *record) warnings(settings *Settings, cli string) []string {
	var warnings []string
	for _, identifier := range r.public {
		which := r.String()
		if r.kind == "cluster" {
			which = fmt.Sprintf("instance %q of the %s", identifier, r)
		}
		warnings = append(warnings, fmt.Sprintf("the %s is publicly accessible. The connector reaches it inside its VPC, and does not need that", which))
	}
	if isLoopback(settings.DatabaseHost) {
		warnings = append(warnings, fmt.Sprintf("databaseHost is %s, which to the function is itself, and no database is there.\n"+
			"  Name the database as its VPC does: pulumi config set %s:databaseHost <host>", settings.DatabaseHost, settings.Project))
	}
	if r.kind == "cluster" && r.empty && settings.DatabaseHost == "" {
		warnings = append(warnings, fmt.Sprintf("the %s has no instance, so that nothing answers at its endpoint: rotations fail until it has one.\n"+
			"  If it is not being made just now: %s rds create-db-instance --db-cluster-identifier %s, or another rdsDbIdentifier", r, cli, r.identifier))
	}
	if r.source != "" && settings.DatabaseHost == "" {
		warnings = append(warnings, fmt.Sprintf("the %s is a read replica of %s, where passwords are changed: set rdsDbIdentifier to that one", r, r.source[strings.LastIndex(r.source, ":")+1:]))
	}
	const verify = "\n  Verified TLS: pulumi config set databaseCaFile <the PEM file of the certificate authority that issued the database's certificate>, and pulumi config rm databaseSslMode"
	switch settings.SSLMode {
	case "disable":
		warnings = append(warnings, "databaseSslMode is disable: old and new passwords can be read on the network between the connector and the database."+verify)
	case "require":
		warnings = append(warnings, "databaseSslMode is require: nobody can read along between the connector and the database, but who stands there can pose as the database, "+
			"since any certificate is believed. On MySQL and MariaDB it then reads the managing password and the new one."+verify)
	}
	return warnings
}
