// Package gateway is the AWS endpoint of the road on one machine: moto answers
// most calls, and the gateway in front of it plays what moto lacks.
//
//   - Lambda: functions run for real ([functions]), from the very zip that was
//     uploaded, under the Lambda Runtime API. LoggingConfig is kept here.
//   - Signer: signing jobs, and Lambda's code signing configurations ([signing]).
//   - S3: buckets' policies, with their conditions ([buckets]).
//   - What AWS refuses and moto lets pass: an execution role that may not make
//     network interfaces, or is too new; subnets or groups that are not there; a
//     security group that a function's interfaces still hold; a second permission
//     of one id; letters that no policy of IAM's takes.
//   - EC2: rules of security groups that are changed in place ([rules]).
//   - CloudWatch: metrics that are made of the functions' logs, alarms, and who hears of them ([watcher]).
//   - RDS IAM authentication: functions have credentials of their role's, and IAM says what they may ([logins]).
//   - RDS: databases stand on this machine, so their endpoints do too. The secret of a master user is moto's, and its status
//     and its key can be played ([Gateway.SecretStatus]).
//
// One moto process serves many gateways, each with an AWS account of its own.
package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Options say where the gateway's parts are.
type Options struct {
	// Moto is the URL of a moto server.
	Moto string
	// Account is the 12-digit AWS account that all calls land in.
	Account string
	// DatabaseHost replaces the host of every RDS endpoint.
	DatabaseHost string
	// SystemCAs is a PEM file that the Lambda machines' system trusts. Empty: this machine's own.
	SystemCAs string
	// Folder is where functions are unpacked; the caller removes it.
	Folder string
}

// Gateway is an [http.Handler] that answers AWS API calls.
type Gateway struct {
	options   Options
	moto      *httputil.ReverseProxy
	functions *functions
	buckets   *buckets
	rules     *rules
	watcher   *watcher
	logins    logins
	shared    atomic.Pointer[share] // nil: the VPCs are the account's own
	faults    faults

	secretStatus atomic.Pointer[string] // see [Gateway.SecretStatus]

	mu     sync.Mutex
	calls  []Call
	denied []string // actions, such as lambda:UpdateFunctionConfiguration
}

// Call is one API call that reached the gateway.
type Call struct {
	// Service is the service as IAM's actions name it, such as "ec2".
	Service string
	// Action is the API's action, such as "CreateSecurityGroup".
	Action string
}

// New returns a gateway. Close ends the functions' processes.
func New(options Options) (*Gateway, error) {
	moto, err := url.Parse(options.Moto)
	if err != nil {
		return nil, fmt.Errorf("reading moto's URL %q: %w", options.Moto, err)
	}
	g := &Gateway{options: options, faults: faults{accounts: map[string]string{}}}
	g.moto = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(moto)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("x-moto-account-id", g.account(r.In))
			r.Out.Header.Set("X-Action", r.In.Header.Get("X-Action")) // for the answer
		},
		ModifyResponse: g.rewrite,
	}
	g.watcher = newWatcher(g)
	g.functions = newFunctions(g)
	g.rules = &rules{functions: g.functions, now: map[string]string{}}
	g.buckets = &buckets{gateway: g, policies: map[string]string{}}
	return g, nil
}

// Close ends all running functions.
func (g *Gateway) Close() { g.functions.close() }

// Calls lists the API calls so far, in order.
func (g *Gateway) Calls() []Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Call(nil), g.calls...)
}

// Idle plays what AWS does to a VPC function that nobody invoked for weeks: its
// network interfaces are taken, the next invocation fails, and the one after it works.
// The function is a name or an ARN.
func (g *Gateway) Idle(function string) error { return g.functions.idle(function) }

// Deny refuses these actions from now on, such as lambda:UpdateFunctionConfiguration, and no others.
func (g *Gateway) Deny(actions ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied = actions
}

// Throttle begins or ends what Lambda does when as many functions run as may at once: it refuses every invocation.
func (g *Gateway) Throttle(on bool) { g.functions.throttled.Store(on) }

// LoseAnswer kills the process of the function that is invoked next, when it has done its work and not yet said so.
func (g *Gateway) LoseAnswer() { g.functions.loseAnswer.Store(true) }

// RefuseCode lets Lambda refuse the next new code of a function, as it does while it makes another change of it.
func (g *Gateway) RefuseCode() { g.functions.refuseCode.Store(true) }

// RefuseFunction lets Lambda refuse the next new function, as it does where an account holds too much code.
func (g *Gateway) RefuseFunction() { g.functions.refuseNew.Store(true) }

// TrustPublicCAs lets the machines that run functions trust this machine's own CAs, and no longer Options.SystemCAs.
func (g *Gateway) TrustPublicCAs() {
	g.functions.publicCAs.Store(true)
	g.functions.close()
}

