package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/ec2"
	"esc-connector-lambda-go/e2e/provider"
)

type securityGroupInputs struct {
	Name, Description string
	VpcID             string `json:"vpcId"`
	Tags              map[string]string
}

func (c *clients) securityGroup() provider.Resource {
	return provider.Resource{
		Inputs:  []string{"name", "description", "vpcId", "tags", "revokeRulesOnDelete"},
		Replace: []string{"name", "description", "vpcId"},
		Unread:  []string{"revokeRulesOnDelete"},
		Check:   provider.GeneratedName("name", 255),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			in := securityGroupInputs{Description: "Managed by Pulumi"}
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			created, err := c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
				GroupName: &in.Name, Description: &in.Description, VpcId: stringOrNil(in.VpcID),
				TagSpecifications: tagSpecifications(ec2.ResourceTypeSecurityGroup, in.Tags),
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating Security Group (%s): %w", in.Name, err)
			}
			// The provider removes the rule that AWS adds to each new group.
			if _, err := c.ec2.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{
				GroupId: created.GroupId,
				IpPermissions: []ec2.IpPermission{{
					IpProtocol: aws.String("-1"), IpRanges: []ec2.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
				}},
			}); err != nil {
				return *created.GroupId, nil, fmt.Errorf("revoking default IPv4 egress rule for Security Group (%s): %w", *created.GroupId, err)
			}
			live, err := c.readSecurityGroup(ctx, *created.GroupId)
			return *created.GroupId, live, err
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readSecurityGroup(ctx, id)
		},
		Update: func(context.Context, string, resource.PropertyMap, resource.PropertyMap) (resource.PropertyMap, error) {
			return nil, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			if err := c.deleteSecurityGroup(ctx, id); ignoreNotFound(err) != nil {
				return fmt.Errorf("deleting Security Group (%s): %w", id, err)
			}
			return nil
		},
	}
}

