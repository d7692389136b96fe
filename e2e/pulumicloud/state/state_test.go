package state_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/backend/httpstate/client"
	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
	"esc-connector-lambda-go/e2e/pulumicloud/state"
	"esc-connector-lambda-go/lambda/dbtest"
)

const adminToken, readerToken, writerToken, memberToken = "pul-admin", "pul-reader", "pul-writer", "pul-member"

// cloud is a service, and the CLI's own client as its admin.
type cloud struct {
	*client.Client

	t         *testing.T
	service   *state.Service
	directory *access.Directory
	url       string
	project   *workspace.Project
}

func start(t *testing.T, options state.Options) *cloud {
	t.Helper()
	c := &cloud{t: t, project: &workspace.Project{Name: "shop", Runtime: workspace.NewProjectRuntimeInfo("go", nil)}}
	all := func(permission access.Stack) map[string]access.Stack { return map[string]access.Stack{"*": permission} }
	c.directory = access.NewDirectory(map[string]access.User{
		adminToken:  {Name: "admin", Stacks: all(access.AdminStack)},
		writerToken: {Name: "writer", Stacks: all(access.WriteStack)},
		readerToken: {Name: "reader", Stacks: all(access.ReadStack), Lacks: []access.Scope{access.CreateStacks}},
		memberToken: {Name: "member"},
	}, "acme", "other")
	options.Directory = c.directory
	c.service = state.New(options)
	server := httptest.NewServer(c.service)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.Client = c.as(adminToken)
	return c
}

// as is the client of another user.
func (c *cloud) as(token string) *client.Client {
	return client.NewClient(c.url, token, false, diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never}))
}

func (c *cloud) stack(name string) client.StackIdentifier {
	c.t.Helper()
	id := client.StackIdentifier{Owner: "acme", Project: "shop", Stack: tokens.MustParseStackName(name)}
	_, _, err := c.CreateStack(context.Background(), id, nil, nil, nil, nil)
	require.NoError(c.t, err)
	return id
}

// lease is the token of a running update.
type lease string

func (l lease) GetToken(context.Context) (string, error) { return string(l), nil }

func (c *cloud) create(id client.StackIdentifier, kind apitype.UpdateKind) client.UpdateIdentifier {
	c.t.Helper()
	update, _, err := c.CreateUpdate(context.Background(), kind, id, c.project, nil, apitype.UpdateMetadata{}, engine.UpdateOptions{}, kind == apitype.PreviewUpdate)
	require.NoError(c.t, err)
	return update
}

func (c *cloud) begin(id client.StackIdentifier, kind apitype.UpdateKind) (client.UpdateIdentifier, lease) {
	c.t.Helper()
	update := c.create(id, kind)
	_, token, _, err := c.StartUpdate(context.Background(), update, nil)
	require.NoError(c.t, err)
	return update, lease(token)
}

func deployment(resources string) *apitype.UntypedDeployment {
	return &apitype.UntypedDeployment{Version: 3, Deployment: json.RawMessage(`{"manifest":{"time":"2026-01-01T00:00:00Z","magic":"","version":""},"resources":[` + resources + `]}`)}
}

// exported is the JSON of what an export answers.
func (c *cloud) exported(id client.StackIdentifier, version *int) string {
	c.t.Helper()
	found, err := c.ExportStackDeployment(context.Background(), id, version)
	require.NoError(c.t, err)
	return string(found.Deployment)
}

