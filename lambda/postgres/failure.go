package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"esc-connector-lambda-go/lambda/connector"
)

// moment is what the connector was at when the server answered an error.
type moment uint

const (
	atDoor   moment = 1 << iota // the managing user's login, before the server took the password
	inside                      // the managing user's login, after that
	checking                    // reading what could be in the way
	changing                    // the change
	proving                     // a login as the rotated user, before the server took the password
)

const always = atDoor | inside | checking | changing | proving

// cause is what an error of the server means at a moment, and what to do about it. why and fix may hold {manager}, {role}
// and {database}, which are identifiers of SQL, and at the change {took}, how long it was tried.
type cause struct {
	code      string // an SQLSTATE, or the first two characters of a class
	routine   string // the function of the server that raised it, "" for any: what its words say, but not translated
	at        moment
	why, fix  string
	transient bool
	fields    []string // of the request, that the server may have meant
}

const (
	managingUser     = "managingUser.username"
	managingPassword = "managingUser.password"
	lookUp           = "Look the code up in the appendix \"PostgreSQL Error Codes\" of the manual, and read the server's log"
	runAsMaster      = "Run as the database's master user: "
	findClient       = "Find the client that holds so many: SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2"
	readOnly         = "the server is read-only"
	readOnlyFix      = "Use the writer endpoint as host; on a writer, see default_transaction_read_only of the database and of the managing user"
	readLog          = "Read the server's log"
)

