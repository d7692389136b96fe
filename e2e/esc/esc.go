// Package esc serves Pulumi ESC over HTTP, on one machine.
//
// It answers the part of the ESC API that the Pulumi CLI's `pulumi env` commands
// and the pulumiservice provider call, and evaluates, checks, encrypts and
// rotates with the evaluator that the CLI itself is built from. What Pulumi
// Cloud adds to the evaluator stands here:
//
//   - aws-login ([awsLogin]) lets a role be assumed only where the role's trust
//     policy and the account's OIDC provider allow it, as AWS STS decides;
//   - the postgres and mysql rotators ([databaseRotator]) follow the two-user
//     strategy and invoke the connector's Lambda function with that login.
//
// What is not served is answered by 404 and named in the message.
package esc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// Options say whom the service serves and where AWS is.
type Options struct {
	// BackendURL is the URL under which users reach the service. <BackendURL>/oidc
	// is the issuer that AWS must trust.
	BackendURL string
	// Organizations are those of every user; the first is the default.
	Organizations []string
	// Teams are those of every organization.
	Teams []string
	// Tokens are the access tokens, and who presents each.
	Tokens map[string]User
	// AWSEndpoint is the URL of an endpoint for IAM, STS and Lambda.
	AWSEndpoint string
	// AWSCredentials read IAM, where AWS itself would. Nil: placeholders, enough
	// for an endpoint that asks for none in particular.
	AWSCredentials aws.CredentialsProvider
	// NewPassword makes the passwords that rotators set. Nil: 40 random characters.
	NewPassword func() string
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// User is who presents an access token.
type User struct {
	// Name is the login.
	Name string
	// Permissions are by environment, "organization/project/environment"; "*" is
	// for all that have no entry. Who creates an environment has [Admin] on it.
	Permissions map[string]Permission
	// Teams are those that the user is a member of.
	Teams []string
}

// Permission is what a user may do with an environment. Each includes those before it.
type Permission int

// Permissions, from Pulumi Cloud's "Environment permissions". An environment
// without any is not visible: it is answered like one that is not there.
const (
	None  Permission = iota
	Read             // the definition, with secrets encrypted
	Open             // the values, decrypted
	Write            // change, and rotate
	Admin            // delete
)

// Fault makes requests fail.
type Fault struct {
	// Status answers with this HTTP status. 0 hangs until the client gives up.
	Status int
	// Drop closes the connection, and answers nothing.
	Drop bool
	// Method limits the fault to one HTTP method. Empty: all.
	Method string
	// Path limits the fault to URL paths that contain it. Empty: all.
	Path string
	// After lets this many matching requests pass first.
	After int
	// Times ends the fault after so many requests. 0: until [Service.Recover].
	Times int
}

// Service is an [http.Handler] that serves ESC. Its documents live in memory.
type Service struct {
	options Options
	mux     *http.ServeMux
	aead    cipher.AEAD

	mu           sync.Mutex
	environments map[string]*environment
	grants       map[string]map[string]string // permission by environment's id, by team's
	sessions     map[string]session
	roles        map[string]assumedRole
	faults       []*Fault

	hanging atomic.Int32 // requests that wait in vain
}

// New returns a service without environments.
func New(options Options) (*Service, error) {
	backend, err := url.Parse(options.BackendURL)
	switch {
	case err != nil || backend.Host == "":
		return nil, fmt.Errorf("starting ESC: the backend URL %q is not an absolute URL", options.BackendURL)
	case len(options.Organizations) == 0:
		return nil, errors.New("starting ESC: no organization is given")
	}
	options.BackendURL = strings.TrimSuffix(options.BackendURL, "/")
	if options.AWSCredentials == nil {
		options.AWSCredentials = staticCredentials("esc", "esc", "")
	}
	if options.NewPassword == nil {
		options.NewPassword = newPassword
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("making the encryption key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making the encryption key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("making the encryption key: %w", err)
	}
	s := &Service{
		options:      options,
		aead:         aead,
		environments: map[string]*environment{},
		grants:       map[string]map[string]string{},
		sessions:     map[string]session{},
		roles:        map[string]assumedRole{},
	}
	s.mux = s.routes()
	return s, nil
}

// Fail makes matching requests fail from now on. The first fault that matches wins.
func (s *Service) Fail(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault)
}

// Recover ends all faults.
func (s *Service) Recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Definition answers an environment's document as it is kept, secrets encrypted,
// and its latest revision. The id is "organization/project/environment".
func (s *Service) Definition(id string) (yaml string, revision int, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env, exists := s.environments[id]
	if !exists {
		return "", 0, false
	}
	return string(env.latest().yaml), env.latest().number, true
}

// Environments lists the ids of all environments, sorted.
func (s *Service) Environments() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range s.environments {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Hanging tells whether a request waits for an answer that a fault of status 0 withholds.
func (s *Service) Hanging() bool { return s.hanging.Load() > 0 }

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if fault := s.fault(r); fault != nil {
		switch {
		case fault.Drop:
			panic(http.ErrAbortHandler)
		case fault.Status == 0:
			s.hanging.Add(1)
			<-r.Context().Done()
			s.hanging.Add(-1)
			return
		}
		fail(w, fault.Status, http.StatusText(fault.Status))
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Service) fault(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, fault := range s.faults {
		if fault.Method != "" && fault.Method != r.Method || !strings.Contains(r.URL.Path, fault.Path) {
			continue
		}
		if fault.After > 0 {
			fault.After--
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		return fault
	}
	return nil
}

// call is one authenticated request.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	user User
}

// routes are the paths that cmd/esc/cli/client of the CLI calls, and the
// metadata, schedules and teams of the pulumiservice provider.
func (s *Service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	serve := func(pattern string, handler func(call)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			user, known := s.options.Tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "token ")]
			if !known {
				fail(w, http.StatusUnauthorized, "Unauthorized: No credentials provided or are invalid.")
				return
			}
			if org := r.PathValue("org"); org != "" && !slices.Contains(s.options.Organizations, org) {
				fail(w, http.StatusNotFound, fmt.Sprintf("Not Found: Organization %q not found", org))
				return
			}
			handler(call{w, r, user})
		})
	}
	serve("GET /api/user", s.getUser)
	serve("GET /api/user/organizations/default", s.getDefaultOrganization)
	mux.HandleFunc("GET /api/capabilities", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, apitype.CapabilitiesResponse{})
	})

	const root = "/api/esc/environments"
	const one = root + "/{org}/{project}/{env}"
	serve("GET "+root, s.listEnvironments)
	serve("GET "+root+"/{org}", s.listEnvironments)
	serve("POST "+root+"/{org}", s.createEnvironment)
	serve("POST "+root+"/{org}/yaml/check", s.checkYAML)
	serve("POST "+root+"/{org}/yaml/open", s.openYAML)
	serve("GET "+root+"/{org}/yaml/open/{session}", s.getOpenEnvironment)
	serve("GET "+one, s.getDefinition)
	serve("PATCH "+one, s.updateEnvironment)
	serve("DELETE "+one, s.deleteEnvironment)
	serve("GET "+one+"/{part}", s.getPart)
	serve("POST "+one+"/open", s.openEnvironment)
	serve("GET "+one+"/open/{session}", s.getOpenEnvironment)
	serve("POST "+one+"/rotate", s.rotateEnvironment)
	serve("POST "+one+"/schedules", s.createSchedule)
	serve("GET "+one+"/schedules/{schedule}", s.getSchedule)
	serve("POST "+one+"/schedules/{schedule}", s.updateSchedule)
	serve("DELETE "+one+"/schedules/{schedule}", s.deleteSchedule)
	serve("GET /api/orgs/{org}/teams/{team}", s.getTeam)
	serve("PATCH /api/orgs/{org}/teams/{team}", s.updateTeam)
	serve("GET "+one+"/versions/{version}", s.getDefinition)
	serve("GET "+one+"/versions/{version}/{part}", s.getVersionPart)
	serve("POST "+one+"/versions/{version}/open", s.openEnvironment)
	mux.HandleFunc("/", notServed)
	return mux
}

func notServed(w http.ResponseWriter, r *http.Request) {
	fail(w, http.StatusNotFound, fmt.Sprintf("Not Found: this stand-in for Pulumi ESC does not serve %s %s", r.Method, r.URL.Path))
}

// The shapes of these two are in the CLI's backend/httpstate/client.

func (s *Service) getUser(c call) {
	organizations := make([]map[string]string, len(s.options.Organizations))
	for i, name := range s.options.Organizations {
		organizations[i] = map[string]string{"githubLogin": name, "name": name}
	}
	answer(c.w, http.StatusOK, map[string]any{
		"id": c.user.Name, "githubLogin": c.user.Name, "name": c.user.Name, "organizations": organizations,
	})
}

func (s *Service) getDefaultOrganization(c call) {
	answer(c.w, http.StatusOK, map[string]string{"gitHubLogin": s.options.Organizations[0]})
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		fail(w, http.StatusInternalServerError, "encoding the answer: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, apitype.ErrorResponse{Code: status, Message: message})
}
