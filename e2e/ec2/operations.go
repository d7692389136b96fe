package ec2

import "context"

// AssociateDhcpOptionsInput gives a VPC options.
type AssociateDhcpOptionsInput struct {
	DhcpOptionsId *string `query:"DhcpOptionsId"`
	VpcId         *string `query:"VpcId"`
}

// AuthorizeSecurityGroupInput adds rules to a group.
type AuthorizeSecurityGroupInput struct {
	GroupId           *string            `query:"GroupId"`
	IpPermissions     []IpPermission     `query:"IpPermissions"`
	TagSpecifications []TagSpecification `query:"TagSpecification"`
}

// The input is the same for both directions.
type (
	AuthorizeSecurityGroupEgressInput  = AuthorizeSecurityGroupInput
	AuthorizeSecurityGroupIngressInput = AuthorizeSecurityGroupInput
)

// AuthorizeSecurityGroupOutput are the new rules.
type AuthorizeSecurityGroupOutput struct {
	SecurityGroupRules []SecurityGroupRule `xml:"securityGroupRuleSet>item"`
}

// CreateDhcpOptionsInput makes options.
type CreateDhcpOptionsInput struct {
	DhcpConfigurations []NewDhcpConfiguration `query:"DhcpConfiguration"`
}

// CreateDhcpOptionsOutput are the new options.
type CreateDhcpOptionsOutput struct {
	DhcpOptions *DhcpOptions `xml:"dhcpOptions"`
}

// CreateSecurityGroupInput makes a group.
type CreateSecurityGroupInput struct {
	Description       *string            `query:"GroupDescription"`
	GroupName         *string            `query:"GroupName"`
	VpcId             *string            `query:"VpcId"`
	TagSpecifications []TagSpecification `query:"TagSpecification"`
}

// CreateSecurityGroupOutput names the new group.
type CreateSecurityGroupOutput struct {
	GroupId *string `xml:"groupId"`
}

// CreateSubnetInput makes a subnet.
type CreateSubnetInput struct {
	AvailabilityZone *string `query:"AvailabilityZone"`
	CidrBlock        *string `query:"CidrBlock"`
	VpcId            *string `query:"VpcId"`
}

// CreateSubnetOutput is the new subnet.
type CreateSubnetOutput struct {
	Subnet *Subnet `xml:"subnet"`
}

// CreateVpcInput makes a VPC.
type CreateVpcInput struct {
	CidrBlock *string `query:"CidrBlock"`
}

// CreateVpcOutput is the new VPC.
type CreateVpcOutput struct {
	Vpc *Vpc `xml:"vpc"`
}

// TagsInput names tags of resources.
type TagsInput struct {
	Resources []string `query:"ResourceId"`
	Tags      []Tag    `query:"Tag"`
}

// The input is the same for tags that come and that go.
type (
	CreateTagsInput = TagsInput
	DeleteTagsInput = TagsInput
)

// DeleteSecurityGroupInput deletes a group.
type DeleteSecurityGroupInput struct {
	GroupId *string `query:"GroupId"`
}

// DescribeDhcpOptionsInput asks for options.
type DescribeDhcpOptionsInput struct {
	DhcpOptionsIds []string `query:"DhcpOptionsId"`
}

// DescribeDhcpOptionsOutput are options.
type DescribeDhcpOptionsOutput struct {
	DhcpOptions []DhcpOptions `xml:"dhcpOptionsSet>item"`
}

// DescribeSecurityGroupsInput asks for groups.
type DescribeSecurityGroupsInput struct {
	Filters  []Filter `query:"Filter"`
	GroupIds []string `query:"GroupId"`
}

// DescribeSecurityGroupsOutput are groups.
type DescribeSecurityGroupsOutput struct {
	SecurityGroups []SecurityGroup `xml:"securityGroupInfo>item"`
}

// DescribeSecurityGroupRulesInput asks for rules.
type DescribeSecurityGroupRulesInput struct {
	SecurityGroupRuleIds []string `query:"SecurityGroupRuleId"`
}

