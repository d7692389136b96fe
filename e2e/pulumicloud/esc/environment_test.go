package esc_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

func TestSecretsAreEncryptedAtRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("db", "app", "values:\n  # keep me\n  token: # and me\n    fn::secret: s3cr3t-text\n")
	kept, revision, exists := w.service.Definition("acme/db/app")
	require.True(t, exists)
	assert.Equal(t, 2, revision, "the first revision is the empty document")
	assert.NotContains(t, kept, "s3cr3t-text")
	assert.Contains(t, kept, "ciphertext: ZXNjeA", "the envelope begins with escx")
	assert.Contains(t, kept, "# keep me")
	assert.Contains(t, kept, "# and me")

	c := w.client(adminToken)
	encrypted, _, _, err := c.GetEnvironment(context.Background(), org, "db", "app", "", false)
	require.NoError(t, err)
	assert.Equal(t, kept, string(encrypted))
	decrypted, _, _, err := c.GetEnvironment(context.Background(), org, "db", "app", "", true)
	require.NoError(t, err)
	assert.Contains(t, string(decrypted), "fn::secret: s3cr3t-text")

	// What was read encrypted may be written back as it is.
	_, _, err = c.UpdateEnvironment(context.Background(), org, "db", "app", encrypted, "")
	require.NoError(t, err)
	values, _, err := w.open(adminToken, "db", "app")
	require.NoError(t, err)
	assert.JSONEq(t, `{"token":"s3cr3t-text"}`, values)
}

func TestABrokenDocumentIsNotWritten(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, yaml, want string }{
		{"no such environment", "values:\n  a: ${environments.db.missing.b}\n", `environment "acme/db/missing" not found`},
		{"no such property", "values:\n  a: ${b}\n", `unknown property "b"`},
		{"no such provider", "values:\n  a:\n    fn::open::gcp-login: {}\n", `unknown provider "gcp-login"`},
		{"no such rotator", "values:\n  a:\n    fn::rotate::oracle:\n      inputs: {}\n", `unknown rotator "oracle"`},
		{"a rotator without users", "values:\n  a:\n    fn::rotate::postgres:\n      inputs: {}\n", "rotateUsers"},
		{"a port that is a string", strings.Replace(
			rotatorDocument("mysql", "arn:aws:lambda:eu-west-1:100000000000:function:f", ".db.managing"), "5432", "'5432'", 1), "expected number"},
		{"a dot in a name, unquoted", "values:\n  a: ${environments.db.with.dot.managingUser}\n", `environment "acme/db/with" not found`},
		{"not YAML", "values: [\n", "did not find expected node content"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("db", "managing", loginDocument("arn:aws:iam::100000000000:role/any"))
			w.write("db", "with.dot", loginDocument("arn:aws:iam::100000000000:role/any"))
			w.write("db", "app", "values:\n  a: 1\n")
			c := w.client(adminToken)
			_, diagnostics, err := c.CheckYAMLEnvironment(context.Background(), org, []byte(test.yaml))
			require.NoError(t, err)
			require.NotEmpty(t, diagnostics)
			assert.Contains(t, diagnostics[0].Summary, test.want)
			diagnostics, _, err = c.UpdateEnvironment(context.Background(), org, "db", "app", []byte(test.yaml), "")
			require.NoError(t, err)
			require.NotEmpty(t, diagnostics)
			assert.Contains(t, diagnostics[0].Summary, test.want)
			kept, revision, _ := w.service.Definition("acme/db/app")
			assert.Equal(t, "values:\n  a: 1\n", kept)
			assert.Equal(t, 2, revision)
		})
	}
}

func TestNamesWithDotsAndHyphensAreReachedInBrackets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registerProvider("aws:" + org)
	w.createRole("invocation", w.trust("aws:"+org,
		"pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:my.project/my-env.Creds"))
	w.putPolicy("invocation", allowInvoke(w.functionARN()))
	w.write("my.project", "my-env.Creds", loginDocument(w.roleARN("invocation")))
	w.write("my.project", "my-env", rotatorDocument("mysql", w.functionARN(), `["my.project"]["my-env.Creds"]`))
	event, diagnostics, err := w.rotate(adminToken, "my.project", "my-env")
	require.NoError(t, err)
	require.Empty(t, diagnostics)
	assert.Equal(t, client.RotationEventSucceeded, event.Status)
	require.Len(t, w.events, 1)
	assert.Contains(t, w.events[0], `"type":"mysql"`)
}

