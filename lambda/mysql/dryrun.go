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
			wire, err := dial(ctx, server, address, connector.StageCheck, event.Secret{})
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
	found := r.found
	product := "MySQL "
	if found.mariaDB {
		product = "MariaDB "
	}
	report.TLS = r.session.wire.tls
	report.Add(product + connector.Version(found.version))
	report.Add(fmt.Sprintf("logged in as %q", parseAccount(request.ManagingUser.Username).name))
	if request.RotateUser == nil {
		report.Unknown("whether the users to rotate exist and may be changed (no rotateUser in the event)")
		return report.Outcome(), nil
	}
	if err := r.examine(ctx, &report); err != nil {
		return connector.Outcome{}, err
	}
	if !r.target.admits(found.client) {
		report.Unknown(fmt.Sprintf("whether a new password will log in: the account does not let in this function, which the server sees as %s", seen(found.client)))
	}
	return report.Outcome(), nil
}

// writesAlways reports whether a grant is of a privilege for which read_only does not count:
// https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_read_only
func writesAlways(grant []string) bool {
	privileges, _, global := strings.Cut(strings.Join(grant, " "), " ON *.* ")
	return global && (strings.Contains(privileges, "SUPER") || strings.Contains(privileges, "CONNECTION_ADMIN") || strings.Contains(privileges, "ALL PRIVILEGES"))
}

// examine finds out whether the account exists and may be changed.
func (r *rotation) examine(ctx context.Context, report *connector.Report) error {
	c := r.session
	if r.found.mariaDB {
		// A change that has to fail, by a hash that is none, tells whether the account is there and may be changed.
		err := c.exec(ctx, "ALTER USER ?@? IDENTIFIED BY PASSWORD 'no hash'", r.target.name, r.target.host)
		if err == nil {
			err = errMalformed
		}
		n := number(err)
		if n == accountFailed {
			n = c.reason(ctx, n)
		}
		if n != badHash {
			return r.changeFailure(ctx, err, 0)
		}
		report.Add(r.target.String() + " exists and may be changed")
		report.Unknown("the account's authentication plugin, which becomes mysql_native_password with the change")
		return nil
	}
	grants, err := c.rows(ctx, 10_000, "SHOW GRANTS")
	if err != nil && number(err) == 0 {
		return broken(r.server, err)
	}
	// A replica on RDS has read_only alone, which holds for users without one of these privileges.
	setting, err := c.row(ctx, 1, "SELECT @@global.read_only")
	if err != nil && number(err) == 0 {
		return broken(r.server, err)
	}
	if err == nil && (setting[0] == "1" || setting[0] == "ON") && !slices.ContainsFunc(grants, writesAlways) {
		return r.readOnly()
	}
	// https://dev.mysql.com/doc/refman/8.4/en/password-logging.html
	if raw, err := c.row(ctx, 1, "SELECT @@global.general_log AND @@global.log_raw"); err == nil && raw[0] == "1" {
		report.Add("the server's general log keeps statements as they come, new passwords among them: " + connector.SQL("SET GLOBAL log_raw = OFF"))
	}
	for _, grant := range grants {
		text := strings.ToUpper(strings.Join(grant, " "))
		if strings.Contains(text, " ON *.* ") && (strings.Contains(text, "CREATE USER") || strings.Contains(text, "ALL PRIVILEGES")) {
			report.Add("the managing user may change users")
			report.Unknown("whether " + r.target.String() + " exists: that takes the right to read mysql.user, which the connector does not ask for")
			return nil
		}
	}
	report.Unknown("whether " + r.target.String() + " exists, and whether the managing user may change it: none of its own grants says so, a role's may")
	return nil
}
