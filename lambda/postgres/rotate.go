// Package postgres changes the passwords of PostgreSQL roles. The server gets a verifier that is computed here, as
// psql's \password does it, so no log, view or statistics of the server ever hold the new password.
package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Rotate gives the rotated user of the request its new password and proves it by a login as that user. A second call
// with the same request succeeds again. ctx bounds every step; the server carries a shorter bound, so that a change
// which was given up is not applied later. The error is a *connector.Failure.
func Rotate(ctx context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	return connector.Rotate(ctx, server, request, newRotation(server, request))
}

// visit is one event, and what all of its sessions share.
type visit struct {
	server  *connector.Server
	request event.Request
	// application is the name of this event's sessions, by which they find each other in pg_stat_activity: a pooler between
	// gives them process ids of its own.
	application string
}

func newVisit(server *connector.Server, request event.Request) visit {
	random := make([]byte, 4)
	rand.Read(random) // never fails, says crypto/rand
	return visit{server: server, request: request, application: "pulumi-esc-rotation-connector " + hex.EncodeToString(random)}
}

// rotation is one event: what the managing user's session found, and that session.
type rotation struct {
	visit
	managing *password
	secret   *password // the new one

	session *conn // nil but between Open and Close
	found   *findings
	stored  string // what the server is to store for the new password
}

func newRotation(server *connector.Server, request event.Request) *rotation {
	r := &rotation{visit: newVisit(server, request)}
	if request.ManagingUser != nil {
		r.managing = &password{Secret: request.ManagingUser.Password}
		if server.IAM {
			r.managing = &password{token: func() (event.Secret, error) { return server.Token(request.ManagingUser.Username) }}
		}
	}
	if request.RotateUser != nil {
		r.secret = &password{Secret: request.RotateUser.NewPassword}
	}
	return r
}

// Open logs in as the managing user, reads what can be known before the change, and computes what the server is to store.
func (r *rotation) Open(ctx context.Context, address netip.AddrPort) error {
	session, err := r.logInManaging(ctx, address)
	if err != nil {
		return err
	}
	r.server.SetStage(connector.StageCheck)
	var keys sync.WaitGroup
	keys.Go(func() { r.secret.expect(session.iterations) }) // which takes about as long as the server takes to read its catalogs
	err = r.inspect(ctx, session)
	keys.Wait()
	if err == nil {
		err = r.ready()
	}
	if err == nil && !session.stop() {
		err = r.server.Broken(ctx.Err())
	}
	if err != nil {
		session.close()
		return err
	}
	r.session = session
	return nil
}

// ready refuses what could not go well, and computes what the server is to store, by its own password_encryption.
func (r *rotation) ready() error {
	if blocker := r.blocker(); blocker != nil {
		return blocker
	}
	if r.found.storesMD5() {
		r.stored = md5Hash(r.found.role.name, r.secret.Reveal())
		return nil
	}
	var err error
	if r.stored, err = r.secret.verifier(r.found.iterations); err != nil {
		return r.server.Fail(tooManyIterations(), "Lower scram_iterations")
	}
	return nil
}

// Close ends the managing user's session.
func (r *rotation) Close() {
	if r.session != nil {
		r.session.close()
		r.session = nil
	}
}

// Change sends the change, again where two changes of the role met. It is one message with a transaction of its own: a
// pooler leaves nothing of it in another's session, and the server's bound travels with it.
func (r *rotation) Change(ctx context.Context) error {
	start := time.Now()
	r.session.within(ctx)
	as := fmt.Sprintf("the password of %q at %s: ", r.found.role.name, r.server.Address())
	failed := func(err error) *connector.Failure {
		failure := r.failure(r.session, err, changing, as)
		failure.Why = strings.Replace(failure.Why, "{took}", connector.Seconds(time.Since(start)), 1)
		return failure
	}
	for tries := 1; ; tries++ {
		bound, err := r.server.ServerBound(ctx, 50*time.Millisecond)
		if err != nil {
			return err
		}
		// The shorter bound for a lock tells a wait for one from everything else.
		statement := r.session.begin() + fmt.Sprintf("SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d; ALTER ROLE %s PASSWORD '%s'; COMMIT",
			bound.Milliseconds(), bound.Milliseconds()*9/10, identifier(r.found.role.name), r.stored)
		r.server.SetState(connector.MaybeChanged)
		err = r.session.exec(statement)
		if err == nil {
			r.server.SetState(connector.Changed)
			return nil
		}
		var refused *serverError
		// Only a session that goes on after the error has rolled the change back for certain: one that ends may have been ended
		// between the commit and its answer.
		if !errors.As(err, &refused) || refused.ended {
			return failed(err)
		}
		r.server.SetState(connector.Unchanged)
		if met[refused.code] && connector.Pause(ctx, tries) {
			continue
		}
		failure := failed(refused)
		if refused.code == notAllowed {
			failure.Why = as + fmt.Sprintf("the managing user %q may not change it (42501)", r.request.ManagingUser.Username)
			failure.Fix = "Read the server's log for the privilege that is missing"
			if r.askCreateRole(ctx, r.session) == nil {
				failure.Fix = r.grant()
			}
		}
		return failure
	}
}

