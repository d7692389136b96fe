package infra

import (
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheInvocationRoleTrustsTheManagingEnvironmentAlone(t *testing.T) {
	for environment, want := range map[string]struct{ audience, subject string }{
		"shop/orders":    {"aws:acme", "pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:shop/ordersManagingCreds"},
		"default/orders": {"acme", "pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:ordersManagingCreds"},
	} {
		c := newCloud()
		require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:rotatedSecretsEnvironmentName": environment})))
		assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{
			"Effect": "Allow",
			"Action": ["sts:AssumeRoleWithWebIdentity"],
			"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/api.pulumi.com/oidc"},
			"Condition": {"StringEquals": {
				"api.pulumi.com/oidc:aud": "`+want.audience+`",
				"api.pulumi.com/oidc:sub": "`+want.subject+`"
			}}}]}`, c.input("invocationRole", "assumeRolePolicy"))
		assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{
			"Sid": "InvokeConnector", "Effect": "Allow",
			"Action": ["lambda:InvokeFunction", "lambda:GetFunction"],
			"Resource": ["`+"arn:aws:lambda:eu-west-1:111122223333:function:"+c.input("function", "name")+`"]}]}`,
			c.input("invocationPolicy", "policy"))
	}
}

func TestAnExistingOIDCProvider(t *testing.T) {
	const arn = "arn:aws:iam::111122223333:oidc-provider/api.pulumi.com/oidc"
	provider := func(tags map[string]any, audiences ...any) map[string]any {
		return map[string]any{"arn": arn, "clientIdLists": audiences, "tags": tags, "thumbprintLists": []any{"abc"}}
	}
	ours := map[string]any{providerTag: "oidc-provider"}

	t.Run("none yet: created with both audiences, and kept at destroy", func(t *testing.T) {
		c := newCloud()
		require.NoError(t, deploy(t, c, minimal(nil)))
		created := c.registered["oidcProvider"]
		assert.Equal(t, []any{"aws:acme", "acme"}, created.Inputs["clientIdLists"].Mappable())
		assert.Equal(t, "https://api.pulumi.com/oidc", created.Inputs["url"].StringValue())
		assert.Contains(t, created.Inputs["tags"].ObjectValue(), resource.PropertyKey(providerTag))
		assert.True(t, created.RegisterRPC.GetRetainOnDelete())
		assert.Empty(t, created.RegisterRPC.GetImportId())
	})
	t.Run("ours: imported as it is", func(t *testing.T) {
		c := newCloud()
		c.answers[oidcToken] = answer(provider(ours, "aws:acme", "other"))
		require.NoError(t, deploy(t, c, minimal(nil)))
		imported := c.registered["oidcProvider"]
		assert.Equal(t, arn, imported.RegisterRPC.GetImportId())
		assert.Equal(t, []any{"aws:acme", "other"}, imported.Inputs["clientIdLists"].Mappable())
		assert.True(t, imported.RegisterRPC.GetRetainOnDelete())
	})
	t.Run("another's with the audience: used", func(t *testing.T) {
		c := newCloud()
		c.answers[oidcToken] = answer(provider(nil, "x", "aws:acme"))
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.NotContains(t, c.registered, "oidcProvider")
		assert.Contains(t, c.input("invocationRole", "assumeRolePolicy"), `"Federated":"`+arn+`"`)
	})
	t.Run("without the audience: the command that adds it, and nothing is created", func(t *testing.T) {
		for _, tags := range []map[string]any{nil, ours} {
			c := newCloud()
			c.answers[oidcToken] = answer(provider(tags, "acme"))
			err := deploy(t, c, minimal(nil))
			require.Error(t, err)
			assert.Contains(t, err.Error(),
				"aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn "+arn+" --client-id aws:acme")
			assert.Empty(t, c.registered)
		}
	})
	t.Run("not allowed to look: the action that is missing", func(t *testing.T) {
		c := newCloud()
		c.answers[oidcToken] = func(resource.PropertyMap) (map[string]any, error) {
			return nil, fmt.Errorf("AccessDenied: User: x is not authorized to perform: iam:ListOpenIDConnectProviders on resource: y")
		}
		err := deploy(t, c, minimal(nil))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "needs the IAM permission iam:ListOpenIDConnectProviders")
		assert.Empty(t, c.registered)
	})
}
