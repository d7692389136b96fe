package environments

import (
	"errors"
	"sync"
	"testing"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi-pulumiservice/sdk/go/pulumiservice"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cloud remembers what is registered, and answers getEnvironment by the name's last part.
type cloud struct {
	lock       sync.Mutex
	registered map[string]pulumi.MockResourceArgs
	existing   map[string]error // nil: it exists
}

func (c *cloud) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.registered[args.Name] = args
	return args.Name + "-id", args.Inputs, nil
}

func (c *cloud) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	failure, ok := c.existing[args.Args["name"].StringValue()]
	if !ok {
		failure = errors.New("environment acme/shop/orders not found")
	}
	return resource.PropertyMap{"environmentId": resource.NewProperty("5b2f")}, failure
}

// run runs the body with a provider of Pulumi Cloud.
func run(t *testing.T, c *cloud, body func(*pulumi.Context, *pulumiservice.Provider) error) error {
	t.Helper()
	c.registered = map[string]pulumi.MockResourceArgs{}
	return pulumi.RunErr(func(ctx *pulumi.Context) error {
		provider, err := Connect(ctx, "https://api.pulumi.com")
		if err != nil {
			return err
		}
		return body(ctx, provider)
	}, pulumi.WithMocksWithOrganization("acme", "shop", "dev", c))
}

var orders = Name{Organization: "acme", Project: "shop", Environment: "orders"}

func TestTheEnvironmentsAreRegisteredSoThatNothingWritesThemAgain(t *testing.T) {
	c := &cloud{}
	require.NoError(t, run(t, c, func(ctx *pulumi.Context, provider *pulumiservice.Provider) error {
		return Write(ctx, provider, Contents{
			Name: orders, Rotator: Rotator{Managing: plain, Engine: "mysql", Host: "db.example", Port: 3306},
			RoleARN: pulumi.String("arn:role"), LambdaARN: pulumi.String("arn:function"),
			Managing: ManagingCreds{Password: event.NewSecret("s3cret")},
		})
	}))
	for _, name := range []string{"managingCreds", "rotator"} {
		registered := c.registered[name]
		assert.Equal(t, "pulumiservice:index:Environment", registered.TypeToken)
		assert.ElementsMatch(t, []string{"yaml", "name", "project", "organization"}, registered.RegisterRPC.GetIgnoreChanges())
		assert.Contains(t, registered.Provider, "pulumi:providers:pulumiservice::pulumiCloud")
		assert.Contains(t, registered.RegisterRPC.GetParent(), "pulumi:pulumi:Stack", "no component around it")
		assert.True(t, registered.Inputs["yaml"].IsSecret(), "what a refresh reads into the state is encrypted there")
		assert.Equal(t, []string{"yaml"}, registered.RegisterRPC.GetAdditionalSecretOutputs())
		assert.False(t, registered.RegisterRPC.GetRetainOnDelete())
		assert.True(t, registered.RegisterRPC.GetDeleteBeforeReplaceDefined())
		assert.False(t, registered.RegisterRPC.GetDeleteBeforeReplace(), "a forced replacement must not delete first")
	}
	assert.Equal(t, "https://api.pulumi.com", c.registered["pulumiCloud"].Inputs["apiUrl"].StringValue())
	depends := c.registered["rotator"].RegisterRPC.GetDependencies()
	assert.Contains(t, depends, "urn:pulumi:dev::shop::pulumiservice:index:Environment::managingCreds")
	assert.Contains(t, c.registered["managingCreds"].Inputs["yaml"].SecretValue().Element.AssetValue().Text, "fn::secret: s3cret")
}

