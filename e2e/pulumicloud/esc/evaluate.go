package esc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"
	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/ast"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/eval"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc/syntax"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// evaluation is what one evaluation may load: on whose behalf, and in which organization.
type evaluation struct {
	service *Service
	user    access.User
	org     string
}

// LoadProvider implements [eval.ProviderLoader].
func (e evaluation) LoadProvider(_ context.Context, name string) (esc.Provider, error) {
	if name == "aws-login" {
		return awsLogin{e}, nil
	}
	return nil, fmt.Errorf("unknown provider %q: this stand-in for Pulumi ESC knows aws-login", name)
}

// LoadRotator implements [eval.ProviderLoader].
func (e evaluation) LoadRotator(_ context.Context, name string) (esc.Rotator, error) {
	switch name {
	case "postgres", "mysql":
		return databaseRotator{e, name}, nil
	}
	return nil, fmt.Errorf("unknown rotator %q: this stand-in for Pulumi ESC knows mysql and postgres", name)
}

// importedID is the id of an environment by its name in an import:
// "project/environment", or only "environment" in the project default, and a
// version after "@".
func (e evaluation) importedID(name string) (id, version string) {
	name, version, _ = strings.Cut(name, "@")
	if !strings.Contains(name, "/") {
		name = qualifiedName(defaultProject, name)
	}
	return e.org + "/" + name, version
}

// AuthorizeImport implements [eval.EnvironmentLoader]: who evaluates an
// environment needs the permission to open those that it imports.
func (e evaluation) AuthorizeImport(_ context.Context, _, imported string, _ bool) error {
	e.service.mu.Lock()
	defer e.service.mu.Unlock()
	id, _ := e.importedID(imported)
	if _, err := e.service.lookup(e.user, id, access.OpenEnvironment); err != nil {
		return err
	}
	return nil
}

// LoadEnvironment implements [eval.EnvironmentLoader].
func (e evaluation) LoadEnvironment(_ context.Context, name string) ([]byte, eval.Decrypter, error) {
	e.service.mu.Lock()
	defer e.service.mu.Unlock()
	id, version := e.importedID(name)
	env, err := e.service.lookup(e.user, id, access.OpenEnvironment)
	if err != nil {
		return nil, nil, err
	}
	at, exists := env.version(version)
	if !exists {
		return nil, nil, fmt.Errorf("revision %q of environment %q not found", version, id)
	}
	return at.yaml, e.service, nil
}

// context holds what a document may read as ${context.pulumi…}.
func (e evaluation) context() (*esc.ExecContext, error) {
	login := func(name string) esc.Value {
		return esc.NewValue(map[string]esc.Value{"login": esc.NewValue(name)})
	}
	return esc.NewExecContext(map[string]esc.Value{
		"pulumi": esc.NewValue(map[string]esc.Value{"user": login(e.user.Name), "organization": login(e.org)}),
	})
}

// load parses a document and prepares its evaluation.
func (s *Service) load(user access.User, org, name string, yaml []byte) (
	evaluation, *ast.EnvironmentDecl, *esc.ExecContext, syntax.Diagnostics, error,
) {
	e := evaluation{s, user, org}
	execContext, err := e.context()
	if err != nil {
		return e, nil, nil, nil, err
	}
	declaration, diagnostics, err := eval.LoadYAMLBytes(name, yaml)
	return e, declaration, execContext, diagnostics, err
}

// check evaluates a document without opening anything.
func (s *Service) check(ctx context.Context, user access.User, org, name string, yaml []byte, showSecrets bool) (
	*esc.Environment, []client.EnvironmentDiagnostic, error,
) {
	e, declaration, execContext, diagnostics, err := s.load(user, org, name, yaml)
	if err != nil || diagnostics.HasErrors() {
		return nil, wireDiagnostics(diagnostics), err
	}
	checked, found := eval.CheckEnvironment(ctx, name, declaration, s.decrypterFor(name), e, e, execContext, showSecrets, eval.EvalOptions{})
	diagnostics.Extend(found...)
	return checked, wireDiagnostics(diagnostics), nil
}

func (s *Service) checkYAML(c call) {
	yaml, err := io.ReadAll(c.r.Body)
	if err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	showSecrets := c.r.URL.Query().Get("showSecrets") == "true"
	checked, diagnostics, err := s.check(c.r.Context(), c.user, c.r.PathValue("org"), esc.AnonymousEnvironmentName, yaml, showSecrets)
	switch {
	case err != nil:
		rest.Fail(c.w, http.StatusInternalServerError, "checking the environment: "+err.Error())
	case client.DiagnosticsHaveErrors(diagnostics):
		answerDiagnostics(c.w, diagnostics)
	case checked == nil:
		rest.Answer(c.w, http.StatusOK, esc.Environment{})
	default:
		rest.Answer(c.w, http.StatusOK, checked)
	}
}

