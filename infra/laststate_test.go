package infra

import (
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