var credentialScope = regexp.MustCompile(`Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request`)

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	service := "unsigned"
	if scope := credentialScope.FindStringSubmatch(r.Header.Get("Authorization")); scope != nil {
		service = scope[1]
	}
	if service == "monitoring" { // as which CloudWatch signs
		service = "cloudwatch"
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "reading the request: "+err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))

	action := actionOf(service, r, body)
	g.mu.Lock()
	g.calls = append(g.calls, Call{Service: service, Action: action})
	denied := slices.Contains(g.denied, service+":"+action)
	g.mu.Unlock()

	switch {
	case denied:
		refused := fmt.Sprintf("User: arn:aws:sts::%s:assumed-role/deployer/session is not authorized to perform: %s:%s", g.options.Account, service, action)
		switch service {
		case "ec2":
			ec2Error(w, "UnauthorizedOperation", refused)
		case "iam":
			iamError(w, http.StatusForbidden, "AccessDenied", refused)
		default:
			lambdaError(w, http.StatusForbidden, "AccessDeniedException", refused)
		}
	case g.faults.throttled(w, r, service, body):
	case service == "rds":
		g.serveRDS(w, r, action, body)
	case service == "sts" && action == "AssumeRole":
		g.assumeRole(w, r, body)
	case service == "iam" && (refusesPolicy(w, body) || g.refusesBoundary(w, r, body)):
	case service == "iam" && action == "AddClientIDToOpenIDConnectProvider":
		g.addClientID(w, r, body)
	case service == "s3":
		g.buckets.serve(w, r, body)
	case service == "tagging":
		g.serveTagging(w, r, body)
	case service == "secretsmanager":
		g.serveSecrets(w, r, action, body)
	case service == "signer" && g.account(r) != g.options.Account:
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Not found in account "+g.account(r))
	case service == "signer":
		g.functions.signing.serveSigner(w, r, body)
	case service == "lambda" && g.account(r) != g.options.Account:
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found in account "+g.account(r))
	case service == "lambda":
		g.functions.serve(w, r, body)
	case service == "logs" && g.watcher.serveLogs(w, r, action, body):
	case service == "cloudwatch":
		g.watcher.serveAlarms(w, r, action)
	case service == "ec2":
		r.Header.Set("X-Action", action)
		g.serveEC2(w, r, action, g.rules.inward(string(body)))
	default:
		g.moto.ServeHTTP(w, r)
	}
}

// serveEC2 plays what moto lacks of EC2: what holds a security group, and rules that are changed in place.
func (g *Gateway) serveEC2(w http.ResponseWriter, r *http.Request, action, body string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if g.shared.Load().refuse(w, action, body) {
		return
	}
	switch action {
	case "DeleteSecurityGroup":
		form, _ := url.ParseQuery(body)
		group := form.Get("GroupId")
		if holder := cmp.Or(g.functions.holderOf(group), g.rules.naming(r, group)); holder != "" {
			ec2Error(w, "DependencyViolation", fmt.Sprintf("resource %s has a dependent object (%s)", group, holder))
			return
		}
	case "AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress":
		if g.rules.refuseNew(w, r, action, body) {
			return
		}
	case "ModifySecurityGroupRules":
		if g.rules.modify(w, r, body) {
			return
		}
	}
	g.moto.ServeHTTP(w, r)
}

// actionOf names the call: by form field (query protocol), by header (JSON
// protocol), or by method and path (REST).
func actionOf(service string, r *http.Request, body []byte) string {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		return target[strings.LastIndex(target, ".")+1:]
	}
	// The path of the protocol smithy-rpc-v2-cbor, which the SDK speaks with CloudWatch, has service and operation.
	if _, operation, found := strings.Cut(r.URL.Path, "/operation/"); found {
		return operation
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		return form.Get("Action")
	}
	switch service {
	case "lambda":
		return lambdaAction(r)
	case "signer":
		return signerAction(r)
	case "s3":
		return objectAction(r)
	}
	return r.Method + " " + r.URL.Path
}

var rdsHost = regexp.MustCompile(`[A-Za-z0-9.-]+\.rds\.amazonaws\.com(\.cn)?`)

// rewrite lets RDS endpoints point to the databases of this machine, and names changed rules as they were.
func (g *Gateway) rewrite(response *http.Response) error {
	scope := credentialScope.FindStringSubmatch(response.Request.Header.Get("Authorization"))
	if scope == nil || scope[1] != "ec2" && (g.options.DatabaseHost == "" || scope[1] != "rds") {
		return nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading moto's answer: %w", err)
	}
	if scope[1] == "ec2" {
		action := response.Request.Header.Get("X-Action")
		body = []byte(g.shared.Load().outward(action, g.options.Account, g.rules.outward(string(body))))
	} else {
		body = g.logins.asPlayed(g.asPlayed(rdsHost.ReplaceAll(body, []byte(g.options.DatabaseHost))))
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	response.Header.Set("Content-Length", fmt.Sprint(len(body)))
	return nil
}

func ec2Error(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>`, code, message)
}

func lambdaError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Type": "User", "Message": message, "message": message})
}
