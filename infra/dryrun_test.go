package infra

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheWeeklyInvocationIsADryRunThatTheRuleAloneMayMake(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{
		"shop:managingUsername": "manager", "shop:managingPassword": "not-to-be-seen"})))
	assert.JSONEq(t, `{"type": "postgres", "host": "orders.cluster-abc.eu-west-1.rds.amazonaws.com", "port": 5432, "dryRun": true}`,
		c.input("keepWarmTarget", "input"))
	name := c.input("function", "name")
	assert.Equal(t, "arn:aws:lambda:eu-west-1:111122223333:function:"+name, c.input("keepWarmTarget", "arn"))
	assert.Equal(t, c.input("keepWarm", "name"), c.input("keepWarmTarget", "rule"))
	assert.Equal(t, "events.amazonaws.com", c.input("keepWarmPermission", "principal"))
	assert.Equal(t, "arn:aws:events:eu-west-1:111122223333:rule/"+c.input("keepWarm", "name"), c.input("keepWarmPermission", "sourceArn"))

	c = newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:keepWarm": "false"})))
	for _, resource := range []string{"keepWarm", "keepWarmTarget", "keepWarmPermission"} {
		assert.NotContains(t, c.registered, resource)
	}
}
