package mysql

import (
	"slices"
	"strings"
)

// Numbers of errors that the code tells apart. What the others mean is in the table alone.
const (
	databaseDenied   = 1044
	loginDenied      = 1045
	unknownDatabase  = 1049
	tableDenied      = 1142
	unknownVariable  = 1193
	lockTimeout      = 1205
	deadlock         = 1213
	userConnections  = 1203
	userLimit        = 1226
	statementTimeout = 1969 // MariaDB's max_statement_time
	privilegeMissing = 1227
	optionPrevents   = 1290 // read_only, skip_grant_tables, or MariaDB's strict_password_validation
	badHash          = 1372
	pluginMissing    = 1524
	accountFailed    = 1396
	noGrants         = 1141
	noAccount        = 1410 // MariaDB, as a warning
	policy           = 1819
	existsOnMariaDB  = 1973 // as a warning
	noAccountWarned  = 3162 // as a warning
	existsOnMySQL    = 3163 // as a warning
	badAttribute     = 3982
)

// meaning is what an error tells of a login's password, or of a change.
type meaning int

const (
	// untold: nothing. Of a login it is a failure like any other, of a change a login has to decide.
	untold meaning = iota
	// busy: nothing, and it may be otherwise in a moment.
	busy
	// proved: the server took the password, and ended the session after that.
	proved
	// refused: the change was not applied.
	refused
)

// cause is what an error of the server's means, and what to do about it. In the texts $account is the account that logs
// in or is to be changed, $database the request's.
type cause struct {
	number uint16
	means  meaning
	why    string
	fix    string
}

const (
	findClients        = "Raise max_connections, or find the client that holds so many: SHOW FULL PROCESSLIST"
	wantsTLS           = "Set the stack's databaseSslMode to verify-full (DB_SSLMODE)"
	correctInitConnect = "Correct the server's init_connect, which each user without SUPER or CONNECTION_ADMIN runs"
	lookUp             = "Look the number up in the manual's error reference, and read the server's log"
	moreMemory         = "Find out what uses the memory of the server's machine, or give it more"
	moreDisk           = "Give the server more disk, or free some of it: binary logs and temporary tables are the first to look at"
	rightAgain         = "Try again when the server is up"
	unlock             = "Run as the database's master user: ALTER USER $account ACCOUNT UNLOCK;"
	byPassword         = "Give the account an authentication by password: caching_sha2_password on MySQL, mysql_native_password on MariaDB"
)

