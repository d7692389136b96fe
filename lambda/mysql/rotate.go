// Package mysql changes the passwords of MySQL, Aurora MySQL and MariaDB accounts. MySQL gets a statement that keeps the
// account's authentication plugin, and logs a hash of it; MariaDB, which would log the password, gets a hash that is
// computed here.
package mysql

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Rotate gives the rotated user of the request its new password and proves it by a login as that user. A second call
// with the same request succeeds again. ctx bounds every step; the server carries a shorter bound, so that a change
// which was given up is not applied later. The error is a *connector.Failure.
func Rotate(ctx context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	r := newRotation(server, request)
	outcome, err := connector.Rotate(ctx, server, request, r)
	outcome.Note = strings.Trim(r.note+"; "+outcome.Note, "; ")
	return outcome, err
}

// visit is the session of somebody who may change accounts, and what it told.
type visit struct {
	server  *connector.Server
	request event.Request

	session *conn // nil where none is open
	found   *findings
}

// rotation is one event that changes a password: the managing user's visit.
type rotation struct {
	visit
	target account // empty in a dry run without a rotated user
	note   string  // for the log
}

func newRotation(server *connector.Server, request event.Request) *rotation {
	r := &rotation{visit: visit{server: server, request: request}}
	if request.RotateUser != nil {
		r.target = parseAccount(request.RotateUser.Username)
	}
	return r
}

// findings are what a session tells.
type findings struct {
	mariaDB bool
	version string
	// current is the account that logged in, user@host.
	current string
	// client is the host of this function as the server sees it, a name or an address.
	client string
	// thread is the session's number on the server.
	thread string
	// bounded is until when a change may begin under the bound that the session has.
	bounded time.Time
}

// Open logs in as the managing user, reads what can be known before the change, and refuses what could not go well.
func (r *rotation) Open(ctx context.Context, address netip.AddrPort) error {
	session, err := login(ctx, r.server, address, connector.StageLogin, r.managing(*r.request.ManagingUser), r.request.Database)
	if err != nil {
		return r.loginFailure(err)
	}
	r.session = session
	r.server.SetStage(connector.StageCheck)
	err = r.inspect(ctx)
	// The server takes quotes off the name that logs in, and so it alone knows who that is.
	if err == nil && r.target.name != "" && sameName(r.found.name(), r.target.name) {
		err = r.itself()
	}
	if err != nil {
		r.Close()
	}
	return err
}

// Close ends the session.
func (v *visit) Close() {
	if v.session != nil {
		v.session.Close()
		v.session = nil
	}
}

// inspect reads what the session can tell. SET and SELECT are one round trip each.
func (v *visit) inspect(ctx context.Context) error {
	bounded, err := v.session.ready(ctx, v.server)
	if err != nil {
		return v.checkFailure(err)
	}
	const query = "SELECT VERSION(), CAST(USER() AS BINARY), CAST(CURRENT_USER() AS BINARY), CONNECTION_ID(), " + oneOrTwo
	row, err := v.session.row(ctx, 6, query+", @@global.innodb_read_only")
	if number(err) == unknownVariable { // a server without InnoDB has no such variable
		if row, err = v.session.row(ctx, 5, query); err == nil {
			row = append(row, "")
		}
	}
	if err != nil {
		return v.checkFailure(err)
	}
	version, user, current, thread, marker, readOnly := row[0], row[1], row[2], row[3], row[4], row[5]
	if readOnly == "1" || readOnly == "ON" {
		return v.readOnly()
	}
	_, client := event.SplitAccount(user)
	v.found = &findings{mariaDB: isMariaDB(marker, version), version: version, current: current, client: client, bounded: bounded}
	if _, err := strconv.ParseUint(thread, 10, 64); err == nil {
		v.found.thread = thread
	}
	if v.found.mariaDB && marker != "2" { // something between leaves comments out, and MariaDB's bound with them
		v.found.bounded = time.Time{}
	}
	return nil
}

// name is the one that logged in.
func (f *findings) name() string {
	name, _ := event.SplitAccount(f.current)
	return name
}

// oneOrTwo is 2 on MariaDB, which alone looks into a comment that begins with M!.
const oneOrTwo = "1 /*M! + 1 */"

// isMariaDB tells MariaDB from MySQL by either sign: the version can be set to any text, and a proxy between may leave
// comments out. Taken for MySQL, MariaDB would log the new password in clear.
func isMariaDB(oneOrTwo, version string) bool {
	return oneOrTwo == "2" || strings.Contains(version, "MariaDB")
}

// Change changes the password, and ends a second one, which RETAIN CURRENT PASSWORD of MySQL 8.0.14 and later leaves.
func (r *rotation) Change(ctx context.Context) error {
	text, argument := statement(r.found.mariaDB, r.request.RotateUser.NewPassword)
	if err := r.session.bound(ctx, r.server, r.found); err != nil {
		return r.boundFailure(err)
	}
	start := time.Now()
	r.server.SetState(connector.MaybeChanged)
	err := r.session.exec(ctx, text, r.target.name, r.target.host, argument)
	if err != nil {
		return r.changeFailure(ctx, err, time.Since(start))
	}
	if r.session.wire.warnings > 0 { // what IF EXISTS makes of an error
		warned, err := r.session.warned(ctx)
		if err != nil {
			return r.unread(err)
		}
		if number := refusal(warned); number != 0 {
			return r.changeFailure(ctx, &mysql.MySQLError{Number: number}, time.Since(start))
		}
	}
	r.server.SetState(connector.Changed)
	if !r.found.mariaDB && atLeast(r.found.version, 8, 0, 14) {
		if err := r.session.exec(ctx, "ALTER USER IF EXISTS ?@? DISCARD OLD PASSWORD", r.target.name, r.target.host); err != nil {
			r.note = "a secondary password of the account, if it has one, is still valid: DISCARD OLD PASSWORD failed (" + described(err) + ")"
		}
	}
	return nil
}

