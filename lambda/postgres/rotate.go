// Package postgres changes the passwords of PostgreSQL roles. The server gets a verifier that is computed here, as
// psql's \password does it, so no log, view or statistics of the server ever hold the new password.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"esc-connector-lambda-go/lambda/connector"
)

// Rotate gives the rotated user of the request its new password and proves it by a login as that user. A second call
// with the same request succeeds again. ctx bounds every step; the server carries a shorter bound, so that a change
// which was given up is not applied later. The error is a *connector.Failure.
func Rotate(ctx context.Context, server *connector.Server, request connector.Request) (connector.Outcome, error) {
	secret := &password{Secret: request.RotateUser.NewPassword}
	role, err := change(ctx, server, request, secret)
	if err != nil {
		return connector.Outcome{}, err
	}
	return prove(ctx, server, request, role, secret)
}

// change is everything that the managing user does. It returns the role's name as the server has it.
func change(ctx context.Context, server *connector.Server, request connector.Request, secret *password) (string, error) {
	manager, err := loginManaging(ctx, server, request)
	if err != nil {
		return "", err
	}
	defer manager.close()
	server.SetStage(connector.StageCheck)
	var keys sync.WaitGroup
	keys.Go(func() { secret.expect(manager.iterations) }) // which takes about as long as the server takes to read its catalogs
	found, err := manager.inspect(ctx, request.RotateUser.Username)
	keys.Wait()
	if err != nil {
		return "", err
	}
	if err := found.refuse(server, request); err != nil {
		return "", err
	}
	stored, err := found.stored(secret)
	if err != nil {
		return "", err
	}
	return found.role.name, manager.alter(ctx, request, found, stored)
}

// open connects and logs in, and tries again while the server is too busy. accepted tells that the server took the
// password, even if it then refused the session.
func open(ctx context.Context, server *connector.Server, stage connector.Stage, username string, secret *password, database string,
	explain func(error, *conn) *connector.Failure) (c *conn, accepted bool, err error) {
	for {
		err = server.Try(ctx, func(ctx context.Context, address netip.AddrPort) error {
			var err error
			if c, err = dial(ctx, server, address); err != nil {
				return err
			}
			err = c.login(stage, username, secret, database)
			accepted = c.accepted
			if err == nil && !c.stop() {
				err = ctx.Err()
			}
			if err != nil {
				c.close()
				return explain(err, c)
			}
			return nil
		})
		if err == nil {
			c.stop = context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
			return c, true, nil
		}
		var failure *connector.Failure
		if !errors.As(err, &failure) || !failure.Busy || accepted && stage == connector.StageProve || !connector.Pause(ctx) {
			return nil, accepted, err
		}
	}
}

func loginManaging(ctx context.Context, server *connector.Server, request connector.Request) (*conn, error) {
	user := request.ManagingUser
	c, _, err := open(ctx, server, connector.StageLogin, user.Username, &password{Secret: user.Password}, request.Database, func(err error, c *conn) *connector.Failure {
		return c.loginFailure(err, request)
	})
	return c, err
}