// causes are the errors of PostgreSQL that are known to come. The codes are those of the manual's appendix A; where
// each is raised was read in the sources of PostgreSQL 13 to 18 (postmaster/, utils/init/postinit.c, miscinit.c,
// commands/user.c), and those of PgBouncer in its own. The first that fits counts.
var causes = []cause{
	// The login.
	{code: "28P01", at: atDoor, why: "the server refused the user name or the password",
		fix: "Check managingUser in the managing credentials environment; the answer is the same when the role is past its VALID UNTIL, " +
			"and on RDS for a member of rds_iam, which cannot log in by password", fields: []string{managingUser, managingPassword}},
	{code: "28P01", at: proving, why: "the server refused it",
		fix: "What it can mean: someone else changed the password at the same time (rotate again); pg_hba.conf asks for scram-sha-256 while the server's " +
			"password_encryption is md5; a pooler between keeps its own passwords (use the database's own endpoint as host); " +
			"the role's VALID UNTIL has just passed; on RDS, membership in rds_iam"},
	{code: "28000", at: inside, why: "the role may not log in", fix: runAsMaster + "ALTER ROLE {manager} LOGIN;"},
	{code: "28000", at: atDoor, why: "the server's pg_hba.conf has no entry for this user and database from here", fix: "Add the user to pg_hba.conf",
		fields: []string{managingUser, "database"}},
	{code: "3D000", at: atDoor | inside, why: "there is no database {database}", fix: "Check database in the rotator environment", fields: []string{"database"}},
	{code: notAllowed, at: inside, why: "the user may not connect to the database {database}",
		fix: runAsMaster + "GRANT CONNECT ON DATABASE {database} TO {manager};", fields: []string{"database"}},
	{code: "55000", at: inside, why: "the database {database} takes no connections", fix: runAsMaster + "ALTER DATABASE {database} ALLOW_CONNECTIONS true; " +
		"a database whose DROP was broken off has to be dropped"},
	{code: "53300", routine: "InitializeSessionUserId", at: inside, transient: true, why: "the managing user's own limit of connections is reached",
		fix: runAsMaster + "ALTER ROLE {manager} CONNECTION LIMIT -1; " + findClient},
	{code: "53300", routine: "CheckMyDatabase", at: inside, transient: true, why: "the database's own limit of connections is reached",
		fix: runAsMaster + "ALTER DATABASE {database} CONNECTION LIMIT -1; " + findClient},
	{code: "53300", at: atDoor | inside | proving, transient: true, why: "the server takes no more connections now", fix: "Raise max_connections. " + findClient},
	{code: "53400", at: atDoor | inside | proving, transient: true, why: "the server has reached a limit of its own configuration", fix: readLog},
	{code: "57P03", at: always, transient: true, why: "the server is starting, shutting down or recovering", fix: "Wait until it takes connections, then rotate again. " + readLog},
	{code: "58P01", at: inside, why: "the server lacks a file that the session was to load", fix: "See session_preload_libraries and local_preload_libraries of the role and of the database"},
	{code: "P0", at: inside, why: "code of the database that runs at a login raised an exception",
		fix: "See the event triggers ON login: SELECT evtname, evtfoid::regproc FROM pg_event_trigger WHERE evtevent = 'login'"},
	{code: "08P01", at: atDoor | inside | checking | proving, why: "the login or the statement was refused, as a pooler between does it",
		fix: "Use the database's own endpoint as host; a pooler's log tells why. PgBouncer must know user and database, and cannot do it with pool_mode statement"},

	// The change.
	{code: "25006", at: checking | changing, why: readOnly, fix: readOnlyFix},
	{code: "55P03", at: changing, why: "another session kept it locked for {took}", fix: "Find the transaction that changes this role and does not end: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"},
	{code: "57014", at: checking | changing, why: "the server was not done in the time that it was given",
		fix: "Find out what it is busy with: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"},
	{code: "25P04", at: checking | changing, why: "the server's transaction_timeout was over", fix: "Raise transaction_timeout, or find out what the server is busy with: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"},
	{code: "25P03", at: checking, why: "the server's idle_in_transaction_session_timeout was over", fix: "Raise idle_in_transaction_session_timeout"},
	{code: "42704", at: changing, why: "the role has just been dropped", fix: "Correct rotateUsers in the rotator environment"},
	{code: "XX000", at: changing, why: "changes of it by others got in the way for {took}, or the server failed", fix: "Rotate again. " + readLog},
	{code: "40001", at: changing, why: "changes of it by others got in the way for {took}", fix: "Rotate again"},
	{code: "40P01", at: changing, why: "changes of it by others got in the way for {took}", fix: "Rotate again"},
	{code: "22023", at: changing, why: refusedVerifier, fix: acceptVerifiers},
	{code: "28", at: changing, why: refusedVerifier, fix: acceptVerifiers},
	{code: "P0", at: changing, why: refusedVerifier, fix: acceptVerifiers},

	// Whatever it was doing.
	{code: "53100", at: always, why: "the server's disk is full", fix: "Give it more storage. " + readLog},
	{code: "53200", at: always, transient: true, why: "the server is out of memory", fix: "Find out what takes it: SELECT * FROM pg_stat_activity WHERE state <> 'idle'. " + readLog},
	{code: "53", at: always, why: "the server is short of resources", fix: readLog},
	{code: "58", at: always, why: "the server's files or system failed", fix: readLog},
	{code: "57P01", at: always, transient: true, why: "the server ended the session: it is shutting down, or an administrator did it", fix: "Rotate again when it is back. " + readLog},
	{code: "57P02", at: always, transient: true, why: "the server ended the session, since another of its processes crashed", fix: "Rotate again. " + readLog},
	{code: "57", at: always, transient: true, why: "the server ended the session", fix: "Rotate again. " + readLog},
	{code: "08", at: always, transient: true, why: "the server, or a pooler between, lost a connection", fix: "Rotate again. " + readLog},
	{code: "XX", at: always, why: "the server failed by an internal error", fix: readLog},
	{code: "F0", at: always, why: "the server's configuration file is damaged", fix: readLog},
	{at: changing, why: "the server refused the change", fix: lookUp},
	{at: checking, why: "reading the server's settings and roles failed", fix: lookUp},
	{at: atDoor | inside | proving, why: "the server refused the login", fix: lookUp},
}

const (
	refusedVerifier = "the server refused the verifier that was computed here: a password check may insist on the password in clear, " +
		"which the connector never sends, because the server's log would hold it"
	acceptVerifiers = "Let the check accept verifiers of the managing user (credcheck, passwordcheck and the like; see shared_preload_libraries), and read the server's log"
)

// notAllowed is the SQLSTATE for a missing privilege.
const notAllowed = "42501"

