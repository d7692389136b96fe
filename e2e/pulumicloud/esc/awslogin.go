package esc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/schema"

	"esc-connector-lambda-go/e2e/policy"
)

const assumeRoleWithWebIdentity = "sts:AssumeRoleWithWebIdentity"

// awsLogin is fn::open::aws-login. Inputs and outputs are those of Pulumi's
// documentation of the provider; a static login is refused.
type awsLogin struct{ evaluation }

func (awsLogin) Schema() (inputs, outputs *schema.Schema) {
	inputs = schema.Record(schema.BuilderMap{
		"oidc": schema.Object().Properties(schema.BuilderMap{
			"roleArn":           schema.String(),
			"sessionName":       schema.String(),
			"duration":          schema.String(),
			"policyArns":        schema.Array().Items(schema.String()),
			"subjectAttributes": schema.Array().Items(schema.String()),
		}).Required("roleArn", "sessionName").AdditionalProperties(schema.Never()),
	}).Schema()
	return inputs, awsLoginSchema()
}

func awsLoginSchema() *schema.Schema {
	return schema.Object().Properties(schema.BuilderMap{
		"accessKeyId":     schema.String(),
		"secretAccessKey": schema.String(),
		"sessionToken":    schema.String(),
	}).Required("accessKeyId", "secretAccessKey").Schema()
}

// stsError is a refusal in AWS's words, as the AWS SDK for Go shows it.
func stsError(code, format string, args ...any) error {
	return fmt.Errorf("operation error STS: AssumeRoleWithWebIdentity, api error %s: %s", code, fmt.Sprintf(format, args...))
}

// identity is what ESC's OIDC token says about the environment in which a login stands.
type identity struct{ issuer, audience, subject string }

// identify follows Pulumi's "Configuring OpenID Connect" for ESC. An environment
// of the project default keeps the names from before there were projects.
func (e evaluation) identify(attributes []string, execContext esc.EnvExecContext) (identity, error) {
	legacyName := func(name string) string { return strings.TrimPrefix(name, defaultProject+"/") }
	current, root := legacyName(execContext.GetCurrentEnvironmentName()), legacyName(execContext.GetRootEnvironmentName())
	claims := identity{
		issuer:   e.service.options.BackendURL + "/oidc",
		audience: "aws:" + e.org,
		subject:  "pulumi:environments:org:" + e.org + ":env:" + root,
	}
	if !strings.Contains(current, "/") {
		claims.audience = e.org
	}
	if len(attributes) == 0 {
		return claims, nil
	}
	claims.subject = "pulumi:environments:pulumi.organization.login:" + e.org
	values := map[string]string{
		"currentEnvironment.name": current, "rootEnvironment.name": root, "pulumi.user.login": e.user.Name,
	}
	for _, attribute := range attributes {
		value, known := values[attribute]
		if !known {
			return identity{}, fmt.Errorf("unknown subject attribute %q", attribute)
		}
		claims.subject += ":" + attribute + ":" + value
	}
	return claims, nil
}

// Open implements [esc.Provider]: it assumes the role as AWS STS would allow it.
func (l awsLogin) Open(ctx context.Context, inputs map[string]esc.Value, execContext esc.EnvExecContext) (esc.Value, error) {
	var login struct {
		OIDC struct {
			RoleArn, SessionName, Duration string
			PolicyArns, SubjectAttributes  []string
		}
	}
	if err := decode(inputs, &login); err != nil {
		return esc.Value{}, err
	}
	oidc := login.OIDC
	if len(oidc.PolicyArns) > 0 {
		return esc.Value{}, errors.New("aws-login: this stand-in for Pulumi ESC does not evaluate policyArns")
	}
	duration := 2 * time.Hour
	if oidc.Duration != "" {
		var err error
		if duration, err = time.ParseDuration(oidc.Duration); err != nil {
			return esc.Value{}, fmt.Errorf("aws-login: duration: %w", err)
		}
	}
	claims, err := l.identify(oidc.SubjectAttributes, execContext)
	if err != nil {
		return esc.Value{}, fmt.Errorf("aws-login: %w", err)
	}
	role, err := l.service.authorize(ctx, claims, oidc.RoleArn, duration)
	if err != nil {
		return esc.Value{}, err
	}
	assumed, err := l.service.assume(ctx, role, claims, oidc.SessionName, duration)
	if err != nil {
		return esc.Value{}, err
	}
	return esc.NewSecret(map[string]esc.Value{
		"accessKeyId":     esc.NewSecret(assumed.AccessKeyID),
		"secretAccessKey": esc.NewSecret(assumed.SecretAccessKey),
		"sessionToken":    esc.NewSecret(assumed.SessionToken),
	}), nil
}