// deleteSecurityGroup waits for what holds the group, network interfaces or rules of others, for as long as the timeout allows, which
// is an hour in this project's program: resourceSecurityGroupDelete in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_security_group.go. It is quicker here.
func (c *clients) deleteSecurityGroup(ctx context.Context, id string) error {
	const attempts = 20
	for attempt := 1; ; attempt++ {
		_, err := c.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		var api smithy.APIError
		if attempt == attempts || !errors.As(err, &api) || api.ErrorCode() != "DependencyViolation" {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func (c *clients) readSecurityGroup(ctx context.Context, id string) (resource.PropertyMap, error) {
	found, err := c.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Security Group (%s): %w", id, err)
	}
	group := found.SecurityGroups[0]
	// The rules that other resources have made show after a refresh.
	return properties(map[string]any{
		"arn": group.SecurityGroupArn, "name": group.GroupName, "description": group.Description, "vpcId": group.VpcId,
		"ownerId": group.OwnerId, "tags": fromEC2Tags(group.Tags), "egress": fromPermissions(group.IpPermissionsEgress),
		"ingress": fromPermissions(group.IpPermissions),
	}), nil
}

func fromPermissions(permissions []ec2.IpPermission) []any {
	rules := []any{}
	for _, permission := range permissions {
		var groups, blocks []any
		for _, pair := range permission.UserIdGroupPairs {
			groups = append(groups, aws.ToString(pair.GroupId))
		}
		for _, block := range permission.IpRanges {
			blocks = append(blocks, aws.ToString(block.CidrIp))
		}
		rules = append(rules, map[string]any{
			"protocol": aws.ToString(permission.IpProtocol), "fromPort": float64(aws.ToInt32(permission.FromPort)),
			"toPort": float64(aws.ToInt32(permission.ToPort)), "securityGroups": groups, "cidrBlocks": blocks,
		})
	}
	return rules
}

// findSecurityGroup finds one by its id, or by its name and VPC. An empty filter is left out, as the provider leaves it out, and more
// than one group is an error: FindSecurityGroupByNameAndVPCID, newAttributeFilterList.
func (c *clients) findSecurityGroup(ctx context.Context, id, name, vpc string) (*ec2.SecurityGroup, error) {
	request := &ec2.DescribeSecurityGroupsInput{}
	if id != "" {
		request.GroupIds = []string{id}
	}
	for filter, value := range map[string]string{"group-name": name, "vpc-id": vpc} {
		if value != "" {
			request.Filters = append(request.Filters, ec2.Filter{Name: aws.String(filter), Values: []string{value}})
		}
	}
	found, err := c.ec2.DescribeSecurityGroups(ctx, request)
	switch {
	case err != nil:
		return nil, err
	case len(found.SecurityGroups) == 0:
		return nil, errors.New("empty result")
	case len(found.SecurityGroups) > 1:
		return nil, fmt.Errorf("too many results: wanted 1, got %d", len(found.SecurityGroups))
	}
	return &found.SecurityGroups[0], nil
}

// getSecurityGroup is dataSourceSecurityGroupRead in vpc_security_group_data_source.go of the same folder.
func (c *clients) getSecurityGroup(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in struct {
		ID, Name string
		VpcID    string `json:"vpcId"`
	}
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	group, err := c.findSecurityGroup(ctx, in.ID, in.Name, in.VpcID)
	if isNotFound(err) || err != nil && err.Error() == "empty result" {
		return nil, errors.New("no matching EC2 Security Group found")
	}
	if err != nil {
		return nil, fmt.Errorf("reading EC2 Security Group: %w", err)
	}
	return properties(map[string]any{
		"id": group.GroupId, "arn": group.SecurityGroupArn, "name": group.GroupName, "description": group.Description,
		"vpcId": group.VpcId, "tags": fromEC2Tags(group.Tags),
	}), nil
}

type ruleInputs struct {
	SecurityGroupID           string `json:"securityGroupId"`
	IPProtocol                string `json:"ipProtocol"`
	FromPort, ToPort          *float64
	CIDRIPv4                  string `json:"cidrIpv4"`
	CIDRIPv6                  string `json:"cidrIpv6"`
	PrefixListID              string `json:"prefixListId"`
	ReferencedSecurityGroupID string `json:"referencedSecurityGroupId"`
	Description               string
	Tags                      map[string]string
}

func (r ruleInputs) permission() ec2.IpPermission {
	permission := ec2.IpPermission{IpProtocol: &r.IPProtocol}
	if r.FromPort != nil {
		permission.FromPort = aws.Int32(int32(*r.FromPort))
	}
	if r.ToPort != nil {
		permission.ToPort = aws.Int32(int32(*r.ToPort))
	}
	description := stringOrNil(r.Description)
	switch {
	case r.ReferencedSecurityGroupID != "":
		pair := ec2.UserIdGroupPair{GroupId: &r.ReferencedSecurityGroupID, Description: description}
		if owner, group, foreign := strings.Cut(r.ReferencedSecurityGroupID, "/"); foreign {
			pair.UserId, pair.GroupId = &owner, &group
		}
		permission.UserIdGroupPairs = []ec2.UserIdGroupPair{pair}
	case r.CIDRIPv4 != "":
		permission.IpRanges = []ec2.IpRange{{CidrIp: &r.CIDRIPv4, Description: description}}
	case r.CIDRIPv6 != "":
		permission.Ipv6Ranges = []ec2.Ipv6Range{{CidrIpv6: &r.CIDRIPv6, Description: description}}
	case r.PrefixListID != "":
		permission.PrefixListIds = []ec2.PrefixListId{{PrefixListId: &r.PrefixListID, Description: description}}
	}
	return permission
}

// sourceKinds are the inputs of which a rule has one: what it is from or to.
var sourceKinds = []resource.PropertyKey{"cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId"}

// securityGroupRule is one rule of a group, changed in place, but for another group or kind of source:
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_security_group_ingress_rule.go
func (c *clients) securityGroupRule(egress bool) provider.Resource {
	return provider.Resource{
		Inputs: []string{
			"securityGroupId", "ipProtocol", "fromPort", "toPort", "cidrIpv4", "cidrIpv6", "prefixListId",
			"referencedSecurityGroupId", "description", "tags",
		},
		Required:  []string{"securityGroupId", "ipProtocol"},
		Replace:   []string{"securityGroupId"},
		Framework: true,
		Unread:    []string{"description"}, // which moto does not tell of a rule with another group
		ReplaceFor: func(state, wanted resource.PropertyMap) []string {
			var kinds []string
			for _, kind := range sourceKinds {
				if state.HasValue(kind) != wanted.HasValue(kind) {
					kinds = append(kinds, string(kind))
				}
			}
			return kinds
		},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in ruleInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			rules, err := c.authorize(ctx, egress, in)
			if err != nil {
				return "", nil, fmt.Errorf("creating VPC Security Group Rule: %w", err)
			}
			id := *rules[0].SecurityGroupRuleId
			return id, properties(map[string]any{
				"securityGroupRuleId": id, "arn": rules[0].SecurityGroupRuleArn,
			}), nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, _, err := c.readRule(ctx, id)
			return live, err
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			return nil, c.updateRule(ctx, id, state, inputs)
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			group := state["securityGroupId"].StringValue()
			var err error
			if egress {
				_, err = c.ec2.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{
					GroupId: &group, SecurityGroupRuleIds: []string{id},
				})
			} else {
				_, err = c.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{
					GroupId: &group, SecurityGroupRuleIds: []string{id},
				})
			}
			if ignoreNotFound(err) != nil {
				return fmt.Errorf("deleting VPC Security Group Rule (%s): %w", id, err)
			}
			return nil
		},
	}
}