// met are the errors of two changes that met: of the same row (internal error: "tuple concurrently updated"), a
// serialization failure and a deadlock.
var met = map[string]bool{"XX000": true, "40001": true, "40P01": true}

// Settle ends the session of a change whose answer did not come, and waits until it is gone. A session that waits for a
// synchronous standby has committed, but others see that only then.
func (r *rotation) Settle(ctx context.Context, address netip.AddrPort) error {
	session, err := r.logInManaging(ctx, address)
	if err != nil {
		return err
	}
	defer session.close()
	for tries := 1; ; tries++ {
		row, err := session.ask(ctx, endOthers, nil)
		switch {
		case err != nil:
			return r.failure(session, err, checking, "")
		case len(row) != 3 || row[0] != "1": // it does not see even itself
			return r.server.Fail(r.server.Address()+": the server does not tell which sessions there are", readLog)
		case row[2] == "t": // whose sessions are others, and whose passwords may be older
			return r.server.Fail(r.server.Address()+": "+readOnly, readOnlyFix)
		case row[1] == "0":
			return nil
		case !connector.Pause(ctx, tries):
			return r.server.Broken(context.DeadlineExceeded)
		}
	}
}

// endOthers ends the other sessions of this event, counts them, and reports whether the server is a standby. Any role may do that to its own.
const endOthers = `SELECT count(CASE WHEN pid = pg_backend_pid() THEN 1 END), count(CASE WHEN pid <> pg_backend_pid() THEN pg_terminate_backend(pid) END),
	pg_is_in_recovery() FROM pg_stat_activity WHERE usename = session_user AND application_name = current_setting('application_name')`

// Login logs in as the rotated user. What the server says after it took the password is no matter of the password.
func (r *rotation) Login(ctx context.Context, address netip.AddrPort, secret event.Secret) (connector.Outcome, error) {
	role, which := r.found.role.name, r.secret
	word := "new"
	if secret != which.Secret {
		which, word = &password{Secret: secret}, "old"
	}
	as := fmt.Sprintf("logging in as %q at %s with the %s password: ", role, r.server.Address(), word)
	session, err := r.logIn(ctx, address, connector.StageProve, role, which)
	if session == nil {
		return connector.Outcome{}, err
	}
	defer session.close()
	done := connector.Outcome{Proof: connector.ProofDone, Message: "ok"}
	skipped := connector.Outcome{Proof: connector.ProofSkipped, Message: "ok"}
	var refused *serverError
	switch {
	case err == nil:
		return done, nil
	case session.accepted:
		done.Note = "the server took the password, and then ended the session: " + r.failure(session, err, inside, "").Why
		return done, nil
	case errors.Is(err, errTrust):
		skipped.Note = "the server lets the user in without a password (trust in pg_hba.conf)"
		return skipped, nil
	case errors.As(err, &refused) && refused.code == "28000":
		skipped.Note = "pg_hba.conf does not let the user in from here (28000)"
		return skipped, nil
	}
	return connector.Outcome{}, r.failure(session, err, proving, as)
}

// logInManaging logs in as the managing user.
func (r *rotation) logInManaging(ctx context.Context, address netip.AddrPort) (*conn, error) {
	user := r.request.ManagingUser.Username
	session, err := r.logIn(ctx, address, connector.StageLogin, user, r.managing)
	if session != nil && err != nil {
		session.close()
		at := atDoor
		if session.accepted {
			at = inside
		}
		return nil, r.failure(session, err, at, fmt.Sprintf("%q at %s: ", user, r.server.Address()))
	}
	return session, err
}

// logIn connects and logs in. With a session and an error, the login failed; without a session, the connection.
func (v *visit) logIn(ctx context.Context, address netip.AddrPort, stage connector.Stage, username string, secret *password) (*conn, error) {
	session, err := dial(ctx, v.server, address)
	if err != nil {
		return nil, err
	}
	v.server.SetStage(stage)
	return session, session.login(username, secret, v.request.Database, v.application)
}

// askCreateRole completes the findings for what lacks. A rotation that goes well needs no such question.
func (r *rotation) askCreateRole(ctx context.Context, session *conn) error {
	row, err := session.ask(ctx, `SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user`, nil)
	if err == nil {
		r.found.createRole = strings.Join(row, "") == "t"
	}
	return err
}
