package esc_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/pulumicloud/esc"
)

// The texts are those of the AWS STS API reference, AssumeRoleWithWebIdentity,
// and of the AWS knowledge centre's articles on its errors.
const (
	notAuthorized     = "api error AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
	noProvider        = "api error InvalidIdentityToken: No OpenIDConnect provider found in your account for "
	incorrectAudience = "api error InvalidIdentityToken: Incorrect token audience"
)

func TestARoleIsAssumedOnlyAsItsTrustPolicyAllows(t *testing.T) {
	t.Parallel()
	const subject = "pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:"
	for _, test := range []struct {
		name      string
		project   string   // of the environment with the login; "db" when empty
		audiences []string // of the account's provider; nil registers none
		trust     func(*world) string
		duration  string
		want      string // empty: allowed
	}{
		{name: "the environment's own subject", audiences: []string{"aws:acme"},
			trust: func(w *world) string { return w.trust("aws:acme", subject+"db/managing") }},
		{name: "any environment of the organization", audiences: []string{"aws:acme", "acme"},
			trust: func(w *world) string { return w.trust("aws:acme", subject+"*") }},
		{name: "any subject", audiences: []string{"aws:acme"},
			trust: func(w *world) string { return w.trust("aws:acme", "*") }},
		{name: "another environment's subject", audiences: []string{"aws:acme"}, want: notAuthorized,
			trust: func(w *world) string { return w.trust("aws:acme", subject+"db/other") }},
		{name: "a subject that only begins alike", audiences: []string{"aws:acme"}, want: notAuthorized,
			trust: func(w *world) string { return w.trust("aws:acme", subject+"db/man") }},
		{name: "another organization's audience", audiences: []string{"aws:acme"}, want: notAuthorized,
			trust: func(w *world) string { return w.trust("aws:other", subject+"db/managing") }},
		{name: "the audience of the project default, elsewhere", audiences: []string{"aws:acme", "acme"}, want: notAuthorized,
			trust: func(w *world) string { return w.trust("acme", subject+"db/managing") }},
		{name: "the project default", project: "default", audiences: []string{"acme"},
			trust: func(w *world) string { return w.trust("acme", subject+"managing") }},
		{name: "the project default with other projects' audience", project: "default", audiences: []string{"acme"}, want: notAuthorized,
			trust: func(w *world) string { return w.trust("aws:acme", subject+"managing") }},
		{name: "the project default named in the subject", project: "default", audiences: []string{"acme"}, want: notAuthorized,
			trust: func(w *world) string { return w.trust("acme", subject+"default/managing") }},
		{name: "a provider without the audience", audiences: []string{"aws:other"}, want: incorrectAudience,
			trust: func(w *world) string { return w.trust("aws:acme", subject+"db/managing") }},
		{name: "no provider", want: noProvider,
			trust: func(w *world) string { return w.trust("aws:acme", subject+"db/managing") }},
		{name: "no role", audiences: []string{"aws:acme"}, want: notAuthorized},
		{name: "a role for another principal", audiences: []string{"aws:acme"}, want: notAuthorized,
			trust: func(w *world) string {
				return strings.ReplaceAll(w.trust("aws:acme", "*"), w.providerARN(), "arn:aws:iam::"+w.account+":oidc-provider/api.pulumi.com/oidc")
			}},
		{name: "a role for another action", audiences: []string{"aws:acme"}, want: notAuthorized,
			trust: func(w *world) string {
				return strings.ReplaceAll(w.trust("aws:acme", "*"), "sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML")
			}},
		{name: "an explicit refusal", audiences: []string{"aws:acme"}, want: notAuthorized,
			trust: func(w *world) string {
				allow := w.trust("aws:acme", "*")
				deny := strings.Replace(allow, `"Allow"`, `"Deny"`, 1)
				begin, end := strings.Index(deny, "[")+1, strings.LastIndex(deny, "]")
				return allow[:strings.LastIndex(allow, "]")] + "," + deny[begin:end] + "]}"
			}},
		{name: "longer than the role's sessions", audiences: []string{"aws:acme"}, duration: "90m",
			want:  "api error ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
			trust: func(w *world) string { return w.trust("aws:acme", "*") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.audiences != nil {
				w.registerProvider(test.audiences...)
			}
			if test.trust != nil {
				w.createRole("invocation", test.trust(w))
			}
			project := test.project
			if project == "" {
				project = "db"
			}
			document := loginDocument(w.roleARN("invocation"))
			if test.duration != "" {
				document = strings.Replace(document, "duration: 1h", "duration: "+test.duration, 1)
			}
			w.write(project, "managing", document)
			values, diagnostics, err := w.open(adminToken, project, "managing")
			require.NoError(t, err)
			if test.want == "" {
				assert.Empty(t, diagnostics)
				assert.Contains(t, values, `"sessionToken":"`)
				return
			}
			require.Len(t, diagnostics, 1)
			assert.Contains(t, diagnostics[0].Summary, test.want)
			assert.NotContains(t, diagnostics[0].Summary, "manager's password")
		})
	}
}

