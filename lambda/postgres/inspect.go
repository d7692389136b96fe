package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"esc-connector-lambda-go/lambda/connector"
)

// findings are what any role can read, of the server and of the role that is to change.
type findings struct {
	version      int // 150004 is 15.4
	encryption   string
	iterations   int
	inRecovery   bool
	superuser    bool // the managing user is
	createRole   bool // the managing user has CREATEROLE: read by askCreateRole only
	acting       bool // the managing user's sessions act as another role
	readOnly     bool
	reset        string // the statement that takes back the setting by which they act or only read, "" where it is not known
	wantRDSGroup bool   // rds.restrict_password_commands is on, and the managing user is no member of rds_password
	role         *role
}

// role is the one that is to change.
type role struct {
	name        string
	canLogin    bool
	expired     bool
	noSession   bool // CONNECTION LIMIT 0
	superuser   bool
	replication bool
	canConnect  bool // to the database of the session
	iam         bool // member of rds_iam
	managed     bool // the managing user has ADMIN OPTION on it
	self        bool
	current     bool // the managing user's sessions act as it
}

func (f *findings) storesMD5() bool {
	return slices.Contains([]string{"md5", "on", "true", "yes", "1"}, f.encryption)
}

// inspectQuery reads everything at once, and leaves to Go what Go can do: each further query, view and operator has a
// server process that has just started read more of its catalogs. Whom the managing user may change goes by current_user,
// as in ALTER ROLE.
const inspectQuery = `SELECT current_setting('server_version_num'), current_setting('password_encryption'),
	current_setting('scram_iterations', true), pg_is_in_recovery(), current_setting('is_superuser'),
	current_setting('rds.restrict_password_commands', true), pg_has_role(to_regrole('rds_password'), 'MEMBER'), session_user,
	r.rolname, r.rolcanlogin, r.rolvaliduntil <= now(), r.rolconnlimit, r.rolsuper, r.rolreplication,
	has_database_privilege(r.oid, current_database(), 'CONNECT'), pg_has_role(r.oid, to_regrole('rds_iam'), 'MEMBER'),
	pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'), r.rolname = current_user, current_user = session_user,
	current_setting('transaction_read_only')
	FROM (SELECT) AS always LEFT JOIN pg_roles r ON r.rolname = $1::text::name`

// inspect reads what can be known before a change. The role is nil when there is none of that name.
func (r *rotation) inspect(ctx context.Context, session *conn) error {
	const columns, ofRole = 20, 8
	username := r.request.RotateUser.Username
	row, err := session.ask(ctx, inspectQuery, []string{username})
	if err == nil && len(row) != columns {
		err = errNoRow
	}
	found := &findings{iterations: defaultIterations}
	if err == nil {
		found.version, err = strconv.Atoi(row[0])
	}
	if err == nil && row[2] != "" { // from PostgreSQL 16 on
		found.iterations, err = strconv.Atoi(row[2])
	}
	if err == nil && !strings.HasPrefix(username, row[ofRole]) { // a long name is cut, to no other
		err = errNoRow
	}
	if err != nil {
		return r.checkFailure(session, err)
	}
	is := func(i int) bool { return row[i] == "t" }
	found.encryption, found.inRecovery, found.superuser = row[1], is(3), row[4] == "on"
	found.acting, found.readOnly = row[18] == "f", row[19] == "on"
	found.wantRDSGroup = slices.Contains([]string{"on", "1", "true"}, row[5]) && row[6] == "f"
	if name := row[ofRole]; name != "" {
		found.role = &role{name: name, canLogin: is(9), expired: is(10), noSession: row[11] == "0" && !is(12), superuser: is(12), replication: is(13),
			canConnect: is(14), iam: is(15) && !is(12), managed: is(16), self: name == row[7], current: is(17)}
	}
	r.found = found
	switch {
	case found.readOnly && !found.inRecovery:
		return r.findSetting(ctx, session, "default_transaction_read_only")
	case found.acting:
		return r.findSetting(ctx, session, "role")
	}
	return nil
}

// settingQuery finds who has a setting of the session: the role in this database, the role, the database or all, of which
// the first counts (the manual's page on pg_db_role_setting, and ALTER ROLE's).
const settingQuery = `SELECT s.setrole <> 0, s.setdatabase <> 0
	FROM pg_db_role_setting s WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
	AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
	AND EXISTS (SELECT FROM unnest(s.setconfig) AS c WHERE starts_with(c, $1 || '=')) ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1`

// findSetting finds the statement that takes a setting back.
func (r *rotation) findSetting(ctx context.Context, session *conn, name string) error {
	row, err := session.ask(ctx, settingQuery, []string{name})
	if err != nil {
		return r.checkFailure(session, err)
	}
	if len(row) != 2 {
		return nil
	}
	manager, database := identifier(r.request.ManagingUser.Username), identifier(r.request.Database)
	switch of, in := row[0] == "t", row[1] == "t"; {
	case of && in:
		r.found.reset = "ALTER ROLE " + manager + " IN DATABASE " + database + " RESET " + name
	case of:
		r.found.reset = "ALTER ROLE " + manager + " RESET " + name
	case in:
		r.found.reset = "ALTER DATABASE " + database + " RESET " + name
	default:
		r.found.reset = "ALTER ROLE ALL RESET " + name
	}
	return nil
}

// checkFailure is the failure of a server that could not be read.
func (r *rotation) checkFailure(session *conn, err error) *connector.Failure {
	if errors.As(err, new(*strconv.NumError)) {
		err = errNoRow
	}
	return r.failure(session, err, checking, r.server.Address()+": ")
}

// ask runs a query in a transaction of its own, in one round trip, and answers its first row as text; NULL is "". The
// catalogs are the only schema that a name can mean, so that no user's function or operator runs as the managing user (the
// manual's section 10.3 on CVE-2018-1058). Settings are the transaction's: a pooler gives the session to others after it. Where
// one of them fails, so does the query. After an error the connection is of no more use.
func (c *conn) ask(ctx context.Context, text string, parameters []string) ([]string, error) {
	bound, err := c.server.ServerBound(ctx, time.Millisecond)
	if err != nil {
		return nil, err
	}
	const settings = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL standard_conforming_strings = on; SET LOCAL lock_timeout = 0; " +
		"SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = "
	return c.row(c.begin()+settings+strconv.FormatInt(bound.Milliseconds(), 10), text, parameters, "COMMIT")
}
