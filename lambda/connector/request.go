// Package connector holds what the engines of the rotation connector share: the request as ESC sends it, the server
// that it names with the terms of its TLS, the path of a rotation ([Rotate], whose steps are an engine's [Rotation]), and the
// failure that goes back to a person.
package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The rotators of the wire, the values of Request.Type.
const (
	TypePostgres = "postgres"
	TypeMySQL    = "mysql" // MySQL, Aurora MySQL and MariaDB
)

// Secret is a text that no formatting prints.
type Secret struct{ text string }

// NewSecret makes a secret of a plain text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal is the plain text, for the one line that needs it.
func (s Secret) Reveal() string { return s.text }

const placeholder = "(secret)"

// String is a placeholder.
func (Secret) String() string { return placeholder }

// GoString is a placeholder.
func (Secret) GoString() string { return placeholder }

// Format prints a placeholder for every verb.
func (Secret) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(placeholder)) }

// MarshalJSON writes a placeholder.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(placeholder) }

// LogValue is a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(placeholder) }

// UnmarshalJSON reads a JSON string; null is the empty secret.
func (s *Secret) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &s.text) }

// Request is the event that ESC sends, for example
//
//	{"type": "postgres", "host": "db.example", "port": 5432, "database": "app",
//	 "managingUser": {"username": "managing_user", "password": "…"},
//	 "rotateUser": {"username": "user1", "password": "old, may be empty", "newPassword": "…"}}
type Request struct {
	Type         string        `json:"type"`
	Host         string        `json:"host"`
	Port         int           `json:"port"`
	Database     string        `json:"database"`
	ManagingUser *ManagingUser `json:"managingUser"`
	RotateUser   *RotateUser   `json:"rotateUser"`
	// DryRun asks to look and to change nothing. ESC never sends it. Database, ManagingUser and RotateUser may be
	// missing then.
	DryRun bool `json:"dryRun"`
}

// ManagingUser is the database user who may change the passwords of others.
type ManagingUser struct {
	Username string `json:"username"`
	Password Secret `json:"password"`
}

// RotateUser is the database user whose password is to change.
type RotateUser struct {
	Username string `json:"username"`
	// Password is the one that ESC believes to be current. It serves to find out whether a change was made whose answer was lost.
	Password    Secret `json:"password"`
	NewPassword Secret `json:"newPassword"`
}

// ErrNotAnObject is the error for an event that is no JSON object: nothing that could be answered.
var ErrNotAnObject = errors.New("the event is not a JSON object; the connector is invoked by Pulumi ESC with " +
	`{"type": …, "host": …, "port": …, "database": …, "managingUser": …, "rotateUser": …}`)

// ParseRequest reads an event. The error is ErrNotAnObject or a *Failure.
func ParseRequest(event []byte) (Request, error) {
	var request Request
	var object map[string]json.RawMessage
	if err := json.Unmarshal(event, &object); err != nil || object == nil {
		return request, ErrNotAnObject
	}
	const largest = 256 << 10 // bytes: the answer may hold a name twice, each byte of it escaped by six, and Lambda takes 6 MB
	if len(event) > largest {
		return request, refuse("the event is %d bytes long, and the connector reads %d at the most", len(event), largest).
			fix("Invoke it as Pulumi ESC does, with shorter names and passwords")
	}
	if err := json.Unmarshal(event, &request); err != nil {
		var wrong *json.UnmarshalTypeError
		field := "a field"
		if errors.As(err, &wrong) && wrong.Field != "" {
			field = wrong.Field
		}
		return request, refuse("%s has a value of the wrong type", field).
			fix("port is a whole number, dryRun is true or false, managingUser and rotateUser are objects, everything else is text")
	}
	if request.DryRun { // a part without a name is a part that is missing
		if request.ManagingUser != nil && request.ManagingUser.Username == "" {
			request.ManagingUser = nil
		}
		if request.RotateUser != nil && request.RotateUser.Username == "" {
			request.RotateUser = nil
		}
	}
	return request, nil
}

