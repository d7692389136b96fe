package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optimport"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/esc"
)

const token = "pul-test"

var plugins string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "plugins-")
		if err == nil {
			plugins = folder
			defer func() { _ = os.RemoveAll(folder) }()
			var output []byte
			output, err = exec.Command("go", "build", "-o", filepath.Join(folder, "pulumi-resource-pulumiservice"), ".").CombinedOutput()
			fmt.Fprint(os.Stderr, string(output))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "building the provider:", err)
			return 1
		}
		return m.Run()
	}())
}

// withoutOutputs is the CLI, but for the outputs of a stack: none here has any, and the Automation API asks for them
// twice after each update, which takes longer than the update.
type withoutOutputs struct{ auto.PulumiCommand }

func (c withoutOutputs) Run(ctx context.Context, folder string, stdin io.Reader, out, errOut []io.Writer, environment []string, args ...string) (string, string, int, error) {
	if len(args) > 1 && args[0] == "stack" && args[1] == "output" {
		return "{}", "", 0, nil
	}
	return c.PulumiCommand.Run(ctx, folder, stdin, out, errOut, environment, args...)
}

// project is a stack on the real CLI, and the ESC service that its provider reaches.
type project struct {
	t       *testing.T
	service *esc.Service
	client  client.Client
	stack   auto.Stack
	// kept is the file in which the backend keeps the stack's state.
	kept string
}

func newProject(t *testing.T) *project {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	backend := "http://" + server.Listener.Addr().String()
	service, err := esc.New(esc.Options{
		BackendURL: backend, Organizations: []string{"acme"}, AWSEndpoint: "http://127.0.0.1:1",
		Tokens: map[string]esc.User{token: {Name: "admin", Permissions: map[string]esc.Permission{"*": esc.Admin}}},
	})
	require.NoError(t, err)
	server.Config.Handler = service
	server.Start()
	t.Cleanup(server.Close)

	folder := t.TempDir()
	state := filepath.Join(folder, "state")
	require.NoError(t, os.Mkdir(state, 0o755))
	workspaceOptions := []auto.LocalWorkspaceOption{
		auto.WorkDir(folder),
		auto.PulumiHome(filepath.Join(folder, "home")),
		auto.Project(workspace.Project{
			Name: "road", Runtime: workspace.NewProjectRuntimeInfo("go", nil),
			Backend: &workspace.ProjectBackend{URL: "file://" + state},
			Config:  map[string]workspace.ProjectConfigType{"pulumiservice:apiUrl": {Value: backend}},
		}),
		auto.EnvVars(map[string]string{
			"PULUMI_ACCESS_TOKEN": token, "PULUMI_CONFIG_PASSPHRASE": "test", "PULUMI_SKIP_UPDATE_CHECK": "true",
			"PATH": plugins + string(os.PathListSeparator) + os.Getenv("PATH"),
		}),
	}
	cli := &auto.PulumiCommandOptions{SkipVersionCheck: true}
	if _, err := exec.LookPath("pulumi"); err != nil {
		cache, err := os.UserCacheDir()
		require.NoError(t, err)
		cli.Root = filepath.Join(cache, "esc-connector-lambda-go")
		require.FileExists(t, filepath.Join(cli.Root, "bin", "pulumi"), "the Pulumi CLI is not on PATH, and not built: run `make test`")
	}
	command, err := auto.NewPulumiCommand(cli)
	require.NoError(t, err)
	workspaceOptions = append(workspaceOptions, auto.Pulumi(withoutOutputs{command}))
	local, err := auto.NewLocalWorkspace(t.Context(), workspaceOptions...)
	require.NoError(t, err)
	stack, err := auto.NewStack(t.Context(), "dev", local)
	require.NoError(t, err)
	return &project{t, service, client.New("test", backend, token, false), stack,
		filepath.Join(state, ".pulumi", "stacks", "road", "dev.json")}
}

// inputs are those of acme/db/<name>.
func inputs(name, yaml string) pulumi.Map {
	return pulumi.Map{
		"organization": pulumi.String("acme"), "project": pulumi.String("db"), "name": pulumi.String(name),
		"yaml": pulumi.NewStringAsset(yaml),
	}
}