func TestScheduleTeamAndWebhookStandBesideTheEnvironments(t *testing.T) {
	c := &cloud{}
	require.NoError(t, run(t, c, func(ctx *pulumi.Context, provider *pulumiservice.Provider) error {
		return Write(ctx, provider, Contents{
			Name: orders, Rotator: Rotator{Managing: plain, Engine: "mysql", Host: "db.example", Port: 3306},
			RoleARN: pulumi.String("arn:role"), LambdaARN: pulumi.String("arn:function"),
			Schedule: "0 3 * * 0", Team: "administrators", Retain: true,
			Webhook: Webhook{URL: event.NewSecret("https://hook.example/s3cret"), Format: "raw"},
		})
	}))
	inputs := func(name string) map[string]any { return c.registered[name].Inputs.Mappable() }
	assert.Equal(t, map[string]any{"organization": "acme", "project": "shop", "environment": "orders", "scheduleCron": "0 3 * * 0"},
		inputs("rotationSchedule"))
	assert.Equal(t, map[string]any{"organization": "acme", "project": "shop", "environment": "ordersManagingCreds",
		"team": "administrators", "permission": "admin"}, inputs("managingTeam"))
	webhook := c.registered["webhook"]
	assert.True(t, webhook.Inputs["payloadUrl"].IsSecret(), "set with --secret or not")
	assert.Contains(t, webhook.RegisterRPC.GetAdditionalSecretOutputs(), "payloadUrl")
	assert.Equal(t, "https://hook.example/s3cret", webhook.Inputs["payloadUrl"].SecretValue().Element.StringValue())
	assert.Equal(t, []any{"environment_rotation_failed"}, inputs("webhook")["filters"])
	assert.Equal(t, "acme/environment/shop/orders/5678", WebhookID(orders, "5678"))
	for name, after := range map[string]string{"rotationSchedule": "rotator", "managingTeam": "managingCreds", "webhook": "rotator"} {
		registered := c.registered[name].RegisterRPC
		assert.Contains(t, registered.GetDependencies(), "urn:pulumi:dev::shop::pulumiservice:index:Environment::"+after)
		assert.Contains(t, c.registered[name].Provider, "pulumi:providers:pulumiservice::pulumiCloud")
		assert.False(t, registered.GetRetainOnDelete(), "nothing rotates any more when the connector is gone")
	}
	assert.True(t, c.registered["rotator"].RegisterRPC.GetRetainOnDelete())
}

func TestOnlyAClearAnswerSaysThatAnEnvironmentIsNotThere(t *testing.T) {
	look := func(failure error) error {
		return run(t, &cloud{existing: map[string]error{"orders": failure}}, func(ctx *pulumi.Context, provider *pulumiservice.Provider) error {
			found, err := Exists(ctx, provider, orders)
			assert.Equal(t, failure == nil, found)
			return err
		})
	}
	require.NoError(t, look(nil), "it is there")
	require.NoError(t, look(errors.New("environment acme/shop/orders not found")))
	// The provider's words, from what its HTTP client and the service say.
	const asking = "failed to look up environment acme/shop/orders: failed to get environment metadata for acme/shop/orders: "
	const get = `failed to create request: Get "https://api.pulumi.com/api/esc/environments/acme/shop/orders/metadata": `
	for _, failure := range []string{
		asking + "401 API error: Unauthorized: No credentials provided or are invalid.",
		asking + "403 API error: Forbidden",
		asking + "429 API error: Too Many Requests",
		asking + "503 API error: upstream not found",
		asking + get + "tls: failed to verify certificate: x509: certificate signed by unknown authority",
		asking + get + "read tcp 10.0.0.1:1234->10.0.0.2:443: read: connection reset by peer",
		asking + get + "EOF",
		asking + get + "dial tcp: lookup api.pulumi.com: no such host",
		asking + get + "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
		asking + "failed to parse response body: invalid character '<' looking for beginning of value",
		"environment acme/shop/orders-2 not found",
		"unknown function",
	} {
		err := look(errors.New(failure))
		require.ErrorContains(t, err, "asking Pulumi Cloud whether the environment acme/shop/orders exists: ")
		assert.ErrorContains(t, err, failure, "the cause is told")
		assert.ErrorContains(t, err, "nothing was created")
	}
}

func TestAnImportIsByTheStacksOwnProviderAndKeepsItsProtection(t *testing.T) {
	require.NoError(t, run(t, &cloud{}, func(ctx *pulumi.Context, _ *pulumiservice.Provider) error {
		assert.Equal(t, "pulumi import pulumiservice:index:Environment rotator acme/shop/orders --generate-code=false"+
			" --provider pulumiCloud=urn:pulumi:dev::shop::pulumi:providers:pulumiservice::pulumiCloud", ImportCommand(ctx, Type, RotatorResource, orders.String()))
		return nil
	}))
}
