package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Prepare creates the users of the request in one transaction, and keeps those that are there. A second call with the same request
// changes nothing and succeeds; of two at once, one waits for the other. In a dry run the transaction is rolled back at its
// end, so that it tells what the server itself would say. ctx bounds every step. The error is a *connector.Failure.
func Prepare(ctx context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	p := &preparation{visit: newVisit(server, request), wanted: *request.Prepare,
		master: &password{Secret: request.Prepare.MasterUser.Password}, managing: &password{Secret: request.Prepare.ManagingUser.Password}}
	if server.IAM {
		p.managing = &password{token: func() (event.Secret, error) { return server.Token(request.Prepare.ManagingUser.Username) }}
	}
	if err := server.Retry(ctx, p.attempt); err != nil {
		failure := connector.AsFailure(err)
		failure.State = server.State() // after all attempts, and not after the one that told most
		return connector.Outcome{}, failure
	}
	return p.outcome(), nil
}

// preparation is one event, and what its last attempt found and did.
type preparation struct {
	visit
	wanted           event.Prepare
	master, managing *password

	session *conn // the master user's
	found   *inventory
	made    []string // names of what the attempt made, which are found by a later one if its commit went well after all
	added   []string // what it gave to those that were there, for a person
	tables  [2]int   // in the schema public: those that a role made here may use, and all
}

