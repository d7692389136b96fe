package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"esc-connector-lambda-go/e2e/ec2"
)

// share is what another account shares with this one: the VPCs, in which it keeps security groups of its own. A participant may not use
// the default group, sees none of the owner's, and names one in a rule by account/group:
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing-behavior.html
type share struct {
	owner  string
	groups []string
}

// ShareNetwork makes all VPCs, and the security groups that are in them now, those of another account, which shares the VPCs.
func (g *Gateway) ShareNetwork(ctx context.Context, region, owner string) error {
	found, err := ec2.NewFromConfig(g.functions.config(region)).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{})
	if err != nil {
		return fmt.Errorf("sharing the network: %w", err)
	}
	shared := &share{owner: owner}
	for _, group := range found.SecurityGroups {
		shared.groups = append(shared.groups, awssdk.ToString(group.GroupId))
	}
	g.shared.Store(shared)
	return nil
}

var sourceGroup = regexp.MustCompile(`^IpPermissions\.\d+\.Groups\.\d+\.`)

// refuse answers a call that a participant may not make, and reports whether it did.
func (s *share) refuse(w http.ResponseWriter, action, body string) bool {
	if s == nil {
		return false
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return false
	}
	if action == "DescribeSecurityGroups" && slices.ContainsFunc([]string{"1", "2"}, func(n string) bool {
		return form.Get("Filter."+n+".Name") == "group-name" && form.Get("Filter."+n+".Value.1") == "default"
	}) {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, `<DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><securityGroupInfo/></DescribeSecurityGroupsResponse>`)
		return true
	}
	for key, values := range form {
		if len(values) == 0 || !slices.Contains(s.groups, values[0]) {
			continue
		}
		pair := sourceGroup.FindString(key)
		if pair == "" || form.Get(pair+"UserId") != s.owner {
			ec2Error(w, "InvalidGroup.NotFound", "The security group '"+values[0]+"' does not exist")
			return true
		}
	}
	return false
}

// outward names the owner in what EC2 tells of VPCs and subnets.
func (s *share) outward(action, account, answer string) string {
	if s == nil || action != "DescribeVpcs" && action != "DescribeSubnets" {
		return answer
	}
	return strings.ReplaceAll(answer, "<ownerId>"+account+"</ownerId>", "<ownerId>"+s.owner+"</ownerId>")
}
