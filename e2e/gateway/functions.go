package gateway

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"esc-connector-lambda-go/e2e/ec2"
	"esc-connector-lambda-go/e2e/policy"
)

// Lambda's quotas, from the AWS manual's "Lambda quotas" and the API reference of VpcConfig.
const (
	maxSubnets        = 16
	maxSecurityGroups = 5
	maxPayload        = 6 << 20 // of an event, and of an answer
)

// vpcActions are what the Lambda service does in the function's VPC with the
// execution role, from the AWS manual's "Giving Lambda functions access to
// resources in an Amazon VPC".
var vpcActions = []string{
	"ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
	"ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses",
}

// configuration is the part of a function that the gateway needs.
type configuration struct {
	FunctionName  string
	Role          string
	Timeout       int
	MemorySize    int
	Environment   struct{ Variables map[string]string }
	LoggingConfig json.RawMessage `json:",omitempty"`
	VpcConfig     network
	Architectures []string
}

type network struct {
	SubnetIds               []string
	SecurityGroupIds        []string
	Ipv6AllowedForDualStack bool
	VpcId                   string `json:",omitempty"`
}

type function struct {
	configuration
	code
	made         made
	lastModified string
	arn          string
	region       string
	folder       string
	// grantee is the execution role for which Lambda may decrypt the variables, see [functions.mayRun].
	grantee string
	status  status
	// next is what status becomes, one at each look.
	next []status
	// published are its versions, from the first on.
	published []*function
	reserved  *concurrency // nil: as many as the account's limit lets run

	mu      sync.Mutex
	idle    []*worker
	running map[*worker]bool
}

// made is what runs: the code and the configuration of the last change that went well.
type made struct {
	configuration
	folder string
}

type functions struct {
	gateway *Gateway
	signing *signing

	mu    sync.Mutex
	byKey map[string]*function
	// held are security groups that interfaces still hold which their functions have left.
	held     map[string]*holder
	roles    map[string]int // how often Lambda was asked about a role, by the role's unique ID
	versions int
	// What is played, see the Gateway's Throttle, LoseAnswer, RefuseCode, RefuseFunction, TrustPublicCAs, HoldInterfaces and FailInterfaces.
	throttled, loseAnswer, refuseCode, refuseNew, publicCAs, holding atomic.Bool
	failure                                                          atomic.Pointer[failure]
}

func newFunctions(g *Gateway) *functions {
	f := &functions{gateway: g, byKey: map[string]*function{}, held: map[string]*holder{}, roles: map[string]int{}}
	f.signing = newSigning(f)
	return f
}

// close ends all processes.
func (f *functions) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, function := range f.byKey {
		function.stop()
	}
}

func (f *functions) idle(name string) error {
	function := f.find(functionName(name))
	if function == nil {
		return fmt.Errorf("making function %s idle: no such function", name)
	}
	function.stop()
	f.mu.Lock()
	function.status = status{State: "Inactive"}
	f.mu.Unlock()
	return nil
}

var lambdaPath = regexp.MustCompile(`^/\d{4}-\d{2}-\d{2}/functions/?(?:([^/]+)(?:/([a-z-]+)(?:/[^/]+)?)?)?/?$`)

func lambdaAction(r *http.Request) string {
	if action, _ := signingConfigAction(r); action != "" {
		return action
	}
	match := lambdaPath.FindStringSubmatch(r.URL.EscapedPath())
	if match == nil {
		return r.Method + " " + r.URL.Path
	}
	switch r.Method + " " + match[2] {
	case "POST ":
		return "CreateFunction"
	case "GET ":
		if match[1] == "" {
			return "ListFunctions"
		}
		return "GetFunction"
	case "DELETE ":
		return "DeleteFunction"
	case "PUT code":
		return "UpdateFunctionCode"
	case "PUT configuration":
		return "UpdateFunctionConfiguration"
	case "GET configuration":
		return "GetFunctionConfiguration"
	case "GET versions":
		return "ListVersionsByFunction"
	case "POST versions":
		return "PublishVersion"
	case "POST invocations":
		return "InvokeFunction"
	case "POST policy":
		return "AddPermission"
	case "GET policy":
		return "GetPolicy"
	case "DELETE policy":
		return "RemovePermission"
	case "PUT concurrency":
		return "PutFunctionConcurrency"
	case "DELETE concurrency":
		return "DeleteFunctionConcurrency"
	default:
		return r.Method + " " + match[2]
	}
}

