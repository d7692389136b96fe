// Package event is what the connector and whoever invokes it agree on: the event ([Request]) with its rules
// ([Request.Check]), and the [Answer]. Pulumi ESC sends the events of rotations; the program that deploys the connector sends
// dry runs and preparations. It knows no driver, no AWS and no Pulumi.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The rotators of the wire, the values of Request.Type.
const (
	TypePostgres = "postgres"
	TypeMySQL    = "mysql" // MySQL, Aurora MySQL and MariaDB
)

// Request is the event. ESC sends, for example
//
//	{"type": "postgres", "host": "db.example", "port": 5432, "database": "app",
//	 "managingUser": {"username": "managing_user", "password": "…"},
//	 "rotateUser": {"username": "user1", "password": "old, may be empty", "newPassword": "…"}}
//
// and the program, beside dry runs,
//
//	{"type": "postgres", "host": "db.example", "port": 5432, "database": "app",
//	 "prepare": {"masterUser": {"username": "postgres", "password": "…"},
//	             "managingUser": {"username": "esc_manager", "password": "…"},
//	             "rotateUsers": ["app_1", "app_2"], "applicationRole": "app_role"}}
type Request struct {
	Type         string        `json:"type"`
	Host         string        `json:"host"`
	Port         int           `json:"port"`
	Database     string        `json:"database,omitempty"`
	ManagingUser *ManagingUser `json:"managingUser,omitempty"`
	RotateUser   *RotateUser   `json:"rotateUser,omitempty"`
	// RotateUsers are the two users that a dry run looks at, in place of RotateUser.
	RotateUsers []string `json:"rotateUsers,omitempty"`
	// Prepare asks to create the users of a rotation. There is no other user beside it.
	Prepare *Prepare `json:"prepare,omitempty"`
	// DryRun asks to look and to change nothing. ESC never sends it. Database, ManagingUser and RotateUser may be
	// missing then.
	DryRun bool `json:"dryRun,omitempty"`
}

// ManagingUser is the database user who may change the passwords of others.
type ManagingUser struct {
	Username string `json:"username"`
	Password Secret `json:"password,omitzero"`
	// Authentication is AuthenticationIAM in the preparation of a user without a password, and "" otherwise.
	Authentication string `json:"authentication,omitempty"`
}

// AuthenticationIAM is for a managing user who logs in by RDS IAM authentication.
const AuthenticationIAM = "iam"

// RotateUser is the database user whose password is to change.
type RotateUser struct {
	Username string `json:"username"`
	// Password is the one that ESC believes to be current. It serves to find out whether a change was made whose answer was lost.
	Password    Secret `json:"password,omitzero"`
	NewPassword Secret `json:"newPassword,omitzero"`
}

// Prepare names the users that are to be there, and who creates those that are not.
type Prepare struct {
	MasterUser   MasterUser   `json:"masterUser"`
	ManagingUser ManagingUser `json:"managingUser"`
	// RotateUsers are two.
	RotateUsers []string `json:"rotateUsers"`
	// ApplicationRole is the role whose members both become, "" for none. PostgreSQL only.
	ApplicationRole string `json:"applicationRole,omitempty"`
	// Privileges are what both may do with the database's tables and routines. MySQL only.
	Privileges []string `json:"privileges,omitempty"`
}

// MasterUser is the database's administrator, who may create users.
type MasterUser struct {
	Username string `json:"username"`
	Password Secret `json:"password,omitzero"`
}

// ErrNotAnObject is the error for an event that is no JSON object: nothing that could be answered.
var ErrNotAnObject = errors.New("the event is not a JSON object; the connector is invoked by Pulumi ESC with " +
	`{"type": …, "host": …, "port": …, "database": …, "managingUser": …, "rotateUser": …}`)

