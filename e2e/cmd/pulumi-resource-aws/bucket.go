package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
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
	return c.taggable(provider.Resource{
		Inputs:   []string{"bucketPrefix", "forceDestroy", "tags"},
		Required: []string{"bucketPrefix"},
		Replace:  []string{"bucketPrefix"},
		Unread:   []string{"forceDestroy"},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			name, err := resource.NewUniqueHex(inputs["bucketPrefix"].StringValue(), suffix, 63)
			if err != nil {
				return "", nil, fmt.Errorf("naming S3 Bucket: %w", err)
			}
			if _, err := c.s3.CreateBucket(ctx, &s3.CreateBucketInput{
				Bucket:                    &name,
				CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(c.region)},
			}); err != nil {
				return "", nil, fmt.Errorf("creating S3 Bucket (%s): %w", name, err)
			}
			if tags := textMap(inputs["tags"]); len(tags) > 0 {
				if err := c.bucketTagging().tag(ctx, name, tags); err != nil {
					return name, nil, fmt.Errorf("setting S3 Bucket (%s) tags: %w", name, err)
				}
			}
			return name, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := c.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading S3 Bucket (%s): %w", id, err)
			}
			tags, err := c.bucketTags(ctx, id)
			if err != nil {
				return nil, fmt.Errorf("listing tags for S3 Bucket (%s): %w", id, err)
			}
			return properties(map[string]any{
				"bucket": id, "bucketPrefix": namePrefix(id), "arn": "arn:" + c.partition() + ":s3:::" + id, "tags": tags,
			}), nil
		},
		Update: func(context.Context, string, resource.PropertyMap, resource.PropertyMap) (resource.PropertyMap, error) {
			return nil, nil
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
	}, c.bucketTagging())
}

// suffix is the length of what follows a name's prefix.
const suffix = 26

var generated = regexp.MustCompile(`^(.+)[0-9a-f]{26}$`)

// namePrefix reads the prefix of a generated name, as the provider does (internal/create/naming.go of
// https://github.com/hashicorp/terraform-provider-aws).
func namePrefix(name string) string {
	if found := generated.FindStringSubmatch(name); found != nil {
		return found[1]
	}
	return ""
}

func (c *clients) bucketTags(ctx context.Context, bucket string) (map[string]string, error) {
	live, err := c.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &bucket})
	if isCode(err, "NoSuchTagSet") {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	return fromS3Tags(live.TagSet), nil
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

func isNoSuchBucket(err error) bool { return isCode(err, "NoSuchBucket") }

// isCode reports whether AWS answered with one of the codes.
func isCode(err error, codes ...string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode())
}

// bucketPart is one of the resources that set up the bucket that it names. An update puts all of it again; get answers the
// bucket's properties, or nil where it has none.
type bucketPart struct {
	what   string // in messages
	inputs []string
	same   map[string]provider.Same
	kept   []string
	put    func(ctx context.Context, bucket string, inputs resource.PropertyMap) error
	get    func(ctx context.Context, bucket string) (map[string]any, error)
	remove func(ctx context.Context, bucket string) error
	absent string // AWS's code of a bucket that has none
}

func (p bucketPart) resource() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (string, error) {
		name := inputs["bucket"].StringValue()
		if err := p.put(ctx, name, inputs); err != nil {
			return "", fmt.Errorf("putting S3 Bucket (%s) %s: %w", name, p.what, err)
		}
		return name, nil
	}
	return provider.Resource{
		Inputs:   append([]string{"bucket"}, p.inputs...),
		Required: []string{"bucket"},
		Replace:  []string{"bucket"},
		Same:     p.same,
		Kept:     p.kept,
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			id, err := put(ctx, inputs)
			return id, nil, err
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := p.get(ctx, id)
			if isNoSuchBucket(err) || isCode(err, p.absent) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading S3 Bucket (%s) %s: %w", id, p.what, err)
			}
			live["bucket"] = id
			return properties(live), nil
		},
		Update: func(ctx context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := put(ctx, inputs)
			return nil, err
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			if err := p.remove(ctx, id); err != nil && !isNoSuchBucket(err) && !isCode(err, p.absent) {
				return fmt.Errorf("deleting S3 Bucket (%s) %s: %w", id, p.what, err)
			}
			return nil
		},
	}
}

