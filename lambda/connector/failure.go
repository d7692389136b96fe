package connector

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"esc-connector-lambda-go/lambda/event"
)

// Stage is what the connector was doing.
type Stage string

// The stages, in their order.
const (
	StageRequest Stage = "read the request"
	StageConnect Stage = "connect"
	StageTLS     Stage = "TLS"
	StageLogin   Stage = "log in as managing user"
	StageMaster  Stage = "log in as master user"
	StageCheck   Stage = "check before the change"
	StageChange  Stage = "change"
	StageProve   Stage = "prove"
	StagePrepare Stage = "create the users"
)

// State is what became of the rotated user's password, or of the users that were to be made.
type State string

// The states, as a failure words them. Unchanged and Changed are said only where they are certain. Whoever fails after
// the change has not proved it.
const (
	Unchanged    State = "Nothing was changed"
	Changed      State = "The password was changed, but a login with it did not succeed"
	MaybeChanged State = "The password may have been changed: rotate again, which is safe"
	MaybeMade    State = "The users may have been made: prepare again, which is safe"
)

// Failure is the reason that goes back to the caller, for a person to read. It never holds a secret, and nothing that
// the server wrote. Server.Fail makes one with the stage and the state of that moment.
type Failure struct {
	Stage Stage
	// Why says what was being done, to what, and why it failed.
	Why string
	// Fix says what to do about it.
	Fix string
	// State says what became of the password.
	State State
	// Transient: another address of the same host may answer, or the same one in a moment.
	Transient bool
	// Refused: the server looked at the login's password, and refused it.
	Refused bool
}

// Error is the whole message: stage, reason, state, fix.
func (f *Failure) Error() string {
	return string(f.Stage) + ": " + sentences(f.Why, string(f.State), f.Fix)
}

// sentences are those that are not empty, one after the other. A question and a statement of SQL have their end.
func sentences(all ...string) string {
	var text string
	for _, sentence := range all {
		switch {
		case sentence == "":
		case text == "":
			text = sentence
		case strings.HasSuffix(text, "?"), strings.HasSuffix(text, ";"):
			text += " " + sentence
		default:
			text += ". " + sentence
		}
	}
	return text
}

// AsFailure is the failure that an error is, which a refused request is too; nil where it is none.
func AsFailure(err error) *Failure {
	var failure *Failure
	var refusal *event.Refusal
	if errors.As(err, &refusal) {
		return refused(refusal.Why, refusal.Fix)
	}
	errors.As(err, &failure)
	return failure
}

// refused is the failure of an event that is answered without a connection.
func refused(why, fix string) *Failure {
	return &Failure{Stage: StageRequest, Why: why, Fix: fix, State: Unchanged}
}

// SQL is a fix for the database's administrator: the statements to run.
func SQL(statements string) string { return "Run as the database's master user: " + statements + ";" }

// Before puts a sentence before the fix.
func (f *Failure) Before(sentence string) *Failure {
	f.Fix = sentences(sentence, f.Fix)
	return f
}

// Instead puts a sentence in the place of the fix, unless it is empty.
func (f *Failure) Instead(sentence string) *Failure {
	if sentence != "" {
		f.Fix = sentence
	}
	return f
}

// And adds a sentence to the fix.
func (f *Failure) And(sentence string) *Failure {
	f.Fix = sentences(f.Fix, sentence)
	return f
}

// Seconds is a duration for a person.
func Seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f s", d.Seconds())
}
