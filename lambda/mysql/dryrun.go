package mysql

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// DryRun looks at as much of the request as is there, and changes nothing. The outcome's message tells what it found
// and what it could not know. The error is a *connector.Failure.
func DryRun(ctx context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	report := connector.Report{Server: server}
	if request.ManagingUser == nil {
		err := server.Retry(ctx, func(ctx context.Context, address netip.AddrPort) error {
			wire, err := dial(ctx, server, address, connector.StageCheck, credential{})
			if err != nil {
				return err
			}
			defer wire.Close()
			if number := wire.refusal(); number != 0 {
				return turnedAway(server, number)
			}
			if err := wire.encrypt(); err != nil {
				return broken(server, err)
			}
			report.TLS = wire.tls
			report.Add("server version " + connector.Version(wire.greeting.version))
			return nil
		})
		if err != nil {
			return connector.Outcome{}, err
		}
		report.Unknown("whether any user may log in (no managingUser in the event)")
		return report.Outcome(), nil
	}

	r := newRotation(server, request)
	if err := server.Retry(ctx, r.Open); err != nil {
		return connector.Outcome{}, err
	}
	defer r.Close()
	report.TLS = r.session.wire.tls
	report.Add(r.found.product())
	report.Add(fmt.Sprintf("logged in as %q%s", parseAccount(request.ManagingUser.Username).name, server.ByToken()))
	targets := request.Targets()
	if len(targets) == 0 {
		report.Unknown("whether the users to rotate exist and may be changed (no rotateUser in the event)")
		return report.Outcome(), nil
	}
	if err := r.examineServer(ctx, &report); err != nil {
		return connector.Outcome{}, err
	}
	for _, target := range targets {
		r.request.RotateUser, r.target = &event.RotateUser{Username: target}, parseAccount(target)
		if sameName(r.found.name(), r.target.name) {
			return connector.Outcome{}, r.itself()
		}
		if err := r.examine(ctx, &report); err != nil {
			return connector.Outcome{}, err
		}
		if !r.target.admits(r.found.client) {
			report.Unknown(fmt.Sprintf("whether a new password of %s will log in: the account does not let in this function, which the server sees as %s", r.target, seen(r.found.client)))
		}
	}
	return report.Outcome(), nil
}

// product is the server's name and version.
func (f *findings) product() string {
	if f.mariaDB {
		return "MariaDB " + connector.Version(f.version)
	}
	return "MySQL " + connector.Version(f.version)
}

// grants are those of the user who asks, in capitals.
func (c *conn) grants(ctx context.Context) (all []string, err error) {
	rows, err := c.rows(ctx, 10_000, "SHOW GRANTS")
	if err != nil && number(err) == 0 {
		return nil, err
	}
	for _, row := range rows {
		all = append(all, strings.ToUpper(strings.Join(row, " ")))
	}
	return all, nil
}

// global are the privileges of a grant that is one on the whole server.
func global(grant string) string {
	privileges, _, everywhere := strings.Cut(grant, " ON *.* ")
	if !everywhere {
		return ""
	}
	return privileges
}

// writesAlways reports whether a grant is of a privilege for which read_only does not count:
// https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_read_only
func writesAlways(grant string) bool {
	privileges := global(grant)
	return strings.Contains(privileges, "SUPER") || strings.Contains(privileges, "CONNECTION_ADMIN") || strings.Contains(privileges, "ALL PRIVILEGES")
}

// makesUsers reports whether a grant is of the privilege to make and change users.
func makesUsers(grant string) bool {
	privileges := global(grant)
	return strings.Contains(privileges, "CREATE USER") || strings.Contains(privileges, "ALL PRIVILEGES")
}

// examineServer finds out what holds for every change.
func (r *rotation) examineServer(ctx context.Context, report *connector.Report) error {
	if r.found.mariaDB { // whose answer to a change tells it
		return nil
	}
	grants, err := r.session.grants(ctx)
	if err != nil {
		return broken(r.server, err)
	}
	switch refused, err := r.session.refusesWrites(ctx, grants); {
	case err != nil:
		return broken(r.server, err)
	case refused:
		return r.readOnly()
	}
	// https://dev.mysql.com/doc/refman/8.4/en/password-logging.html
	if raw, err := r.session.row(ctx, 1, "SELECT @@global.general_log AND @@global.log_raw"); err == nil && raw[0] == "1" {
		report.Add("the server's general log keeps statements as they come, new passwords among them: " + connector.SQL("SET GLOBAL log_raw = OFF"))
	}
	if slices.ContainsFunc(grants, makesUsers) {
		report.Add("the managing user may change users")
	}
	return nil
}

// examine finds out whether the account exists and may be changed, by a change that has to fail: with a hash that is none, or
// an attribute that is none, which MySQL takes since 8.0.21.
func (r *rotation) examine(ctx context.Context, report *connector.Report) error {
	change, fails := "ALTER USER ?@? IDENTIFIED BY PASSWORD 'no hash'", uint16(badHash)
	if !r.found.mariaDB {
		change, fails = "ALTER USER ?@? ATTRIBUTE 'no JSON'", badAttribute
	}
	if !r.found.mariaDB && !atLeast(r.found.version, 8, 0, 21) {
		report.Unknown("whether " + r.target.String() + " exists and may be changed: that takes the right to read mysql.user, which the connector does not ask for")
		return nil
	}
	err := r.session.exec(ctx, change, r.target.name, r.target.host)
	if err == nil {
		err = errMalformed
	}
	reason := number(err)
	if reason == accountFailed && r.found.mariaDB {
		reason = r.session.reason(ctx, reason)
	}
	switch {
	case reason == fails:
		report.Add(r.target.String() + " exists and may be changed")
	case reason == policy && !r.found.mariaDB: // seen on 9.7 with a password policy, of an account that is not there
		report.Unknown("whether " + r.target.String() + " exists: the server's password policy got in the way of the question")
	default:
		return r.changeFailure(ctx, err, 0)
	}
	if r.found.mariaDB {
		report.Unknown("the authentication plugin of " + r.target.String() + ", which becomes mysql_native_password with the change")
	}
	return nil
}

// refusesWrites reports whether the server is read-only for the user who asks. A replica on RDS has read_only alone, which holds for users
// without one of the privileges of writesAlways.
func (c *conn) refusesWrites(ctx context.Context, grants []string) (bool, error) {
	setting, err := c.row(ctx, 1, "SELECT @@global.read_only")
	if err != nil {
		if number(err) != 0 {
			err = nil
		}
		return false, err
	}
	return (setting[0] == "1" || setting[0] == "ON") && !slices.ContainsFunc(grants, writesAlways), nil
}
