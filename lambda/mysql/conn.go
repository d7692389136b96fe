package mysql

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
)

// conn is a connection to a MySQL or MariaDB server, logged in.
type conn struct {
	driver.Conn
	server *connector.Server
	tls    *tls.ConnectionState
}

// login connects at an address and logs in by the server's terms.
func login(ctx context.Context, server *connector.Server, address netip.AddrPort, stage connector.Stage, username string, password connector.Secret, database string) (*conn, error) {
	c := &conn{server: server}
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", server.Address()
	config.User, config.Passwd, config.DBName = username, password.Reveal(), database
	config.InterpolateParams = true
	config.Logger = &mysql.NopLogger{}
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		plain, err := server.Dial(ctx, address)
		if err != nil {
			return nil, err
		}
		next := stage
		if server.TLS != nil {
			next = connector.StageTLS
		}
		return &greeted{Conn: plain, after: func() { server.SetStage(next) }}, nil
	}
	if config.TLS = server.Config(); config.TLS != nil {
		verify := config.TLS.VerifyConnection
		config.TLS.VerifyConnection = func(state tls.ConnectionState) error {
			c.tls = &state
			if verify != nil {
				if err := verify(state); err != nil {
					return err
				}
			}
			server.SetStage(stage)
			return nil
		}
	}
	connects, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	c.Conn, err = connects.Connect(ctx)
	return c, err
}

// greeted tells of the first bytes that come: the server's greeting.
type greeted struct {
	net.Conn
	after func()
}

func (g *greeted) Read(buffer []byte) (int, error) {
	n, err := g.Conn.Read(buffer)
	if n > 0 && g.after != nil {
		g.after()
		g.after = nil
	}
	return n, err
}

func named(arguments []string) []driver.NamedValue {
	values := make([]driver.NamedValue, len(arguments))
	for i, argument := range arguments {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: argument}
	}
	return values
}

// exec runs a statement with the arguments as literals in it.
func (c *conn) exec(ctx context.Context, statement string, arguments ...string) error {
	_, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, statement, named(arguments))
	return err
}

// rows runs a query and is its rows as text. NULL is "".
func (c *conn) rows(ctx context.Context, query string, arguments ...string) ([][]string, error) {
	result, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, named(arguments))
	if err != nil {
		return nil, err
	}
	defer result.Close()
	var all [][]string
	values := make([]driver.Value, len(result.Columns()))
	for {
		err := result.Next(values)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
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
}

// row is the first row of a query with that many columns.
func (c *conn) row(ctx context.Context, columns int, query string) ([]string, error) {
	all, err := c.rows(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 || len(all[0]) < columns {
		return nil, errNoRow
	}
	return all[0], nil
}

var errNoRow = errors.New("the server answered with no row")

// number is the number of a server's error, 0 for errors that are not the server's.
func number(err error) uint16 {
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		return refused.Number
	}
	return 0
}

// broken is the failure of a connection that broke.
func broken(server *connector.Server, stage connector.Stage, err error, took time.Duration) *connector.Failure {
	if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) {
		err = io.ErrUnexpectedEOF
	}
	if server.Stage() == connector.StageTLS {
		return server.TLSFailure(err, took)
	}
	return server.Broken(stage, err, took)
}

// greeting is what a server says before any login.
type greeting struct {
	version string
	tls     *tls.ConnectionState
}

// greet reads the server's greeting at an address and, by the server's terms, goes on to TLS. It does not log in.
func greet(ctx context.Context, server *connector.Server, address netip.AddrPort) (*greeting, error) {
	start := time.Now()
	plain, err := server.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	defer context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })()
	packet, err := readPacket(plain)
	if err != nil {
		return nil, server.Broken(connector.StageConnect, err, time.Since(start))
	}
	// Protocol::HandshakeV10 begins with a 10, the version and a NUL; an error packet with 255 and its number (MySQL's
	// source documentation, page "Connection Phase Packets").
	if len(packet) > 2 && packet[0] == 0xff {
		return nil, turnedAway(server, connector.StageConnect, binary.LittleEndian.Uint16(packet[1:]), time.Since(start))
	}
	version, rest, ok := bytes.Cut(packet, []byte{0})
	if !ok || packet[0] != 10 || len(rest) < 4+8+1+2 {
		return nil, notMySQL(server)
	}
	found := &greeting{version: strings.TrimPrefix(string(version[1:]), "5.5.5-")} // MariaDB's prefix for old replicas
	if server.TLS == nil {
		return found, nil
	}
	const clientSSL, clientProtocol41, clientSecureConnection = 0x800, 0x200, 0x8000
	server.SetStage(connector.StageTLS)
	if binary.LittleEndian.Uint16(rest[4+8+1:])&clientSSL == 0 {
		return nil, server.NoTLS()
	}
	request := make([]byte, 4+32) // Protocol::SSLRequest: capabilities, largest packet, character set, filler
	copy(request, []byte{32, 0, 0, 1})
	binary.LittleEndian.PutUint32(request[4:], clientSSL|clientProtocol41|clientSecureConnection)
	binary.LittleEndian.PutUint32(request[8:], 1<<24)
	request[12] = 45 // utf8mb4_general_ci
	if _, err := plain.Write(request); err != nil {
		return nil, server.Broken(connector.StageTLS, err, time.Since(start))
	}
	encrypted, err := server.Encrypt(ctx, plain)
	if err != nil {
		return nil, err
	}
	state := encrypted.ConnectionState()
	found.tls = &state
	return found, nil
}

func readPacket(from io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	packet := make([]byte, int(header[0])|int(header[1])<<8|int(header[2])<<16)
	_, err := io.ReadFull(from, packet)
	return packet, err
}

func notMySQL(server *connector.Server) *connector.Failure {
	return &connector.Failure{Stage: connector.StageConnect, State: connector.Unchanged,
		Why: server.Address() + ": what answers is no MySQL or MariaDB server",
		Fix: "Check type, host and port: PostgreSQL needs fn::rotate::postgres"}
}
