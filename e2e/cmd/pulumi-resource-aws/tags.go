package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/ec2"
	"esc-connector-lambda-go/e2e/provider"
)

// tagSettings are the provider's settings on tags: aws:defaultTags and aws:ignoreTags.
type tagSettings struct {
	DefaultTags struct{ Tags map[string]string }
	IgnoreTags  struct{ Keys, KeyPrefixes []string }
}

// ignored reports whether the provider leaves a tag to others, or AWS itself puts it on.
func (s tagSettings) ignored(key string) bool {
	return strings.HasPrefix(key, "aws:") || slices.Contains(s.IgnoreTags.Keys, key) ||
		slices.ContainsFunc(s.IgnoreTags.KeyPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// tagging is how one kind of resource is tagged after its creation; on is its id, or what that property of its state says.
type tagging struct {
	by    resource.PropertyKey
	tag   func(ctx context.Context, on string, tags map[string]string) error
	untag func(ctx context.Context, on string, keys []string) error
}

// taggable lets the row's resources have tags as the provider gives them: the program's, and the default ones besides. All
// of them are the input tagsAll, which Pulumi's provider fills (applyTags in
// https://github.com/pulumi/pulumi-aws/blob/master/provider/tags.go). A read answers in tagsAll what is there, but for what
// is ignored, and in tags that without the default ones; an update sends what differs, and takes away what is gone
// (internal/provider/tags_interceptor.go of https://github.com/hashicorp/terraform-provider-aws).
// The row itself finds all tags in tags when it creates, and answers all in tags when it reads.
func (c *clients) taggable(row provider.Resource, tagging tagging) provider.Resource {
	row.Inputs = append(slices.Clone(row.Inputs), "tagsAll")
	row.Same = maps.Clone(row.Same)
	if row.Same == nil {
		row.Same = map[string]provider.Same{}
	}
	// States of this stand-in's earlier versions have none.
	row.Same["tagsAll"] = func(old, _ resource.PropertyValue) bool { return old.IsNull() }

	check := row.Check
	row.Check = func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
		inputs["tagsAll"] = tagsProperty(c.allTags(textMap(inputs["tags"])))
		if check == nil {
			return inputs, nil
		}
		return check(urn, inputs)
	}

	create := row.Create
	row.Create = func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
		whole := inputs.Copy()
		whole["tags"] = tagsProperty(c.merged(textMap(inputs["tags"])))
		id, outputs, err := create(ctx, whole)
		if outputs != nil {
			outputs["tags"], outputs["tagsAll"] = inputs["tags"], inputs["tagsAll"]
		}
		return id, outputs, err
	}

	read := row.Read
	row.Read = func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
		live, err := read(ctx, id, state)
		if err != nil || live == nil {
			return nil, err
		}
		all, own := textMap(live["tags"]), map[string]string{}
		maps.DeleteFunc(all, func(key, _ string) bool { return c.tags.ignored(key) })
		for key, value := range all {
			// A tag that is a default one counts as the resource's own where it has it so itself.
			if common, set := c.tags.DefaultTags.Tags[key]; !set || common != value || textMap(state["tags"])[key] == value {
				own[key] = value
			}
		}
		live["tags"], live["tagsAll"] = tagsProperty(own), tagsProperty(all)
		return live, nil
	}

	update := row.Update
	row.Update = func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
		on := id
		if tagging.by != "" {
			stands := state
			if !stands[tagging.by].IsString() { // a state of an earlier version
				var err error
				if stands, err = read(ctx, id, state); err != nil || stands == nil {
					return nil, fmt.Errorf("reading %s before it is tagged: %w", id, cmp.Or(err, errors.New("couldn't find resource")))
				}
			}
			on = stands[tagging.by].StringValue()
		}
		if err := retag(ctx, on, tagging, all(state), all(inputs)); err != nil {
			return nil, err
		}
		if update == nil {
			return nil, nil
		}
		return update(ctx, id, state, inputs)
	}
	return row
}

// all are the tags of a state or of inputs. States of this stand-in's earlier versions have no tagsAll.
func all(properties resource.PropertyMap) map[string]string {
	if whole := properties["tagsAll"]; !whole.IsNull() {
		return textMap(whole)
	}
	return textMap(properties["tags"])
}

