package infra

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// remnant is something of this stack's that AWS has and the state has not. An update would create it, and AWS would refuse.
type remnant struct {
	what   string   // for a person
	delete []string // the calls that delete it, as the AWS CLI takes them
}

func functionRemnant(region, name string) remnant {
	return remnant{"the function " + name, []string{"lambda delete-function --region " + region + " --function-name " + name}}
}

// roleRemnant deletes the policy before its role, which AWS deletes without policies only.
func roleRemnant(name, policy string) remnant {
	return remnant{"the role " + name, []string{
		"iam delete-role-policy --role-name " + name + " --policy-name " + policy,
		"iam delete-role --role-name " + name}}
}

func logGroupRemnant(region, name string) remnant {
	return remnant{"the log group " + name, []string{"logs delete-log-group --region " + region + " --log-group-name " + name}}
}

func ruleRemnant(region string, rule *foundRule) remnant {
	direction := "ingress"
	if rule.IsEgress {
		direction = "egress"
	}
	return remnant{fmt.Sprintf("the rule %s of the security group %s", rule.SecurityGroupRuleId, rule.SecurityGroupId),
		[]string{fmt.Sprintf("ec2 revoke-security-group-%s --region %s --group-id %s --security-group-rule-ids %s",
			direction, region, rule.SecurityGroupId, rule.SecurityGroupRuleId)}}
}

// remnants are what AWS has and the state lacks. A question that fails is no answer: AWS refuses to create what it has, in the
// end.
func (l *LastState) remnants(ctx *pulumi.Context, settings *Settings) []remnant {
	wanted, region := newNames(settings, l), settings.Region
	role := func(name string) error {
		_, err := iam.LookupRole(ctx, &iam.LookupRoleArgs{Name: name})
		return err
	}
	named := []struct {
		logicalName, name string
		lookup            func(name string) error
		remnant           remnant
	}{
		{functionResource, wanted.function, func(name string) error {
			_, err := lambda.LookupFunction(ctx, &lambda.LookupFunctionArgs{FunctionName: name})
			return err
		}, functionRemnant(region, wanted.function)},
		{executionRoleResource, wanted.executionRole, role, roleRemnant(wanted.executionRole, executionPolicyName)},
		{invocationRoleResource, wanted.invocationRole, role, roleRemnant(wanted.invocationRole, invocationPolicyName)},
		{logGroupResource, wanted.logGroup, func(name string) error {
			var group struct{}
			return invoke(ctx, logGroupLookupToken, logGroupLookupArgs{Name: name}, &group, "logs:DescribeLogGroups")
		}, logGroupRemnant(region, wanted.logGroup)},
	}
	found := make([][]remnant, len(named)+1)
	var questions []func() error
	for i, each := range named {
		if _, there := l.resources[each.logicalName]; there {
			continue
		}
		questions = append(questions, func() error {
			if each.lookup(each.name) == nil {
				found[i] = []remnant{each.remnant}
			}
			return nil
		})
	}
	questions = append(questions, func() error {
		for _, rule := range l.lostRules(ctx, settings) {
			found[len(named)] = append(found[len(named)], ruleRemnant(region, rule))
		}
		return nil
	})
	_ = together(questions...) // none of them fails
	return slices.Concat(found...)
}

// lostRules are rules with this stack's tags, of its own security group or about it, that the state lacks and that an update
// would make again. AWS refuses a second one (InvalidPermission.Duplicate).
func (l *LastState) lostRules(ctx *pulumi.Context, settings *Settings) []*foundRule {
	_, group, _ := strings.Cut(text(l.outputs(securityGroupResource).Arn), "security-group/")
	if group == "" {
		return nil // a new group has no rules yet
	}
	const action = "ec2:DescribeSecurityGroupRules"
	var tagged ruleList
	err := invoke(ctx, rulesLookupToken, rulesArgs{Tags: map[string]string{"pulumi:project": settings.Project, "pulumi:stack": settings.Stack}},
		&tagged, action)
	if err != nil {
		return nil
	}
	unknown := slices.DeleteFunc(tagged.Ids, func(id string) bool {
		return slices.ContainsFunc(l.entries, func(e entry) bool { return text(e.outputs.SecurityGroupRuleId) == id })
	})
	found := make([]*foundRule, len(unknown))
	var questions []func() error
	for i, id := range unknown {
		questions = append(questions, func() error {
			var rule foundRule
			if invoke(ctx, ruleLookupToken, ruleArgs{SecurityGroupRuleId: id}, &rule, action) == nil {
				found[i] = &rule
			}
			return nil
		})
	}
	_ = together(questions...) // none of them fails
	return slices.DeleteFunc(found, func(rule *foundRule) bool {
		if rule == nil {
			return true
		}
		name, token := rule.logicalName(group), ingressRuleToken
		if rule.IsEgress {
			token = egressRuleToken
		}
		return name == "" || name == fromConnectorResource && !settings.ManageIngress ||
			slices.ContainsFunc(l.entries, func(e entry) bool { return e.urn.Name() == name && string(e.urn.QualifiedType()) == token })
	})
}

// logicalName is what the program calls such a rule, where the function's group is that one; empty for any other rule.
func (r *foundRule) logicalName(group string) string {
	own := r.SecurityGroupId == group
	switch {
	case own && r.IsEgress && r.ReferencedSecurityGroupId != "":
		return toDatabaseResource
	case own && r.IsEgress:
		prefix, err := netip.ParsePrefix(r.CidrIpv4 + r.CidrIpv6)
		if err != nil {
			return ""
		}
		return nameServerRule(prefix.Addr(), r.IpProtocol)
	case !own && !r.IsEgress && r.ReferencedSecurityGroupId == group:
		return fromConnectorResource
	}
	return ""
}
