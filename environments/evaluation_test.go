package environments

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/eval"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/schema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// service is as much of ESC as its evaluator needs: environments encrypted as ESC keeps them, a login
// that answers its own inputs, and a rotator that remembers the inputs it was given.
type service struct {
	documents map[string][]byte // by project/environment
	inputs    any               // of the rotator, as JSON would have them
	rotators  []string
}

func (s *service) store(t *testing.T, name Name, document string) {
	t.Helper()
	encrypted, err := eval.EncryptSecrets(t.Context(), name.Path(), []byte(document), s)
	require.NoError(t, err, "encrypting\n%s", document)
	s.documents[name.Path()] = encrypted
}

// nonce stands before each ciphertext, as a cipher's does: the evaluator takes shorter ones for broken.
var nonce = []byte("0123456789ab")

func (s *service) Encrypt(_ context.Context, value []byte) ([]byte, error) {
	value = slices.Clone(value)
	slices.Reverse(value)
	return slices.Concat(nonce, value), nil
}

func (s *service) Decrypt(_ context.Context, value []byte) ([]byte, error) {
	value = slices.Clone(value[len(nonce):])
	slices.Reverse(value)
	return value, nil
}

func (s *service) LoadEnvironment(_ context.Context, name string) ([]byte, eval.Decrypter, error) {
	document, ok := s.documents[name]
	if !ok {
		return nil, nil, fmt.Errorf("there is no environment %q", name)
	}
	return document, s, nil
}

func (s *service) AuthorizeImport(context.Context, string, string, bool) error { return nil }

func (s *service) LoadProvider(_ context.Context, name string) (esc.Provider, error) {
	if name != "aws-login" {
		return nil, fmt.Errorf("there is no provider %q", name)
	}
	return login{}, nil
}

func (s *service) LoadRotator(_ context.Context, name string) (esc.Rotator, error) {
	s.rotators = append(s.rotators, name)
	return rotator{s}, nil
}

type login struct{}

func (login) Schema() (inputs, outputs *schema.Schema) { return schema.Always(), schema.Always() }

func (login) Open(_ context.Context, inputs map[string]esc.Value, _ esc.EnvExecContext) (esc.Value, error) {
	return esc.NewValue(inputs), nil
}

type rotator struct{ service *service }

func (rotator) Schema() (inputs, state, outputs *schema.Schema) {
	state = schema.Record(schema.BuilderMap{"current": schema.String()}).Schema()
	return schema.Always(), state, schema.Always()
}

func (r rotator) Open(context.Context, map[string]esc.Value, map[string]esc.Value, esc.EnvExecContext) (esc.Value, error) {
	return esc.Value{}, nil
}

func (r rotator) Rotate(_ context.Context, inputs, _ map[string]esc.Value, _ esc.EnvExecContext) (esc.Value, error) {
	r.service.inputs = esc.NewValue(inputs).ToJSON(false)
	return esc.NewValue(map[string]esc.Value{"current": esc.NewValue("x")}), nil
}

// ESC's own evaluator hands the rotator what the user has set, by whatever names the environments go.
func TestTheEvaluatorReadsTheDocumentsAsTheyAreMeant(t *testing.T) {
	for _, managingName := range []Name{
		plain,
		{Organization: "acme", Project: "my.project", Environment: "my.env"},
		{Organization: "acme", Project: "my-project", Environment: "1st_env-x.y"},
		{Organization: "acme", Project: "default", Environment: "42"},
	} {
		for _, value := range []string{
			"plain", "${x}", "$${x}", "a$b$$c$", "fn::secret", "{a: 1}", "0123", "yes", "null", "line\nbreak", "it's \"quoted\" #not: a comment", "漢字 x²",
		} {
			escService := &service{documents: map[string][]byte{}}
			managing, err := ManagingCreds{RoleARN: "arn:aws:iam::111122223333:role/x", Username: value, Password: event.NewSecret(value)}.Document()
			require.NoError(t, err)
			escService.store(t, managingName, managing)
			document, err := Rotator{Engine: "postgres", Host: "db.example", Port: 5432, Managing: managingName,
				LambdaARN: "arn:aws:lambda:eu-west-1:111122223333:function:x", Database: value, Username1: value + "1", Username2: value + "2"}.Document()
			require.NoError(t, err)

			declared, diagnostics, err := eval.LoadYAMLBytes("rotator", []byte(document))
			require.NoError(t, err)
			require.Empty(t, diagnostics, document)
			execution, err := esc.NewExecContext(nil)
			require.NoError(t, err)
			_, checked := eval.CheckEnvironment(t.Context(), "shop/orders", declared, escService, escService, escService, execution, false, eval.EvalOptions{})
			require.Empty(t, checked, document)
			_, _, rotated := eval.RotateEnvironment(t.Context(), "shop/orders", declared, escService, escService, escService, execution, nil, eval.EvalOptions{})
			require.Empty(t, rotated, document)

			got, err := json.Marshal(escService.inputs)
			require.NoError(t, err)
			text, err := json.Marshal(value)
			require.NoError(t, err)
			within := string(text[1 : len(text)-1])
			assert.JSONEq(t, `{
				"database": {
					"connector": {"awsLambda": {
						"login": {"oidc": {"duration": "1h", "roleArn": "arn:aws:iam::111122223333:role/x",
							"sessionName": "pulumi-esc-secret-rotator", "subjectAttributes": ["currentEnvironment.name"]}},
						"lambdaArn": "arn:aws:lambda:eu-west-1:111122223333:function:x"}},
					"database": "`+within+`", "host": "db.example", "port": 5432,
					"managingUser": {"username": "`+within+`", "password": "`+within+`"}},
				"rotateUsers": {"username1": "`+within+`1", "username2": "`+within+`2"}}`, string(got))
			assert.Contains(t, escService.rotators, "postgres")
		}
	}
}
