package mysql

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Prepare sees to it that the managing user and the users to rotate are there, with the privileges that they need. Users that
// are there keep their passwords; a managing user that is there is refused where the given password is not its own. Where
// something cannot be made, what this event made is dropped again. A second call with the same request finds all and
// succeeds; of two at once, one waits for the other. A dry run tells what it would make. The error is a *connector.Failure.
func Prepare(ctx context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	p := newPreparation(server, request)
	for tries := 1; ; tries++ {
		opened, err := p.attempt(ctx)
		if err == nil {
			return p.outcome(), nil
		}
		failure := connector.AsFailure(err)
		if failure == nil {
			return connector.Outcome{}, err
		}
		failure.State = server.State()
		// What was lost on the way is looked up and finished in another session. To open one has been tried long enough.
		const enough = 2 * time.Second // less would end with the least bound of a statement
		if !opened || !failure.Transient || left(ctx) < enough || !connector.Pause(ctx, tries) {
			return connector.Outcome{}, failure
		}
	}
}

// preparation is one event: the master user's session, and the users that are to be there.
type preparation struct {
	visit
	report  connector.Report // of a dry run, once it is through
	address netip.AddrPort   // of the session
	names   naming
	plugin  string  // of a new account, on MySQL
	users   []*user // the managing user first
	// altered: an account that was there may have got a privilege.
	altered bool
}

// user is one that is to be there.
type user struct {
	account
	name     string       // as the request writes it
	password event.Secret // for when it is not there
	manages  bool
	needs    needs

	there bool
	lacks []grant
	// tried: its creation was sent, over this connection or over one that was lost.
	tried bool
	// made: it may have been made over this connection, under the lock, so that no other event has seen it.
	made bool
	// given is what it got.
	given []grant
}

// absent reports whether it was not there, or in a dry run is not.
func (u *user) absent(dryRun bool) bool { return u.tried || dryRun && !u.there }

func newPreparation(server *connector.Server, request event.Request) *preparation {
	wanted := request.Prepare
	p := &preparation{visit: visit{server: server, request: request}}
	p.users = append(p.users, &user{
		account: parseAccount(wanted.ManagingUser.Username), name: wanted.ManagingUser.Username, password: wanted.ManagingUser.Password,
		manages: true, needs: needs{everywhere: []string{"CREATE USER"}, database: []string{"ALTER"}},
	})
	for _, name := range wanted.RotateUsers {
		p.users = append(p.users, &user{account: parseAccount(name), name: name, password: nobodys(), needs: needs{database: wanted.Privileges}})
	}
	return p
}

// attempt makes what is not there, in a session of its own. opened reports whether there was one.
func (p *preparation) attempt(ctx context.Context) (opened bool, err error) {
	defer p.Close()
	whole := left(ctx)
	err = p.server.Retry(ctx, func(ctx context.Context, address netip.AddrPort) error { return p.open(ctx, address, whole) })
	if err != nil {
		return false, err
	}
	if !p.request.DryRun {
		if err := p.lock(ctx); err != nil {
			return true, err
		}
	}
	if err := p.look(ctx); err != nil {
		return true, err
	}
	if p.request.DryRun {
		return true, p.foresee(ctx)
	}
	return true, p.make(ctx)
}

// left is the time that the work on an event has.
func left(ctx context.Context) time.Duration {
	if deadline, bound := ctx.Deadline(); bound {
		return time.Until(deadline)
	}
	return time.Minute
}

// open logs in as the master user. whole is the time that the event has.
func (p *preparation) open(ctx context.Context, address netip.AddrPort, whole time.Duration) error {
	master := p.request.Prepare.MasterUser
	session, err := login(ctx, p.server, address, connector.StageMaster, credential{name: parseAccount(master.Username).name, password: master.Password}, p.request.Database)
	if err != nil {
		return p.masterFailure(err)
	}
	p.session, p.address = session, address
	p.server.SetStage(connector.StagePrepare)
	if err = p.inspect(ctx); err == nil {
		err = p.settings(ctx, whole)
	}
	if err != nil {
		p.Close()
	}
	return err
}

