package connector

import (
	"context"
	"net/netip"
	"time"

	"esc-connector-lambda-go/lambda/event"
)

// Rotation is what an engine does for one event, step by step. Its methods run one after the other, and their errors are
// *Failure, made by Server.Fail or Server.Broken. A connection that a method opens ends with it, but for Open's.
type Rotation interface {
	// Open logs in as the managing user and looks at all that could be in the way of the change. It changes nothing, and so is
	// repeated. ctx bounds Open alone, not the session.
	Open(ctx context.Context, address netip.AddrPort) error
	// Change changes the password in the session of Open. It calls SetState(MaybeChanged) right before the statement leaves, and
	// SetState(Changed), or SetState(Unchanged) where the server's answer proves that it was not applied. Only then it may
	// repeat the statement.
	Change(ctx context.Context) error
	// Settle sees to it that a change whose answer did not come cannot be applied any more. It ends the session that may still be
	// at it, or waits until there is none. An error means that this is not certain.
	Settle(ctx context.Context, address netip.AddrPort) error
	// Login logs in as the rotated user. The outcome's proof tells what the login is worth; a Failure with Refused
	// that the server refused the password.
	Login(ctx context.Context, address netip.AddrPort, password event.Secret) (Outcome, error)
	// Close ends the session of Open, where there is one.
	Close()
}

// Rotate is the path of a rotation: change the password as the managing user, find out what became of the change where
// its answer does not tell, and prove the new password by a login. A second call with the same request succeeds again.
// ctx bounds every step. The error is a *Failure.
func Rotate(ctx context.Context, server *Server, request event.Request, engine Rotation) (Outcome, error) {
	for tries := 1; ; tries++ {
		err := change(ctx, server, engine)
		if server.State() == MaybeChanged {
			if outcome, known := decide(ctx, server, request, engine, err); known {
				return outcome, nil
			}
		}
		if err == nil {
			server.SetStage(StageProve)
			return login(ctx, server, engine, request.RotateUser.NewPassword)
		}
		failure := AsFailure(err)
		if failure == nil {
			return Outcome{}, err
		}
		lost := failure.State == MaybeChanged && server.State() == Unchanged
		failure.State = server.State()
		// What Open could not do has been tried long enough. What was lost with the change's answer is made again.
		if !lost || !failure.Transient || !Pause(ctx, tries) {
			return Outcome{}, failure
		}
	}
}

// change opens the managing user's session and changes the password there. The last third of what ctx leaves is to find
// out what became of a change that nobody answered for: that takes three logins.
func change(ctx context.Context, server *Server, engine Rotation) error {
	defer engine.Close()
	if err := server.Retry(ctx, engine.Open); err != nil {
		return err
	}
	server.SetStage(StageChange)
	if deadline, bound := ctx.Deadline(); bound {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)*2/3)
		defer cancel()
	}
	return engine.Change(ctx)
}

// login logs in as the rotated user.
func login(ctx context.Context, server *Server, engine Rotation, password event.Secret) (outcome Outcome, err error) {
	err = server.Retry(ctx, func(ctx context.Context, address netip.AddrPort) (err error) {
		outcome, err = engine.Login(ctx, address, password)
		return err
	})
	return outcome, err
}

// decide finds out what became of a change whose answer did not come: the new password logs in, or the old one does, or
// neither, and then it stays unknown. A login tells only what is now, so what is still at work has to end before. The
// outcome is that of a rotation that went well.
func decide(ctx context.Context, server *Server, request event.Request, engine Rotation, lost error) (outcome Outcome, changed bool) {
	settled := server.Retry(ctx, engine.Settle) == nil
	outcome, err := login(ctx, server, engine, request.RotateUser.NewPassword)
	if err == nil {
		if outcome.Proof != ProofDone {
			return Outcome{}, false
		}
		server.SetState(Changed)
		server.SetStage(StageProve)
		outcome.Note = "the change's own answer did not come (" + AsFailure(lost).Why + "); a login showed that it was made"
		return outcome, true
	}
	failure := AsFailure(err)
	old := request.RotateUser.Password
	if !settled || failure == nil || !failure.Refused || old.Reveal() == "" {
		return Outcome{}, false
	}
	if outcome, err = login(ctx, server, engine, old); err == nil && outcome.Proof == ProofDone {
		server.SetState(Unchanged)
	}
	return Outcome{}, false
}

// Proof is what is known of the new password after a rotation.
type Proof string

// The proofs, as the log names them.
const (
	ProofDone    Proof = "done"
	ProofSkipped Proof = "skipped" // no login is possible from here
	ProofNone    Proof = "none"    // none was tried
)

// Outcome is what came of an event that went well.
type Outcome struct {
	Proof Proof
	// Note is for the log: why a proof was skipped, or what the server said after it let the user in.
	Note string
	// Message is for the caller: "ok", or what a dry run or a preparation found.
	Message string
	// Made and Found are the names of what a preparation made, and of what was there already.
	Made, Found []string
}
