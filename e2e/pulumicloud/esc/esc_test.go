package esc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/moto"
	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/esc"
)

const (
	org = "acme"

	adminToken  = "pul-admin"
	readerToken = "pul-reader"
)

// motoURL is where the moto server is that the tests of this package share. Each
// test has an AWS account of its own in it.
var motoURL string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "esc-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		server, err := moto.Start(context.Background(), filepath.Join(folder, "moto.log"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		motoURL = server.URL
		status := m.Run()
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping moto:", err)
			return 1
		}
		return status
	}())
}

// world is an ESC service and its AWS account: moto, and a connector that records its events.
type world struct {
	t       *testing.T
	service *esc.Service
	url     string
	account string
	iam     *iam.Client
	now     atomic.Pointer[time.Time]

	mu        sync.Mutex
	events    []string
	answers   []string // of the next invocations; then {"code":200,"message":"ok"}
	failure   string   // X-Amz-Function-Error of all invocations
	onInvoke  func()
	invokedBy []string // access key ids
}

var accounts atomic.Int64

func newWorld(t *testing.T, changes ...func(*esc.Options)) *world {
	t.Helper()
	w := &world{t: t, account: fmt.Sprintf("1000000%05d", accounts.Add(1))}
	target, err := url.Parse(motoURL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Set("x-moto-account-id", w.account)
	}}
	gateway := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if strings.HasSuffix(request.URL.Path, "/invocations") {
			w.invoke(response, request)
			return
		}
		proxy.ServeHTTP(response, request)
	}))
	t.Cleanup(gateway.Close)

	server := httptest.NewUnstartedServer(nil)
	w.url = "http://" + server.Listener.Addr().String()
	options := esc.Options{
		BackendURL: w.url,
		Directory: access.NewDirectory(map[string]access.User{
			adminToken:  {Name: "admin", Environments: map[string]access.Environment{"*": access.AdminEnvironment}},
			readerToken: {Name: "reader", Environments: map[string]access.Environment{org + "/db/rotator": access.OpenEnvironment}},
		}, org, "other"),
		AWSEndpoint: gateway.URL,
		Now: func() time.Time {
			if now := w.now.Load(); now != nil {
				return *now
			}
			return time.Now()
		},
	}
	for _, change := range changes {
		change(&options)
	}
	w.service, err = esc.New(options)
	require.NoError(t, err)
	server.Config.Handler = w.service
	server.Start()
	t.Cleanup(server.Close)
	w.iam = iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: &gateway.URL,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	return w
}

