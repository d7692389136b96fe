package infra

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"esc-connector-lambda-go/infra/archive"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// cloud is an AWS account of a test's own making: it answers invokes from its tables, and remembers
// what was registered. What it has no answer for is an error, as AWS's is.
type cloud struct {
	answers map[string]func(resource.PropertyMap) (map[string]any, error) // by token

	lock       sync.Mutex
	registered map[string]pulumi.MockResourceArgs // by logical name
	asked      []string                           // tokens
}

func (c *cloud) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.registered[args.Name] = args
	id, outputs := args.Name+"-id", args.Inputs.Copy()
	switch args.TypeToken {
	case "aws:iam/role:Role":
		outputs["arn"] = resource.NewProperty("arn:aws:iam::111122223333:role/" + args.Inputs["name"].StringValue())
	case "aws:lambda/function:Function":
		outputs["arn"] = resource.NewProperty("arn:aws:lambda:eu-west-1:111122223333:function:" + args.Inputs["name"].StringValue())
	case "aws:cloudwatch/logGroup:LogGroup":
		id = args.Inputs["name"].StringValue()
		outputs["arn"] = resource.NewProperty("arn:aws:logs:eu-west-1:111122223333:log-group:" + args.Inputs["name"].StringValue())
	case objectToken:
		outputs["versionId"] = resource.NewProperty("version-1")
	case signingProfileToken:
		outputs["versionArn"] = resource.NewProperty("arn:aws:signer:eu-west-1:111122223333:/signing-profiles/p/v")
	case signingJobToken:
		outputs["signedObjects"] = resource.NewPropertyValue([]any{map[string]any{"s3s": []any{map[string]any{"key": "signed/by-the-job.zip"}}}})
	case "aws:iam/openIdConnectProvider:OpenIdConnectProvider":
		outputs["arn"] = resource.NewProperty("arn:aws:iam::111122223333:oidc-provider/" +
			strings.TrimPrefix(args.Inputs["url"].StringValue(), "https://"))
	}
	return id, outputs, nil
}

func (c *cloud) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	c.lock.Lock()
	c.asked = append(c.asked, args.Token)
	c.lock.Unlock()
	answer, ok := c.answers[args.Token]
	if !ok {
		return nil, fmt.Errorf("the test's cloud has no answer to %s", args.Token)
	}
	result, err := answer(args.Args)
	if err != nil {
		return nil, err
	}
	return resource.NewPropertyMapFromMap(result), nil
}

// newCloud has one Aurora PostgreSQL cluster, orders, and no OIDC provider.
func newCloud() *cloud {
	fixed := func(result map[string]any) func(resource.PropertyMap) (map[string]any, error) {
		return func(resource.PropertyMap) (map[string]any, error) { return result, nil }
	}
	return &cloud{
		registered: map[string]pulumi.MockResourceArgs{},
		answers: map[string]func(resource.PropertyMap) (map[string]any, error){
			stateToken:          state(nil), // a new stack
			callerIdentityToken: fixed(map[string]any{"accountId": "111122223333"}),
			partitionToken:      fixed(map[string]any{"partition": "aws", "dnsSuffix": "amazonaws.com"}),
			clustersToken:       fixed(map[string]any{"clusterIdentifiers": []any{"orders"}}),
			instancesToken:      fixed(map[string]any{"instanceIdentifiers": []any{}}),
			clusterToken: fixed(map[string]any{"endpoint": "orders.cluster-abc.eu-west-1.rds.amazonaws.com", "port": 5432,
				"engine": "aurora-postgresql", "engineVersion": "16.4", "dbSubnetGroupName": "private",
				"vpcSecurityGroupIds": []any{"sg-database"}}),
			subnetGroupToken: fixed(map[string]any{"subnetIds": []any{"subnet-a", "subnet-b"}, "vpcId": "vpc-1"}),
			vpcToken:         fixed(map[string]any{"enableDnsSupport": true, "instanceTenancy": "default"}),
			securityGroupLookupToken: func(args resource.PropertyMap) (map[string]any, error) {
				if args["name"].StringValue() == "default" {
					return map[string]any{"id": "sg-default-of-" + args["vpcId"].StringValue()}, nil
				}
				return map[string]any{"id": args["id"].StringValue()}, nil
			},
			subnetToken: func(args resource.PropertyMap) (map[string]any, error) {
				id := args["id"].StringValue()
				return map[string]any{"id": id, "availabilityZone": "eu-west-1" + strings.TrimPrefix(id, "subnet-"),
					"availableIpAddressCount": 100, "vpcId": "vpc-1"}, nil
			},
			signingProfileLookupToken: func(resource.PropertyMap) (map[string]any, error) {
				return nil, fmt.Errorf("ResourceNotFoundException: there is no such profile")
			},
			"aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider": func(args resource.PropertyMap) (map[string]any, error) {
				return nil, fmt.Errorf("finding IAM OIDC Provider by url (%s): not found", args["url"].StringValue())
			},
		},
	}
}