// attempt is the whole preparation. It can be repeated, since it keeps what is there.
func (p *preparation) attempt(ctx context.Context, address netip.AddrPort) error {
	master := p.wanted.MasterUser.Username
	session, err := p.logIn(ctx, address, connector.StageMaster, master, p.master)
	if session == nil {
		return err
	}
	defer session.close()
	if err != nil {
		at := masterDoor
		if session.accepted {
			at = masterInside
		}
		return p.failure(session, err, at, fmt.Sprintf("%q at %s: ", master, p.server.Address()))
	}
	p.session = session
	p.server.SetStage(connector.StageCheck)
	if p.server.State() == connector.MaybeMade {
		// Its session may wait with the lock in hand for a standby that does not answer, or for a commit that never came.
		if _, err := session.ask(ctx, endOthers, nil); err != nil {
			return p.checkFailure(err)
		}
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	if err := p.inspect(ctx); err != nil {
		return err
	}
	p.settle()
	if err := p.blocker(); err != nil {
		return err
	}
	if p.found.managing != nil {
		if err := p.proveManaging(ctx, address); err != nil {
			return err
		}
	}
	p.server.SetStage(connector.StagePrepare)
	if err := p.make(ctx); err != nil {
		return err
	}
	return p.end(ctx)
}

// settle finds out what became of an attempt before, where nobody answered for its commit. It held the lock until its end, so that
// what it made is there now, or is not. Any other attempt that failed has made nothing.
func (p *preparation) settle() {
	if p.server.State() == connector.MaybeMade {
		if len(p.made) > 0 && p.found.has(p.made[0]) {
			return
		}
		if steps, err := p.plan(); len(p.made) == 0 && err == nil && len(steps) == 0 { // what was added is there
			return
		}
	}
	p.made, p.added, p.tables = nil, nil, [2]int{}
	p.server.SetState(connector.Unchanged)
}

// advisoryKey is that of the lock that preparations hold, the bytes of "esc_prep".
const advisoryKey = 0x6573635f70726570

// begin begins the transaction and waits until no other preparation is at work in this database. The catalogs are the only schema
// that a name can mean, as in ask. Each statement sees what others have committed by then.
func (p *preparation) begin(ctx context.Context) error {
	bounds, err := p.bounds(ctx)
	if err != nil {
		return err
	}
	as := p.server.Address() + ": "
	err = p.session.exec(p.session.begin() + bounds + "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; " +
		"SET LOCAL standard_conforming_strings = on")
	if err != nil {
		return p.failure(p.session, err, making, as)
	}
	err = p.do(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", advisoryKey))
	var refused *serverError
	if errors.As(err, &refused) && refused.code == lockTimeout {
		failure := p.server.Fail(as+"another preparation is at work there, and did not end ("+lockTimeout+")",
			fmt.Sprintf("Try again when it has ended. Who holds its lock: SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %d AND objid = %d", advisoryKey>>32, advisoryKey&0xffffffff))
		failure.Transient = true
		return failure
	}
	if err != nil {
		return p.failure(p.session, err, making, as)
	}
	return nil
}

// lockTimeout is the SQLSTATE for a lock that was waited for too long.
const lockTimeout = "55P03"

// bounds are the server's for a statement. The shorter one for a lock tells a wait for one from everything else. A session of which
// nothing is heard any more gives the lock of preparations back by itself.
func (p *preparation) bounds(ctx context.Context) (string, error) {
	bound, err := p.server.ServerBound(ctx, 50*time.Millisecond)
	ms := bound.Milliseconds()
	return fmt.Sprintf("SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d; ", ms, ms*9/10, 2*ms), err
}

// do runs a statement in the transaction.
func (p *preparation) do(ctx context.Context, statement string) error {
	bounds, err := p.bounds(ctx)
	if err != nil {
		return err
	}
	return p.session.exec(bounds + statement)
}

// ask runs a query in the transaction, and answers its first row.
func (p *preparation) ask(ctx context.Context, columns int, text string, parameters ...string) ([]string, error) {
	bounds, err := p.bounds(ctx)
	if err != nil {
		return nil, err
	}
	row, err := p.session.row(bounds, text, parameters, "")
	if err == nil && len(row) != columns {
		err = errNoRow
	}
	return row, err
}

// proveManaging logs in as the managing user that is there, by the password that is given.
func (p *preparation) proveManaging(ctx context.Context, address netip.AddrPort) error {
	name := p.wanted.ManagingUser.Username
	as := fmt.Sprintf("the managing user %q at %s is there already: ", name, p.server.Address())
	session, err := p.logIn(ctx, address, connector.StageLogin, name, p.managing)
	if session == nil {
		return err
	}
	defer session.close()
	var refused *serverError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.code == "28P01" && p.managing.token == nil:
		return p.server.Fail(as+"the given password does not log in (28P01). A preparation never changes it",
			"Give the password that it has, in managingPassword, or choose another managing user. To give it a new one, say \\password "+identifier(name)+
				" in psql; the answer is the same when it is past its VALID UNTIL, and on RDS for a member of rds_iam, which cannot log in by password").
			Before(p.request.Hint("prepare.managingUser.password"))
	case session.accepted && errors.As(err, &refused) && refused.code == notAllowed && !p.found.managing.canConnect:
		return nil // which is to come
	case session.accepted:
		return p.failure(session, err, inside, as)
	}
	return p.failure(session, err, atDoor, as)
}

// make carries out the plan, and then looks whether all of it is there: a GRANT without the right to it is a mere warning. What
// a role lacks besides shows when it is there.
func (p *preparation) make(ctx context.Context) error {
	const passes = 2
	locked, err := p.lockedOut(ctx)
	if err != nil {
		return err
	}
	for pass := 0; ; pass++ {
		steps, err := p.plan()
		switch {
		case err != nil:
			return err
		case len(steps) == 0 && !locked:
			return p.stayOpen(ctx)
		case len(steps) == 0:
			return nil
		case pass == passes:
			return p.mayNot(steps[0], "the server only warned")
		}
		for _, step := range steps {
			if err := p.do(ctx, step.statement); err != nil {
				return p.refused(step, err)
			}
			if step.makes != "" {
				p.made = append(p.made, step.makes)
			}
			if step.makes != "" && step.makes == p.wanted.ApplicationRole {
				if err := p.giveTables(ctx); err != nil {
					return err
				}
			}
			if step.adds != "" && !slices.Contains(p.made, step.name) {
				p.added = append(p.added, step.adds)
			}
		}
		if err := p.inspect(ctx); err != nil {
			return err
		}
	}
}

// lockedOut reports whether the master user is a member of rds_iam, where the managing user is to be one: RDS lets a member in by a token alone.
func (p *preparation) lockedOut(ctx context.Context) (bool, error) {
	if !p.server.IAM {
		return false, nil
	}
	row, err := p.ask(ctx, 1, "SELECT pg_has_role(session_user, to_regrole('rds_iam'), 'MEMBER') AND NOT rolsuper FROM pg_roles WHERE rolname = session_user")
	if err != nil {
		return false, p.checkFailure(err)
	}
	return row[0] == "t", nil
}

// stayOpen refuses what would lock the master user out. From PostgreSQL 16 on who creates a role becomes its member, and so a member of
// rds_iam with it. Nothing is committed yet.
func (p *preparation) stayOpen(ctx context.Context) error {
	locked, err := p.lockedOut(ctx)
	if err != nil || !locked {
		return err
	}
	return p.server.Fail(fmt.Sprintf("%s: on PostgreSQL 16 and later the master user %q becomes a member of the managing user that it creates, and so of rds_iam with it, whose members cannot log in by password any more: it would be locked out",
		p.server.Address(), p.wanted.MasterUser.Username),
		withoutIAM)
}

// refused is the failure of a step.
func (p *preparation) refused(of step, err error) error {
	var refused *serverError
	if errors.As(err, &refused) && refused.code == notAllowed {
		return p.mayNot(of, notAllowed)
	}
	return p.failure(p.session, err, making|of.at, fmt.Sprintf("%q at %s: ", of.name, p.server.Address()))
}

// mayNot is the failure of a master user that may not do it.
func (p *preparation) mayNot(of step, code string) *connector.Failure {
	failure := p.server.Fail(fmt.Sprintf("%q at %s: the master user %q may not %s (%s), which takes %s", of.name, p.server.Address(), p.wanted.MasterUser.Username, of.does, code, of.takes), of.fix)
	if p.found.acting {
		failure = failure.And("Its sessions act as another role, whose privileges count: see its setting role")
	}
	return failure
}

// end commits, or ends a dry run.
func (p *preparation) end(ctx context.Context) error {
	if p.request.DryRun || len(p.made)+len(p.added) == 0 {
		return nil // the session ends, and the transaction with it
	}
	bounds, err := p.bounds(ctx)
	if err != nil {
		return err
	}
	p.server.SetState(connector.MaybeMade)
	if err = p.session.exec(bounds + "COMMIT"); err == nil {
		return nil
	}
	var refused *serverError
	if errors.As(err, &refused) && !refused.ended {
		p.server.SetState(connector.Unchanged)
	}
	return p.failure(p.session, err, making, p.server.Address()+": ")
}

// outcome is what was made and what was there.
func (p *preparation) outcome() connector.Outcome {
	outcome := connector.Outcome{Proof: connector.ProofNone}
	var made, found []string
	for _, one := range p.names() {
		if slices.Contains(p.made, one.name) {
			outcome.Made, made = append(outcome.Made, one.name), append(made, one.String())
		} else {
			outcome.Found, found = append(outcome.Found, one.name), append(found, one.String())
		}
	}
	if p.request.DryRun {
		outcome.Made = nil
	}
	parts := connector.Prepared(p.request.DryRun, made, found, p.added)
	if all := p.tables[1]; all > 0 {
		text := fmt.Sprintf("of the %d tables and sequences in the schema public the role may use %d", all, p.tables[0])
		if p.tables[0] < all {
			text += ", and for the others their owners have to grant it"
		}
		parts = append(parts, text)
	}
	if !p.request.DryRun {
		outcome.Message = strings.Join(parts, "; ")
		return outcome
	}
	report := connector.Report{Server: p.server, TLS: p.session.tls}
	report.Add("PostgreSQL " + connector.Version(p.session.version))
	report.Add(fmt.Sprintf("logged in as the master user %q to the database %q", p.wanted.MasterUser.Username, p.request.Database))
	for _, part := range parts {
		report.Add(part)
	}
	outcome.Message = report.Outcome().Message
	return outcome
}

// named is a name with what it is.
type named struct{ what, name string }

func (n named) String() string { return fmt.Sprintf("the %s %q", n.what, n.name) }

// names are those of the managing user, the users to rotate and the application's role.
func (p *preparation) names() []named {
	all := []named{{"managing user", p.wanted.ManagingUser.Username}}
	for _, user := range p.wanted.RotateUsers {
		all = append(all, named{"user", user})
	}
	if p.wanted.ApplicationRole != "" {
		all = append(all, named{"role", p.wanted.ApplicationRole})
	}
	return all
}
