package infra

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// network is the function's security group, which reaches the database's port, DNS servers of the user's own, and
// nothing else.
func (d *deployment) network(permissions *iam.RolePolicy) (*securityGroup, []pulumi.Resource, error) {
	if d.movesVPC() {
		err := d.ctx.Log.Info(fmt.Sprintf("The function moves from %s to %s, and gets a security group there. At its end pulumi up waits until AWS has deleted the function's "+
			"network interfaces in %[1]s, which hold the old group: that takes up to 45 minutes, and after an hour, or two at the worst, it gives up. "+
			"The function works meanwhile, and another pulumi up goes on where this one was stopped", text(d.last.outputs(securityGroupResource).VpcId), d.database.VPC), nil)
		if err != nil {
			return nil, nil, err
		}
	}
	var group securityGroup
	// The provider waits for Lambda's interfaces by this timeout, but no less than 45 minutes, and then tries to delete the group
	// for as long again: https://github.com/pulumi/pulumi-aws/issues/4382, and resourceSecurityGroupDelete in
	// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_security_group.go
	// A function's network interfaces can outlive it by up to 45 minutes, and hold the group. Lambda deletes them by these
	// permissions, which must outlive the group for that: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
	err := register(d.ctx, securityGroupToken, securityGroupResource, securityGroupArgs{
		Description: pulumi.String("Rotation connector " + d.names.function),
		VpcId:       pulumi.String(d.database.VPC),
		Tags:        d.tags,
	}, &group, pulumi.DependsOn([]pulumi.Resource{permissions}), pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: "1h"}))
	if err != nil {
		return nil, nil, err
	}
	port := pulumi.Int(d.database.Port)
	databaseGroup := pulumi.String(d.database.SecurityGroup)
	options := []pulumi.ResourceOption{pulumi.DeleteBeforeReplace(!d.movesVPC())}
	if strings.Contains(d.database.SecurityGroup, "/") {
		// The provider creates a rule for a group of another account, and cannot change it:
		// https://github.com/hashicorp/terraform-provider-aws/issues/36958
		options = append(options, pulumi.ReplaceOnChanges([]string{"referencedSecurityGroupId", "fromPort", "toPort"}))
	}
	var egress securityGroupRule
	err = register(d.ctx, egressRuleToken, toDatabaseResource, securityGroupRuleArgs{
		Description:               pulumi.String("To the database"),
		SecurityGroupId:           group.ID().ToStringOutput(),
		ReferencedSecurityGroupId: databaseGroup,
		IpProtocol:                pulumi.String("tcp"),
		FromPort:                  port,
		ToPort:                    port,
		Tags:                      d.tags,
	}, &egress, options...)
	if err != nil {
		return nil, nil, err
	}
	rules := []pulumi.Resource{&egress}
	for _, server := range d.database.NameServers {
		for _, protocol := range []string{"udp", "tcp"} {
			rule, err := d.toNameServer(&group, server, protocol)
			if err != nil {
				return nil, nil, err
			}
			rules = append(rules, rule)
		}
	}
	if !d.settings.ManageIngress {
		return &group, rules, d.tellIngress(&group)
	}
	var ingress securityGroupRule
	err = register(d.ctx, ingressRuleToken, fromConnectorResource, securityGroupRuleArgs{
		Description:               pulumi.String("From the rotation connector " + d.names.function),
		SecurityGroupId:           databaseGroup,
		ReferencedSecurityGroupId: group.ID().ToStringOutput(),
		IpProtocol:                pulumi.String("tcp"),
		FromPort:                  port,
		ToPort:                    port,
		Tags:                      d.tags,
	}, &ingress, pulumi.DeleteBeforeReplace(!d.movesGroup()))
	return &group, append(rules, &ingress), err
}

// toNameServer lets the function ask one DNS server.
func (d *deployment) toNameServer(group *securityGroup, server netip.Addr, protocol string) (*securityGroupRule, error) {
	const dns = 53
	args := securityGroupRuleArgs{
		Description:     pulumi.String("To a DNS server of the VPC"),
		SecurityGroupId: group.ID().ToStringOutput(),
		IpProtocol:      pulumi.String(protocol),
		FromPort:        pulumi.Int(dns),
		ToPort:          pulumi.Int(dns),
		Tags:            d.tags,
	}
	host := pulumi.String(netip.PrefixFrom(server, server.BitLen()).String())
	if server.Is4() {
		args.CidrIpv4 = host
	} else {
		args.CidrIpv6 = host
	}
	var rule securityGroupRule
	return &rule, register(d.ctx, egressRuleToken, nameServerRule(server, protocol), args, &rule, pulumi.DeleteBeforeReplace(!d.movesVPC()))
}

// nameServerRule is the logical name of the rule that lets the function ask a DNS server.
func nameServerRule(server netip.Addr, protocol string) string {
	return toNameServerResource + protocol + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(server.String())
}

// tellIngress prints the rule that the database's security group needs, and which is not ours to add.
func (d *deployment) tellIngress(group *securityGroup) error {
	database := d.database
	d.ctx.Export("databaseIngressCommand", group.ID().ToStringOutput().ApplyT(func(id string) (string, error) {
		command := fmt.Sprintf("%s ec2 authorize-security-group-ingress --region %s --group-id %s --protocol tcp --port %d --source-group %s",
			d.account.CLI, d.account.Region, database.SecurityGroup, database.Port, id)
		if owner, group, foreign := strings.Cut(database.SecurityGroup, "/"); foreign {
			command = fmt.Sprintf("aws ec2 authorize-security-group-ingress --region %s --group-id %s --ip-permissions "+
				"'IpProtocol=tcp,FromPort=%d,ToPort=%[3]d,UserIdGroupPairs=[{GroupId=%[4]s,UserId=%[5]s}]' # with credentials of the account %[6]s",
				d.account.Region, group, database.Port, id, d.account.ID, owner)
		}
		return command, d.ctx.Log.Info(fmt.Sprintf("manageDatabaseIngress is false: let the connector in where the rules of %s are kept: "+
			"TCP port %d from %s, or\n  %s\nTake that rule away before pulumi destroy, since AWS deletes no group that a rule of another one names",
			database.SecurityGroup, database.Port, id, command), nil)
	}).(pulumi.StringOutput))
	return nil
}

// movesVPC reports whether the function's group is made in another VPC. Then its rules are no twins of the old ones, which the function
// needs until it has moved.
func (d *deployment) movesVPC() bool {
	before := text(d.last.outputs(securityGroupResource).VpcId)
	return before != "" && before != d.database.VPC
}

// movesGroup reports whether the database has another group than the one that lets the function in.
func (d *deployment) movesGroup() bool {
	before := text(d.last.outputs(fromConnectorResource).SecurityGroupId)
	return before != "" && before != d.database.SecurityGroup
}