// The errors of a login and of a change, from MySQL's "Server Error Message Reference"
// (https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html) and MariaDB's "MariaDB Error Code Reference"
// (https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference), and from the pages named at some.
// What they tell of a login's password and of a change was read in acl_authenticate and mysql_alter_user of both servers'
// sources (MySQL 8.0: sql/auth/sql_authentication.cc and sql_user.cc; MariaDB: sql/sql_acl.cc), and in MariaDB's
// prepare_new_connection_state (sql/sql_connect.cc): the limits of connections and the rights on a database are looked at
// after the password, and MariaDB writes the table of the accounts before its binary log, so that an error of files, memory
// or the session proves nothing of a change.
var (
	causesOfLogin = []cause{
		{1021, busy, "the server's disk is full", moreDisk},
		{1040, busy, "the server takes no more connections now (max_connections)", findClients},
		{1041, busy, "the server is out of memory", moreMemory},
		{databaseDenied, proved, "the user has no rights on the database", ""},
		{1047, busy, "this node of a Galera cluster is not ready to serve", "Look at the node's wsrep_ready and wsrep_cluster_status"},
		{1053, busy, "the server is shutting down", rightAgain},
		{1129, untold, "the server blocks this function's host after too many broken connections",
			"Raise max_connect_errors. Run as the database's master user: TRUNCATE TABLE performance_schema.host_cache; MariaDB: FLUSH HOSTS;"},
		{1130, untold, "the server has no account that may log in from this function's host", "Give the account a host that matches the function's subnets, such as 10.0.%"},
		{1135, busy, "the server could not make a thread for the connection: it is out of memory, or at a limit of its operating system", moreMemory},
		{1184, proved, "the server ended the session because its init_connect failed", correctInitConnect},
		{1203, proved, "the user's own limit of connections is reached (max_user_connections)", "Raise the limit, or find the client that holds so many: SHOW FULL PROCESSLIST"},
		{1226, proved, "a limit of the account's own is reached (MAX_USER_CONNECTIONS, MAX_CONNECTIONS_PER_HOUR, MAX_QUERIES_PER_HOUR or MAX_UPDATES_PER_HOUR)",
			"Raise the account's limits, or find the client that uses them up"},
		{1251, untold, "the server wants an authentication that the connector does not speak", byPassword},
		{pluginMissing, untold, "the account's authentication plugin is not loaded (MySQL starts without mysql_native_password since 8.4, and has none since 9.0)",
			"Run as the database's master user: ALTER USER $account IDENTIFIED WITH caching_sha2_password BY '<a password>'; " +
				"on MariaDB: ALTER USER $account IDENTIFIED BY '<a password>';"}, // MySQL's manual: "Native Pluggable Authentication"
		{1698, untold, "the account does not log in by a password, but as a user of the server's machine (unix_socket, auth_socket)", byPassword},
		{1820, untold, "the account's password has expired", "Run as the database's master user: ALTER USER $account PASSWORD EXPIRE NEVER;"},
		{1862, untold, "the account's password has expired", "Run as the database's master user: ALTER USER $account PASSWORD EXPIRE NEVER;"},
		{1927, busy, "the session was killed", "Find out who kills sessions: an administrator, a job, or a fail-over"},
		{3032, busy, "the server is in offline mode", "Run as the database's master user: SET GLOBAL offline_mode = OFF;"},
		{3118, untold, "the account is locked", unlock},
		{3159, untold, "the server wants TLS (require_secure_transport)", wantsTLS},
		{3169, busy, "the session was killed", "Find out who kills sessions: an administrator, a job, or a fail-over"},
		{3955, untold, "the account is locked for a while after failed logins (FAILED_LOGIN_ATTEMPTS)", "Wait until PASSWORD_LOCK_TIME is over. " + unlock},
		{4151, untold, "the account is locked", unlock}, // MariaDB
	}

	causesOfChange = []cause{
		{1021, busy, "the server's disk is full", moreDisk},
		{1026, busy, "the server could not write a file", moreDisk},
		{1030, untold, "a storage engine of the server's failed", "Read the server's log: its disk may be full, or the table of the accounts damaged"},
		{1041, busy, "the server is out of memory", moreMemory},
		{1037, busy, "the server is out of memory", moreMemory},
		{1047, busy, "this node of a Galera cluster is not ready to serve", "Look at the node's wsrep_ready and wsrep_cluster_status"},
		{1053, busy, "the server is shutting down", rightAgain},
		{1064, refused, "the server does not know the statement, which is one of MySQL 5.7, MariaDB 10.2 and later", "Upgrade the server, or find out what changes the statement on its way"},
		{1114, busy, "the table of the accounts is full, or the disk is", moreDisk},
		{1180, untold, "the server could not commit the change", "Read the server's log"},
		{1184, untold, "the server ended the session because its init_connect failed", correctInitConnect},
		{1194, untold, "the table of the accounts is damaged", "Run as the database's master user: CHECK TABLE mysql.user; MariaDB: CHECK TABLE mysql.global_priv;"},
		{1195, untold, "the table of the accounts is damaged", "Run as the database's master user: CHECK TABLE mysql.user; MariaDB: CHECK TABLE mysql.global_priv;"},
		{lockTimeout, busy, "other sessions kept it locked", "Find the session that holds a lock and does not end: SHOW FULL PROCESSLIST"},
		{deadlock, busy, "other sessions kept it locked", "Find the session that holds a lock and does not end: SHOW FULL PROCESSLIST"},
		{1226, refused, "a limit of the managing user's own is reached (MAX_QUERIES_PER_HOUR or MAX_UPDATES_PER_HOUR)", "Raise the account's limits"},
		{1317, untold, "the statement was interrupted", "Find out who interrupts statements: an administrator, a job, or a fail-over"},
		{badHash, refused, "the server does not take the hash that was computed here", lookUp},
		{1470, refused, "the name is longer than an account's can be (MySQL 32 characters, MariaDB 128, a host 255)", "Correct the user name"},
		{pluginMissing, refused, "the account's authentication plugin is not loaded (MySQL starts without mysql_native_password since 8.4, and has none since 9.0)",
			"Run as the database's master user: ALTER USER $account IDENTIFIED WITH caching_sha2_password BY '<a first password>';"},
		{1598, untold, "the server could not write the change into its binary log", "Read the server's log: its disk may be full"},
		{1792, refused, "its sessions only read (transaction_read_only, on MariaDB before 11.1 tx_read_only)",
			"Use the writer endpoint as host. Where it is that: Run as the database's master user: SET GLOBAL transaction_read_only = OFF; (or tx_read_only)"},
		{1836, refused, "the server is read-only, a replica or an Aurora reader endpoint", "Use the writer endpoint as host"},
		{1927, busy, "the session was killed", "Find out who kills sessions: an administrator, a job, or a fail-over"},
		// max_statement_time. In the last stage of a backup (BACKUP STAGE BLOCK_COMMIT) the change is applied before it waits.
		{statementTimeout, untold, "other sessions, or a backup, kept it locked", "Find the session that holds a lock and does not end: SHOW FULL PROCESSLIST"},
		{3169, busy, "the session was killed", "Find out who kills sessions: an administrator, a job, or a fail-over"},
		// It holds for the current password too, and so for the same request again.
		{3638, untold, "the account's password history does not let it be used again", "Rotate again: each rotation brings another password"},
	}
)

// causesOfPreparation are the errors of a statement that makes a user or gives it privileges.
var causesOfPreparation = slices.Concat(causesOfChange, []cause{
	{1133, busy, "the account is not there any more, so somebody has dropped it", "Prepare again"}, // MariaDB, MySQL 5.7
	{userLimit, refused, "a limit of the master user's own is reached (MAX_QUERIES_PER_HOUR or MAX_UPDATES_PER_HOUR)", "Raise the account's limits"},
	{1300, refused, "the name holds characters that none can have, those of four bytes in UTF-8", "Correct the user name"}, // MariaDB
	{3854, refused, "the name holds characters that none can have, those of four bytes in UTF-8", "Correct the user name"}, // MySQL
	{accountFailed, refused, "the server does not tell why; it may have privileges left of an account of that name", "Run as the database's master user: DROP USER IF EXISTS $account;"},
	{noAccount, busy, "the account is not there any more, so somebody has dropped it", "Prepare again"},
	{1524, refused, "the authentication plugin for new accounts is not loaded", "Correct authentication_policy or default_authentication_plugin of the server"},
	{1827, refused, "the server does not take the hash that was computed here", lookUp},
})

// lookup is the row of an error, or one that says to look it up.
func lookup(causes []cause, number uint16, a account, otherwise string) cause {
	found := cause{number, untold, otherwise, lookUp}
	for _, cause := range causes {
		if cause.number == number {
			found = cause
		}
	}
	found.fix = strings.ReplaceAll(found.fix, "$account", a.String())
	return found
}