func refuse(format string, args ...any) *Failure {
	return &Failure{Stage: StageRequest, Why: fmt.Sprintf(format, args...), State: Unchanged}
}

func (f *Failure) fix(format string, args ...any) *Failure {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// isRDSProxy knows an RDS Proxy endpoint, such as orders.proxy-abc123.eu-west-1.rds.amazonaws.com (the RDS user guide's
// page "Connecting to a database through RDS Proxy").
func isRDSProxy(host string) bool {
	host = strings.ToLower(host)
	return strings.Contains(host, ".proxy-") && strings.Contains(host, ".rds.amazonaws.com")
}

// hostFault says why a host cannot be one, "" where it can.
func hostFault(host string) string {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return ""
	}
	_, _, portErr := net.SplitHostPort(host)
	switch {
	case strings.ContainsFunc(host, unicode.IsSpace):
		return "holds a blank or a line end"
	case strings.Contains(host, "://"):
		return "is a URL, not a host's name"
	case strings.ContainsAny(host, "/@?#"):
		return "holds more than a host's name"
	case strings.Contains(host, ","):
		return "names several hosts, and the connector takes one, the writer"
	case portErr == nil:
		return "holds a port, which has a field of its own"
	case strings.ContainsAny(host, ":[]"):
		return "is neither a host's name nor an address"
	}
	return ""
}

// ShownHost is the host for a message or a log. What is pasted there may hold a password, as a URL or a connection string
// does: it is shown where it is written like a host's name or address, with a port at the most, and else not at all.
func (r Request) ShownHost() string {
	name, port, err := net.SplitHostPort(r.Host)
	if _, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil {
		name = r.Host
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(name), "["), "]")
	_, err = netip.ParseAddr(bare)
	strange := func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && c != ',' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}
	if err != nil && strings.ContainsFunc(bare, strange) {
		return notShown
	}
	return r.Host
}

// ShownName is the name of a database or of a user for a log. Other than a host's, it may be written in any way.
func ShownName(name string) string {
	if isConnection(name) {
		return notShown
	}
	return name
}

const notShown = "(not shown)"

// isConnection knows a URL or a connection string, which may hold a password.
func isConnection(text string) bool {
	return strings.Contains(text, "://") || strings.Contains(strings.ToLower(text), "password=")
}