func retag(ctx context.Context, on string, tagging tagging, old, wanted map[string]string) error {
	var gone []string
	changed := map[string]string{}
	for key := range old {
		if _, kept := wanted[key]; !kept {
			gone = append(gone, key)
		}
	}
	for key, value := range wanted {
		if before, set := old[key]; !set || before != value {
			changed[key] = value
		}
	}
	if len(gone) > 0 {
		if err := tagging.untag(ctx, on, gone); err != nil {
			return fmt.Errorf("untagging resource (%s): %w", on, err)
		}
	}
	if len(changed) > 0 {
		if err := tagging.tag(ctx, on, changed); err != nil {
			return fmt.Errorf("tagging resource (%s): %w", on, err)
		}
	}
	return nil
}

// merged are the program's tags and the default ones, of which the program's win.
func (c *clients) merged(own map[string]string) map[string]string {
	whole := map[string]string{}
	maps.Copy(whole, c.tags.DefaultTags.Tags)
	maps.Copy(whole, own)
	return whole
}

// allTags are merged without what is ignored.
func (c *clients) allTags(own map[string]string) map[string]string {
	whole := c.merged(own)
	maps.DeleteFunc(whole, func(key, _ string) bool { return c.tags.ignored(key) })
	return whole
}

func textMap(value resource.PropertyValue) map[string]string {
	texts := map[string]string{}
	if value.IsObject() {
		for key, item := range value.ObjectValue() {
			if item.IsString() {
				texts[string(key)] = item.StringValue()
			}
		}
	}
	return texts
}

func tagsProperty(tags map[string]string) resource.PropertyValue {
	object := resource.PropertyMap{}
	for key, value := range tags {
		object[resource.PropertyKey(key)] = resource.NewProperty(value)
	}
	return resource.NewProperty(object)
}

func (c *clients) ec2Tagging() tagging {
	keys := func(keys []string) (list []ec2.Tag) {
		for _, key := range keys {
			list = append(list, ec2.Tag{Key: &key})
		}
		return list
	}
	return tagging{
		tag: func(ctx context.Context, id string, tags map[string]string) error {
			_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: ec2Tags(tags)})
			return err
		},
		untag: func(ctx context.Context, id string, gone []string) error {
			_, err := c.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{id}, Tags: keys(gone)})
			return err
		},
	}
}

func (c *clients) eventTagging() tagging {
	return tagging{
		by: "arn",
		tag: func(ctx context.Context, arn string, tags map[string]string) error {
			_, err := c.events.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: &arn, Tags: eventTags(tags)})
			return err
		},
		untag: func(ctx context.Context, arn string, keys []string) error {
			_, err := c.events.UntagResource(ctx, &eventbridge.UntagResourceInput{ResourceARN: &arn, TagKeys: keys})
			return err
		},
	}
}

func eventTags(tags map[string]string) (list []eventtypes.Tag) {
	for key, value := range tags {
		list = append(list, eventtypes.Tag{Key: &key, Value: &value})
	}
	return list
}

func (c *clients) lambdaTagging() tagging {
	return tagging{
		by: "arn",
		tag: func(ctx context.Context, arn string, tags map[string]string) error {
			_, err := c.lambda.TagResource(ctx, &lambda.TagResourceInput{Resource: &arn, Tags: tags})
			return err
		},
		untag: func(ctx context.Context, arn string, keys []string) error {
			_, err := c.lambda.UntagResource(ctx, &lambda.UntagResourceInput{Resource: &arn, TagKeys: keys})
			return err
		},
	}
}

func (c *clients) logTagging() tagging {
	return tagging{
		by: "arn",
		tag: func(ctx context.Context, arn string, tags map[string]string) error {
			_, err := c.logs.TagResource(ctx, &cloudwatchlogs.TagResourceInput{ResourceArn: &arn, Tags: tags})
			return err
		},
		untag: func(ctx context.Context, arn string, keys []string) error {
			_, err := c.logs.UntagResource(ctx, &cloudwatchlogs.UntagResourceInput{ResourceArn: &arn, TagKeys: keys})
			return err
		},
	}
}

