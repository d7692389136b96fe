package infra

import (
	"fmt"
	"maps"
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
	owner  string   // the stack whose tags it has, where that is another one
}

func functionRemnant(region, name string) remnant {
	return remnant{what: "the function " + name, delete: []string{"lambda delete-function --region " + region + " --function-name " + name}}
}

// roleRemnant deletes the policies before their role, which AWS deletes without policies only.
func roleRemnant(name string, policies ...string) remnant {
	var commands []string
	for _, policy := range policies {
		commands = append(commands, "iam delete-role-policy --role-name "+name+" --policy-name "+policy)
	}
	return remnant{what: "the role " + name, delete: append(commands, "iam delete-role --role-name "+name)}
}

func logGroupRemnant(region, name string) remnant {
	return remnant{what: "the log group " + name, delete: []string{"logs delete-log-group --region " + region + " --log-group-name " + name}}
}

func ruleRemnant(region string, rule foundRule) remnant {
	direction := "ingress"
	if rule.IsEgress {
		direction = "egress"
	}
	return remnant{what: fmt.Sprintf("the rule %s of the security group %s", rule.SecurityGroupRuleId, rule.SecurityGroupId),
		delete: []string{fmt.Sprintf("ec2 revoke-security-group-%s --region %s --group-id %s --security-group-rule-ids %s",
			direction, region, rule.SecurityGroupId, rule.SecurityGroupRuleId)}}
}

// named reports whether the state tells what this stack's parts are called. Then they are its own, by whatever tags: a stack that was
// renamed has its older name in them until it is updated. Environments may be copies of another stack's.
func (l *LastState) named() bool {
	return (l.function != "" || l.invocationRole != "") && !l.documented ||
		slices.ContainsFunc([]string{functionResource, invocationRoleResource, executionRoleResource, logGroupResource}, l.has)
}

// presence is whether AWS has something.
type presence int

const (
	unknown presence = iota // the question failed, and so was none
	present
	absent
)

// presenceBy is what the error of a lookup tells.
func presenceBy(err error) presence {
	switch {
	case err == nil:
		return present
	case isNotFound(err):
		return absent
	}
	return unknown
}

// remnants are what AWS has and the state lacks. A question that fails is no answer: AWS refuses to create what it has, in the
// end. Gone is what the state has and AWS does not, which an update does not see.
func (l *LastState) remnants(ctx *pulumi.Context, settings *Settings) (taken []remnant, gone []string) {
	wanted, region := newNames(settings, l), settings.Region
	role := func(name string) (map[string]string, error) {
		role, err := iam.LookupRole(ctx, &iam.LookupRoleArgs{Name: name})
		if err != nil {
			return nil, err
		}
		return role.Tags, nil
	}
	named := []struct {
		logicalName, name string
		tags              func(name string) (map[string]string, error)
		remnant           remnant
	}{
		{functionResource, wanted.function, func(name string) (map[string]string, error) {
			function, err := lambda.LookupFunction(ctx, &lambda.LookupFunctionArgs{FunctionName: name})
			if err != nil {
				return nil, err
			}
			return function.Tags, nil
		}, functionRemnant(region, wanted.function)},
		{executionRoleResource, wanted.executionRole, role, roleRemnant(wanted.executionRole, executionPolicyName, managingLoginName)},
		{invocationRoleResource, wanted.invocationRole, role, roleRemnant(wanted.invocationRole, invocationPolicyName)},
		{logGroupResource, wanted.logGroup, func(name string) (map[string]string, error) {
			var group foundLogGroup
			err := invoke(ctx, logGroupLookupToken, logGroupLookupArgs{Name: name}, &group, "logs:DescribeLogGroups")
			return group.Tags, err
		}, logGroupRemnant(region, wanted.logGroup)},
	}
	found, missing := make([][]remnant, len(named)+1), make([][]string, len(named)+2)
	var questions []func() error
	for i, each := range named {
		questions = append(questions, func() error {
			switch tags, err := each.tags(each.name); {
			case err == nil && !l.has(each.logicalName):
				if !l.named() {
					each.remnant.owner = otherStack(tags, settings)
				}
				found[i] = []remnant{each.remnant}
			case isNotFound(err) && l.has(each.logicalName):
				missing[i] = []string{each.remnant.what}
			}
			return nil
		})
	}
	questions = append(questions, func() error {
		missing[len(named)] = l.goneNameless(ctx, settings)
		return nil
	}, func() error {
		gone := l.goneRules(ctx)
		for _, id := range gone {
			missing[len(named)+1] = append(missing[len(named)+1], "the security group rule "+id)
		}
		for _, rule := range l.lostRules(ctx, settings, gone) {
			found[len(named)] = append(found[len(named)], ruleRemnant(region, rule))
		}
		return nil
	})
	_ = together(questions...) // none of them fails
	return slices.Concat(found...), slices.Concat(missing...)
}

