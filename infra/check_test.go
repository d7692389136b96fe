package infra

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// update runs all steps but the compilation and the environments.
func update(t *testing.T, c *cloud, settings map[string]string) error {
	t.Helper()
	return run(t, c, settings, func(ctx *pulumi.Context, configuration Config) error {
		settings, last, site, err := lookAround(ctx, configuration)
		if err != nil {
			return err
		}
		preparation, err := PlanPreparation(ctx, settings, last, site)
		if err != nil {
			return err
		}
		connector, err := DeployConnector(ctx, settings, last, site, compiled)
		if err != nil {
			return err
		}
		if _, err := connector.Contents(ctx, settings, site.Database); err != nil {
			return err
		}
		if err := connector.Prepare(ctx, settings, last, preparation); err != nil {
			return err
		}
		return connector.Check(ctx, settings, last, site.Database, preparation)
	})
}

// answers has the function answer these, one after the other, and keeps the events.
func (c *cloud) answersOf(answers ...string) *[]map[string]any {
	events := &[]map[string]any{}
	c.answers[invocationToken] = func(args resource.PropertyMap) (map[string]any, error) {
		input := args["input"]
		if !input.IsSecret() {
			return nil, errors.New("the event is not marked as a secret")
		}
		var event map[string]any
		if err := json.Unmarshal([]byte(input.SecretValue().Element.StringValue()), &event); err != nil {
			return nil, err
		}
		*events = append(*events, event)
		if len(*events) > len(answers) {
			return nil, errors.New("the function was asked too often")
		}
		return map[string]any{"result": answers[len(*events)-1]}, nil
	}
	return events
}

var allUsers = map[string]string{"shop:databaseName": "app", "shop:rotateUsername1": "one", "shop:rotateUsername2": "two",
	"shop:managingUsername": "manager", "shop:managingPassword": "Managing-Secret-1"}

func TestTheCheckLooksAtWhatTheSettingsName(t *testing.T) {
	t.Parallel()
	host := map[string]any{"type": "postgres", "host": "orders.cluster-abc.eu-west-1.rds.amazonaws.com", "port": 5432.0, "dryRun": true}
	with := func(further map[string]any) map[string]any {
		all := map[string]any{}
		for _, parts := range []map[string]any{host, further} {
			for key, value := range parts {
				all[key] = value
			}
		}
		return all
	}
	for name, c := range map[string]struct {
		settings map[string]string
		want     map[string]any
	}{
		"nothing": {nil, host},
		"all of it": {allUsers, with(map[string]any{"database": "app", "rotateUsers": []any{"one", "two"},
			"managingUser": map[string]any{"username": "manager", "password": "Managing-Secret-1"}})},
		"no password, and so no login": {map[string]string{"shop:databaseName": "app", "shop:managingUsername": "manager", "shop:rotateUsername1": "one", "shop:rotateUsername2": "two"},
			with(map[string]any{"database": "app"})},
		"one user, who cannot be looked at": {map[string]string{"shop:managingUsername": "manager", "shop:managingPassword": "p", "shop:rotateUsername1": "one"},
			with(map[string]any{"managingUser": map[string]any{"username": "manager", "password": "p"}})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud()
			events := cloud.answersOf(`{"code":200,"message":"dry run, nothing was changed: connected"}`)
			require.NoError(t, update(t, cloud, minimal(c.settings)))
			assert.Equal(t, []map[string]any{c.want}, *events)
		})
	}
}

// What is logged holds no password.
func TestTheCheckSendsNoPasswordWhereItWouldBeLogged(t *testing.T) {
	t.Setenv("TF_LOG", "DEBUG")
	cloud := newCloud()
	events := cloud.answersOf(`{"code":200,"message":"dry run, nothing was changed: connected"}`)
	require.NoError(t, update(t, cloud, minimal(allUsers)))
	require.Len(t, *events, 1)
	assert.NotContains(t, (*events)[0], "managingUser")
}

func TestNoCheckWhereItIsNotWantedOrCannotBe(t *testing.T) {
	t.Parallel()
	for _, settings := range []map[string]string{{"shop:checkDatabase": "false"}, {"shop:lambdaArtifact": "published", "aws:region": "eu-central-1"}} {
		cloud := newCloud()
		events := cloud.answersOf()
		require.NoError(t, update(t, cloud, minimal(settings)))
		assert.Empty(t, *events)
	}
}

