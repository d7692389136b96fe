// Package ec2 calls the operations of Amazon EC2 that the stand-ins need. Its names are those of the AWS SDK's package ec2, whose
// 21 MB of source take a minute to compile; the SDK's core signs the requests and tries them again.
package ec2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Client calls EC2.
type Client struct {
	config  aws.Config
	retryer aws.Retryer // of all calls: it counts the service's failures
	http    smithyhttp.ClientDo
}

// NewFromConfig is a client with a configuration's region, credentials, endpoint and patience.
func NewFromConfig(config aws.Config) *Client {
	c := &Client{config: config, http: config.HTTPClient}
	if config.Retryer != nil {
		c.retryer = config.Retryer()
	} else {
		c.retryer = retry.NewStandard()
	}
	if c.http == nil {
		c.http = awshttp.NewBuildableClient()
	}
	return c
}

// call does an operation. Its input is a pointer to a struct whose fields have their names in the request as tags, and its answer
// one of [encoding/xml]. Requests and answers have the form that
// https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html describes.
func call[Out any](ctx context.Context, c *Client, operation string, input any) (*Out, error) {
	form := url.Values{"Action": {operation}, "Version": {"2016-11-15"}}
	addFields(form, "", reflect.ValueOf(input).Elem())
	body, out := []byte(form.Encode()), new(Out)

	stack := middleware.NewStack(operation, smithyhttp.NewStackRequest)
	steps := []error{
		stack.Serialize.Add(middleware.SerializeMiddlewareFunc("Query", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (
			middleware.SerializeOutput, middleware.Metadata, error,
		) {
			var err error
			if in.Request, err = c.request(in.Request.(*smithyhttp.Request), body); err != nil {
				return middleware.SerializeOutput{}, middleware.Metadata{}, err
			}
			return next.HandleSerialize(ctx, in)
		}), middleware.After),
		stack.Finalize.Add(retry.NewAttemptMiddleware(c.retryer, smithyhttp.RequestCloner), middleware.After),
		stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("Signing", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error,
		) {
			if err := c.sign(ctx, in.Request.(*smithyhttp.Request), body); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			return next.HandleFinalize(ctx, in)
		}), middleware.After),
		stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Answer", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
			middleware.DeserializeOutput, middleware.Metadata, error,
		) {
			answer, metadata, err := next.HandleDeserialize(ctx, in)
			if err == nil {
				err = read(answer.RawResponse.(*smithyhttp.Response), out)
			}
			return answer, metadata, err
		}), middleware.After),
	}
	for _, err := range steps {
		if err != nil {
			return nil, fmt.Errorf("preparing EC2's %s: %w", operation, err)
		}
	}
	handler := middleware.DecorateHandler(smithyhttp.NewClientHandlerWithOptions(c.http), stack)
	if _, _, err := handler.Handle(ctx, input); err != nil {
		return nil, &smithy.OperationError{ServiceID: "EC2", OperationName: operation, Err: err}
	}
	return out, nil
}

func (c *Client) request(request *smithyhttp.Request, body []byte) (*smithyhttp.Request, error) {
	endpoint := "https://ec2." + c.config.Region + ".amazonaws.com"
	if c.config.BaseEndpoint != nil {
		endpoint = *c.config.BaseEndpoint
	}
	address, err := url.Parse(strings.TrimSuffix(endpoint, "/") + "/")
	if err != nil {
		return nil, fmt.Errorf("reading the endpoint of EC2: %w", err)
	}
	request.Method, request.URL = http.MethodPost, address
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.ContentLength = int64(len(body))
	return request.SetStream(bytes.NewReader(body))
}

func (c *Client) sign(ctx context.Context, request *smithyhttp.Request, body []byte) error {
	credentials, err := c.config.Credentials.Retrieve(ctx)
	if err != nil {
		return &v4.SigningError{Err: fmt.Errorf("failed to retrieve credentials: %w", err)}
	}
	hash := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(ctx, credentials, request.Request, hex.EncodeToString(hash[:]), "ec2", c.config.Region, time.Now())
}

// read reads an answer, or the error that it is.
func read(response *smithyhttp.Response, out any) error {
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return &smithy.DeserializationError{Err: fmt.Errorf("reading EC2's answer: %w", err)}
	}
	if response.StatusCode < 300 {
		if err := xml.Unmarshal(text, out); err != nil {
			return &smithy.DeserializationError{Err: fmt.Errorf("reading EC2's answer: %w", err), Snapshot: text}
		}
		return nil
	}
	var failure struct {
		Code      string `xml:"Errors>Error>Code"`
		Message   string `xml:"Errors>Error>Message"`
		RequestID string `xml:"RequestID"`
	}
	if xml.Unmarshal(text, &failure) != nil || failure.Code == "" {
		failure.Code, failure.Message = "UnknownError", "UnknownError"
	}
	return &awshttp.ResponseError{RequestID: failure.RequestID, ResponseError: &smithyhttp.ResponseError{
		Response: response, Err: &smithy.GenericAPIError{Code: failure.Code, Message: failure.Message},
	}}
}

// addFields adds a struct's fields to the form. Lists are flat, and what is not set is left out.
func addFields(form url.Values, prefix string, fields reflect.Value) {
	for i := range fields.NumField() {
		addValue(form, prefix+fields.Type().Field(i).Tag.Get("query"), fields.Field(i))
	}
}

func addValue(form url.Values, name string, value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			addValue(form, name, value.Elem())
		}
	case reflect.Slice:
		for i := range value.Len() {
			addValue(form, name+"."+strconv.Itoa(i+1), value.Index(i))
		}
	case reflect.Struct:
		addFields(form, name+".", value)
	default:
		form.Set(name, fmt.Sprint(value.Interface()))
	}
}