func TestAStackHasOneUpdateAtATime(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{})
	id := c.stack("dev")
	first, token := c.begin(id, apitype.UpdateUpdate)
	assert.True(t, c.service.Updating("acme/shop/dev"))

	_, _, _, err := c.StartUpdate(ctx, c.create(id, apitype.DestroyUpdate), nil)
	assert.EqualError(t, err, "[409] Conflict: Another update is currently in progress.")
	_, err = c.ImportStackDeployment(ctx, id, deployment(""))
	assert.EqualError(t, err, "[409] Conflict: Another update is currently in progress.")
	_, err = c.DeleteStack(ctx, id, true)
	assert.EqualError(t, err, "[409] Conflict: Another update is currently in progress.")
	// A preview takes no lock, and another stack has its own.
	c.begin(id, apitype.PreviewUpdate)
	c.begin(c.stack("prod"), apitype.UpdateUpdate)

	require.NoError(t, c.CompleteUpdate(ctx, first, apitype.UpdateStatusSucceeded, token))
	require.NoError(t, c.CompleteUpdate(ctx, first, apitype.UpdateStatusSucceeded, token), "a client may send it again")
	assert.False(t, c.service.Updating("acme/shop/dev"))
	second, token := c.begin(id, apitype.UpdateUpdate)

	// Who cancels it lets go of the lock, and its client fails at the next call.
	require.NoError(t, c.CancelUpdate(ctx, second))
	err = c.PatchUpdateCheckpoint(ctx, second, deployment(""), token)
	assert.EqualError(t, err, "[409] Conflict: The Update has already completed")
	assert.EqualError(t, c.CancelUpdate(ctx, second), "[409] Conflict: The Update has already completed")
	c.begin(id, apitype.RefreshUpdate)

	found, err := c.GetStack(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, 3, found.Version)
	assert.Equal(t, apitype.RefreshUpdate, found.CurrentOperation.Kind)
	history, err := c.GetStackUpdates(ctx, id, 2, 1)
	require.NoError(t, err)
	require.Len(t, history, 2)
	assert.Equal(t, []apitype.UpdateResult{apitype.InProgressResult, apitype.FailedResult}, []apitype.UpdateResult{history[0].Result, history[1].Result})
}

func TestAnUpdateWhoseLeaseRunsOutIsOver(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{})
	id := c.stack("dev")
	first, token := c.begin(id, apitype.UpdateUpdate)
	renewed, err := c.RenewUpdateLease(ctx, first, string(token), time.Minute)
	require.NoError(t, err)
	require.NoError(t, c.PatchUpdateCheckpoint(ctx, first, deployment(`{"urn":"a"}`), lease(renewed)))

	c.service.ExpireLeases()
	err = c.PatchUpdateCheckpoint(ctx, first, deployment(""), lease(renewed))
	assert.ErrorContains(t, err, "[403] The provided update token has expired.")
	_, err = c.RenewUpdateLease(ctx, first, renewed, time.Minute)
	assert.ErrorContains(t, err, "[403] The provided update token has expired.")

	second, _ := c.begin(id, apitype.UpdateUpdate)
	assert.Contains(t, c.exported(id, nil), `{"urn":"a"}`, "what it had saved is the state")
	err = c.PatchUpdateCheckpoint(ctx, second, deployment(""), lease(renewed))
	assert.ErrorContains(t, err, "login", "another update's lease opens nothing")
}

func TestAnExportAnswersTheCheckpointSoFarOrTheLastCompleteState(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{})
	id := c.stack("dev")
	assert.NotContains(t, c.exported(id, nil), "resources", "before the first update")
	update, token := c.begin(id, apitype.UpdateUpdate)
	require.NoError(t, c.PatchUpdateCheckpoint(ctx, update, deployment(`{"urn":"a"}`), token))
	require.NoError(t, c.CompleteUpdate(ctx, update, apitype.UpdateStatusSucceeded, token))

	update, token = c.begin(id, apitype.UpdateUpdate)
	assert.Contains(t, c.exported(id, nil), `{"urn":"a"}`)
	require.NoError(t, c.PatchUpdateCheckpoint(ctx, update, deployment(`{"urn":"b"}`), token))
	assert.Contains(t, c.exported(id, nil), `{"urn":"b"}`)
	c.service.Export(state.LastComplete)
	assert.Contains(t, c.exported(id, nil), `{"urn":"a"}`)
	require.NoError(t, c.CompleteUpdate(ctx, update, apitype.UpdateStatusFailed, token))
	assert.Contains(t, c.exported(id, nil), `{"urn":"b"}`, "what a failed update had saved is the state")

	first, third := 1, 3
	assert.Contains(t, c.exported(id, &first), `{"urn":"a"}`)
	_, err := c.ExportStackDeployment(ctx, id, &third)
	assert.ErrorContains(t, err, "[404]")
	_, err = c.ImportStackDeployment(ctx, id, deployment(`{"urn":"c"}`))
	require.NoError(t, err)
	assert.Contains(t, c.exported(id, &third), `{"urn":"c"}`)
}