// Check refuses, before any connection, what could not go well. The error is a *Failure.
func (r Request) Check() error {
	if r.Type != TypePostgres && r.Type != TypeMySQL {
		return refuse("type %q is not known", r.Type).
			fix("Known are %s and %s (MySQL, Aurora MySQL and MariaDB): use fn::rotate::postgres or fn::rotate::mysql in the rotator environment", TypePostgres, TypeMySQL)
	}
	type text struct{ field, value string }
	needed := []text{{"host", r.Host}}
	given := []text{{"host", r.Host}, {"database", r.Database}}
	managing, rotate := r.ManagingUser, r.RotateUser
	if !r.DryRun {
		needed = append(needed, text{"database", r.Database})
		if managing == nil {
			managing = &ManagingUser{}
		}
		if rotate == nil {
			rotate = &RotateUser{}
		}
	}
	if managing != nil {
		username := text{"managingUser.username", managing.Username}
		needed = append(needed, username)
		given = append(given, username, text{"managingUser.password", managing.Password.Reveal()})
	}
	if rotate != nil {
		username := text{"rotateUser.username", rotate.Username}
		needed = append(needed, username)
		given = append(given, username, text{"rotateUser.newPassword", rotate.NewPassword.Reveal()})
		if !r.DryRun {
			needed = append(needed, text{"rotateUser.newPassword", rotate.NewPassword.Reveal()})
		}
	}
	for _, text := range given {
		if text.field != "host" && !strings.HasSuffix(strings.ToLower(text.field), "password") && isConnection(text.value) {
			return refuse("%s is a URL or a connection string, not a name", text.field).fix("Write the name alone")
		}
	}
	for _, text := range needed {
		if strings.HasSuffix(text.field, ".username") && text.value != "" && r.loginName(text.value) == "" {
			return refuse("%s %q has no name before its @", text.field, text.value).fix("Write name or name@host")
		}
		if text.value == "" {
			return refuse("%s is missing or empty", text.field).fix("Fill it in, in the rotator environment or the managing credentials environment")
		}
	}
	for _, text := range given {
		if strings.ContainsRune(text.value, 0) {
			return refuse("%s holds a NUL character, which no database takes", text.field).fix("Remove it")
		}
		if strings.ContainsRune(text.value, utf8.RuneError) { // encoding/json reads what is no Unicode as that
			return refuse("%s is not valid Unicode, or holds the character U+FFFD that stands for what is not", text.field).fix("Correct it")
		}
	}
	if fault := hostFault(r.Host); fault != "" {
		return refuse("host %q %s", r.ShownHost(), fault).fix("Write the database's endpoint alone, such as db.example or orders.abc123.eu-west-1.rds.amazonaws.com")
	}
	if r.Port < 1 || r.Port > 65535 {
		return refuse("port %d is not a port", r.Port).fix("A port is 1 to 65535: PostgreSQL's is usually 5432, MySQL's 3306")
	}
	if isRDSProxy(r.Host) {
		return refuse("host %q is an RDS Proxy endpoint, which checks clients against its own secret in AWS Secrets Manager, so that a login through it cannot prove a password that was just changed", r.Host).
			fix("Use the writer endpoint of the database itself")
	}
	if managing != nil && rotate != nil && r.loginName(managing.Username) == r.loginName(rotate.Username) {
		return refuse("managingUser and rotateUser are both %q: a managing user that changes its own password would lock the connector out", r.loginName(rotate.Username)).
			fix("Name other users in rotateUsers, or another managing user")
	}
	return nil
}

// loginName is the name that logs in: on MySQL, without the host of the account.
func (r Request) loginName(username string) string {
	if r.Type == TypeMySQL {
		name, _ := SplitAccount(username)
		return name
	}
	return username
}

// SplitAccount divides a MySQL account user@host at its last @. Without one the host is %, any host.
func SplitAccount(username string) (name, host string) {
	if at := strings.LastIndexByte(username, '@'); at >= 0 {
		return username[:at], username[at+1:]
	}
	return username, "%"
}

// Hint is a sentence about what is unusual in fields that the database may have meant when it refused something: what the
// template fills in, and what is pasted along with a text. Any of it may be meant, so it is said only then. "" is nothing.
func (r Request) Hint(fields ...string) string {
	var held, hints []string
	for _, field := range fields {
		value, template := r.field(field)
		if slices.Contains(template, value) {
			held = append(held, field)
		}
		if strings.TrimSpace(value) != value {
			hints = append(hints, field+" begins or ends with a blank or a line end, which counts: was it pasted along?")
		}
		if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' && !strings.HasSuffix(field, "password") && r.Type == TypePostgres {
			hints = append(hints, field+" is in quotes, which count as a part of the name: write it without them")
		}
	}
	switch len(held) {
	case 0:
	case 1:
		hints = append(hints, held[0]+" still holds the template's placeholder")
	default:
		hints = append(hints, strings.Join(held, " and ")+" still hold the template's placeholders")
	}
	return strings.Join(hints, ". ")
}

// field is the value of a field, and what the template fills in there.
func (r Request) field(name string) (value string, template []string) {
	switch name {
	case "database":
		return r.Database, []string{"rotator_db"}
	case "managingUser.username":
		return r.ManagingUser.Username, []string{"managing_user"}
	case "managingUser.password":
		return r.ManagingUser.Password.Reveal(), []string{"manager_password"}
	default: // rotateUser.username
		return r.RotateUser.Username, []string{"user1", "user2"}
	}
}
