package policy

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// Role is what decides about a role's calls.
type Role struct {
	// Documents are those of its policies, inline and attached.
	Documents []string
	// Boundary is that of its permissions boundary, empty where it has none.
	Boundary string
}

// Allows reports whether the role's policies and its boundary allow the request.
func (r Role) Allows(request Request) (bool, error) {
	allowed, err := Allows(r.Documents, request)
	if err == nil && allowed && r.Boundary != "" {
		return Allows([]string{r.Boundary}, request)
	}
	return allowed, err
}

// ReadRole reads a role from IAM. AWS decides by what stands there now, so there is no use in keeping it.
func ReadRole(ctx context.Context, client *iam.Client, role string) (found Role, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading the policies of the role %s: %w", role, err)
		}
	}()
	current, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &role})
	if err != nil {
		return Role{}, err
	}
	inline, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return Role{}, err
	}
	for _, name := range inline.PolicyNames {
		policy, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err != nil {
			return Role{}, err
		}
		document, err := url.QueryUnescape(aws.ToString(policy.PolicyDocument))
		if err != nil {
			return Role{}, err
		}
		found.Documents = append(found.Documents, document)
	}
	attached, err := client.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if err != nil {
		return Role{}, err
	}
	for _, policy := range attached.AttachedPolicies {
		document, err := managed(ctx, client, policy.PolicyArn)
		if err != nil {
			return Role{}, err
		}
		found.Documents = append(found.Documents, document)
	}
	if limit := current.Role.PermissionsBoundary; limit != nil {
		found.Boundary, err = managed(ctx, client, limit.PermissionsBoundaryArn)
	}
	return found, err
}

// managed is the document of a managed policy.
func managed(ctx context.Context, client *iam.Client, policyARN *string) (string, error) {
	found, err := client.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: policyARN})
	if err != nil {
		return "", err
	}
	version, err := client.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: policyARN, VersionId: found.Policy.DefaultVersionId})
	if err != nil {
		return "", err
	}
	return url.QueryUnescape(aws.ToString(version.PolicyVersion.Document))
}
