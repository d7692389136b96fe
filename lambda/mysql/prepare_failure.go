package mysql

import (
	"context"
	"fmt"

	"esc-connector-lambda-go/lambda/connector"
)

// masterFailure is the failure of the master user's login.
func (p *preparation) masterFailure(err error) *connector.Failure {
	if failure := connector.AsFailure(err); failure != nil {
		return failure
	}
	master := parseAccount(p.request.Prepare.MasterUser.Username)
	as := fmt.Sprintf("%q at %s: ", master.name, p.server.Address())
	switch number(err) {
	case loginDenied:
		failure := p.server.Fail(as+"the server refused the user name or the password (error 1045)",
			"Check masterUsername and masterPassword, or the secret that RDS keeps of the master user, and that the account's host lets this function in"+p.orTLS()).
			Before(master.unquoted("prepare.masterUser.username")).Before(p.request.Hint("prepare.masterUser.username", "prepare.masterUser.password"))
		failure.Refused = true
		return failure
	case databaseDenied:
		return p.server.Fail(as+fmt.Sprintf("the master user has no rights on the database %q, or there is none (error 1044)", p.request.Database),
			"Check databaseName, and name a master user who has all rights on the database and may give them to others").Before(p.request.Hint("database"))
	case unknownDatabase:
		return p.server.Fail(as+fmt.Sprintf("there is no database %q (error 1049)", p.request.Database), "Check databaseName. A preparation makes users, and no database: CREATE DATABASE "+quoted(p.request.Database)).
			Before(p.request.Hint("database"))
	}
	return refusedLogin(p.server, err, as, master)
}

// enterFailure is the failure of the managing user's login; nil where the server took the password, and then ended the session
// for a limit of the user's connections.
func (p *preparation) enterFailure(err error, u *user, database string) error {
	if failure := connector.AsFailure(err); failure != nil {
		return failure
	}
	as := fmt.Sprintf("%s at %s: ", u.account, p.server.Address())
	if p.server.IAM {
		if u.there {
			as += "the managing user is there and kept as it is, and "
		}
		if failure := p.tokenFailure(err, as); failure != nil {
			return failure
		}
	}
	switch n := number(err); {
	case n == userConnections, n == userLimit:
		return nil
	case n == loginDenied && u.there:
		return p.server.Fail(as+"the managing user is there, and the server refused the given password (error 1045); its password is never changed here",
			"Set managingPassword to the one that it has, or managingUsername to a name that is not taken"+p.orTLS())
	case n == loginDenied:
		return p.server.Fail(as+"the server refused the managing user right after it was made (error 1045)",
			"A more specific account of the same name, or one without a name, may shadow it for this function: SELECT user, host FROM mysql.user"+p.orTLS())
	case n == databaseDenied:
		return p.server.Fail(as+fmt.Sprintf("the managing user may not enter the database %q, although it was given ALTER there (error 1044)", database),
			"Find out what the server makes of it: SHOW GRANTS FOR "+u.sql())
	}
	return refusedLogin(p.server, err, as, u.account)
}

// statementFailure is the failure of a statement of the master user's, which takes what a GRANT with an option gives. reason
// is its error's number, or what that means.
func (p *preparation) statementFailure(err error, reason uint16, doing string, u *user, takes, option string) *connector.Failure {
	if failure := connector.AsFailure(err); failure != nil {
		return failure
	}
	if reason == 0 {
		return broken(p.server, err)
	}
	fail := func(why, fix string) *connector.Failure {
		return p.server.Fail(fmt.Sprintf("%s at %s: %s (%s)", doing, p.server.Address(), why, described(err)), fix)
	}
	switch reason {
	case optionPrevents:
		return p.prevented(err, fail)
	case privilegeMissing, tableDenied, databaseDenied, loginDenied:
		if says(err, "SYSTEM_USER") {
			return fail("it is a system user, and the master user is none", "Choose another name")
		}
		master := parseAccount(p.found.current) // with the host of the account that let it in
		return fail("the master user lacks a privilege", "Name another master user, or have an administrator run: GRANT "+takes+" TO "+master.String()+option+";")
	}
	cause := lookup(causesOfPreparation, reason, u.account, "the server refused it")
	failure := fail(cause.why, cause.fix)
	failure.Transient = cause.means == busy
	return failure
}

const withGrantOption = " WITH GRANT OPTION"

// lookFailure is the failure of a look at an account.
func (p *preparation) lookFailure(err error, u *user) *connector.Failure {
	return p.statementFailure(err, number(err), "looking for "+u.String(), u, "SELECT ON `mysql`.*", "")
}

// grantFailure is the failure of the statement that gives a user privileges.
func (p *preparation) grantFailure(err error, u *user, given grant) *connector.Failure {
	return p.statementFailure(err, number(err), "giving "+u.String()+" "+given.String(), u, given.String(), withGrantOption)
}

// createFailure is the failure of the statement that makes a user, and notes whether it can have been made.
func (p *preparation) createFailure(ctx context.Context, err error, u *user) *connector.Failure {
	reason := number(err)
	if reason == accountFailed && p.found.mariaDB {
		reason = p.session.reason(ctx, reason)
	}
	if p.proves(lookup(causesOfPreparation, reason, u.account, ""), reason) {
		u.tried, u.made = false, false
	}
	making := "making " + u.String()
	if p.server.IAM && u.manages {
		if failure := p.tokenFailure(err, making+" at "+p.server.Address()+": "); failure != nil {
			return failure
		}
	}
	return p.statementFailure(err, reason, making, u, "CREATE USER ON *.*", withGrantOption)
}
