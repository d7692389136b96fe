// Package mysql changes the passwords of MySQL, Aurora MySQL and MariaDB accounts. MySQL gets a statement that keeps the
// account's authentication plugin, and logs a hash of it; MariaDB, which would log the password, gets a hash that is
// computed here.
package mysql

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
)

// Numbers of errors (the manuals' chapters "Server Error Message Reference" of MySQL and "MariaDB Error Codes").
const (
	tooManyConnections = 1040
	databaseDenied     = 1044
	loginDenied        = 1045
	unknownDatabase    = 1049
	shuttingDown       = 1053
	hostBlocked        = 1129
	hostDenied         = 1130
	tableDenied        = 1142
	initConnectFailed  = 1184
	tooManyForUser     = 1203
	lockTimeout        = 1205
	deadlock           = 1213
	limitReached       = 1226
	privilegeMissing   = 1227
	optionPrevents     = 1290 // read_only, or MariaDB's strict_password_validation
	interrupted        = 1317
	badHash            = 1372
	accountFailed      = 1396
	noAccount          = 1410 // MariaDB, as a warning
	policy             = 1819
	mustChangePassword = 1820
	readOnlyMode       = 1836
	passwordExpired    = 1862
	statementTimeout   = 1969 // MariaDB's max_statement_time
	accountLocked      = 3118
	tlsRequired        = 3159
	blockedAfterFails  = 3955
	mariaAccountLocked = 4151
)

// Rotate gives the rotated user of the request its new password and proves it by a login as that user. A second call
// with the same request succeeds again. ctx bounds every step; the server carries a shorter bound, so that a change
// which was given up is not applied later. The error is a *connector.Failure.
func Rotate(ctx context.Context, server *connector.Server, request connector.Request) (connector.Outcome, error) {
	r := &rotation{server: server, request: request, target: parseAccount(request.RotateUser.Username)}
	outcome, err := connector.Rotate(ctx, server, request, r)
	outcome.Note = strings.Trim(r.note+"; "+outcome.Note, "; ")
	return outcome, err
}

// rotation is one event: what the managing user's session found, and that session.
type rotation struct {
	server  *connector.Server
	request connector.Request
	target  account

	session *conn // nil but between Open and Close
	found   *findings
	note    string // for the log
}

// Open logs in as the managing user, and reads what can be known before the change.
func (r *rotation) Open(ctx context.Context, address netip.AddrPort) error {
	session, err := loginManaging(ctx, r.server, address, r.request)
	if err != nil {
		return err
	}
	if r.found, err = session.inspect(ctx); err != nil {
		session.Close()
		return err
	}
	r.session = session
	return nil
}

// Close ends the managing user's session.
func (r *rotation) Close() {
	if r.session != nil {
		r.session.Close()
		r.session = nil
	}
}

// Settle is not known to be possible.
func (r *rotation) Settle(context.Context, netip.AddrPort) error {
	return r.server.Fail(r.server.Address()+": whether the server is still at the change is not known", "")
}

// findings are what the managing user's session tells.
type findings struct {
	mariaDB bool
	version string
	// client is the host of this function as the server sees it, a name or an address.
	client string
	// bounded is until when a change may begin under the bound that the session has.
	bounded time.Time
}

// Change changes the password.
func (r *rotation) Change(ctx context.Context) error {
	if err := r.session.alter(ctx, r.request, r.target, r.found); err != nil {
		return err
	}
	// RETAIN CURRENT PASSWORD, of MySQL 8.0.14 and later, leaves a second password that outlives the change.
	if !r.found.mariaDB && atLeast(r.found.version, 8, 0, 14) {
		if err := r.session.exec(ctx, "ALTER USER ?@? DISCARD OLD PASSWORD", r.target.name, r.target.host); err != nil {
			r.note = "a secondary password of the account, if it has one, is still valid: DISCARD OLD PASSWORD failed (" + described(err) + ")"
		}
	}
	return nil
}

func described(err error) string {
	if n := number(err); n != 0 {
		return "error " + strconv.Itoa(int(n))
	}
	return "the connection failed"
}

// atLeast compares a version such as 8.0.36-log.
func atLeast(version string, least ...int) bool {
	for i, part := range strings.SplitN(version, ".", len(least)) {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		number, err := strconv.Atoi(digits)
		if err != nil || number < least[i] {
			return false
		}
		if number > least[i] {
			return true
		}
	}
	return true
}