func TestADeltaMustLeadToTheCheckpointOfItsHash(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{Form: state.Deltas})
	capabilities, err := c.GetCapabilities(ctx)
	require.NoError(t, err)
	parsed, err := capabilities.Parse()
	require.NoError(t, err)
	require.NotNil(t, parsed.DeltaCheckpointUpdates)

	id := c.stack("dev")
	update, token := c.begin(id, apitype.UpdateUpdate)
	const before, after = `{"version":3,"deployment":{"resources":[{"urn":"a"}]}}`, `{"version":3,"deployment":{"resources":[{"urn":"bb"}]}}`
	require.NoError(t, c.PatchUpdateCheckpointVerbatim(ctx, update, 1, json.RawMessage(before), 3, token))
	// What differs stands here. Done twice, the change would lead elsewhere.
	offset := bytes.Index([]byte(before), []byte(`"a"`)) + 1
	delta := json.RawMessage(fmt.Sprintf(`[{"Span":{"uri":"","start":{"line":1,"column":0,"offset":%d},"end":{"line":1,"column":0,"offset":%d}},"NewText":"bb"}]`, offset, offset+1))
	hash := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

	assert.ErrorContains(t, c.PatchUpdateCheckpointDelta(ctx, update, 2, hash(before), delta, 3, token), "[409]")
	assert.Contains(t, c.exported(id, nil), `"urn":"a"`)
	require.NoError(t, c.PatchUpdateCheckpointDelta(ctx, update, 2, hash(after), delta, 3, token))
	require.NoError(t, c.PatchUpdateCheckpointDelta(ctx, update, 2, hash(after), delta, 3, token), "a client may send it again")
	assert.JSONEq(t, `{"resources":[{"urn":"bb"}]}`, c.exported(id, nil))
}

func TestEachStackHasAKeyOfItsOwn(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{})
	dev, prod := c.stack("dev"), c.stack("prod")
	ciphertext, err := c.EncryptValue(ctx, dev, []byte("s3cr3t"))
	require.NoError(t, err)
	assert.NotContains(t, string(ciphertext), "s3cr3t")
	again, err := c.BatchEncrypt(ctx, dev, [][]byte{[]byte("s3cr3t"), {}})
	require.NoError(t, err)
	assert.NotEqual(t, ciphertext, again[0], "equal secrets do not look equal")

	plaintext, err := c.DecryptValue(ctx, dev, ciphertext)
	require.NoError(t, err)
	assert.Equal(t, "s3cr3t", string(plaintext))
	all, err := c.BatchDecryptValue(ctx, dev, again)
	require.NoError(t, err)
	assert.Len(t, all, 2)
	_, err = c.DecryptValue(ctx, prod, ciphertext)
	assert.ErrorContains(t, err, "[400]")
}

func TestWhatAUserMayDoWithAStackIsByPermission(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{})
	id := c.stack("dev")
	_, _, _, err := c.as(readerToken).GetPulumiAccountDetails(ctx)
	require.NoError(t, err)
	_, err = c.as(readerToken).ExportStackDeployment(ctx, id, nil)
	require.NoError(t, err)
	_, _, err = c.as(readerToken).CreateUpdate(ctx, apitype.UpdateUpdate, id, c.project, nil, apitype.UpdateMetadata{}, engine.UpdateOptions{}, false)
	assert.ErrorContains(t, err, "[403] Forbidden: reader lacks the write permission on stack 'acme/shop/dev'")
	_, err = c.as(writerToken).DeleteStack(ctx, id, false)
	assert.ErrorContains(t, err, "[403] Forbidden: writer lacks the admin permission on stack 'acme/shop/dev'")
	_, _, err = c.as(readerToken).CreateStack(ctx, client.StackIdentifier{Owner: "acme", Project: "shop", Stack: tokens.MustParseStackName("mine")}, nil, nil, nil, nil)
	assert.ErrorContains(t, err, "[403]")

	// What a member may not read is not there for him, but for what he makes himself.
	member := c.as(memberToken)
	_, err = member.GetStack(ctx, id)
	assert.EqualError(t, err, "[404] Not Found: Stack 'acme/shop/dev' not found")
	exists, err := member.DoesProjectExist(ctx, "acme", "shop")
	require.NoError(t, err)
	assert.False(t, exists)
	_, _, err = member.CreateStack(ctx, client.StackIdentifier{Owner: "acme", Project: "shop", Stack: tokens.MustParseStackName("mine")}, nil, nil, nil, nil)
	require.NoError(t, err)
	stacks, _, err := member.ListStacks(ctx, client.ListStacksFilter{}, nil)
	require.NoError(t, err)
	require.Len(t, stacks, 1)
	assert.Equal(t, "mine", stacks[0].StackName)

	update, token := c.begin(id, apitype.UpdateUpdate)
	c.directory.Revoke(adminToken)
	_, err = c.GetStack(ctx, id)
	assert.ErrorContains(t, err, "login")
	require.NoError(t, c.CompleteUpdate(ctx, update, apitype.UpdateStatusSucceeded, token), "a lease is no access token")
}

