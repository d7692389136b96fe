package infra

import (
	"errors"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAChangeThatWouldDeleteAnEnvironmentStopsBeforeAnythingHappens(t *testing.T) {
	for setting, c := range map[string]struct{ value, back string }{
		"shop:rotatedSecretsEnvironmentName": {"shop/other", "pulumi config set shop:rotatedSecretsEnvironmentName shop/orders"},
		"shop:managingCredsEnvironmentName":  {"shop/other", "pulumi config set shop:managingCredsEnvironmentName shop/ordersManagingCreds"},
		"shop:backendUrl":                    {"https://api.acme.example", "pulumi config set shop:backendUrl https://api.pulumi.com"},
		"aws:region":                         {"us-east-1", "pulumi config set aws:region eu-west-1"},
	} {
		t.Run(setting, func(t *testing.T) {
			cloud := newCloud()
			cloud.answers[stateToken] = state(written())
			err := deploy(t, cloud, minimal(map[string]string{setting: c.value}))
			require.Error(t, err)
			assert.Contains(t, err.Error(), setting+" has changed")
			assert.Contains(t, err.Error(), c.back)
			assert.Equal(t, 1, strings.Count(err.Error(), "has changed"))
			assert.Empty(t, cloud.registered)
		})
	}
	cloud := newCloud()
	cloud.answers[stateToken] = state(written())
	require.NoError(t, deploy(t, cloud, minimal(map[string]string{"shop:backendUrl": "https://API.pulumi.com/"})),
		"another spelling is no change")
}

func TestSettingsReachTheResources(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{
		"shop:databaseSslMode": "require", "shop:logRetentionDays": "7",
		"shop:permissionsBoundaryArn": "arn:aws:iam::111122223333:policy/boundary",
		"shop:trustedSubject":         "*", "shop:manageDatabaseIngress": "false",
	})))
	variables := c.registered["function"].Inputs["environment"].ObjectValue()["variables"].Mappable()
	assert.Equal(t, map[string]any{"DB_SSLMODE": "require"}, variables)
	assert.InDelta(t, 7, c.registered["logs"].Inputs["retentionInDays"].NumberValue(), 0)
	for _, role := range []string{"executionRole", "invocationRole"} {
		assert.Equal(t, "arn:aws:iam::111122223333:policy/boundary", c.input(role, "permissionsBoundary"))
	}
	assert.Contains(t, c.input("invocationRole", "assumeRolePolicy"),
		`"Condition":{"StringEquals":{"api.pulumi.com/oidc:aud":"aws:acme"},"StringLike":{"api.pulumi.com/oidc:sub":"*"}}`)
	assert.NotContains(t, c.registered, "fromConnector")
	assert.Contains(t, c.registered, "toDatabase")
}

func TestAStateThatIsJustBeingWrittenIsReadAgain(t *testing.T) {
	c := newCloud()
	tries := 0
	c.answers[stateToken] = func(args resource.PropertyMap) (map[string]any, error) {
		if tries++; tries < 3 {
			return nil, errors.New("failed to load checkpoint: EOF")
		}
		return state(written())(args)
	}
	err := deploy(t, c, minimal(map[string]string{"shop:rotatedSecretsEnvironmentName": "shop/other"}))
	require.ErrorContains(t, err, "shop:rotatedSecretsEnvironmentName has changed")
}

func TestAStateThatCannotBeReadStopsTheUpdate(t *testing.T) {
	c := newCloud()
	c.answers[stateToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("failed to load checkpoint: EOF")
	}
	require.ErrorContains(t, deploy(t, c, minimal(nil)), "reading the state of the stack acme/shop/dev, to see what it has written: ")
	assert.Empty(t, c.registered)
}