// causeOf is what an error means at a moment.
func causeOf(refused *serverError, at moment) cause {
	for _, known := range causes {
		if known.at&at != 0 && strings.HasPrefix(refused.code, known.code) && (known.routine == "" || known.routine == refused.routine) {
			return known
		}
	}
	return cause{why: "the server answered an error", fix: lookUp}
}

// failure is that of an error at a moment. as says what was being done, to what. Errors of the connection and of the
// connector itself have failures of their own.
func (r *rotation) failure(c *conn, err error, at moment, as string) *connector.Failure {
	if known := connector.AsFailure(err); known != nil {
		return known
	}
	if method := c.methodFailure(err, as); method != nil {
		return method
	}
	var refused *serverError
	if !errors.As(err, &refused) {
		broken := r.server.Broken(err)
		if at == proving {
			broken.Why = as + broken.Why
		}
		return broken
	}
	known := causeOf(refused, at)
	failure := r.server.Fail(as+r.fill(known.why)+" ("+code(refused)+")", r.fill(known.fix))
	failure.Transient = known.transient
	failure.Refused = refused.code == "28P01"
	if at == atDoor && refused.code == "28000" && r.server.TLS == nil {
		failure.Why = as + "the server lets nobody in this way (28000): without encryption, from here, or with this user and database"
		failure.Fix = "It may want TLS (rds.force_ssl): set the stack's databaseSslMode to verify-full (" + connector.SSLModeVariable + "), or add the user to pg_hba.conf"
	}
	return failure.Before(r.request.Hint(known.fields...))
}

// fill puts the names of the request into a sentence of the table.
func (r *rotation) fill(sentence string) string {
	role := ""
	if r.request.RotateUser != nil {
		role = r.request.RotateUser.Username
	}
	return strings.NewReplacer("{manager}", identifier(r.request.ManagingUser.Username), "{role}", identifier(role), "{database}", identifier(r.request.Database)).Replace(sentence)
}

