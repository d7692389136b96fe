package state

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// stack is one stack, with all that was ever saved of it.
type stack struct {
	id                 string // a UUID
	org, project, name string
	creator            string
	tags               map[apitype.StackTagName]string
	aead               cipher.AEAD

	deployment apitype.UntypedDeployment // what the last complete update left
	updates    map[string]*update        // by id, previews too
	history    []*update                 // those that have started and are no previews, oldest first
	previews   []*update                 // oldest first
}

// emptyDeployment is the state of a stack that was never updated.
var emptyDeployment = apitype.UntypedDeployment{
	Version: 3, Deployment: json.RawMessage(`{"manifest":{"time":"0001-01-01T00:00:00Z","magic":"","version":""}}`),
}

func stackID(org, project, name string) string { return org + "/" + project + "/" + name }

func (s *stack) path() string { return stackID(s.org, s.project, s.name) }

// version is that of the last update that has started.
func (s *stack) version() int { return len(s.history) }

// running is the update that holds the stack's lock. One whose lease has run out ends here.
func (s *stack) running() *update {
	if len(s.history) == 0 {
		return nil
	}
	last := s.history[len(s.history)-1]
	if last.status == apitype.StatusRunning && last.expired() {
		last.end(s, apitype.StatusFailed)
	}
	if last.status != apitype.StatusRunning {
		return nil
	}
	return last
}

// current is what an export answers.
func (s *stack) current(reading Reading) apitype.UntypedDeployment {
	if running := s.running(); running != nil && reading == SoFar && running.checkpoint != nil {
		return *running.checkpoint
	}
	return s.deployment
}

// find looks up the stack that the call's path names and answers the call itself when there is none or the user may not
// do what needs the permission. s.mu must be held.
func (s *Service) find(c call, needed access.Stack) *stack {
	id := stackID(c.r.PathValue("org"), c.r.PathValue("project"), c.r.PathValue("stack"))
	found, exists := s.stacks[id]
	permission := c.user.Stack(id)
	if exists && found.creator == c.user.Name {
		permission = access.AdminStack
	}
	switch {
	case !exists || permission == access.NoStack:
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: Stack '%s' not found", id))
		return nil
	case permission < needed:
		name := map[access.Stack]string{access.WriteStack: "write", access.AdminStack: "admin"}[needed]
		rest.Fail(c.w, http.StatusForbidden, fmt.Sprintf("Forbidden: %s lacks the %s permission on stack '%s'", c.user.Name, name, id))
		return nil
	}
	return found
}

func (s *Service) listStacks(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := c.r.URL.Query()
	found := []apitype.StackSummary{}
	for _, id := range slices.Sorted(maps.Keys(s.stacks)) {
		stack := s.stacks[id]
		tag, tagged := stack.tags[query.Get("tagName")]
		switch {
		case stack.creator != c.user.Name && c.user.Stack(id) == access.NoStack,
			query.Get("organization") != "" && query.Get("organization") != stack.org,
			query.Get("project") != "" && query.Get("project") != stack.project,
			query.Get("tagName") != "" && !tagged,
			query.Get("tagValue") != "" && query.Get("tagValue") != tag:
			continue
		}
		summary := apitype.StackSummary{ID: stack.id, OrgName: stack.org, ProjectName: stack.project, StackName: stack.name}
		if stack.version() > 0 {
			started, count := stack.history[stack.version()-1].info.StartTime, resources(stack.current(s.reading))
			summary.LastUpdate, summary.ResourceCount = &started, &count
		}
		found = append(found, summary)
	}
	rest.Answer(c.w, http.StatusOK, apitype.ListStacksResponse{Stacks: found})
}

// resources counts what a deployment holds.
func resources(deployment apitype.UntypedDeployment) int {
	var parts struct {
		Resources []json.RawMessage `json:"resources"`
	}
	// What is no such JSON holds none.
	_ = json.Unmarshal(deployment.Deployment, &parts)
	return len(parts.Resources)
}