func (c *clients) updateRule(ctx context.Context, id string, state, inputs resource.PropertyMap) error {
	var in ruleInputs
	if err := decode(inputs, &in); err != nil {
		return err
	}
	same := true
	for _, key := range append([]resource.PropertyKey{"description", "fromPort", "ipProtocol", "toPort"}, sourceKinds...) {
		same = same && state[key].DeepEquals(inputs[key])
	}
	if !same {
		// The provider sends account/group as it stands, and EC2 knows no such ID in a change
		// (https://github.com/hashicorp/terraform-provider-aws/issues/36958).
		if strings.Contains(in.ReferencedSecurityGroupID, "/") {
			return fmt.Errorf("updating VPC Security Group Rule (%s): InvalidGroupId.Malformed: Invalid id: %q", id, in.ReferencedSecurityGroupID)
		}
		permission := in.permission()
		_, err := c.ec2.ModifySecurityGroupRules(ctx, &ec2.ModifySecurityGroupRulesInput{
			GroupId: &in.SecurityGroupID, SecurityGroupRules: []ec2.SecurityGroupRuleUpdate{{
				SecurityGroupRuleId: &id,
				SecurityGroupRule: &ec2.SecurityGroupRuleRequest{
					IpProtocol: &in.IPProtocol, FromPort: permission.FromPort, ToPort: permission.ToPort,
					CidrIpv4: stringOrNil(in.CIDRIPv4), CidrIpv6: stringOrNil(in.CIDRIPv6), PrefixListId: stringOrNil(in.PrefixListID),
					ReferencedGroupId: stringOrNil(in.ReferencedSecurityGroupID), Description: stringOrNil(in.Description),
				},
			}},
		})
		if err != nil {
			return fmt.Errorf("updating VPC Security Group Rule (%s): %w", id, err)
		}
	}
	return nil
}

func (c *clients) authorize(ctx context.Context, egress bool, in ruleInputs) ([]ec2.SecurityGroupRule, error) {
	permissions := []ec2.IpPermission{in.permission()}
	tags := tagSpecifications(ec2.ResourceTypeSecurityGroupRule, in.Tags)
	if egress {
		made, err := c.ec2.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{
			GroupId: &in.SecurityGroupID, IpPermissions: permissions, TagSpecifications: tags,
		})
		if err != nil {
			return nil, err
		}
		return made.SecurityGroupRules, nil
	}
	made, err := c.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: &in.SecurityGroupID, IpPermissions: permissions, TagSpecifications: tags,
	})
	if err != nil {
		return nil, err
	}
	return made.SecurityGroupRules, nil
}