// DescribeSecurityGroupRulesOutput are rules.
type DescribeSecurityGroupRulesOutput struct {
	SecurityGroupRules []SecurityGroupRule `xml:"securityGroupRuleSet>item"`
}

// DescribeSubnetsInput asks for subnets.
type DescribeSubnetsInput struct {
	Filters   []Filter `query:"Filter"`
	SubnetIds []string `query:"SubnetId"`
}

// DescribeSubnetsOutput are subnets.
type DescribeSubnetsOutput struct {
	Subnets []Subnet `xml:"subnetSet>item"`
}

// DescribeVpcAttributeInput asks for one attribute of a VPC.
type DescribeVpcAttributeInput struct {
	Attribute VpcAttributeName `query:"Attribute"`
	VpcId     *string          `query:"VpcId"`
}

// DescribeVpcAttributeOutput is the attribute that was asked for.
type DescribeVpcAttributeOutput struct {
	EnableDnsHostnames               *AttributeBooleanValue `xml:"enableDnsHostnames"`
	EnableDnsSupport                 *AttributeBooleanValue `xml:"enableDnsSupport"`
	EnableNetworkAddressUsageMetrics *AttributeBooleanValue `xml:"enableNetworkAddressUsageMetrics"`
}

// DescribeVpcsInput asks for VPCs.
type DescribeVpcsInput struct {
	Filters []Filter `query:"Filter"`
	VpcIds  []string `query:"VpcId"`
}

// DescribeVpcsOutput are VPCs.
type DescribeVpcsOutput struct {
	Vpcs []Vpc `xml:"vpcSet>item"`
}

// ModifySecurityGroupRulesInput changes rules of a group.
type ModifySecurityGroupRulesInput struct {
	GroupId            *string                   `query:"GroupId"`
	SecurityGroupRules []SecurityGroupRuleUpdate `query:"SecurityGroupRule"`
}

// RevokeSecurityGroupInput removes rules of a group.
type RevokeSecurityGroupInput struct {
	GroupId              *string        `query:"GroupId"`
	IpPermissions        []IpPermission `query:"IpPermissions"`
	SecurityGroupRuleIds []string       `query:"SecurityGroupRuleId"`
}

// The input is the same for both directions.
type (
	RevokeSecurityGroupEgressInput  = RevokeSecurityGroupInput
	RevokeSecurityGroupIngressInput = RevokeSecurityGroupInput
)

// Done is the answer of an operation that tells nothing else.
type Done struct{}

// AssociateDhcpOptions gives a VPC options.
func (c *Client) AssociateDhcpOptions(ctx context.Context, input *AssociateDhcpOptionsInput) (*Done, error) {
	return call[Done](ctx, c, "AssociateDhcpOptions", input)
}

// AuthorizeSecurityGroupEgress adds rules by which a group lets something out.
func (c *Client) AuthorizeSecurityGroupEgress(ctx context.Context, input *AuthorizeSecurityGroupEgressInput) (*AuthorizeSecurityGroupOutput, error) {
	return call[AuthorizeSecurityGroupOutput](ctx, c, "AuthorizeSecurityGroupEgress", input)
}

// AuthorizeSecurityGroupIngress adds rules by which a group lets something in.
func (c *Client) AuthorizeSecurityGroupIngress(ctx context.Context, input *AuthorizeSecurityGroupIngressInput) (*AuthorizeSecurityGroupOutput, error) {
	return call[AuthorizeSecurityGroupOutput](ctx, c, "AuthorizeSecurityGroupIngress", input)
}

// CreateDhcpOptions makes options.
func (c *Client) CreateDhcpOptions(ctx context.Context, input *CreateDhcpOptionsInput) (*CreateDhcpOptionsOutput, error) {
	return call[CreateDhcpOptionsOutput](ctx, c, "CreateDhcpOptions", input)
}

// CreateSecurityGroup makes a group.
func (c *Client) CreateSecurityGroup(ctx context.Context, input *CreateSecurityGroupInput) (*CreateSecurityGroupOutput, error) {
	return call[CreateSecurityGroupOutput](ctx, c, "CreateSecurityGroup", input)
}

