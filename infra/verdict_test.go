package infra

import (
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
		taken   names
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
			"the state has it twice", "pulumi state delete --force '" + environmentURN + "mine'",
			"pulumi state rename '" + environmentURN + "mine' rotator"}, not: "import"},
		"another name": {state: state{"mine": rotator, "managingCreds": managing}, live: []environments.Name{rotator, managing}, says: []string{
			"pulumi state rename '" + environmentURN + "mine' rotator"}, not: "import"},
		"another name, below a component": {state: state{"urn:pulumi:dev::shop::my:index:Component$pulumiservice:index:Environment::rotator": rotator,
			"managingCreds": managing}, says: []string{
			"pulumi state delete --force 'urn:pulumi:dev::shop::my:index:Component$pulumiservice:index:Environment::rotator'"}, not: "rename"},
		"a user's own environment":        {state: state{"rotator": rotator, "managingCreds": managing, "mine": other}},
		"one entry has the other's name":  {state: state{"rotator": managing}, says: []string{"pulumi state rename '" + environmentURN + "rotator' managingCreds"}, not: "import"},
		"a user's resources of our names": {state: state{"rotator": rotator, "managingCreds": managing, "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::function": {}}},
		"in each other's place": {state: state{"rotator": managing, "managingCreds": rotator}, says: []string{
			"in each other's place", "pulumi state rename '" + environmentURN + "rotator' exchanged\n",
			"pulumi state rename '" + environmentURN + "managingCreds' rotator\n",
			"pulumi state rename '" + environmentURN + "exchanged' managingCreds\n"}, not: "config set"},
		"another name is set": {state: state{"rotator": other, "managingCreds": managing}, says: []string{
			"shop:rotatedSecretsEnvironmentName has changed", "pulumi config set shop:rotatedSecretsEnvironmentName shop/other"}},
		"another managing name is set": {state: state{"rotator": rotator, "managingCreds": other}, says: []string{
			"pulumi config set shop:managingCredsEnvironmentName shop/other"}},
		"another organization, not asked yet": {state: state{"rotator": old(rotator), "managingCreds": old(managing)}, unasked: true},
		"another organization is set": {state: state{"rotator": old(rotator), "managingCreds": old(managing)}, says: []string{
			"shop:organization has changed", "pulumi config set shop:organization formerly"}, not: "import"},
		"the organization was renamed": {state: state{"rotator": old(rotator), "managingCreds": old(managing)}, live: []environments.Name{rotator, managing},
			says: []string{"    pulumi state delete --force --target-dependents '" + environmentURN + "rotator'\n" +
				"    pulumi state delete --force --target-dependents '" + environmentURN + "managingCreds'\n" +
				"    import managingCreds acme/shop/ordersManagingCreds\n    import rotator acme/shop/orders\n"}, not: "would be deleted"},
		"another stack's state": {state: state{"urn:pulumi:prod::shop::pulumiservice:index:Environment::rotator": rotator}, says: []string{
			"those of the stack prod of the project shop", "pulumi state delete --force --all"}},
		"another stack's state among ours": {state: state{"rotator": rotator, "urn:pulumi:dev::old::pulumiservice:index:Environment::rotator": rotator}, says: []string{
			"pulumi state delete --force 'urn:pulumi:dev::old::pulumiservice:index:Environment::rotator'"}, not: "--all"},
		"AWS has what the state lacks": {state: both, taken: names{function: "f", executionRole: "r", invocationRole: "i", logGroup: "/l"}, says: []string{
			"aws lambda delete-function --region eu-west-1 --function-name f\n", "aws iam delete-role-policy --role-name r --policy-name connector\n    aws iam delete-role --role-name r\n",
			"aws iam delete-role-policy --role-name i --policy-name invoke\n    aws iam delete-role --role-name i\n", "aws logs delete-log-group --region eu-west-1 --log-group-name /l\n"}},
		"everything but the state": {live: []environments.Name{rotator, managing}, taken: names{function: "f"}, says: []string{
			"aws lambda delete-function", "import rotator", "import managingCreds"}, not: "delete-role"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &evidence{
				settings: &Settings{Project: "shop", Stack: "dev", Organization: "acme", Region: "eu-west-1", Rotator: rotator, Managing: managing},
				last:     found(c.state), asked: !c.unasked, live: map[environments.Name]bool{}, taken: c.taken, cli: "aws",
				imports: func(logicalName string, name environments.Name) string {
					return "import " + logicalName + " " + name.String()
				},
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
	for entry := nothing; entry <= anotherName; entry++ {
		for _, under := range []known{yes, no} {
			for _, live := range []known{yes, no, unasked} {
				fits := 0
				for _, row := range environmentTable {
					if row.entry == entry && row.under.fits(under) && row.live.fits(live) {
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
