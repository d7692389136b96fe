package infra

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Trust says by which OIDC identity provider ESC logs in to AWS, and as what.
// https://www.pulumi.com/docs/esc/environments/configuring-oidc/aws/ describes both.
type Trust struct {
	Issuer   string // the provider's URL without its scheme, by which trust policies name their keys
	Audience string
	Subject  string // a pattern of IAM's StringLike where the user gave one

	anySubject bool            // the user gave Subject
	existing   *openIDProvider // nil where the account has none for this issuer yet
	wanted     []string        // the audiences of a new provider
}

type openIDProvider struct {
	arn         string
	audiences   []string
	thumbprints []string
	tags        map[string]string
}

// providerTag marks the OIDC provider as made by this program. It names no stack: an account has one
// provider for all of them.
const providerTag = "esc-rotation-connector"

// legacyProject is the project whose environments' tokens name neither their project nor its kind.
const legacyProject = "default"

// findTrust looks for the account's OIDC provider, and checks that it accepts the audience of the
// managing credentials environment, in which the login to AWS stands.
func findTrust(ctx *pulumi.Context, settings *Settings) (*Trust, error) {
	trust := &Trust{
		Issuer:     settings.Backend.Issuer(),
		Audience:   audience(settings.Managing),
		Subject:    cmp.Or(settings.TrustedSubject, subject(settings.Managing)),
		anySubject: settings.TrustedSubject != "",
		wanted:     []string{"aws:" + settings.Organization, settings.Organization},
	}
	url := "https://" + trust.Issuer
	found, err := iam.LookupOpenIdConnectProvider(ctx, &iam.LookupOpenIdConnectProviderArgs{Url: &url})
	if isNotFound(err) {
		return trust, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the OIDC identity provider %s in the AWS account: %w", url,
			explain(ctx, err, "iam:ListOpenIDConnectProviders"))
	}
	trust.existing = &openIDProvider{arn: found.Arn, audiences: found.ClientIdLists, thumbprints: found.ThumbprintLists, tags: found.Tags}
	if !slices.Contains(found.ClientIdLists, trust.Audience) {
		return nil, fmt.Errorf(`checking the OIDC identity provider %s: its audiences are %s, and %q is not among them, `+
			`with which the environment %s logs in; nothing was created.
  %s iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn %s --client-id %s`,
			found.Arn, quoted(found.ClientIdLists), trust.Audience, settings.Managing, awsCLI(ctx), found.Arn, trust.Audience)
	}
	return trust, nil
}

func quoted(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	return `"` + strings.Join(values, `", "`) + `"`
}

func audience(name environments.Name) string {
	if name.Project == legacyProject {
		return name.Organization
	}
	return "aws:" + name.Organization
}

// subject is the token's sub for an environment whose login asks for the subject attribute
// currentEnvironment.name.
func subject(name environments.Name) string {
	environment := name.Project + "/" + name.Environment
	if name.Project == legacyProject {
		environment = name.Environment
	}
	return fmt.Sprintf("pulumi:environments:pulumi.organization.login:%s:currentEnvironment.name:%s", name.Organization, environment)
}

// provider registers the OIDC provider where it is this program's, and returns its ARN. It is never
// deleted from AWS: other stacks may have come to need it, and so it may be there already when this
// stack is new. Then it is imported as it is.
func (t *Trust) provider(ctx *pulumi.Context, last *LastState) (pulumi.StringInput, error) {
	args := &iam.OpenIdConnectProviderArgs{
		Url:           pulumi.String("https://" + t.Issuer),
		ClientIdLists: pulumi.ToStringArray(t.wanted),
		Tags:          pulumi.StringMap{providerTag: pulumi.String("oidc-provider")},
	}
	options := []pulumi.ResourceOption{
		pulumi.RetainOnDelete(true),
		// Not the url: IAM answers it without its scheme, an import and a refresh keep it so as the input, and the provider
		// refuses such an input if it comes back (https://github.com/pulumi/pulumi-aws/issues/5805).
		pulumi.IgnoreChanges([]string{"clientIdLists", "thumbprintLists", "tags", "tagsAll"}),
	}
	if t.existing != nil {
		if _, ours := t.existing.tags[providerTag]; !ours {
			return pulumi.String(t.existing.arn), nil
		}
		args.ClientIdLists = pulumi.ToStringArray(t.existing.audiences)
		args.ThumbprintLists = pulumi.ToStringArray(t.existing.thumbprints)
		args.Tags = pulumi.ToStringMap(t.existing.tags)
		options = append(options, pulumi.Import(pulumi.ID(t.existing.arn)))
	} else if err := t.tellOfNone(ctx, last); err != nil {
		return nil, err
	}
	provider, err := iam.NewOpenIdConnectProvider(ctx, oidcProviderResource, args, options...)
	if err != nil {
		return nil, fmt.Errorf("registering the OIDC identity provider https://%s: %w", t.Issuer, err)
	}
	return provider.Arn, nil
}

// tellOfNone says what becomes of a provider that the account has not: it is created, but for one that the state has.
func (t *Trust) tellOfNone(ctx *pulumi.Context, last *LastState) error {
	if last.has(oidcProviderResource) {
		return ctx.Log.Warn(fmt.Sprintf("AWS does not have the OIDC identity provider https://%s, and this stack's state does: somebody has deleted it, "+
			"and until it is made again ESC cannot log in to rotate. An update does not see that unless it refreshes:\n    pulumi up --refresh", t.Issuer), nil)
	}
	return ctx.Log.Info(fmt.Sprintf("This AWS account has no OIDC identity provider https://%s yet: creating it. "+
		"pulumi destroy will leave it there, since other stacks may have come to need it", t.Issuer), nil)
}

// policy is the trust policy of the invocation role.
func (t *Trust) policy(providerARN string) policy {
	audience, subject := t.Issuer+":aud", t.Issuer+":sub"
	trusted := conditions{"StringEquals": {audience: t.Audience, subject: t.Subject}}
	if t.anySubject {
		trusted = conditions{"StringEquals": {audience: t.Audience}, "StringLike": {subject: t.Subject}}
	}
	return newPolicy(statement{
		Effect:    "Allow",
		Principal: map[string]string{"Federated": providerARN},
		Action:    []string{"sts:AssumeRoleWithWebIdentity"},
		Condition: trusted,
	})
}
