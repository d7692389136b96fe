package gateway

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// faults is what AWS does to any service's calls now and then.
type faults struct {
	mu sync.Mutex
	// throttle are the calls that were refused once, by what they ask; nil while nothing is refused.
	throttle map[[sha256.Size]byte]bool
	// refuseMissing: RDS answers a filter by a name that is not there with an error.
	refuseMissing bool
	// accounts are the AWS accounts of access keys; others are of Options.Account.
	accounts map[string]string
}

// ThrottleOnce refuses each call once from now on, as an account does in which others ask much at that moment.
func (g *Gateway) ThrottleOnce() {
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	g.faults.throttle = map[[sha256.Size]byte]bool{}
}

// RefuseMissing lets RDS answer a filter by a name that is not there with an error, and not with an empty list. Authors of
// emulators have it either way, and what it really does could not be found out.
func (g *Gateway) RefuseMissing() {
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	g.faults.refuseMissing = true
}

// BelongsTo lets the access key be one of that AWS account.
func (g *Gateway) BelongsTo(accessKey, account string) {
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	g.faults.accounts[accessKey] = account
}

// account is that of the call's access key. The key of a stack's secrets, in KMS, is the CLI's own affair.
func (g *Gateway) account(r *http.Request) string {
	if scope := credentialScope.FindStringSubmatch(r.Header.Get("Authorization")); scope != nil && scope[1] == "kms" {
		return g.options.Account
	}
	g.faults.mu.Lock()
	defer g.faults.mu.Unlock()
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(credential, "/")
	if account := g.faults.accounts[key]; account != "" {
		return account
	}
	return g.options.Account
}

// throttled refuses a call for the first time, in the words of its protocol. It answers whether it has.
func (f *faults) throttled(w http.ResponseWriter, r *http.Request, service string, body []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %s", service, r.Method, r.URL, r.Header.Get("X-Amz-Target"), body))
	if f.throttle == nil || f.throttle[asked] {
		return false
	}
	f.throttle[asked] = true
	switch service {
	case "ec2":
		ec2Error(w, "RequestLimitExceeded", "Request limit exceeded.")
	case "iam", "rds", "sts":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>`)
	case "s3":
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
	case "cloudwatch": // which speaks CBOR: the status is enough for a client to try again
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		lambdaError(w, http.StatusTooManyRequests, "ThrottlingException", "Rate exceeded")
	}
	return true
}

// missing are RDS's errors of what is not there, by the action: its list's element, and the code.
var missing = map[string]struct{ element, code string }{
	"DescribeDBClusters":  {"<DBCluster>", "DBClusterNotFoundFault"},
	"DescribeDBInstances": {"<DBInstance>", "DBInstanceNotFound"},
}

// serveRDS lets moto answer, which has an empty list for a filter that nothing passes.
func (g *Gateway) serveRDS(w http.ResponseWriter, r *http.Request, action string, body []byte) {
	g.faults.mu.Lock()
	played := g.faults.refuseMissing
	g.faults.mu.Unlock()
	form, _ := url.ParseQuery(string(body))
	g.logins.modify(action, form)
	if !played || missing[action].code == "" || form.Get("Filters.Filter.1.Name") == "" {
		g.moto.ServeHTTP(w, r)
		return
	}
	recorder := httptest.NewRecorder()
	g.moto.ServeHTTP(recorder, r)
	w.Header().Set("Content-Type", "text/xml")
	if recorder.Code < 300 && !strings.Contains(recorder.Body.String(), missing[action].element) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s not found.</Message></Error></ErrorResponse>`,
			missing[action].code, form.Get("Filters.Filter.1.Values.Value.1"))
		return
	}
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(recorder.Body.Bytes())
}

var accessKey = regexp.MustCompile(`<AccessKeyId>([^<]+)</AccessKeyId>`)

// assumeRole lets moto answer, and keeps whose the credentials are: moto tells accounts apart by a header alone.
func (g *Gateway) assumeRole(w http.ResponseWriter, r *http.Request, body []byte) {
	form, _ := url.ParseQuery(string(body))
	recorder := httptest.NewRecorder()
	g.moto.ServeHTTP(recorder, r)
	parts := strings.Split(form.Get("RoleArn"), ":")
	if found := accessKey.FindStringSubmatch(recorder.Body.String()); found != nil && len(parts) > 4 {
		g.BelongsTo(found[1], parts[4])
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(recorder.Body.Bytes())
}
