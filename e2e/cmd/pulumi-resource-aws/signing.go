package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	signertypes "github.com/aws/aws-sdk-go-v2/service/signer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

func (c *clients) signingProfile() provider.Resource {
	return c.taggable(provider.Resource{
		Inputs:   []string{"namePrefix", "platformId", "tags"},
		Required: []string{"namePrefix", "platformId"},
		Replace:  []string{"namePrefix", "platformId"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in struct {
				NamePrefix, PlatformID string
				Tags                   map[string]string
			}
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			name, err := resource.NewUniqueHex(in.NamePrefix, suffix, 64)
			if err != nil {
				return "", nil, fmt.Errorf("naming Signer Signing Profile: %w", err)
			}
			if _, err := c.signer.PutSigningProfile(ctx, &signer.PutSigningProfileInput{
				ProfileName: &name, PlatformId: &in.PlatformID, Tags: in.Tags,
			}); err != nil {
				return "", nil, fmt.Errorf("creating Signer Signing Profile (%s): %w", name, err)
			}
			return name, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.readSigningProfile(ctx, id)
			// A cancelled profile is one that is gone.
			if isNotFound(err) || err == nil && live["status"].StringValue() == "Canceled" {
				return nil, nil
			}
			return live, err
		},
		Update: func(context.Context, string, resource.PropertyMap, resource.PropertyMap) (resource.PropertyMap, error) {
			return nil, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.signer.CancelSigningProfile(ctx, &signer.CancelSigningProfileInput{ProfileName: &id})
			return ignoreNotFound(err)
		},
	}, c.signerTagging())
}

func (c *clients) readSigningProfile(ctx context.Context, name string) (resource.PropertyMap, error) {
	live, err := c.signer.GetSigningProfile(ctx, &signer.GetSigningProfileInput{ProfileName: &name})
	if err != nil {
		return nil, fmt.Errorf("reading Signer Signing Profile (%s): %w", name, err)
	}
	return properties(map[string]any{
		"name": name, "namePrefix": namePrefix(name), "arn": live.Arn, "platformId": live.PlatformId, "status": string(live.Status),
		"version": live.ProfileVersion, "versionArn": live.ProfileVersionArn, "tags": live.Tags,
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
		Unread:   []string{"destination"},
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
				return "", nil, fmt.Errorf("creating Signing Job: %w", err)
			}
			// A job that fails is none in the state.
			unfinished := errors.New("exceeded max wait time for SuccessfulSigningJob waiter")
			err = provider.Retry(ctx, 5*time.Minute, func(err error) bool { return errors.Is(err, unfinished) }, func() error {
				job, err := c.signer.DescribeSigningJob(ctx, &signer.DescribeSigningJobInput{JobId: started.JobId})
				switch {
				case err != nil:
					return err
				case job.Status == signertypes.SigningStatusFailed:
					return errors.New("waiter state transitioned to Failure")
				case job.Status != signertypes.SigningStatusSucceeded:
					return unfinished
				}
				return nil
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating Signing Job: waiting for completion: %w", err)
			}
			return *started.JobId, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			job, err := c.signer.DescribeSigningJob(ctx, &signer.DescribeSigningJobInput{JobId: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading Signer signing job (%s): %w", id, err)
			}
			values := map[string]any{
				"jobId": job.JobId, "profileName": job.ProfileName, "status": string(job.Status), "statusReason": job.StatusReason,
			}
			if from := job.Source; from != nil && from.S3 != nil {
				values["source"] = map[string]any{"s3": map[string]any{
					"bucket": aws.ToString(from.S3.BucketName), "key": aws.ToString(from.S3.Key), "version": aws.ToString(from.S3.Version),
				}}
			}
			if to := job.SignedObject; to != nil && to.S3 != nil {
				values["signedObjects"] = []any{map[string]any{"s3s": []any{map[string]any{
					"bucket": aws.ToString(to.S3.BucketName), "key": aws.ToString(to.S3.Key),
				}}}}
			}
			return properties(values), nil
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

// codeSigningConfig is what internal/service/lambda/code_signing_config.go makes of one in
// https://github.com/hashicorp/terraform-provider-aws: an update sends what differs.
func (c *clients) codeSigningConfig() provider.Resource {
	return c.taggable(provider.Resource{
		Inputs:   []string{"description", "allowedPublishers", "policies", "tags"},
		Required: []string{"allowedPublishers"},
		Computed: []string{"policies"},
		Same:     map[string]provider.Same{"allowedPublishers.signingProfileVersionArns": provider.SameSet},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in codeSigningConfigInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			made, err := c.lambda.CreateCodeSigningConfig(ctx, &lambda.CreateCodeSigningConfigInput{
				Description: &in.Description, AllowedPublishers: in.publishers(), CodeSigningPolicies: in.policies(), Tags: in.Tags,
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating Lambda Code Signing Config: %w", err)
			}
			return *made.CodeSigningConfig.CodeSigningConfigArn, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.lambda.GetCodeSigningConfig(ctx, &lambda.GetCodeSigningConfigInput{CodeSigningConfigArn: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading Lambda Code Signing Config (%s): %w", id, err)
			}
			tags, err := c.lambda.ListTags(ctx, &lambda.ListTagsInput{Resource: &id})
			if err != nil {
				return nil, fmt.Errorf("listing tags for Lambda Code Signing Config (%s): %w", id, err)
			}
			config := live.CodeSigningConfig
			return properties(map[string]any{
				"arn": config.CodeSigningConfigArn, "configId": config.CodeSigningConfigId, "description": config.Description,
				"lastModified":      config.LastModified,
				"allowedPublishers": map[string]any{"signingProfileVersionArns": list(config.AllowedPublishers.SigningProfileVersionArns)},
				"policies":          map[string]any{"untrustedArtifactOnDeployment": string(config.CodeSigningPolicies.UntrustedArtifactOnDeployment)},
				"tags":              tags.Tags,
			}), nil
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			var in codeSigningConfigInputs
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			request := &lambda.UpdateCodeSigningConfigInput{CodeSigningConfigArn: &id}
			if !state["allowedPublishers"].DeepEquals(inputs["allowedPublishers"]) {
				request.AllowedPublishers = in.publishers()
			}
			if !state["description"].DeepEquals(inputs["description"]) {
				request.Description = &in.Description
			}
			if !state["policies"].DeepEquals(inputs["policies"]) {
				request.CodeSigningPolicies = in.policies()
			}
			if _, err := c.lambda.UpdateCodeSigningConfig(ctx, request); err != nil {
				return nil, fmt.Errorf("updating Lambda Code Signing Config (%s): %w", id, err)
			}
			return nil, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.lambda.DeleteCodeSigningConfig(ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: &id})
			return ignoreNotFound(err)
		},
	}, c.lambdaTagging())
}

func list(texts []string) []any {
	items := make([]any, len(texts))
	for i, text := range texts {
		items[i] = text
	}
	return items
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
