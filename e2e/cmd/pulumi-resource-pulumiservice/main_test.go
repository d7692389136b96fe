package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/pulumi/pulumi/pkg/v3/display"
	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/engine/lifecycletest/framework"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/deploytest"
	"github.com/pulumi/pulumi/pkg/v3/resource/plugin"
	"github.com/pulumi/pulumi/pkg/v3/resource/stack"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/esc"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

const token = "pul-test"

// project is a stack on the CLI's own engine, which runs in this process, and the ESC service that its provider reaches.
type project struct {
	t        *testing.T
	service  *esc.Service
	client   client.Client
	plan     framework.TestPlan
	snapshot *deploy.Snapshot
}

func newProject(t *testing.T) *project {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	backend := "http://" + server.Listener.Addr().String()
	service, err := esc.New(esc.Options{
		BackendURL: backend, AWSEndpoint: "http://127.0.0.1:1",
		Directory: access.NewDirectory(map[string]access.User{
			token: {Name: "admin", Environments: map[string]access.Environment{"*": access.AdminEnvironment}},
		}, "acme"),
	})
	require.NoError(t, err)
	server.Config.Handler = service
	server.Start()
	t.Cleanup(server.Close)
	return &project{
		t: t, service: service, client: client.New("test", backend, token, false),
		plan: framework.TestPlan{Project: "road", Stack: "dev", Decrypter: config.NopDecrypter, Config: config.Map{
			config.MustMakeKey("pulumiservice", "apiUrl"):      config.NewValue(backend),
			config.MustMakeKey("pulumiservice", "accessToken"): config.NewValue(token),
		}},
	}
}

// served is the provider, called as a plugin is: through gRPC.
func (p *project) served() (plugin.Provider, error) {
	stop := make(chan bool)
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{Cancel: stop, Init: func(server *grpc.Server) error {
		pulumirpc.RegisterResourceProviderServer(server, standIn().Server())
		return nil
	}})
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { close(stop) })
	connection, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", handle.Port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { _ = connection.Close() })
	return plugin.NewProviderWithClient(nil, pulumirpc.NewResourceProviderClient(connection), false), nil
}

type program = func(monitor *deploytest.ResourceMonitor) error

// operation is engine.Update and its kin.
type operation = func(engine.UpdateInfo, *engine.Context, engine.UpdateOptions, bool) (*deploy.Plan, display.ResourceChanges, error)

// run runs the operation, and answers what it changed. Its error holds the engine's messages.
func (p *project) run(operate operation, do program) (changes display.ResourceChanges, err error) {
	p.t.Helper()
	language := deploytest.NewLanguageRuntimeF(func(_ plugin.RunInfo, monitor *deploytest.ResourceMonitor) error { return do(monitor) })
	options := framework.TestUpdateOptions{T: p.t, SkipDisplayTests: true, HostF: deploytest.NewPluginHostF(nil, nil, language, nil, nil,
		deploytest.NewProviderLoader("pulumiservice", semver.MustParse("1.3.0"), p.served))}
	counted := framework.TestOp(func(
		info engine.UpdateInfo, ctx *engine.Context, options engine.UpdateOptions, dryRun bool,
	) (plan *deploy.Plan, _ display.ResourceChanges, err error) {
		plan, changes, err = operate(info, ctx, options, dryRun)
		return plan, changes, err
	})
	said := func(_ workspace.Project, _ deploy.Target, _ engine.JournalEntries, events []engine.Event, err error) error {
		for _, event := range events {
			if diagnostic, is := event.Payload().(engine.DiagEventPayload); is && err != nil {
				err = fmt.Errorf("%w\n%s", err, diagnostic.Message)
			}
		}
		return err
	}
	snapshot, err := counted.Run(p.plan.GetProject(), p.plan.GetTarget(p.t, p.snapshot), options, false, nil, said)
	if snapshot != nil {
		p.snapshot = snapshot
	}
	return changes, err
}

// environmentInputs are those of acme/db/<name>.
func environmentInputs(t *testing.T, name, yaml string) resource.PropertyMap {
	t.Helper()
	document, err := asset.FromText(yaml)
	require.NoError(t, err)
	return resource.PropertyMap{
		"organization": resource.NewProperty("acme"), "project": resource.NewProperty("db"), "name": resource.NewProperty(name),
		"yaml": resource.NewProperty(document),
	}
}

