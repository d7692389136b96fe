// Package access says who presents an access token to a service that plays
// Pulumi Cloud, and what that user may do.
//
// It differs from Pulumi Cloud's own access control in this:
//
//   - A permission is one of the built-in sets, each of which includes those
//     before it. Custom sets, and roles that grant by tags, are left out.
//   - A user is a member of every organization of the service. What a member may
//     create is all or nothing ([Scope]); a default that the organization gives
//     its members is written into each user's "*".
//   - Who creates a stack or an environment has Admin on it, for as long as it is there.
//   - Tokens do not expire. They are revoked by [Directory.Revoke].
//
// The sets and scopes are those of
// https://www.pulumi.com/docs/administration/access-identity/rbac/permission-sets/.
package access

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// User is who presents an access token.
type User struct {
	// Name is the login.
	Name string
	// Environments are by "organization/project/environment"; "*" is for all that have no entry.
	Environments map[string]Environment
	// Stacks are by "organization/project/stack"; "*" is for all that have no entry.
	Stacks map[string]Stack
	// Teams are those that the user is a member of.
	Teams []string
	// Lacks are the organization's scopes that the user's role does not hold.
	Lacks []Scope
}

// Environment is what a user may do with an environment. Each includes those before it.
// An environment without any is not visible: it is answered like one that is not there.
type Environment int

const (
	NoEnvironment    Environment = iota
	ReadEnvironment              // the definition, with secrets encrypted
	OpenEnvironment              // the values, decrypted
	WriteEnvironment             // change, and rotate
	AdminEnvironment             // delete
)

// Stack is what a user may do with a stack. Each includes those before it.
// A stack without any is not visible: it is answered like one that is not there.
type Stack int

const (
	NoStack    Stack = iota
	ReadStack        // read, export, encrypt and decrypt, and so preview
	WriteStack       // update, import, tag, cancel an update
	AdminStack       // rename, delete
)

// Scope is what a member of an organization may create.
type Scope string

const (
	CreateStacks       Scope = "stack:create"
	CreateEnvironments Scope = "environment:create"
)

// Holds reports whether the user's role holds the scope.
func (u User) Holds(scope Scope) bool { return !slices.Contains(u.Lacks, scope) }

// Stack is what the user's role grants on a stack.
func (u User) Stack(id string) Stack {
	if permission, set := u.Stacks[id]; set {
		return permission
	}
	return u.Stacks["*"]
}

// Environment is what the user's role grants on an environment.
func (u User) Environment(id string) Environment {
	if permission, set := u.Environments[id]; set {
		return permission
	}
	return u.Environments["*"]
}

// Directory knows organizations and users.
type Directory struct {
	// Teams are those of every organization.
	Teams []string

	mu            sync.Mutex
	organizations []string
	tokens        map[string]User
}

// NewDirectory knows these users, by their access tokens, and the organizations of all of them, of which the first is
// the default.
func NewDirectory(tokens map[string]User, organizations ...string) *Directory {
	return &Directory{organizations: organizations, tokens: maps.Clone(tokens)}
}

// Rename gives an organization another name. The old one is nobody's from then on.
func (d *Directory) Rename(organization, to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	renamed := slices.Clone(d.organizations)
	for i, name := range renamed {
		if name == organization {
			renamed[i] = to
		}
	}
	d.organizations = renamed
}

// Names are those that the organizations have by now; the first is the default.
func (d *Directory) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.organizations
}

// Revoke ends an access token.
func (d *Directory) Revoke(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tokens, token)
}

// User is who has that access token.
func (d *Directory) User(token string) (User, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	user, known := d.tokens[token]
	return user, known
}

// Of is who sent the request. It answers the request itself where that is nobody, or where the path names an
// organization that is not there.
func (d *Directory) Of(w http.ResponseWriter, r *http.Request) (User, bool) {
	user, known := d.User(strings.TrimPrefix(r.Header.Get("Authorization"), "token "))
	if !known {
		rest.Fail(w, http.StatusUnauthorized, Unauthorized)
		return User{}, false
	}
	if org := r.PathValue("org"); org != "" && !slices.Contains(d.Names(), org) {
		rest.Fail(w, http.StatusNotFound, fmt.Sprintf("Not Found: Organization %q not found", org))
		return User{}, false
	}
	return user, true
}

// Unauthorized is Pulumi Cloud's message to who presents no token that it knows.
const Unauthorized = "Unauthorized: No credentials provided or are invalid."

// Serve answers what a login asks for. The shapes are in client.go of the CLI's backend/httpstate/client.
func (d *Directory) Serve(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/user", func(w http.ResponseWriter, r *http.Request) {
		user, known := d.Of(w, r)
		if !known {
			return
		}
		var organizations []map[string]string
		for _, name := range d.Names() {
			organizations = append(organizations, map[string]string{"githubLogin": name, "name": name})
		}
		rest.Answer(w, http.StatusOK, map[string]any{
			"id": user.Name, "githubLogin": user.Name, "name": user.Name, "organizations": organizations,
		})
	})
	mux.HandleFunc("GET /api/user/organizations/default", func(w http.ResponseWriter, r *http.Request) {
		if _, known := d.Of(w, r); known {
			rest.Answer(w, http.StatusOK, apitype.GetDefaultOrganizationResponse{GitHubLogin: d.Names()[0]})
		}
	})
}