func (s *Service) findProject(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, stack := range s.stacks {
		visible := stack.creator == c.user.Name || c.user.Stack(id) > access.NoStack
		if stack.org == c.r.PathValue("org") && stack.project == c.r.PathValue("project") && visible {
			c.w.WriteHeader(http.StatusOK)
			return
		}
	}
	rest.Fail(c.w, http.StatusNotFound, "Not Found: Project not found")
}

// validName is what the CLI lets through as the name of a project or a stack.
var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

func (s *Service) createStack(c call) {
	var request apitype.CreateStackRequest
	if !c.decode(&request) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := stackID(c.r.PathValue("org"), c.r.PathValue("project"), request.StackName)
	_, exists := s.stacks[id]
	switch {
	case !c.user.Holds(access.CreateStacks):
		rest.Fail(c.w, http.StatusForbidden, fmt.Sprintf("Forbidden: %s may not create stacks in organization '%s'", c.user.Name, c.r.PathValue("org")))
		return
	case !validName.MatchString(request.StackName) || !validName.MatchString(c.r.PathValue("project")):
		rest.Fail(c.w, http.StatusBadRequest, fmt.Sprintf("Bad Request: '%s' is no valid name of a stack", id))
		return
	case exists:
		// The CLI knows this case by these two words.
		rest.Fail(c.w, http.StatusConflict, fmt.Sprintf("Conflict: Stack '%s' already exists", id))
		return
	}
	aead, err := newKey()
	if err != nil {
		rest.Fail(c.w, http.StatusInternalServerError, err.Error())
		return
	}
	made := &stack{
		id: uuid.NewString(), org: c.r.PathValue("org"), project: c.r.PathValue("project"), name: request.StackName,
		creator: c.user.Name, tags: request.Tags, aead: aead, deployment: emptyDeployment, updates: map[string]*update{},
	}
	if request.State != nil {
		made.deployment = *request.State
	}
	s.stacks[id] = made
	rest.Answer(c.w, http.StatusOK, apitype.CreateStackResponse{})
}

func (s *Service) getStack(c call) {
	found := apitype.Stack{
		ID: c.stack.id, OrgName: c.stack.org, ProjectName: c.stack.project, StackName: tokens.QName(c.stack.name),
		Tags: c.stack.tags, Version: c.stack.version(),
	}
	running := c.stack.running()
	if len(c.stack.history) > 0 {
		found.ActiveUpdate = c.stack.history[len(c.stack.history)-1].id
	}
	if running != nil {
		found.CurrentOperation = &apitype.OperationStatus{Kind: running.info.Kind, Author: running.author, Started: running.info.StartTime}
	}
	rest.Answer(c.w, http.StatusOK, found)
}