// Whatever is wrong with the check, the connector is deployed.
func TestACheckThatFailsFailsNoUpdate(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(resource.PropertyMap) (map[string]any, error){
		"the database":   answer(map[string]any{"result": `{"code":400,"message":"connect: no answer"}`}),
		"another answer": answer(map[string]any{"result": `"yes"`}),
		"no answer":      answer(map[string]any{}),
		"AWS": func(resource.PropertyMap) (map[string]any, error) {
			return nil, errors.New("api error TooManyRequestsException: Rate Exceeded")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud()
			cloud.answers[invocationToken] = answer
			assert.NoError(t, update(t, cloud, minimal(allUsers)))
		})
	}
}

func TestWhyAnInvocationFailed(t *testing.T) {
	t.Parallel()
	const before = "rpc error: code = Unknown desc = invocation of aws:lambda/getInvocation:getInvocation returned an error: invoking aws:lambda/getInvocation:getInvocation: " +
		"1 error occurred:\n\t* invoking Lambda Function (orders-dev-0123): "
	for said, want := range map[string]string{
		before + `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 5e9b-01 Error: Task timed out after 30.00 seconds"}` + "\n\n":                           "the function failed: Task timed out after 30.00 seconds",
		before + `{"errorMessage":"2026-11-30T06:00:00.000Z 5e9b-01 Task timed out after 30.00 seconds"}` + "\n\n":                                                   "the function failed: 2026-11-30T06:00:00.000Z 5e9b-01 Task timed out after 30.00 seconds",
		before + "operation error Lambda: Invoke, https response error StatusCode: 429, RequestID: 5e9b-01, TooManyRequestsException: Rate Exceeded.\n\n":            "AWS Lambda: TooManyRequestsException: Rate Exceeded.",
		before + "operation error Lambda: Invoke, exceeded maximum number of attempts, 25, https response error StatusCode: 502, RequestID: 5e9b-01, api error A: b": "AWS Lambda: A: b",
		"something else": "something else",
	} {
		assert.Equal(t, want, failureOf(errors.New(said)))
	}
}

func TestAReasonThatLasts(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"connect: db.example:5432: no answer after 26.9 s; tried 3 times in 27.0 s. Tried 10.0.0.5, fd00::1:2. Nothing was changed": "connect: db.example:5432: no answer. Nothing was changed",
		"connected to db.example:5432 (10.0.0.5); x":                                                          "connected to db.example:5432; x",
		"connected to db.example:5432 (10.0.0.5, 2001:db8::5, ::1); x":                                        "connected to db.example:5432; x",
		"the server's certificate is valid from 2026-01-02 to 2026-02-03":                                     "the server's certificate is valid from … to …",
		`host "db.example" is the link-local address 169.254.169.254, where`:                                  `host "db.example" is the link-local address …, where`,
		"the function failed: 2026-11-30T06:00:00.000Z Task timed out after 30.00 seconds":                    "the function failed: … Task timed out",
		"PostgreSQL 15.18 at db.example:5432, TLS 1.3, SQLSTATE 28P01: user \"app_1\" at 12:30 in deadbeef:x": "PostgreSQL 15.18 at db.example:5432, TLS 1.3, SQLSTATE 28P01: user \"app_1\" at 12:30 in deadbeef:x",
	} {
		assert.Equal(t, want, lasting(message))
	}
}

func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	require.NoError(t, run(t, newCloud(), minimal(allUsers), func(ctx *pulumi.Context, configuration Config) error {
		settings, err := ReadSettings(ctx, configuration)
		if err == nil {
			assert.Equal(t, "user manager, password [secret]", settings.hide("user manager, password Managing-Secret-1"))
			for _, secret := range []string{"Managing-Secret-1-of-another", `a<b>&"\é`} {
				inJSON, err := json.Marshal(secret)
				require.NoError(t, err)
				for _, form := range []string{`"` + secret + `"`, fmt.Sprintf("%q", secret), `"` + strings.ReplaceAll(secret, `"`, `""`) + `"`, string(inJSON), `"` + url.QueryEscape(secret) + `"`} {
					assert.Equal(t, `"[secret]"`, settings.hide(form, event.NewSecret(secret)))
				}
			}
			settings.isSecret = func(key string) bool { return strings.HasPrefix(key, "shop:rotateUsername") }
			settings.given = Config{"shop:rotateUsername1": "\"one\"\n", "shop:rotateUsername2": "t'wo@10.0.%"}
			assert.Equal(t, `ALTER ROLE "[secret]" LOGIN;`, settings.hide(`ALTER ROLE """one""\n" LOGIN;`))
			assert.Equal(t, `'[secret]'@'10.0.%'`, settings.hide(`'t''wo'@'10.0.%'`))
			assert.Equal(t, "two\n"+`lines\x1b[2J`, settings.hide("two\nlines\x1b[2J"))
		}
		return err
	}))
}
