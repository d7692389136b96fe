package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

// bucket is an S3 bucket in the provider's region, which is another than us-east-1.
func (c *clients) bucket() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"bucketPrefix", "forceDestroy", "tags"},
		Required: []string{"bucketPrefix"},
		Replace:  []string{"bucketPrefix"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			name, err := resource.NewUniqueHex(inputs["bucketPrefix"].StringValue(), 26, 63)
			if err != nil {
				return "", nil, fmt.Errorf("naming S3 Bucket: %w", err)
			}
			if _, err := c.s3.CreateBucket(ctx, &s3.CreateBucketInput{
				Bucket:                    &name,
				CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(c.region)},
			}); err != nil {
				return "", nil, fmt.Errorf("creating S3 Bucket (%s): %w", name, err)
			}
			return name, properties(map[string]any{"bucket": name, "arn": "arn:aws:s3:::" + name}), c.tagBucket(ctx, name, inputs)
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := c.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading S3 Bucket (%s): %w", id, err)
			}
			return state, nil
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			return state, c.tagBucket(ctx, id, inputs)
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			if force := state["forceDestroy"]; force.IsBool() && force.BoolValue() {
				if err := c.emptyBucket(ctx, id); err != nil {
					return err
				}
			}
			if _, err := c.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &id}); err != nil && !isNoSuchBucket(err) {
				return fmt.Errorf("deleting S3 Bucket (%s): %w", id, err)
			}
			return nil
		},
	}
}

func (c *clients) tagBucket(ctx context.Context, name string, inputs resource.PropertyMap) error {
	var in struct{ Tags map[string]string }
	if err := decode(inputs, &in); err != nil {
		return err
	}
	var tags []types.Tag
	for key, value := range in.Tags {
		tags = append(tags, types.Tag{Key: &key, Value: &value})
	}
	if len(tags) == 0 {
		return nil
	}
	_, err := c.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &name, Tagging: &types.Tagging{TagSet: tags}})
	if err != nil {
		return fmt.Errorf("tagging S3 Bucket (%s): %w", name, err)
	}
	return nil
}

// emptyBucket deletes all versions of all objects.
func (c *clients) emptyBucket(ctx context.Context, name string) error {
	return c.deleteVersions(ctx, name, "")
}

func (c *clients) deleteVersions(ctx context.Context, bucket, key string) error {
	live, err := c.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: stringOrNil(key)})
	if isNoSuchBucket(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the versions in S3 Bucket (%s): %w", bucket, err)
	}
	var all []types.ObjectIdentifier
	for _, version := range live.Versions {
		all = append(all, types.ObjectIdentifier{Key: version.Key, VersionId: version.VersionId})
	}
	for _, marker := range live.DeleteMarkers {
		all = append(all, types.ObjectIdentifier{Key: marker.Key, VersionId: marker.VersionId})
	}
	for _, version := range all {
		if key != "" && *version.Key != key {
			continue
		}
		if _, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: version.Key, VersionId: version.VersionId}); err != nil {
			return fmt.Errorf("deleting S3 Object (%s/%s): %w", bucket, *version.Key, err)
		}
	}
	return nil
}

func isNoSuchBucket(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket"
}

// bucketPart is one of the resources that set up the bucket that it names: put and remove do and undo it.
func bucketPart(what string, input string, put func(context.Context, string, resource.PropertyValue) error,
	remove func(context.Context, string) error,
) provider.Resource {
	do := func(ctx context.Context, inputs resource.PropertyMap) (string, error) {
		name := inputs["bucket"].StringValue()
		if err := put(ctx, name, inputs[resource.PropertyKey(input)]); err != nil {
			return "", fmt.Errorf("putting S3 Bucket (%s) %s: %w", name, what, err)
		}
		return name, nil
	}
	return provider.Resource{
		Inputs:   []string{"bucket", input},
		Required: []string{"bucket", input},
		Replace:  []string{"bucket"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			id, err := do(ctx, inputs)
			return id, nil, err
		},
		Read: func(_ context.Context, _ string, state resource.PropertyMap) (resource.PropertyMap, error) {
			return state, nil
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := do(ctx, inputs)
			return state, err
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			if err := remove(ctx, id); err != nil && !isNoSuchBucket(err) {
				return fmt.Errorf("deleting S3 Bucket (%s) %s: %w", id, what, err)
			}
			return nil
		},
	}
}