func (s *Service) deleteStack(c call) {
	force, _ := strconv.ParseBool(c.r.URL.Query().Get("force"))
	switch {
	case c.stack.running() != nil:
		rest.Fail(c.w, http.StatusConflict, locked)
	case !force && resources(c.stack.deployment) > 0:
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: Stack still contains resources.")
	default:
		delete(s.stacks, c.stack.path())
		c.w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Service) renameStack(c call) {
	var request apitype.StackRenameRequest
	if !c.decode(&request) {
		return
	}
	project := request.NewProject
	if project == "" {
		project = c.stack.project
	}
	id := stackID(c.stack.org, project, request.NewName)
	_, exists := s.stacks[id]
	switch {
	case c.stack.running() != nil:
		rest.Fail(c.w, http.StatusConflict, locked)
		return
	case exists:
		rest.Fail(c.w, http.StatusConflict, fmt.Sprintf("Conflict: Stack '%s' already exists", id))
		return
	}
	renamed := strings.NewReplacer(
		fmt.Sprintf("urn:pulumi:%s::%s::", c.stack.name, c.stack.project), fmt.Sprintf("urn:pulumi:%s::%s::", request.NewName, project),
		fmt.Sprintf(`"project":%q,"stack":%q`, c.stack.project, c.stack.name), fmt.Sprintf(`"project":%q,"stack":%q`, project, request.NewName),
	).Replace(string(c.stack.deployment.Deployment))
	c.stack.deployment.Deployment = json.RawMessage(renamed)
	delete(s.stacks, c.stack.path())
	c.stack.project, c.stack.name = project, request.NewName
	s.stacks[id] = c.stack
	c.w.WriteHeader(http.StatusNoContent)
}

// RenameOrganization gives the stacks of an organization to its new name, which then stands where their secrets' provider has the
// old one, as after a stack's own renaming. That Pulumi Cloud writes it there is not confirmed: else no command could read them.
func (s *Service) RenameOrganization(organization, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, stack := range maps.Clone(s.stacks) {
		if stack.org == organization {
			delete(s.stacks, id)
			stack.org = to
			owner := func(name string) string { return fmt.Sprintf(`"owner":%q,"project":%q`, name, stack.project) }
			stack.deployment.Deployment = json.RawMessage(strings.ReplaceAll(string(stack.deployment.Deployment), owner(organization), owner(to)))
			s.stacks[stack.path()] = stack
		}
	}
}

func (s *Service) updateTags(c call) {
	var tags map[apitype.StackTagName]string
	if c.decode(&tags) {
		c.stack.tags = tags
		c.w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Service) export(c call) {
	version := c.r.PathValue("version")
	if version == "" {
		rest.Answer(c.w, http.StatusOK, c.stack.current(s.reading))
		return
	}
	number, err := strconv.Atoi(version)
	if err != nil || number < 1 || number > c.stack.version() {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: Update '%s' not found", version))
		return
	}
	at := c.stack.history[number-1]
	if at.status == apitype.StatusRunning {
		rest.Answer(c.w, http.StatusOK, c.stack.current(s.reading))
		return
	}
	rest.Answer(c.w, http.StatusOK, at.left)
}

func newKey() (cipher.AEAD, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("making a stack's key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making a stack's key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (s *stack) encrypt(plaintext []byte) []byte { return s.aead.Seal(nil, nil, plaintext, nil) }

// decrypt answers the call itself where it cannot.
func (c call) decrypted(ciphertext []byte) ([]byte, bool) {
	plaintext, err := c.stack.aead.Open(nil, nil, ciphertext, nil)
	if err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: Could not decrypt value")
		return nil, false
	}
	if plaintext == nil {
		plaintext = []byte{} // null is no text
	}
	return plaintext, true
}

func (s *Service) encrypt(c call) {
	var request apitype.EncryptValueRequest
	if c.decode(&request) {
		rest.Answer(c.w, http.StatusOK, apitype.EncryptValueResponse{Ciphertext: c.stack.encrypt(request.Plaintext)})
	}
}

func (s *Service) batchEncrypt(c call) {
	var request apitype.BatchEncryptRequest
	if !c.decode(&request) {
		return
	}
	response := apitype.BatchEncryptResponse{Ciphertexts: [][]byte{}}
	for _, plaintext := range request.Plaintexts {
		response.Ciphertexts = append(response.Ciphertexts, c.stack.encrypt(plaintext))
	}
	rest.Answer(c.w, http.StatusOK, response)
}

func (s *Service) decrypt(c call) {
	var request apitype.DecryptValueRequest
	if !c.decode(&request) {
		return
	}
	if plaintext, ok := c.decrypted(request.Ciphertext); ok {
		rest.Answer(c.w, http.StatusOK, apitype.DecryptValueResponse{Plaintext: plaintext})
	}
}

func (s *Service) batchDecrypt(c call) {
	var request apitype.BatchDecryptRequest
	if !c.decode(&request) {
		return
	}
	response := apitype.BatchDecryptResponse{Plaintexts: map[string][]byte{}}
	for _, ciphertext := range request.Ciphertexts {
		plaintext, ok := c.decrypted(ciphertext)
		if !ok {
			return
		}
		response.Plaintexts[base64.StdEncoding.EncodeToString(ciphertext)] = plaintext
	}
	rest.Answer(c.w, http.StatusOK, response)
}
