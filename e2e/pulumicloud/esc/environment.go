package esc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/eval"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// defaultProject holds the environments that are older than projects.
const defaultProject = "default"

// environment is one document and its history.
type environment struct {
	org, project, name string
	id                 string // a UUID
	creator            string
	rotating           bool
	protected          bool
	revisions          []revision
	schedules          map[string]schedule // by id
	webhooks           map[string]webhook  // by name
}

type revision struct {
	number  int
	created time.Time
	author  string
	yaml    []byte // secrets encrypted
}

func (e *environment) latest() revision { return e.revisions[len(e.revisions)-1] }

// etag differs between two documents, also of a deleted environment and its successor.
func (e *environment) etag(r revision) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", e.id, r.number, r.yaml))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// version finds a revision by its number or tag; empty means the latest.
// The only tag is "latest".
func (e *environment) version(version string) (revision, bool) {
	if version == "" || version == "latest" {
		return e.latest(), true
	}
	i := slices.IndexFunc(e.revisions, func(r revision) bool { return strconv.Itoa(r.number) == version })
	if i < 0 {
		return revision{}, false
	}
	return e.revisions[i], true
}

// qualifiedName is how the evaluator names an environment.
func qualifiedName(project, name string) string { return project + "/" + name }

func environmentID(org, project, name string) string { return org + "/" + project + "/" + name }

// RenameOrganization gives the environments of an organization, and its teams' permissions on them, to its new name.
func (s *Service) RenameOrganization(organization, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	renamed := func(id string) string {
		if rest, of := strings.CutPrefix(id, organization+"/"); of {
			return to + "/" + rest
		}
		return id
	}
	environments, grants := map[string]*environment{}, map[string]map[string]string{}
	for id, env := range s.environments {
		if env.org == organization {
			env.org = to
		}
		environments[renamed(id)] = env
	}
	for team, granted := range s.grants {
		of := map[string]string{}
		for id, permission := range granted {
			of[renamed(id)] = permission
		}
		grants[renamed(team)] = of
	}
	s.environments, s.grants = environments, grants
}

// permission must be called with s.mu held.
func (s *Service) permission(user access.User, id string) access.Environment {
	if env, exists := s.environments[id]; exists && env.creator == user.Name {
		return access.AdminEnvironment
	}
	permission := user.Environment(id)
	for _, team := range user.Teams {
		permission = max(permission, permissionNames[s.grants[teamID(strings.Split(id, "/")[0], team)][id]])
	}
	return permission
}

// find looks up the environment that the call's path names and answers the call
// itself when there is none or the user may not do what needs the permission.
// s.mu must be held.
func (s *Service) find(c call, needed access.Environment) *environment {
	id := environmentID(c.r.PathValue("org"), c.r.PathValue("project"), c.r.PathValue("env"))
	env, err := s.lookup(c.user, id, needed)
	if err != nil {
		rest.Fail(c.w, err.status, err.message)
	}
	return env
}

type lookupError struct {
	status  int
	message string
}

func (e *lookupError) Error() string { return e.message }

func (s *Service) lookup(user access.User, id string, needed access.Environment) (*environment, *lookupError) {
	env, exists := s.environments[id]
	permission := s.permission(user, id)
	switch {
	case !exists || permission == access.NoEnvironment:
		return nil, &lookupError{http.StatusNotFound, fmt.Sprintf("Not Found: environment %q not found", id)}
	case permission < needed:
		return nil, &lookupError{http.StatusForbidden, fmt.Sprintf("Forbidden: %s lacks permission on environment %q", user.Name, id)}
	}
	return env, nil
}

func (s *Service) listEnvironments(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	response := client.ListEnvironmentsResponse{}
	for id, env := range s.environments {
		org := c.r.PathValue("org")
		if (org == "" || org == env.org) && s.permission(c.user, id) >= access.ReadEnvironment {
			response.Environments = append(response.Environments, client.OrgEnvironment{
				Organization: env.org, Project: env.project, Name: env.name,
			})
		}
	}
	slices.SortFunc(response.Environments, func(a, b client.OrgEnvironment) int {
		return strings.Compare(environmentID(a.Organization, a.Project, a.Name), environmentID(b.Organization, b.Project, b.Name))
	})
	rest.Answer(c.w, http.StatusOK, response)
}