func TestALoginBelongsToTheEnvironmentInWhichItStands(t *testing.T) {
	t.Parallel()
	w := connected(t)
	// A copy of the login elsewhere is another environment's, and refused.
	w.write("db", "copy", loginDocument(w.roleARN("invocation")))
	_, diagnostics, err := w.open(adminToken, "db", "copy")
	require.NoError(t, err)
	require.Len(t, diagnostics, 1)
	assert.Contains(t, diagnostics[0].Summary, notAuthorized)

	// An import of it is still the managing environment's.
	w.write("db", "user", "values:\n  login: ${environments.db.managing.awsLogin}\n")
	_, diagnostics, err = w.open(adminToken, "db", "user")
	require.NoError(t, err)
	assert.Empty(t, diagnostics)
}

func TestTheFunctionIsInvokedOnlyAsTheRolesPoliciesAllow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		policy func(*world) string
		denied bool
	}{
		{name: "this function", policy: func(w *world) string { return allowInvoke(w.functionARN()) }},
		{name: "any function", policy: func(w *world) string { return allowInvoke("*") }},
		{name: "another function", denied: true, policy: func(w *world) string { return allowInvoke(w.functionARN() + "2") }},
		{name: "another action", denied: true, policy: func(w *world) string {
			return strings.ReplaceAll(allowInvoke("*"), "lambda:InvokeFunction", "lambda:InvokeFunctionUrl")
		}},
		{name: "a refusal", denied: true, policy: func(w *world) string {
			return strings.Replace(allowInvoke("*"), `"Allow"`, `"Deny"`, 1)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			w.putPolicy("invocation", test.policy(w))
			event, diagnostics, err := w.rotate(adminToken, "db", "rotator")
			require.NoError(t, err)
			require.Empty(t, diagnostics)
			require.Len(t, event.Rotations, 1)
			if !test.denied {
				assert.Nil(t, event.Rotations[0].ErrorMessage)
				return
			}
			require.NotNil(t, event.Rotations[0].ErrorMessage)
			assert.Contains(t, *event.Rotations[0].ErrorMessage, "AccessDeniedException: User: arn:aws:sts::"+w.account+
				":assumed-role/invocation/pulumi-esc-secret-rotator is not authorized to perform: lambda:InvokeFunction on resource: "+w.functionARN())
			assert.Empty(t, w.events)
		})
	}
}

func TestAPermissionsBoundaryLimitsTheRole(t *testing.T) {
	t.Parallel()
	w := connected(t)
	boundary, err := w.iam.CreatePolicy(context.Background(), &iam.CreatePolicyInput{
		PolicyName:     aws.String("boundary"),
		PolicyDocument: aws.String(strings.ReplaceAll(allowInvoke("*"), "lambda:InvokeFunction", "lambda:ListFunctions")),
	})
	require.NoError(t, err)
	_, err = w.iam.PutRolePermissionsBoundary(context.Background(), &iam.PutRolePermissionsBoundaryInput{
		RoleName: aws.String("invocation"), PermissionsBoundary: boundary.Policy.Arn,
	})
	require.NoError(t, err)
	event, _, err := w.rotate(adminToken, "db", "rotator")
	require.NoError(t, err)
	require.Len(t, event.Rotations, 1)
	require.NotNil(t, event.Rotations[0].ErrorMessage)
	assert.Contains(t, *event.Rotations[0].ErrorMessage, "AccessDeniedException")
}

func TestAnOpenEnvironmentExpires(t *testing.T) {
	t.Parallel()
	w := connected(t)
	session, diagnostics, err := w.client(adminToken).OpenEnvironment(context.Background(), org, "db", "managing", "", time.Hour)
	require.NoError(t, err)
	require.Empty(t, diagnostics)
	_, err = w.client(adminToken).GetOpenEnvironment(context.Background(), org, "db", "managing", session)
	require.NoError(t, err)
	_, err = w.client(readerToken).GetOpenEnvironment(context.Background(), org, "db", "managing", session)
	assert.ErrorContains(t, err, "no such open environment", "a session is its user's own")
	later := time.Now().Add(2 * time.Hour)
	w.now.Store(&later)
	_, err = w.client(adminToken).GetOpenEnvironment(context.Background(), org, "db", "managing", session)
	assert.ErrorContains(t, err, "no such open environment")
}

func TestAWSNeedsAWhileToKnowANewRoleAndANewIdentityProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(options *esc.Options) { options.NewLogins = 2 })
	w.registerProvider("aws:acme")
	w.write("db", "managing", loginDocument(w.roleARN("invocation")))
	logIn := func() string {
		_, diagnostics, err := w.open(adminToken, "db", "managing")
		require.NoError(t, err)
		if len(diagnostics) == 0 {
			return ""
		}
		return diagnostics[0].Summary
	}
	assert.Contains(t, logIn(), notAuthorized, "there is no such role")

	w.createRole("invocation", w.trust("aws:acme", "*"))
	assert.Contains(t, logIn(), noProvider)
	assert.Contains(t, logIn(), noProvider)
	assert.Empty(t, logIn())

	// Made anew, it is another role; the provider is known by now.
	_, err := w.iam.DeleteRole(context.Background(), &iam.DeleteRoleInput{RoleName: aws.String("invocation")})
	require.NoError(t, err)
	w.createRole("invocation", w.trust("aws:acme", "*"))
	assert.Contains(t, logIn(), notAuthorized)
	assert.Contains(t, logIn(), notAuthorized)
	assert.Empty(t, logIn())
}