// loginFailure is the failure of the managing user's login.
func (c *conn) loginFailure(err error, request connector.Request) *connector.Failure {
	user, server := request.ManagingUser.Username, c.server
	as := fmt.Sprintf("%q at %s: ", user, server.Address())
	fail := func(why, fix string, placeholders ...string) *connector.Failure {
		return (&connector.Failure{Stage: c.stage, State: connector.Unchanged, Why: as + why, Fix: fix}).Before(request.Placeholder(placeholders...))
	}
	if method := c.methodFailure(err, as); method != nil {
		method.State = connector.Unchanged
		return method
	}
	var refused *serverError
	if !errors.As(err, &refused) {
		return c.server.Broken(c.stage, err, time.Since(c.start))
	}
	switch refused.code {
	case "28P01":
		return fail("the server refused the user name or the password ("+refused.code+")",
			"Check managingUser in the managing credentials environment; the answer is the same when the role is past its VALID UNTIL, "+
				"and on RDS for a member of rds_iam, which cannot log in by password", "managingUser.username", "managingUser.password")
	case "28000":
		if c.accepted {
			return fail("the role may not log in ("+refused.code+")", connector.SQL("ALTER ROLE "+identifier(user)+" LOGIN"))
		}
		if server.TLS == nil {
			return fail("the server lets nobody in this way ("+refused.code+"): without encryption, from here, or with this user and database",
				"It may want TLS (rds.force_ssl): set the stack's databaseSslMode to verify-full ("+connector.SSLModeVariable+"), or add the user to pg_hba.conf",
				"managingUser.username")
		}
		return fail("the server's pg_hba.conf has no entry for this user and database from here ("+refused.code+")", "Add the user to pg_hba.conf",
			"managingUser.username", "database")
	case "3D000":
		return fail(fmt.Sprintf("there is no database %q (%s)", request.Database, refused.code), "Check database in the rotator environment", "database")
	case notAllowed:
		return fail(fmt.Sprintf("the user may not connect to the database %q (%s)", request.Database, refused.code),
			connector.SQL("GRANT CONNECT ON DATABASE "+identifier(request.Database)+" TO "+identifier(user))).
			Instead(request.Placeholder("database"))
	case "53300", "57P03", "53400", "53200":
		failure := c.busy(refused)
		if c.accepted {
			failure.Why = as + "the user's own limit of connections is reached, or the server's (" + refused.code + ")"
			failure.Fix = "Raise the role's CONNECTION LIMIT or max_connections, or find the client that holds so many"
		}
		failure.State = connector.Unchanged
		return failure
	default:
		return fail("the server refused the login ("+code(refused)+")", "Look the code up in the appendix \"PostgreSQL Error Codes\" of the manual, and read the server's log")
	}
}

// methodFailure is the failure of a login that the connector would not go on with, nil for other errors.
func (c *conn) methodFailure(err error, as string) *connector.Failure {
	failure := &connector.Failure{Stage: c.stage}
	var method errMethod
	switch {
	case errors.As(err, &method):
		failure.Why = as + "the server asks for " + string(method) + ", and the connector only logs in by scram-sha-256 or md5: it never sends a password in clear"
		failure.Fix = "Let the user log in by scram-sha-256 in pg_hba.conf. On RDS it is a member of rds_iam, itself or by another role, " +
			"such as one of the users to rotate: REVOKE rds_iam FROM that one"
	case errors.Is(err, errIterations):
		failure.Why = fmt.Sprintf("%sthe server asks for more SCRAM iterations than the connector does, %d at the most", as, maxIterations)
		failure.Fix = "Lower scram_iterations, and set the user's password again so that it is stored with fewer"
	case errors.Is(err, errSCRAM):
		failure.Why = as + err.Error() + ", or does not know the password it was asked about"
		failure.Fix = "Check that host and port are those of the database itself"
	default:
		return nil
	}
	return failure
}