// functionName takes the name out of a name, an ARN or a partial ARN.
func functionName(reference string) string {
	decoded, err := url.PathUnescape(reference)
	if err != nil {
		return reference
	}
	if _, after, isARN := strings.Cut(decoded, ":function:"); isARN {
		decoded = after
	}
	name, _, _ := strings.Cut(decoded, ":")
	return name
}

func (f *functions) find(name string) *function {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byKey[name]
}

func (f *functions) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	name := ""
	if match := lambdaPath.FindStringSubmatch(r.URL.EscapedPath()); match != nil {
		name = functionName(match[1])
	}
	if action, _ := signingConfigAction(r); action != "" {
		f.signing.serveConfigs(w, r, body)
		return
	}
	if strings.Contains(r.URL.Path, "/tags/arn:") && strings.Contains(r.URL.Path, ":code-signing-config:") {
		f.signing.serveTags(w, r, body)
		return
	}
	switch action := lambdaAction(r); action {
	case "CreateFunction":
		f.create(w, r, body)
	case "UpdateFunctionCode":
		f.updateCode(w, r, name, body)
	case "UpdateFunctionConfiguration":
		f.updateConfiguration(w, r, name, body)
	case "DeleteFunction":
		f.delete(w, r, name)
	case "InvokeFunction":
		f.invoke(w, r, name, body)
	case "AddPermission":
		f.addPermission(w, r, name, body)
	case "GetFunction", "GetFunctionConfiguration":
		known := f.find(name)
		f.forward(w, r, f.version(known, r.URL.Query().Get("Qualifier")))
		f.look(known)
	case "PublishVersion":
		f.publish(w, r, f.find(name))
	case "PutFunctionConcurrency", "DeleteFunctionConcurrency":
		f.reserve(w, r, f.find(name), body)
	default:
		f.gateway.moto.ServeHTTP(w, r)
	}
}

// forward lets moto answer, and adds what moto does not keep of known. It
// answers whether moto was content.
func (f *functions) forward(w http.ResponseWriter, r *http.Request, known *function) bool {
	recorder := httptest.NewRecorder()
	f.gateway.moto.ServeHTTP(recorder, r)
	body := recorder.Body.Bytes()
	ok := recorder.Code < 300
	if ok && known != nil && len(body) > 0 {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err == nil {
			target := answer
			if nested, is := answer["Configuration"].(map[string]any); is {
				target = nested
			}
			f.mu.Lock()
			known.tell(target)
			if target["FunctionName"] != nil && known.reserved != nil {
				answer["Concurrency"] = known.reserved
			}
			f.mu.Unlock()
			if encoded, err := json.Marshal(answer); err == nil {
				body = encoded
			}
		}
	}
	for key, values := range recorder.Header() {
		if key != "Content-Length" {
			w.Header()[key] = values
		}
	}
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(body)
	return ok
}

func regionOf(r *http.Request) string {
	parts := strings.Split(r.Header.Get("Authorization"), "/")
	if len(parts) > 2 {
		return parts[2]
	}
	return "us-east-1"
}

func (f *functions) create(w http.ResponseWriter, r *http.Request, body []byte) {
	if f.refuseNew.Swap(false) {
		lambdaError(w, http.StatusBadRequest, "CodeStorageExceededException", "Code storage limit exceeded.")
		return
	}
	var request struct {
		configuration
		CodeSigningConfigArn string
	}
	if err := json.Unmarshal(body, &request); err != nil {
		lambdaError(w, http.StatusBadRequest, "InvalidRequestContentException", err.Error())
		return
	}
	function := &function{
		configuration: request.configuration, region: regionOf(r), running: map[*worker]bool{},
	}
	if f.find(function.FunctionName) != nil {
		lambdaError(w, http.StatusConflict, "ResourceConflictException", "Function already exist: "+function.FunctionName)
		return
	}
	if function.Timeout == 0 {
		function.Timeout = 3
	}
	if function.MemorySize == 0 {
		function.MemorySize = 128
	}
	var err error
	if function.grantee, err = f.check(r.Context(), function); err != nil {
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
		return
	}
	folder, accepted, ok := f.accept(w, r, body, function.FunctionName, "Code", request.CodeSigningConfigArn)
	if !ok {
		return
	}
	function.folder, function.code = folder, accepted
	function.arn = fmt.Sprintf("arn:%s:lambda:%s:%s:function:%s",
		partition(function.region), function.region, f.gateway.options.Account, function.FunctionName)
	f.creates(function)
	if f.forward(w, r, function) {
		f.mu.Lock()
		f.byKey[function.FunctionName] = function
		f.mu.Unlock()
		f.signing.attach(function.FunctionName, request.CodeSigningConfigArn)
	}
}