// turnedAway is the failure of a server that turned a connection away before it looked at the password.
func turnedAway(server *connector.Server, number uint16) *connector.Failure {
	failure := server.Fail("", "")
	switch number {
	case tooManyConnections, shuttingDown:
		failure.Transient = true
		failure.Why = fmt.Sprintf("%s: the server takes no more connections now (error %d)", server.Address(), number)
		failure.Fix = "Raise max_connections, or find the client that holds so many"
	case hostBlocked:
		failure.Why = fmt.Sprintf("%s: the server blocks this function's host after too many broken connections (error %d)", server.Address(), number)
		failure.Fix = "Raise max_connect_errors. " + connector.SQL("TRUNCATE TABLE performance_schema.host_cache") + " MariaDB: FLUSH HOSTS;"
	case hostDenied:
		failure.Why = fmt.Sprintf("%s: the server has no account that may log in from this function's host (error %d)", server.Address(), number)
		failure.Fix = "Give the managing user's account a host that matches the function's subnets, such as 10.0.%"
	default:
		failure.Why = fmt.Sprintf("%s: the server refused the connection (error %d)", server.Address(), number)
		failure.Fix = "Look the number up in the manual's error reference, and read the server's log"
		failure.Transient = false
	}
	return failure
}

const byPassword = "Give the account an authentication by password: caching_sha2_password on MySQL, mysql_native_password on MariaDB"

// methodFailure is the failure of a login that the driver would not go on with, nil for other errors.
func methodFailure(server *connector.Server, err error, as string) *connector.Failure {
	failure := server.Fail("", "")
	switch {
	case errors.Is(err, mysql.ErrNoTLS):
		return server.NoTLS()
	case errors.Is(err, mysql.ErrCleartextPassword):
		failure.Why = as + "the account logs in by a password in clear (PAM, LDAP, or AWSAuthenticationPlugin on RDS), which the connector never sends"
		failure.Fix = byPassword
	case errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrUnknownPlugin), errors.Is(err, mysql.ErrNativePassword):
		failure.Why = as + "the account's authentication plugin is one that the connector does not speak"
		failure.Fix = byPassword
	case errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrOldProtocol):
		return notMySQL(server)
	default:
		return nil
	}
	return failure
}

func loginManaging(ctx context.Context, server *connector.Server, address netip.AddrPort, request connector.Request) (*conn, error) {
	user := parseAccount(request.ManagingUser.Username).name
	as := fmt.Sprintf("%q at %s: ", user, server.Address())
	explain := func(err error) *connector.Failure {
		fail := func(why, fix string, placeholders ...string) *connector.Failure {
			return server.Fail(as+why, fix).Before(request.Hint(placeholders...))
		}
		if method := methodFailure(server, err, as); method != nil {
			return method
		}
		switch n := number(err); n {
		case 0:
			return broken(server, err)
		case loginDenied:
			fix := "Check managingUser in the managing credentials environment, and that the account's host lets this function in"
			if server.TLS == nil {
				fix += "; the answer is the same where the server or the account wants TLS (require_secure_transport, REQUIRE SSL): " +
					"set the stack's databaseSslMode to verify-full (" + connector.SSLModeVariable + ")"
			}
			return fail("the server refused the user name or the password (error 1045)", fix, "managingUser.username", "managingUser.password")
		case databaseDenied:
			return fail(fmt.Sprintf("the user has no rights on the database %q (error 1044)", request.Database),
				connector.SQL("GRANT ALTER ON "+quoted(request.Database)+".* TO "+parseAccount(request.ManagingUser.Username).String())).
				Instead(request.Hint("database"))
		case unknownDatabase:
			return fail(fmt.Sprintf("there is no database %q (error 1049)", request.Database), "Check database in the rotator environment", "database")
		case tlsRequired:
			return fail("the server wants TLS (error 3159, require_secure_transport)", "Set the stack's databaseSslMode to verify-full ("+connector.SSLModeVariable+")")
		case tooManyForUser, limitReached:
			return fail(fmt.Sprintf("the user's own limit of connections is reached (error %d)", n), "Raise the account's limits, or find the client that holds so many")
		case accountLocked, mariaAccountLocked:
			return fail(fmt.Sprintf("the account is locked (error %d)", n), connector.SQL("ALTER USER "+parseAccount(request.ManagingUser.Username).String()+" ACCOUNT UNLOCK"))
		case passwordExpired, mustChangePassword:
			return fail(fmt.Sprintf("the managing user's password has expired (error %d)", n), "Give it a new one, and fill it in in the managing credentials environment")
		case tooManyConnections, shuttingDown, hostBlocked, hostDenied:
			return turnedAway(server, n)
		default:
			return fail(fmt.Sprintf("the server refused the login (error %d)", n), "Look the number up in the manual's error reference, and read the server's log")
		}
	}
	session, err := login(ctx, server, address, connector.StageLogin, user, request.ManagingUser.Password, request.Database)
	if err != nil {
		return nil, explain(err)
	}
	return session, nil
}