// up registers the stack, as every program does, and in it the resource "app" with the inputs.
func (p *project) up(inputs resource.PropertyMap, ignored ...string) (display.ResourceChanges, error) {
	p.t.Helper()
	return p.run(engine.Update, func(monitor *deploytest.ResourceMonitor) error {
		root, err := monitor.RegisterResource(resource.RootStackType, "road-dev", false)
		if err != nil {
			return err
		}
		_, err = monitor.RegisterResource("pulumiservice:index:Environment", "app", true,
			deploytest.ResourceOptions{Parent: root.URN, Inputs: inputs, IgnoreChanges: ignored})
		return err
	})
}

func (p *project) mustUp(inputs resource.PropertyMap, ignored ...string) display.ResourceChanges {
	p.t.Helper()
	changes, err := p.up(inputs, ignored...)
	require.NoError(p.t, err)
	return changes
}

// state is the stack's state as a backend keeps it.
func (p *project) state() string {
	p.t.Helper()
	deployment, err := stack.SerializeDeployment(p.t.Context(), p.snapshot, false)
	require.NoError(p.t, err)
	text, err := json.Marshal(deployment)
	require.NoError(p.t, err)
	return string(text)
}

// kept are the inputs and outputs of the resource "app" in the stack's state.
func (p *project) kept() (inputs, outputs resource.PropertyMap) {
	p.t.Helper()
	for _, kept := range p.snapshot.Resources {
		if kept.URN.Name() == "app" {
			return kept.Inputs, kept.Outputs
		}
	}
	require.Fail(p.t, "the state does not hold it")
	return nil, nil
}

func secret(text string) resource.PropertyValue {
	return resource.MakeSecret(resource.NewProperty(text))
}

// refresh and destroy do without the program, as the CLI does by default.

func (p *project) refresh() {
	p.t.Helper()
	_, err := p.run(engine.Refresh, nil)
	require.NoError(p.t, err)
}

func (p *project) destroy() {
	p.t.Helper()
	_, err := p.run(engine.Destroy, nil)
	require.NoError(p.t, err)
}

func (p *project) definition(id string) string {
	p.t.Helper()
	yaml, _, exists := p.service.Definition(id)
	require.True(p.t, exists, id)
	return yaml
}

func TestAnEnvironmentLivesWithItsStack(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))
	state := p.state()
	assert.Contains(t, state, `"id":"acme/db/app"`)
	assert.Contains(t, state, `"environmentId":"`)
	assert.Contains(t, state, `"revision":2`)
	inputs, outputs := p.kept()
	assert.Equal(t, secret("values:\n  a: 1"), inputs["yaml"], "without the space around it")
	assert.Equal(t, secret("values:\n  a: 1"), outputs["yaml"])
	assert.NotContains(t, state, "a: 1")

	again := p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	assert.Equal(t, display.ResourceChanges{deploy.OpSame: 2}, again, "the stack and the environment")

	p.destroy()
	assert.Empty(t, p.service.Environments())
}

func TestASecretDocumentStaysSecretInTheState(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	document := environmentInputs(t, "app", "values:\n  a:\n    fn::secret: s3cr3t-text\n")
	document["yaml"] = resource.MakeSecret(document["yaml"])
	p.mustUp(document)
	assert.NotContains(t, p.state(), "s3cr3t-text")
	assert.NotContains(t, p.definition("acme/db/app"), "s3cr3t-text")
	p.refresh()
	assert.NotContains(t, p.state(), "ciphertext: ")
}

func TestAnUpdateOverwritesWhatStandsThere(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	_, _, err := p.client.UpdateEnvironment(t.Context(), "acme", "db", "app", []byte("values:\n  edited: true\n"), "")
	require.NoError(t, err)
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	assert.Contains(t, p.definition("acme/db/app"), "edited", "no changed input, no update")
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 2\n"))
	assert.Equal(t, "values:\n  a: 2\n", p.definition("acme/db/app"))
}