// accept takes the code of a call, if its signature is trusted as far as that is asked for, and unpacks it. The call is one
// for moto then. Where it answers false, it has refused the call.
func (f *functions) accept(
	w http.ResponseWriter, r *http.Request, body []byte, name, under, signingConfig string,
) (folder string, accepted code, ok bool) {
	content, bucket, key, rewritten, err := f.signing.inline(r, body, under)
	if err == nil {
		if err := f.signing.check(signingConfig, content, bucket != ""); err != nil {
			lambdaError(w, http.StatusBadRequest, "CodeVerificationFailedException", err.Error())
			return "", code{}, false
		}
		folder, err = f.unpack(name, content)
	}
	if err != nil {
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
		return "", code{}, false
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(rewritten)), int64(len(rewritten))
	r.Header.Set("Content-Length", strconv.Itoa(len(rewritten)))
	digest := sha256.Sum256(content)
	return folder, code{base64.StdEncoding.EncodeToString(digest[:]), len(content), f.signing.jobOf(r, bucket, key)}, true
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	default:
		return "aws"
	}
}

func (f *functions) updateCode(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	function := f.find(name)
	if function == nil {
		f.forward(w, r, nil)
		return
	}
	if f.busy(w, function) {
		return
	}
	if f.refuseCode.Swap(false) {
		lambdaError(w, http.StatusConflict, "ResourceConflictException", "The operation cannot be performed at this time. An update is in progress for resource: "+name)
		return
	}
	folder, accepted, ok := f.accept(w, r, body, name, "", f.signing.attached(name))
	if !ok {
		return
	}
	f.mu.Lock()
	code, from, runs := function.code, function.folder, function.made
	function.code, function.folder = accepted, folder
	f.mu.Unlock()
	f.changes(function)
	if !f.forward(w, r, function) {
		f.mu.Lock()
		function.code, function.folder, function.made = code, from, runs
		f.mu.Unlock()
	}
}

func (f *functions) updateConfiguration(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	known := f.find(name)
	if known == nil {
		f.forward(w, r, nil)
		return
	}
	if f.busy(w, known) {
		return
	}
	updated := &function{configuration: known.configuration, region: known.region}
	// Not in the place of the old ones, where json would put them.
	updated.LoggingConfig = slices.Clone(known.LoggingConfig)
	updated.VpcConfig.SubnetIds = slices.Clone(known.VpcConfig.SubnetIds)
	updated.VpcConfig.SecurityGroupIds = slices.Clone(known.VpcConfig.SecurityGroupIds)
	// A key that is absent keeps its value, that of subnets beside groups too; a map that is present replaces the old one.
	var present map[string]json.RawMessage
	if err := json.Unmarshal(body, &present); err == nil && present["Environment"] != nil {
		updated.Environment.Variables = nil
	}
	if err := json.Unmarshal(body, &updated.configuration); err != nil {
		lambdaError(w, http.StatusBadRequest, "InvalidRequestContentException", err.Error())
		return
	}
	updated.FunctionName = known.FunctionName
	role, err := f.check(r.Context(), updated)
	if err != nil {
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
		return
	}
	if f.undoes(known, updated.VpcConfig) {
		r.Method, r.Body, r.ContentLength = http.MethodGet, http.NoBody, 0
		f.forward(w, r, known)
		return
	}
	f.mu.Lock()
	before := known.configuration
	known.configuration = updated.configuration
	if before.Role != updated.Role || len(before.Environment.Variables) == 0 {
		known.grantee = role
	}
	f.mu.Unlock()
	f.changes(known)
	f.forward(w, r, known)
}