// quoted is an identifier as SQL writes it.
func quoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// inspect reads what can be known before a change, and refuses a server that takes none.
func (c *conn) inspect(ctx context.Context) (*findings, error) {
	c.server.SetStage(connector.StageCheck)
	failed := func(err error) error {
		failure := broken(c.server, err)
		if n := number(err); n != 0 || errors.Is(err, errNoRow) {
			failure.Why = fmt.Sprintf("%s: reading the server's settings failed (%s)", c.server.Address(), described(err))
			failure.Fix = "Look the number up in the manual's error reference, and read the server's log"
			failure.Transient = false
		}
		return failure
	}
	bounded, err := c.settle(ctx)
	if err != nil {
		return nil, failed(err)
	}
	const query = "SELECT VERSION(), USER(), " + oneOrTwo
	row, err := c.row(ctx, 4, query+", @@global.innodb_read_only")
	if number(err) != 0 { // a server without InnoDB has no such variable
		if row, err = c.row(ctx, 3, query); err == nil {
			row = append(row, "")
		}
	}
	if err != nil {
		return nil, failed(err)
	}
	if row[3] == "1" || row[3] == "ON" {
		return nil, readOnly(c.server)
	}
	_, client := connector.SplitAccount(row[1])
	found := &findings{mariaDB: isMariaDB(row[2], row[0]), version: row[0], client: client, bounded: bounded}
	if found.mariaDB && row[2] != "2" { // something between leaves comments out, and MariaDB's bound with them
		found.bounded = time.Time{}
	}
	return found, nil
}

// oneOrTwo is 2 on MariaDB, which alone looks into a comment that begins with M!.
const oneOrTwo = "1 /*M! + 1 */"

// isMariaDB tells MariaDB from MySQL by either sign: the version can be set to any text, and a proxy between may leave
// comments out. Taken for MySQL, MariaDB would log the new password in clear.
func isMariaDB(oneOrTwo, version string) bool {
	return oneOrTwo == "2" || strings.Contains(version, "MariaDB")
}

func readOnly(server *connector.Server) *connector.Failure {
	return server.Fail(server.Address()+": the server is read-only, a replica or an Aurora reader endpoint", "Use the writer endpoint as host in the rotator environment")
}

// statement is the change as the server gets it: MySQL's form keeps the account's plugin, and its logs hold a hash.
// MariaDB would write the password in clear into its binary log, so it gets the hash of mysql_native_password.
func statement(mariaDB bool, password connector.Secret) (text, argument string) {
	if mariaDB {
		return "ALTER USER ?@? IDENTIFIED BY PASSWORD ?", nativeHash(password)
	}
	return "ALTER USER ?@? IDENTIFIED BY ?", password.Reveal()
}

