package mysql

import (
	"context"
	"slices"
	"strings"
)

// needs are the privileges that a user is to have, on the whole server and on the database.
type needs struct{ everywhere, database []string }

// grant is what a GRANT statement gives.
type grant struct {
	privileges []string
	on         string // as SQL writes it
}

// String is the grant as SQL writes it.
func (g grant) String() string { return strings.Join(g.privileges, ", ") + " ON " + g.on }

// naming is how the server reads the name of a database in a grant.
type naming struct {
	// literal: as it is written. MySQL does so with partial_revokes; seen on 9.7, there `my\_app` is not the database my_app.
	literal bool
	// folds: without regard to case (lower_case_table_names).
	folds bool
}

// pattern is what a grant on the database alone names.
func (n naming) pattern(database string) string {
	if n.folds {
		database = strings.ToLower(database)
	}
	if n.literal {
		return database
	}
	return strings.NewReplacer(`\`, `\\`, "_", `\_`, "%", `\%`).Replace(database)
}

// matches reports whether a grant on what it names is one on the database.
func (n naming) matches(pattern, database string) bool {
	if n.folds {
		pattern, database = strings.ToLower(pattern), strings.ToLower(database)
	}
	if n.literal {
		return pattern == database
	}
	return like(database, pattern)
}

// holding is what an account has.
type holding struct {
	everywhere []string
	// databases are the privileges by each name or pattern that is of the database, grantOption among them.
	databases map[string][]string
}

const grantOption = "GRANT OPTION"

// repeatable are the privileges on a database that can be given once more: all that MySQL and MariaDB have, but for the right to
// give them to others.
var repeatable = []string{
	"ALTER", "ALTER ROUTINE", "CREATE", "CREATE ROUTINE", "CREATE TEMPORARY TABLES", "CREATE VIEW", "DELETE", "DELETE HISTORY", "DROP", "EVENT", "EXECUTE",
	"INDEX", "INSERT", "LOCK TABLES", "REFERENCES", "SELECT", "SHOW CREATE ROUTINE", "SHOW VIEW", "TRIGGER", "UPDATE",
}

// holds reads what an account has, and whether it is there. Whoever may not read the database mysql is refused by SHOW GRANTS,
// and sees nothing but itself in information_schema.
func (c *conn) holds(ctx context.Context, a account, database string, names naming) (held holding, there bool, err error) {
	if _, err := c.rows(ctx, 1, "SHOW GRANTS FOR "+a.sql()); err != nil {
		if number(err) == noGrants {
			err = nil
		}
		return holding{}, false, err
	}
	grantee := "'" + a.name + "'@'" + a.host + "'" // nothing is escaped there, and a comparison knows no case
	read := func(database, table string) (own [][]string, err error) {
		const most, columns = 10_000, 4
		rows, err := c.table(ctx, most, columns, "SELECT CAST(GRANTEE AS BINARY), "+database+", PRIVILEGE_TYPE, IS_GRANTABLE FROM information_schema."+table+" WHERE GRANTEE = ?", grantee)
		for _, row := range rows {
			if err == nil && strings.HasPrefix(row[0], "'"+a.name+"'@") && strings.EqualFold(row[0], grantee) {
				own = append(own, row[1:])
			}
		}
		return own, err
	}
	rows, err := read("'*'", "USER_PRIVILEGES")
	if err != nil {
		return holding{}, false, err
	}
	for _, row := range rows {
		held.everywhere = append(held.everywhere, row[1])
	}
	if rows, err = read("CAST(TABLE_SCHEMA AS BINARY)", "SCHEMA_PRIVILEGES"); err != nil {
		return holding{}, false, err
	}
	held.databases = map[string][]string{}
	for _, row := range rows {
		pattern, privilege, grantable := row[0], row[1], row[2]
		if !names.matches(pattern, database) {
			continue
		}
		has := append(held.databases[pattern], privilege)
		if grantable == "YES" {
			has = append(has, grantOption)
		}
		held.databases[pattern] = has
	}
	return held, true, nil
}

// lacking are the grants that are needed and not there. Of an account's grants on databases a server looks at the one that
// names the database best, and at no other (MySQL's manual, "Access Control, Stage 2: Request Verification"): a new one
// on this database alone would take away what a wider one gives, and so it repeats that. clear is false where it cannot.
func (n needs) lacking(held holding, database string, names naming) (lacks []grant, clear bool) {
	if missing := without(n.everywhere, held.everywhere); len(missing) > 0 {
		lacks = append(lacks, grant{missing, "*.*"})
	}
	own := names.pattern(database)
	needed := without(n.database, held.everywhere)
	missing := without(needed, held.databases[own])
	if _, alone := held.databases[own]; !alone && len(held.databases) > 0 {
		var has []string
		missing = nil
		for _, has = range held.databases {
			missing = append(missing, without(needed, has)...)
		}
		if len(missing) > 0 {
			if len(held.databases) > 1 || len(without(has, repeatable)) > 0 {
				return nil, false
			}
			missing = append(slices.Clone(has), missing...)
		}
	}
	if len(missing) > 0 {
		lacks = append(lacks, grant{missing, quoted(own) + ".*"})
	}
	return lacks, true
}

// without are the texts that are not among others.
func without(texts, others []string) (left []string) {
	for _, text := range texts {
		if !slices.Contains(others, text) {
			left = append(left, text)
		}
	}
	return left
}
