package infra

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPermissionsBoundaryOfAnotherAccountIsRefused(t *testing.T) {
	c := newCloud()
	boundary := func(arn string) error {
		return deploy(t, c, minimal(map[string]string{"shop:permissionsBoundaryArn": arn}))
	}
	err := boundary("arn:aws:iam::444455556666:policy/boundary")
	require.ErrorContains(t, err, "the policy belongs to the AWS account 444455556666, but these credentials are of 111122223333")
	require.ErrorContains(t, err, "pulumi config set shop:permissionsBoundaryArn <arn>")
	assert.Empty(t, c.registered)
	require.NoError(t, boundary("arn:aws:iam::aws:policy/PowerUserAccess"))
}

func TestIndependentLookupsAreUnderWayAtTheSameTime(t *testing.T) {
	c := newCloud()
	first := []string{callerIdentityToken, partitionToken, clustersToken, instancesToken, oidcToken, signingProfileLookupToken}
	var waiting sync.WaitGroup
	waiting.Add(len(first))
	all := make(chan struct{})
	go func() { waiting.Wait(); close(all) }()
	for _, token := range first {
		answer := c.answers[token]
		c.answers[token] = func(args resource.PropertyMap) (map[string]any, error) {
			waiting.Done()
			select {
			case <-all:
				return answer(args)
			case <-t.Context().Done():
				return nil, t.Context().Err()
			case <-time.After(time.Minute):
				return nil, fmt.Errorf("AccessDenied: %s was asked for before the others were", token)
			}
		}
	}
	require.NoError(t, deploy(t, c, minimal(nil)))
}

func TestAllThatAWSRefusesIsReportedAtOnce(t *testing.T) {
	refuse := func(action string) func(resource.PropertyMap) (map[string]any, error) {
		return func(resource.PropertyMap) (map[string]any, error) {
			return nil, fmt.Errorf("AccessDenied: User: x is not authorized to perform: %s on resource: *", action)
		}
	}
	c := newCloud()
	c.answers[clustersToken] = refuse("rds:DescribeDBClusters")
	c.answers[oidcToken] = refuse("iam:ListOpenIDConnectProviders")
	c.answers[signingProfileLookupToken] = refuse("signer:GetSigningProfile")
	err := deploy(t, c, minimal(nil))
	require.Error(t, err)
	for _, action := range []string{"rds:DescribeDBClusters", "iam:ListOpenIDConnectProviders", "signer:GetSigningProfile"} {
		assert.Contains(t, err.Error(), "needs the IAM permission "+action)
	}
	assert.Empty(t, c.registered)

	c.answers[callerIdentityToken] = func(resource.PropertyMap) (map[string]any, error) {
		return nil, errors.New("ExpiredToken: The security token included in the request is expired")
	}
	c.answers[partitionToken] = c.answers[callerIdentityToken]
	err = deploy(t, c, minimal(nil))
	require.ErrorContains(t, err, "Log in to AWS first")
	assert.Equal(t, 1, strings.Count(err.Error(), "ExpiredToken"))
	assert.NotContains(t, err.Error(), "rds:", "without an account nothing else counts")
}

func TestCredentialsOfAnotherAccountStopAnUpdate(t *testing.T) {
	c := newCloud()
	c.answers[stateToken] = state(written())
	c.answers[callerIdentityToken] = answer(map[string]any{"accountId": "999999999999"})
	err := deploy(t, c, minimal(nil))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "deployed to 111122223333, and these credentials are of 999999999999")
	assert.Empty(t, c.registered)
}
