package infra

import (
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSubnetsOfTheFunction(t *testing.T) {
	subnets := func(c *cloud, found map[string]map[string]any) {
		ids := []any{}
		for id := range found {
			ids = append(ids, id)
		}
		c.answers[subnetGroupToken] = answer(map[string]any{"subnetIds": ids, "vpcId": "vpc-1"})
		c.answers[subnetToken] = func(args resource.PropertyMap) (map[string]any, error) {
			id := args["id"].StringValue()
			if found[id] == nil {
				return nil, fmt.Errorf("InvalidSubnetID.NotFound: The subnet ID '%s' does not exist", id)
			}
			found[id]["id"] = id
			return found[id], nil
		}
	}
	chosen := func(c *cloud) []any {
		return c.registered["function"].Inputs["vpcConfig"].ObjectValue()["subnetIds"].Mappable().([]any)
	}

	t.Run("gone, full and IPv6-only ones are left out", func(t *testing.T) {
		c := newCloud()
		subnets(c, map[string]map[string]any{
			"subnet-good": {"availabilityZone": "a", "availableIpAddressCount": 3},
			"subnet-gone": nil,
			"subnet-full": {"availabilityZone": "b", "availableIpAddressCount": 0},
			"subnet-six":  {"availabilityZone": "c", "ipv6Native": true, "ipv6CidrBlock": "fd00::/64"},
		})
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Equal(t, []any{"subnet-good"}, chosen(c))
	})
	t.Run("a full one that the function is in already stays", func(t *testing.T) {
		c := newCloud()
		stood := written()
		stood["function"].(map[string]any)["vpcConfig"] = map[string]any{"subnetIds": []any{"subnet-mine"}}
		c.answers[stateToken] = state(stood)
		subnets(c, map[string]map[string]any{
			"subnet-mine":  {"availabilityZone": "a", "availableIpAddressCount": 0},
			"subnet-other": {"availabilityZone": "b", "availableIpAddressCount": 0},
		})
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Equal(t, []any{"subnet-mine"}, chosen(c))
	})
	t.Run("none left", func(t *testing.T) {
		c := newCloud()
		subnets(c, map[string]map[string]any{"subnet-gone": nil})
		err := deploy(t, c, minimal(nil))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "the subnet subnet-gone is gone")
		assert.Empty(t, c.registered)
	})
	t.Run("at most 16, of every zone", func(t *testing.T) {
		c := newCloud()
		many := map[string]map[string]any{}
		for i := range 20 {
			many[fmt.Sprintf("subnet-a%02d", i)] = map[string]any{"availabilityZone": "a"}
		}
		many["subnet-b"] = map[string]any{"availabilityZone": "b"}
		many["subnet-c"] = map[string]any{"availabilityZone": "c"}
		subnets(c, many)
		require.NoError(t, deploy(t, c, minimal(nil)))
		assert.Len(t, chosen(c), 16)
		assert.Contains(t, chosen(c), "subnet-b")
		assert.Contains(t, chosen(c), "subnet-c")
	})
	t.Run("dual-stack when every one is", func(t *testing.T) {
		for ipv6, want := range map[string]bool{"": false, "fd00::/64": true} {
			c := newCloud()
			subnets(c, map[string]map[string]any{
				"subnet-a": {"ipv6CidrBlock": "fd01::/64"},
				"subnet-b": {"ipv6CidrBlock": ipv6},
			})
			require.NoError(t, deploy(t, c, minimal(nil)))
			assert.Equal(t, want, c.registered["function"].Inputs["vpcConfig"].ObjectValue()["ipv6AllowedForDualStack"].BoolValue())
		}
	})
	t.Run("dedicated tenancy", func(t *testing.T) {
		c := newCloud()
		c.answers[vpcToken] = answer(map[string]any{"instanceTenancy": "dedicated"})
		err := deploy(t, c, minimal(nil))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "dedicated tenancy")
		assert.Empty(t, c.registered)
	})
}