var validName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (s *Service) createEnvironment(c call) {
	var request struct{ Project, Name string }
	if err := json.NewDecoder(c.r.Body).Decode(&request); err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	if request.Project == "" {
		request.Project = defaultProject
	}
	for _, part := range []string{request.Project, request.Name} {
		if !validName.MatchString(part) {
			rest.Fail(c.w, http.StatusBadRequest, fmt.Sprintf(
				"Bad Request: %q may only hold letters, digits, hyphens, underscores and periods", part))
			return
		}
	}
	if !c.user.Holds(access.CreateEnvironments) {
		rest.Fail(c.w, http.StatusForbidden, fmt.Sprintf("Forbidden: %s may not create environments in organization %q", c.user.Name, c.r.PathValue("org")))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := environmentID(c.r.PathValue("org"), request.Project, request.Name)
	if _, exists := s.environments[id]; exists {
		rest.Fail(c.w, http.StatusConflict, fmt.Sprintf("Conflict: environment %q already exists", id))
		return
	}
	s.environments[id] = &environment{
		org: c.r.PathValue("org"), project: request.Project, name: request.Name,
		id: uuid.NewString(), creator: c.user.Name, schedules: map[string]schedule{}, webhooks: map[string]webhook{},
		revisions: []revision{{number: 1, created: s.options.Now(), author: c.user.Name}},
	}
	rest.Answer(c.w, http.StatusOK, struct{}{})
}

func (s *Service) deleteEnvironment(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, access.AdminEnvironment)
	switch {
	case env == nil:
	case env.protected:
		rest.Fail(c.w, http.StatusConflict, fmt.Sprintf("Conflict: environment %q is protected from deletion", qualifiedName(env.project, env.name)))
	default:
		delete(s.environments, environmentID(env.org, env.project, env.name))
		rest.Answer(c.w, http.StatusOK, struct{}{})
	}
}

// getDefinition answers the latest document, or that of the version in the path.
func (s *Service) getDefinition(c call) { s.serveDefinition(c, false) }

func (s *Service) serveDefinition(c call, decrypt bool) {
	needed := access.ReadEnvironment
	if decrypt {
		needed = access.OpenEnvironment
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, needed)
	if env == nil {
		return
	}
	at, exists := env.version(c.r.PathValue("version"))
	if !exists {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: revision %q not found", c.r.PathValue("version")))
		return
	}
	yaml := at.yaml
	if decrypt && len(yaml) > 0 {
		var err error
		if yaml, err = eval.DecryptSecrets(c.r.Context(), qualifiedName(env.project, env.name), yaml, s); err != nil {
			rest.Fail(c.w, http.StatusInternalServerError, "decrypting the environment: "+err.Error())
			return
		}
	}
	c.w.Header().Set("Content-Type", "application/x-yaml")
	// The client reads the tag of its requests and answers from this header.
	c.w.Header().Set("ETag", env.etag(at))
	c.w.Header().Set("Pulumi-ESC-Revision", strconv.Itoa(at.number))
	_, _ = c.w.Write(yaml)
}

func (s *Service) getPart(c call) {
	switch c.r.PathValue("part") {
	case "decrypt":
		s.serveDefinition(c, true)
	case "metadata":
		s.getMetadata(c)
	case "versions":
		s.listRevisions(c)
	case "schedules":
		s.listSchedules(c)
	case "hooks":
		s.listWebhooks(c)
	default:
		notServed(c.w, c.r)
	}
}

// getVersionPart serves .../versions/<version>/decrypt and .../versions/tags/<tag>,
// which one pattern has to tell apart.
func (s *Service) getVersionPart(c call) {
	switch version, part := c.r.PathValue("version"), c.r.PathValue("part"); {
	case version == "tags":
		s.getRevisionTag(c, part)
	case part == "decrypt":
		s.serveDefinition(c, true)
	default:
		notServed(c.w, c.r)
	}
}

func (s *Service) getRevisionTag(c call, tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, access.ReadEnvironment)
	switch {
	case env == nil:
	case tag != "latest":
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: revision tag %q not found", tag))
	default:
		at := env.latest()
		rest.Answer(c.w, http.StatusOK, client.EnvironmentRevisionTag{
			Name: tag, Revision: at.number, Created: at.created, Modified: at.created,
			EditorLogin: at.author, EditorName: at.author,
		})
	}
}