// statement is the change as the server gets it: MySQL's form keeps the account's plugin, and its logs hold a hash.
// MariaDB would write the password in clear into its binary log, so it gets the hash of mysql_native_password. IF EXISTS
// goes into the binary log too: a replica that lacks the account, and would stop without it, goes on.
func statement(mariaDB bool, password event.Secret) (text, argument string) {
	if mariaDB {
		return "ALTER USER IF EXISTS ?@? IDENTIFIED BY PASSWORD ?", nativeHash(password)
	}
	return "ALTER USER IF EXISTS ?@? IDENTIFIED BY ?", password.Reveal()
}

// nativeHash is * and the hexadecimal SHA-1 of the SHA-1 of the password.
func nativeHash(password event.Secret) string {
	once := sha1.Sum([]byte(password.Reveal()))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

// warned are the numbers of the last statement's warnings.
func (c *conn) warned(ctx context.Context) ([]uint16, error) {
	const most = 16
	rows, err := c.rows(ctx, most, "SHOW WARNINGS")
	if err == nil && len(rows) == 0 { // max_error_count is 0: there was one, and the server keeps none
		err = errNoRow
	}
	var numbers []uint16
	for _, row := range rows {
		if len(row) > 1 {
			if number, err := strconv.ParseUint(row[1], 10, 16); err == nil {
				numbers = append(numbers, uint16(number))
			}
		}
	}
	return numbers, err
}

// Settle ends the session that may still be at the change, and waits until the server has no such session. A user may
// see and end its own sessions (https://dev.mysql.com/doc/refman/8.4/en/kill.html).
func (r *rotation) Settle(ctx context.Context, address netip.AddrPort) error {
	if r.found.thread == "" {
		return r.server.Fail(r.server.Address()+": the server did not tell which session made the change", "")
	}
	session, err := login(ctx, r.server, address, connector.StageLogin, r.managing(*r.request.ManagingUser), "")
	if err != nil {
		return r.loginFailure(err)
	}
	defer session.Close()
	own, err := session.row(ctx, 1, "SELECT CONNECTION_ID()")
	if err != nil {
		return broken(r.server, err)
	}
	copies, err := session.rows(ctx, 1, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'innodb_read_only') AND Value = 'ON'")
	switch {
	case err != nil:
		return broken(r.server, err)
	case len(copies) > 0: // whose sessions are others, and whose passwords may be older
		return r.readOnly()
	}
	for tries := 1; ; tries++ {
		const most = 5000
		sessions, err := session.rows(ctx, most, "SHOW PROCESSLIST")
		if err != nil {
			return broken(r.server, err)
		}
		of := func(thread string) string { // the user of a session, "" where there is none
			const id, user, columns = 0, 1, 2
			for _, row := range sessions {
				if len(row) >= columns && row[id] == thread {
					return row[user]
				}
			}
			return ""
		}
		switch user := of(own[0]); {
		case len(sessions) == most || user == "": // a proxy's list, perhaps
			return r.server.Fail(r.server.Address()+": the server does not tell which sessions there are", lookUp)
		case of(r.found.thread) == "":
			return nil
		case of(r.found.thread) != user: // a server that restarted, or another one, gives the numbers anew
			return r.server.Fail(r.server.Address()+": the number of the change's session is another user's here", "")
		}
		if tries == 1 {
			_ = session.exec(ctx, "KILL "+r.found.thread) // what it does is seen in the list
		}
		if !connector.Pause(ctx, tries) {
			return r.server.Fail(r.server.Address()+": the server is still at the change", "")
		}
	}
}

// Login logs in as the rotated user.
func (r *rotation) Login(ctx context.Context, address netip.AddrPort, password event.Secret) (connector.Outcome, error) {
	r.server.SetStage(connector.StageProve)
	skipped := func(why string) (connector.Outcome, error) {
		return connector.Outcome{Proof: connector.ProofSkipped, Message: "ok", Note: why}, nil
	}
	done := connector.Outcome{Proof: connector.ProofDone, Message: "ok"}
	if !r.target.admits(r.found.client) {
		return skipped(fmt.Sprintf("the account %s does not let in this function, which the server sees as %s", r.target, seen(r.found.client)))
	}
	session, err := login(ctx, r.server, address, connector.StageProve, credential{name: r.target.name, password: password}, "")
	if err != nil {
		if proof := lookup(causesOfLogin, number(err), r.target, ""); proof.means == proved {
			done.Note = fmt.Sprintf("the server took the password, and then: %s (error %d)", proof.why, proof.number)
			return done, nil
		}
		return connector.Outcome{}, r.proofFailure(err)
	}
	defer session.Close()
	row, err := session.row(ctx, 1, "SELECT CAST(CURRENT_USER() AS BINARY)") // as it is, whatever the session's character set
	if err != nil {
		done.Note = "the server took the password, and then did not tell the account (" + described(err) + ")"
		return done, nil
	}
	if !r.target.is(row[0]) {
		host := "another host"
		if _, of := event.SplitAccount(row[0]); len(of) <= longestHost && looksNumeric(of) {
			host = "the host " + of
		}
		return skipped(fmt.Sprintf("from this function, the login as %s is one to the account of that name for %s, which shadows %s", r.target.name, host, r.target))
	}
	return done, nil
}
