package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Lookups by name answer an error where there is nothing of that name (the data sources of terraform-provider-aws,
// internal/service/lambda/function_data_source.go and internal/service/logs/group_data_source.go).

// getFunction answers the newest version that somebody has published, where there is one and no qualifier names another.
func (c *clients) getFunction(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	name := args["functionName"].StringValue()
	var qualifier *string
	if args.HasValue("qualifier") {
		qualifier = aws.String(args["qualifier"].StringValue())
	} else {
		newest, err := c.newestVersion(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("reading Lambda Function (%s) latest version: %w", name, err)
		}
		if newest != "$LATEST" {
			qualifier = &newest
		}
	}
	function, err := c.readVersion(ctx, name, qualifier, nil)
	if err == nil && function == nil {
		return nil, fmt.Errorf("reading Lambda Function (%s): ResourceNotFoundException: Function not found", name)
	}
	if err == nil {
		function["functionName"], function["id"] = function["name"], function["name"]
		function["loggingConfigs"] = resource.NewProperty([]resource.PropertyValue{function["loggingConfig"]})
	}
	return function, err
}

func (c *clients) newestVersion(ctx context.Context, function string) (string, error) {
	newest := ""
	pages := lambda.NewListVersionsByFunctionPaginator(c.lambda, &lambda.ListVersionsByFunctionInput{FunctionName: &function})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, version := range page.Versions {
			newest = aws.ToString(version.Version)
		}
	}
	if newest == "" { // which AWS answers by an error, and moto by an empty list
		return "", errors.New("couldn't find resource")
	}
	return newest, nil
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

// getResources follows the pages, as the provider does, and answers tags as a map: internal/service/resourcegroupstaggingapi/
// resources_data_source.go in https://github.com/hashicorp/terraform-provider-aws.
func (c *clients) getResources(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	var in struct {
		TagFilters []struct {
			Key    string
			Values []string
		}
	}
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	found := []any{}
	for token := ""; ; {
		var page struct {
			PaginationToken        string
			ResourceTagMappingList []struct {
				ResourceARN string
				Tags        []struct{ Key, Value string }
			}
		}
		err := c.json.call(ctx, taggingAPI, "GetResources", map[string]any{"TagFilters": in.TagFilters, "PaginationToken": token}, &page)
		if err != nil {
			return nil, fmt.Errorf("reading Resource Groups Tagging API Resources: %w", err)
		}
		for _, each := range page.ResourceTagMappingList {
			tags := map[string]any{}
			for _, tag := range each.Tags {
				tags[tag.Key] = tag.Value
			}
			found = append(found, map[string]any{"resourceArn": each.ResourceARN, "tags": tags})
		}
		if token = page.PaginationToken; token == "" {
			break
		}
	}
	return properties(map[string]any{"id": c.region, "resourceTagMappingLists": found}), nil
}

func (c *clients) getBucket(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	name := args["bucket"].StringValue()
	if _, err := c.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name}); err != nil {
		return nil, fmt.Errorf("reading S3 Bucket (%s): %w", name, err)
	}
	return properties(map[string]any{"id": name, "bucket": name, "arn": fmt.Sprintf("arn:%s:s3:::%s", c.partition(), name)}), nil
}

func (c *clients) getCodeSigningConfig(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	arn := args["arn"].StringValue()
	live, err := c.lambda.GetCodeSigningConfig(ctx, &lambda.GetCodeSigningConfigInput{CodeSigningConfigArn: &arn})
	if err != nil {
		return nil, fmt.Errorf("reading Lambda Code Signing Config (%s): %w", arn, err)
	}
	return properties(map[string]any{"id": arn, "arn": arn, "configId": live.CodeSigningConfig.CodeSigningConfigId}), nil
}