// delete removes the function. Its network interfaces stay behind for a while,
// and hold the groups they had (the AWS manual: up to 20 minutes and more).
// Interfaces in the VPC's default group trouble nobody.
func (f *functions) delete(w http.ResponseWriter, r *http.Request, name string) {
	known := f.find(name)
	if !f.forward(w, r, nil) || known == nil {
		return
	}
	known.stop()
	f.signing.attach(name, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold(name, slices.Concat(known.VpcConfig.SecurityGroupIds, known.made.VpcConfig.SecurityGroupIds))
	delete(f.byKey, name)
}

// refusal is an error in AWS's own words.
type refusal string

func (r refusal) Error() string { return string(r) }

// check refuses what AWS refuses and moto does not. It answers the unique ID of the function's role, and adds the VPC's ID.
func (f *functions) check(ctx context.Context, function *function) (roleID string, err error) {
	config := f.config(function.region)
	role := function.Role[strings.LastIndex(function.Role, "/")+1:]
	identity := iam.NewFromConfig(config)
	live, err := identity.GetRole(ctx, &iam.GetRoleInput{RoleName: &role})
	if err != nil {
		return "", refusal("The role defined for the function cannot be assumed by Lambda.")
	}
	trust, err := url.QueryUnescape(awssdk.ToString(live.Role.AssumeRolePolicyDocument))
	if err != nil {
		return "", fmt.Errorf("reading the trust policy of %s: %w", role, err)
	}
	trusted, err := policy.Allows([]string{trust}, policy.Request{
		Action: "sts:AssumeRole", PrincipalType: "Service", Principal: "lambda.amazonaws.com",
	})
	if err != nil {
		return "", err
	}
	roleID = awssdk.ToString(live.Role.RoleId)
	if !trusted || !f.knows(roleID) {
		return "", refusal("The role defined for the function cannot be assumed by Lambda.")
	}
	if len(function.VpcConfig.SubnetIds) == 0 && len(function.VpcConfig.SecurityGroupIds) == 0 {
		function.VpcConfig.VpcId = ""
		return roleID, nil
	}
	return roleID, f.checkNetwork(ctx, config, function, role)
}

func (f *functions) checkNetwork(ctx context.Context, config awssdk.Config, function *function, role string) error {
	runs, err := policy.ReadRole(ctx, iam.NewFromConfig(config), role)
	if err != nil {
		return err
	}
	for _, action := range vpcActions {
		allowed, err := runs.Allows(policy.Request{Action: action, Resource: "*"})
		if err != nil {
			return err
		}
		if !allowed {
			return refusal("The provided execution role does not have permissions to call " +
				strings.TrimPrefix(action, "ec2:") + " on EC2")
		}
	}
	network := &function.VpcConfig
	if len(network.SubnetIds) > maxSubnets || len(network.SecurityGroupIds) > maxSecurityGroups {
		return fmt.Errorf("VpcConfig: %d subnets and %d security groups; at most %d and %d are allowed",
			len(network.SubnetIds), len(network.SecurityGroupIds), maxSubnets, maxSecurityGroups)
	}
	client := ec2.NewFromConfig(config)
	subnets, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: network.SubnetIds})
	if err != nil {
		return fmt.Errorf("VpcConfig: the subnets %v: %w", network.SubnetIds, err)
	}
	groups, err := client.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: network.SecurityGroupIds})
	if err != nil {
		return fmt.Errorf("VpcConfig: the security groups %v: %w", network.SecurityGroupIds, err)
	}
	network.VpcId = *subnets.Subnets[0].VpcId
	for _, group := range groups.SecurityGroups {
		if *group.VpcId != *subnets.Subnets[0].VpcId {
			return fmt.Errorf("VpcConfig: security group %s and subnet %s are in different VPCs", *group.GroupId, *subnets.Subnets[0].SubnetId)
		}
	}
	return nil
}

// config reaches moto in this gateway's account, past the gateway itself.
func (f *functions) config(region string) awssdk.Config {
	return awssdk.Config{
		Region:       region,
		BaseEndpoint: awssdk.String(f.gateway.options.Moto),
		Credentials:  credentials.NewStaticCredentialsProvider("gateway", "gateway", ""),
		HTTPClient:   &http.Client{Transport: accountTransport(f.gateway.options.Account)},
	}
}

// accountTransport sends each request to moto in the given account.
type accountTransport string

func (t accountTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("x-moto-account-id", string(t))
	return http.DefaultTransport.RoundTrip(r)
}

