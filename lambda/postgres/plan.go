package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// inventory is what the master user's session finds of what is to be there.
type inventory struct {
	findings     // of the server alone
	publicSchema bool
	restricted   bool // rds.restrict_password_commands is on, and there is a role rds_password

	managing    *present
	users       [2]*present
	application *present
}

// present is a role that is there.
type present struct {
	role
	createRole bool
	inRole     bool // member of the application's role
	inRDSGroup bool // member of rds_password
	creates    bool // may create and use what is in the schema public
}

// has reports whether there is a role of that name.
func (i *inventory) has(name string) bool {
	return slices.ContainsFunc([]*present{i.managing, i.users[0], i.users[1], i.application}, func(one *present) bool { return one != nil && one.name == name })
}

const (
	serverQuery = `SELECT current_setting('server_version_num'), current_setting('password_encryption'), current_setting('scram_iterations', true),
	pg_is_in_recovery(), current_user = session_user, current_setting('rds.restrict_password_commands', true), to_regrole('rds_password') IS NOT NULL,
	to_regnamespace('public') IS NOT NULL`

	// presentQuery is for a role, with what it is to the managing user and to the application's role, each of which may be missing.
	presentQuery = `SELECT r.rolname, r.rolcanlogin, r.rolvaliduntil <= now(), r.rolconnlimit, r.rolsuper, r.rolreplication, r.rolcreaterole,
	has_database_privilege(r.oid, current_database(), 'CONNECT'), pg_has_role(r.oid, to_regrole('rds_iam'), 'MEMBER'),
	pg_has_role(m.oid, r.oid, 'MEMBER WITH ADMIN OPTION'), pg_has_role(r.oid, a.oid, 'MEMBER'), pg_has_role(r.oid, to_regrole('rds_password'), 'MEMBER'),
	has_schema_privilege(r.oid, to_regnamespace('public'), 'CREATE') AND has_schema_privilege(r.oid, to_regnamespace('public'), 'USAGE')
	FROM (SELECT) AS always LEFT JOIN pg_roles r ON r.rolname = $1::text::name LEFT JOIN pg_roles m ON m.rolname = $2::text::name
	LEFT JOIN pg_roles a ON a.rolname = $3::text::name`
)

// inspect reads what is there.
func (p *preparation) inspect(ctx context.Context) error {
	row, err := p.ask(ctx, 8, serverQuery)
	found := &inventory{findings: findings{iterations: defaultIterations}}
	if err == nil {
		found.version, err = strconv.Atoi(row[0])
	}
	if err == nil && row[2] != "" { // from PostgreSQL 16 on
		found.iterations, err = strconv.Atoi(row[2])
	}
	if err != nil {
		return p.checkFailure(err)
	}
	found.encryption, found.inRecovery, found.acting, found.publicSchema = row[1], row[3] == "t", row[4] == "f", row[7] == "t"
	found.restricted = slices.Contains([]string{"on", "1", "true"}, row[5]) && row[6] == "t"
	for name, target := range map[string]**present{p.wanted.ManagingUser.Username: &found.managing, p.wanted.RotateUsers[0]: &found.users[0],
		p.wanted.RotateUsers[1]: &found.users[1], p.wanted.ApplicationRole: &found.application} {
		if name == "" {
			continue
		}
		if *target, err = p.present(ctx, name); err != nil {
			return p.checkFailure(err)
		}
	}
	p.found = found
	return nil
}

// present is the role of that name, nil where there is none.
func (p *preparation) present(ctx context.Context, name string) (*present, error) {
	row, err := p.ask(ctx, 13, presentQuery, name, p.wanted.ManagingUser.Username, p.wanted.ApplicationRole)
	switch {
	case err != nil:
		return nil, err
	case row[0] == "":
		return nil, nil
	case row[0] != name:
		return nil, errNoRow
	}
	is := func(i int) bool { return row[i] == "t" }
	return &present{
		role: role{name: name, canLogin: is(1), expired: is(2), noSession: row[3] == "0" && !is(4), superuser: is(4), replication: is(5),
			canConnect: is(7), iam: is(8) && !is(4), managed: is(9)},
		createRole: is(6) || is(4), inRole: is(10), inRDSGroup: is(11), creates: is(12),
	}, nil
}

// checkFailure is the failure of a server that could not be read.
func (p *preparation) checkFailure(err error) *connector.Failure {
	if errors.As(err, new(*strconv.NumError)) {
		err = errNoRow
	}
	return p.failure(p.session, err, checking, p.server.Address()+": ")
}

