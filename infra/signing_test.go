package infra

import (
	"encoding/json"
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

func TestAnArchiveWithoutAVersionIsPutElsewhereNextTime(t *testing.T) {
	for _, test := range []struct{ was, version, is string }{
		{"", "", "unsigned/connector.zip"},
		{"unsigned/connector.zip", "v1", "unsigned/connector.zip"},
		{"unsigned/connector.zip", "", "unsigned/connector-2.zip"},
		{"unsigned/connector.zip", "null", "unsigned/connector-2.zip"},
		{"unsigned/connector-2.zip", "v1", "unsigned/connector-2.zip"},
		{"unsigned/connector-2.zip", "", "unsigned/connector-3.zip"},
		{"unsigned/connector-9.zip", "null", "unsigned/connector-10.zip"},
	} {
		last := &LastState{resources: map[string]resourceOutputs{"archive": {Key: test.was, VersionId: test.version}}}
		assert.Equal(t, test.is, archiveKey(last), "after %s, version %q", test.was, test.version)
	}
}

func TestWhereNobodyReadsWhetherCodeMustBeSignedTheFirstUpWarns(t *testing.T) {
	new, earlier := &LastState{}, &LastState{resources: map[string]resourceOutputs{"codeSigningConfig": {Arn: "arn:aws:lambda:…"}}}
	warnings := func(region string, settings Settings, last *LastState) []string {
		return unreadSigning(&settings, last, &Account{Region: region, CLI: "aws --profile shop"})
	}
	signed := Settings{CodeSigning: true}
	for _, region := range []string{"eu-central-2", "us-gov-west-1", "cn-north-1"} {
		said := warnings(region, signed, new)
		require.Len(t, said, 1, region)
		assert.Contains(t, said[0], "aws --profile shop lambda get-function-code-signing-config --region "+region)
		assert.Empty(t, warnings(region, Settings{}, new), "it is not signed")
		assert.Empty(t, warnings(region, signed, earlier), "it was said")
		assert.Len(t, warnings(region, Settings{Published: true}, new), 1)
	}
	assert.Empty(t, warnings("eu-west-1", signed, new))
}

func TestTheCommandsAskTheAccountOfTheProfile(t *testing.T) {
	for profile, cli := range map[string]string{
		"": "aws", "shop": "aws --profile shop", "shop/prod@eu": "aws --profile shop/prod@eu",
		"the shop's": `aws --profile 'the shop'\''s'`, "$(id)": "aws --profile '$(id)'",
	} {
		require.NoError(t, run(t, newCloud(), minimal(map[string]string{"aws:profile": profile}), func(ctx *pulumi.Context, _ Config) error {
			assert.Equal(t, cli, awsCLI(ctx))
			return nil
		}))
	}
}

func TestMoreDefaultTagsThanAnObjectTakesStopBeforeAnythingIsCreated(t *testing.T) {
	tags := func(number int) string {
		all := map[string]string{}
		for i := range number {
			all[fmt.Sprint("tag", i)] = "x"
		}
		text, err := json.Marshal(map[string]any{"tags": all})
		require.NoError(t, err)
		return string(text)
	}
	c := newCloud()
	err := deploy(t, c, minimal(map[string]string{"aws:defaultTags": tags(11)}))
	require.ErrorContains(t, err, "aws:defaultTags has 11 tags, and S3 takes 10 at most")
	assert.Empty(t, c.registered)
	require.NoError(t, deploy(t, newCloud(), minimal(map[string]string{"aws:defaultTags": tags(10)})))
	require.NoError(t, deploy(t, newCloud(), minimal(map[string]string{"aws:defaultTags": tags(11), "shop:codeSigning": "false"})))
}
