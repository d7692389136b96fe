package ec2

// ResourceType is a kind of resource that a creation gives tags.
type ResourceType string

// The kinds that the stand-ins make with tags.
const (
	ResourceTypeSecurityGroup     ResourceType = "security-group"
	ResourceTypeSecurityGroupRule ResourceType = "security-group-rule"
)

// VpcAttributeName is an attribute of a VPC that is asked for alone.
type VpcAttributeName string

// The attributes of VPCs.
const (
	VpcAttributeNameEnableDnsHostnames               VpcAttributeName = "enableDnsHostnames"
	VpcAttributeNameEnableDnsSupport                 VpcAttributeName = "enableDnsSupport"
	VpcAttributeNameEnableNetworkAddressUsageMetrics VpcAttributeName = "enableNetworkAddressUsageMetrics"
)

// SubnetCidrBlockStateCodeAssociated is the state of a block that a subnet has.
const SubnetCidrBlockStateCodeAssociated = "associated"

// AttributeBooleanValue is an attribute that is on or off.
type AttributeBooleanValue struct {
	Value *bool `xml:"value"`
}

// AttributeValue is one value of an option.
type AttributeValue struct {
	Value *string `xml:"value"`
}

// DhcpConfiguration is an option with its values.
type DhcpConfiguration struct {
	Key    *string          `xml:"key"`
	Values []AttributeValue `xml:"valueSet>item"`
}

// DhcpOptions are what VPCs tell the machines in them.
type DhcpOptions struct {
	DhcpConfigurations []DhcpConfiguration `xml:"dhcpConfigurationSet>item"`
	DhcpOptionsId      *string             `xml:"dhcpOptionsId"`
}

// Filter lets through what has one of the values.
type Filter struct {
	Name   *string  `query:"Name"`
	Values []string `query:"Value"`
}

// IpPermission are rules of one protocol and range of ports.
type IpPermission struct {
	FromPort         *int32            `query:"FromPort" xml:"fromPort"`
	IpProtocol       *string           `query:"IpProtocol" xml:"ipProtocol"`
	IpRanges         []IpRange         `query:"IpRanges" xml:"ipRanges>item"`
	Ipv6Ranges       []Ipv6Range       `query:"Ipv6Ranges" xml:"ipv6Ranges>item"`
	PrefixListIds    []PrefixListId    `query:"PrefixListIds" xml:"prefixListIds>item"`
	ToPort           *int32            `query:"ToPort" xml:"toPort"`
	UserIdGroupPairs []UserIdGroupPair `query:"Groups" xml:"groups>item"`
}

// IpRange are addresses of IPv4.
type IpRange struct {
	CidrIp      *string `query:"CidrIp" xml:"cidrIp"`
	Description *string `query:"Description" xml:"description"`
}

// Ipv6Range are addresses of IPv6.
type Ipv6Range struct {
	CidrIpv6    *string `query:"CidrIpv6" xml:"cidrIpv6"`
	Description *string `query:"Description" xml:"description"`
}

// NewDhcpConfiguration is an option with its values.
type NewDhcpConfiguration struct {
	Key    *string  `query:"Key"`
	Values []string `query:"Value"`
}

// PrefixListId is a list of addresses.
type PrefixListId struct {
	Description  *string `query:"Description" xml:"description"`
	PrefixListId *string `query:"PrefixListId" xml:"prefixListId"`
}

// ReferencedSecurityGroup is the group that a rule names.
type ReferencedSecurityGroup struct {
	GroupId *string `xml:"groupId"`
	UserId  *string `xml:"userId"`
}

// SecurityGroup is a group of rules.
type SecurityGroup struct {
	Description         *string        `xml:"groupDescription"`
	GroupId             *string        `xml:"groupId"`
	GroupName           *string        `xml:"groupName"`
	IpPermissions       []IpPermission `xml:"ipPermissions>item"`
	IpPermissionsEgress []IpPermission `xml:"ipPermissionsEgress>item"`
	OwnerId             *string        `xml:"ownerId"`
	SecurityGroupArn    *string        `xml:"securityGroupArn"`
	Tags                []Tag          `xml:"tagSet>item"`
	VpcId               *string        `xml:"vpcId"`
}

