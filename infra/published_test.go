package infra

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPulumisArchiveIsDeployedAsItIsPublished(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{"aws:region": "us-west-2", "shop:lambdaArtifact": "published"})))
	function := c.registered["function"].Inputs
	assert.Equal(t, "public-esc-rotator-lambdas-production-us-west-2", function["s3Bucket"].StringValue())
	assert.Equal(t, "aws-lambda/latest.zip", function["s3Key"].StringValue())
	for _, property := range []resource.PropertyKey{"code", "sourceCodeHash", "s3ObjectVersion", "environment"} {
		assert.NotContains(t, function, property)
	}
	assert.Contains(t, c.registered["function"].RegisterRPC.GetIgnoreChanges(), "s3ObjectVersion", "ESC updates the code")

	config := c.registered["codeSigningConfig"].Inputs.Mappable()
	assert.Equal(t, map[string]any{"untrustedArtifactOnDeployment": "Enforce"}, config["policies"])
	assert.Equal(t, map[string]any{"signingProfileVersionArns": []any{
		"arn:aws:signer:us-west-2:388588623842:/signing-profiles/pulumi_esc_production_20250325212043887700000001/jva5X9nqMa"}},
		config["allowedPublishers"])

	arn := "arn:aws:lambda:eu-west-1:111122223333:function:" + c.input("function", "name") // as the mock makes it
	assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [
		{"Sid": "InvokeConnector", "Effect": "Allow", "Action": ["lambda:InvokeFunction", "lambda:GetFunction"], "Resource": ["`+arn+`"]},
		{"Sid": "UpdateConnector", "Effect": "Allow", "Action": ["lambda:UpdateFunctionCode"], "Resource": ["`+arn+`"]},
		{"Sid": "ReadPublishedCode", "Effect": "Allow", "Action": ["s3:GetObject"],
			"Resource": ["arn:aws:s3:::public-esc-rotator-lambdas-production-us-west-2/*"]}]}`, c.input("invocationPolicy", "policy"))
	for _, name := range []string{"keepWarm", "archives", "signingProfile", "signingJob"} {
		assert.NotContains(t, c.registered, name)
	}
}

func TestWhatDoesNotGoWithPulumisArchiveIsRefusedAllAtOnce(t *testing.T) {
	published := func(region string, further map[string]string) error {
		settings := minimal(further)
		settings["aws:region"], settings["shop:lambdaArtifact"] = region, "published"
		_, err := readSettings(t, settings)
		return err
	}
	for _, region := range []string{"ca-central-1", "eu-central-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"} {
		require.NoError(t, published(region, nil))
	}
	require.NoError(t, published("us-east-1", map[string]string{"shop:lambdaArchitecture": "x86_64", "shop:codeSigning": "true"}))

	err := published("eu-west-1", map[string]string{
		"shop:lambdaArchitecture": "arm64", "shop:databaseSslMode": "disable", "shop:databaseCaFile": "testdata/ca.pem", "shop:codeSigning": "false",
		"shop:prepareDatabase": "true"})
	require.Error(t, err)
	for _, text := range []string{
		"no archive in eu-west-1", "ca-central-1, eu-central-1, sa-east-1, us-east-1, us-east-2, us-west-1, us-west-2",
		`shop:lambdaArchitecture is "arm64"`, `shop:databaseSslMode is "disable"`, `shop:codeSigning is "false"`,
		"shop:databaseCaFile", "pulumi config rm shop:databaseSslMode", `shop:prepareDatabase is "true", and lambdaArtifact is "published"`,
	} {
		assert.Contains(t, err.Error(), text)
	}
}