func (c *clients) bucketVersioning() provider.Resource {
	put := func(ctx context.Context, name string, status types.BucketVersioningStatus) error {
		_, err := c.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
			Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: status},
		})
		return err
	}
	return bucketPart{
		what: "Versioning", inputs: []string{"versioningConfiguration"},
		put: func(ctx context.Context, name string, inputs resource.PropertyMap) error {
			return put(ctx, name, types.BucketVersioningStatus(inputs["versioningConfiguration"].ObjectValue()["status"].StringValue()))
		},
		get: func(ctx context.Context, name string) (map[string]any, error) {
			live, err := c.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &name})
			if err != nil {
				return nil, err
			}
			return map[string]any{"versioningConfiguration": map[string]any{"status": cmp.Or(string(live.Status), "Disabled")}}, nil
		},
		remove: func(ctx context.Context, name string) error {
			return put(ctx, name, types.BucketVersioningStatusSuspended)
		},
	}.resource()
}

func (c *clients) bucketEncryption() provider.Resource {
	return bucketPart{
		what: "Server-side Encryption Configuration", inputs: []string{"rules"}, absent: "ServerSideEncryptionConfigurationNotFoundError",
		same: map[string]provider.Same{"rules": func(old, new resource.PropertyValue) bool { return algorithm(old) == algorithm(new) }},
		put: func(ctx context.Context, name string, inputs resource.PropertyMap) error {
			_, err := c.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
				Bucket: &name, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
					Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
						SSEAlgorithm: types.ServerSideEncryption(algorithm(inputs["rules"])),
					}}},
				},
			})
			return err
		},
		get: func(ctx context.Context, name string) (map[string]any, error) {
			live, err := c.s3.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &name})
			if err != nil {
				return nil, err
			}
			var rules []any
			for _, rule := range live.ServerSideEncryptionConfiguration.Rules {
				rules = append(rules, map[string]any{
					"applyServerSideEncryptionByDefault": map[string]any{"sseAlgorithm": string(rule.ApplyServerSideEncryptionByDefault.SSEAlgorithm)},
					"bucketKeyEnabled":                   aws.ToBool(rule.BucketKeyEnabled),
				})
			}
			return map[string]any{"rules": rules}, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := c.s3.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: &name})
			return err
		},
	}.resource()
}

// algorithm is that of the one rule of an encryption configuration: S3 knows no second.
func algorithm(rules resource.PropertyValue) string {
	if !rules.IsArray() || len(rules.ArrayValue()) != 1 {
		return ""
	}
	byDefault := rules.ArrayValue()[0].ObjectValue()["applyServerSideEncryptionByDefault"]
	if !byDefault.IsObject() {
		return ""
	}
	return byDefault.ObjectValue()["sseAlgorithm"].StringValue()
}

func (c *clients) bucketPolicy() provider.Resource {
	return bucketPart{
		what: "Policy", inputs: []string{"policy"}, absent: "NoSuchBucketPolicy",
		same: map[string]provider.Same{"policy": provider.SameJSON}, kept: []string{"policy"},
		put: func(ctx context.Context, name string, inputs resource.PropertyMap) error {
			_, err := c.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: aws.String(inputs["policy"].StringValue())})
			return err
		},
		get: func(ctx context.Context, name string) (map[string]any, error) {
			live, err := c.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &name})
			if err != nil {
				return nil, err
			}
			return map[string]any{"policy": live.Policy}, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := c.s3.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &name})
			return err
		},
	}.resource()
}

