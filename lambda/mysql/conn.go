package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// conn is a connection to a MySQL or MariaDB server, logged in.
type conn struct {
	driver.Conn
	wire *wire
}

// credential is who logs in, and by what.
type credential struct {
	name     string
	password event.Secret
	// token makes what goes to the server in a password's place, where that asks for it in clear (mysql_clear_password) and for
	// nothing else. nil for a password, which never does.
	token func() (event.Secret, error)
}

// managing is the credential of a managing user: a token where it logs in by RDS IAM authentication.
func (v *visit) managing(user event.ManagingUser) credential {
	name := parseAccount(user.Username).name
	if v.server.IAM {
		return credential{name: name, token: func() (event.Secret, error) { return v.server.Token(name) }}
	}
	return credential{name: name, password: user.Password}
}

// login connects at an address and logs in by the server's terms.
func login(ctx context.Context, server *connector.Server, address netip.AddrPort, stage connector.Stage, by credential, database string) (c *conn, err error) {
	wire, err := dial(ctx, server, address, stage, by)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			wire.Close()
		}
	}()
	defer wire.recovered(&err)
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", server.Address()
	if server.TLS != nil {
		config.Net = "unix" // the driver's word for a connection on which a server that asks for the password gets it
	}
	config.User, config.Passwd, config.DBName = by.name, by.password.Reveal(), database
	config.AllowCleartextPasswords = by.token != nil // which the driver never gets: wire puts it into the driver's packet
	config.InterpolateParams = true
	config.Logger = &mysql.NopLogger{}
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return wire, nil }
	connects, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	session, err := connects.Connect(ctx)
	if err != nil {
		return nil, wire.cause(err)
	}
	return &conn{session, wire}, nil
}

func named(arguments []string) []driver.NamedValue {
	values := make([]driver.NamedValue, len(arguments))
	for i, argument := range arguments {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: argument}
	}
	return values
}

// exec runs a statement with the arguments as literals in it.
func (c *conn) exec(ctx context.Context, statement string, arguments ...string) (err error) {
	defer c.wire.recovered(&err)
	_, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, statement, named(arguments))
	return c.wire.cause(err)
}

// rows runs a query and is its rows as text, the first few of them. NULL is "".
func (c *conn) rows(ctx context.Context, few int, query string, arguments ...string) (all [][]string, err error) {
	defer c.wire.recovered(&err)
	// The driver no longer looks at ctx where it reads what is left of a result.
	defer context.AfterFunc(ctx, func() { c.wire.Close() })()
	result, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, named(arguments))
	if err != nil {
		return nil, c.wire.cause(err)
	}
	defer result.Close()
	values := make([]driver.Value, len(result.Columns()))
	for len(all) < few {
		err := result.Next(values)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, c.wire.cause(err)
		}
		row := make([]string, len(values))
		for i, value := range values {
			switch value := value.(type) {
			case nil:
			case []byte:
				row[i] = string(value)
			default:
				row[i] = fmt.Sprint(value)
			}
		}
		all = append(all, row)
	}
	return all, nil
}

// table is rows of that many columns.
func (c *conn) table(ctx context.Context, few, columns int, query string, arguments ...string) ([][]string, error) {
	all, err := c.rows(ctx, few, query, arguments...)
	if err == nil && slices.ContainsFunc(all, func(row []string) bool { return len(row) != columns }) {
		err = errMalformed
	}
	return all, err
}

// row is the first row of a query with that many columns.
func (c *conn) row(ctx context.Context, columns int, query string) ([]string, error) {
	all, err := c.rows(ctx, 1, query)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 || len(all[0]) < columns {
		return nil, errNoRow
	}
	return all[0], nil
}

var errNoRow = errors.New("the server answered with no row")