// readRule answers nil where there is no such rule, and beside the properties whether it is one for what goes out.
func (c *clients) readRule(ctx context.Context, id string) (live resource.PropertyMap, egress bool, err error) {
	found, err := c.ec2.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: []string{id}})
	if isNotFound(err) || err == nil && len(found.SecurityGroupRules) == 0 {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading VPC Security Group Rule (%s): %w", id, err)
	}
	rule := found.SecurityGroupRules[0]
	values := map[string]any{
		"securityGroupRuleId": id, "securityGroupId": rule.GroupId, "ipProtocol": rule.IpProtocol,
		"fromPort": rule.FromPort, "toPort": rule.ToPort, "cidrIpv4": rule.CidrIpv4, "cidrIpv6": rule.CidrIpv6,
		"description": rule.Description, "tags": fromEC2Tags(rule.Tags),
	}
	if other := rule.ReferencedGroupInfo; other != nil {
		group := aws.ToString(other.GroupId)
		if owner := aws.ToString(other.UserId); owner != "" && c.account != "" && owner != c.account {
			group = owner + "/" + group
		}
		values["referencedSecurityGroupId"] = group
	}
	return properties(values), aws.ToBool(rule.IsEgress), nil
}

// getSecurityGroupRules filters here, since moto does not: vpc_security_group_rules_data_source.go of the same folder. An ID that
// AWS does not have is no error in a filter: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupRules.html
func (c *clients) getSecurityGroupRules(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in filterInputs
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	for _, filter := range in.Filters {
		if filter.Name != "security-group-rule-id" && filter.Name != "group-id" {
			return nil, fmt.Errorf("the stand-in lists security groups' rules by tags, IDs and groups, and not by %s", filter.Name)
		}
	}
	found, err := c.ec2.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{})
	if err != nil {
		return nil, fmt.Errorf("reading Security Group Rules: %w", err)
	}
	ids := []string{}
	for _, rule := range found.SecurityGroupRules {
		tags, all := fromEC2Tags(rule.Tags), true
		for key, value := range textMap(args["tags"]) {
			all = all && tags[key] == value
		}
		for _, filter := range in.Filters {
			of := *rule.SecurityGroupRuleId
			if filter.Name == "group-id" {
				of = *rule.GroupId
			}
			all = all && slices.Contains(filter.Values, of)
		}
		if all {
			ids = append(ids, *rule.SecurityGroupRuleId)
		}
	}
	return properties(map[string]any{"id": c.region, "ids": ids}), nil
}

// getSecurityGroupRule is vpc_security_group_rule_data_source.go of the same folder, for an ID.
func (c *clients) getSecurityGroupRule(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	if !args.HasValue("securityGroupRuleId") {
		return nil, errors.New("the stand-in finds a security group's rule by its ID only")
	}
	live, egress, err := c.readRule(ctx, args["securityGroupRuleId"].StringValue())
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nil, errors.New("no matching Security Group Rule found")
	}
	live["isEgress"] = resource.NewProperty(egress)
	return live, nil
}

type filterInputs struct {
	Filters []struct {
		Name   string
		Values []string
	}
	ID    string `json:"id"`
	VpcID string `json:"vpcId"`
}

func (f filterInputs) filters() []ec2.Filter {
	var filters []ec2.Filter
	for _, filter := range f.Filters {
		filters = append(filters, ec2.Filter{Name: aws.String(filter.Name), Values: filter.Values})
	}
	return filters
}

func (c *clients) getSubnets(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in filterInputs
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	found, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: in.filters()})
	if err != nil {
		return nil, fmt.Errorf("reading EC2 Subnets: %w", err)
	}
	var ids []string
	for _, subnet := range found.Subnets {
		ids = append(ids, *subnet.SubnetId)
	}
	slices.Sort(ids)
	return properties(map[string]any{"id": c.region, "ids": ids}), nil
}

func (c *clients) getSubnet(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in filterInputs
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	filters := in.filters()
	if in.VpcID != "" {
		filters = append(filters, ec2.Filter{Name: aws.String("vpc-id"), Values: []string{in.VpcID}})
	}
	request := &ec2.DescribeSubnetsInput{Filters: filters}
	if in.ID != "" {
		request.SubnetIds = []string{in.ID}
	}
	found, err := c.ec2.DescribeSubnets(ctx, request)
	if isNotFound(err) || err == nil && len(found.Subnets) == 0 {
		return nil, fmt.Errorf("no matching EC2 Subnet found")
	}
	if err != nil {
		return nil, fmt.Errorf("reading EC2 Subnet: %w", err)
	}
	if len(found.Subnets) > 1 {
		return nil, fmt.Errorf("multiple EC2 Subnets matched; use additional constraints to reduce matches to a single EC2 Subnet")
	}
	subnet := found.Subnets[0]
	values := map[string]any{
		"id": subnet.SubnetId, "arn": subnet.SubnetArn, "vpcId": subnet.VpcId, "state": subnet.State,
		"availabilityZone": subnet.AvailabilityZone, "availabilityZoneId": subnet.AvailabilityZoneId,
		"availableIpAddressCount": subnet.AvailableIpAddressCount, "cidrBlock": aws.ToString(subnet.CidrBlock),
		"ipv6Native": aws.ToBool(subnet.Ipv6Native), "ipv6CidrBlock": "", "ownerId": subnet.OwnerId,
		"tags": fromEC2Tags(subnet.Tags),
	}
	for _, association := range subnet.Ipv6CidrBlockAssociationSet {
		if association.Ipv6CidrBlockState != nil && association.Ipv6CidrBlockState.State == ec2.SubnetCidrBlockStateCodeAssociated {
			values["ipv6CidrBlock"] = aws.ToString(association.Ipv6CidrBlock)
		}
	}
	return properties(values), nil
}

