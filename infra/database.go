package infra

import (
	"cmp"
	"errors"
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

	VPC           string
	VPCOwner      string       // the ID of an AWS account
	NameServers   []netip.Addr // of the user's own, which the VPC's DHCP options name
	SecurityGroup string       // as account/group where it is of another account
	DefaultGroup  string       // the VPC's default security group
	noDefault     error        // why that could not be found
	Subnets       []string     // where the function gets its network interfaces, at most 16
	DualStack     bool         // every one of Subnets has IPv6 addresses too
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
	database := &Database{
		Engine:        rotators[found.engine],
		Host:          found.host,
		Port:          found.port,
		SecurityGroup: found.securityGroup(last),
		VPC:           settings.VPC,
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
	for _, warning := range found.warnings(settings, awsCLI(ctx)) {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return nil, err
		}
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
		return nil, fmt.Errorf(`looking up rdsDbIdentifier %[1]q: there is no RDS cluster or instance of that name in %[2]s.
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
		members: c.ClusterMembers, empty: len(c.ClusterMembers) == 0}, nil
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
		subnetGroup: i.DbSubnetGroup, securityGroups: i.VpcSecurityGroups, source: i.ReplicateSourceDb}
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

// builtIn are the regions whose certificate authorities the connector has: each region has its own.
var builtIn = strings.Fields(`af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
	ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ca-central-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1
	eu-south-2 eu-west-1 eu-west-2 eu-west-3 me-central-1 me-south-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2`)

// authoritiesOf is where AWS publishes the region's authorities, or empty where they are built in.
func authoritiesOf(account *Account) string {
	if slices.Contains(builtIn, account.Region) {
		return ""
	}
	return cmp.Or(map[string]string{
		"aws":        fmt.Sprintf("https://truststore.pki.rds.amazonaws.com/%[1]s/%[1]s-bundle.pem", account.Region),
		"aws-us-gov": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem",
		"aws-cn":     fmt.Sprintf("https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/%[1]s/%[1]s-bundle.pem", account.Region),
	}[account.Partition], "<the bundle that AWS publishes for this region>")
}

// warnOfAuthorities warns where the connector's built-in certificate authorities are not those of RDS.
func warnOfAuthorities(ctx *pulumi.Context, settings *Settings, account *Account) error {
	bundle := authoritiesOf(account)
	if settings.DatabaseIdentifier == "" || settings.Published || settings.SSLMode != "verify-full" || settings.CAFile != "" || bundle == "" {
		return nil
	}
	return ctx.Log.Warn(fmt.Sprintf("RDS in %s has certificate authorities of its own, which the connector trusts only if they are set:\n"+
		"  curl -o rds-ca.pem %s\n  pulumi config set %s:databaseCaFile rds-ca.pem", account.Region, bundle, settings.Project), nil)
}

// findNetwork chooses the function's subnets, and checks the VPC.
func (d *Database) findNetwork(ctx *pulumi.Context, settings *Settings, last *LastState, of *record, ids []string) error {
	subnets := make([]subnet, len(ids))
	var network vpc
	lookups := []func() error{func() error {
		var found foundSecurityGroup
		d.noDefault = invoke(ctx, securityGroupLookupToken, securityGroupLookupArgs{Name: "default", VpcId: d.VPC}, &found, "ec2:DescribeSecurityGroups")
		d.DefaultGroup = found.Id
		return nil
	}, func() error { return findDatabaseGroup(ctx, settings) }, func() error {
		err := invoke(ctx, vpcToken, vpcArgs{Id: d.VPC}, &network, "ec2:DescribeVpcs")
		switch {
		case isNotFound(err):
			return fmt.Errorf("reading the VPC %s: there is none of that ID in %s; nothing was created.\n"+
				"  The VPCs there: %s ec2 describe-vpcs --region %s --query 'Vpcs[].VpcId'\n  Another one: pulumi config set %s:vpcId <id>",
				d.VPC, settings.Region, awsCLI(ctx), settings.Region, settings.Project)
		case err != nil:
			return fmt.Errorf("reading the VPC %s: %w", d.VPC, err)
		}
		return d.findNameServers(ctx, network.DhcpOptionsId)
	}}
	for i, id := range ids {
		lookups = append(lookups, func() error {
			err := invoke(ctx, subnetToken, subnetArgs{Id: id}, &subnets[i], "ec2:DescribeSubnets")
			if err != nil && !isNotFound(err) {
				return fmt.Errorf("reading the subnets: %w", err)
			}
			return nil
		})
	}
	if err := together(lookups...); err != nil {
		return fmt.Errorf("reading the network of the %s: %w", of, err)
	}

	if network.InstanceTenancy == "dedicated" {
		return fmt.Errorf("reading the network of the %s: its VPC %s has dedicated tenancy, in which Lambda runs no function; nothing was created.\n"+
			"  Peer a VPC with default tenancy to it, or change its tenancy: %s ec2 modify-vpc-tenancy --vpc-id %s --instance-tenancy default",
			of, d.VPC, awsCLI(ctx), d.VPC)
	}
	if network.EnableDnsSupport != nil && !*network.EnableDnsSupport {
		err := ctx.Log.Warn(fmt.Sprintf("the VPC %s has no DNS support, so that the connector cannot resolve %s there.\n  %s ec2 modify-vpc-attribute --vpc-id %s --enable-dns-support",
			d.VPC, d.Host, awsCLI(ctx), d.VPC), nil)
		if err != nil {
			return err
		}
	}

	for _, s := range subnets {
		if s.VpcId != "" && s.VpcId != d.VPC {
			return fmt.Errorf("reading the network of the %s: the subnet %s is in %s, and not in %s; nothing was created.\n"+
				"  Set vpcId and subnetIds to one VPC and its subnets", of, s.Id, s.VpcId, d.VPC)
		}
	}
	d.VPCOwner = network.OwnerId
	usable, left, err := usableSubnets(ctx, ids, subnets, texts(part(last.outputs(functionResource).VpcConfig, "subnetIds")))
	if err != nil {
		return err
	}
	if len(usable) == 0 {
		return fmt.Errorf("reading the network of the %s: none of its subnets can hold the connector; nothing was created.\n  %s\n"+
			"  Add a subnet with free IPv4 addresses to its DB subnet group, or set subnetIds", of, strings.Join(left, "\n  "))
	}
	d.DualStack = true
	for _, s := range spread(usable, mostSubnets) {
		d.Subnets = append(d.Subnets, s.Id)
		d.DualStack = d.DualStack && s.Ipv6CidrBlock != ""
	}
	return nil
}

// findDatabaseGroup looks whether the group that was set is there: one of another account, in a VPC that accounts share, is not seen, and
// is known by its account too: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing-behavior.html
func findDatabaseGroup(ctx *pulumi.Context, settings *Settings) error {
	if settings.DatabaseSecurityGroup == "" || strings.Contains(settings.DatabaseSecurityGroup, "/") {
		return nil
	}
	err := invoke(ctx, securityGroupLookupToken, securityGroupLookupArgs{Id: settings.DatabaseSecurityGroup}, &foundSecurityGroup{}, "ec2:DescribeSecurityGroups")
	if isNotFound(err) {
		return fmt.Errorf("looking for databaseSecurityGroupId %[1]q: this AWS account has no such security group in %[2]s; nothing was created.\n"+
			"  If it is another account's, in a VPC that is shared: pulumi config set %[3]s:databaseSecurityGroupId <account>/%[1]s\n"+
			"  The groups of this one: %[4]s ec2 describe-security-groups --region %[2]s --query 'SecurityGroups[].[GroupId,GroupName]' --output text",
			settings.DatabaseSecurityGroup, settings.Region, settings.Project, awsCLI(ctx))
	}
	if err != nil {
		return fmt.Errorf("looking for databaseSecurityGroupId %q: %w", settings.DatabaseSecurityGroup, err)
	}
	return nil
}

// checkGroups settles what depends on whose account this is: the VPC's default group serves in the owner's own alone, and the rules of
// another account's group are not ours to change.
func (d *Database) checkGroups(settings *Settings, account *Account) error {
	if d.VPCOwner != "" && d.VPCOwner != account.ID {
		d.DefaultGroup, d.noDefault = "", nil
	}
	if d.noDefault != nil {
		return fmt.Errorf("looking for the default security group of the VPC %s, to which the function's network interfaces move at its end: %w", d.VPC, d.noDefault)
	}
	owner, group, foreign := strings.Cut(d.SecurityGroup, "/")
	switch {
	case !foreign:
	case owner == account.ID:
		d.SecurityGroup = group
	case settings.ManageIngress:
		return fmt.Errorf("checking databaseSecurityGroupId: %[1]s belongs to the AWS account %[2]s, and this one, %[3]s, may not add the rule there that lets the connector in; nothing was created.\n"+
			"  pulumi config set %[4]s:manageDatabaseIngress false\n"+
			"  Then pulumi up tells the rule, which whoever keeps %[1]s adds there", group, owner, account.ID, settings.Project)
	}
	return nil
}

// amazonDNS is where Amazon's DNS answers over IPv6; over IPv4 it is a link-local address.
var amazonDNS = netip.MustParsePrefix("fd00:ec2::/32")

// findNameServers looks for DNS servers beside Amazon's, to which security groups do not apply:
// https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
func (d *Database) findNameServers(ctx *pulumi.Context, options string) error {
	if _, err := netip.ParseAddr(d.Host); err == nil || options == "" || options == "default" {
		return nil
	}
	var found dhcpOptions
	if err := invoke(ctx, dhcpOptionsToken, dhcpOptionsArgs{DhcpOptionsId: options}, &found, "ec2:DescribeDhcpOptions"); err != nil {
		return fmt.Errorf("reading the DHCP options of the VPC %s, for its DNS servers: %w", d.VPC, err)
	}
	for _, server := range found.DomainNameServers {
		address, err := netip.ParseAddr(server)
		if err != nil || address.IsLinkLocalUnicast() || amazonDNS.Contains(address) || slices.Contains(d.NameServers, address) {
			continue // Amazon's mostly stands there by a name
		}
		d.NameServers = append(d.NameServers, address)
	}
	return nil
}

// usableSubnets leaves out, with a warning, those that cannot hold a network interface of Lambda's. One that is full may
// hold the function's already.
func usableSubnets(ctx *pulumi.Context, ids []string, subnets []subnet, held []string) (usable []subnet, left []string, err error) {
	for i, s := range subnets {
		reason := ""
		switch {
		case s.Id == "":
			reason = "is gone"
		case s.Ipv6Native:
			reason = "has IPv6 addresses only"
		case s.AvailableIpAddressCount != nil && *s.AvailableIpAddressCount == 0 && !slices.Contains(held, s.Id):
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
