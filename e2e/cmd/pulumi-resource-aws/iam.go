package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

type roleInputs struct {
	Name, AssumeRolePolicy, Description, PermissionsBoundary string
	Tags                                                     map[string]string
}

// role is what internal/service/iam/role.go makes of one in https://github.com/hashicorp/terraform-provider-aws: an update
// is the calls for what differs.
func (c *clients) role() provider.Resource {
	return c.taggable(provider.Resource{
		Inputs:   []string{"name", "assumeRolePolicy", "description", "permissionsBoundary", "forceDetachPolicies", "tags"},
		Required: []string{"assumeRolePolicy"},
		Replace:  []string{"name"},
		Unread:   []string{"forceDetachPolicies"},
		Same:     map[string]provider.Same{"assumeRolePolicy": provider.SameJSON},
		Kept:     []string{"assumeRolePolicy"},
		Check:    provider.GeneratedName("name", 64),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in roleInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			err := provider.Retry(ctx, iamPropagation, invalidPrincipal, func() error {
				_, err := c.iam.CreateRole(ctx, &iam.CreateRoleInput{
					RoleName: &in.Name, AssumeRolePolicyDocument: &in.AssumeRolePolicy,
					Description: stringOrNil(in.Description), PermissionsBoundary: stringOrNil(in.PermissionsBoundary),
					Tags: iamTags(in.Tags),
				})
				return err
			})
			if err != nil {
				return "", nil, fmt.Errorf("creating IAM Role (%s): %w", in.Name, err)
			}
			return in.Name, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readRole(ctx, id)
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			return nil, c.updateRole(ctx, id, state, inputs)
		},
		Delete: c.deleteRole,
	}, c.roleTagging())
}

// deleteRole takes from the role what the state says that it has, or all where it is to: IAM deletes no role with a policy. What the
// state does not know of is tried again, and then refused (deleteRole in internal/service/iam/role.go).
func (c *clients) deleteRole(ctx context.Context, id string, state resource.PropertyMap) error {
	force := state["forceDetachPolicies"].IsBool() && state["forceDetachPolicies"].BoolValue()
	var err error
	if force || listed(state["managedPolicyArns"]) {
		err = c.detachPolicies(ctx, id)
	}
	if err == nil && (force || listed(state["inlinePolicies"])) {
		err = c.deleteInlinePolicies(ctx, id)
	}
	if err == nil {
		err = provider.Retry(ctx, iamPropagation, func(err error) bool { return isCode(err, "DeleteConflict") }, func() error {
			_, err := c.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &id})
			return err
		})
	}
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("deleting IAM Role (%s): %w", id, err)
	}
	return nil
}

func (c *clients) detachPolicies(ctx context.Context, role string) error {
	attached, err := c.iam.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, policy := range attached.AttachedPolicies {
		_, err := c.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &role, PolicyArn: policy.PolicyArn})
		if ignoreNotFound(err) != nil {
			return fmt.Errorf("unable to detach policies: %w", err)
		}
	}
	return nil
}

func (c *clients) deleteInlinePolicies(ctx context.Context, role string) error {
	inline, err := c.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, policy := range inline.PolicyNames {
		_, err := c.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &policy})
		if ignoreNotFound(err) != nil {
			return fmt.Errorf("unable to delete inline policies: %w", err)
		}
	}
	return nil
}

// listed reports whether a property is a list with something in it.
func listed(value resource.PropertyValue) bool { return value.IsArray() && len(value.ArrayValue()) > 0 }

// iamPropagation is how long the provider tries again what IAM does not know yet (internal/service/iam/consts.go).
const iamPropagation = 2 * time.Minute

// invalidPrincipal reports whether IAM refused a trust policy since it names what IAM does not know yet.
func invalidPrincipal(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "MalformedPolicyDocument" && strings.Contains(api.ErrorMessage(), "Invalid principal in policy")
}

