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
	err := lookUpSecurityGroup(ctx, settings.DatabaseSecurityGroup)
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