// settings reads what new accounts and their grants depend on, and sets what the session depends on. The server ends it soon
// after the time that this event has: Lambda may freeze this process, and the connection with it.
func (p *preparation) settings(ctx context.Context, left time.Duration) error {
	wanted := []string{"authentication_policy", "default_authentication_plugin", "lower_case_table_names", "partial_revokes"}
	rows, err := p.session.table(ctx, len(wanted), 2, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('"+strings.Join(wanted, "', '")+"')")
	if err != nil {
		return p.checkFailure(err)
	}
	value := map[string]string{}
	for _, row := range rows {
		value[row[0]] = row[1]
	}
	p.names = naming{literal: value["partial_revokes"] == "ON", folds: value["lower_case_table_names"] != "0"}
	p.plugin = defaultPlugin(value["authentication_policy"], value["default_authentication_plugin"])
	set := fmt.Sprintf("SET wait_timeout = %d, sql_notes = 1", int(left.Seconds())+1)
	if p.found.mariaDB || !atLeast(p.found.version, 8) {
		// Without it, a GRANT to an account that somebody has just dropped makes one without a password. MySQL 8.0 has no such mode.
		set += ", sql_mode = 'NO_AUTO_CREATE_USER'"
	}
	if !p.found.mariaDB {
		set += ", max_execution_time = 0" // of queries; a change has bounds of its own
	}
	if err := p.session.exec(ctx, set); err != nil {
		return p.checkFailure(err)
	}
	return nil
}

// lockName is the name of the lock under which users are made: one for the server, since its accounts are.
const lockName = "esc-connector prepare"

// lock waits until no other event makes users on the server. The lock goes with the session.
func (p *preparation) lock(ctx context.Context) error {
	wait := max(1, int(left(ctx).Seconds()/3)) // and less than MariaDB has for a statement, see ready
	row, err := p.session.row(ctx, 1, fmt.Sprintf("SELECT GET_LOCK('%s', %d)", lockName, wait))
	switch {
	case err != nil && number(err) != statementTimeout:
		return p.checkFailure(err)
	case err != nil, row[0] != "1":
		return p.server.Fail(fmt.Sprintf("%s: another preparation is at work on this server, and was not done after %d s", p.server.Address(), wait),
			"Wait until it has ended, and prepare again. Where there is none, end the session that holds its lock: SELECT IS_USED_LOCK('"+lockName+"')")
	}
	return nil
}

// look finds out what is there, and refuses what could not go well.
func (p *preparation) look(ctx context.Context) error {
	if slices.Contains(systemDatabases, strings.ToLower(p.request.Database)) {
		return p.server.Fail(fmt.Sprintf("the database %q is the server's own, and who may change its tables may change the server", p.request.Database),
			"Name the application's database in databaseName")
	}
	manager := p.users[0]
	if !manager.admits(p.found.client) {
		return p.server.Fail(fmt.Sprintf("the account %s would not let in this function, which the server sees as %s", manager.account, seen(p.found.client)),
			"Name the managing user without a host, or with one that matches the function's subnets, such as 10.0.%")
	}
	for _, u := range p.users {
		if p.found.mariaDB && u.host == "" {
			u.host = "%" // as MariaDB reads it
		}
		// The server takes quotes off the name that logs in, and so it alone knows who that is.
		if sameName(p.found.name(), u.account.name) {
			return p.server.Fail(u.String()+" is the master user, or differs from it in quotes or case alone", "Choose another name for it")
		}
		u.made = false // what another session made, others may have seen
		if err := p.lookAt(ctx, u); err != nil {
			return err
		}
		if !u.there {
			if err := p.lookBeside(ctx, u); err != nil {
				return err
			}
		}
	}
	if manager.there {
		return p.enter(ctx, manager, "")
	}
	return nil
}

// systemDatabases are those in which the servers keep what is their own, the accounts among it.
var systemDatabases = []string{"information_schema", "mysql", "performance_schema", "sys"}

// lookAt finds out whether a user is there, and what it lacks.
func (p *preparation) lookAt(ctx context.Context, u *user) error {
	held, there, err := p.session.holds(ctx, u.account, p.request.Database, p.names)
	if err != nil {
		return p.lookFailure(err, u)
	}
	lacks, clear := u.needs.lacking(held, p.request.Database, p.names)
	if !clear {
		return p.server.Fail(fmt.Sprintf("%s has its privileges on the database %q by a wider grant, which one on that database alone would put out of force", u.account, p.request.Database),
			"Add "+strings.Join(u.needs.database, ", ")+" to the grant that it has, which SHOW GRANTS FOR "+u.sql()+" shows")
	}
	u.there, u.lacks = there, lacks
	return nil
}

// lookBeside refuses a user that is not there and whose name would be taken for another's.
func (p *preparation) lookBeside(ctx context.Context, u *user) error {
	if plain := u.unquoted(strconv.Quote(u.name)); plain != "" {
		return p.server.Fail(u.String()+" is not there, and no such name could log in: a server takes quotes off the name that does", plain)
	}
	// From the other's hosts, a login by the name is one to that account, whose password no rotation changes.
	rows, err := p.session.table(ctx, 1, 1, "SELECT CAST(Host AS BINARY) FROM mysql.user WHERE User = ? AND Host NOT IN ('', 'localhost', '127.0.0.1', '::1')", u.account.name)
	if err != nil {
		return p.lookFailure(err, u)
	}
	if len(rows) == 0 {
		return nil
	}
	other := account{u.account.name, connector.Printable(rows[0][0])}
	return p.server.Fail(fmt.Sprintf("%s is not there, but %s is, to which a login as %q would still be one from its hosts", u.account, other, u.account.name),
		"Name that account, as "+strconv.Quote(other.name+"@"+other.host)+", or another user; or drop it")
}

// make makes the users that are not there and gives all what they lack: first those whom it makes, who can be dropped again.
// The last third of what ctx leaves is for that.
func (p *preparation) make(ctx context.Context) (err error) {
	defer func(ctx context.Context) {
		if err != nil {
			err = p.undo(ctx, err)
		}
	}(ctx)
	if deadline, bound := ctx.Deadline(); bound {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)*2/3)
		defer cancel()
	}
	for _, there := range []bool{false, true} {
		for _, u := range p.users {
			if u.there != there || there && len(u.lacks) == 0 {
				continue
			}
			if err := p.finish(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish makes a user where it is not there, gives it what it lacks, and looks whether it has that now.
func (p *preparation) finish(ctx context.Context, u *user) error {
	if !u.there {
		if err := p.create(ctx, u); err != nil {
			return err
		}
	}
	for _, grant := range u.lacks {
		if err := p.bound(ctx); err != nil {
			return err
		}
		p.altered = p.altered || u.there
		if _, err := p.alter(ctx, "GRANT "+grant.String()+" TO "+u.sql()); err != nil {
			return p.grantFailure(err, u, grant)
		}
		u.given = append(u.given, grant)
	}
	if len(u.lacks) > 0 {
		held, _, err := p.session.holds(ctx, u.account, p.request.Database, p.names)
		if err != nil {
			return p.lookFailure(err, u)
		}
		if lacks, _ := u.needs.lacking(held, p.request.Database, p.names); len(lacks) > 0 {
			return p.server.Fail(fmt.Sprintf("%s: the server took GRANT %s TO %s, and the account still lacks %s", p.server.Address(), u.lacks[0], u.account, lacks[0]),
				"Find out what the server makes of it: SHOW GRANTS FOR "+u.sql())
		}
	}
	if u.manages {
		return p.enter(ctx, u, p.request.Database)
	}
	return nil
}

// create makes a user. IF NOT EXISTS goes into the binary log too: a replica that has the account goes on.
func (p *preparation) create(ctx context.Context, u *user) error {
	credential, ok := p.credential(u)
	if !ok {
		return p.server.Fail(fmt.Sprintf("the password of %s is longer than MySQL's %s takes", u.account, p.plugin), fmt.Sprintf("Choose one of %d bytes at the most", longestOfSHA2))
	}
	if err := p.bound(ctx); err != nil {
		return err
	}
	u.tried, u.made = true, true
	warned, err := p.alter(ctx, "CREATE USER IF NOT EXISTS "+u.sql()+" "+credential)
	if reason := refusal(warned); err == nil && reason != 0 {
		err = &mysql.MySQLError{Number: reason}
	}
	switch {
	case err != nil:
		return p.createFailure(ctx, err, u)
	case slices.Contains(warned, existsOnMariaDB), slices.Contains(warned, existsOnMySQL):
		u.tried, u.made = false, false
		failure := p.server.Fail(u.String()+" was not there, and then somebody else made it", "Prepare again")
		failure.Transient = true
		return failure
	}
	return nil
}

// bound has the server give up in time what comes next. The error is a *Failure.
func (p *preparation) bound(ctx context.Context) error {
	if err := p.session.bound(ctx, p.server, p.found); err != nil {
		return p.boundFailure(err)
	}
	return nil
}

// alter runs a statement that changes accounts, and is the numbers of its warnings.
func (p *preparation) alter(ctx context.Context, statement string) (warned []uint16, err error) {
	p.server.SetState(connector.MaybeMade)
	if err := p.session.exec(ctx, statement); err != nil || p.session.wire.warnings == 0 {
		return nil, err
	}
	return p.session.warned(ctx)
}

// undo drops what was made over this connection: no other event has seen it.
func (p *preparation) undo(ctx context.Context, err error) error {
	failure := connector.AsFailure(err)
	if failure == nil {
		return err
	}
	unchanged := !p.altered
	for _, u := range p.users {
		if u.made {
			if err := p.session.exec(ctx, "DROP USER IF EXISTS "+u.sql()); err != nil {
				failure.Why += fmt.Sprintf("; %s may have been made, and was not dropped again (%s)", u.account, described(err))
			} else {
				u.tried, u.made, u.given = false, false, nil
			}
		}
		unchanged = unchanged && !u.tried
	}
	if unchanged {
		p.server.SetState(connector.Unchanged)
	}
	for _, u := range p.users {
		if u.there && len(u.given) > 0 {
			failure.Why += fmt.Sprintf("; %s was there, and keeps %s, which it got", u.account, listed(u.given))
		}
	}
	return failure
}

// enter logs in as the managing user, as a rotation does.
func (p *preparation) enter(ctx context.Context, u *user, database string) error {
	session, err := login(ctx, p.server, p.address, connector.StagePrepare, p.managing(p.request.Prepare.ManagingUser), database)
	if err != nil {
		return p.enterFailure(err, u, database)
	}
	defer session.Close()
	row, err := session.row(ctx, 1, "SELECT CAST(CURRENT_USER() AS BINARY)")
	switch {
	case err != nil && number(err) == 0:
		return broken(p.server, err)
	case err != nil:
		return p.enterFailure(err, u, database)
	case !u.is(row[0]):
		return p.server.Fail(fmt.Sprintf("a login as %q from this function is one to another account than %s, which that shadows", u.account.name, u.account),
			"Drop the other account, or name the managing user with the host that is closer to this function's, as name@host. Its accounts: SELECT user, host FROM mysql.user")
	}
	return nil
}

// outcome is what was made and what was there.
func (p *preparation) outcome() connector.Outcome {
	if p.request.DryRun {
		outcome := p.report.Outcome()
		_, outcome.Found = p.result()
		return outcome
	}
	made, found := p.result()
	return connector.Outcome{Proof: connector.ProofNone, Message: strings.Join(p.message(), "; "), Made: made, Found: found}
}

// result is the names of those that were made, or would be, and of those that were there.
func (p *preparation) result() (made, found []string) {
	for _, u := range p.users {
		if u.absent(p.request.DryRun) {
			made = append(made, u.name)
		} else {
			found = append(found, u.name)
		}
	}
	return made, found
}

// message are its parts: what was made, was there and was added, or would be.
func (p *preparation) message() []string {
	var made, found, added []string
	for _, u := range p.users {
		grants := u.given
		if p.request.DryRun {
			grants = u.lacks
		}
		switch {
		case u.absent(p.request.DryRun):
			made = append(made, u.String()+" with "+listed(grants))
			continue
		case len(grants) > 0:
			added = append(added, listed(grants)+" to "+u.String())
		}
		found = append(found, u.String())
	}
	return connector.Prepared(p.request.DryRun, made, found, added)
}

// listed are grants for people.
func listed(grants []grant) string {
	if len(grants) == 0 {
		return "no privilege"
	}
	var texts []string
	for _, grant := range grants {
		texts = append(texts, grant.String())
	}
	return strings.Join(texts, " and ")
}

// foresee reports what would be made, and what is there.
func (p *preparation) foresee(ctx context.Context) error {
	p.report = connector.Report{Server: p.server, TLS: p.session.wire.tls}
	p.report.Add(p.found.product())
	p.report.Add(fmt.Sprintf("logged in as the master user %q", parseAccount(p.request.Prepare.MasterUser.Username).name))
	grants, err := p.session.grants(ctx)
	if err != nil {
		return broken(p.server, err)
	}
	switch refused, err := p.session.refusesWrites(ctx, grants); {
	case err != nil:
		return broken(p.server, err)
	case refused:
		return p.readOnly()
	}
	made, _ := p.result()
	if len(made) > 0 && p.found.mariaDB {
		checks, err := p.session.row(ctx, 1, "SELECT @@global.strict_password_validation AND COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'PASSWORD VALIDATION' AND PLUGIN_STATUS = 'ACTIVE'")
		switch {
		case err != nil:
			return p.checkFailure(err)
		case checks[0] == "1":
			return refusesHashes(func(why, fix string) *connector.Failure { return p.server.Fail(p.server.Address()+": "+why, fix) })
		}
	}
	for _, part := range p.message() {
		p.report.Add(part)
	}
	if !slices.ContainsFunc(grants, func(grant string) bool {
		return makesUsers(grant) && strings.Contains(grant, withGrantOption)
	}) {
		p.report.Unknown("whether the master user may do so: none of the grants that the server shows of it says so")
	}
	return nil
}