// SecurityGroupRule is one rule of a group.
type SecurityGroupRule struct {
	CidrIpv4             *string                  `xml:"cidrIpv4"`
	CidrIpv6             *string                  `xml:"cidrIpv6"`
	Description          *string                  `xml:"description"`
	FromPort             *int32                   `xml:"fromPort"`
	GroupId              *string                  `xml:"groupId"`
	IpProtocol           *string                  `xml:"ipProtocol"`
	IsEgress             *bool                    `xml:"isEgress"`
	ReferencedGroupInfo  *ReferencedSecurityGroup `xml:"referencedGroupInfo"`
	SecurityGroupRuleArn *string                  `xml:"securityGroupRuleArn"`
	SecurityGroupRuleId  *string                  `xml:"securityGroupRuleId"`
	Tags                 []Tag                    `xml:"tagSet>item"`
	ToPort               *int32                   `xml:"toPort"`
}

// SecurityGroupRuleRequest is what a rule is to be.
type SecurityGroupRuleRequest struct {
	CidrIpv4          *string `query:"CidrIpv4"`
	CidrIpv6          *string `query:"CidrIpv6"`
	Description       *string `query:"Description"`
	FromPort          *int32  `query:"FromPort"`
	IpProtocol        *string `query:"IpProtocol"`
	PrefixListId      *string `query:"PrefixListId"`
	ReferencedGroupId *string `query:"ReferencedGroupId"`
	ToPort            *int32  `query:"ToPort"`
}

// SecurityGroupRuleUpdate is a rule, and what it is to be.
type SecurityGroupRuleUpdate struct {
	SecurityGroupRule   *SecurityGroupRuleRequest `query:"SecurityGroupRule"`
	SecurityGroupRuleId *string                   `query:"SecurityGroupRuleId"`
}

// Subnet is a part of a VPC.
type Subnet struct {
	AvailabilityZone            *string                          `xml:"availabilityZone"`
	AvailabilityZoneId          *string                          `xml:"availabilityZoneId"`
	AvailableIpAddressCount     *int32                           `xml:"availableIpAddressCount"`
	CidrBlock                   *string                          `xml:"cidrBlock"`
	Ipv6CidrBlockAssociationSet []SubnetIpv6CidrBlockAssociation `xml:"ipv6CidrBlockAssociationSet>item"`
	Ipv6Native                  *bool                            `xml:"ipv6Native"`
	OwnerId                     *string                          `xml:"ownerId"`
	State                       string                           `xml:"state"`
	SubnetArn                   *string                          `xml:"subnetArn"`
	SubnetId                    *string                          `xml:"subnetId"`
	Tags                        []Tag                            `xml:"tagSet>item"`
	VpcId                       *string                          `xml:"vpcId"`
}

// SubnetCidrBlockState says whether a subnet has a block.
type SubnetCidrBlockState struct {
	State string `xml:"state"`
}

// SubnetIpv6CidrBlockAssociation is a block of IPv6 addresses that a subnet has, had or gets.
type SubnetIpv6CidrBlockAssociation struct {
	Ipv6CidrBlock      *string               `xml:"ipv6CidrBlock"`
	Ipv6CidrBlockState *SubnetCidrBlockState `xml:"ipv6CidrBlockState"`
}

// Tag is a tag.
type Tag struct {
	Key   *string `query:"Key" xml:"key"`
	Value *string `query:"Value" xml:"value"`
}

// TagSpecification gives what is made tags.
type TagSpecification struct {
	ResourceType ResourceType `query:"ResourceType"`
	Tags         []Tag        `query:"Tag"`
}

// UserIdGroupPair is a group, and its owner where that is another account.
type UserIdGroupPair struct {
	Description *string `query:"Description" xml:"description"`
	GroupId     *string `query:"GroupId" xml:"groupId"`
	UserId      *string `query:"UserId" xml:"userId"`
}

// Vpc is a network.
type Vpc struct {
	CidrBlock       *string `xml:"cidrBlock"`
	DhcpOptionsId   *string `xml:"dhcpOptionsId"`
	InstanceTenancy string  `xml:"instanceTenancy"`
	IsDefault       *bool   `xml:"isDefault"`
	OwnerId         *string `xml:"ownerId"`
	State           string  `xml:"state"`
	Tags            []Tag   `xml:"tagSet>item"`
	VpcId           *string `xml:"vpcId"`
}