// invoke plays the Lambda service and the connector.
func (w *world) invoke(response http.ResponseWriter, request *http.Request) {
	event, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, string(event))
	key, _, _ := strings.Cut(strings.TrimPrefix(request.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="), "/")
	w.invokedBy = append(w.invokedBy, key)
	if w.onInvoke != nil {
		w.onInvoke()
	}
	if w.failure != "" {
		response.Header().Set("X-Amz-Function-Error", w.failure)
	}
	text := `{"code":200,"message":"ok"}`
	if len(w.answers) > 0 {
		text, w.answers = w.answers[0], w.answers[1:]
	}
	_, _ = io.WriteString(response, text)
}

// will sets the answers of the connector's next invocations.
func (w *world) will(answers ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers = answers
}

func (w *world) client(token string) client.Client {
	return client.New("test", w.url, token, false)
}

// write makes an environment of org with the document, as the administrator.
func (w *world) write(project, name, yaml string) {
	w.t.Helper()
	c := w.client(adminToken)
	require.NoError(w.t, c.CreateEnvironment(context.Background(), org, project, name))
	diagnostics, _, err := c.UpdateEnvironment(context.Background(), org, project, name, []byte(yaml), "")
	require.NoError(w.t, err)
	require.Empty(w.t, diagnostics)
}

// open opens an environment of org and answers its values as JSON.
func (w *world) open(token, project, name string) (values string, diagnostics []client.EnvironmentDiagnostic, err error) {
	c := w.client(token)
	session, diagnostics, err := c.OpenEnvironment(context.Background(), org, project, name, "", time.Hour)
	if err != nil || len(diagnostics) > 0 {
		return "", diagnostics, err
	}
	opened, err := c.GetOpenEnvironment(context.Background(), org, project, name, session)
	if err != nil {
		return "", nil, err
	}
	plain := map[string]any{}
	for key, value := range opened.Properties {
		plain[key] = value.ToJSON(false)
	}
	text, err := json.Marshal(plain)
	return string(text), nil, err
}

func (w *world) roleARN(name string) string { return "arn:aws:iam::" + w.account + ":role/" + name }

func (w *world) functionARN() string {
	return "arn:aws:lambda:eu-west-1:" + w.account + ":function:connector"
}

// issuer is the part of the issuer's URL that trust policies name.
func (w *world) issuer() string { return strings.TrimPrefix(w.url, "http://") + "/oidc" }

func (w *world) providerARN() string {
	return "arn:aws:iam::" + w.account + ":oidc-provider/" + w.issuer()
}

func (w *world) registerProvider(audiences ...string) {
	w.t.Helper()
	_, err := w.iam.CreateOpenIDConnectProvider(context.Background(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(w.url + "/oidc"), ClientIDList: audiences, ThumbprintList: []string{strings.Repeat("0", 40)},
	})
	require.NoError(w.t, err)
}

func (w *world) createRole(name, trust string) {
	w.t.Helper()
	_, err := w.iam.CreateRole(context.Background(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	require.NoError(w.t, err)
}

func (w *world) putPolicy(role, document string) {
	w.t.Helper()
	_, err := w.iam.PutRolePolicy(context.Background(), &iam.PutRolePolicyInput{
		RoleName: &role, PolicyName: aws.String("invoke"), PolicyDocument: &document,
	})
	require.NoError(w.t, err)
}

// trust is a role trust policy as the connector's program writes it.
func (w *world) trust(audience, subject string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
		"Principal": {"Federated": %q},
		"Condition": {"StringEquals": {"%s:aud": %q}, "StringLike": {"%s:sub": %q}}}]}`,
		w.providerARN(), w.issuer(), audience, w.issuer(), subject)
}

func allowInvoke(resource string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Action": ["lambda:GetFunction", "lambda:InvokeFunction"], "Resource": %q}]}`, resource)
}

func loginDocument(roleARN string) string {
	return fmt.Sprintf(`values:
  managingUser:
    username: managing_user
    password:
      fn::secret: manager's password
  awsLogin:
    fn::open::aws-login:
      oidc:
        duration: 1h
        roleArn: %s
        sessionName: pulumi-esc-secret-rotator
        subjectAttributes:
          - currentEnvironment.name
`, roleARN)
}

func rotatorDocument(engine, functionARN, managing string) string {
	return fmt.Sprintf(`values:
  # the application's database
  dbRotator:
    fn::rotate::%s:
      inputs:
        database:
          connector:
            awsLambda:
              login: ${environments%s.awsLogin}
              lambdaArn: %s
          database: rotator_db
          host: db.example
          port: 5432
          managingUser: ${environments%s.managingUser}
        rotateUsers:
          username1: user1
          username2: user2
`, engine, managing, functionARN, managing)
}

// connected is a world where a rotation of db/rotator succeeds.
func connected(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.registerProvider("aws:" + org)
	w.createRole("invocation", w.trust("aws:"+org,
		"pulumi:environments:pulumi.organization.login:acme:currentEnvironment.name:db/managing"))
	w.putPolicy("invocation", allowInvoke(w.functionARN()))
	w.write("db", "managing", loginDocument(w.roleARN("invocation")))
	w.write("db", "rotator", rotatorDocument("postgres", w.functionARN(), ".db.managing"))
	return w
}

func (w *world) rotate(token, project, name string) (*client.SecretRotationEvent, []client.EnvironmentDiagnostic, error) {
	response, diagnostics, err := w.client(token).RotateEnvironment(context.Background(), org, project, name, nil)
	if response == nil {
		return nil, diagnostics, err
	}
	return &response.SecretRotationEvent, diagnostics, err
}
