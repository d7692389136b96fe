package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
)

// number is the number of a server's error, 0 for errors that are not the server's.
func number(err error) uint16 {
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		return refused.Number
	}
	return 0
}

// says reports whether the text of a server's error holds a word, which is in no translation of it: an option's or a
// privilege's name.
func says(err error, word string) bool {
	var refused *mysql.MySQLError
	return errors.As(err, &refused) && strings.Contains(refused.Message, word)
}

func described(err error) string {
	if n := number(err); n != 0 {
		return "error " + strconv.Itoa(int(n))
	}
	return "the connection failed"
}

// broken is the failure of a connection that broke.
func broken(server *connector.Server, err error) *connector.Failure {
	if errors.Is(err, errMalformed) || errors.Is(err, errTooLong) {
		return server.Fail(server.Address()+": "+err.Error(), "Check what answers there: a proxy between, or a server of another kind")
	}
	if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) {
		err = io.ErrUnexpectedEOF
	}
	if server.Stage() == connector.StageTLS {
		return server.TLSFailure(err)
	}
	return server.Broken(err)
}

func notMySQL(server *connector.Server) *connector.Failure {
	return server.Fail(server.Address()+": what answers is no MySQL or MariaDB server", "Check type, host and port: PostgreSQL needs fn::rotate::postgres")
}

// turnedAway is the failure of a server that turned a connection away instead of greeting it.
func turnedAway(server *connector.Server, number uint16) *connector.Failure {
	cause := lookup(causesOfLogin, number, account{}, "the server refused the connection")
	failure := server.Fail(fmt.Sprintf("%s: %s (error %d)", server.Address(), cause.why, number), cause.fix)
	failure.Transient = cause.means == busy
	return failure
}

// refusedLogin is the failure of a login, but for those whose reason depends on who logs in. as says who.
func refusedLogin(server *connector.Server, err error, as string, a account) *connector.Failure {
	switch {
	case errors.Is(err, mysql.ErrCleartextPassword):
		return server.Fail(as+"the account logs in by a password in clear (PAM, LDAP, or AWSAuthenticationPlugin on RDS), which the connector never sends", byPassword).
			And(orByToken(server))
	case errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrUnknownPlugin), errors.Is(err, mysql.ErrNativePassword):
		return server.Fail(as+"the account's authentication plugin is one that the connector does not speak", byPassword)
	case errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrOldProtocol):
		return notMySQL(server)
	}
	n := number(err)
	if n == 0 {
		return broken(server, err)
	}
	cause := lookup(causesOfLogin, n, a, "the server refused the login")
	failure := server.Fail(fmt.Sprintf("%s%s (error %d)", as, cause.why, n), cause.fix)
	failure.Transient = cause.means == busy
	return failure
}

// orByToken is a sentence for the managing user, who may log in as an IAM user of RDS.
func orByToken(server *connector.Server) string {
	if server.Stage() != connector.StageLogin {
		return ""
	}
	return "A managing user with AWSAuthenticationPlugin: set the stack's managingAuthentication to iam (" + connector.ManagingAuthVariable + ")"
}

// loginFailure is the failure of the managing user's login.
func (r *rotation) loginFailure(err error) *connector.Failure {
	if failure := connector.AsFailure(err); failure != nil {
		return failure
	}
	manager := parseAccount(r.request.ManagingUser.Username)
	as := fmt.Sprintf("%q at %s: ", manager.name, r.server.Address())
	if r.server.IAM {
		if failure := r.tokenFailure(err, as); failure != nil {
			return failure.Before(manager.unquoted("managingUser.username")).Before(r.request.Hint("managingUser.username"))
		}
	}
	switch number(err) {
	case loginDenied:
		failure := r.server.Fail(as+"the server refused the user name or the password (error 1045)",
			"Check managingUser in the managing credentials environment, and that the account's host lets this function in"+r.orTLS()).
			Before(manager.unquoted("managingUser.username")).Before(r.request.Hint("managingUser.username", "managingUser.password"))
		failure.Refused = true
		return failure
	case databaseDenied:
		return r.server.Fail(as+fmt.Sprintf("the user has no rights on the database %q (error 1044)", r.request.Database),
			connector.SQL("GRANT ALTER ON "+quoted(r.request.Database)+".* TO "+manager.String())).Instead(r.request.Hint("database"))
	case unknownDatabase:
		return r.server.Fail(as+fmt.Sprintf("there is no database %q (error 1049)", r.request.Database), "Check database in the rotator environment").
			Before(r.request.Hint("database"))
	}
	return refusedLogin(r.server, err, as, manager)
}

// orTLS ends a sentence about a refused login by what else may be the reason, where the terms are plain text.
func (v *visit) orTLS() string {
	if v.server.TLS != nil {
		return ""
	}
	return "; the answer is the same where the server or the account wants TLS (require_secure_transport, REQUIRE SSL): " +
		"set the stack's databaseSslMode to verify-full (" + connector.SSLModeVariable + ")"
}