// minimal is what pulumi new asks for, for the project "shop".
func minimal(further map[string]string) map[string]string {
	settings := map[string]string{
		"aws:region":                         "eu-west-1",
		"shop:rdsDbIdentifier":               "orders",
		"shop:rotatedSecretsEnvironmentName": "shop/orders",
	}
	maps.Copy(settings, further)
	return settings
}

// run runs the body as the program of the stack acme/shop/dev with these settings.
func run(t *testing.T, c *cloud, settings map[string]string, body func(*pulumi.Context, Config) error) error {
	t.Helper()
	configuration := Config{}
	var failure error
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		failure = body(ctx, configuration)
		return failure
	}, pulumi.WithMocksWithOrganization("acme", "shop", "dev", c), func(info *pulumi.RunInfo) { info.Config = settings },
		configuration.Capture)
	if failure != nil {
		return failure
	}
	return err
}

// deploy runs all steps but the compilation.
func deploy(t *testing.T, c *cloud, settings map[string]string) error {
	t.Helper()
	return run(t, c, settings, steps)
}

func steps(ctx *pulumi.Context, configuration Config) error {
	settings, last, site, err := lookAround(ctx, configuration)
	if err != nil {
		return err
	}
	connector, err := DeployConnector(ctx, settings, last, site, compiled)
	if err != nil {
		return err
	}
	return connector.WatchSilence()
}

// lookAround runs the steps before anything is compiled.
func lookAround(ctx *pulumi.Context, configuration Config) (*Settings, *LastState, *Site, error) {
	settings, err := ReadSettings(ctx, configuration)
	if err != nil {
		return nil, nil, nil, err
	}
	last, err := ReadLastState(ctx, settings)
	if err != nil {
		return nil, nil, nil, err
	}
	site, err := FindSite(ctx, settings, last)
	return settings, last, site, err
}

// compiled stands for the function's archive.
var compiled = &archive.Archive{Path: "testdata/none.zip", SHA256: "c2hh"}

const oidcToken = "aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider"

func answer(result map[string]any) func(resource.PropertyMap) (map[string]any, error) {
	return func(resource.PropertyMap) (map[string]any, error) { return result, nil }
}

func (c *cloud) input(name, property string) string {
	return c.registered[name].Inputs[resource.PropertyKey(property)].StringValue()
}

// state answers for the stack's own state.
func state(resources map[string]any) func(resource.PropertyMap) (map[string]any, error) {
	return func(args resource.PropertyMap) (map[string]any, error) {
		outputs := map[string]any{}
		for name, values := range resources {
			outputs["urn:pulumi:dev::shop::"+registeredTypes[name]+"::"+name] = map[string]any{"type": registeredTypes[name], "outputs": values}
		}
		return map[string]any{"name": args["stackName"].StringValue(), "outputs": outputs}, nil
	}
}

func written() map[string]any {
	return map[string]any{
		"managingCreds": map[string]any{"organization": "acme", "project": "shop", "name": "ordersManagingCreds"},
		"rotator":       map[string]any{"organization": "acme", "project": "shop", "name": "orders"},
		"pulumiCloud":   map[string]any{"apiUrl": "https://api.pulumi.com"},
		"function": map[string]any{"arn": "arn:aws:lambda:eu-west-1:111122223333:function:shop-dev-862e37e7",
			"name": "shop-dev-862e37e7"},
	}
}
