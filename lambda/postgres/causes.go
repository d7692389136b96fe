package postgres

import "strings"

// moment is what the connector was at when the server answered an error.
type moment uint

const (
	atDoor       moment = 1 << iota // the managing user's login, before the server took the password
	inside                          // the managing user's login, after that
	checking                        // reading what could be in the way
	changing                        // the change
	proving                         // a login as the rotated user, before the server took the password
	masterDoor                      // the master user's login, before the server took the password
	masterInside                    // the master user's login, after that
	making                          // a statement of a preparation
	withVerifier                    // beside making: one that holds a password's verifier
)

const (
	loggingIn = atDoor | inside | proving | masterDoor | masterInside
	always    = loggingIn | checking | changing | making
)

// cause is what an error of the server means at a moment, and what to do about it. why and fix may hold {user}, whose session
// it is, and {database}, which are identifiers of SQL, and at the change {took}, how long it was tried.
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
	masterUser       = "prepare.masterUser.username"
	masterPassword   = "prepare.masterUser.password"
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
	{code: "28P01", at: masterDoor, why: "the server refused the master user's name or password",
		fix: "Check masterUsername and masterPassword; where RDS keeps the password, it may just have been rotated: try again. The answer is the same when the role " +
			"is past its VALID UNTIL, and on RDS for a member of rds_iam, which cannot log in by password", fields: []string{masterUser, masterPassword}},
	{code: "28000", at: masterInside, why: "the role may not log in", fix: "Prepare with another master user, or let this one log in: ALTER ROLE {user} LOGIN;"},
	{code: "28000", at: masterDoor, why: "the server's pg_hba.conf has no entry for this user and database from here", fix: "Add the user to pg_hba.conf",
		fields: []string{masterUser, "database"}},
	{code: "3D000", at: masterDoor | masterInside, why: "there is no database {database}", fix: "Correct databaseName, or create the database, which a preparation does not do: CREATE DATABASE {database};",
		fields: []string{"database"}},
	{code: notAllowed, at: masterInside, why: "the user may not connect to the database {database}", fix: "Run as the database's owner: GRANT CONNECT ON DATABASE {database} TO {user};",
		fields: []string{"database"}},
	{code: "28000", at: inside, why: "the role may not log in", fix: runAsMaster + "ALTER ROLE {user} LOGIN;"},
	{code: "28000", at: atDoor, why: "the server's pg_hba.conf has no entry for this user and database from here", fix: "Add the user to pg_hba.conf",
		fields: []string{managingUser, "database"}},
	{code: "3D000", at: atDoor | inside, why: "there is no database {database}", fix: "Check database in the rotator environment", fields: []string{"database"}},
	{code: notAllowed, at: inside, why: "the user may not connect to the database {database}",
		fix: runAsMaster + "GRANT CONNECT ON DATABASE {database} TO {user};", fields: []string{"database"}},
	{code: "55000", at: inside | masterInside, why: "the database {database} takes no connections", fix: runAsMaster + "ALTER DATABASE {database} ALLOW_CONNECTIONS true; " +
		"a database whose DROP was broken off has to be dropped"},
	{code: "53300", routine: "InitializeSessionUserId", at: inside | masterInside, transient: true, why: "the user's own limit of connections is reached",
		fix: runAsMaster + "ALTER ROLE {user} CONNECTION LIMIT -1; " + findClient},
	{code: "53300", routine: "CheckMyDatabase", at: inside | masterInside, transient: true, why: "the database's own limit of connections is reached",
		fix: runAsMaster + "ALTER DATABASE {database} CONNECTION LIMIT -1; " + findClient},
	{code: "53300", at: loggingIn, transient: true, why: "the server takes no more connections now", fix: "Raise max_connections. " + findClient},
	{code: "53400", at: loggingIn, transient: true, why: "the server has reached a limit of its own configuration", fix: readLog},
	{code: "57P03", at: always, transient: true, why: "the server is starting, shutting down or recovering", fix: "Wait until it takes connections, then try again. " + readLog},
	{code: "58P01", at: inside | masterInside, why: "the server lacks a file that the session was to load", fix: "See session_preload_libraries and local_preload_libraries of the role and of the database"},
	{code: "P0", at: inside | masterInside, why: "code of the database that runs at a login raised an exception",
		fix: "See the event triggers ON login: SELECT evtname, evtfoid::regproc FROM pg_event_trigger WHERE evtevent = 'login'"},
	{code: "08P01", at: loggingIn | checking, why: "the login or the statement was refused, as a pooler between does it",
		fix: "Use the database's own endpoint as host; a pooler's log tells why. PgBouncer must know user and database, and cannot do it with pool_mode statement"},

	// A preparation. What met another change of the same roles is made again.
	{code: "25006", at: making, why: readOnly, fix: "Use the writer endpoint as host; on a writer, see default_transaction_read_only of the database and of the master user"},
	{code: "55P03", at: making, transient: true, why: "another session kept it locked", fix: "Find the transaction that does not end: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"},
	{code: "57014", at: making, why: "the server was not done in the time that it was given", fix: "Find out what it is busy with: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"},
	{code: "25P03", at: making, transient: true, why: "the server's idle_in_transaction_session_timeout was over", fix: "Try again"},
	{code: "25P04", at: making, why: "the server's transaction_timeout was over", fix: "Raise transaction_timeout, or find out what the server is busy with: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"},
	{code: "42710", at: making, transient: true, why: "somebody else made it at the same moment", fix: "Try again"},
	{code: "23505", at: making, transient: true, why: "somebody else made it at the same moment", fix: "Try again"},
	{code: "42704", at: making, transient: true, why: "somebody else dropped at the same moment what it needs", fix: "Try again. " + readLog},
	{code: "42P01", at: making, transient: true, why: "somebody else dropped at the same moment what it needs", fix: "Try again"},
	{code: "XX000", at: making, transient: true, why: "changes by others got in the way, or the server failed", fix: "Try again. " + readLog},
	{code: "40001", at: making, transient: true, why: "changes by others got in the way", fix: "Try again"},
	{code: "40P01", at: making, transient: true, why: "changes by others got in the way", fix: "Try again"},
	{code: "42939", at: making, why: "the name is one that the server keeps for itself", fix: "Choose another name"},
	{code: "0LP01", at: making, why: "the server refuses this membership, such as one that would make two roles members of each other",
		fix: "See who is a member of whom: SELECT roleid::regrole, member::regrole FROM pg_auth_members"},

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
	{code: "22023", at: changing | withVerifier, why: refusedVerifier, fix: acceptVerifiers},
	{code: "28", at: changing | withVerifier, why: refusedVerifier, fix: acceptVerifiers},
	{code: "P0", at: changing | withVerifier, why: refusedVerifier, fix: acceptVerifiers},

	// Whatever it was doing.
	{code: "53100", at: always, why: "the server's disk is full", fix: "Give it more storage. " + readLog},
	{code: "53200", at: always, transient: true, why: "the server is out of memory", fix: "Find out what takes it: SELECT * FROM pg_stat_activity WHERE state <> 'idle'. " + readLog},
	{code: "53", at: always, why: "the server is short of resources", fix: readLog},
	{code: "58", at: always, why: "the server's files or system failed", fix: readLog},
	{code: "57P01", at: always, transient: true, why: "the server ended the session: it is shutting down, or an administrator did it", fix: "Try again when it is back. " + readLog},
	{code: "57P02", at: always, transient: true, why: "the server ended the session, since another of its processes crashed", fix: "Try again. " + readLog},
	{code: "57", at: always, transient: true, why: "the server ended the session", fix: "Try again. " + readLog},
	{code: "08", at: always, transient: true, why: "the server, or a pooler between, lost a connection", fix: "Try again. " + readLog},
	{code: "XX", at: always, why: "the server failed by an internal error", fix: readLog},
	{code: "F0", at: always, why: "the server's configuration file is damaged", fix: readLog},
	{at: changing, why: "the server refused the change", fix: lookUp},
	{at: making, why: "the server refused it", fix: lookUp},
	{at: checking, why: "reading the server's settings and roles failed", fix: lookUp},
	{at: loggingIn, why: "the server refused the login", fix: lookUp},
}

const (
	refusedVerifier = "the server refused the verifier that was computed here: a password check may insist on the password in clear, " +
		"which the connector never sends, because the server's log would hold it"
	acceptVerifiers = "Let the check accept verifiers from the user who sets the password (credcheck, passwordcheck and the like; see shared_preload_libraries), and read the server's log"
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