func (c *clients) updateRole(ctx context.Context, id string, state, inputs resource.PropertyMap) error {
	var in roleInputs
	if err := decode(inputs, &in); err != nil {
		return err
	}
	if !provider.SameJSON(state["assumeRolePolicy"], inputs["assumeRolePolicy"]) {
		err := provider.Retry(ctx, iamPropagation, invalidPrincipal, func() error {
			_, err := c.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &id, PolicyDocument: &in.AssumeRolePolicy})
			return err
		})
		if err != nil {
			return fmt.Errorf("updating IAM Role (%s) assume role policy: %w", id, err)
		}
	}
	if !state["description"].DeepEquals(inputs["description"]) {
		if _, err := c.iam.UpdateRoleDescription(ctx, &iam.UpdateRoleDescriptionInput{RoleName: &id, Description: &in.Description}); err != nil {
			return fmt.Errorf("updating IAM Role (%s) description: %w", id, err)
		}
	}
	if state["permissionsBoundary"].DeepEquals(inputs["permissionsBoundary"]) {
		return nil
	}
	var err error
	if in.PermissionsBoundary == "" {
		_, err = c.iam.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: &id})
		err = ignoreNotFound(err)
	} else {
		_, err = c.iam.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: &id, PermissionsBoundary: &in.PermissionsBoundary})
	}
	if err != nil {
		return fmt.Errorf("updating IAM Role (%s) permissions boundary: %w", id, err)
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
	// So that a refresh after the first update finds other outputs: the policies come after the role.
	inline, err := c.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &name})
	if err != nil {
		return nil, fmt.Errorf("reading inline policies for IAM role %s: %w", name, err)
	}
	policies := []any{}
	for _, policy := range inline.PolicyNames {
		found, err := c.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: &policy})
		if err != nil {
			return nil, fmt.Errorf("reading inline policies for IAM role %s: %w", name, err)
		}
		document, err := url.QueryUnescape(aws.ToString(found.PolicyDocument))
		if err != nil {
			return nil, fmt.Errorf("decoding the policy %s of IAM role %s: %w", policy, name, err)
		}
		policies = append(policies, map[string]any{"name": policy, "policy": document})
	}
	attached, err := c.iam.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &name})
	if err != nil {
		return nil, fmt.Errorf("reading managed policies for IAM role %s: %w", name, err)
	}
	arns := []string{}
	for _, policy := range attached.AttachedPolicies {
		arns = append(arns, *policy.PolicyArn)
	}
	values["inlinePolicies"], values["managedPolicyArns"] = policies, arns
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
		Same:     map[string]provider.Same{"policy": provider.SameJSON},
		Kept:     []string{"policy"},
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
		Update: func(ctx context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := put(ctx, inputs)
			return nil, err
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
	return c.taggable(provider.Resource{
		Inputs:   []string{"url", "clientIdLists", "thumbprintLists", "tags"},
		Required: []string{"url", "clientIdLists"},
		Replace:  []string{"url"},
		Computed: []string{"thumbprintLists"},
		// IAM answers the URL without its scheme, which a refresh and an import then take for the input. The provider
		// accepts no input like that, and takes both for the same: validOpenIDURL and suppressOpenIDURL in
		// https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service/iam.
		Check: func(_ resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if text := inputs["url"].StringValue(); !strings.HasPrefix(text, "https://") {
				return nil, fmt.Errorf("expected %q to have a host, got %s", "url", text)
			}
			return inputs, nil
		},
		Same: map[string]provider.Same{
			"clientIdLists": provider.SameSet,
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
			return *created.OpenIDConnectProviderArn, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			live, err := c.readOpenIDConnectProvider(ctx, id)
			if isNotFound(err) {
				return nil, nil
			}
			return live, err
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			return nil, c.updateOpenIDConnectProvider(ctx, id, state, inputs)
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &id})
			return ignoreNotFound(err)
		},
	}, c.openIDConnectTagging())
}

// updateOpenIDConnectProvider adds and removes what differs from the state.
func (c *clients) updateOpenIDConnectProvider(ctx context.Context, arn string, state, inputs resource.PropertyMap) error {
	var old, in openIDConnectProviderInputs
	if err := errors.Join(decode(state, &old), decode(inputs, &in)); err != nil {
		return err
	}
	if len(in.ThumbprintLists) > 0 && !slices.Equal(old.ThumbprintLists, in.ThumbprintLists) {
		if _, err := c.iam.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{
			OpenIDConnectProviderArn: &arn, ThumbprintList: in.ThumbprintLists,
		}); err != nil {
			return fmt.Errorf("updating IAM OIDC Provider (%s) thumbprint: %w", arn, err)
		}
	}
	for _, audience := range in.ClientIDLists {
		if slices.Contains(old.ClientIDLists, audience) {
			continue
		}
		if _, err := c.iam.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: &arn, ClientID: &audience,
		}); err != nil {
			return fmt.Errorf("adding IAM OIDC Provider (%s) client ID (%s): %w", arn, audience, err)
		}
	}
	for _, audience := range old.ClientIDLists {
		if slices.Contains(in.ClientIDLists, audience) {
			continue
		}
		if _, err := c.iam.RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: &arn, ClientID: &audience,
		}); err != nil {
			return fmt.Errorf("removing IAM OIDC Provider (%s) client ID (%s): %w", arn, audience, err)
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