// session is an opened environment, to be read until it expires.
type session struct {
	// of is the id of the environment, or the organization of an anonymous one.
	of      string
	user    string
	opened  *esc.Environment
	expires time.Time
}

func (s *Service) openEnvironment(c call) {
	s.mu.Lock()
	env := s.find(c, access.OpenEnvironment)
	s.mu.Unlock()
	if env == nil {
		return
	}
	s.mu.Lock()
	at, exists := env.version(c.r.PathValue("version"))
	s.mu.Unlock()
	if !exists {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: revision %q not found", c.r.PathValue("version")))
		return
	}
	s.open(c, environmentID(env.org, env.project, env.name), qualifiedName(env.project, env.name), at.yaml)
}

func (s *Service) openYAML(c call) {
	if c.r.URL.Query().Get("environmentOverrides") != "" {
		rest.Fail(c.w, http.StatusNotImplemented, "this stand-in for Pulumi ESC does not serve environmentOverrides")
		return
	}
	yaml, err := io.ReadAll(c.r.Body)
	if err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	s.open(c, c.r.PathValue("org"), esc.AnonymousEnvironmentName, yaml)
}

func (s *Service) open(c call, of, name string, yaml []byte) {
	duration, err := time.ParseDuration(c.r.URL.Query().Get("duration"))
	if err != nil {
		rest.Fail(c.w, http.StatusBadRequest, fmt.Sprintf("Bad Request: duration: %v", err))
		return
	}
	e, declaration, execContext, diagnostics, err := s.load(c.user, c.r.PathValue("org"), name, yaml)
	if err != nil {
		rest.Fail(c.w, http.StatusInternalServerError, "reading the environment: "+err.Error())
		return
	}
	opened := &esc.Environment{}
	if !diagnostics.HasErrors() {
		evaluated, found := eval.EvalEnvironment(c.r.Context(), name, declaration, s.decrypterFor(name), e, e, execContext, eval.EvalOptions{})
		diagnostics.Extend(found...)
		if evaluated != nil {
			opened = evaluated
		}
	}
	if diagnostics.HasErrors() {
		answerDiagnostics(c.w, wireDiagnostics(diagnostics))
		return
	}
	id := uuid.NewString()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = session{of: of, user: c.user.Name, opened: opened, expires: s.options.Now().Add(duration)}
	rest.Answer(c.w, http.StatusOK, client.OpenEnvironmentResponse{ID: id})
}

