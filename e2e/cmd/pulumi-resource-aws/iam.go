package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

type roleInputs struct {
	Name, AssumeRolePolicy, Description, PermissionsBoundary string
	Tags                                                     map[string]string
}

func (c *clients) role() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"name", "assumeRolePolicy", "description", "permissionsBoundary", "tags"},
		Required: []string{"assumeRolePolicy"},
		Replace:  []string{"name"},
		Check:    provider.GeneratedName("name", 64),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in roleInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			created, err := c.iam.CreateRole(ctx, &iam.CreateRoleInput{
				RoleName: &in.Name, AssumeRolePolicyDocument: &in.AssumeRolePolicy,
				Description: stringOrNil(in.Description), PermissionsBoundary: stringOrNil(in.PermissionsBoundary),
				Tags: iamTags(in.Tags),
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating IAM Role (%s): %w", in.Name, err)
			}
			return in.Name, properties(map[string]any{"arn": created.Role.Arn, "uniqueId": created.Role.RoleId}), nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readRole(ctx, id)
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			var in roleInputs
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			if _, err := c.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{
				RoleName: &id, PolicyDocument: &in.AssumeRolePolicy,
			}); err != nil {
				return nil, fmt.Errorf("updating the trust policy of IAM Role (%s): %w", id, err)
			}
			if _, err := c.iam.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: &id, Description: &in.Description}); err != nil {
				return nil, fmt.Errorf("updating IAM Role (%s): %w", id, err)
			}
			if err := c.updateRoleBoundary(ctx, id, in.PermissionsBoundary); err != nil {
				return nil, err
			}
			return state, c.updateRoleTags(ctx, id, in.Tags)
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &id})
			return ignoreNotFound(err)
		},
	}
}

func (c *clients) updateRoleBoundary(ctx context.Context, id, boundary string) error {
	var err error
	if boundary == "" {
		_, err = c.iam.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: &id})
		err = ignoreNotFound(err)
	} else {
		_, err = c.iam.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{
			RoleName: &id, PermissionsBoundary: &boundary,
		})
	}
	if err != nil {
		return fmt.Errorf("updating the permissions boundary of IAM Role (%s): %w", id, err)
	}
	return nil
}

func (c *clients) updateRoleTags(ctx context.Context, id string, tags map[string]string) error {
	live, err := c.iam.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: &id})
	if err != nil {
		return fmt.Errorf("listing the tags of IAM Role (%s): %w", id, err)
	}
	var gone []string
	for _, tag := range live.Tags {
		if _, kept := tags[*tag.Key]; !kept {
			gone = append(gone, *tag.Key)
		}
	}
	if len(gone) > 0 {
		if _, err := c.iam.UntagRole(ctx, &iam.UntagRoleInput{RoleName: &id, TagKeys: gone}); err != nil {
			return fmt.Errorf("removing tags of IAM Role (%s): %w", id, err)
		}
	}
	if len(tags) > 0 {
		if _, err := c.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: &id, Tags: iamTags(tags)}); err != nil {
			return fmt.Errorf("tagging IAM Role (%s): %w", id, err)
		}
	}
	return nil
}

func (c *clients) readRole(ctx context.Context, name string) (resource.PropertyMap, error) {
	live, err := c.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading IAM Role (%s): %w", name, err)
	}
	trust, err := url.QueryUnescape(aws.ToString(live.Role.AssumeRolePolicyDocument))
	if err != nil {
		return nil, fmt.Errorf("decoding the trust policy of IAM Role (%s): %w", name, err)
	}
	values := map[string]any{
		"name": live.Role.RoleName, "arn": live.Role.Arn, "uniqueId": live.Role.RoleId,
		"assumeRolePolicy": trust, "tags": fromIAMTags(live.Role.Tags),
	}
	if description := aws.ToString(live.Role.Description); description != "" {
		values["description"] = description
	}
	if live.Role.PermissionsBoundary != nil {
		values["permissionsBoundary"] = live.Role.PermissionsBoundary.PermissionsBoundaryArn
	}
	return properties(values), nil
}

func (c *clients) getRole(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	name := args["name"].StringValue()
	role, err := c.readRole(ctx, name)
	if err == nil && role == nil {
		return nil, fmt.Errorf("reading IAM Role (%s): couldn't find resource", name)
	}
	if err == nil {
		role["id"] = role["name"]
	}
	return role, err
}

type rolePolicyInputs struct{ Role, Name, Policy string }

func (c *clients) rolePolicy() provider.Resource {
	put := func(ctx context.Context, inputs resource.PropertyMap) (rolePolicyInputs, error) {
		var in rolePolicyInputs
		if err := decode(inputs, &in); err != nil {
			return in, err
		}
		_, err := c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
			RoleName: &in.Role, PolicyName: &in.Name, PolicyDocument: &in.Policy,
		})
		if err != nil {
			return in, fmt.Errorf("putting IAM Role (%s) Policy (%s): %w", in.Role, in.Name, err)
		}
		return in, nil
	}
	return provider.Resource{
		Inputs:   []string{"role", "name", "policy"},
		Required: []string{"role", "policy"},
		Replace:  []string{"role", "name"},
		Check:    provider.GeneratedName("name", 128),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			in, err := put(ctx, inputs)
			return in.Role + ":" + in.Name, nil, err
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			role, name, _ := strings.Cut(id, ":")
			live, err := c.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
			if isNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("reading IAM Role Policy (%s): %w", id, err)
			}
			document, err := url.QueryUnescape(aws.ToString(live.PolicyDocument))
			if err != nil {
				return nil, fmt.Errorf("decoding IAM Role Policy (%s): %w", id, err)
			}
			return properties(map[string]any{"role": role, "name": name, "policy": document}), nil
		},
		Update: func(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := put(ctx, inputs)
			return state, err
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			role, name, _ := strings.Cut(id, ":")
			_, err := c.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name})
			return ignoreNotFound(err)
		},
	}
}