// ParseRequest reads an event. The error is ErrNotAnObject or a *Refusal.
func ParseRequest(text []byte) (Request, error) {
	var request Request
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return request, ErrNotAnObject
	}
	const largest = 256 << 10 // bytes: the answer may hold a name twice, each byte of it escaped by six, and Lambda takes 6 MB
	if len(text) > largest {
		return request, refuse("the event is %d bytes long, and the connector reads %d at the most", len(text), largest).
			fix("Invoke it as Pulumi ESC does, with shorter names and passwords")
	}
	if err := json.Unmarshal(text, &request); err != nil {
		var wrong *json.UnmarshalTypeError
		field := "a field"
		if errors.As(err, &wrong) && wrong.Field != "" {
			field = wrong.Field
		}
		return request, refuse("%s has a value of the wrong type", field).
			fix("port is a whole number, dryRun is true or false, rotateUsers and privileges are lists of texts, " +
				"managingUser, rotateUser, prepare and masterUser are objects, everything else is text")
	}
	if request.DryRun { // a part without a name is a part that is missing
		if request.ManagingUser != nil && request.ManagingUser.Username == "" {
			request.ManagingUser = nil
		}
		if request.RotateUser != nil && request.RotateUser.Username == "" {
			request.RotateUser = nil
		}
		if len(request.RotateUsers) == 0 {
			request.RotateUsers = nil
		}
	}
	return request, nil
}

// Wire is the event as it is sent, with its passwords in clear. json.Marshal writes placeholders.
func (r Request) Wire() ([]byte, error) {
	r = r.clone()
	for _, secret := range r.secrets() {
		secret.inClear = true
	}
	return json.Marshal(r)
}

// clone shares no password with r.
func (r Request) clone() Request {
	if r.ManagingUser != nil {
		user := *r.ManagingUser
		r.ManagingUser = &user
	}
	if r.RotateUser != nil {
		user := *r.RotateUser
		r.RotateUser = &user
	}
	if r.Prepare != nil {
		prepare := *r.Prepare
		r.Prepare = &prepare
	}
	return r
}

// secrets are all passwords of the event.
func (r Request) secrets() (all []*Secret) {
	if user := r.ManagingUser; user != nil {
		all = append(all, &user.Password)
	}
	if user := r.RotateUser; user != nil {
		all = append(all, &user.Password, &user.NewPassword)
	}
	if prepare := r.Prepare; prepare != nil {
		all = append(all, &prepare.MasterUser.Password, &prepare.ManagingUser.Password)
	}
	return all
}

// Secrets are the passwords of the event, some of which may be empty.
func (r Request) Secrets() (all []Secret) {
	for _, secret := range r.secrets() {
		all = append(all, *secret)
	}
	return all
}

// Names are those of users and roles in the event, which are no secret. Some may be empty.
func (r Request) Names() (all []string) {
	if r.ManagingUser != nil {
		all = append(all, r.ManagingUser.Username)
	}
	if prepare := r.Prepare; prepare != nil {
		all = append(all, prepare.MasterUser.Username, prepare.ManagingUser.Username, prepare.ApplicationRole)
	}
	return append(all, r.Targets()...)
}

// Targets are the users to rotate.
func (r Request) Targets() (all []string) {
	if r.RotateUser != nil {
		all = append(all, r.RotateUser.Username)
	}
	all = append(all, r.RotateUsers...)
	if r.Prepare != nil {
		all = append(all, r.Prepare.RotateUsers...)
	}
	return all
}

// The kinds of events.
const (
	KindRotation    = "rotation"
	KindDryRun      = "dry run"
	KindPreparation = "preparation" // which may be a dry run, too
)

// Kind is what the event asks for.
func (r Request) Kind() string {
	switch {
	case r.Prepare != nil:
		return KindPreparation
	case r.DryRun:
		return KindDryRun
	}
	return KindRotation
}

// SplitAccount divides a MySQL account user@host at its last @. Without one the host is %, any host.
func SplitAccount(username string) (name, host string) {
	if at := strings.LastIndexByte(username, '@'); at >= 0 {
		return username[:at], username[at+1:]
	}
	return username, "%"
}

// Refusal is the reason for which a request is refused before any connection. It never holds a secret.
type Refusal struct {
	// Why says what is wrong with it.
	Why string
	// Fix says what to do about it.
	Fix string
}

// Error is the whole message: reason and fix.
func (r *Refusal) Error() string { return r.Why + ". " + r.Fix }

func refuse(format string, args ...any) *Refusal {
	return &Refusal{Why: fmt.Sprintf(format, args...)}
}

func (r *Refusal) fix(format string, args ...any) *Refusal {
	r.Fix = fmt.Sprintf(format, args...)
	return r
}