// getOpenEnvironment answers a session's values, or the one that the query's
// property path names.
func (s *Service) getOpenEnvironment(c call) {
	of := c.r.PathValue("org")
	if project := c.r.PathValue("project"); project != "" {
		of = environmentID(of, project, c.r.PathValue("env"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	opened, known := s.sessions[c.r.PathValue("session")]
	if !known || opened.of != of || opened.user != c.user.Name || s.options.Now().After(opened.expires) {
		rest.Fail(c.w, http.StatusNotFound, "Not Found: no such open environment")
		return
	}
	if !c.r.URL.Query().Has("property") {
		rest.Answer(c.w, http.StatusOK, opened.opened)
		return
	}
	path, err := resource.ParsePropertyPath(c.r.URL.Query().Get("property"))
	if err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	value, exists := at(esc.NewValue(opened.opened.Properties), path)
	if !exists {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: no property %q", path))
		return
	}
	rest.Answer(c.w, http.StatusOK, value)
}

// at walks into a value.
func at(value esc.Value, path resource.PropertyPath) (esc.Value, bool) {
	for _, step := range path {
		switch container := value.Value.(type) {
		case map[string]esc.Value:
			key, isKey := step.(string)
			element, exists := container[key]
			if !isKey || !exists {
				return esc.Value{}, false
			}
			value = element
		case []esc.Value:
			index, isIndex := step.(int)
			if !isIndex || index < 0 || index >= len(container) {
				return esc.Value{}, false
			}
			value = container[index]
		default:
			return esc.Value{}, false
		}
	}
	return value, true
}

// rotateEnvironment invokes the document's rotators and writes their new state
// beside their inputs. A rotator that fails leaves its state as it was.
func (s *Service) rotateEnvironment(c call) {
	var request struct{ Paths []string }
	if err := json.NewDecoder(c.r.Body).Decode(&request); err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	paths := make([]resource.PropertyPath, len(request.Paths))
	for i, text := range request.Paths {
		path, err := resource.ParsePropertyPath(text)
		if err != nil {
			rest.Fail(c.w, http.StatusBadRequest, fmt.Sprintf("Bad Request: path %q: %v", text, err))
			return
		}
		paths[i] = path
	}
	s.mu.Lock()
	env := s.find(c, access.WriteEnvironment)
	if env != nil && env.rotating {
		rest.Fail(c.w, http.StatusConflict, "Conflict: a rotation of this environment is in progress")
		env = nil
	}
	if env == nil {
		s.mu.Unlock()
		return
	}
	env.rotating = true
	before := env.latest()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		env.rotating = false
		s.mu.Unlock()
	}()

	// A rotation runs to its end: a client that goes away must not cost the new password.
	ctx := context.WithoutCancel(c.r.Context())
	name := qualifiedName(env.project, env.name)
	e, declaration, execContext, diagnostics, err := s.load(c.user, env.org, name, before.yaml)
	if err != nil {
		rest.Fail(c.w, http.StatusInternalServerError, "reading the environment: "+err.Error())
		return
	}
	var rotations eval.RotationResult
	if !diagnostics.HasErrors() {
		_, result, found := eval.RotateEnvironment(ctx, name, declaration, s, e, e, execContext, paths, eval.EvalOptions{})
		rotations = result
		diagnostics.Extend(found...)
	}
	event := client.SecretRotationEvent{
		ID: uuid.NewString(), EnvironmentID: env.id, CreatedAt: s.options.Now(), UserID: c.user.Name,
		PreRotationRevision: before.number, Status: client.RotationEventSucceeded,
	}
	evaluated := false
	for _, rotation := range rotations {
		if rotation.Status == eval.RotationNotEvaluated {
			continue
		}
		evaluated = true
		done := client.SecretRotation{
			ID: uuid.NewString(), EnvironmentPath: strings.TrimPrefix(rotation.Path, "values."), Status: client.RotationSucceeded,
		}
		if rotation.Status == eval.RotationFailed {
			message := rotation.Diags.Error()
			done.Status, done.ErrorMessage = client.RotationFailed, &message
			event.Status = client.RotationEventFailed
		}
		event.Rotations = append(event.Rotations, done)
	}
	if !evaluated && diagnostics.HasErrors() {
		answerDiagnostics(c.w, wireDiagnostics(diagnostics))
		return
	}
	if patches := rotations.Patches(); len(patches) > 0 {
		after, err := s.writePatches(ctx, env, c.user, patches)
		if err != nil {
			rest.Fail(c.w, http.StatusInternalServerError, "writing the rotated state: "+err.Error())
			return
		}
		event.PostRotationRevision = &after
	}
	completed := s.options.Now()
	event.CompletedAt = &completed
	s.tell(ctx, env, c.user, event)
	rest.Answer(c.w, http.StatusOK, client.RotateEnvironmentResponse{SecretRotationEvent: event})
}

// writePatches patches the latest document, which may be newer than the one that was evaluated.
func (s *Service) writePatches(ctx context.Context, env *environment, user access.User, patches []*eval.Patch) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.environments[environmentID(env.org, env.project, env.name)] != env {
		return 0, errors.New("the environment was deleted during its rotation")
	}
	patched, err := eval.ApplyValuePatches(env.latest().yaml, patches)
	if err != nil {
		return 0, err
	}
	encrypted, err := eval.EncryptSecrets(ctx, qualifiedName(env.project, env.name), patched, s)
	if err != nil {
		return 0, err
	}
	s.write(env, user, encrypted)
	return env.latest().number, nil
}

func answerDiagnostics(w http.ResponseWriter, diagnostics []client.EnvironmentDiagnostic) {
	rest.Answer(w, http.StatusBadRequest, client.EnvironmentErrorResponse{
		Code: http.StatusBadRequest, Message: "Bad Request: environment has errors", Diagnostics: diagnostics,
	})
}

func wireDiagnostics(diagnostics syntax.Diagnostics) []client.EnvironmentDiagnostic {
	wire := make([]client.EnvironmentDiagnostic, len(diagnostics))
	for i, diagnostic := range diagnostics {
		wire[i] = client.EnvironmentDiagnostic{
			Summary: diagnostic.Summary, Detail: diagnostic.Detail, Severity: client.DiagError,
		}
		if diagnostic.Severity == hcl.DiagWarning {
			wire[i].Severity = client.DiagWarning
		}
		if subject := diagnostic.Subject; subject != nil {
			wire[i].Range = &esc.Range{
				Environment: subject.Filename,
				Begin:       esc.Pos{Line: subject.Start.Line, Column: subject.Start.Column, Byte: subject.Start.Byte},
				End:         esc.Pos{Line: subject.End.Line, Column: subject.End.Column, Byte: subject.End.Byte},
			}
		}
	}
	return wire
}
