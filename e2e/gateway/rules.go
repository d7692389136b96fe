package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"esc-connector-lambda-go/e2e/ec2"
)

// rules changes rules of security groups in place, whose source moto leaves as it was. Here a changed rule is another one of moto's,
// under the ID of the first.
type rules struct {
	functions *functions

	mu  sync.Mutex
	now map[string]string // moto's ID by the one that the world knows
}

// inward has a call name moto's rules, and outward an answer the world's.
func (s *rules) inward(text string) string  { return s.translate(text, false) }
func (s *rules) outward(text string) string { return s.translate(text, true) }

func (s *rules) translate(text string, back bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pairs []string
	for known, motos := range s.now {
		if back {
			known, motos = motos, known
		}
		pairs = append(pairs, known, motos)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// naming finds a rule of another group that names this one, which AWS does not delete then, and moto does.
func (s *rules) naming(r *http.Request, group string) string {
	found, err := ec2.NewFromConfig(s.functions.config(regionOf(r))).DescribeSecurityGroupRules(r.Context(), &ec2.DescribeSecurityGroupRulesInput{})
	if err != nil {
		return ""
	}
	for _, rule := range found.SecurityGroupRules {
		other := rule.ReferencedGroupInfo
		if other != nil && awssdk.ToString(other.GroupId) == group && awssdk.ToString(rule.GroupId) != group {
			return "a rule of " + awssdk.ToString(rule.GroupId)
		}
	}
	return ""
}

// content is what a rule lets through. EC2 takes no second rule of one content, whatever its description is, by which moto tells them apart:
// https://github.com/londonaicentre/FLIP/pull/886 has tried it.
type content struct {
	group, protocol, peer string
	egress                bool
	from, to              int32
}

func contentOf(rule ec2.SecurityGroupRule) content {
	peer := awssdk.ToString(rule.CidrIpv4) + awssdk.ToString(rule.CidrIpv6)
	if rule.ReferencedGroupInfo != nil {
		peer = awssdk.ToString(rule.ReferencedGroupInfo.GroupId)
	}
	return content{awssdk.ToString(rule.GroupId), awssdk.ToString(rule.IpProtocol), peer, awssdk.ToBool(rule.IsEgress), awssdk.ToInt32(rule.FromPort), awssdk.ToInt32(rule.ToPort)}
}

// refuseTwin answers a call that would have a rule twice, and reports whether it did.
func (s *rules) refuseTwin(ctx context.Context, w http.ResponseWriter, client *ec2.Client, wanted content) bool {
	found, err := client.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{})
	if err != nil || !slices.ContainsFunc(found.SecurityGroupRules, func(rule ec2.SecurityGroupRule) bool { return contentOf(rule) == wanted }) {
		return false
	}
	ec2Error(w, "InvalidPermission.Duplicate", fmt.Sprintf("the specified rule &quot;peer: %s, %s, from port: %d, to port: %d, ALLOW&quot; already exists",
		wanted.peer, strings.ToUpper(wanted.protocol), wanted.from, wanted.to))
	return true
}

// refuseNew answers AuthorizeSecurityGroupIngress and AuthorizeSecurityGroupEgress of one rule that is there, and reports whether it did.
func (s *rules) refuseNew(w http.ResponseWriter, r *http.Request, action, body string) bool {
	form, err := url.ParseQuery(body)
	if err != nil {
		return false
	}
	text := func(key string) string { return form.Get("IpPermissions.1." + key) }
	wanted := content{group: form.Get("GroupId"), protocol: text("IpProtocol"), egress: action == "AuthorizeSecurityGroupEgress",
		peer: text("Groups.1.GroupId") + text("IpRanges.1.CidrIp") + text("Ipv6Ranges.1.CidrIpv6"),
		from: awssdk.ToInt32(port(text("FromPort"))), to: awssdk.ToInt32(port(text("ToPort")))}
	return s.refuseTwin(r.Context(), w, ec2.NewFromConfig(s.functions.config(regionOf(r))), wanted)
}

// port reads one, nil where there is none.
func port(text string) *int32 {
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil
	}
	return awssdk.Int32(int32(number))
}

