package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	signertypes "github.com/aws/aws-sdk-go-v2/service/signer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

func (c *clients) signingProfile() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"namePrefix", "platformId", "tags"},
		Required: []string{"namePrefix", "platformId"},
		Replace:  []string{"namePrefix", "platformId"},
		Unread:   []string{"namePrefix", "tags"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in struct {
				NamePrefix, PlatformID string
				Tags                   map[string]string
			}
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			name, err := resource.NewUniqueHex(in.NamePrefix, 26, 64)
			if err != nil {
				return "", nil, fmt.Errorf("naming Signer Signing Profile: %w", err)
			}
			if _, err := c.signer.PutSigningProfile(ctx, &signer.PutSigningProfileInput{
				ProfileName: &name, PlatformId: &in.PlatformID, Tags: in.Tags,
			}); err != nil {
				return "", nil, fmt.Errorf("creating Signer Signing Profile (%s): %w", name, err)
			}
			live, err := c.readSigningProfile(ctx, name)
			return name, live, err
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.readSigningProfile(ctx, id)
			// A cancelled profile is one that is gone.
			if isNotFound(err) || err == nil && live["status"].StringValue() == "Canceled" {
				return nil, nil
			}
			return live, err
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			var in struct{ Tags map[string]string }
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			arn := state["arn"].StringValue()
			if _, err := c.signer.TagResource(ctx, &signer.TagResourceInput{ResourceArn: &arn, Tags: in.Tags}); err != nil {
				return nil, fmt.Errorf("tagging Signer Signing Profile (%s): %w", id, err)
			}
			return state, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.signer.CancelSigningProfile(ctx, &signer.CancelSigningProfileInput{ProfileName: &id})
			return ignoreNotFound(err)
		},
	}
}

func (c *clients) readSigningProfile(ctx context.Context, name string) (resource.PropertyMap, error) {
	live, err := c.signer.GetSigningProfile(ctx, &signer.GetSigningProfileInput{ProfileName: &name})
	if err != nil {
		return nil, fmt.Errorf("reading Signer Signing Profile (%s): %w", name, err)
	}
	return properties(map[string]any{
		"name": name, "arn": live.Arn, "platformId": live.PlatformId, "status": string(live.Status),
		"version": live.ProfileVersion, "versionArn": live.ProfileVersionArn,
	}), nil
}

func (c *clients) getSigningProfile(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	return c.readSigningProfile(ctx, args["name"].StringValue())
}

// signingJob waits for its end, as the provider does. A job cannot be taken back.
func (c *clients) signingJob() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"profileName", "source", "destination"},
		Required: []string{"profileName", "source", "destination"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in struct {
				ProfileName string
				Source      struct {
					S3 struct{ Bucket, Key, Version string }
				}
				Destination struct {
					S3 struct{ Bucket, Prefix string }
				}
			}
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			started, err := c.signer.StartSigningJob(ctx, &signer.StartSigningJobInput{
				ProfileName: &in.ProfileName,
				Source: &signertypes.Source{S3: &signertypes.S3Source{
					BucketName: &in.Source.S3.Bucket, Key: &in.Source.S3.Key, Version: &in.Source.S3.Version,
				}},
				Destination: &signertypes.Destination{S3: &signertypes.S3Destination{
					BucketName: &in.Destination.S3.Bucket, Prefix: stringOrNil(in.Destination.S3.Prefix),
				}},
			})
			if err != nil {
				return "", nil, fmt.Errorf("starting Signer Signing Job: %w", err)
			}
			waiter := signer.NewSuccessfulSigningJobWaiter(c.signer)
			job, err := waiter.WaitForOutput(ctx, &signer.DescribeSigningJobInput{JobId: started.JobId}, 5*time.Minute)
			if err != nil {
				return "", nil, fmt.Errorf("waiting for Signer Signing Job (%s): %w", *started.JobId, err)
			}
			signed := job.SignedObject.S3
			return *started.JobId, properties(map[string]any{
				"jobId": started.JobId, "status": string(job.Status),
				"signedObjects": []any{map[string]any{"s3s": []any{map[string]any{"bucket": *signed.BucketName, "key": *signed.Key}}}},
			}), nil
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := c.signer.DescribeSigningJob(ctx, &signer.DescribeSigningJobInput{JobId: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading Signer Signing Job (%s): %w", id, err)
			}
			return state, nil
		},
		Delete: func(context.Context, string, resource.PropertyMap) error { return nil },
	}
}

type codeSigningConfigInputs struct {
	Description       string
	AllowedPublishers struct{ SigningProfileVersionArns []string }
	Policies          struct{ UntrustedArtifactOnDeployment string }
	Tags              map[string]string
}

func (in codeSigningConfigInputs) publishers() *types.AllowedPublishers {
	return &types.AllowedPublishers{SigningProfileVersionArns: in.AllowedPublishers.SigningProfileVersionArns}
}

func (in codeSigningConfigInputs) policies() *types.CodeSigningPolicies {
	return &types.CodeSigningPolicies{
		UntrustedArtifactOnDeployment: types.CodeSigningPolicy(in.Policies.UntrustedArtifactOnDeployment),
	}
}

func (c *clients) codeSigningConfig() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"description", "allowedPublishers", "policies", "tags"},
		Required: []string{"allowedPublishers"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in codeSigningConfigInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			made, err := c.lambda.CreateCodeSigningConfig(ctx, &lambda.CreateCodeSigningConfigInput{
				Description: stringOrNil(in.Description), AllowedPublishers: in.publishers(), CodeSigningPolicies: in.policies(), Tags: in.Tags,
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating Lambda Code Signing Config: %w", err)
			}
			arn := made.CodeSigningConfig.CodeSigningConfigArn
			return *arn, properties(map[string]any{"arn": arn, "configId": made.CodeSigningConfig.CodeSigningConfigId}), nil
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := c.lambda.GetCodeSigningConfig(ctx, &lambda.GetCodeSigningConfigInput{CodeSigningConfigArn: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading Lambda Code Signing Config (%s): %w", id, err)
			}
			return state, nil
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			var in codeSigningConfigInputs
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			if _, err := c.lambda.UpdateCodeSigningConfig(ctx, &lambda.UpdateCodeSigningConfigInput{
				CodeSigningConfigArn: &id, Description: &in.Description, AllowedPublishers: in.publishers(), CodeSigningPolicies: in.policies(),
			}); err != nil {
				return nil, fmt.Errorf("updating Lambda Code Signing Config (%s): %w", id, err)
			}
			if _, err := c.lambda.TagResource(ctx, &lambda.TagResourceInput{Resource: &id, Tags: in.Tags}); err != nil {
				return nil, fmt.Errorf("tagging Lambda Code Signing Config (%s): %w", id, err)
			}
			return state, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.lambda.DeleteCodeSigningConfig(ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: &id})
			return ignoreNotFound(err)
		},
	}
}

// enforceSigning has the function's code checked by that configuration, or by none.
func (c *clients) enforceSigning(ctx context.Context, function, config string) error {
	var err error
	if config == "" {
		_, err = c.lambda.DeleteFunctionCodeSigningConfig(ctx, &lambda.DeleteFunctionCodeSigningConfigInput{FunctionName: &function})
	} else {
		_, err = c.lambda.PutFunctionCodeSigningConfig(ctx, &lambda.PutFunctionCodeSigningConfigInput{
			FunctionName: &function, CodeSigningConfigArn: &config,
		})
	}
	if err != nil {
		return fmt.Errorf("setting the code signing configuration of Lambda Function (%s): %w", function, err)
	}
	return nil
}
