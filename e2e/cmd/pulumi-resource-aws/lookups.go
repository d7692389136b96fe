package main

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Lookups by name answer an error where there is nothing of that name (the data sources of terraform-provider-aws,
// internal/service/lambda/function_data_source.go and internal/service/logs/group_data_source.go).

func (c *clients) getFunction(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	name := args["functionName"].StringValue()
	function, err := c.readFunction(ctx, name, nil)
	if err == nil && function == nil {
		return nil, fmt.Errorf("reading Lambda Function (%s): ResourceNotFoundException: Function not found", name)
	}
	if err == nil {
		function["functionName"], function["id"] = function["name"], function["name"]
		function["loggingConfigs"] = resource.NewProperty([]resource.PropertyValue{function["loggingConfig"]})
	}
	return function, err
}

func (c *clients) getLogGroup(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	name := args["name"].StringValue()
	group, err := c.readLogGroup(ctx, name)
	if err == nil && group == nil {
		return nil, fmt.Errorf("reading CloudWatch Logs Log Group (%s): couldn't find resource", name)
	}
	if err == nil {
		group["id"] = group["name"]
	}
	return group, err
}
