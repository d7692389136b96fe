package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
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
	found, err := c.secrets.value(ctx, in.SecretID, stage)
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

// secretsManager asks AWS Secrets Manager: the SDK's client for it is built on a newer SDK than the others here.
type secretsManager struct{ config aws.Config }

// secretValue is what https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html answers.
type secretValue struct {
	ARN           string
	VersionID     string `json:"VersionId"`
	VersionStages []string
	SecretString  string
}

// value tries again what AWS throttles, or is not able to answer.
func (s *secretsManager) value(ctx context.Context, id, stage string) (*secretValue, error) {
	retryer := newRetryer()
	for attempt := 1; ; attempt++ {
		value, status, err := s.ask(ctx, id, stage)
		var api smithy.APIError
		again := status >= http.StatusInternalServerError || errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "Throttling")
		if err == nil || !again || attempt == retryer.MaxAttempts() {
			return value, err
		}
		delay, err := retryer.RetryDelay(attempt, err)
		if err != nil {
			return nil, err
		}
		time.Sleep(delay)
	}
}

func (s *secretsManager) ask(ctx context.Context, id, stage string) (value *secretValue, status int, err error) {
	const action = "GetSecretValue"
	body, err := json.Marshal(map[string]string{"SecretId": id, "VersionStage": stage})
	if err != nil {
		return nil, 0, err
	}
	endpoint := "https://secretsmanager." + s.config.Region + ".amazonaws.com"
	if s.config.BaseEndpoint != nil {
		endpoint = *s.config.BaseEndpoint
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "secretsmanager."+action)
	credentials, err := s.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, 0, err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, request, hex.EncodeToString(sum[:]), "secretsmanager", s.config.Region, time.Now()); err != nil {
		return nil, 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, 0, fmt.Errorf("operation error Secrets Manager: %s, https response error StatusCode: 0, RequestID: , %w", action, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		value = &secretValue{}
		return value, response.StatusCode, json.NewDecoder(response.Body).Decode(value)
	}
	var said struct {
		Type    string `json:"__type"`
		Message string
	}
	_ = json.NewDecoder(response.Body).Decode(&said)
	code := cmp.Or(response.Header.Get("X-Amzn-Errortype"), said.Type)
	return nil, response.StatusCode, fmt.Errorf("operation error Secrets Manager: %s, https response error StatusCode: %d, RequestID: %s, %w",
		action, response.StatusCode, response.Header.Get("X-Amzn-Requestid"),
		&smithy.GenericAPIError{Code: code[strings.LastIndex(code, "#")+1:], Message: said.Message})
}