// up registers the resource "app" with the inputs.
func (p *project) up(inputs pulumi.Map, options ...pulumi.ResourceOption) (auto.UpResult, error) {
	p.stack.Workspace().SetProgram(func(ctx *pulumi.Context) error {
		var resource pulumi.CustomResourceState
		return ctx.RegisterResource("pulumiservice:index:Environment", "app", inputs, &resource, options...)
	})
	return p.stack.Up(p.t.Context())
}

func (p *project) mustUp(inputs pulumi.Map, options ...pulumi.ResourceOption) auto.UpResult {
	p.t.Helper()
	result, err := p.up(inputs, options...)
	require.NoError(p.t, err)
	return result
}

// state is the stack's state as the backend keeps it, without white space between its tokens.
func (p *project) state() string {
	p.t.Helper()
	text, err := os.ReadFile(p.kept)
	require.NoError(p.t, err)
	var compact bytes.Buffer
	require.NoError(p.t, json.Compact(&compact, text))
	return compact.String()
}

// refresh and destroy do without the program, as the CLI does by default.

func (p *project) refresh() {
	p.t.Helper()
	p.stack.Workspace().SetProgram(nil)
	_, err := p.stack.Refresh(p.t.Context())
	require.NoError(p.t, err)
}

func (p *project) destroy() {
	p.t.Helper()
	p.stack.Workspace().SetProgram(nil)
	_, err := p.stack.Destroy(p.t.Context())
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
	p.mustUp(inputs("app", "values:\n  a: 1\n"))
	assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))
	state := p.state()
	assert.Contains(t, state, `"id":"acme/db/app"`)
	assert.Contains(t, state, `"environmentId":"`)
	assert.Contains(t, state, `"revision":2`)
	assert.Contains(t, state, `"text":"values:\n  a: 1\n"`, "the document is kept as an asset")

	again := p.mustUp(inputs("app", "values:\n  a: 1\n"))
	assert.Equal(t, map[string]int{"same": 2}, *again.Summary.ResourceChanges, "the stack and the environment")

	p.destroy()
	assert.Empty(t, p.service.Environments())
}

func TestASecretDocumentStaysSecretInTheState(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	document := inputs("app", "")
	document["yaml"] = pulumi.ToSecret(pulumi.NewStringAsset("values:\n  a:\n    fn::secret: s3cr3t-text\n"))
	p.mustUp(document)
	assert.NotContains(t, p.state(), "s3cr3t-text")
	assert.NotContains(t, p.definition("acme/db/app"), "s3cr3t-text")
	p.refresh()
	assert.NotContains(t, p.state(), "ciphertext: ")
}

func TestAnUpdateOverwritesWhatStandsThere(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(inputs("app", "values:\n  a: 1\n"))
	_, _, err := p.client.UpdateEnvironment(t.Context(), "acme", "db", "app", []byte("values:\n  edited: true\n"), "")
	require.NoError(t, err)
	p.mustUp(inputs("app", "values:\n  a: 1\n"))
	assert.Contains(t, p.definition("acme/db/app"), "edited", "no changed input, no update")
	p.mustUp(inputs("app", "values:\n  a: 2\n"))
	assert.Equal(t, "values:\n  a: 2\n", p.definition("acme/db/app"))
}

func TestARefreshReadsTheDocument(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(inputs("app", "values:\n  a: 1\n"))
	_, _, err := p.client.UpdateEnvironment(t.Context(), "acme", "db", "app", []byte("values:\n  edited: true\n"), "")
	require.NoError(t, err)
	p.refresh()
	assert.Contains(t, p.state(), "edited: true")
	ignored := p.mustUp(inputs("app", "values:\n  a: 1\n"), pulumi.IgnoreChanges([]string{"yaml"}))
	assert.Equal(t, map[string]int{"same": 2}, *ignored.Summary.ResourceChanges)
	assert.Contains(t, p.definition("acme/db/app"), "edited")
	p.mustUp(inputs("app", "values:\n  a: 1\n"))
	assert.NotContains(t, p.definition("acme/db/app"), "edited")
}