// goneNameless are those whose name the provider or AWS chose, which the state has and AWS does not.
func (l *LastState) goneNameless(ctx *pulumi.Context, settings *Settings) []string {
	kinds := l.namelessKinds(ctx, settings)
	gone := make([]string, len(kinds))
	var questions []func() error
	for i, kind := range kinds {
		questions = append(questions, func() error {
			arn := text(l.outputs(kind.logicalName).Arn)
			if _, name, is := strings.Cut(arn, kind.arn); is && kind.ask(arn, name) == absent {
				gone[i] = kind.called + name
			}
			return nil
		})
	}
	_ = together(questions...) // none of them fails
	return slices.DeleteFunc(gone, func(what string) bool { return what == "" })
}

// ownRule is the ID of a rule of this program's, empty of any other entry.
func (e entry) ownRule() string {
	name, token := e.urn.Name(), string(e.urn.QualifiedType())
	if token == egressRuleToken && (name == toDatabaseResource || strings.HasPrefix(name, toNameServerResource)) ||
		token == ingressRuleToken && name == fromConnectorResource {
		return text(e.outputs.SecurityGroupRuleId)
	}
	return ""
}

// goneRules are the IDs of rules of security groups that the state has and AWS does not.
func (l *LastState) goneRules(ctx *pulumi.Context) []string {
	var gone []string
	for _, entry := range l.entries {
		if id := entry.ownRule(); id != "" {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	// AWS fails where one of several IDs is unknown, and answers what it has of those in a filter:
	// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupRules.html
	var there ruleList
	if err := invoke(ctx, rulesLookupToken, rulesArgs{Filters: []filter{{"security-group-rule-id", gone}}}, &there, "ec2:DescribeSecurityGroupRules"); err != nil {
		return nil
	}
	return slices.DeleteFunc(gone, func(id string) bool { return slices.Contains(there.Ids, id) })
}

// lostRules are rules of this stack's own security group or about it that the state lacks and that an update would make again.
// AWS refuses a second one (InvalidPermission.Duplicate). An entry whose rule is gone may be that of one which was being made anew.
func (l *LastState) lostRules(ctx *pulumi.Context, settings *Settings, gone []string) []foundRule {
	group := groupOf(text(l.outputs(securityGroupResource).Arn))
	if group == "" {
		return nil // a new group has no rules yet
	}
	return slices.DeleteFunc(l.unknownRules(ctx, settings), func(rule foundRule) bool {
		name := rule.logicalName(group)
		return name == "" || name == fromConnectorResource && !settings.ManageIngress ||
			slices.ContainsFunc(l.entries, func(e entry) bool {
				id := e.ownRule()
				return id != "" && e.urn.Name() == name && !slices.Contains(gone, id)
			})
	})
}

// groupOf is the ID in a security group's ARN, empty of any other.
func groupOf(arn string) string {
	_, group, _ := strings.Cut(arn, ":security-group/")
	return group
}

// lookUpSecurityGroup fails where AWS does not have the group, or does not tell.
func lookUpSecurityGroup(ctx *pulumi.Context, id string) error {
	return invoke(ctx, securityGroupLookupToken, securityGroupLookupArgs{Id: id}, &foundSecurityGroup{}, "ec2:DescribeSecurityGroups")
}

// unknownRules are rules with this stack's tags, of today or of its last update, that no entry of the state has.
func (l *LastState) unknownRules(ctx *pulumi.Context, settings *Settings) (unknown []foundRule) {
	for _, tags := range append(l.earlierTags(settings), stackTags(settings)) {
		unknown = append(unknown, l.besideState(ctx, rulesArgs{Tags: tags})...)
	}
	return unknown
}

// openRules let the function connect to everywhere, and are in no entry of the state. AWS gives each new group one
// (https://docs.aws.amazon.com/vpc/latest/userguide/creating-security-groups.html), which the provider takes away.
func (l *LastState) openRules(ctx *pulumi.Context, settings *Settings) (open []remnant) {
	group := groupOf(text(l.outputs(securityGroupResource).Arn))
	if group == "" {
		return nil
	}
	for _, rule := range l.besideState(ctx, rulesArgs{Filters: []filter{{"group-id", []string{group}}}}) {
		if to := rule.CidrIpv4 + rule.CidrIpv6; rule.IsEgress && (to == "0.0.0.0/0" || to == "::/0") {
			open = append(open, ruleRemnant(settings.Region, rule))
		}
	}
	return open
}

// besideState are such rules of security groups, but for those in entries of the state.
func (l *LastState) besideState(ctx *pulumi.Context, such rulesArgs) []foundRule {
	const action = "ec2:DescribeSecurityGroupRules"
	var all ruleList
	if err := invoke(ctx, rulesLookupToken, such, &all, action); err != nil {
		return nil
	}
	ids := slices.DeleteFunc(all.Ids, func(id string) bool {
		return slices.ContainsFunc(l.entries, func(e entry) bool { return text(e.outputs.SecurityGroupRuleId) == id })
	})
	found := make([]foundRule, len(ids))
	var questions []func() error
	for i, id := range ids {
		questions = append(questions, func() error {
			return invoke(ctx, ruleLookupToken, ruleArgs{SecurityGroupRuleId: id}, &found[i], action)
		})
	}
	_ = together(questions...) // one that fails leaves its rule empty
	return slices.DeleteFunc(found, func(rule foundRule) bool { return rule.SecurityGroupRuleId == "" })
}

// stackTags are on all that this stack makes in AWS.
func stackTags(settings *Settings) map[string]string {
	return map[string]string{"pulumi:project": settings.Project, "pulumi:stack": settings.Stack}
}

// earlierTags are those of the names that this stack had when it last wrote what its state has.
func (l *LastState) earlierTags(settings *Settings) (earlier []map[string]string) {
	for name, outputs := range l.resources {
		tags := stackTags(settings)
		complete := name != oidcProviderResource // which is all stacks'
		for key := range tags {
			tags[key] = text(part(outputs.Tags, key))
			complete = complete && tags[key] != ""
		}
		known := func(other map[string]string) bool { return maps.Equal(tags, other) }
		if complete && otherStack(tags, settings) != "" && !slices.ContainsFunc(earlier, known) {
			earlier = append(earlier, tags)
		}
	}
	return earlier
}

const ofProject = " of the project "

// otherStack is the stack whose tags these are, where that is another one.
func otherStack(tags map[string]string, settings *Settings) string {
	own := stackTags(settings)
	for key := range own {
		if tags[key] != "" && tags[key] != own[key] {
			return tags["pulumi:stack"] + ofProject + tags["pulumi:project"]
		}
	}
	return ""
}

// nameless is a kind of which the provider or AWS chooses the name: where the state has lost one, an update makes another, and
// nobody deletes the first.
type nameless struct {
	logicalName string
	called      string // for a person, before the name
	arn         string // its part before the name
	made        bool   // whether this update makes one
	ask         func(arn, name string) presence
	delete      func(arn, name string) []string // the calls, as the AWS CLI takes them
}

func (l *LastState) namelessKinds(ctx *pulumi.Context, settings *Settings) []nameless {
	inRegion := " --region " + settings.Region
	signed := settings.CodeSigning && !settings.Published
	return []nameless{
		{securityGroupResource, "the security group ", ":security-group/", true,
			func(_, name string) presence {
				return presenceBy(lookUpSecurityGroup(ctx, name))
			},
			func(_, name string) (commands []string) {
				for _, rule := range l.unknownRules(ctx, settings) { // AWS deletes no group that a rule of another one names
					if rule.logicalName(name) == fromConnectorResource {
						commands = append(commands, ruleRemnant(settings.Region, rule).delete...)
					}
				}
				return append(commands, "ec2 delete-security-group"+inRegion+" --group-id "+name)
			}},
		{bucketResource, "the bucket ", ":s3:::", signed,
			func(_, name string) presence {
				return presenceBy(invoke(ctx, bucketLookupToken, bucketLookupArgs{Bucket: name}, &struct{}{}, "s3:ListBucket"))
			},
			func(_, name string) []string {
				return []string{"s3api delete-bucket" + inRegion + " --bucket " + name}
			}},
		{signingProfileResource, "the signing profile ", ":/signing-profiles/", signed,
			func(_, name string) presence {
				var profile foundSigningProfile
				err := invoke(ctx, signingProfileLookupToken, signingProfileLookupArgs{Name: name}, &profile, "signer:GetSigningProfile")
				if err == nil && profile.Status != "Active" { // one that was cancelled is kept for years
					return absent
				}
				return presenceBy(err)
			},
			func(_, name string) []string {
				return []string{"signer cancel-signing-profile" + inRegion + " --profile-name " + name}
			}},
		{codeSigningResource, "the code signing configuration ", ":code-signing-config:", settings.CodeSigning || settings.Published,
			func(arn, _ string) presence {
				_, err := lambda.LookupCodeSigningConfig(ctx, &lambda.LookupCodeSigningConfigArgs{Arn: arn})
				return presenceBy(err)
			},
			func(arn, _ string) []string {
				return []string{"lambda delete-code-signing-config" + inRegion + " --code-signing-config-arn " + arn}
			}},
	}
}

// leftBehind are what AWS has of these kinds with this stack's tags, where the state has none and this update makes one. AWS's
// index of tags may still have what is gone, and so each is looked for.
func (l *LastState) leftBehind(ctx *pulumi.Context, settings *Settings) []remnant {
	kinds := slices.DeleteFunc(l.namelessKinds(ctx, settings), func(kind nameless) bool {
		return !kind.made || l.has(kind.logicalName)
	})
	if len(kinds) == 0 {
		return nil
	}
	var tags []tagFilter
	for key, value := range stackTags(settings) {
		tags = append(tags, tagFilter{key, []string{value}})
	}
	var tagged taggedList
	if err := invoke(ctx, taggedLookupToken, taggedArgs{TagFilters: tags}, &tagged, "tag:GetResources"); err != nil {
		return nil
	}
	var left []remnant
	for _, kind := range kinds {
		for _, found := range tagged.ResourceTagMappingLists {
			_, name, is := strings.Cut(found.ResourceArn, kind.arn)
			if is && !slices.ContainsFunc(l.entries, func(e entry) bool { return text(e.outputs.Arn) == found.ResourceArn }) && kind.ask(found.ResourceArn, name) == present {
				left = append(left, remnant{what: kind.called + name, delete: kind.delete(found.ResourceArn, name)})
			}
		}
	}
	return left
}

// removal names all of it, and the commands that delete it.
func removal(cli string, remnants []remnant) (names, commands string) {
	var found, lines []string
	for _, remnant := range remnants {
		found = append(found, remnant.what)
		for _, call := range remnant.delete {
			lines = append(lines, "\n    "+cli+" "+call)
		}
	}
	return strings.Join(found, ", "), strings.Join(lines, "")
}

// logicalName is what the program calls such a rule, where the function's group is that one; empty for any other rule.
func (r foundRule) logicalName(group string) string {
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