func (c *clients) getVPC(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in filterInputs
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	found, err := c.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{in.ID}, Filters: in.filters()})
	if isNotFound(err) || err == nil && len(found.Vpcs) == 0 {
		return nil, fmt.Errorf("no matching EC2 VPC found")
	}
	if err != nil {
		return nil, fmt.Errorf("reading EC2 VPC (%s): %w", in.ID, err)
	}
	vpc := found.Vpcs[0]
	values := map[string]any{
		"id": vpc.VpcId, "cidrBlock": vpc.CidrBlock, "default": vpc.IsDefault, "state": vpc.State,
		"instanceTenancy": vpc.InstanceTenancy, "ownerId": aws.ToString(vpc.OwnerId), "dhcpOptionsId": aws.ToString(vpc.DhcpOptionsId), "tags": fromEC2Tags(vpc.Tags),
	}
	// A refusal of one of these is an error of the lookup: dataSourceVPCRead in vpc_data_source.go of the same folder.
	for output, attribute := range map[string]ec2.VpcAttributeName{
		"enableDnsSupport": ec2.VpcAttributeNameEnableDnsSupport, "enableDnsHostnames": ec2.VpcAttributeNameEnableDnsHostnames,
		"enableNetworkAddressUsageMetrics": ec2.VpcAttributeNameEnableNetworkAddressUsageMetrics,
	} {
		answer, err := c.ec2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: vpc.VpcId, Attribute: attribute})
		if err != nil {
			return nil, fmt.Errorf("reading EC2 VPC (%s) Attribute (%s): %w", in.ID, attribute, err)
		}
		for _, value := range []*ec2.AttributeBooleanValue{answer.EnableDnsSupport, answer.EnableDnsHostnames, answer.EnableNetworkAddressUsageMetrics} {
			if value != nil {
				values[output] = value.Value
			}
		}
	}
	return properties(values), nil
}

func (c *clients) getVPCDHCPOptions(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	id := args["dhcpOptionsId"].StringValue()
	found, err := c.ec2.DescribeDhcpOptions(ctx, &ec2.DescribeDhcpOptionsInput{DhcpOptionsIds: []string{id}})
	if isNotFound(err) || err == nil && len(found.DhcpOptions) == 0 {
		return nil, fmt.Errorf("no matching EC2 DHCP Options Set found")
	}
	if err != nil {
		return nil, fmt.Errorf("reading EC2 DHCP Options Set (%s): %w", id, err)
	}
	var servers []string
	for _, option := range found.DhcpOptions[0].DhcpConfigurations {
		if *option.Key != "domain-name-servers" {
			continue
		}
		for _, value := range option.Values {
			servers = append(servers, *value.Value)
		}
	}
	return properties(map[string]any{"id": id, "dhcpOptionsId": id, "domainNameServers": servers}), nil
}

func ec2Tags(tags map[string]string) []ec2.Tag {
	var list []ec2.Tag
	for key, value := range tags {
		list = append(list, ec2.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return list
}

func fromEC2Tags(list []ec2.Tag) map[string]string {
	if len(list) == 0 {
		return nil
	}
	tags := map[string]string{}
	for _, tag := range list {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

func tagSpecifications(kind ec2.ResourceType, tags map[string]string) []ec2.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []ec2.TagSpecification{{ResourceType: kind, Tags: ec2Tags(tags)}}
}
