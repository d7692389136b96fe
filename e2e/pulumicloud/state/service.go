package state

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// Form is how clients send the checkpoints of an update. The service announces it, and the CLI follows.
type Form int

const (
	// Whole checkpoints are sent by a client that knows of nothing else.
	Whole Form = iota
	// Deltas are changes of the text of the checkpoint before; the first one is sent whole, verbatim.
	Deltas
	// Journal entries say what each operation did. The service makes the checkpoint of them.
	Journal
)

// Reading is what an export answers while an update runs.
type Reading int

const (
	// SoFar is the latest checkpoint of the running update.
	SoFar Reading = iota
	// LastComplete is the state that the last update ended with.
	LastComplete
)

// Options say whom the service serves, and how.
type Options struct {
	// Directory knows who may log in, and what each user may do with stacks.
	Directory *access.Directory
	// Form of the checkpoints.
	Form Form
	// Lease is how long an update may go on before its client renews it. 0: 5 minutes, as the CLI assumes.
	Lease time.Duration
	// Heard, if not nil, hears every request, its body unpacked.
	Heard func(method, path string, body []byte)
}

// Service is an [http.Handler] that keeps stacks. They live in memory.
type Service struct {
	rest.Faults

	options Options
	mux     *http.ServeMux

	mu       sync.Mutex
	stacks   map[string]*stack // by organization/project/stack
	form     Form
	reading  Reading
	heard    func(method, path string, body []byte)
	unserved []string
}

// New returns a service without stacks.
func New(options Options) *Service {
	if options.Lease == 0 {
		options.Lease = 5 * time.Minute
	}
	s := &Service{options: options, stacks: map[string]*stack{}, form: options.Form, heard: options.Heard}
	s.mux = s.routes()
	return s
}

// Announce changes the form in which clients that come from now on send checkpoints.
func (s *Service) Announce(form Form) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.form = form
}

// Export changes what an export answers while an update runs.
func (s *Service) Export(reading Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = reading
}

// Hear changes who hears every request.
func (s *Service) Hear(heard func(method, path string, body []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = heard
}

// ExpireLeases lets the leases of all updates run out.
func (s *Service) ExpireLeases() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stack := range s.stacks {
		for _, update := range stack.updates {
			for token := range update.tokens {
				update.tokens[token] = time.Time{}
			}
		}
	}
}

// Updating reports whether an update of the stack runs. The id is "organization/project/stack".
func (s *Service) Updating(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stack, exists := s.stacks[id]
	return exists && stack.running() != nil
}

// Unserved are the calls that were made and are not served, each as "METHOD PATH".
func (s *Service) Unserved() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unserved)
}