// logs writes to the function's log group, if its role may.
func (f *functions) logs(ctx context.Context, function *function) (*cloudwatchlogs.Client, string, error) {
	group := "/aws/lambda/" + function.FunctionName
	var logging struct{ LogGroup string }
	if function.LoggingConfig != nil {
		if err := json.Unmarshal(function.LoggingConfig, &logging); err == nil && logging.LogGroup != "" {
			group = logging.LogGroup
		}
	}
	config := f.config(function.region)
	role := function.Role[strings.LastIndex(function.Role, "/")+1:]
	runs, err := policy.ReadRole(ctx, iam.NewFromConfig(config), role)
	if err != nil {
		return nil, "", err
	}
	arn := fmt.Sprintf("arn:%s:logs:%s:%s:log-group:%s:log-stream:x",
		partition(function.region), function.region, f.gateway.options.Account, group)
	for _, action := range []string{"logs:CreateLogStream", "logs:PutLogEvents"} {
		allowed, err := runs.Allows(policy.Request{Action: action, Resource: arn})
		if err != nil {
			return nil, "", err
		}
		if !allowed {
			return nil, "", fmt.Errorf("role %s may not %s on %s", role, action, arn)
		}
	}
	return cloudwatchlogs.NewFromConfig(config), group, nil
}

// unpack writes the zip's files, with their modes, to a new folder.
func (f *functions) unpack(name string, content []byte) (string, error) {
	reader, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return "", refusal("Could not unzip uploaded file. Please check your file, then try to upload again.")
	}
	f.mu.Lock()
	f.versions++
	folder := filepath.Join(f.gateway.options.Folder, fmt.Sprintf("%s-%d", name, f.versions))
	f.mu.Unlock()
	for _, file := range reader.File {
		if !fs.ValidPath(file.Name) || file.FileInfo().IsDir() {
			return "", fmt.Errorf("the uploaded zip holds %q, which is not a plain file", file.Name)
		}
		target := filepath.Join(folder, filepath.FromSlash(file.Name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", fmt.Errorf("unpacking the uploaded zip: %w", err)
		}
		if err := extract(file, target); err != nil {
			return "", fmt.Errorf("unpacking %s of the uploaded zip: %w", file.Name, err)
		}
	}
	return folder, nil
}

func extract(file *zip.File, target string) error {
	source, err := file.Open()
	if err != nil {
		return err
	}
	defer source.Close()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_EXCL, file.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, source); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

// invoke runs the function for one event. Only the synchronous form is served.
func (f *functions) invoke(w http.ResponseWriter, r *http.Request, name string, event []byte) {
	function := f.find(name)
	if function == nil {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf(
			"Function not found: arn:aws:lambda:%s:%s:function:%s", regionOf(r), f.gateway.options.Account, name))
		return
	}
	if kind := r.Header.Get("X-Amz-Invocation-Type"); kind != "" && kind != "RequestResponse" {
		lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "the stand-in serves RequestResponse only, not "+kind)
		return
	}
	if len(event) > maxPayload {
		lambdaError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", fmt.Sprintf(
			"%d byte payload is too large for the RequestResponse invocation type (limit %d bytes)", len(event), maxPayload))
		return
	}
	if f.throttled.Load() || f.stopped(function) {
		lambdaError(w, http.StatusTooManyRequests, "TooManyRequestsException", "Rate Exceeded.")
		return
	}
	if state := f.ready(function); state != "Active" {
		lambdaError(w, http.StatusConflict, "ResourceConflictException",
			"The operation cannot be performed at this time. The function is currently in the following state: "+state)
		return
	}
	if code, refused := f.mayRun(r.Context(), function); refused != nil {
		lambdaError(w, http.StatusBadGateway, code, refused.Error())
		return
	}
	answer := f.run(r.Context(), function, event)
	if len(answer.payload) > maxPayload {
		answer.functionError = "Unhandled"
		answer.payload = errorPayload("Function.ResponseSizeTooLarge", fmt.Sprintf(
			"Response payload size exceeded maximum allowed payload size (%d bytes).", maxPayload))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", answer.requestID)
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	if answer.functionError != "" {
		w.Header().Set("X-Amz-Function-Error", answer.functionError)
	}
	if r.Header.Get("X-Amz-Log-Type") == "Tail" {
		tail := answer.log
		if len(tail) > 4096 {
			tail = tail[len(tail)-4096:]
		}
		w.Header().Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString([]byte(tail)))
	}
	_, _ = w.Write(answer.payload)
}
