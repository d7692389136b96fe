package main

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// getSecretVersion answers what a secret holds, in clear: the bridge takes the mark of a secret from what a function answers, see
// Invoke in https://github.com/pulumi/pulumi-terraform-bridge/blob/main/pkg/tfbridge/provider.go, and
// https://github.com/pulumi/pulumi-aws/issues/1449. One that is to be deleted counts as not there:
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/secretsmanager/secret_version_data_source.go
func (c *clients) getSecretVersion(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in struct{ SecretID, VersionStage string }
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	stage := cmp.Or(in.VersionStage, "AWSCURRENT")
	var found secretValue
	err := c.json.call(ctx, secretsManager, "GetSecretValue", map[string]string{"SecretId": in.SecretID, "VersionStage": stage}, &found)
	var api smithy.APIError
	deleted := errors.As(err, &api) && api.ErrorCode() == "InvalidRequestException" && strings.Contains(api.ErrorMessage(), "delet")
	switch {
	case isNotFound(err) || deleted:
		return nil, failure("reading Secrets Manager Secret Version (%s|%s): couldn't find resource", in.SecretID, stage)
	case err != nil:
		return nil, failure("reading Secrets Manager Secret Version (%s|%s): %w", in.SecretID, stage, err)
	}
	return properties(map[string]any{
		"id": in.SecretID + "|" + stage, "arn": found.ARN, "secretId": in.SecretID, "versionId": found.VersionID,
		"versionStage": stage, "versionStages": found.VersionStages, "secretString": found.SecretString,
	}), nil
}

// secretValue is what https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html answers.
type secretValue struct {
	ARN           string
	VersionID     string `json:"VersionId"`
	VersionStages []string
	SecretString  string
}