// Serves reports whether the service is the one for that path, of those that share a host.
func Serves(r *http.Request) bool {
	for _, prefix := range []string{"/api/stacks/", "/api/user", "/api/capabilities", "/api/cli/"} {
		if len(r.URL.Path) >= len(prefix) && r.URL.Path[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Serve(w, r, http.HandlerFunc(s.hear))
}

// hear reports a request to who listens, and serves it.
func (s *Service) hear(w http.ResponseWriter, r *http.Request) {
	body, err := unpack(r)
	if err != nil {
		rest.Fail(w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	s.mu.Lock()
	heard := s.heard
	s.mu.Unlock()
	if heard != nil {
		heard(r.Method, r.URL.Path, body)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mux.ServeHTTP(w, r)
}

// unpack is the body of a request, which clients send gzipped where it can be large.
func unpack(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	reader, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// call is one request of a user, who may do what it needs with the stack.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	user  access.User
	stack *stack // nil where the path names none
}

// decode reads the request's body, and answers the call itself where it cannot.
func (c call) decode(request any) bool { return rest.Decode(c.w, c.r, request) }

// routes are the paths of client.go and api_endpoints.go of the CLI's backend/httpstate/client.
func (s *Service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	user := func(pattern string, handler func(call)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if user, known := s.options.Directory.Of(w, r); known {
				handler(call{w, r, user, nil})
			}
		})
	}
	s.options.Directory.Serve(mux)
	user("GET /api/user/stacks", s.listStacks)
	mux.HandleFunc("GET /api/capabilities", s.getCapabilities)
	user("HEAD /api/stacks/{org}/{project}", s.findProject)
	user("POST /api/stacks/{org}/{project}", s.createStack)

	// s.mu is held while a handler of a stack runs.
	const one = "/api/stacks/{org}/{project}/{stack}"
	stack := func(pattern string, needed access.Stack, handler func(call)) {
		user(pattern, func(c call) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.stack = s.find(c, needed); c.stack != nil {
				handler(c)
			}
		})
	}
	stack("GET "+one, access.ReadStack, s.getStack)
	stack("DELETE "+one, access.AdminStack, s.deleteStack)
	stack("POST "+one+"/rename", access.AdminStack, s.renameStack)
	stack("PATCH "+one+"/tags", access.WriteStack, s.updateTags)
	stack("POST "+one+"/encrypt", access.ReadStack, s.encrypt)
	stack("POST "+one+"/batch-encrypt", access.ReadStack, s.batchEncrypt)
	stack("POST "+one+"/decrypt", access.ReadStack, s.decrypt)
	stack("POST "+one+"/batch-decrypt", access.ReadStack, s.batchDecrypt)
	// The CLI tells the service that it decrypted by another provider of secrets.
	for _, event := range []string{"/decrypt/log-decryption", "/decrypt/log-batch-decryption"} {
		stack("POST "+one+event, access.ReadStack, func(c call) { c.w.WriteHeader(http.StatusNoContent) })
	}
	stack("GET "+one+"/export", access.ReadStack, s.export)
	stack("GET "+one+"/export/{version}", access.ReadStack, s.export)
	stack("POST "+one+"/import", access.WriteStack, s.importState)
	stack("GET "+one+"/updates", access.ReadStack, s.listUpdates)
	stack("GET "+one+"/updates/latest", access.ReadStack, s.getLatestUpdate)
	stack("GET "+one+"/updates/latest/previews", access.ReadStack, s.listPreviews)

	stack("POST "+one+"/preview", access.ReadStack, s.createUpdate)
	for _, kind := range []string{"/update", "/refresh", "/destroy"} {
		stack("POST "+one+kind, access.WriteStack, s.createUpdate)
	}
	// Whatever an update's kind, its path says "update".
	stack("POST "+one+"/update/{update}", access.ReadStack, s.startUpdate)
	stack("GET "+one+"/update/{update}", access.ReadStack, s.getUpdate)
	stack("GET "+one+"/update/{update}/events", access.ReadStack, s.listEvents)
	stack("POST "+one+"/update/{update}/cancel", access.WriteStack, s.cancelUpdate)

	// What happens in an update is told under its lease, not by a user.
	lease := func(pattern string, handler func(http.ResponseWriter, *http.Request, *update)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if update := s.leased(w, r); update != nil {
				handler(w, r, update)
			}
		})
	}
	lease("PATCH "+one+"/update/{update}/checkpoint", s.saveWhole)
	lease("PATCH "+one+"/update/{update}/checkpointverbatim", s.saveVerbatim)
	lease("PATCH "+one+"/update/{update}/checkpointdelta", s.saveDelta)
	lease("PATCH "+one+"/update/{update}/journalentries", s.saveJournal)
	lease("POST "+one+"/update/{update}/events/batch", s.saveEvents)
	lease("POST "+one+"/update/{update}/renew_lease", s.renewLease)
	lease("POST "+one+"/update/{update}/complete", s.completeUpdate)

	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unserved = append(s.unserved, r.Method+" "+r.URL.Path)
		rest.Fail(w, http.StatusNotFound, fmt.Sprintf("Not Found: this stand-in for Pulumi Cloud does not serve %s %s", r.Method, r.URL.Path))
	})
	return mux
}

func (s *Service) getCapabilities(w http.ResponseWriter, _ *http.Request) {
	capabilities := []apitype.APICapabilityConfig{
		{Capability: apitype.BatchEncrypt},
		{Capability: apitype.DeploymentSchemaVersion, Version: 1, Configuration: json.RawMessage(`{"version":4}`)},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.form == Deltas {
		capabilities = append(capabilities, apitype.APICapabilityConfig{
			Capability: apitype.DeltaCheckpointUploadsV2, Version: 2, Configuration: json.RawMessage(`{"checkpointCutoffSizeBytes":1}`),
		})
	}
	rest.Answer(w, http.StatusOK, apitype.CapabilitiesResponse{Capabilities: capabilities})
}
