package infra

import (
	"strings"
	"testing"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// found is a last state with these environments, "organization/project/name" by URN or, of the stack's own, logical name.
func found(entries map[string]environments.Name) *LastState {
	last := &LastState{known: true, resources: map[string]resourceOutputs{}}
	for name, environment := range entries {
		outputs := resourceOutputs{Organization: environment.Organization, Project: environment.Project, Name: environment.Environment}
		id := urn.URN(name)
		if !id.IsValid() {
			id = urn.New("dev", "shop", "", environments.Type, name)
		}
		last.entries = append(last.entries, entry{id, outputs})
		if isOwn(id, id.Name()) {
			last.resources[id.Name()] = outputs
		}
	}
	return last
}

func TestWhatIsFoundDecidesWhatIsDone(t *testing.T) {
	const environmentURN = "urn:pulumi:dev::shop::pulumiservice:index:Environment::"
	rotator := environments.Name{Organization: "acme", Project: "shop", Environment: "orders"}
	managing := environments.Name{Organization: "acme", Project: "shop", Environment: "ordersManagingCreds"}
	other := environments.Name{Organization: "acme", Project: "shop", Environment: "other"}
	old := func(name environments.Name) environments.Name { name.Organization = "formerly"; return name }
	type state = map[string]environments.Name
	both := state{"rotator": rotator, "managingCreds": managing}

	for name, c := range map[string]struct {
		state   state
		live    []environments.Name
		unasked bool
		taken   []remnant
		left    []remnant
		says    []string // none: goes on
		not     string
	}{
		"a new stack":           {},
		"written by this stack": {state: both, live: []environments.Name{rotator, managing}},
		"both exist, and the state is lost": {live: []environments.Name{rotator, managing}, says: []string{
			"the environment acme/shop/orders: it exists already", "import rotator acme/shop/orders",
			"the environment acme/shop/ordersManagingCreds: it exists already", "pulumi env rm acme/shop/orders"}},
		"half of it exists": {state: state{"managingCreds": managing}, live: []environments.Name{managing, rotator},
			says: []string{"import rotator acme/shop/orders"}, not: "import managingCreds"},
		"two names": {state: state{"rotator": rotator, "managingCreds": managing, "mine": rotator}, says: []string{
			`acme/shop/orders as "rotator" and "mine", and not as "rotator" alone`,
			"    pulumi state delete --force --target-dependents '" + environmentURN + "mine'"}, not: "import"},
		"two names, on which others may depend": {state: state{"rotator": rotator, "managingCreds": managing, "mine": managing, "other": managing}, says: []string{
			`acme/shop/ordersManagingCreds as "managingCreds" and "mine" and "other", and not as "managingCreds" alone`,
			"    pulumi state delete --force --target-dependents '" + environmentURN + "mine' '" + environmentURN + "other'\n    import rotator acme/shop/orders"},
			not: "import managingCreds"},
		"two names, neither its own": {state: state{"rotator": rotator, "mine": managing, "other": managing}, says: []string{
			"'" + environmentURN + "other'\n    import managingCreds acme/shop/ordersManagingCreds\n    import rotator acme/shop/orders"}},
		"two names, and the rotator is not there yet": {state: state{"managingCreds": managing, "mine": managing}, says: []string{"--target-dependents '" + environmentURN + "mine'"}, not: "import rotator"},
		"two names, and the rotator's is another": {state: state{"mine": rotator, "managingCreds": managing, "other": managing}, says: []string{
			"--target-dependents '" + environmentURN + "other' '" + environmentURN + "mine'\n    import rotator acme/shop/orders"}},
		"two names, not asked yet": {state: state{"rotator": rotator, "managingCreds": managing, "mine": rotator}, unasked: true},
		"another name": {state: state{"mine": rotator, "managingCreds": managing}, live: []environments.Name{rotator, managing}, says: []string{
			"pulumi state rename '" + environmentURN + "mine' rotator"}, not: "import"},
		"another name, below a component": {state: state{"urn:pulumi:dev::shop::my:index:Component$pulumiservice:index:Environment::rotator": rotator,
			"managingCreds": managing}, says: []string{
			"pulumi state delete --force --target-dependents 'urn:pulumi:dev::shop::my:index:Component$pulumiservice:index:Environment::rotator'\n    import rotator"}, not: "rename"},
		"both have other names": {state: state{"mine": rotator, "other": managing}, says: []string{
			"    pulumi state rename '" + environmentURN + "other' managingCreds\n    pulumi state rename '" + environmentURN + "mine' rotator"}, not: "exchanged"},
		"one has the other's name, and the other any": {state: state{"managingCreds": rotator, "other": managing}, says: []string{
			"    pulumi state rename '" + environmentURN + "managingCreds' rotator\n    pulumi state rename '" + environmentURN + "other' managingCreds"}, not: "exchanged"},
		"a user's own environment":        {state: state{"rotator": rotator, "managingCreds": managing, "mine": other}},
		"one entry has the other's name":  {state: state{"rotator": managing}, says: []string{"pulumi state rename '" + environmentURN + "rotator' managingCreds"}, not: "import"},
		"a user's resources of our names": {state: state{"rotator": rotator, "managingCreds": managing, "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::function": {}}},
		"in each other's place": {state: state{"rotator": managing, "managingCreds": rotator}, says: []string{
			"where it is the settings that were exchanged", "pulumi state rename '" + environmentURN + "managingCreds' exchanged\n" +
				"    pulumi state rename '" + environmentURN + "rotator' managingCreds\n" +
				"    pulumi state rename '" + environmentURN + "exchanged' rotator\n"}, not: "config set"},
		"another name is set": {state: state{"rotator": other, "managingCreds": managing}, says: []string{
			"shop:rotatedSecretsEnvironmentName has changed", "pulumi config set shop:rotatedSecretsEnvironmentName shop/other"}},
		"another managing name is set": {state: state{"rotator": rotator, "managingCreds": other}, says: []string{
			"pulumi config set shop:managingCredsEnvironmentName shop/other"}},
		"another organization, not asked yet": {state: state{"rotator": old(rotator), "managingCreds": old(managing)}, unasked: true},
		"another organization is set": {state: state{"rotator": old(rotator), "managingCreds": old(managing)}, says: []string{
			"shop:organization has changed", "pulumi config set shop:organization formerly"}, not: "import"},
		"the organization was renamed": {state: state{"rotator": old(rotator), "managingCreds": old(managing)}, live: []environments.Name{rotator, managing},
			says: []string{"    pulumi state delete --force --target-dependents '" + environmentURN + "managingCreds' '" + environmentURN + "rotator'\n" +
				"    import managingCreds acme/shop/ordersManagingCreds\n    import rotator acme/shop/orders\n"}, not: "would be deleted"},
		"another stack's state": {state: state{"urn:pulumi:prod::shop::pulumiservice:index:Environment::rotator": rotator}, says: []string{
			"those of the stack prod of the project shop", "pulumi state delete --force --all"}},
		"another stack's state among ours": {state: state{"rotator": rotator, "urn:pulumi:dev::old::pulumiservice:index:Environment::rotator": rotator}, says: []string{
			"pulumi state delete --force 'urn:pulumi:dev::old::pulumiservice:index:Environment::rotator'"}, not: "--all"},
		"AWS has what the state lacks": {state: both, taken: []remnant{functionRemnant("eu-west-1", "f"), roleRemnant("r", "connector"), roleRemnant("i", "invoke"), logGroupRemnant("eu-west-1", "/l")}, says: []string{
			"aws lambda delete-function --region eu-west-1 --function-name f\n", "aws iam delete-role-policy --role-name r --policy-name connector\n    aws iam delete-role --role-name r\n",
			"aws iam delete-role-policy --role-name i --policy-name invoke\n    aws iam delete-role --role-name i\n", "aws logs delete-log-group --region eu-west-1 --log-group-name /l"}},
		"AWS has rules that the state lacks": {state: both, taken: []remnant{
			ruleRemnant("eu-west-1", foundRule{SecurityGroupRuleId: "sgr-1", SecurityGroupId: "sg-own", IsEgress: true}),
			ruleRemnant("eu-west-1", foundRule{SecurityGroupRuleId: "sgr-2", SecurityGroupId: "sg-db"})}, says: []string{
			"the rule sgr-1 of the security group sg-own, the rule sgr-2 of the security group sg-db",
			"aws ec2 revoke-security-group-egress --region eu-west-1 --group-id sg-own --security-group-rule-ids sgr-1\n",
			"aws ec2 revoke-security-group-ingress --region eu-west-1 --group-id sg-db --security-group-rule-ids sgr-2"}},
		"AWS has something that is made a second time, too": {state: both, taken: []remnant{functionRemnant("eu-west-1", "f")},
			left: []remnant{{what: "the security group sg-1", delete: []string{"ec2 delete-security-group --group-id sg-1"}}}, says: []string{
				"AWS has the security group sg-1, too.", "    aws ec2 delete-security-group --group-id sg-1"}},
		"AWS has something that is made a second time, and no more": {state: both, left: []remnant{{what: "the security group sg-1", delete: []string{"x"}}}},
		"AWS has it for another stack": {taken: []remnant{{what: "the function f", delete: []string{"lambda delete-function"}, owner: "prod of the project shop"},
			{what: "the role r", delete: []string{"iam delete-role"}}}, left: []remnant{{what: "the security group sg-1", delete: []string{"ec2 delete-security-group"}}},
			says: []string{"AWS has the function f, the role r, which by their tags are those of the stack prod of the project shop", "pulumi stack rename <name>"}, not: "delete-"},
		"and the environments may be that stack's": {live: []environments.Name{rotator, managing}, taken: []remnant{{what: "the function f", owner: "prod of the project shop"}},
			says: []string{"the stack prod"}, not: "import"},
		"everything but the state": {live: []environments.Name{rotator, managing}, taken: []remnant{functionRemnant("eu-west-1", "f")}, says: []string{
			"aws lambda delete-function", "import rotator", "import managingCreds"}, not: "delete-role"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &evidence{
				settings: &Settings{Project: "shop", Stack: "dev", Organization: "acme", Region: "eu-west-1", Rotator: rotator, Managing: managing},
				last:     found(c.state), asked: !c.unasked, live: map[environments.Name]bool{}, remnants: c.taken, left: c.left, cli: "aws",
				imports: func(_, logicalName, id string) string { return "import " + logicalName + " " + id },
			}
			for _, name := range c.live {
				e.live[name] = true
			}
			err := e.judge()
			if len(c.says) == 0 {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, says := range c.says {
				assert.Contains(t, err.Error(), says)
			}
			if c.not != "" {
				assert.NotContains(t, err.Error(), c.not)
			}
		})
	}
}

// Each pair of what an entry holds, whether another names it too, and what Pulumi Cloud answers has its row.
func TestTheTableKnowsEveryCase(t *testing.T) {
	for entry := nothing; entry <= anotherName; entry <<= 1 {
		for _, under := range []known{yes, no} {
			for _, live := range []known{yes, no, unasked} {
				fits := 0
				for _, row := range environmentTable {
					if row.entry&entry != 0 && row.under.fits(under) && row.live.fits(live) {
						fits++
					}
				}
				assert.Positive(t, fits, "%v %v %v", entry, under, live)
			}
		}
	}
}

// ARNs stand in the documents: a stack that was renamed, and of which a part was destroyed since, makes that part under its
// old name.
func TestAPartThatIsMadeAnewHasTheNameThatItHad(t *testing.T) {
	was := newNames(&Settings{Project: "shop", Stack: "dev", Organization: "acme", Region: "eu-west-1"}, &LastState{})
	for _, left := range []map[string]resourceOutputs{
		{"function": {Name: was.function}}, {"invocationRole": {Name: was.invocationRole}}, {"executionRole": {Name: was.executionRole}},
	} {
		is := newNames(&Settings{Project: "shop", Stack: "renamed", Organization: "acme", Region: "eu-west-1"}, &LastState{resources: left})
		assert.Equal(t, was, is, "%v", left)
	}
}

// An export of a stack whose function and both roles are gone still has what its outputs called them.
func TestNamesThatOutputsTellStayToo(t *testing.T) {
	was := newNames(&Settings{Project: "shop", Stack: "dev", Organization: "acme", Region: "eu-west-1"}, &LastState{})
	is := newNames(&Settings{Project: "shop", Stack: "renamed", Organization: "acme", Region: "eu-west-1"},
		&LastState{function: was.function, invocationRole: was.invocationRole})
	assert.Equal(t, was, is)
}

// The schedule and the webhook go where their environment goes.
func TestScheduleAndWebhookFollowARenamedOrganization(t *testing.T) {
	rotator := environments.Name{Organization: "acme", Project: "shop", Environment: "orders"}
	managing := environments.Name{Organization: "acme", Project: "shop", Environment: "ordersManagingCreds"}
	formerly := func(name environments.Name) environments.Name { name.Organization = "formerly"; return name }
	last := found(map[string]environments.Name{"rotator": formerly(rotator), "managingCreds": formerly(managing)})
	last.resources[environments.ScheduleResource] = resourceOutputs{ScheduleId: "1234"}
	last.resources[environments.WebhookResource] = resourceOutputs{Name: "5678"}
	err := (&evidence{
		settings: &Settings{Project: "shop", Stack: "dev", Organization: "acme", Rotator: rotator, Managing: managing}, last: last, asked: true,
		live:    map[environments.Name]bool{rotator: true, managing: true},
		imports: func(_, logicalName, id string) string { return "import " + logicalName + " " + id },
	}).judge()
	assert.ErrorContains(t, err, "import managingCreds acme/shop/ordersManagingCreds\n    import rotator acme/shop/orders\n    import rotationSchedule acme/shop/orders/rotations/1234\n"+
		"    import webhook acme/environment/shop/orders/5678\n")
}

// Only rules that an update would make again are in its way.
func TestARuleIsKnownByWhatItIs(t *testing.T) {
	for name, c := range map[string]struct {
		rule foundRule
		want string
	}{
		"to the database":           {foundRule{SecurityGroupId: "sg-own", IsEgress: true, ReferencedSecurityGroupId: "sg-db"}, "toDatabase"},
		"to a name server":          {foundRule{SecurityGroupId: "sg-own", IsEgress: true, IpProtocol: "udp", CidrIpv4: "10.0.0.2/32"}, "toNameServer-udp-10-0-0-2"},
		"to a name server by IPv6":  {foundRule{SecurityGroupId: "sg-own", IsEgress: true, IpProtocol: "tcp", CidrIpv6: "fd00::2/128"}, "toNameServer-tcp-fd00--2"},
		"from the connector":        {foundRule{SecurityGroupId: "sg-db", ReferencedSecurityGroupId: "sg-own"}, "fromConnector"},
		"into the connector":        {foundRule{SecurityGroupId: "sg-own", ReferencedSecurityGroupId: "sg-db"}, ""},
		"of groups of another's":    {foundRule{SecurityGroupId: "sg-db", ReferencedSecurityGroupId: "sg-app"}, ""},
		"to what no address names":  {foundRule{SecurityGroupId: "sg-own", IsEgress: true}, ""},
		"from another group, again": {foundRule{SecurityGroupId: "sg-db", IsEgress: true, ReferencedSecurityGroupId: "sg-own"}, ""},
	} {
		assert.Equal(t, c.want, c.rule.logicalName("sg-own"), name)
	}
}

// Whose the names are in the documents, the tags tell: that stack's name is given back to this one, with its project's where that differs.
func TestNamesOfTheDocumentsLeadToTheStackThatHadThem(t *testing.T) {
	for owner, want := range map[string]string{"dev" + ofProject + "shop": "pulumi stack rename dev", "dev" + ofProject + "store": "pulumi stack rename acme/store/dev"} {
		e := &evidence{settings: &Settings{Project: "shop", Stack: "prod"}, last: &LastState{documented: true, stack: "acme/shop/prod"},
			remnants: []remnant{{what: "the function f", delete: []string{"lambda delete-function"}, owner: owner}}}
		said := e.leaveNames().text
		assert.True(t, strings.HasSuffix(said, want), said)
		assert.NotContains(t, said, "delete-function")
	}
}