func (c *clients) roleTagging() tagging {
	return tagging{
		tag: func(ctx context.Context, name string, tags map[string]string) error {
			_, err := c.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: &name, Tags: iamTags(tags)})
			return err
		},
		untag: func(ctx context.Context, name string, keys []string) error {
			_, err := c.iam.UntagRole(ctx, &iam.UntagRoleInput{RoleName: &name, TagKeys: keys})
			return err
		},
	}
}

func (c *clients) openIDConnectTagging() tagging {
	return tagging{
		by: "arn",
		tag: func(ctx context.Context, arn string, tags map[string]string) error {
			_, err := c.iam.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, Tags: iamTags(tags)})
			return err
		},
		untag: func(ctx context.Context, arn string, keys []string) error {
			_, err := c.iam.UntagOpenIDConnectProvider(ctx, &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, TagKeys: keys})
			return err
		},
	}
}

func (c *clients) signerTagging() tagging {
	return tagging{
		by: "arn",
		tag: func(ctx context.Context, arn string, tags map[string]string) error {
			_, err := c.signer.TagResource(ctx, &signer.TagResourceInput{ResourceArn: &arn, Tags: tags})
			return err
		},
		untag: func(ctx context.Context, arn string, keys []string) error {
			_, err := c.signer.UntagResource(ctx, &signer.UntagResourceInput{ResourceArn: &arn, TagKeys: keys})
			return err
		},
	}
}

// bucketTagging writes all tags of a bucket at once, since S3 knows no other way.
func (c *clients) bucketTagging() tagging {
	return wholeTagging(c.bucketTags, func(ctx context.Context, bucket string, tags map[string]string) error {
		if len(tags) == 0 {
			_, err := c.s3.DeleteBucketTagging(ctx, &s3.DeleteBucketTaggingInput{Bucket: &bucket})
			return err
		}
		_, err := c.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &bucket, Tagging: &s3types.Tagging{TagSet: s3Tags(tags)}})
		return err
	})
}

// objectTagging is the same for an object, which its ARN names.
func (c *clients) objectTagging() tagging {
	names := func(arn string) (bucket, key *string) {
		at, path, _ := strings.Cut(arn[strings.LastIndex(arn, ":")+1:], "/")
		return &at, &path
	}
	whole := wholeTagging(func(ctx context.Context, arn string) (map[string]string, error) {
		bucket, key := names(arn)
		live, err := c.s3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: bucket, Key: key})
		if err != nil {
			return nil, err
		}
		return fromS3Tags(live.TagSet), nil
	}, func(ctx context.Context, arn string, tags map[string]string) error {
		bucket, key := names(arn)
		if len(tags) == 0 {
			_, err := c.s3.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: bucket, Key: key})
			return err
		}
		_, err := c.s3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: bucket, Key: key, Tagging: &s3types.Tagging{TagSet: s3Tags(tags)}})
		return err
	})
	whole.by = "arn"
	return whole
}

// wholeTagging is for what has its tags written all at once.
func wholeTagging(
	read func(ctx context.Context, on string) (map[string]string, error), write func(ctx context.Context, on string, tags map[string]string) error,
) tagging {
	change := func(ctx context.Context, on string, change func(tags map[string]string)) error {
		tags, err := read(ctx, on)
		if err != nil {
			return err
		}
		change(tags)
		return write(ctx, on, tags)
	}
	return tagging{
		tag: func(ctx context.Context, on string, tags map[string]string) error {
			return change(ctx, on, func(all map[string]string) { maps.Copy(all, tags) })
		},
		untag: func(ctx context.Context, on string, keys []string) error {
			return change(ctx, on, func(all map[string]string) {
				maps.DeleteFunc(all, func(key, _ string) bool { return slices.Contains(keys, key) })
			})
		},
	}
}

func s3Tags(tags map[string]string) (list []s3types.Tag) {
	for key, value := range tags {
		list = append(list, s3types.Tag{Key: &key, Value: &value})
	}
	return list
}

func fromS3Tags(list []s3types.Tag) map[string]string {
	tags := map[string]string{}
	for _, tag := range list {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}
