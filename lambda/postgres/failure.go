package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"esc-connector-lambda-go/lambda/connector"
)

// failure is that of an error at a moment. as says what was being done, to what. Errors of the connection and of the
// connector itself have failures of their own.
func (v *visit) failure(c *conn, err error, at moment, as string) *connector.Failure {
	if known := connector.AsFailure(err); known != nil {
		return known
	}
	if method := c.methodFailure(err, at, as); method != nil {
		return method
	}
	var refused *serverError
	if !errors.As(err, &refused) {
		broken := v.server.Broken(err)
		if at == proving {
			broken.Why = as + broken.Why
		}
		return broken
	}
	if refusedToken := at == atDoor && c.tokenSent && (refused.code == "28000" || refused.code == "28P01"); refusedToken {
		return v.server.Fail(as+"the server refused the token of RDS IAM authentication ("+code(refused)+")", connector.RefusedToken).Before(v.request.Hint(managingUser))
	}
	known := causeOf(refused, at)
	failure := v.server.Fail(as+v.fill(known.why, c.user)+" ("+code(refused)+")", v.fill(known.fix, c.user))
	failure.Transient = known.transient
	failure.Refused = refused.code == "28P01"
	if at&(atDoor|masterDoor) != 0 && refused.code == "28000" && v.server.TLS == nil {
		failure.Why = as + "the server lets nobody in this way (28000): without encryption, from here, or with this user and database"
		failure.Fix = "It may want TLS (rds.force_ssl): set the stack's databaseSslMode to verify-full (" + connector.SSLModeVariable + "), or add the user to pg_hba.conf"
	}
	return failure.Before(v.request.Hint(known.fields...))
}

// fill puts the names of the session's user and of the database into a sentence of the table.
func (v *visit) fill(sentence, user string) string {
	return strings.NewReplacer("{user}", identifier(user), "{database}", identifier(v.request.Database)).Replace(sentence)
}

// methodFailure is the failure of a login that the connector would not go on with, nil for other errors.
func (c *conn) methodFailure(err error, at moment, as string) *connector.Failure {
	var method errMethod
	switch {
	case errors.As(err, &method) && c.tokenSent:
		return c.server.Fail(as+"the server took the token of RDS IAM authentication, and then asks for "+string(method), "Check that host and port are those of the database itself")
	case errors.As(err, &method) && c.byToken:
		return c.server.Fail(as+"the server asks for "+string(method)+", and not for the token of RDS IAM authentication, which is all that this login gives: the user is no member of rds_iam",
			"Name an IAM user as managingUser, or set the stack's managingAuthentication to password ("+connector.ManagingAuthVariable+")")
	case errors.As(err, &method):
		fix := "Let the user log in by scram-sha-256 in pg_hba.conf. On RDS it is a member of rds_iam, itself or by another role, " +
			"such as one of the users to rotate: REVOKE rds_iam FROM that one"
		if at == atDoor {
			fix += ", or set the stack's managingAuthentication to iam (" + connector.ManagingAuthVariable + ")"
		}
		return c.server.Fail(as+"the server asks for "+string(method)+", and the connector only logs in by scram-sha-256 or md5: it never sends a password in clear", fix)
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
