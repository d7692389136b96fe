package infra

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestADocumentIsReadWhateverFormTheStateHasItIn(t *testing.T) {
	const document = "values:\n  a: 1"
	text, err := asset.FromText(document)
	require.NoError(t, err)
	for name, yaml := range map[string]resource.PropertyValue{
		"a secret string, from the provider": resource.MakeSecret(resource.NewProperty(document)),
		"a string":                           resource.NewProperty(document),
		"a secret asset":                     resource.MakeSecret(resource.NewProperty(text)),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud()
			resources := written()
			resources["rotator"].(map[string]any)["yaml"] = yaml
			c.answers[stateToken] = state(resources)
			require.NoError(t, run(t, c, minimal(nil), func(ctx *pulumi.Context, configuration Config) error {
				settings, err := ReadSettings(ctx, configuration)
				require.NoError(t, err)
				last, err := ReadLastState(ctx, settings)
				require.NoError(t, err)
				assert.Equal(t, map[string]string{"rotator": document}, last.documents(ctx))
				return nil
			}))
		})
	}
}

// A user's own resources stand in the same state, and may call their outputs as the program's resources call theirs.
func TestAUsersOwnOutputsMayHaveAnyType(t *testing.T) {
	c := newCloud()
	c.answers[stateToken] = func(args resource.PropertyMap) (map[string]any, error) {
		answer, err := state(written())(args)
		outputs := answer["outputs"].(map[string]any)
		for name, each := range map[string]any{"number": 1, "list": []any{1, "a"}, "map": map[string]any{"subnetIds": 1, "a": []any{1}}, "text": "a", "yes": true} {
			own := map[string]any{}
			for _, output := range []string{"organization", "project", "name", "arn", "apiUrl", "vpcConfig", "environment", "vpcId",
				"referencedSecurityGroupId", "securityGroupRuleId", "key", "versionId", "team", "scheduleId", "tags", "s3Key", "codeSigningConfigArn",
				"environmentEdits", "lambdaArn", "assumedRoleArn", "yaml"} {
				own[output] = each
			}
			outputs["urn:pulumi:dev::shop::my:index:Thing::"+name] = map[string]any{"type": "my:index:Thing", "outputs": own}
		}
		return answer, err
	}
	require.NoError(t, deploy(t, c, minimal(nil)))
	assert.Equal(t, "unsigned/connector.zip", c.input("archive", "key"))
}

// What the program decides by its own resources' outputs, it decides by those that it finds in a state.
// What the program decides by its own resources' outputs, it decides by those that it finds in a state.
func TestEachOutputThatIsAskedForIsFoundInTheState(t *testing.T) {
	c := newCloud()
	resources := written()
	resources["function"].(map[string]any)["vpcConfig"] = map[string]any{"subnetIds": []any{"subnet-b"}}
	resources["function"].(map[string]any)["tags"] = map[string]any{goVersionTag: "go1.25.11"}
	resources["archive"] = map[string]any{"key": "unsigned/connector.zip", "versionId": "null"}
	resources["codeSigningConfig"] = map[string]any{"arn": "arn:aws:lambda:eu-west-1:111122223333:code-signing-config:csc-1"}
	resources["securityGroup"] = map[string]any{"vpcId": "vpc-1"}
	c.answers[stateToken] = func(args resource.PropertyMap) (map[string]any, error) {
		answer, err := state(resources)(args)
		answer["outputs"].(map[string]any)["urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev"] = map[string]any{
			"outputs": map[string]any{"environmentEdits": map[string]any{"acme/shop/orders": []any{"port: 5432"}},
				"lambdaArn":      "arn:aws:lambda:eu-west-1:111122223333:function:shop-old-0123",
				"assumedRoleArn": "arn:aws:iam::111122223333:role/shop-old-invoke-0123"}}
		return answer, err
	}
	require.NoError(t, run(t, c, minimal(nil), func(ctx *pulumi.Context, configuration Config) error {
		settings, err := ReadSettings(ctx, configuration)
		require.NoError(t, err)
		last, err := ReadLastState(ctx, settings)
		require.NoError(t, err)
		assert.Equal(t, "unsigned/connector-2.zip", archiveKey(last))
		assert.Empty(t, unreadSigning(&Settings{CodeSigning: true}, last, &Account{Region: "eu-central-2"}), "told before")
		assert.Equal(t, Edits{"acme/shop/orders": {"port: 5432"}}, last.reported)
		assert.Equal(t, "shop-old-0123", last.function)
		assert.Equal(t, "shop-old-invoke-0123", last.invocationRole)
		function := last.outputs("function")
		assert.Equal(t, []string{"subnet-b"}, texts(part(function.VpcConfig, "subnetIds")))
		assert.Equal(t, "go1.25.11", text(part(function.Tags, goVersionTag)))
		assert.Equal(t, "vpc-1", text(last.outputs("securityGroup").VpcId))
		return nil
	}))
}

// Names that the state does not tell stand in the documents, where this program gave them.
func TestWhatTheStateHasLostIsCalledAsTheDocumentsCallIt(t *testing.T) {
	function := func(name string) string { return "arn:aws:lambda:eu-west-1:111122223333:function:" + name }
	role := func(name string) string { return "arn:aws:iam::111122223333:role/" + name }
	none := []string{"", ""}
	for name, c := range map[string]struct {
		function, role string
		state          map[string]any
		want           []string
	}{
		"a stack that was renamed": {function: function("shop-old-01234567"), role: role("shop-old-invoke-01234567"),
			want: []string{"shop-old-01234567", "shop-old-invoke-01234567"}},
		"names as long as they may be": {function: function(strings.Repeat("a", 55) + "-01234567"), role: role(strings.Repeat("a", 48) + "-invoke-01234567"),
			want: []string{strings.Repeat("a", 55) + "-01234567", strings.Repeat("a", 48) + "-invoke-01234567"}},
		"of two stacks":               {function: function("shop-old-01234567"), role: role("shop-old-invoke-76543210"), want: none},
		"of two names":                {function: function("shop-old-01234567"), role: role("other-invoke-01234567"), want: none},
		"of the TypeScript template":  {function: function("esc-connector-0123456"), role: role("esc-connector-role-0123456"), want: none},
		"that the state tells itself": {function: function("shop-old-01234567"), role: role("shop-old-invoke-01234567"), state: written(), want: none},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			resources := written()
			if c.state == nil {
				delete(resources, "function")
			}
			resources["rotator"].(map[string]any)["yaml"] = fmt.Sprintf("values: {dbRotator: {fn::rotate::postgres: {inputs: {database: {connector: {awsLambda: {lambdaArn: %q}}}}}}}", c.function)
			resources["managingCreds"].(map[string]any)["yaml"] = fmt.Sprintf("values: {awsLogin: {fn::open::aws-login: {oidc: {roleArn: %q}}}}", c.role)
			cloud.answers[stateToken] = state(resources)
			require.NoError(t, run(t, cloud, minimal(nil), func(ctx *pulumi.Context, configuration Config) error {
				settings, err := ReadSettings(ctx, configuration)
				require.NoError(t, err)
				last, err := ReadLastState(ctx, settings)
				require.NoError(t, err)
				assert.Equal(t, c.want, []string{last.function, last.invocationRole})
				assert.Equal(t, c.state != nil, last.named(), "by documents alone nobody knows whose it is")
				assert.False(t, last.ended)
				return nil
			}))
		})
	}
}
