package event

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a text of an event may be.
type kind int

const (
	aHost kind = iota
	aName
	aUser // on MySQL, of an account user@host
	aPassword
)

// text is one of an event's.
type text struct {
	field, value string
	kind         kind
	needed       bool
}

// texts are those that are given or needed. The current password of a rotated user is neither: it only serves to find
// out what became of a change.
func (r Request) texts() []text {
	all := []text{{"host", r.Host, aHost, true}, {"database", r.Database, aName, !r.DryRun || r.Prepare != nil}}
	if prepare := r.Prepare; prepare != nil {
		all = append(all,
			text{"prepare.masterUser.username", prepare.MasterUser.Username, aUser, true},
			text{"prepare.masterUser.password", prepare.MasterUser.Password.Reveal(), aPassword, true},
			text{"prepare.managingUser.username", prepare.ManagingUser.Username, aUser, true},
			text{"prepare.managingUser.password", prepare.ManagingUser.Password.Reveal(), aPassword, prepare.ManagingUser.Authentication == ""},
			text{"prepare.applicationRole", prepare.ApplicationRole, aName, false})
		return append(all, users("prepare.rotateUsers", prepare.RotateUsers)...)
	}
	managing, rotate := r.ManagingUser, r.RotateUser
	if !r.DryRun {
		if managing == nil {
			managing = &ManagingUser{}
		}
		if rotate == nil {
			rotate = &RotateUser{}
		}
	}
	if managing != nil {
		all = append(all, text{"managingUser.username", managing.Username, aUser, true}, text{"managingUser.password", managing.Password.Reveal(), aPassword, false})
	}
	if rotate != nil {
		all = append(all, text{"rotateUser.username", rotate.Username, aUser, true}, text{"rotateUser.newPassword", rotate.NewPassword.Reveal(), aPassword, !r.DryRun})
	}
	return append(all, users("rotateUsers", r.RotateUsers)...)
}

// users are the texts of a list of users.
func users(field string, names []string) (all []text) {
	for i, name := range names {
		all = append(all, text{fmt.Sprintf("%s[%d]", field, i), name, aUser, true})
	}
	return all
}

// Check refuses, before any connection, what could not go well. The error is a *Refusal.
func (r Request) Check() error {
	if r.Type != TypePostgres && r.Type != TypeMySQL {
		return refuse("type %q is not known", ShownName(r.Type)).
			fix("Known are %s and %s (MySQL, Aurora MySQL and MariaDB): use fn::rotate::postgres or fn::rotate::mysql in the rotator environment", TypePostgres, TypeMySQL)
	}
	for _, rule := range []func() *Refusal{r.checkParts, r.checkTexts, r.checkAddress, r.checkUsers, r.checkPreparation} {
		if refusal := rule(); refusal != nil {
			return refusal
		}
	}
	return nil
}

// checkParts refuses parts that do not go together.
func (r Request) checkParts() *Refusal {
	list, field := r.RotateUsers, "rotateUsers"
	switch {
	case r.Prepare != nil && (r.ManagingUser != nil || r.RotateUser != nil || r.RotateUsers != nil):
		return refuse("prepare stands beside managingUser, rotateUser or rotateUsers").fix("Send it without them: the users that it is about stand within it")
	case r.Prepare != nil:
		list, field = r.Prepare.RotateUsers, "prepare.rotateUsers"
	case list == nil:
		return nil
	case !r.DryRun:
		return refuse("rotateUsers is for a dry run alone").fix("Name one user to rotate in rotateUser, or set dryRun to true")
	case r.RotateUser != nil:
		return refuse("rotateUsers stands beside rotateUser").fix("Send one of them")
	}
	if len(list) != 2 {
		return refuse("%s names %d users, and the passwords of two change in turn", field, len(list)).fix("Name two")
	}
	return nil
}