// blocker is the failure of a preparation after which no rotation could go well, nil where nothing is in the way.
func (p *preparation) blocker() error {
	if p.found.inRecovery {
		return p.server.Fail(p.server.Address()+": the server is a read-only replica, such as an Aurora reader endpoint", "Use the writer endpoint as host")
	}
	for _, user := range p.found.users {
		if user == nil {
			continue
		}
		found := p.found.findings
		kept := user.role
		kept.canConnect, kept.managed = true, true // or made so
		found.role, found.createRole, found.acting = &kept, true, false
		found.superuser = p.found.managing != nil && p.found.managing.superuser
		request := p.request
		request.ManagingUser, request.RotateUser = &p.wanted.ManagingUser, &event.RotateUser{Username: user.name}
		r := &rotation{visit: visit{server: p.server, request: request}, found: &found}
		if blocker := r.blocker(); blocker != nil {
			return blocker
		}
		if missing := r.missingGrant(); missing != "" {
			return p.server.Fail(fmt.Sprintf("%q at %s: no managing user may change its password", user.name, p.server.Address()), missing)
		}
	}
	return nil
}

// step is one statement of a preparation.
type step struct {
	// name is whom it is about, and does what it does, as in "… may not …".
	name, does, statement string
	need
	// makes is the name of what it makes, and adds what it gives to something that was there, for a person.
	makes, adds string
	at          moment
}

// need is the privilege that a step takes, and the way to it.
type need struct{ takes, fix string }

// plan are the steps to what is missing.
func (p *preparation) plan() ([]step, error) {
	var steps []step
	found, role, manager, master := p.found, p.wanted.ApplicationRole, p.wanted.ManagingUser.Username, identifier(p.wanted.MasterUser.Username)
	add := func(does string, of step) {
		of.does = does
		steps = append(steps, of)
	}

	if role != "" && found.application == nil {
		add("create it", step{name: role, need: p.createRole(), statement: "CREATE ROLE " + identifier(role) + " NOLOGIN", makes: role})
		add("become its member", step{name: role, need: p.admin(role), statement: "GRANT " + identifier(role) + " TO CURRENT_USER"})
	}
	if made := found.application == nil || slices.Contains(p.made, role); role != "" && made && found.publicSchema && (found.application == nil || !found.application.creates) {
		schema := need{"GRANT OPTION for CREATE and USAGE on the schema public", "Run as the schema's owner: GRANT CREATE, USAGE ON SCHEMA public TO " +
			master + " WITH GRANT OPTION; or create the role yourself: one that is there is left as it is"}
		add("let it create tables in the schema public", step{name: role, need: schema, statement: "GRANT CREATE, USAGE ON SCHEMA public TO " + identifier(role)})
	}
	for i, user := range p.wanted.RotateUsers {
		if found.users[i] == nil {
			add("create it", step{name: user, need: p.createRole(), statement: "CREATE ROLE " + identifier(user) + " LOGIN", makes: user})
		}
	}
	switch {
	case found.managing == nil && p.server.IAM:
		add("create it", step{name: manager, need: p.createRole(), statement: "CREATE ROLE " + identifier(manager) + " LOGIN CREATEROLE NOINHERIT", makes: manager})
		add("make it a member of rds_iam", step{name: manager, need: need{"the right to make others members of rds_iam", withoutIAM}, statement: "GRANT rds_iam TO " + identifier(manager)})
	case found.managing == nil:
		stored, err := p.stored()
		if err != nil {
			return nil, err
		}
		statement := "CREATE ROLE " + identifier(manager) + " LOGIN CREATEROLE NOINHERIT PASSWORD '" + stored + "'"
		add("create it", step{name: manager, need: p.password(), statement: statement, makes: manager, at: withVerifier})
	case !found.managing.createRole:
		add("give it CREATEROLE", step{name: manager, need: p.admin(manager), statement: "ALTER ROLE " + identifier(manager) + " CREATEROLE", adds: fmt.Sprintf("CREATEROLE to %q", manager)})
	}
	if found.restricted && (found.managing == nil || !found.managing.inRDSGroup) {
		add("make it a member of rds_password", step{name: manager, need: p.admin("rds_password"),
			statement: "GRANT rds_password TO " + identifier(manager), adds: fmt.Sprintf("membership in \"rds_password\" to %q", manager)})
	}
	for i, user := range p.wanted.RotateUsers {
		if found.users[i] == nil || !found.users[i].managed {
			add(fmt.Sprintf("give the managing user %q ADMIN OPTION on it", manager), step{name: user, need: p.admin(user),
				statement: "GRANT " + identifier(user) + " TO " + identifier(manager) + " WITH ADMIN OPTION", adds: fmt.Sprintf("ADMIN OPTION on %q to %q", user, manager)})
		}
		if role != "" && (found.users[i] == nil || !found.users[i].inRole) {
			add(fmt.Sprintf("make it a member of %q", role), step{name: user, need: p.admin(role),
				statement: "GRANT " + identifier(role) + " TO " + identifier(user), adds: fmt.Sprintf("membership in %q to %q", role, user)})
		}
	}
	for i, one := range []*present{found.managing, found.users[0], found.users[1]} {
		if name := append([]string{manager}, p.wanted.RotateUsers...)[i]; one != nil && !one.canConnect {
			grant := "GRANT CONNECT ON DATABASE " + identifier(p.request.Database) + " TO "
			add(fmt.Sprintf("let it connect to the database %q", p.request.Database), step{name: name, statement: grant + identifier(name),
				need: need{"GRANT OPTION for CONNECT", "Run as the database's owner: " + grant + master + " WITH GRANT OPTION;"}, adds: fmt.Sprintf("CONNECT to %q", name)})
		}
	}
	return steps, nil
}

