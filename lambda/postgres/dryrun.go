package postgres

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// DryRun looks at as much of the request as is there, and changes nothing. The outcome's message tells what it found
// and what it could not know. The error is a *connector.Failure.
func DryRun(ctx context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	report := connector.Report{Server: server}
	if request.ManagingUser == nil {
		err := server.Retry(ctx, func(ctx context.Context, address netip.AddrPort) error {
			c, err := dial(ctx, server, address)
			if err != nil {
				return err
			}
			defer c.close()
			report.TLS = c.tls
			if c.tls == nil {
				return c.greet()
			}
			return nil
		})
		if err != nil {
			return connector.Outcome{}, err
		}
		report.Add("PostgreSQL answers")
		report.Unknown("the server's version (told after a login only), and whether any user may log in (no managingUser in the event)")
		return report.Outcome(), nil
	}

	if request.Database == "" {
		request.Database = "postgres"
	}
	r := newRotation(server, request)
	err := server.Retry(ctx, func(ctx context.Context, address netip.AddrPort) error { return r.look(ctx, address, &report) })
	if err != nil {
		return connector.Outcome{}, err
	}
	return report.Outcome(), nil
}

// look logs in as the managing user and finds out what would be in the way of a change.
func (r *rotation) look(ctx context.Context, address netip.AddrPort, report *connector.Report) error {
	session, err := r.logInManaging(ctx, address)
	if err != nil {
		return err
	}
	defer session.close()
	*report = connector.Report{Server: r.server, TLS: session.tls}
	report.Add("PostgreSQL " + connector.Version(session.version))
	report.Add(fmt.Sprintf("logged in as %q to the database %q%s", r.request.ManagingUser.Username, r.request.Database, r.server.ByToken()))
	targets := r.request.Targets()
	if len(targets) == 0 {
		report.Unknown("whether the users to rotate exist and may be changed (no rotateUser in the event)")
		return nil
	}
	r.server.SetStage(connector.StageCheck)
	var blocked *connector.Failure // what is in the way of either is said at once
	for _, target := range targets {
		r.request.RotateUser = &event.RotateUser{Username: target}
		found, err := r.examine(ctx, session)
		switch {
		case err != nil:
			return err
		case found == nil:
			report.Add(fmt.Sprintf("%q exists and may be changed", r.found.role.name))
		case blocked == nil:
			blocked = found
		case found.Fix != blocked.Fix: // which is else of the managing user
			blocked = blocked.And("Besides, " + found.Why).And(found.Fix)
		}
	}
	if blocked != nil {
		return blocked
	}
	report.Unknown("whether a password-checking extension takes the new password, and whether pg_hba.conf lets the user in from here")
	return nil
}

// examine looks for what is in the way of a change of the request's user.
func (r *rotation) examine(ctx context.Context, session *conn) (blocked *connector.Failure, err error) {
	if err := r.inspect(ctx, session); err != nil {
		return nil, err
	}
	if blocked = r.blocker(); blocked != nil {
		return blocked, nil
	}
	if err := r.askCreateRole(ctx, session); err != nil {
		return nil, r.checkFailure(session, err)
	}
	if missing := r.missingGrant(); missing != "" {
		blocked = r.server.Fail(fmt.Sprintf("%q at %s: the managing user %q may not change it", r.found.role.name, r.server.Address(), r.request.ManagingUser.Username), missing)
	}
	return blocked, nil
}

// greet asks a server without TLS whether it has any, to hear that it is PostgreSQL: that answers by a letter, and waits.
func (c *conn) greet() error {
	answer, err := c.askTLS()
	if err != nil {
		return err
	}
	switch answer {
	case 'S', 'N':
		const more = 200 * time.Millisecond
		if err := c.net.SetReadDeadline(time.Now().Add(more)); err != nil {
			return c.server.Broken(err)
		}
		if n, _ := c.net.Read(make([]byte, 1)); n > 0 {
			return c.noPostgres()
		}
		return nil
	case 'E':
		if _, ok := c.readEarlyError(); ok {
			return nil
		}
	}
	return c.noPostgres()
}
