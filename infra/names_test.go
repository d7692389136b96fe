package infra

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNamesAreShortUniqueAndFixed(t *testing.T) {
	settings := func(organization, project, stack, region string) *Settings {
		return &Settings{Organization: organization, Project: project, Stack: stack, Region: region}
	}
	none := &LastState{}
	seen := map[string]bool{}
	for _, s := range []*Settings{
		settings("acme", "shop", "dev", "eu-west-1"),
		settings("acme", "shop", "dev", "eu-west-2"),
		settings("other", "shop", "dev", "eu-west-1"),
		settings("acme", "shop", "d.e_v", "eu-west-1"),
		settings("acme", strings.Repeat("long", 30), strings.Repeat("stack", 30), "eu-west-1"),
	} {
		n := newNames(s, none)
		for _, name := range []string{n.function, n.invocationRole, n.executionRole} {
			assert.Regexp(t, `^[a-zA-Z][a-zA-Z0-9-]{0,63}$`, name)
			assert.False(t, seen[name], "%s is taken", name)
			seen[name] = true
		}
		assert.Equal(t, n, newNames(s, none))
	}

	before := &LastState{resources: map[string]resourceOutputs{
		"function":       {Name: "shop-dev-0badcafe"},
		"invocationRole": {Name: "shop-dev-invoke-0badcafe"},
	}}
	renamed := newNames(settings("acme", "shop", "prod", "eu-west-1"), before)
	assert.Equal(t, "shop-dev-0badcafe", renamed.function)
	assert.Equal(t, "shop-dev-invoke-0badcafe", renamed.invocationRole)
}

func TestOtherPartitionsAreWrittenIntoNoARN(t *testing.T) {
	c := newCloud()
	c.answers[partitionToken] = answer(map[string]any{"partition": "aws-us-gov", "dnsSuffix": "amazonaws.com"})
	require.NoError(t, deploy(t, c, minimal(map[string]string{"aws:region": "us-gov-west-1"})))
	assert.Contains(t, c.input("executionPolicy", "policy"),
		`"lambda:SourceFunctionArn":"arn:aws-us-gov:lambda:us-gov-west-1:111122223333:function:`)
}