// withoutIAM is what is left where the master user cannot make an IAM user, or not without being locked out itself.
const withoutIAM = "Set the stack's managingAuthentication to password. Or have the managing user created by somebody who never logs in by password, and prepare again"

// createRole is the need of who creates a role, and before PostgreSQL 16 of who changes one.
func (p *preparation) createRole() need {
	return need{"CREATEROLE", "Prepare with a master user that has it, as that of RDS does, or run as a superuser: ALTER ROLE " + identifier(p.wanted.MasterUser.Username) + " CREATEROLE;"}
}

// password is the need of who creates a role with a password.
func (p *preparation) password() need {
	need := p.createRole()
	if p.found.restricted {
		need.takes += ", and membership in rds_password, since rds.restrict_password_commands is on"
	}
	return need
}

// admin is the need of who changes a role, or makes others its members. Who creates one has it from PostgreSQL 16 on.
func (p *preparation) admin(role string) need {
	if p.found.version < 160000 {
		return p.createRole()
	}
	return need{"ADMIN OPTION on " + identifier(role), "Run as the role that created it, or as a superuser: GRANT " + identifier(role) + " TO " +
		identifier(p.wanted.MasterUser.Username) + " WITH ADMIN OPTION;"}
}

// stored is what the server is to store for the managing password, by its own password_encryption.
func (p *preparation) stored() (string, error) {
	if p.found.storesMD5() {
		return md5Hash(p.wanted.ManagingUser.Username, p.managing.Reveal()), nil
	}
	verifier, err := p.managing.verifier(p.found.iterations)
	if err != nil {
		return "", p.server.Fail(tooManyIterations(), "Lower scram_iterations")
	}
	return verifier, nil
}

const (
	// grantTables lets the role of the setting esc_connector.role use what the session's user may give, as the README's SQL does
	// for all tables and sequences: that would fail at the first one of another owner's.
	grantTables = `DO $$
DECLARE
	object record;
BEGIN
	FOR object IN
		SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, quote_ident(relname) AS name, string_agg(privilege, ', ') AS privileges
		FROM pg_class c, unnest(CASE relkind WHEN 'S' THEN ARRAY['USAGE', 'SELECT'] ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END) AS privilege
		WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
		AND CASE relkind WHEN 'S' THEN has_sequence_privilege(c.oid, privilege || ' WITH GRANT OPTION') ELSE has_table_privilege(c.oid, privilege || ' WITH GRANT OPTION') END
		GROUP BY relkind, relname
	LOOP
		EXECUTE 'GRANT ' || object.privileges || ' ON ' || object.kind || ' public.' || object.name || ' TO ' || quote_ident(current_setting('esc_connector.role'));
	END LOOP;
END
$$`
	countTables = `SELECT count(CASE WHEN CASE relkind WHEN 'S' THEN has_sequence_privilege(r.oid, c.oid, 'USAGE') ELSE has_table_privilege(r.oid, c.oid, 'SELECT')
	AND has_table_privilege(r.oid, c.oid, 'INSERT') AND has_table_privilege(r.oid, c.oid, 'UPDATE') AND has_table_privilege(r.oid, c.oid, 'DELETE') END THEN 1 END), count(*)
	FROM pg_class c, pg_roles r WHERE r.rolname = $1::text::name AND relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`
)

// giveTables lets the application's role that was made use the tables and sequences that the master user may give.
func (p *preparation) giveTables(ctx context.Context) error {
	role := p.wanted.ApplicationRole
	of := step{name: role, does: "let it use the tables in the schema public", need: need{"GRANT OPTION on them", readLog}}
	// Where somebody has taken the language away, the count of the tables tells that none was given.
	row, err := p.ask(ctx, 2, "SELECT set_config('esc_connector.role', $1, true), (SELECT has_language_privilege(oid, 'USAGE') FROM pg_language WHERE lanname = 'plpgsql')", role)
	if err == nil && row[1] == "t" {
		err = p.do(ctx, grantTables)
	}
	if err == nil {
		row, err = p.ask(ctx, 2, countTables, role)
	}
	for i := range row {
		if err == nil {
			p.tables[i], err = strconv.Atoi(row[i])
		}
	}
	if err != nil {
		return p.refused(of, err)
	}
	return nil
}