func TestARefreshThatFailsLosesTheEnvironmentFromTheState(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			p.mustUp(inputs("app", "values:\n  a: 1\n"))
			p.service.Fail(esc.Fault{Status: status})
			p.refresh()
			p.service.Recover()
			assert.NotContains(t, p.state(), "acme/db/app")

			_, err := p.up(inputs("app", "values:\n  a: 2\n"))
			assert.ErrorContains(t, err, "already exists")
			assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))

			unprotected := false
			_, err = p.stack.ImportResources(t.Context(), optimport.Protect(unprotected), optimport.GenerateCode(false),
				optimport.Resources([]*optimport.ImportResource{
					{Type: "pulumiservice:index:Environment", Name: "app", ID: "acme/db/app"},
				}))
			require.NoError(t, err)
			back := p.mustUp(inputs("app", "values:\n  a: 2\n"), pulumi.IgnoreChanges([]string{"yaml"}))
			assert.Equal(t, map[string]int{"same": 2}, *back.Summary.ResourceChanges)
			assert.Equal(t, "values:\n  a: 1\n", p.definition("acme/db/app"))
		})
	}
}

func TestANewNameDeletesTheEnvironmentFirst(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.mustUp(inputs("app", "values:\n  a: 1\n"))
	// Deletion comes first: when creation then fails, the environment is gone.
	p.service.Fail(esc.Fault{Status: http.StatusForbidden, Method: http.MethodPost})
	_, err := p.up(inputs("renamed", "values:\n  a: 1\n"))
	assert.Error(t, err)
	assert.Empty(t, p.service.Environments())
	p.service.Recover()
	p.mustUp(inputs("renamed", "values:\n  a: 1\n"))
	assert.Equal(t, []string{"acme/db/renamed"}, p.service.Environments())
}

func TestACreationThatIsCutOffLeavesAnEmptyEnvironment(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.service.Fail(esc.Fault{Status: http.StatusForbidden, Method: http.MethodPatch})
	_, err := p.up(inputs("app", "values:\n  a: 1\n"))
	assert.ErrorContains(t, err, "failed to update environment")
	p.service.Recover()
	assert.Empty(t, p.definition("acme/db/app"))
	assert.NotContains(t, p.state(), "acme/db/app")
}

func TestADocumentThatDoesNotPassTheCheckCreatesNothing(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	_, err := p.up(inputs("app", "values:\n  a: ${environments.db.missing.b}\n"))
	assert.ErrorContains(t, err, `environment "acme/db/missing" not found`)
	assert.Empty(t, p.service.Environments())
}

func TestWhatTheProviderDoesNotKnowIsRefusedByName(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	unknown := inputs("app", "values:\n  a: 1\n")
	unknown["deletionProtected"] = pulumi.Bool(true)
	_, err := p.up(unknown)
	assert.ErrorContains(t, err, `knows no property "deletionProtected"`)
	_, err = p.up(inputs("a/b", "values:\n  a: 1\n"))
	assert.ErrorContains(t, err, "illegal character")
	p.stack.Workspace().SetProgram(func(ctx *pulumi.Context) error {
		var resource pulumi.CustomResourceState
		return ctx.RegisterResource("pulumiservice:index:TeamStackPermission", "team", pulumi.Map{}, &resource)
	})
	_, err = p.stack.Up(t.Context())
	assert.ErrorContains(t, err, "has no resource pulumiservice:index:TeamStackPermission")
}

func TestGetEnvironmentTellsThatOneExists(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	require.NoError(t, p.client.CreateEnvironment(context.Background(), "acme", "db", "app"))
	var found struct {
		EnvironmentID string `pulumi:"environmentId"`
	}
	look := func(name string) error {
		p.stack.Workspace().SetProgram(func(ctx *pulumi.Context) error {
			return ctx.Invoke("pulumiservice:index:getEnvironment", map[string]any{
				"organizationName": "acme", "projectName": "db", "name": name,
			}, &found)
		})
		_, err := p.stack.Up(t.Context())
		return err
	}
	require.NoError(t, look("app"))
	assert.Len(t, strings.Split(found.EnvironmentID, "-"), 5, "a UUID")
	assert.ErrorContains(t, look("other"), "environment acme/db/other not found")
	p.service.Fail(esc.Fault{Status: http.StatusForbidden})
	assert.ErrorContains(t, look("app"), "failed to look up environment acme/db/app")
}
