package infra

import (
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestADatabaseThatIsNotThereIsAnEmptyListOrAnError(t *testing.T) {
	missing := func(code string) func(resource.PropertyMap) (map[string]any, error) {
		return func(resource.PropertyMap) (map[string]any, error) {
			return nil, fmt.Errorf("reading RDS: api error %s: orders", code)
		}
	}
	c := newCloud()
	c.answers[clustersToken] = missing("DBClusterNotFoundFault")
	c.answers[instancesToken] = answer(map[string]any{"instanceIdentifiers": []any{"orders"}})
	c.answers[instanceToken] = answer(map[string]any{"address": "orders.abc.eu-west-1.rds.amazonaws.com", "port": 5432, "engine": "postgres"})
	assert.Equal(t, "instance", lookUp(t, c, "orders").kind)

	c = newCloud()
	c.answers[instancesToken] = missing("DBInstanceNotFound")
	assert.Equal(t, "cluster", lookUp(t, c, "orders").kind)
	c.answers[clustersToken] = missing("DBClusterNotFoundFault")
	assert.ErrorContains(t, deploy(t, c, minimal(nil)), "there is no RDS cluster or instance of that name")

	// Who may not ask is told so, whatever the other answer is.
	c.answers[clustersToken] = missing("AccessDenied: not authorized to perform: rds:DescribeDBClusters")
	err := deploy(t, c, minimal(nil))
	require.ErrorContains(t, err, "rds:DescribeDBClusters")
	assert.NotContains(t, err.Error(), "there is no RDS cluster")
}