// authorize decides as AWS does, in the order of AWS: the account's identity
// provider must know the issuer and the audience, and the role's trust policy
// must allow the token. The codes and messages are those of the API's errors.
func (s *Service) authorize(ctx context.Context, claims identity, roleARN string, duration time.Duration) (*iamtypes.Role, error) {
	wanted, err := arn.Parse(roleARN)
	name, isRole := strings.CutPrefix(wanted.Resource, "role/")
	if err != nil || !isRole {
		return nil, stsError("ValidationError", "%s is invalid", roleARN)
	}
	name = name[strings.LastIndex(name, "/")+1:]
	client := s.iam(wanted.Partition)

	host := claims.issuer[strings.Index(claims.issuer, "://")+len("://"):]
	provider := arn.ARN{
		Partition: wanted.Partition, Service: "iam", AccountID: wanted.AccountID, Resource: "oidc-provider/" + host,
	}.String()
	unknown := stsError("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", claims.issuer)
	registered, err := client.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &provider})
	var missing *iamtypes.NoSuchEntityException
	switch {
	case errors.As(err, &missing):
		return nil, unknown
	case err != nil:
		return nil, fmt.Errorf("reading the identity provider %s: %w", provider, err)
	case !slices.Contains(registered.ClientIDList, claims.audience):
		return nil, stsError("InvalidIdentityToken", "Incorrect token audience")
	}

	refused := stsError("AccessDenied", "Not authorized to perform %s", assumeRoleWithWebIdentity)
	found, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	switch {
	case errors.As(err, &missing):
		return nil, refused
	case err != nil:
		return nil, fmt.Errorf("reading the role %s: %w", roleARN, err)
	case aws.ToString(found.Role.Arn) != roleARN:
		return nil, refused
	}
	trust, err := url.QueryUnescape(aws.ToString(found.Role.AssumeRolePolicyDocument))
	if err != nil {
		return nil, fmt.Errorf("reading the trust policy of %s: %w", roleARN, err)
	}
	allowed, err := policy.Allows([]string{trust}, policy.Request{
		Action:        assumeRoleWithWebIdentity,
		PrincipalType: "Federated", Principal: provider,
		Context: map[string]string{host + ":aud": claims.audience, host + ":sub": claims.subject},
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the trust policy of %s: %w", roleARN, err)
	case !allowed:
		return nil, refused
	case duration > time.Duration(aws.ToInt32(found.Role.MaxSessionDuration))*time.Second:
		return nil, stsError("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	newProvider := s.isNew(provider + aws.ToTime(registered.CreateDate).String())
	switch newRole := s.isNew(aws.ToString(found.Role.RoleId)); {
	case newProvider:
		return nil, unknown
	case newRole:
		return nil, refused
	}
	return found.Role, nil
}

// isNew counts a login, and reports whether what it is by is so new that AWS does not know it everywhere.
func (s *Service) isNew(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins[what]++
	return s.logins[what] <= s.options.NewLogins
}

// assumedRole is whose session an access key opens.
type assumedRole struct {
	role    *iamtypes.Role
	session string
	expires time.Time
}

func (s *Service) assume(
	ctx context.Context, role *iamtypes.Role, claims identity, sessionName string, duration time.Duration,
) (aws.Credentials, error) {
	token, err := unsignedToken(claims)
	if err != nil {
		return aws.Credentials{}, err
	}
	seconds := int32(duration / time.Second)
	client := sts.New(sts.Options{Region: regionOf(aws.ToString(role.Arn)), BaseEndpoint: &s.options.AWSEndpoint})
	assumed, err := client.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: role.Arn, RoleSessionName: &sessionName, WebIdentityToken: &token, DurationSeconds: &seconds,
	})
	if err != nil {
		return aws.Credentials{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[aws.ToString(assumed.Credentials.AccessKeyId)] = assumedRole{
		role: role, session: sessionName, expires: s.options.Now().Add(duration),
	}
	return aws.Credentials{
		AccessKeyID:     aws.ToString(assumed.Credentials.AccessKeyId),
		SecretAccessKey: aws.ToString(assumed.Credentials.SecretAccessKey),
		SessionToken:    aws.ToString(assumed.Credentials.SessionToken),
	}, nil
}

// unsignedToken has a JSON Web Token's form. The decision was taken before, so
// nobody verifies a signature.
func unsignedToken(claims identity) (string, error) {
	parts := make([]string, 0, 3)
	for _, part := range []map[string]string{
		{"alg": "none", "typ": "JWT"},
		{"iss": claims.issuer, "aud": claims.audience, "sub": claims.subject},
	} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	return strings.Join(append(parts, ""), "."), nil
}

// permits reports whether an access key's session may do action on resource, by
// the role's inline and attached policies and its boundary. The refusals are
// those of the Lambda API.
func (s *Service) permits(ctx context.Context, accessKeyID, action, resource string) error {
	s.mu.Lock()
	assumed, known := s.roles[accessKeyID]
	s.mu.Unlock()
	switch {
	case !known:
		return errors.New("api error UnrecognizedClientException: The security token included in the request is invalid")
	case s.options.Now().After(assumed.expires):
		return errors.New("api error ExpiredTokenException: The security token included in the request is expired")
	}
	parsed, err := arn.Parse(aws.ToString(assumed.role.Arn))
	if err != nil {
		return fmt.Errorf("reading the ARN of the role: %w", err)
	}
	role, err := policy.ReadRole(ctx, s.iam(parsed.Partition), aws.ToString(assumed.role.RoleName))
	if err != nil {
		return err
	}
	allowed, err := role.Allows(policy.Request{Action: action, Resource: resource})
	if err != nil {
		return fmt.Errorf("reading the policies of %s: %w", aws.ToString(assumed.role.Arn), err)
	}
	if !allowed {
		return fmt.Errorf("api error AccessDeniedException: User: arn:%s:sts::%s:assumed-role/%s/%s is not authorized to perform: %s on resource: %s",
			parsed.Partition, parsed.AccountID, aws.ToString(assumed.role.RoleName), assumed.session, action, resource)
	}
	return nil
}

func (s *Service) iam(partition string) *iam.Client {
	return iam.New(iam.Options{
		Region: homeRegions[partition], BaseEndpoint: &s.options.AWSEndpoint, Credentials: s.options.AWSCredentials,
	})
}

// homeRegions are where the global services of a partition sign.
var homeRegions = map[string]string{"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}

func regionOf(roleARN string) string {
	parsed, err := arn.Parse(roleARN)
	if err != nil {
		return homeRegions["aws"]
	}
	return homeRegions[parsed.Partition]
}

func staticCredentials(accessKeyID, secretAccessKey, sessionToken string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(accessKeyID, secretAccessKey, sessionToken)
}

// decode reads evaluated inputs into a struct, by the names of its fields.
func decode(inputs map[string]esc.Value, into any) error {
	text, err := json.Marshal(esc.NewValue(inputs).ToJSON(false))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
