package postgres

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"esc-connector-lambda-go/lambda/connector"
)

// DryRun looks at as much of the request as is there, and changes nothing. The outcome's message tells what it found
// and what it could not know. The error is a *connector.Failure.
func DryRun(ctx context.Context, server *connector.Server, request connector.Request) (connector.Outcome, error) {
	report := connector.Report{Server: server}
	if request.ManagingUser == nil {
		err := server.Try(ctx, func(ctx context.Context, address netip.AddrPort) error {
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
	manager, err := loginManaging(ctx, server, request)
	if err != nil {
		return connector.Outcome{}, err
	}
	defer manager.close()
	report.TLS = manager.tls
	report.Add("PostgreSQL " + connector.Version(manager.version))
	report.Add(fmt.Sprintf("logged in as %q to the database %q", request.ManagingUser.Username, request.Database))
	if request.RotateUser == nil {
		report.Unknown("whether the users to rotate exist and may be changed (no rotateUser in the event)")
		return report.Outcome(), nil
	}
	server.SetStage(connector.StageCheck)
	found, err := manager.inspect(ctx, request.RotateUser.Username)
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := found.refuse(server, request); err != nil {
		return connector.Outcome{}, err
	}
	if err := manager.askCreateRole(ctx, found); err != nil {
		return connector.Outcome{}, err
	}
	if missing := found.lacks(request); missing != "" {
		return connector.Outcome{}, &connector.Failure{Stage: connector.StageCheck, State: connector.Unchanged,
			Why: fmt.Sprintf("%q at %s: the managing user %q may not change it", found.role.name, server.Address(), request.ManagingUser.Username), Fix: missing}
	}
	report.Add(fmt.Sprintf("%q exists and may be changed", found.role.name))
	report.Unknown("whether a password-checking extension takes the new password, and whether pg_hba.conf lets the user in from here")
	return report.Outcome(), nil
}

// lacks names the privilege that the managing user lacks for a change, "" when it has them all.
func (f *findings) lacks(request connector.Request) string {
	allowed := f.createRole && !f.role.superuser
	if f.version >= 160000 {
		allowed = allowed && f.role.managed
	} else {
		allowed = allowed && !f.role.replication
	}
	// Whose sessions act as the role itself may change its password, as any role may its own.
	own := f.role.current && (f.version >= 160000 || !f.role.replication && !f.role.superuser)
	if f.superuser || allowed || own {
		return ""
	}
	return f.grant(request)
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
			return c.server.Broken(connector.StageTLS, err, time.Since(c.start))
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