// checkTexts refuses what is missing, and what no host, user, database or password can be.
func (r Request) checkTexts() *Refusal {
	all := r.texts()
	for _, text := range all {
		if (text.kind == aName || text.kind == aUser) && isConnection(text.value) {
			return refuse("%s is a URL or a connection string, not a name", text.field).fix("Write the name alone")
		}
	}
	for _, text := range all {
		if text.kind == aUser && text.value != "" && r.loginName(text.value) == "" {
			return refuse("%s %q has no name before its @", text.field, text.value).fix("Write name or name@host")
		}
		if text.needed && text.value == "" {
			fix := "Fill it in, in the rotator environment or the managing credentials environment"
			switch {
			case r.Prepare != nil:
				fix = "Fill it in, in the settings of the stack"
			case text.field == "rotateUser.newPassword": // which nobody fills in
				fix = "Pulumi ESC makes one: rotate by pulumi env rotate. To look alone, set dryRun to true"
			}
			return refuse("%s is missing or empty", text.field).fix("%s", fix)
		}
	}
	for _, text := range all {
		if strings.ContainsRune(text.value, 0) {
			return refuse("%s holds a NUL character, which no database takes", text.field).fix("Remove it")
		}
		if strings.ContainsRune(text.value, utf8.RuneError) { // encoding/json reads what is no Unicode as that
			return refuse("%s is not valid Unicode, or holds the character U+FFFD that stands for what is not", text.field).fix("Correct it")
		}
	}
	return nil
}

// checkAddress refuses what no database listens at.
func (r Request) checkAddress() *Refusal {
	if fault := hostFault(r.Host); fault != "" {
		return refuse("host %q %s", ShownHost(r.Host), fault).fix("Write the database's endpoint alone, such as db.example or orders.abc123.eu-west-1.rds.amazonaws.com")
	}
	if r.Port < 1 || r.Port > 65535 {
		return refuse("port %d is not a port", r.Port).fix("A port is 1 to 65535: PostgreSQL's is usually 5432, MySQL's 3306")
	}
	if IsRDSProxy(r.Host) {
		return refuse("host %q is an RDS Proxy endpoint, which checks clients against its own secret in AWS Secrets Manager, so that a login through it cannot prove a password that was just changed", r.Host).
			fix("Use the writer endpoint of the database itself")
	}
	return nil
}

// IsRDSProxy reports whether a host is an RDS Proxy endpoint, such as orders.proxy-abc123.eu-west-1.rds.amazonaws.com (the RDS
// user guide's page "Connecting to a database through RDS Proxy"), or in China orders.proxy-abc123.rds.cn-north-1.amazonaws.com.cn.
func IsRDSProxy(host string) bool {
	host = strings.ToLower(host)
	return strings.Contains(host, ".proxy-") && strings.Contains(host, ".rds.") && strings.Contains(host, ".amazonaws.com")
}

// hostFault says why a host cannot be one, "" where it can.
func hostFault(host string) string {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return ""
	}
	_, _, portErr := net.SplitHostPort(host)
	switch {
	case strings.ContainsFunc(host, unicode.IsSpace):
		return "holds a blank or a line end"
	case strings.Contains(host, "://"):
		return "is a URL, not a host's name"
	case strings.ContainsAny(host, "/@?#"):
		return "holds more than a host's name"
	case strings.Contains(host, ","):
		return "names several hosts, and the connector takes one, the writer"
	case portErr == nil:
		return "holds a port, which has a field of its own"
	case strings.ContainsAny(host, ":[]"):
		return "is neither a host's name nor an address"
	}
	return ""
}

// checkUsers refuses a user that stands for two.
func (r Request) checkUsers() *Refusal {
	var all []text
	for _, text := range r.texts() {
		if (text.kind == aUser || text.field == "prepare.applicationRole") && text.value != "" {
			all = append(all, text)
		}
	}
	for i, later := range all {
		for _, earlier := range all[:i] {
			name := r.loginName(later.value)
			if r.loginName(earlier.value) != name || r.twoAccounts(earlier, later) {
				continue
			}
			first, _, _ := strings.Cut(earlier.field, ".username")
			second, _, _ := strings.Cut(later.field, ".username")
			if strings.HasSuffix(first, "managingUser") && strings.Contains(second, "rotateUser") {
				return refuse("%s and %s are both %q: a managing user that changes its own password would lock the connector out", first, second, name).
					fix("Name other users in rotateUsers, or another managing user")
			}
			return refuse("%s and %s are both %q, and each has to be another", first, second, name).fix("Name another for one of them")
		}
	}
	return nil
}

// twoAccounts reports whether users to rotate who share a name are two accounts of MySQL's, with different hosts. A preparation
// makes no such two.
func (r Request) twoAccounts(one, other text) bool {
	_, oneHost := SplitAccount(one.value)
	_, otherHost := SplitAccount(other.value)
	return r.Type == TypeMySQL && strings.HasPrefix(one.field, "rotateUsers[") && oneHost != otherHost
}

// loginName is the name that logs in: on MySQL, without the host of the account.
func (r Request) loginName(username string) string {
	if r.Type == TypeMySQL {
		name, _ := SplitAccount(username)
		return name
	}
	return username
}

