package esc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// Options say whom the service serves and where AWS is.
type Options struct {
	// BackendURL is the URL under which users reach the service. <BackendURL>/oidc
	// is the issuer that AWS must trust.
	BackendURL string
	// Directory knows who presents an access token, and what each user may do with environments.
	Directory *access.Directory
	// AWSEndpoint is the URL of an endpoint for IAM, STS and Lambda.
	AWSEndpoint string
	// AWSCredentials read IAM, where AWS itself would. Nil: placeholders, enough
	// for an endpoint that asks for none in particular.
	AWSCredentials aws.CredentialsProvider
	// NewLogins is how many logins with a role that is new to the service are refused, as IAM tells others of a new role, or
	// of a new identity provider, only after a while
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency).
	NewLogins int
	// NewPassword makes the passwords that rotators set. Nil: 40 random characters.
	NewPassword func() string
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Service is an [http.Handler] that serves ESC. Its documents live in memory.
type Service struct {
	rest.Faults

	options Options
	mux     *http.ServeMux
	aead    cipher.AEAD

	mu           sync.Mutex
	environments map[string]*environment
	grants       map[string]map[string]string // permission by environment's id, by team's
	sessions     map[string]session
	roles        map[string]assumedRole
	logins       map[string]int // by role's unique id and by identity provider's creation
	deliveries   []WebhookDelivery
	listeners    map[string]string // addresses on this machine, by host
}

// New returns a service without environments.
func New(options Options) (*Service, error) {
	backend, err := url.Parse(options.BackendURL)
	switch {
	case err != nil || backend.Host == "":
		return nil, fmt.Errorf("starting ESC: the backend URL %q is not an absolute URL", options.BackendURL)
	case options.Directory == nil:
		return nil, errors.New("starting ESC: no directory of users is given")
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
		logins:       map[string]int{},
		listeners:    map[string]string{},
	}
	s.mux = s.routes()
	return s, nil
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

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Serve(w, r, s.mux)
}

// call is one authenticated request.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	user access.User
}

// routes are the paths that cmd/esc/cli/client of the CLI calls, and the
// metadata, schedules, webhooks and teams of the pulumiservice provider.
func (s *Service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	serve := func(pattern string, handler func(call)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if user, known := s.options.Directory.Of(w, r); known {
				handler(call{w, r, user})
			}
		})
	}
	s.options.Directory.Serve(mux)
	mux.HandleFunc("GET /api/capabilities", func(w http.ResponseWriter, _ *http.Request) {
		rest.Answer(w, http.StatusOK, apitype.CapabilitiesResponse{})
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
	serve("POST "+one+"/hooks", s.createWebhook)
	serve("GET "+one+"/hooks/{hook}", s.getWebhook)
	serve("PATCH "+one+"/hooks/{hook}", s.updateWebhook)
	serve("DELETE "+one+"/hooks/{hook}", s.deleteWebhook)
	serve("GET /api/orgs/{org}/teams/{team}", s.getTeam)
	serve("PATCH /api/orgs/{org}/teams/{team}", s.updateTeam)
	serve("GET "+one+"/versions/{version}", s.getDefinition)
	serve("GET "+one+"/versions/{version}/{part}", s.getVersionPart)
	serve("POST "+one+"/versions/{version}/open", s.openEnvironment)
	mux.HandleFunc("/", notServed)
	return mux
}

func notServed(w http.ResponseWriter, r *http.Request) {
	rest.Fail(w, http.StatusNotFound, fmt.Sprintf("Not Found: this stand-in for Pulumi ESC does not serve %s %s", r.Method, r.URL.Path))
}