// tokenFailure is the failure of the managing user's login where it is one of a login by a token, else nil.
func (v *visit) tokenFailure(err error, as string) *connector.Failure {
	var method errMethod
	switch {
	case errors.Is(err, errTokenRefused):
		return v.server.Fail(as+"the server refused the token of RDS IAM authentication (error 1045)", connector.RefusedToken)
	case errors.As(err, &method):
		return v.server.Fail(as+"the server asks for "+string(method)+", and not for the token of RDS IAM authentication, which is all that this login gives: "+
			"there is no such account, or it is none that logs in by IAM",
			"Name an account that is IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' as managingUser, or set the stack's managingAuthentication to password ("+connector.ManagingAuthVariable+")")
	// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html
	case number(err) == pluginMissing:
		return v.server.Fail(as+"the account's authentication plugin is not loaded (error 1524), as AWSAuthenticationPlugin is where IAM authentication is off",
			"Turn it on: aws rds modify-db-instance, or modify-db-cluster, with --enable-iam-database-authentication")
	}
	return nil
}

// proofFailure is the failure of a login as the rotated user.
func (r *rotation) proofFailure(err error) *connector.Failure {
	if failure := connector.AsFailure(err); failure != nil {
		return failure
	}
	as := fmt.Sprintf("logging in as %s at %s with the new password: ", r.target, r.server.Address())
	if number(err) == loginDenied {
		failure := r.server.Fail(as+"the server refused it (error 1045)",
			"What it can mean: someone else changed the password at the same time (rotate again); a more specific account of the same name shadows "+r.target.String()+
				" for this function; the account REQUIREs TLS or a client certificate; a proxy between keeps its own passwords (use the database's own endpoint as host)")
		failure.Refused = true
		return failure
	}
	return refusedLogin(r.server, err, as, r.target)
}

// quoted is an identifier as SQL writes it.
func quoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// checkFailure is the failure of what is looked at before a change.
func (v *visit) checkFailure(err error) *connector.Failure {
	if failure := connector.AsFailure(err); failure != nil {
		return failure
	}
	if number(err) == 0 && !errors.Is(err, errNoRow) {
		return broken(v.server, err)
	}
	cause := lookup(causesOfChange, number(err), account{}, "reading the server's settings failed")
	failure := v.server.Fail(fmt.Sprintf("%s: %s (%s)", v.server.Address(), cause.why, described(err)), cause.fix)
	failure.Transient = cause.means == busy
	return failure
}

// boundFailure is the failure of the bound that the server is given for a change.
func (v *visit) boundFailure(err error) *connector.Failure {
	if failure := connector.AsFailure(err); failure != nil || number(err) == 0 {
		return broken(v.server, err)
	}
	return v.server.Fail(fmt.Sprintf("%s: setting a time limit for the change failed (%s)", v.server.Address(), described(err)), lookUp)
}

// readOnly is the failure of a server that takes no change.
func (v *visit) readOnly() *connector.Failure {
	return v.server.Fail(v.server.Address()+": the server is read-only, a replica or an Aurora reader endpoint", "Use the writer endpoint as host")
}

// itself is the failure of a managing user that is to change its own password.
func (r *rotation) itself() *connector.Failure {
	why := "managingUser and rotateUser name the same user, " + strconv.Quote(r.target.name)
	if r.found.name() != r.target.name {
		why = "managingUser and rotateUser differ in quotes or case alone (" + strconv.Quote(r.target.name) + ")"
	}
	return r.server.Fail(r.server.Address()+": "+why+": a managing user that changes its own password would lock the connector out",
		"Name other users in rotateUsers, or another managing user")
}

// missing is the failure of an account that is not there, as an error or a warning told.
func (r *rotation) missing(told string) *connector.Failure {
	return r.changing("there is no such account", told,
		"A user name without @ means the account with the host %, any host: for another write name@host in rotateUsers, or create it. "+
			connector.SQL("CREATE USER "+r.target.String()+" IDENTIFIED BY '<a first password>'")).
		Before(r.target.unquoted("rotateUser.username")).Before(r.request.Hint("rotateUser.username"))
}

func (r *rotation) changing(why, told, fix string) *connector.Failure {
	return r.server.Fail(fmt.Sprintf("the password of %s at %s: %s (%s)", r.target, r.server.Address(), why, told), fix)
}

// changeFailure is the failure of a change, and notes what became of it: it was not applied only where the server's
// answer proves that.
func (r *rotation) changeFailure(ctx context.Context, err error, took time.Duration) *connector.Failure {
	n := number(err)
	if n == 0 {
		return broken(r.server, err)
	}
	reason := n
	if n == accountFailed && r.found.mariaDB {
		reason = r.session.reason(ctx, n)
	}
	cause := lookup(causesOfChange, n, r.target, "the server refused the change")
	if r.proves(cause, reason) {
		r.server.SetState(connector.Unchanged)
	}
	if failure := r.ofAccount(ctx, err, reason); failure != nil {
		return failure
	}
	why := cause.why
	if n == lockTimeout || n == deadlock || n == statementTimeout {
		why += " for " + connector.Seconds(took)
	}
	failure := r.changing(why, described(err), cause.fix)
	failure.Transient = cause.means == busy
	return failure
}