func (c *clients) bucketVersioning() provider.Resource {
	put := func(ctx context.Context, name, status string) error {
		_, err := c.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
			Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatus(status)},
		})
		return err
	}
	return bucketPart("Versioning", "versioningConfiguration", func(ctx context.Context, name string, value resource.PropertyValue) error {
		return put(ctx, name, value.ObjectValue()["status"].StringValue())
	}, func(ctx context.Context, name string) error { return put(ctx, name, "Suspended") })
}

func (c *clients) bucketEncryption() provider.Resource {
	return bucketPart("Server-side Encryption", "rules", func(ctx context.Context, name string, value resource.PropertyValue) error {
		byDefault := value.ArrayValue()[0].ObjectValue()["applyServerSideEncryptionByDefault"].ObjectValue()
		_, err := c.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
			Bucket: &name, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
				Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
					SSEAlgorithm: types.ServerSideEncryption(byDefault["sseAlgorithm"].StringValue()),
				}}},
			},
		})
		return err
	}, func(ctx context.Context, name string) error {
		_, err := c.s3.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: &name})
		return err
	})
}

func (c *clients) bucketPolicy() provider.Resource {
	return bucketPart("Policy", "policy", func(ctx context.Context, name string, value resource.PropertyValue) error {
		_, err := c.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: aws.String(value.StringValue())})
		return err
	}, func(ctx context.Context, name string) error {
		_, err := c.s3.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &name})
		return err
	})
}

func (c *clients) publicAccessBlock() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (string, error) {
		var in struct {
			Bucket                                                                      string
			BlockPublicAcls, BlockPublicPolicy, IgnorePublicAcls, RestrictPublicBuckets bool
		}
		if err := decode(inputs, &in); err != nil {
			return "", err
		}
		if _, err := c.s3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
			Bucket: &in.Bucket, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
				BlockPublicAcls: &in.BlockPublicAcls, BlockPublicPolicy: &in.BlockPublicPolicy,
				IgnorePublicAcls: &in.IgnorePublicAcls, RestrictPublicBuckets: &in.RestrictPublicBuckets,
			},
		}); err != nil {
			return "", fmt.Errorf("putting S3 Bucket (%s) Public Access Block: %w", in.Bucket, err)
		}
		return in.Bucket, nil
	}
	return provider.Resource{
		Inputs:   []string{"bucket", "blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"},
		Required: []string{"bucket"},
		Replace:  []string{"bucket"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			id, err := put(ctx, inputs)
			return id, nil, err
		},
		Read: func(_ context.Context, _ string, state resource.PropertyMap) (resource.PropertyMap, error) {
			return state, nil
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := put(ctx, inputs)
			return state, err
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.s3.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &id})
			if isNoSuchBucket(err) {
				return nil
			}
			return err
		},
	}
}

// object is an S3 object from a file.
func (c *clients) object() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
		bucket, key := inputs["bucket"].StringValue(), inputs["key"].StringValue()
		if !inputs["source"].IsAsset() {
			return "", nil, fmt.Errorf("uploading S3 Object (%s/%s): its source must be an asset", bucket, key)
		}
		content, err := inputs["source"].AssetValue().Bytes()
		if err != nil {
			return "", nil, fmt.Errorf("reading the source of S3 Object (%s/%s): %w", bucket, key, err)
		}
		answer, err := c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(content)})
		if err != nil {
			return "", nil, fmt.Errorf("uploading S3 Object (%s/%s): %w", bucket, key, err)
		}
		return key, properties(map[string]any{"versionId": answer.VersionId, "etag": strings.Trim(aws.ToString(answer.ETag), `"`)}), nil
	}
	return provider.Resource{
		Inputs:   []string{"bucket", "key", "source", "sourceHash"},
		Required: []string{"bucket", "key", "source"},
		Replace:  []string{"bucket", "key"},
		Create:   put,
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			bucket := state["bucket"].StringValue()
			live, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading S3 Object (%s/%s): %w", bucket, id, err)
			}
			state["versionId"] = resource.NewProperty(aws.ToString(live.VersionId))
			return state, nil
		},
		Update: func(ctx context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, outputs, err := put(ctx, inputs)
			return outputs, err
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			return c.deleteVersions(ctx, state["bucket"].StringValue(), id)
		},
	}
}