func (c *clients) publicAccessBlock() provider.Resource {
	return bucketPart{
		what: "Public Access Block", absent: "NoSuchPublicAccessBlockConfiguration",
		inputs: []string{"blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"},
		put: func(ctx context.Context, name string, inputs resource.PropertyMap) error {
			var in types.PublicAccessBlockConfiguration
			if err := decode(inputs, &in); err != nil {
				return err
			}
			_, err := c.s3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &name, PublicAccessBlockConfiguration: &in})
			return err
		},
		get: func(ctx context.Context, name string) (map[string]any, error) {
			live, err := c.s3.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &name})
			if err != nil {
				return nil, err
			}
			block := live.PublicAccessBlockConfiguration
			return map[string]any{
				"blockPublicAcls": aws.ToBool(block.BlockPublicAcls), "blockPublicPolicy": aws.ToBool(block.BlockPublicPolicy),
				"ignorePublicAcls": aws.ToBool(block.IgnorePublicAcls), "restrictPublicBuckets": aws.ToBool(block.RestrictPublicBuckets),
			}, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := c.s3.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &name})
			return err
		},
	}.resource()
}

// object is an S3 object from a file. Where its content changes, its version is not known before
// (resourceObjectCustomizeDiff in internal/service/s3/object.go of https://github.com/hashicorp/terraform-provider-aws). The
// default tags are its own too.
func (c *clients) object() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (string, error) {
		bucket, key := inputs["bucket"].StringValue(), inputs["key"].StringValue()
		if !inputs["source"].IsAsset() {
			return "", fmt.Errorf("uploading S3 Object (%s) to Bucket (%s): its source must be an asset", key, bucket)
		}
		content, err := inputs["source"].AssetValue().Bytes()
		if err != nil {
			return "", fmt.Errorf("opening S3 object source (%s): %w", key, err)
		}
		tags := url.Values{}
		for name, value := range textMap(inputs["tags"]) {
			tags.Set(name, value)
		}
		if _, err := c.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: bytes.NewReader(content), Tagging: stringOrNil(tags.Encode()),
		}); err != nil {
			return "", fmt.Errorf("uploading S3 Object (%s) to Bucket (%s): %w", key, bucket, err)
		}
		return key, nil
	}
	content := []string{"source", "sourceHash"}
	renews := map[string][]string{}
	for _, input := range content {
		renews[input] = []string{"versionId"}
	}
	row := provider.Resource{
		Inputs:   append([]string{"bucket", "key", "tags"}, content...),
		Required: []string{"bucket", "key", "source"},
		Replace:  []string{"bucket", "key"},
		Unread:   content,
		Renews:   renews,
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			id, err := put(ctx, inputs)
			return id, nil, err
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			bucket := state["bucket"].StringValue()
			live, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &id})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading S3 Object (%s): %w", id, err)
			}
			tags, err := c.s3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: &id})
			if err != nil {
				return nil, fmt.Errorf("listing tags for S3 Object (%s): %w", id, err)
			}
			return properties(map[string]any{
				"bucket": bucket, "key": id, "arn": "arn:" + c.partition() + ":s3:::" + bucket + "/" + id, "etag": strings.Trim(aws.ToString(live.ETag), `"`), "versionId": aws.ToString(live.VersionId),
				"serverSideEncryption": string(live.ServerSideEncryption), "tags": fromS3Tags(tags.TagSet),
			}), nil
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if !slices.ContainsFunc(content, func(name string) bool {
				key := resource.PropertyKey(name)
				return !state[key].DeepEquals(inputs[key])
			}) {
				return nil, nil
			}
			whole := inputs.Copy()
			whole["tags"] = tagsProperty(c.merged(textMap(inputs["tags"])))
			_, err := put(ctx, whole)
			return nil, err
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			return c.deleteVersions(ctx, state["bucket"].StringValue(), id)
		},
	}
	return c.taggable(row, c.objectTagging())
}