// CreateSubnet makes a subnet.
func (c *Client) CreateSubnet(ctx context.Context, input *CreateSubnetInput) (*CreateSubnetOutput, error) {
	return call[CreateSubnetOutput](ctx, c, "CreateSubnet", input)
}

// CreateTags adds tags to resources.
func (c *Client) CreateTags(ctx context.Context, input *CreateTagsInput) (*Done, error) {
	return call[Done](ctx, c, "CreateTags", input)
}

// CreateVpc makes a VPC.
func (c *Client) CreateVpc(ctx context.Context, input *CreateVpcInput) (*CreateVpcOutput, error) {
	return call[CreateVpcOutput](ctx, c, "CreateVpc", input)
}

// DeleteSecurityGroup deletes a group.
func (c *Client) DeleteSecurityGroup(ctx context.Context, input *DeleteSecurityGroupInput) (*Done, error) {
	return call[Done](ctx, c, "DeleteSecurityGroup", input)
}

// DeleteTags takes tags from resources.
func (c *Client) DeleteTags(ctx context.Context, input *DeleteTagsInput) (*Done, error) {
	return call[Done](ctx, c, "DeleteTags", input)
}

// DescribeDhcpOptions answers options.
func (c *Client) DescribeDhcpOptions(ctx context.Context, input *DescribeDhcpOptionsInput) (*DescribeDhcpOptionsOutput, error) {
	return call[DescribeDhcpOptionsOutput](ctx, c, "DescribeDhcpOptions", input)
}

// DescribeSecurityGroups answers groups.
func (c *Client) DescribeSecurityGroups(ctx context.Context, input *DescribeSecurityGroupsInput) (*DescribeSecurityGroupsOutput, error) {
	return call[DescribeSecurityGroupsOutput](ctx, c, "DescribeSecurityGroups", input)
}

// DescribeSecurityGroupRules answers rules.
func (c *Client) DescribeSecurityGroupRules(ctx context.Context, input *DescribeSecurityGroupRulesInput) (*DescribeSecurityGroupRulesOutput, error) {
	return call[DescribeSecurityGroupRulesOutput](ctx, c, "DescribeSecurityGroupRules", input)
}

// DescribeSubnets answers subnets.
func (c *Client) DescribeSubnets(ctx context.Context, input *DescribeSubnetsInput) (*DescribeSubnetsOutput, error) {
	return call[DescribeSubnetsOutput](ctx, c, "DescribeSubnets", input)
}

// DescribeVpcAttribute answers one attribute of a VPC.
func (c *Client) DescribeVpcAttribute(ctx context.Context, input *DescribeVpcAttributeInput) (*DescribeVpcAttributeOutput, error) {
	return call[DescribeVpcAttributeOutput](ctx, c, "DescribeVpcAttribute", input)
}

// DescribeVpcs answers VPCs.
func (c *Client) DescribeVpcs(ctx context.Context, input *DescribeVpcsInput) (*DescribeVpcsOutput, error) {
	return call[DescribeVpcsOutput](ctx, c, "DescribeVpcs", input)
}

// ModifySecurityGroupRules changes rules of a group.
func (c *Client) ModifySecurityGroupRules(ctx context.Context, input *ModifySecurityGroupRulesInput) (*Done, error) {
	return call[Done](ctx, c, "ModifySecurityGroupRules", input)
}

// RevokeSecurityGroupEgress removes rules by which a group lets something out.
func (c *Client) RevokeSecurityGroupEgress(ctx context.Context, input *RevokeSecurityGroupEgressInput) (*Done, error) {
	return call[Done](ctx, c, "RevokeSecurityGroupEgress", input)
}

// RevokeSecurityGroupIngress removes rules by which a group lets something in.
func (c *Client) RevokeSecurityGroupIngress(ctx context.Context, input *RevokeSecurityGroupIngressInput) (*Done, error) {
	return call[Done](ctx, c, "RevokeSecurityGroupIngress", input)
}