type openIDConnectProviderInputs struct {
	URL             string `json:"url"`
	ClientIDLists   []string
	ThumbprintLists []string
	Tags            map[string]string
}

func (c *clients) openIDConnectProvider() provider.Resource {
	return provider.Resource{
		Inputs:   []string{"url", "clientIdLists", "thumbprintLists", "tags"},
		Required: []string{"url", "clientIdLists"},
		Replace:  []string{"url"},
		// IAM answers the URL without its scheme, which a refresh and an import then take for the input. The provider
		// accepts no input like that, and takes both for the same: validOpenIDURL and suppressOpenIDURL in
		// https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service/iam.
		Check: func(_ resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if text := inputs["url"].StringValue(); !strings.HasPrefix(text, "https://") {
				return nil, fmt.Errorf("expected %q to have a host, got %s", "url", text)
			}
			return inputs, nil
		},
		Same: map[string]func(old, new resource.PropertyValue) bool{
			"url": func(old, new resource.PropertyValue) bool {
				return old.IsString() && new.IsString() &&
					strings.TrimPrefix(old.StringValue(), "https://") == strings.TrimPrefix(new.StringValue(), "https://")
			},
		},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in openIDConnectProviderInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			created, err := c.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
				Url: &in.URL, ClientIDList: in.ClientIDLists, ThumbprintList: in.ThumbprintLists, Tags: iamTags(in.Tags),
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating IAM OIDC Provider: %w", err)
			}
			return *created.OpenIDConnectProviderArn, properties(map[string]any{"arn": created.OpenIDConnectProviderArn}), nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.readOpenIDConnectProvider(ctx, id)
			if isNotFound(err) {
				return nil, nil
			}
			return live, err
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			return state, c.updateOpenIDConnectProvider(ctx, id, inputs)
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &id})
			return ignoreNotFound(err)
		},
	}
}

func (c *clients) updateOpenIDConnectProvider(ctx context.Context, arn string, inputs resource.PropertyMap) error {
	var in openIDConnectProviderInputs
	if err := decode(inputs, &in); err != nil {
		return err
	}
	live, err := c.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	if err != nil {
		return fmt.Errorf("reading IAM OIDC Provider (%s): %w", arn, err)
	}
	wanted, present := map[string]bool{}, map[string]bool{}
	for _, audience := range in.ClientIDLists {
		wanted[audience] = true
	}
	for _, audience := range live.ClientIDList {
		present[audience] = true
		if !wanted[audience] {
			if _, err := c.iam.RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{
				OpenIDConnectProviderArn: &arn, ClientID: &audience,
			}); err != nil {
				return fmt.Errorf("removing audience %s of IAM OIDC Provider (%s): %w", audience, arn, err)
			}
		}
	}
	for audience := range wanted {
		if !present[audience] {
			if _, err := c.iam.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
				OpenIDConnectProviderArn: &arn, ClientID: &audience,
			}); err != nil {
				return fmt.Errorf("adding audience %s to IAM OIDC Provider (%s): %w", audience, arn, err)
			}
		}
	}
	if len(in.Tags) > 0 {
		if _, err := c.iam.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: &arn, Tags: iamTags(in.Tags),
		}); err != nil {
			return fmt.Errorf("tagging IAM OIDC Provider (%s): %w", arn, err)
		}
	}
	return nil
}

func (c *clients) readOpenIDConnectProvider(ctx context.Context, arn string) (resource.PropertyMap, error) {
	live, err := c.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	if err != nil {
		return nil, fmt.Errorf("reading IAM OIDC Provider (%s): %w", arn, err)
	}
	return properties(map[string]any{
		"arn": arn, "url": strings.TrimPrefix(*live.Url, "https://"), "clientIdLists": live.ClientIDList,
		"thumbprintLists": live.ThumbprintList, "tags": fromIAMTags(live.Tags),
	}), nil
}

func (c *clients) getOpenIDConnectProvider(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	arn := ""
	if value, set := args["arn"]; set {
		arn = value.StringValue()
	} else {
		wanted := strings.TrimPrefix(args["url"].StringValue(), "https://")
		all, err := c.iam.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
		if err != nil {
			return nil, fmt.Errorf("finding IAM OIDC Provider by url (%s): %w", wanted, err)
		}
		for _, entry := range all.OpenIDConnectProviderList {
			if _, host, _ := strings.Cut(*entry.Arn, ":oidc-provider/"); host == wanted {
				arn = *entry.Arn
			}
		}
		if arn == "" {
			return nil, fmt.Errorf("finding IAM OIDC Provider by url (https://%s): not found", wanted)
		}
	}
	live, err := c.readOpenIDConnectProvider(ctx, arn)
	if err != nil {
		return nil, err
	}
	live["id"] = resource.NewProperty(arn)
	return live, nil
}

func iamTags(tags map[string]string) []types.Tag {
	var list []types.Tag
	for key, value := range tags {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return list
}

func fromIAMTags(list []types.Tag) map[string]string {
	if len(list) == 0 {
		return nil
	}
	tags := map[string]string{}
	for _, tag := range list {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}
