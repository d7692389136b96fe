package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// failure is an error as Pulumi's bridge words that of one data source: a list of one.
func failure(format string, args ...any) error {
	return fmt.Errorf("1 error occurred:\n\t* %w%s", fmt.Errorf(format, args...), "\n\n")
}

// getInvocation has a function answer an event. Where the function fails, its payload is the error, and where AWS does not take the
// event the client sends it again: dataSourceInvocationRead in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/invocation_data_source.go
func (c *clients) getInvocation(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in struct{ FunctionName, Input, Qualifier string }
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	if !json.Valid([]byte(in.Input)) {
		return nil, errors.New(`"input" contains an invalid JSON`)
	}
	answer, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: &in.FunctionName, InvocationType: types.InvocationTypeRequestResponse, Payload: []byte(in.Input),
		Qualifier: aws.String(cmp.Or(in.Qualifier, "$LATEST")),
	})
	if err != nil {
		return nil, failure("invoking Lambda Function (%s): %w", in.FunctionName, err)
	}
	if answer.FunctionError != nil {
		return nil, failure("invoking Lambda Function (%s): %s", in.FunctionName, answer.Payload)
	}
	return properties(map[string]any{
		"id": in.FunctionName + "_" + cmp.Or(in.Qualifier, "$LATEST"), "functionName": in.FunctionName, "input": in.Input,
		"qualifier": cmp.Or(in.Qualifier, "$LATEST"), "result": string(answer.Payload),
	}), nil
}