func TestAnEtagGuardsWhatSomebodyElseWrote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("db", "app", "values:\n  a: 1\n")
	c := w.client(adminToken)
	_, etag, revision, err := c.GetEnvironment(context.Background(), org, "db", "app", "", false)
	require.NoError(t, err)
	_, decryptedEtag, _, err := c.GetEnvironment(context.Background(), org, "db", "app", "", true)
	require.NoError(t, err)
	assert.Equal(t, etag, decryptedEtag)

	_, next, err := c.UpdateEnvironment(context.Background(), org, "db", "app", []byte("values:\n  a: 2\n"), etag)
	require.NoError(t, err)
	assert.Equal(t, revision+1, next)
	_, _, err = c.UpdateEnvironment(context.Background(), org, "db", "app", []byte("values:\n  a: 3\n"), etag)
	require.Error(t, err)
	var refused *client.EnvironmentErrorResponse
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusConflict, refused.Code)
	kept, _, _ := w.service.Definition("acme/db/app")
	assert.Equal(t, "values:\n  a: 2\n", kept)
}

func TestAnUpdateWithoutAnEtagOverwritesARotatedState(t *testing.T) {
	t.Parallel()
	w := connected(t)
	_, _, err := w.rotate(adminToken, "db", "rotator")
	require.NoError(t, err)
	rotated, _, _ := w.service.Definition("acme/db/rotator")
	require.Contains(t, rotated, "state:")
	_, _, err = w.client(adminToken).UpdateEnvironment(context.Background(), org, "db", "rotator",
		[]byte(rotatorDocument("postgres", w.functionARN(), ".db.managing")), "")
	require.NoError(t, err)
	kept, _, _ := w.service.Definition("acme/db/rotator")
	assert.NotContains(t, kept, "state:")
}

func TestWhatAUserMayDoIsByPermission(t *testing.T) {
	t.Parallel()
	w := connected(t)
	_, _, err := w.rotate(adminToken, "db", "rotator")
	require.NoError(t, err)
	reader := w.client(readerToken)

	// Opening what was rotated takes no access to the managing credentials.
	values, diagnostics, err := w.open(readerToken, "db", "rotator")
	require.NoError(t, err)
	assert.Empty(t, diagnostics)
	assert.Contains(t, values, `"username":"user1"`)

	_, _, _, err = reader.GetEnvironment(context.Background(), org, "db", "managing", "", false)
	assert.ErrorContains(t, err, "not found", "what a user has no permission for is not visible")
	_, _, err = w.open(readerToken, "db", "managing")
	assert.ErrorContains(t, err, "not found")
	_, diagnostics, err = reader.CheckYAMLEnvironment(context.Background(), org, []byte("values:\n  a: ${environments.db.managing.managingUser}\n"))
	require.NoError(t, err)
	assert.NotEmpty(t, diagnostics, "an import is no way around that")
	ciphertext, _, _ := w.service.Definition("acme/db/managing")
	_, diagnostics, err = reader.CheckYAMLEnvironment(context.Background(), org, []byte(ciphertext), client.CheckYAMLOption{ShowSecrets: true})
	require.NoError(t, err)
	assert.NotEmpty(t, diagnostics, "and neither is its ciphertext")
	_, diagnostics, err = reader.OpenYAMLEnvironment(context.Background(), org, []byte(ciphertext), time.Hour)
	require.NoError(t, err)
	assert.NotEmpty(t, diagnostics)
	_, _, err = w.rotate(readerToken, "db", "rotator")
	assert.ErrorContains(t, err, "Forbidden")
	_, _, err = reader.UpdateEnvironment(context.Background(), org, "db", "rotator", []byte("values: {}\n"), "")
	assert.ErrorContains(t, err, "Forbidden")
	assert.ErrorContains(t, reader.DeleteEnvironment(context.Background(), org, "db", "rotator"), "Forbidden")
	environments, _, err := reader.ListEnvironments(context.Background(), "")
	require.NoError(t, err)
	assert.Equal(t, []client.OrgEnvironment{{Organization: org, Project: "db", Name: "rotator"}}, environments)

	_, _, _, err = w.client("pul-unknown").GetEnvironment(context.Background(), org, "db", "rotator", "", false)
	assert.ErrorContains(t, err, "Unauthorized")
}

func TestImportsAreMergedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("default", "legacy", "values:\n  a: legacy\n  b: legacy\n")
	w.write("db", "base", "values:\n  b: base\n  secret:\n    fn::secret: s3cr3t-text\n")
	_, _, err := w.client(adminToken).UpdateEnvironment(context.Background(), org, "db", "base", []byte("values:\n  b: newer\n"), "")
	require.NoError(t, err)
	w.write("db", "app", "imports:\n  - legacy\n  - db/base@2\nvalues:\n  c: ${secret}\n")
	values, diagnostics, err := w.open(adminToken, "db", "app")
	require.NoError(t, err)
	require.Empty(t, diagnostics)
	assert.JSONEq(t, `{"a":"legacy","b":"base","secret":"s3cr3t-text","c":"s3cr3t-text"}`, values)
}

func TestAnEnvironmentIsMadeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(adminToken)
	require.NoError(t, c.CreateEnvironment(context.Background(), org, "db", "app"))
	assert.ErrorContains(t, c.CreateEnvironment(context.Background(), org, "db", "app"), "already exists")
	assert.ErrorContains(t, c.CreateEnvironment(context.Background(), org, "db", "a b"), "may only hold")
	assert.ErrorContains(t, c.CreateEnvironment(context.Background(), "nobody", "db", "app"), "not found")
	yaml, _, revision, err := c.GetEnvironment(context.Background(), org, "db", "app", "", false)
	require.NoError(t, err)
	assert.Empty(t, yaml)
	assert.Equal(t, 1, revision)
	require.NoError(t, c.DeleteEnvironment(context.Background(), org, "db", "app"))
	assert.ErrorContains(t, c.DeleteEnvironment(context.Background(), org, "db", "app"), "not found")
	assert.Empty(t, w.service.Environments())
}

func TestFaultsStrikeWhereTheyAreSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("db", "app", "values:\n  a: 1\n")
	status := func(method, path string) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, w.url+"/api/esc/environments/acme"+path, nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "token "+adminToken)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	w.service.Fail(rest.Fault{Status: http.StatusInternalServerError, Method: http.MethodGet, Path: "/db/app", After: 1, Times: 2})
	var got []int
	for range 4 {
		got = append(got, status(http.MethodGet, "/db/app"))
	}
	assert.Equal(t, []int{200, 500, 500, 200}, got)
	w.service.Fail(rest.Fault{Status: http.StatusForbidden, Path: "/db/"})
	assert.Equal(t, http.StatusForbidden, status(http.MethodDelete, "/db/app"))
	assert.Equal(t, http.StatusOK, status(http.MethodGet, ""))
	w.service.Recover()
	assert.Equal(t, http.StatusOK, status(http.MethodGet, "/db/app"))

	w.service.Fail(rest.Fault{Method: http.MethodGet, Path: "/db/app"})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/esc/environments/acme/db/app", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		require.NoError(t, response.Body.Close())
	}
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestWhatIsNotServedSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("db", "app", "values:\n  a: 1\n")
	_, err := w.client(adminToken).GetEnvironmentSettings(context.Background(), org, "db", "app")
	assert.ErrorContains(t, err, "does not serve GET /api/esc/environments/acme/db/app/settings")
	err = w.client(adminToken).CloneEnvironment(context.Background(), org, "db", "app", client.CloneEnvironmentRequest{Name: "b"})
	assert.ErrorContains(t, err, "does not serve POST")
}