// Privileges are those that a preparation may give to the users to rotate on MySQL and MariaDB, as SQL writes them: those of
// tables and routines (https://dev.mysql.com/doc/refman/8.4/en/grant.html), and no GRANT OPTION.
var Privileges = []string{
	"ALTER", "ALTER ROUTINE", "CREATE", "CREATE ROUTINE", "CREATE TEMPORARY TABLES", "CREATE VIEW", "DELETE", "DROP", "EXECUTE", "INDEX", "INSERT",
	"LOCK TABLES", "REFERENCES", "SELECT", "SHOW VIEW", "TRIGGER", "UPDATE",
}

// checkPreparation refuses what an engine has not, and names that it would take for others.
func (r Request) checkPreparation() *Refusal {
	prepare := r.Prepare
	if prepare == nil {
		return nil
	}
	switch manager := prepare.ManagingUser; {
	case manager.Authentication != "" && manager.Authentication != AuthenticationIAM:
		return refuse("prepare.managingUser.authentication is %q, which is not known", ShownName(manager.Authentication)).fix("Known is %s; without it the managing user has a password", AuthenticationIAM)
	case manager.Authentication != "" && manager.Password.Reveal() != "":
		return refuse("prepare.managingUser has a password beside authentication %s, by which it has none", manager.Authentication).fix("Send one of them")
	}
	blank := func(name string) bool { return strings.TrimSpace(name) != name }
	for _, text := range r.texts() { // it would be a part of the name that is made
		if (text.kind == aUser || text.kind == aName) && (blank(text.value) || text.kind == aUser && blank(r.loginName(text.value))) {
			return refuse("%s %q has a blank or a line end at an end", text.field, text.value).fix("Remove it: it may have been pasted along")
		}
	}
	if r.Type == TypeMySQL {
		if prepare.ApplicationRole != "" {
			return refuse("prepare.applicationRole is for PostgreSQL alone").fix("Name what both users may do with the database's tables in prepare.privileges")
		}
		for i, privilege := range prepare.Privileges {
			if !slices.Contains(Privileges, privilege) {
				return refuse("prepare.privileges[%d] is %q, which a preparation does not give", i, ShownName(privilege)).fix("Choose among %s", strings.Join(Privileges, ", "))
			}
		}
		return nil
	}
	if len(prepare.Privileges) > 0 {
		return refuse("prepare.privileges is for MySQL and MariaDB alone").fix("Name a role whose members both users become in prepare.applicationRole")
	}
	const longest = 63 // bytes, of which PostgreSQL takes no more without a word (NAMEDATALEN)
	for _, text := range r.texts() {
		switch {
		case text.kind != aUser && text.field != "prepare.applicationRole":
		case len(text.value) > longest:
			return refuse("%s %q is %d bytes long, of which PostgreSQL takes the first %d", text.field, text.value, len(text.value), longest).fix("Choose a shorter name")
		case strings.HasPrefix(text.value, "pg_"), text.value == "public", text.value == "none":
			return refuse("%s %q is a name that PostgreSQL keeps for itself", text.field, text.value).fix("Choose another name")
		}
	}
	return nil
}

// Hint is a sentence about what is unusual in fields that the database may have meant when it refused something: what the
// template fills in, and what is pasted along with a text. Any of it may be meant, so it is said only then. "" is nothing.
func (r Request) Hint(fields ...string) string {
	var held, hints []string
	for _, field := range fields {
		value, template := r.field(field)
		if slices.Contains(template, value) {
			held = append(held, field)
		}
		if strings.TrimSpace(value) != value {
			hints = append(hints, field+" begins or ends with a blank or a line end, which counts: was it pasted along?")
		}
		if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' && !strings.HasSuffix(field, "password") && r.Type == TypePostgres {
			hints = append(hints, field+" is in quotes, which count as a part of the name: write it without them")
		}
	}
	switch len(held) {
	case 0:
	case 1:
		hints = append(hints, held[0]+" is what the template fills in")
	default:
		hints = append(hints, strings.Join(held, " and ")+" are what the template fills in")
	}
	return strings.Join(hints, ". ")
}

// templates are what the template fills in.
var templates = map[string][]string{
	"database": {"rotator_db"}, "managingUser.username": {"managing_user"}, "managingUser.password": {"manager_password"}, "rotateUser.username": {"user1", "user2"},
}

// field is the value of a field, and what the template fills in there.
func (r Request) field(name string) (value string, template []string) {
	for _, text := range r.texts() {
		if text.field == name {
			return text.value, templates[name]
		}
	}
	return "", nil
}