// nativeHash is * and the hexadecimal SHA-1 of the SHA-1 of the password.
func nativeHash(password connector.Secret) string {
	once := sha1.Sum([]byte(password.Reveal()))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

// alter changes the password, again where a lock or a deadlock got in the way.
func (c *conn) alter(ctx context.Context, request connector.Request, target account, found *findings) error {
	start := time.Now()
	text, argument := statement(found.mariaDB, request.RotateUser.NewPassword)
	var refused error
	for tries := 1; ; tries++ {
		err := c.bound(ctx, found)
		if err != nil {
			if refused != nil {
				return c.changeFailure(ctx, refused, request, target, found, time.Since(start))
			}
			return err
		}
		c.server.SetState(connector.MaybeChanged)
		err = c.exec(ctx, text, target.name, target.host, argument)
		if err == nil {
			c.server.SetState(connector.Changed)
			return nil
		}
		if number(err) == 0 {
			return broken(c.server, err)
		}
		if number(err) != shuttingDown {
			c.server.SetState(connector.Unchanged)
		}
		refused = err
		if n := number(err); n != lockTimeout && n != deadlock || !connector.Pause(ctx, tries) {
			return c.changeFailure(ctx, refused, request, target, found, time.Since(start))
		}
	}
}

// settle readies the session in one round trip. Names and passwords are UTF-8, whatever the server or its init_connect
// says, and its modes, which change how literals are read, are none. The bound is for both products: MariaDB alone looks
// into a comment that begins with M!.
func (c *conn) settle(ctx context.Context) (bounded time.Time, err error) {
	limit, err := c.server.ServerBound(ctx, leastOnMariaDB)
	if err != nil {
		return time.Time{}, err
	}
	start := time.Now()
	locks, innoDB, statement := limits(limit)
	err = c.set(ctx, "character_set_client = utf8mb4, character_set_connection = utf8mb4, character_set_results = utf8mb4, sql_mode = '', "+
		locks+" /*M! , "+statement+" */", innoDB)
	// MySQL's least bound is a second. A short one is set again when the server is known.
	if limit >= time.Second {
		bounded = start.Add(limit / 10)
	}
	return bounded, err
}

// bound has the server give the change up in time: by the wait for a lock on both, and on MariaDB by the time of the
// whole statement.
func (c *conn) bound(ctx context.Context, found *findings) error {
	if time.Now().Before(found.bounded) {
		found.bounded = time.Time{} // a second try has less time
		return nil
	}
	least := time.Second
	if found.mariaDB {
		least = leastOnMariaDB
	}
	limit, err := c.server.ServerBound(ctx, least)
	if err != nil {
		return err
	}
	locks, innoDB, statement := limits(limit)
	if found.mariaDB {
		locks += ", " + statement
	}
	if err = c.set(ctx, locks, innoDB); err == nil {
		return nil
	}
	failure := broken(c.server, err)
	if number(err) != 0 {
		failure.Why = fmt.Sprintf("%s: setting a time limit for the change failed (%s)", c.server.Address(), described(err))
		failure.Fix = "Look the number up in the manual's error reference, and read the server's log"
		failure.Transient = false
	}
	return failure
}

// leastOnMariaDB is the shortest bound there: max_statement_time knows fractions of a second.
const leastOnMariaDB = 50 * time.Millisecond

// limits are assignments of a bound to variables of the session. MySQL keeps the accounts in InnoDB.
func limits(limit time.Duration) (locks, innoDB, statement string) {
	seconds := max(1, int(limit.Seconds()))
	return fmt.Sprintf("lock_wait_timeout = %d", seconds), fmt.Sprintf("innodb_lock_wait_timeout = %d", seconds),
		fmt.Sprintf("max_statement_time = %.3f", limit.Seconds())
}

// set assigns to variables of the session. A server without InnoDB has none of its variables, and then refuses all.
func (c *conn) set(ctx context.Context, assignments, innoDB string) error {
	err := c.exec(ctx, "SET "+assignments+", "+innoDB)
	if number(err) != 0 {
		err = c.exec(ctx, "SET "+assignments)
	}
	return err
}

func (c *conn) changeFailure(ctx context.Context, refused error, request connector.Request, target account, found *findings, took time.Duration) *connector.Failure {
	manager := parseAccount(request.ManagingUser.Username).String()
	n := number(refused)
	fail := func(why, fix string) *connector.Failure {
		return c.server.Fail(fmt.Sprintf("the password of %s at %s: %s (error %d)", target, c.server.Address(), why, number(refused)), fix)
	}
	if n == accountFailed && found.mariaDB {
		n = c.reason(ctx, n)
	}
	missing := fail("there is no such account",
		"A user name without @ means the account with the host %, any host: for another write name@host in rotateUsers, or create it. "+
			connector.SQL("CREATE USER "+target.String()+" IDENTIFIED BY '<a first password>'")).
		Before(request.Hint("rotateUser.username"))
	// MySQL 9.7 refuses a longer one by 1396; where there is a password policy, that may come first.
	tooLong := !found.mariaDB && len(request.RotateUser.NewPassword.Reveal()) > 256
	const pluginsLimit = "caching_sha2_password and sha256_password take 256 bytes at the most"
	switch n {
	case noAccount:
		return missing
	case accountFailed:
		if found.mariaDB {
			return fail("the server does not tell why: there is no such account, or a password check refused the hash that was computed here", missing.Fix)
		}
		if tooLong {
			return fail("the server does not tell why: the password is too long for the account's plugin, or there is no such account", pluginsLimit+". "+missing.Fix)
		}
		return missing
	case policy:
		fix := "Have ESC make a password that the policy takes, or change the policy. Its rules: " + c.rules(ctx)
		if tooLong {
			fix = pluginsLimit + ". " + fix
		}
		return fail("the new password does not satisfy the server's password policy", fix)
	case optionPrevents:
		var server *mysql.MySQLError
		if errors.As(refused, &server) && (strings.Contains(server.Message, "read-only") || strings.Contains(server.Message, "read_only")) {
			return readOnly(c.server)
		}
		return fail("the server has a password check and strict_password_validation, and refuses the hash that was computed here; the password in clear, "+
			"which the connector never sends to MariaDB, would be written into its binary log", "On RDS set strict_password_validation to OFF in the parameter group. Elsewhere: "+connector.SQL("SET GLOBAL strict_password_validation = OFF"))
	case readOnlyMode:
		return readOnly(c.server)
	case privilegeMissing, tableDenied, databaseDenied, loginDenied:
		var server *mysql.MySQLError
		if errors.As(refused, &server) && strings.Contains(server.Message, "SYSTEM_USER") {
			return fail("it is a system user, and the managing user is none", "Rotate another user. "+connector.SQL("REVOKE SYSTEM_USER ON *.* FROM "+target.String()+"; or GRANT SYSTEM_USER ON *.* TO "+manager))
		}
		return fail("the managing user may not change it", connector.SQL("GRANT CREATE USER ON *.* TO "+manager))
	case lockTimeout, deadlock, statementTimeout, interrupted:
		return fail("other sessions kept it locked for "+connector.Seconds(took), "Find the session that holds a lock and does not end: SHOW FULL PROCESSLIST")
	case shuttingDown:
		return fail("the server is shutting down", "Rotate again")
	default:
		return fail("the server refused the change", "Look the number up in the manual's error reference, and read the server's log")
	}
}

// reason is what MariaDB's error 1396 means, from the warnings of the same connection.
func (c *conn) reason(ctx context.Context, unknown uint16) uint16 {
	warnings, err := c.rows(ctx, 16, "SHOW WARNINGS")
	if err != nil {
		return unknown
	}
	for _, warning := range warnings {
		if len(warning) > 1 {
			switch code, _ := strconv.Atoi(warning[1]); code {
			case noAccount, policy, optionPrevents, badHash:
				return uint16(code)
			}
		}
	}
	return unknown
}

// rules are the settings of the server's password check.
func (c *conn) rules(ctx context.Context) string {
	rows, err := c.rows(ctx, len(policyRules), "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('"+strings.Join(policyRules, "', '")+"')")
	var found []string
	for _, row := range rows {
		if err == nil && len(row) > 1 && slices.Contains(policyRules, row[0]) && isRule(row[1]) {
			found = append(found, row[0]+" = "+row[1])
		}
	}
	if found == nil {
		return "not to be read here, see the server's password validation plugin"
	}
	return strings.Join(found, ", ")
}

// policyRules are the variables of the password checks that come with MySQL (the manual's page "Password Validation
// Options and Variables") and MariaDB ("Simple Password Check Plugin"), but for paths of files.
var policyRules = []string{
	"validate_password.policy", "validate_password.length", "validate_password.mixed_case_count", "validate_password.number_count",
	"validate_password.special_char_count", "validate_password.check_user_name", "validate_password.changed_characters_percentage",
	"validate_password_policy", "validate_password_length", "validate_password_mixed_case_count", "validate_password_number_count",
	"validate_password_special_char_count", "validate_password_check_user_name",
	"simple_password_check_minimal_length", "simple_password_check_letters_same_case", "simple_password_check_digits", "simple_password_check_other_characters",
}

// isRule reports whether a value is a number or a word that such a variable has.
func isRule(value string) bool {
	const longest = 8 // digits
	number := value != "" && len(value) <= longest && strings.Trim(value, "0123456789") == ""
	return number || slices.Contains([]string{"ON", "OFF", "LOW", "MEDIUM", "STRONG"}, value)
}

// Login logs in as the rotated user.
func (r *rotation) Login(ctx context.Context, address netip.AddrPort, password connector.Secret) (connector.Outcome, error) {
	server, target, found := r.server, r.target, r.found
	server.SetStage(connector.StageProve)
	skipped := func(why string) (connector.Outcome, error) {
		return connector.Outcome{Proof: connector.ProofSkipped, Message: "ok", Note: why}, nil
	}
	done := connector.Outcome{Proof: connector.ProofDone, Message: "ok"}
	if !target.admits(found.client) {
		return skipped(fmt.Sprintf("the account %s does not let in this function, which the server sees as %s", target, seen(found.client)))
	}
	as := fmt.Sprintf("logging in as %s at %s with the new password: ", target, server.Address())
	taken := ""
	explain := func(err error) *connector.Failure {
		fail := func(why, fix string) *connector.Failure { return server.Fail(as+why, fix) }
		if method := methodFailure(server, err, as); method != nil {
			return method
		}
		switch n := number(err); n {
		case 0:
			failure := broken(server, err)
			failure.Why = as + failure.Why
			return failure
		case databaseDenied, initConnectFailed, tooManyForUser, limitReached:
			taken = fmt.Sprintf("the server took the password, and then ended the session (error %d)", n)
			return fail(taken, "")
		case loginDenied:
			failure := fail("the server refused it (error 1045)",
				"What it can mean: someone else changed the password at the same time (rotate again); a more specific account of the same name shadows "+target.String()+
					" for this function; the account REQUIREs TLS or a client certificate; a proxy between keeps its own passwords (use the database's own endpoint as host)")
			failure.Refused = true
			return failure
		case accountLocked, mariaAccountLocked:
			return fail(fmt.Sprintf("the account is locked (error %d)", n), connector.SQL("ALTER USER "+target.String()+" ACCOUNT UNLOCK"))
		case passwordExpired, mustChangePassword:
			return fail(fmt.Sprintf("the account's password counts as expired (error %d)", n), connector.SQL("ALTER USER "+target.String()+" PASSWORD EXPIRE NEVER"))
		case blockedAfterFails:
			return fail(fmt.Sprintf("the account is locked for a while after failed logins (error %d)", n), "Wait. "+connector.SQL("ALTER USER "+target.String()+" ACCOUNT UNLOCK"))
		case tlsRequired:
			return fail("the server wants TLS (error 3159, require_secure_transport)", "Set the stack's databaseSslMode to verify-full ("+connector.SSLModeVariable+")")
		case tooManyConnections, shuttingDown, hostBlocked, hostDenied:
			failure := turnedAway(server, n)
			failure.Why = as + failure.Why
			return failure
		default:
			return fail(fmt.Sprintf("the server answered error %d", n), "Look the number up in the manual's error reference, and read the server's log")
		}
	}
	session, err := login(ctx, server, address, connector.StageProve, target.name, password, "")
	if err != nil {
		failure := explain(err)
		if taken == "" {
			return connector.Outcome{}, failure
		}
		done.Note = taken
		return done, nil
	}
	defer session.Close()
	row, err := session.row(ctx, 1, "SELECT CAST(CURRENT_USER() AS BINARY)") // as it is, whatever the session's character set
	if err != nil {
		done.Note = "the server took the password, and then did not tell the account (" + described(err) + ")"
		return done, nil
	}
	if !target.is(row[0]) {
		host := "another host"
		if _, of := connector.SplitAccount(row[0]); len(of) <= longestHost && looksNumeric(of) {
			host = "the host " + of
		}
		return skipped(fmt.Sprintf("from this function, the login as %s is one to the account of that name for %s, which shadows %s", target.name, host, target))
	}
	return done, nil
}
