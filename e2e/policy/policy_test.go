package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecisions(t *testing.T) {
	const invoke = `{"Statement": {"Effect": "Allow", "Action": "lambda:Invoke*", "Resource": "arn:aws:lambda:*:*:function:app-?"}}`
	for _, test := range []struct {
		name      string
		documents []string
		request   Request
		allowed   bool
	}{
		{name: "nothing is allowed by default", request: Request{Action: "lambda:InvokeFunction"}},
		{
			name: "wildcards in action and resource", documents: []string{invoke}, allowed: true,
			request: Request{Action: "lambda:invokefunction", Resource: "arn:aws:lambda:us-west-2:1:function:app-1"},
		},
		{
			name: "a question mark is one character", documents: []string{invoke},
			request: Request{Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-west-2:1:function:app-12"},
		},
		{
			name: "an explicit refusal wins, in whichever document it stands", allowed: false,
			documents: []string{invoke, `{"Statement": [{"Effect": "Deny", "Action": ["lambda:*"], "Resource": "*"}]}`},
			request:   Request{Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-west-2:1:function:app-1"},
		},
		{
			name: "a refusal under a condition whose key the call does not carry does not apply", allowed: true,
			documents: []string{invoke, `{"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*",
				"Condition": {"ArnEquals": {"lambda:SourceFunctionArn": "arn:aws:lambda:us-west-2:1:function:app-1"}}}]}`},
			request: Request{Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-west-2:1:function:app-1"},
		},
		{
			name:      "brackets and backslashes in a pattern mean themselves",
			documents: []string{`{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/[a]\\*"}]}`},
			request:   Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/a"},
		},
		{
			name: "a star crosses slashes", allowed: true,
			documents: []string{`{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}]}`},
			request:   Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/a/b/c"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			allowed, err := Allows(test.documents, test.request)
			require.NoError(t, err)
			assert.Equal(t, test.allowed, allowed)
		})
	}
}

func TestTrustPolicies(t *testing.T) {
	const trust = `{"Statement": [{"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::1:oidc-provider/esc"},
		"Action": "sts:AssumeRoleWithWebIdentity",
		"Condition": {"StringEquals": {"esc:aud": "aws:acme"}, "StringLike": {"esc:sub": "pulumi:*:demo/*"}}}]}`
	ask := func(principal, audience, subject string) bool {
		allowed, err := Allows([]string{trust}, Request{
			Action: "sts:AssumeRoleWithWebIdentity", PrincipalType: "Federated", Principal: principal,
			Context: map[string]string{"esc:aud": audience, "esc:sub": subject},
		})
		require.NoError(t, err)
		return allowed
	}
	assert.True(t, ask("arn:aws:iam::1:oidc-provider/esc", "aws:acme", "pulumi:x:demo/y"))
	assert.False(t, ask("arn:aws:iam::1:oidc-provider/other", "aws:acme", "pulumi:x:demo/y"), "another provider")
	assert.False(t, ask("arn:aws:iam::1:oidc-provider/esc", "aws:other", "pulumi:x:demo/y"), "another audience")
	assert.False(t, ask("arn:aws:iam::1:oidc-provider/esc", "aws:acme", "pulumi:x:other/y"), "another subject")
}

func TestWhatIsNotKnownIsAnErrorAndNeverAGuess(t *testing.T) {
	for _, document := range []string{
		`{"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]}`,
		`{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"NumericLessThan": {"a": "1"}}}]}`,
		`not JSON`,
	} {
		_, err := Allows([]string{document}, Request{Action: "lambda:InvokeFunction", Resource: "x", Context: map[string]string{"a": "0"}})
		assert.Error(t, err, document)
	}
}
