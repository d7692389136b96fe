package mysql

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"esc-connector-lambda-go/lambda/connector"
)

// ready readies the session in one round trip. Names and passwords are UTF-8, whatever the server or its init_connect
// says, and its modes, which change how literals are read, are none. The bound is for both products: MariaDB alone looks
// into a comment that begins with M!.
func (c *conn) ready(ctx context.Context, server *connector.Server) (bounded time.Time, err error) {
	limit, err := server.ServerBound(ctx, leastOnMariaDB)
	if err != nil {
		return time.Time{}, err
	}
	start := time.Now()
	locks, innoDB, statement := limits(limit)
	err = c.set(ctx, "character_set_client = utf8mb4, character_set_connection = utf8mb4, character_set_results = utf8mb4, sql_mode = '', sql_notes = 1, "+
		locks+" /*M! , "+statement+" */", innoDB)
	// MySQL's least bound is a second. A short one is set again when the server is known.
	if limit >= time.Second {
		bounded = start.Add(limit / 10)
	}
	return bounded, err
}

// bound has the server give the change up in time: by the wait for a lock on both, and on MariaDB by the time of the
// whole statement.
func (c *conn) bound(ctx context.Context, server *connector.Server, found *findings) error {
	if time.Now().Before(found.bounded) {
		return nil
	}
	least := time.Second
	if found.mariaDB {
		least = leastOnMariaDB
	}
	limit, err := server.ServerBound(ctx, least)
	if err != nil {
		return err
	}
	locks, innoDB, statement := limits(limit)
	if found.mariaDB {
		locks += ", " + statement
	}
	return c.set(ctx, locks, innoDB)
}

// leastOnMariaDB is the shortest bound there: max_statement_time knows fractions of a second.
const leastOnMariaDB = 50 * time.Millisecond

// limits are assignments of a bound to variables of the session. MySQL keeps the accounts in InnoDB.
func limits(limit time.Duration) (locks, innoDB, statement string) {
	seconds := max(1, int(limit.Seconds()))
	return fmt.Sprintf("lock_wait_timeout = %d", seconds), fmt.Sprintf("innodb_lock_wait_timeout = %d", seconds),
		fmt.Sprintf("max_statement_time = %.3f", limit.Seconds())
}

// set assigns to variables of the session. A server without InnoDB has none of its variables, and then refuses all.
func (c *conn) set(ctx context.Context, assignments, innoDB string) error {
	err := c.exec(ctx, "SET "+assignments+", "+innoDB)
	if number(err) == unknownVariable {
		err = c.exec(ctx, "SET "+assignments)
	}
	return err
}

// atLeast compares a version such as 8.0.36-log.
func atLeast(version string, least ...int) bool {
	for i, part := range strings.SplitN(version, ".", len(least)) {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		number, err := strconv.Atoi(digits)
		if err != nil || number < least[i] {
			return false
		}
		if number > least[i] {
			return true
		}
	}
	return true
}