func TestARefreshReadsTheDocument(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	_, _, err := p.client.UpdateEnvironment(t.Context(), "acme", "db", "app", []byte("values:\n  edited: true\n"), "")
	require.NoError(t, err)
	p.refresh()
	inputs, outputs := p.kept()
	assert.Equal(t, secret("values:\n  edited: true"), inputs["yaml"])
	assert.Equal(t, secret("values:\n  edited: true"), outputs["yaml"])
	ignored := p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"), "yaml")
	assert.Equal(t, display.ResourceChanges{deploy.OpSame: 2}, ignored)
	assert.Contains(t, p.definition("acme/db/app"), "edited")
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	assert.NotContains(t, p.definition("acme/db/app"), "edited")
}

func TestARefreshThatFailsLosesTheEnvironmentFromTheState(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
			p.service.Fail(rest.Fault{Status: status})
			p.refresh()
			p.service.Recover()
			assert.NotContains(t, p.state(), "acme/db/app")

			_, err := p.up(environmentInputs(t, "app", "values:\n  a: 2\n"))
			assert.ErrorContains(t, err, "already exists")
			assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))

			_, err = p.run(func(
				info engine.UpdateInfo, ctx *engine.Context, options engine.UpdateOptions, dryRun bool,
			) (*deploy.Plan, display.ResourceChanges, error) {
				return engine.Import(info, ctx, options, []deploy.Import{
					{Type: "pulumiservice:index:Environment", Name: "app", ID: "acme/db/app"},
				}, dryRun)
			}, nil)
			require.NoError(t, err)
			back := p.mustUp(environmentInputs(t, "app", "values:\n  a: 2\n"), "yaml")
			assert.Equal(t, display.ResourceChanges{deploy.OpSame: 2}, back)
			assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))
		})
	}
}

func TestANewNameDeletesTheEnvironmentFirst(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	// Deletion comes first: when creation then fails, the environment is gone.
	p.service.Fail(rest.Fault{Status: http.StatusForbidden, Method: http.MethodPost})
	_, err := p.up(environmentInputs(t, "renamed", "values:\n  a: 1\n"))
	assert.Error(t, err)
	assert.Empty(t, p.service.Environments())
	p.service.Recover()
	p.mustUp(environmentInputs(t, "renamed", "values:\n  a: 1\n"))
	assert.Equal(t, []string{"acme/db/renamed"}, p.service.Environments())
}

func TestACreationThatIsCutOffLeavesAnEmptyEnvironment(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.service.Fail(rest.Fault{Status: http.StatusForbidden, Method: http.MethodPatch})
	_, err := p.up(environmentInputs(t, "app", "values:\n  a: 1\n"))
	assert.ErrorContains(t, err, "failed to push yaml into environment")
	p.service.Recover()
	assert.Empty(t, p.definition("acme/db/app"))
	assert.NotContains(t, p.state(), "acme/db/app")
}

func TestADocumentThatDoesNotPassTheCheckCreatesNothing(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	_, err := p.up(environmentInputs(t, "app", "values:\n  a: ${environments.db.missing.b}\n"))
	assert.ErrorContains(t, err, `environment "acme/db/missing" not found`)
	assert.Empty(t, p.service.Environments())
}

func TestWhatTheProviderDoesNotKnowIsRefusedByName(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	unknown := environmentInputs(t, "app", "values:\n  a: 1\n")
	unknown["deletionProtected"] = resource.NewProperty(true)
	_, err := p.up(unknown)
	assert.ErrorContains(t, err, `knows no property "deletionProtected"`)
	_, err = p.up(environmentInputs(t, "a/b", "values:\n  a: 1\n"))
	assert.ErrorContains(t, err, "illegal character")
	_, err = p.run(engine.Update, func(monitor *deploytest.ResourceMonitor) error {
		_, err := monitor.RegisterResource("pulumiservice:index:TeamStackPermission", "team", true)
		return err
	})
	assert.ErrorContains(t, err, "has no resource pulumiservice:index:TeamStackPermission")
}