func TestAnOutageEndsWhenTheServiceRecovers(t *testing.T) {
	ctx, c := context.Background(), start(t, state.Options{})
	id := c.stack("dev")
	update, token := c.begin(id, apitype.UpdateUpdate)
	c.service.Fail(rest.Fault{Status: http.StatusServiceUnavailable, Path: "/checkpoint", Times: 1})
	require.NoError(t, c.PatchUpdateCheckpoint(ctx, update, deployment(`{"urn":"a"}`), token), "the client tries again")
	assert.Contains(t, c.exported(id, nil), `{"urn":"a"}`)
}

// pulumi runs the real CLI in a folder.
func (c *cloud) pulumi(folder string, arguments ...string) (string, error) {
	c.t.Helper()
	path, err := exec.LookPath("pulumi")
	if err != nil {
		cache, err := dbtest.CacheFolder()
		require.NoError(c.t, err)
		path = filepath.Join(cache, "bin", "pulumi")
		require.FileExists(c.t, path, "the Pulumi CLI is not on PATH, and not built: run `make test`")
	}
	command := exec.Command(path, append(arguments, "--color", "never", "--non-interactive")...)
	command.Dir = folder
	command.Env = []string{
		"HOME=" + folder, "PULUMI_HOME=" + filepath.Join(folder, ".pulumi"), "PATH=" + os.Getenv("PATH"),
		"PULUMI_ACCESS_TOKEN=" + adminToken, "PULUMI_SKIP_UPDATE_CHECK=true",
	}
	out, err := command.CombinedOutput()
	return string(out), err
}

func TestThePulumiCLIWorksWithTheService(t *testing.T) {
	t.Parallel()
	c, folder := start(t, state.Options{}), t.TempDir()
	run := func(arguments ...string) string {
		t.Helper()
		output, err := c.pulumi(folder, arguments...)
		require.NoError(t, err, output)
		return output
	}
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("Pulumi.yaml", "name: shop\nruntime: go\n")

	assert.Contains(t, run("login", c.url), "as admin")
	run("stack", "init", "dev")
	output, err := c.pulumi(folder, "stack", "init", "acme/dev")
	assert.Error(t, err)
	assert.Contains(t, output, "stack 'acme/shop/dev' already exists")

	run("config", "set", "--secret", "password", "s3cr3t-text")
	settings, err := os.ReadFile(filepath.Join(folder, "Pulumi.dev.yaml"))
	require.NoError(t, err)
	assert.NotContains(t, string(settings), "s3cr3t-text")
	assert.NotContains(t, string(settings), "encryptionsalt", "the service keeps the key")
	assert.Contains(t, run("config", "get", "password"), "s3cr3t-text")

	const resource = `{"urn":"urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev","custom":false,"type":"pulumi:pulumi:Stack","outputs":{"answer":"42"}}`
	file := write("state.json", fmt.Sprintf(`{"version":3,"deployment":%s}`, deployment(resource).Deployment))
	assert.Contains(t, run("stack", "import", "--file", file), "Import complete.")
	assert.Contains(t, run("stack", "export"), `"answer": "42"`)
	assert.Equal(t, "42\n", run("stack", "output", "answer"))
	assert.Contains(t, run("stack", "history"), "UpdateKind: import")
	run("stack", "tag", "set", "team", "orders")
	assert.Contains(t, run("stack", "tag", "ls"), "orders")
	assert.Contains(t, run("stack", "ls"), "dev*")

	output, err = c.pulumi(folder, "stack", "rm", "dev", "--yes")
	assert.Error(t, err)
	assert.Contains(t, output, "still has resources")
	run("stack", "rename", "acme/shop/prod")
	assert.Contains(t, run("stack", "export"), "urn:pulumi:prod::shop::")
	output, err = c.pulumi(folder, "cancel", "--yes")
	assert.Error(t, err)
	assert.Contains(t, output, "[409] Conflict: The Update has already completed")
	run("stack", "rm", "prod", "--yes", "--force")
	assert.NotContains(t, run("stack", "ls", "--all"), "prod")
	assert.Empty(t, c.service.Unserved())
}