// unread is the failure of a change that the server took with warnings, which it then did not tell. Whatever the error is,
// it is one of the question, and none of the change.
func (r *rotation) unread(err error) *connector.Failure {
	if number(err) == 0 {
		return broken(r.server, err)
	}
	return r.changing("the server took the change, and then did not tell its warnings, which may be the reasons why it did not make it", described(err), lookUp)
}

// proves reports whether an error proves that the change was not applied. On MySQL a statement on accounts is applied
// whole or not at all since 8.0 (https://dev.mysql.com/doc/refman/8.4/en/atomic-ddl.html), and a lock is waited for
// before; MariaDB changes its tables first, and waits for a backup then.
func (v *visit) proves(cause cause, reason uint16) bool {
	switch reason {
	case accountFailed, noAccount, noAccountWarned, policy, optionPrevents, privilegeMissing, tableDenied, databaseDenied, loginDenied:
		return true
	case lockTimeout, deadlock:
		return !v.found.mariaDB && atLeast(v.found.version, 8, 0)
	}
	return cause.means == refused
}

// ofAccount is the failure where the account, its new password or the managing user's rights are the reason, else nil.
func (r *rotation) ofAccount(ctx context.Context, err error, reason uint16) *connector.Failure {
	told := described(err)
	manager := parseAccount(r.request.ManagingUser.Username).String()
	// MySQL 9.7 refuses a longer one by 1396; where there is a password policy, that may come first.
	tooLong := !r.found.mariaDB && len(r.request.RotateUser.NewPassword.Reveal()) > 256
	const pluginsLimit = "caching_sha2_password and sha256_password take 256 bytes at the most"
	switch reason {
	case noAccount, noAccountWarned:
		return r.missing(told)
	case accountFailed:
		missing := r.missing(told)
		if r.found.mariaDB {
			return r.changing("the server does not tell why: there is no such account, or a password check refused the hash that was computed here", told, missing.Fix)
		}
		if tooLong {
			return r.changing("the server does not tell why: the password is too long for the account's plugin, or there is no such account", told, pluginsLimit+". "+missing.Fix)
		}
		return missing
	case policy:
		fix := "Have ESC make a password that the policy takes, or change the policy. Its rules: " + r.session.rules(ctx)
		if tooLong {
			fix = pluginsLimit + ". " + fix
		}
		return r.changing("the new password does not satisfy the server's password policy", told, fix)
	case optionPrevents:
		return r.prevented(err, func(why, fix string) *connector.Failure { return r.changing(why, told, fix) })
	case privilegeMissing, tableDenied, databaseDenied, loginDenied:
		if says(err, "SYSTEM_USER") {
			return r.changing("it is a system user, and the managing user is none", told,
				"Rotate another user. "+connector.SQL("REVOKE SYSTEM_USER ON *.* FROM "+r.target.String()+"; or GRANT SYSTEM_USER ON *.* TO "+manager))
		}
		return r.changing("the managing user may not change it", told, connector.SQL("GRANT CREATE USER ON *.* TO "+manager))
	}
	return nil
}

// prevented is the failure of a statement on accounts that an option of the server forbids. fail makes it of the reason.
func (v *visit) prevented(err error, fail func(why, fix string) *connector.Failure) *connector.Failure {
	switch {
	case says(err, "read-only"), says(err, "read_only"):
		return v.readOnly()
	case says(err, "skip-grant-tables"):
		return fail("the server runs with skip_grant_tables: it knows no accounts, and lets everybody in", "Start the server without skip_grant_tables")
	case !v.found.mariaDB:
		return fail("an option of the server forbids it", "Read the server's log: it names the option")
	}
	return refusesHashes(fail)
}

// refusesHashes is the failure of a server that takes passwords in clear alone.
func refusesHashes(fail func(why, fix string) *connector.Failure) *connector.Failure {
	return fail("the server has a password check and strict_password_validation, and refuses the hash that was computed here; the password in clear, "+
		"which the connector never sends to MariaDB, would be written into its binary log",
		"On RDS set strict_password_validation to OFF in the parameter group. Elsewhere: "+connector.SQL("SET GLOBAL strict_password_validation = OFF"))
}

// reason is what MariaDB's error 1396 means, from the warnings of the same connection.
func (c *conn) reason(ctx context.Context, unknown uint16) uint16 {
	warned, err := c.warned(ctx)
	if number := refusal(warned); err == nil && number != 0 {
		return number
	}
	return unknown
}

// refusal is the warning that tells best why a change was not made, 0 where none says that it was not. With IF EXISTS,
// MariaDB makes a warning of every reason, and MySQL of an account that is not there.
func refusal(warned []uint16) uint16 {
	for _, number := range []uint16{noAccount, noAccountWarned, policy, optionPrevents, badHash, accountFailed} {
		if slices.Contains(warned, number) {
			return number
		}
	}
	return 0
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