func TestGetEnvironmentTellsThatOneExists(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	require.NoError(t, p.client.CreateEnvironment(t.Context(), "acme", "db", "app"))
	var found resource.PropertyMap
	look := func(name string) error {
		_, err := p.run(engine.Update, func(monitor *deploytest.ResourceMonitor) (err error) {
			var failures []*pulumirpc.CheckFailure
			found, failures, err = monitor.Invoke("pulumiservice:index:getEnvironment", resource.PropertyMap{
				"organizationName": resource.NewProperty("acme"), "projectName": resource.NewProperty("db"), "name": resource.NewProperty(name),
			}, "", "", "")
			for _, failure := range failures {
				err = errors.Join(err, errors.New(failure.GetReason()))
			}
			return err
		})
		return err
	}
	require.NoError(t, look("app"))
	assert.Len(t, strings.Split(found["environmentId"].StringValue(), "-"), 5, "a UUID")
	assert.ErrorContains(t, look("other"), "environment acme/db/other not found")
	p.service.Fail(rest.Fault{Status: http.StatusForbidden})
	assert.ErrorContains(t, look("app"), "failed to look up environment acme/db/app")
}

func TestADocumentThatIsNotKnownYetIsEmpty(t *testing.T) {
	t.Parallel()
	inputs := environmentInputs(t, "app", "")
	inputs["yaml"] = resource.MakeComputed(resource.NewProperty(""))
	checked, err := checkEnvironment("", inputs)
	require.NoError(t, err)
	assert.Equal(t, secret(""), checked["yaml"])
}

func TestAnUpdateThatIsRefusedSaysThatItIsDone(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 1\n"))
	p.service.Fail(rest.Fault{Status: http.StatusForbidden, Method: http.MethodPatch})
	p.mustUp(environmentInputs(t, "app", "values:\n  a: 2\n"))
	p.service.Recover()
	assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))
	_, outputs := p.kept()
	assert.Equal(t, secret("values:\n  a: 2"), outputs["yaml"])
	assert.Equal(t, resource.NewProperty(0.0), outputs["revision"])

	_, err := p.up(environmentInputs(t, "app", "values:\n  a: ${missing}\n"))
	assert.ErrorContains(t, err, "yaml code failed following checks", "unlike a document that does not pass the check")
}

// The service that plays ESC refuses no warning.
func TestAWarningFailsWhereItComesWithARefusal(t *testing.T) {
	t.Parallel()
	refuses := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Pulumi-ESC-Revision", "2")
		if refuses {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write([]byte(`{"code": 400, "message": "Bad Request", "diagnostics": [{"severity": "warning", "summary": "old"}]}`))
	}))
	t.Cleanup(server.Close)
	s := service{Client: client.New("test", server.URL, token, false)}
	_, err := s.push(t.Context(), environment{"acme", "db", "app"}, nil)
	assert.ErrorContains(t, err, "old")
	refuses = false
	revision, err := s.push(t.Context(), environment{"acme", "db", "app"}, nil)
	require.NoError(t, err)
	assert.Equal(t, 2, revision)
}

func TestALookupIsOneRequestOfAMinuteAtTheMost(t *testing.T) {
	t.Parallel()
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte("slow down"))
	}))
	t.Cleanup(server.Close)
	s := service{}
	require.NoError(t, s.configure(t.Context(), map[string]string{"apiUrl": server.URL, "accessToken": token}))
	assert.Equal(t, time.Minute, s.http.Timeout)
	_, err := s.getEnvironment(t.Context(), resource.PropertyMap{
		"organizationName": resource.NewProperty("acme"), "projectName": resource.NewProperty("db"), "name": resource.NewProperty("app"),
	})
	assert.EqualError(t, err, "failed to look up environment acme/db/app: failed to get environment metadata for acme/db/app: 429 API error: slow down")
	assert.Equal(t, 1, requests)
}

func TestTheAccessTokenIsTheSettingsTheEnvironmentsOrTheLogins(t *testing.T) {
	t.Setenv("PULUMI_ACCESS_TOKEN", "")
	t.Setenv("PULUMI_HOME", t.TempDir())
	configured := service{}
	assert.ErrorContains(t, configured.configure(t.Context(), nil), "pulumi access token not found")
	require.NoError(t, workspace.StoreAccount("https://pulumi.acme.example", workspace.Account{AccessToken: "of the login"}, true))
	require.NoError(t, configured.configure(t.Context(), nil))
	assert.Equal(t, "of the login", configured.token)
	t.Setenv("PULUMI_ACCESS_TOKEN", "from the environment")
	require.NoError(t, configured.configure(t.Context(), nil))
	assert.Equal(t, "from the environment", configured.token)
	require.NoError(t, configured.configure(t.Context(), map[string]string{"accessToken": "of the setting"}))
	assert.Equal(t, "of the setting", configured.token)
}