func (s *Service) getMetadata(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env := s.find(c, access.ReadEnvironment); env != nil {
		rest.Answer(c.w, http.StatusOK, map[string]string{"id": env.id})
	}
}

func (s *Service) listRevisions(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, access.ReadEnvironment)
	if env == nil {
		return
	}
	revisions := []client.EnvironmentRevision{}
	for i, at := range slices.Backward(env.revisions) {
		tags := []string{}
		if i == len(env.revisions)-1 {
			tags = []string{"latest"}
		}
		// The client pages backwards: the next page has the revisions before this number.
		if before, err := strconv.Atoi(c.r.URL.Query().Get("before")); err == nil && before > 0 && at.number >= before {
			continue
		}
		revisions = append(revisions, client.EnvironmentRevision{
			Number: at.number, Created: at.created, CreatorLogin: at.author, CreatorName: at.author, Tags: tags,
		})
		if count, err := strconv.Atoi(c.r.URL.Query().Get("count")); err == nil && len(revisions) == count {
			break
		}
	}
	rest.Answer(c.w, http.StatusOK, revisions)
}

// updateEnvironment replaces the document when it passes the check and, where
// the request carries an etag, when nobody else wrote in between. Without an
// etag the last writer wins.
func (s *Service) updateEnvironment(c call) {
	yaml, err := io.ReadAll(c.r.Body)
	if err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	s.mu.Lock()
	env := s.find(c, access.WriteEnvironment)
	s.mu.Unlock()
	if env == nil {
		return
	}
	name := qualifiedName(env.project, env.name)
	_, diagnostics, err := s.check(c.r.Context(), c.user, env.org, name, yaml, false)
	if err != nil {
		rest.Fail(c.w, http.StatusInternalServerError, "checking the environment: "+err.Error())
		return
	}
	if client.DiagnosticsHaveErrors(diagnostics) {
		answerDiagnostics(c.w, diagnostics)
		return
	}
	if len(bytes.TrimSpace(yaml)) > 0 {
		if yaml, err = eval.EncryptSecrets(c.r.Context(), name, yaml, s); err != nil {
			rest.Fail(c.w, http.StatusInternalServerError, "encrypting the environment's secrets: "+err.Error())
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if env = s.find(c, access.WriteEnvironment); env == nil {
		return
	}
	if etag := c.r.Header.Get("ETag"); etag != "" && etag != env.etag(env.latest()) {
		rest.Fail(c.w, http.StatusConflict, fmt.Sprintf("Conflict: environment %q was changed since it was read: read it again", name))
		return
	}
	s.write(env, c.user, yaml)
	c.w.Header().Set("Pulumi-ESC-Revision", strconv.Itoa(env.latest().number))
	rest.Answer(c.w, http.StatusOK, client.UpdateEnvironmentResponse{
		EnvironmentDiagnosticError: client.EnvironmentDiagnosticError{Diagnostics: diagnostics},
	})
}

// write adds a revision. s.mu must be held.
func (s *Service) write(env *environment, author access.User, yaml []byte) {
	env.revisions = append(env.revisions, revision{
		number: env.latest().number + 1, created: s.options.Now(), author: author.Name, yaml: yaml,
	})
}

// Encrypt makes the service an [eval.Encrypter] with its own key.
func (s *Service) Encrypt(_ context.Context, plaintext []byte) ([]byte, error) {
	return s.aead.Seal(nil, nil, plaintext, nil), nil
}

// Decrypt makes the service an [eval.Decrypter] with its own key.
func (s *Service) Decrypt(_ context.Context, ciphertext []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, ciphertext, nil)
}

// decrypterFor is the service, but for a document that was only sent to be
// evaluated: who has no permission to open an environment must not learn its
// secrets by sending its ciphertext.
func (s *Service) decrypterFor(name string) eval.Decrypter {
	if name == esc.AnonymousEnvironmentName {
		return noDecrypter{}
	}
	return s
}

type noDecrypter struct{}

func (noDecrypter) Decrypt(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("encrypted secrets belong to a stored environment: open that one")
}
