package infra

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheFunctionRunsWhatTheStacksOwnProfileHasSigned(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(nil)))

	job := c.registered["signingJob"].Inputs.Mappable()
	assert.Equal(t, map[string]any{"s3": map[string]any{
		"bucket": "archives-id", "key": c.input("archive", "key"), "version": "version-1"}}, job["source"])
	assert.Regexp(t, `^[A-Za-z0-9_]{2,38}$`, c.input("signingProfile", "namePrefix"), "26 characters more make the name")
	function := c.registered["function"].Inputs
	assert.Equal(t, "archives-id", function["s3Bucket"].StringValue())
	assert.Equal(t, "signed/by-the-job.zip", function["s3Key"].StringValue())
	assert.NotContains(t, function, resource.PropertyKey("code"))

	config := c.registered["codeSigningConfig"].Inputs.Mappable()
	assert.Equal(t, map[string]any{"untrustedArtifactOnDeployment": "Enforce"}, config["policies"])
	assert.Equal(t, map[string]any{"signingProfileVersionArns": []any{"arn:aws:signer:eu-west-1:111122223333:/signing-profiles/p/v"}},
		config["allowedPublishers"])
}

func TestTheBucketOfTheArchivesIsPrivateVersionedAndByTLSOnly(t *testing.T) {
	c := newCloud()
	c.answers[partitionToken] = answer(map[string]any{"partition": "aws-cn", "dnsSuffix": "amazonaws.com.cn"})
	require.NoError(t, deploy(t, c, minimal(map[string]string{"aws:region": "cn-north-1"})))
	assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{
		"Sid": "OnlyByTLS", "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["s3:*"],
		"Resource": ["arn:aws-cn:s3:::archives-id", "arn:aws-cn:s3:::archives-id/*"],
		"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`, c.input("archivesPolicy", "policy"))
	for _, property := range []string{"blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"} {
		assert.True(t, c.registered["archivesPublicAccessBlock"].Inputs[resource.PropertyKey(property)].BoolValue(), property)
	}
	assert.Equal(t, map[string]any{"status": "Enabled"}, c.registered["archivesVersioning"].Inputs["versioningConfiguration"].Mappable())
	assert.True(t, c.registered["archives"].Inputs["forceDestroy"].BoolValue())
}

func TestUnsignedCodeIsUploaded(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:codeSigning": "false"})))
	function := c.registered["function"].Inputs
	assert.True(t, function["code"].IsArchive())
	for _, property := range []resource.PropertyKey{"s3Bucket", "s3Key", "codeSigningConfigArn"} {
		assert.NotContains(t, function, property)
	}
	for _, name := range []string{"archives", "archive", "signingProfile", "signingJob", "codeSigningConfig"} {
		assert.NotContains(t, c.registered, name)
	}
}

func TestWhereSignerIsNotOfferedTheErrorNamesTheSetting(t *testing.T) {
	check := func(answer error, settings, state map[string]string) error {
		c := newCloud()
		c.answers[signingProfileLookupToken] = func(resource.PropertyMap) (map[string]any, error) { return nil, answer }
		return run(t, c, minimal(settings), func(ctx *pulumi.Context, configuration Config) error {
			s, err := ReadSettings(ctx, configuration)
			if err != nil {
				return err
			}
			last := &LastState{resources: map[string]resourceOutputs{}}
			for name, value := range state {
				last.resources[name] = resourceOutputs{Name: value}
			}
			return checkSigner(ctx, s, last)
		})
	}
	absent := errors.New("dial tcp: lookup signer.eu-west-1.amazonaws.com: no such host")
	silent := errors.New("dial tcp 192.0.2.1:443: i/o timeout")
	for _, answer := range []error{absent, silent, fmt.Errorf("AccessDeniedException: an SCP says no")} {
		err := check(answer, nil, nil)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "pulumi config set shop:codeSigning false")
	}
	assert.ErrorContains(t, check(errors.New("AccessDeniedException: x"), nil, nil), "signer:GetSigningProfile")
	require.NoError(t, check(errors.New("ResourceNotFoundException: there is no such profile"), nil, nil), "Signer answered")
	require.NoError(t, check(absent, map[string]string{"shop:codeSigning": "false"}, nil), "it is not needed")
	require.NoError(t, check(absent, nil, map[string]string{"signingProfile": "p"}), "it was there")
}
