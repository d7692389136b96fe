package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Stage is what the connector was doing.
type Stage string

// The stages, in their order.
const (
	StageRequest Stage = "read the request"
	StageConnect Stage = "connect"
	StageTLS     Stage = "TLS"
	StageLogin   Stage = "log in as managing user"
	StageCheck   Stage = "check before the change"
	StageChange  Stage = "change"
	StageProve   Stage = "prove"
)

// State is what became of the rotated user's password.
type State string

// The states.
const (
	Unchanged    State = "Nothing was changed"
	Changed      State = "The password was changed"
	MaybeChanged State = "The password may have been changed: rotate again, which is safe"
)

// Failure is the reason that goes back to the caller, for a person to read. It never holds a secret, and nothing that
// the server wrote.
type Failure struct {
	Stage Stage
	// Why says what was being done, to what, and why it failed.
	Why string
	// Fix says what to do about it.
	Fix string
	// State says what became of the password.
	State State
	// Unreachable: another address of the same host may answer.
	Unreachable bool
	// Busy: the server was too busy to look at the password, and may not be in a moment.
	Busy bool
}

// Error is the whole message: stage, reason, state, fix.
func (f *Failure) Error() string {
	message := string(f.Stage) + ": " + f.Why
	for _, sentence := range []string{string(f.State), f.Fix} {
		if sentence != "" {
			message += ". " + sentence
		}
	}
	return message
}

// SQL is a fix for the database's administrator: the statements to run.
func SQL(statements string) string { return "Run as the database's master user: " + statements + ";" }

// Before puts a sentence before the fix.
func (f *Failure) Before(sentence string) *Failure {
	if sentence != "" && f.Fix != "" {
		sentence += ". " + f.Fix
	}
	return f.Instead(sentence)
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
	switch {
	case sentence == "":
	case f.Fix == "":
		f.Fix = sentence
	default:
		f.Fix += ". " + sentence
	}
	return f
}

// Seconds is a duration for a person.
func Seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// TimedOut reports whether an error is that of a deadline.
func TimedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// networkReason says in our own words why a connection failed, and what fixes that.
func networkReason(err error, took time.Duration) (why, fix string) {
	const path = "Check that the function's security group may reach the database's, that the database's security group still lets the function's in " +
		"(a rule that another tool removed comes back with pulumi up --refresh), and that host and port are right"
	var dns *net.DNSError
	var operation *net.OpError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name does not resolve", "Check the spelling of host, and that the function's VPC has DNS support and can see the name's zone"
	case errors.As(err, &dns):
		return "the name did not resolve within " + Seconds(took), "Check that the function's VPC has DNS support and that its DNS servers answer; servers of your own must let the function in, and its security group must let it out to them, at port 53"
	case TimedOut(err):
		return "no answer after " + Seconds(took), path
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused)", "Check host and port, and that the database is running"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return "there is no route to it", path
	case hungUp(err):
		return "the server closed the connection after " + Seconds(took), "Check that host and port are those of a database of this type, and read the database's log"
	case errors.As(err, &operation) && operation.Op == "remote error": // a TLS alert after the handshake
		return "the server broke off the TLS connection", "It may ask for a client certificate, and the connector has none; read the database's log"
	default:
		return "the connection failed after " + Seconds(took), path
	}
}

// hungUp reports whether an error is that of a connection that the other end has closed.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isNetwork reports whether an error is of the way to the server, and not of what was said there.
func isNetwork(err error) bool {
	return TimedOut(err) || hungUp(err) || errors.As(err, new(syscall.Errno))
}

// Broken is the failure of a connection that broke at a stage.
func (s *Server) Broken(stage Stage, err error, took time.Duration) *Failure {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure
	}
	why, fix := networkReason(err, took)
	return &Failure{Stage: stage, State: s.State(), Why: s.Address() + ": " + why, Fix: fix, Unreachable: true}
}

// Unproved is a failure of the proof, as which any failure after the change counts.
func Unproved(err error) error {
	var failure *Failure
	if !errors.As(err, &failure) {
		return err
	}
	failure.Stage, failure.State = StageProve, Changed+", but a login with it did not succeed"
	return failure
}
