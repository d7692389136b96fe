package provider_test

import (
	"context"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"esc-connector-lambda-go/e2e/provider"
)

const urn = "urn:pulumi:dev::project::test:index:Thing::thing"

type properties = map[string]any

// thing is a provider of one resource, over a service that has live. What its update renews is not known in a preview.
func thing(live *properties) pulumirpc.ResourceProviderServer {
	answer := func() resource.PropertyMap { return resource.NewPropertyMapFromMap(*live) }
	return provider.Provider{Name: "test", Version: "1.0.0", Resources: map[string]provider.Resource{
		"test:index:Thing": {
			Inputs:   []string{"name", "description", "policy", "groups", "size", "hash", "network", "tags"},
			Replace:  []string{"name"},
			Same:     map[string]provider.Same{"policy": provider.SameJSON, "groups": provider.SameSet, "network.subnets": provider.SameSet},
			Kept:     []string{"policy"},
			Computed: []string{"size", "network.vpc"},
			Unread:   []string{"hash"},
			Renews:   map[string][]string{"hash": {"version"}},
			Create: func(_ context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
				*live = inputs.Mappable()
				return "id", nil, nil
			},
			Read: func(context.Context, string, resource.PropertyMap) (resource.PropertyMap, error) {
				return answer(), nil
			},
			Update: func(_ context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
				*live = inputs.Mappable()
				return nil, nil
			},
		},
	}}.Server()
}

func wire(t *testing.T, plain properties) *structpb.Struct {
	t.Helper()
	encoded, err := plugin.MarshalProperties(resource.NewPropertyMapFromMap(plain), plugin.MarshalOptions{})
	require.NoError(t, err)
	return encoded
}

func plain(t *testing.T, encoded *structpb.Struct) properties {
	t.Helper()
	decoded, err := plugin.UnmarshalProperties(encoded, plugin.MarshalOptions{KeepUnknowns: true})
	require.NoError(t, err)
	return decoded.Mappable()
}

func TestAReadAnswersWhatTheServiceHas(t *testing.T) {
	t.Parallel()
	was := properties{
		"name": "a", "description": "ours", "hash": "h1", "groups": []any{"one", "two"}, "tags": properties{"ours": "1", "gone": "2"},
		"policy": `{"Statement":[{"Action":["b","a"]}]}`,
	}
	live := properties{ // the description is gone, others have put on a tag and a size, and the service writes policies its own way
		"name": "a", "size": 3, "groups": []any{"two", "one"}, "tags": properties{"ours": "1", "theirs": "3"},
		"policy": `{"Statement": {"Action": ["a", "b"]}}`,
	}
	read, err := thing(&live).Read(t.Context(), &pulumirpc.ReadRequest{Id: "id", Urn: urn, Properties: wire(t, was), Inputs: wire(t, was)})
	require.NoError(t, err)
	assert.Equal(t, properties{
		"name": "a", "size": 3.0, "groups": []any{"two", "one"}, "tags": properties{"ours": "1", "theirs": "3"},
		"hash": "h1", "policy": was["policy"],
	}, plain(t, read.GetProperties()), "the state, with the hash that nobody reads and the policy's text as it was")
	assert.Equal(t, properties{
		"name": "a", "groups": []any{"two", "one"}, "tags": properties{"ours": "1"}, "hash": "h1", "policy": was["policy"],
	}, plain(t, read.GetInputs()), "of the inputs, those that the program had set")
}

func TestADifferenceIsOneToWhatStands(t *testing.T) {
	t.Parallel()
	wanted := properties{
		"name": "a", "description": "ours", "groups": []any{"one", "two"}, "policy": `{"Statement":[{"Action":["b","a"]}]}`,
		"network": properties{"subnets": []any{"s1", "s2"}},
	}
	for name, test := range map[string]struct {
		stands properties // in the place of what is wanted
		diffs  []string
	}{
		"the same":                        {nil, nil},
		"the same policy, other text":     {properties{"policy": `{ "Statement": {"Action": ["a", "b"]} }`}, nil},
		"another policy":                  {properties{"policy": `{"Statement":[{"Action":["a"]}]}`}, []string{"policy"}},
		"a set in another order":          {properties{"groups": []any{"two", "one"}}, nil},
		"another set":                     {properties{"groups": []any{"one", "three"}}, []string{"groups"}},
		"a nested set in another order":   {properties{"network": properties{"subnets": []any{"s2", "s1"}, "vpc": "v"}}, nil},
		"another nested set":              {properties{"network": properties{"subnets": []any{"s1"}, "vpc": "v"}}, []string{"network"}},
		"what the service may fill":       {properties{"size": 3}, nil},
		"tags that the program never set": {properties{"tags": properties{"theirs": "1"}}, []string{"tags"}},
		"an output alone":                 {properties{"arn": "arn:…"}, nil},
		"what is gone":                    {properties{"description": nil}, []string{"description"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stands := properties{}
			for _, layer := range []properties{wanted, test.stands} {
				for key, value := range layer {
					if stands[key] = value; value == nil {
						delete(stands, key)
					}
				}
			}
			// The inputs of the last update tell nothing: they are what is wanted.
			diff, err := thing(&stands).Diff(t.Context(), &pulumirpc.DiffRequest{
				Id: "id", Urn: urn, Olds: wire(t, stands), OldInputs: wire(t, wanted), News: wire(t, wanted),
			})
			require.NoError(t, err)
			assert.Equal(t, test.diffs, diff.GetDiffs())
			assert.Empty(t, diff.GetReplaces())
		})
	}
}

func TestWhatAnUpdateRenewsIsUnknownInItsPreview(t *testing.T) {
	t.Parallel()
	live := properties{}
	was := properties{"name": "a", "description": "old", "hash": "h1", "version": "v1"}
	for changed, version := range map[string]any{"hash": resource.Computed{Element: resource.NewProperty("")}, "description": "v1"} {
		news := properties{"name": "a", "description": "old", "hash": "h1"}
		news[changed] = "new"
		updated, err := thing(&live).Update(t.Context(), &pulumirpc.UpdateRequest{
			Id: "id", Urn: urn, Olds: wire(t, was), News: wire(t, news), Preview: true,
		})
		require.NoError(t, err)
		decoded, err := plugin.UnmarshalProperties(updated.GetProperties(), plugin.MarshalOptions{KeepUnknowns: true})
		require.NoError(t, err)
		if _, unknown := version.(resource.Computed); unknown {
			assert.True(t, decoded["version"].IsComputed(), "version after a change of %s: %v", changed, decoded["version"])
		} else {
			assert.Equal(t, version, decoded["version"].StringValue(), "version after a change of %s", changed)
		}
		assert.Empty(t, live, "a preview has changed the service")
	}
}

func TestAnInputThatIsTakenAwayLeavesTheState(t *testing.T) {
	t.Parallel()
	live := properties{"name": "a", "description": "old", "hash": "h1"}
	news := properties{"name": "a"}
	updated, err := thing(&live).Update(t.Context(), &pulumirpc.UpdateRequest{Id: "id", Urn: urn, Olds: wire(t, live), News: wire(t, news)})
	require.NoError(t, err)
	assert.Equal(t, news, plain(t, updated.GetProperties()))
}