// modify answers ModifySecurityGroupRules for one rule: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySecurityGroupRules.html.
// The call is one of moto's own, and tells so by false, where nothing changes that AWS compares.
func (s *rules) modify(w http.ResponseWriter, r *http.Request, body string) bool {
	form, err := url.ParseQuery(body)
	if err != nil {
		return false
	}
	const prefix = "SecurityGroupRule.1."
	text := func(key string) *string {
		if value := form.Get(prefix + "SecurityGroupRule." + key); value != "" {
			return &value
		}
		return nil
	}
	id := form.Get(prefix + "SecurityGroupRuleId")
	client := ec2.NewFromConfig(s.functions.config(regionOf(r)))
	found, err := client.DescribeSecurityGroupRules(r.Context(), &ec2.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: []string{id}})
	if err != nil || len(found.SecurityGroupRules) == 0 {
		return false
	}
	was := found.SecurityGroupRules[0]
	permission := ec2.IpPermission{IpProtocol: text("IpProtocol"), FromPort: port(form.Get(prefix + "SecurityGroupRule.FromPort")), ToPort: port(form.Get(prefix + "SecurityGroupRule.ToPort"))}
	source := ""
	switch {
	case text("ReferencedGroupId") != nil && was.ReferencedGroupInfo != nil:
		source = *text("ReferencedGroupId")
		permission.UserIdGroupPairs = []ec2.UserIdGroupPair{{GroupId: &source, Description: text("Description")}}
	case text("CidrIpv4") != nil && was.CidrIpv4 != nil:
		source = *text("CidrIpv4")
		permission.IpRanges = []ec2.IpRange{{CidrIp: &source, Description: text("Description")}}
	case text("CidrIpv6") != nil && was.CidrIpv6 != nil:
		source = *text("CidrIpv6")
		permission.Ipv6Ranges = []ec2.Ipv6Range{{CidrIpv6: &source, Description: text("Description")}}
	default:
		ec2Error(w, "InvalidParameterValue", "Invalid rule type for security group rule '"+id+"'.")
		return true
	}
	before := contentOf(was)
	wanted := content{before.group, awssdk.ToString(permission.IpProtocol), source, before.egress, awssdk.ToInt32(permission.FromPort), awssdk.ToInt32(permission.ToPort)}
	if wanted == before {
		return false
	}
	if s.refuseTwin(r.Context(), w, client, wanted) {
		return true
	}
	made, err := s.exchange(r, client, was, permission)
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		ec2Error(w, api.ErrorCode(), api.ErrorMessage())
	case err != nil:
		ec2Error(w, "InternalError", err.Error())
	default:
		s.mu.Lock()
		for known, motos := range s.now {
			if motos == id {
				id = known
			}
		}
		s.now[id] = made
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><ModifySecurityGroupRulesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><return>true</return></ModifySecurityGroupRulesResponse>`)
	}
	return true
}

// exchange makes the new rule before it removes the old one, and answers the new one's ID.
func (s *rules) exchange(r *http.Request, client *ec2.Client, was ec2.SecurityGroupRule, permission ec2.IpPermission) (string, error) {
	var tags []ec2.TagSpecification
	if len(was.Tags) > 0 {
		tags = []ec2.TagSpecification{{ResourceType: ec2.ResourceTypeSecurityGroupRule, Tags: was.Tags}}
	}
	permissions, old := []ec2.IpPermission{permission}, []string{*was.SecurityGroupRuleId}
	if awssdk.ToBool(was.IsEgress) {
		made, err := client.AuthorizeSecurityGroupEgress(r.Context(), &ec2.AuthorizeSecurityGroupEgressInput{
			GroupId: was.GroupId, IpPermissions: permissions, TagSpecifications: tags})
		if err != nil {
			return "", err
		}
		_, err = client.RevokeSecurityGroupEgress(r.Context(), &ec2.RevokeSecurityGroupEgressInput{GroupId: was.GroupId, SecurityGroupRuleIds: old})
		return *made.SecurityGroupRules[0].SecurityGroupRuleId, err
	}
	made, err := client.AuthorizeSecurityGroupIngress(r.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: was.GroupId, IpPermissions: permissions, TagSpecifications: tags})
	if err != nil {
		return "", err
	}
	_, err = client.RevokeSecurityGroupIngress(r.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: was.GroupId, SecurityGroupRuleIds: old})
	return *made.SecurityGroupRules[0].SecurityGroupRuleId, err
}