// methodFailure is the failure of a login that the connector would not go on with, nil for other errors.
func (c *conn) methodFailure(err error, as string) *connector.Failure {
	var method errMethod
	switch {
	case errors.As(err, &method):
		return c.server.Fail(as+"the server asks for "+string(method)+", and the connector only logs in by scram-sha-256 or md5: it never sends a password in clear",
			"Let the user log in by scram-sha-256 in pg_hba.conf. On RDS it is a member of rds_iam, itself or by another role, "+
				"such as one of the users to rotate: REVOKE rds_iam FROM that one")
	case errors.Is(err, errIterations):
		return c.server.Fail(fmt.Sprintf("%sthe server asks for more SCRAM iterations than the connector does, %d at the most", as, maxIterations),
			"Lower scram_iterations, and set the user's password again so that it is stored with fewer")
	case errors.Is(err, errSCRAM):
		return c.server.Fail(as+err.Error()+", or does not know the password it was asked about", "Check that host and port are those of the database itself")
	}
	return nil
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

// blocker is the failure of a change that could not go well, before it is tried; nil where nothing is in the way.
func (r *rotation) blocker() *connector.Failure {
	name, manager, found := r.request.RotateUser.Username, r.request.ManagingUser.Username, r.found
	fail := func(why, fix string) *connector.Failure {
		return r.server.Fail(fmt.Sprintf("%q at %s: %s", name, r.server.Address(), why), fix)
	}
	quoted := identifier(name)
	switch role := found.role; {
	case found.inRecovery:
		return fail("the server is a read-only replica, such as an Aurora reader endpoint", "Use the writer endpoint as host in the rotator environment")
	case role == nil:
		return r.server.Fail(fmt.Sprintf("there is no role %q at %s", name, r.server.Address()),
			"Correct rotateUsers in the rotator environment, or create it. "+
				connector.SQL("CREATE ROLE "+quoted+" LOGIN; GRANT "+quoted+" TO "+identifier(manager)+" WITH ADMIN OPTION")).
			Before(r.request.Hint("rotateUser.username"))
	case role.self:
		return fail("it is the managing user itself, whose own password the connector does not change", "Name other users in rotateUsers")
	case !role.canLogin:
		return fail("the role may not log in, whatever its password", connector.SQL("ALTER ROLE "+quoted+" LOGIN"))
	case role.expired:
		return fail("the role is past its VALID UNTIL and cannot log in, whatever its password", connector.SQL("ALTER ROLE "+quoted+" VALID UNTIL 'infinity'"))
	case role.noSession:
		return fail("the role's connection limit is 0, so it cannot log in, whatever its password", connector.SQL("ALTER ROLE "+quoted+" CONNECTION LIMIT -1"))
	case !role.canConnect:
		return fail(fmt.Sprintf("the role may not connect to the database %q", r.request.Database), connector.SQL("GRANT CONNECT ON DATABASE "+identifier(r.request.Database)+" TO "+quoted))
	case role.iam:
		return fail("the role is a member of rds_iam and cannot log in by password",
			"Where it is one by another role, revoke it there. "+connector.SQL("REVOKE rds_iam FROM "+quoted))
	case found.wantRDSGroup && found.acting:
		return fail("rds.restrict_password_commands is on, and the role as which the managing user's sessions act is no member of rds_password", r.actsAsAnother())
	case found.wantRDSGroup:
		return fail("rds.restrict_password_commands is on, and the managing user is no member of rds_password", connector.SQL("GRANT rds_password TO "+identifier(manager)))
	case found.readOnly:
		if found.reset != "" {
			return fail("the managing user's sessions only read (25006): default_transaction_read_only is set", connector.SQL(found.reset))
		}
		return fail(readOnly+" (25006)", readOnlyFix)
	case !found.storesMD5() && found.iterations > maxIterations:
		return fail(tooManyIterations(), "Lower scram_iterations")
	}
	return nil
}

func tooManyIterations() string {
	return fmt.Sprintf("the server's scram_iterations is more than %d, which is the most that the connector does", maxIterations)
}

// actsAsAnother is the fix where a setting has the managing user's sessions act as another role.
func (r *rotation) actsAsAnother() string {
	const fix = "Its sessions act as another role, whose privileges count. "
	if r.found.reset == "" {
		return fix + "See the setting role, and what is between"
	}
	return fix + connector.SQL(r.found.reset)
}

// missingGrant names what the managing user lacks to change the role, "" when it has it all.
func (r *rotation) missingGrant() string {
	found, role := r.found, r.found.role
	allowed := found.createRole && !role.superuser
	if found.version >= 160000 {
		allowed = allowed && role.managed
	} else {
		allowed = allowed && !role.replication
	}
	// Whose sessions act as the role itself may change its password, as any role may its own.
	own := role.current && (found.version >= 160000 || !role.replication && !role.superuser)
	if found.superuser || allowed || own {
		return ""
	}
	return r.grant()
}

// grant is the fix for a change that the managing user was not allowed.
func (r *rotation) grant() string {
	manager, target, found := identifier(r.request.ManagingUser.Username), identifier(r.found.role.name), r.found
	switch {
	case found.role.superuser && !found.superuser:
		return "It is a superuser, whom only a superuser may change: rotate another user"
	case found.version < 160000 && found.role.replication && !found.superuser:
		return "It is a REPLICATION role, which before PostgreSQL 16 only a superuser may change: rotate another user. " + connector.SQL("ALTER ROLE "+target+" NOREPLICATION")
	case found.acting:
		return r.actsAsAnother()
	case found.superuser:
		return "A superuser may change any role, so that an extension must be in the way: read the server's log"
	case !found.createRole && (found.version < 160000 || found.role.managed):
		return connector.SQL("ALTER ROLE " + manager + " CREATEROLE")
	case !found.createRole:
		return connector.SQL("ALTER ROLE " + manager + " CREATEROLE; GRANT " + target + " TO " + manager + " WITH ADMIN OPTION")
	case found.version >= 160000 && !found.role.managed:
		return connector.SQL("GRANT " + target + " TO " + manager + " WITH ADMIN OPTION")
	default:
		return "Read the server's log for the privilege that is missing. On RDS: " + connector.SQL("GRANT rds_password TO "+manager)
	}
}