func code(err *serverError) string {
	if len(err.code) != 5 || strings.Trim(err.code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || !slices.Contains(classes, err.code[:2]) {
		return "no SQLSTATE"
	}
	return err.code
}

// classes are those of the manual's appendix A. Other codes may be anything, and are not printed.
var classes = strings.Fields("00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 58 72 F0 HV P0 XX")

// identifier is a name as SQL writes it.
func identifier(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// findings are what any role can read, of the server and of the role that is to change.
type findings struct {
	version      int // 150004 is 15.4
	encryption   string
	iterations   int
	inRecovery   bool
	superuser    bool // the managing user is
	createRole   bool // the managing user has CREATEROLE: read by askCreateRole only
	acting       bool // the managing user's sessions act as another role
	readOnly     bool
	wantRDSGroup bool // rds.restrict_password_commands is on, and the managing user is no member of rds_password
	role         *role
}

// role is the one that is to change.
type role struct {
	name        string
	canLogin    bool
	expired     bool
	noSession   bool // CONNECTION LIMIT 0
	superuser   bool
	replication bool
	canConnect  bool // to the database of the session
	iam         bool // member of rds_iam
	managed     bool // the managing user has ADMIN OPTION on it
	self        bool
	current     bool // the managing user's sessions act as it
}

// The catalogs are the only schema that a name can mean, so that no user's function or operator runs as the managing
// user (the manual's section 10.3 on CVE-2018-1058).
const settle = "SET search_path = pg_catalog, pg_temp; SET standard_conforming_strings = on; SET statement_timeout = "

// inspectQuery reads everything at once, and leaves to Go what Go can do: each further query, view and operator has a
// server process that has just started read more of its catalogs. Whom the managing user may change goes by current_user,
// as in ALTER ROLE.
const inspectQuery = `SELECT current_setting('server_version_num'), current_setting('password_encryption'),
	current_setting('scram_iterations', true), pg_is_in_recovery(), current_setting('is_superuser'),
	current_setting('rds.restrict_password_commands', true), pg_has_role(to_regrole('rds_password'), 'MEMBER'), session_user,
	r.rolname, r.rolcanlogin, r.rolvaliduntil <= now(), r.rolconnlimit, r.rolsuper, r.rolreplication,
	has_database_privilege(r.oid, current_database(), 'CONNECT'), pg_has_role(r.oid, to_regrole('rds_iam'), 'MEMBER'),
	pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'), r.rolname = current_user, current_user = session_user,
	current_setting('transaction_read_only')
	FROM (SELECT) AS always LEFT JOIN pg_roles r ON r.rolname = $1::text::name`

// inspect reads what can be known before a change. The role is nil when there is none of that name.
func (c *conn) inspect(ctx context.Context, username string) (*findings, error) {
	row, err := c.ask(ctx, settle, query{inspectQuery, []string{username}})
	if err != nil {
		return nil, err
	}
	const columns, ofRole = 20, 8
	nothing := c.inspectFailure(&serverError{noData}, 0)
	if len(row) != columns {
		return nil, nothing
	}
	is := func(i int) bool { return row[i] == "t" }
	found := &findings{encryption: row[1], iterations: defaultIterations, inRecovery: is(3), superuser: row[4] == "on",
		acting: row[18] == "f", readOnly: row[19] == "on"}
	if found.version, err = strconv.Atoi(row[0]); err != nil {
		return nil, nothing
	}
	if row[2] != "" { // from PostgreSQL 16 on
		if found.iterations, err = strconv.Atoi(row[2]); err != nil {
			return nil, nothing
		}
	}
	found.wantRDSGroup = slices.Contains([]string{"on", "1", "true"}, row[5]) && row[6] == "f"
	name := row[ofRole]
	if name == "" {
		return found, nil
	}
	if !strings.HasPrefix(username, name) { // a long name is cut, to no other
		return nil, nothing
	}
	found.role = &role{name: name, canLogin: is(9), expired: is(10), noSession: row[11] == "0" && !is(12), superuser: is(12), replication: is(13),
		canConnect: is(14), iam: is(15) && !is(12), managed: is(16), self: name == row[7], current: is(17)}
	return found, nil
}

// askCreateRole completes the findings for what lacks. A rotation that goes well needs no such question.
func (c *conn) askCreateRole(ctx context.Context, found *findings) error {
	row, err := c.ask(ctx, "SET statement_timeout = ", query{text: `SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user`})
	if err == nil {
		found.createRole = slices.Equal(row, []string{"t"})
	}
	return err
}

// ask sets the server's bound, which is to end settings, and runs a query in the same round trip. The error is a
// *connector.Failure of a server that could not be read.
func (c *conn) ask(ctx context.Context, settings string, q query) ([]string, error) {
	start := time.Now()
	bound, err := connector.ServerBound(ctx, time.Millisecond)
	if err != nil {
		return nil, err
	}
	row, err := c.row(settings+strconv.FormatInt(bound.Milliseconds(), 10), q)
	if err != nil {
		return nil, c.inspectFailure(err, time.Since(start))
	}
	return row, nil
}

func (c *conn) inspectFailure(err error, took time.Duration) *connector.Failure {
	var refused *serverError
	if errors.As(err, &refused) {
		return &connector.Failure{Stage: connector.StageCheck, State: connector.Unchanged,
			Why: fmt.Sprintf("%s: reading the server's settings and roles failed (%s)", c.server.Address(), code(refused)),
			Fix: "Look the code up in the appendix \"PostgreSQL Error Codes\" of the manual, and read the server's log"}
	}
	failure := c.server.Broken(connector.StageCheck, err, took)
	failure.State = connector.Unchanged
	return failure
}

// refuse is the failure of a change that could not go well, before it is tried.
func (f *findings) refuse(server *connector.Server, request connector.Request) error {
	name, manager := request.RotateUser.Username, request.ManagingUser.Username
	fail := func(why, fix string) error {
		return &connector.Failure{Stage: connector.StageCheck, State: connector.Unchanged, Why: fmt.Sprintf("%q at %s: %s", name, server.Address(), why), Fix: fix}
	}
	role := identifier(name)
	switch r := f.role; {
	case f.inRecovery:
		return fail("the server is a read-only replica, such as an Aurora reader endpoint", "Use the writer endpoint as host in the rotator environment")
	case r == nil:
		failure := &connector.Failure{Stage: connector.StageCheck, State: connector.Unchanged,
			Why: fmt.Sprintf("there is no role %q at %s", name, server.Address()),
			Fix: "Correct rotateUsers in the rotator environment, or create it. " +
				connector.SQL("CREATE ROLE "+role+" LOGIN; GRANT "+role+" TO "+identifier(manager)+" WITH ADMIN OPTION")}
		return failure.Before(request.Placeholder("rotateUser.username"))
	case r.self:
		return fail("it is the managing user itself, whose own password the connector does not change", "Name other users in rotateUsers")
	case !r.canLogin:
		return fail("the role may not log in, whatever its password", connector.SQL("ALTER ROLE "+role+" LOGIN"))
	case r.expired:
		return fail("the role is past its VALID UNTIL and cannot log in, whatever its password", connector.SQL("ALTER ROLE "+role+" VALID UNTIL 'infinity'"))
	case r.noSession:
		return fail("the role's connection limit is 0, so it cannot log in, whatever its password", connector.SQL("ALTER ROLE "+role+" CONNECTION LIMIT -1"))
	case !r.canConnect:
		return fail(fmt.Sprintf("the role may not connect to the database %q", request.Database), connector.SQL("GRANT CONNECT ON DATABASE "+identifier(request.Database)+" TO "+role))
	case r.iam:
		return fail("the role is a member of rds_iam and cannot log in by password",
			"Where it is one by another role, revoke it there. "+connector.SQL("REVOKE rds_iam FROM "+role))
	case f.wantRDSGroup && f.acting:
		return fail("rds.restrict_password_commands is on, and the role as which the managing user's sessions act is no member of rds_password", actsAsAnother(manager))
	case f.wantRDSGroup:
		return fail("rds.restrict_password_commands is on, and the managing user is no member of rds_password", connector.SQL("GRANT rds_password TO "+identifier(manager)))
	case f.readOnly:
		return fail(readOnly, readOnlyFix)
	case !f.storesMD5() && f.iterations > maxIterations:
		return fail(tooManyIterations(), "Lower scram_iterations")
	}
	return nil
}

const (
	readOnly    = "the server is read-only (25006)"
	readOnlyFix = "Use the writer endpoint as host; on a writer, see default_transaction_read_only of the database and of the managing user"
)

func tooManyIterations() string {
	return fmt.Sprintf("the server's scram_iterations is more than %d, which is the most that the connector does", maxIterations)
}

func (f *findings) storesMD5() bool {
	return slices.Contains([]string{"md5", "on", "true", "yes", "1"}, f.encryption)
}

// actsAsAnother is the fix where the managing user has a setting by which its sessions act as another role.
func actsAsAnother(manager string) string {
	name := identifier(manager)
	return "Its sessions act as another role (ALTER ROLE " + name + " SET role, perhaps IN DATABASE), whose privileges count. " +
		connector.SQL("ALTER ROLE "+name+" RESET role")
}

// stored is what the server is to store for the password, by its own password_encryption.
func (f *findings) stored(secret *password) (string, error) {
	if f.storesMD5() {
		return md5Hash(f.role.name, secret.Reveal()), nil
	}
	verifier, err := secret.verifier(f.iterations)
	if err != nil {
		return "", &connector.Failure{Stage: connector.StageCheck, State: connector.Unchanged,
			Why: tooManyIterations(), Fix: "Lower scram_iterations"}
	}
	return verifier, nil
}

// alter sends the change, again where two changes of the role met. The server's bound travels in the same message.
func (c *conn) alter(ctx context.Context, request connector.Request, found *findings, stored string) error {
	start := time.Now()
	c.server.SetStage(connector.StageChange)
	for {
		bound, err := connector.ServerBound(ctx, 50*time.Millisecond)
		if err != nil {
			return err
		}
		c.server.SetState(connector.MaybeChanged)
		err = c.exec(fmt.Sprintf("SET statement_timeout = %d; ALTER ROLE %s PASSWORD '%s'", bound.Milliseconds(), identifier(found.role.name), stored))
		var refused *serverError
		switch {
		case err == nil:
			c.server.SetState(connector.Changed)
			return nil
		case !errors.As(err, &refused):
			return c.server.Broken(connector.StageChange, err, time.Since(start))
		}
		c.server.SetState(connector.Unchanged)
		if !retriable[refused.code] || !connector.Pause(ctx) {
			return c.changeFailure(ctx, refused, request, found, time.Since(start))
		}
	}
}

// notAllowed is the SQLSTATE for a missing privilege.
const notAllowed = "42501"

// retriable are a concurrent change of the same row (internal error: "tuple concurrently updated"), a serialization
// failure and a deadlock.
var retriable = map[string]bool{"XX000": true, "40001": true, "40P01": true}

func (c *conn) changeFailure(ctx context.Context, refused *serverError, request connector.Request, found *findings, took time.Duration) *connector.Failure {
	failure := &connector.Failure{Stage: connector.StageChange, State: connector.Unchanged}
	of := fmt.Sprintf("the password of %q at %s: ", found.role.name, c.server.Address())
	switch refused.code {
	case notAllowed:
		failure.Why = of + fmt.Sprintf("the managing user %q may not change it (42501)", request.ManagingUser.Username)
		failure.Fix = "Read the server's log for the privilege that is missing"
		if c.askCreateRole(ctx, found) == nil {
			failure.Fix = found.grant(request)
		}
	case "25006":
		failure.Why, failure.Fix = of+readOnly, readOnlyFix
	case "57014", "55P03", "25P04": // the last by transaction_timeout, of PostgreSQL 17
		failure.Why = of + fmt.Sprintf("another session kept it locked for %s (%s)", connector.Seconds(took), refused.code)
		failure.Fix = "Find the transaction that changes this role and does not end: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"
	case "42704":
		failure.Why = of + "the role has just been dropped (42704)"
		failure.Fix = "Correct rotateUsers in the rotator environment"
	default:
		if retriable[refused.code] {
			failure.Why = of + fmt.Sprintf("changes of it by others got in the way for %s (%s)", connector.Seconds(took), refused.code)
			failure.Fix = "Rotate again"
			break
		}
		switch refused.code[:min(2, len(refused.code))] {
		case "57", "08":
			failure.Why = of + "the server ended the session (" + code(refused) + ")"
			failure.State = connector.MaybeChanged
			return failure
		case "53", "58", "F0", "XX":
			failure.Why = of + "the server failed (" + code(refused) + ")"
			failure.Fix = "Read the server's log; 53 stands for a lack of memory, disk or connections"
			return failure
		}
		failure.Why = of + "the server refused the verifier that was computed here (" + code(refused) + "). A password-checking extension may insist on the password in clear, " +
			"which the connector never sends, because the server's log would hold it"
		failure.Fix = "Let the extension accept verifiers of the managing user (credcheck, passwordcheck and the like; see shared_preload_libraries), and read the server's log"
	}
	return failure
}

// grant names what the managing user lacks.
func (f *findings) grant(request connector.Request) string {
	manager, target := identifier(request.ManagingUser.Username), identifier(f.role.name)
	switch {
	case f.role.superuser && !f.superuser:
		return "It is a superuser, whom only a superuser may change: rotate another user"
	case f.version < 160000 && f.role.replication && !f.superuser:
		return "It is a REPLICATION role, which before PostgreSQL 16 only a superuser may change: rotate another user. " + connector.SQL("ALTER ROLE "+target+" NOREPLICATION")
	case f.acting:
		return actsAsAnother(request.ManagingUser.Username)
	case f.superuser:
		return "A superuser may change any role, so that an extension must be in the way: read the server's log"
	case !f.createRole && (f.version < 160000 || f.role.managed):
		return connector.SQL("ALTER ROLE " + manager + " CREATEROLE")
	case !f.createRole:
		return connector.SQL("ALTER ROLE " + manager + " CREATEROLE; GRANT " + target + " TO " + manager + " WITH ADMIN OPTION")
	case f.version >= 160000 && !f.role.managed:
		return connector.SQL("GRANT " + target + " TO " + manager + " WITH ADMIN OPTION")
	default:
		return "Read the server's log for the privilege that is missing. On RDS: " + connector.SQL("GRANT rds_password TO "+manager)
	}
}

// prove logs in as the rotated user.
func prove(ctx context.Context, server *connector.Server, request connector.Request, name string, secret *password) (connector.Outcome, error) {
	server.SetStage(connector.StageProve)
	as := fmt.Sprintf("logging in as %q at %s with the new password: ", name, server.Address())
	var skipped string
	session, accepted, err := open(ctx, server, connector.StageProve, name, secret, request.Database,
		func(err error, c *conn) *connector.Failure {
			failure := &connector.Failure{Stage: connector.StageProve}
			var refused *serverError
			switch {
			case errors.Is(err, errTrust):
				skipped = "the server lets the user in without a password (trust in pg_hba.conf)"
				failure.Why = skipped
			case errors.As(err, &refused) && !c.accepted && refused.code == "28000":
				skipped = "pg_hba.conf does not let the user in from here (28000)"
				failure.Why = skipped
			case errors.As(err, &refused) && !c.accepted && (refused.code == "53300" || refused.code == "57P03"):
				failure = c.busy(refused)
				failure.Why = as + failure.Why
			case errors.As(err, &refused) && refused.code == "28P01":
				failure.Why = as + "the server refused it (28P01)"
				failure.Fix = "What it can mean: someone else changed the password at the same time (rotate again); pg_hba.conf asks for scram-sha-256 while the server's " +
					"password_encryption is md5; a pooler between keeps its own passwords (use the database's own endpoint as host); " +
					"the role's VALID UNTIL has just passed; on RDS, membership in rds_iam"
			case errors.As(err, &refused):
				failure.Why = as + "the server answered " + code(refused)
				failure.Fix = "Look the code up in the appendix \"PostgreSQL Error Codes\" of the manual, and read the server's log"
			default:
				if method := c.methodFailure(err, as); method != nil {
					return method
				}
				failure = server.Broken(connector.StageProve, err, time.Since(c.start))
				failure.Why = as + failure.Why
			}
			return failure
		})
	switch {
	case err == nil:
		session.close()
		return connector.Outcome{Proof: connector.ProofDone, Message: "ok"}, nil
	case accepted:
		return connector.Outcome{Proof: connector.ProofDone, Message: "ok", Note: "the server took the password, and then ended the session: " + err.Error()}, nil
	case skipped != "":
		return connector.Outcome{Proof: connector.ProofSkipped, Message: "ok", Note: skipped}, nil
	}
	return connector.Outcome{}, connector.Unproved(err)
}
