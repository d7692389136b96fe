package infra

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnlyAnAnswerOfAWSTellsThatSomethingIsNotThere(t *testing.T) {
	for _, there := range []string{
		"NoSuchEntity: OpenIDConnect Provider not found for arn", "InvalidSubnetID.NotFound: The subnet ID 'subnet-a' does not exist",
		"no matching EC2 Subnet found", "DBClusterNotFoundFault: DBCluster x not found.",
	} {
		assert.True(t, isNotFound(errors.New(there)), there)
	}
	for _, unknown := range []string{
		"dial tcp: lookup iam.amazonaws.com: no such host",
		"no valid credential sources for aws found: no EC2 IMDS role found, http response error StatusCode: 404",
		"AccessDenied: not authorized to perform: iam:GetOpenIDConnectProvider, which was not found in a policy",
		"Throttling: Rate exceeded",
	} {
		assert.False(t, isNotFound(errors.New(unknown)), unknown)
	}
	c := newCloud()
	c.answers[oidcToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("dial tcp: lookup iam.amazonaws.com: no such host")
	}
	require.ErrorContains(t, deploy(t, c, minimal(nil)), "looking for the OIDC identity provider")
	assert.Empty(t, c.registered)
}

func TestARefusedLookupIsToldOnce(t *testing.T) {
	c := newCloud()
	c.answers[subnetToken] = func(args resource.PropertyMap) (map[string]any, error) {
		return nil, fmt.Errorf("api error UnauthorizedOperation: User: arn:aws:iam::111122223333:user/u is not authorized to perform: ec2:DescribeSubnets. "+
			"Encoded authorization failure message: %[1]s-encoded, RequestID: %[1]s", args["id"].StringValue())
	}
	err := deploy(t, c, minimal(nil))
	require.ErrorContains(t, err, "reading the subnets: ")
	assert.Equal(t, 1, strings.Count(err.Error(), "needs the IAM permission ec2:DescribeSubnets"), err)
}
