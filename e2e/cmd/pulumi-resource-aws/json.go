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
)

// jsonClient asks services of AWS whose clients in the SDK are built on a newer SDK than the others here.
type jsonClient struct{ config aws.Config }

// jsonService is one that takes and answers JSON, as AWS's models have them.
type jsonService struct{ title, host, signingName, target string }

var (
	secretsManager = jsonService{"Secrets Manager", "secretsmanager", "secretsmanager", "secretsmanager"}
	taggingAPI     = jsonService{"Resource Groups Tagging API", "tagging", "tagging", "ResourceGroupsTaggingAPI_20170126"}
)

// call tries again what AWS throttles, or is not able to answer.
func (c *jsonClient) call(ctx context.Context, service jsonService, action string, request, answer any) error {
	retryer := newRetryer()
	for attempt := 1; ; attempt++ {
		status, err := c.ask(ctx, service, action, request, answer)
		var api smithy.APIError
		again := status >= http.StatusInternalServerError || errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "Throttling")
		if err == nil || !again || attempt == retryer.MaxAttempts() {
			return err
		}
		delay, err := retryer.RetryDelay(attempt, err)
		if err != nil {
			return err
		}
		time.Sleep(delay)
	}
}

func (c *jsonClient) ask(ctx context.Context, service jsonService, action string, request, answer any) (status int, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	endpoint := "https://" + service.host + "." + c.config.Region + ".amazonaws.com"
	if c.config.BaseEndpoint != nil {
		endpoint = *c.config.BaseEndpoint
	}
	sent, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	sent.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sent.Header.Set("X-Amz-Target", service.target+"."+action)
	credentials, err := c.config.Credentials.Retrieve(ctx)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, sent, hex.EncodeToString(sum[:]), service.signingName, c.config.Region, time.Now()); err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(sent)
	if err != nil {
		return 0, fmt.Errorf("operation error %s: %s, https response error StatusCode: 0, RequestID: , %w", service.title, action, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return response.StatusCode, json.NewDecoder(response.Body).Decode(answer)
	}
	var said struct {
		Type    string `json:"__type"`
		Message string
	}
	_ = json.NewDecoder(response.Body).Decode(&said)
	code := cmp.Or(response.Header.Get("X-Amzn-Errortype"), said.Type)
	return response.StatusCode, fmt.Errorf("operation error %s: %s, https response error StatusCode: %d, RequestID: %s, %w",
		service.title, action, response.StatusCode, response.Header.Get("X-Amzn-Requestid"),
		&smithy.GenericAPIError{Code: code[strings.LastIndex(code, "#")+1:], Message: said.Message})
}
