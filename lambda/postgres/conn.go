package postgres

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"esc-connector-lambda-go/lambda/connector"
)

// conn is a connection to PostgreSQL, logged in. It stands on pgproto3, the message layer of pgx, and not on pgconn:
// a login there reads PG* variables and files, prepares passwords in another way than PostgreSQL, and works through as
// many SCRAM iterations as the server likes.
type conn struct {
	net      net.Conn
	frontend *pgproto3.Frontend
	server   *connector.Server
	user     string // who logs in
	stop     func() bool
	tls      *tls.ConnectionState
	status   byte // of the last ReadyForQuery: I idle, T in a transaction, E in a failed one

	// byToken: the login is one by a token. tokenSent: the server has asked for it, and got it.
	byToken, tokenSent bool
	// accepted: the server has taken the password. What it says from then on comes after authentication.
	accepted   bool
	version    string
	iterations int // scram_iterations as far as the server has told
}

// errMethod is the error for a login by something else than SCRAM or md5.
type errMethod string

func (e errMethod) Error() string { return "the server asks for " + string(e) }

// errTrust is the error for a server that lets the user in without a proof of the password.
const errTrust = errMethod("no password (trust in pg_hba.conf)")

// serverError is an error message of the server. Its own words are left out: they may hold anything.
type serverError struct {
	code    string // SQLSTATE, the manual's appendix A
	routine string // the function of the server that raised it
	ended   bool   // the session ended with it
}

func (e *serverError) Error() string { return "SQLSTATE " + e.code }

// errNoRow is the error for an answer without what was asked for, as SQLSTATE has it.
var errNoRow = &serverError{code: "02000"}

// maxMessage bounds a message of the server: none that is asked for comes near.
const maxMessage = 1 << 20

// dial opens a connection at an address by the server's terms, before any login. Errors are *connector.Failure.
func dial(ctx context.Context, server *connector.Server, address netip.AddrPort) (*conn, error) {
	plain, err := server.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c := &conn{net: plain, server: server, iterations: defaultIterations}
	c.within(ctx)
	if server.TLS != nil {
		if err := c.encrypt(ctx); err != nil {
			c.close()
			return nil, err
		}
	}
	c.frontend = pgproto3.NewFrontend(c.net, c.net)
	c.frontend.SetMaxBodyLen(maxMessage)
	return c, nil
}

// within has ctx end what waits on the connection from now on.
func (c *conn) within(ctx context.Context) {
	c.stop = context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
}

// askTLS asks whether the server speaks TLS: S for yes, N for no.
func (c *conn) askTLS() (byte, error) {
	c.server.SetStage(connector.StageTLS)
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		return 0, err
	}
	if _, err := c.net.Write(request); err != nil {
		return 0, c.server.Broken(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(c.net, answer); err != nil {
		return 0, c.server.Broken(err)
	}
	return answer[0], nil
}

func (c *conn) encrypt(ctx context.Context) error {
	answer, err := c.askTLS()
	if err != nil {
		return err
	}
	switch answer {
	case 'S':
	case 'N':
		return c.server.NoTLS()
	case 'E': // a server too busy to start a process for us
		if sqlState, ok := c.readEarlyError(); ok {
			known := causeOf(&serverError{code: sqlState}, atDoor)
			failure := c.server.Fail(fmt.Sprintf("%s: %s (%s)", c.server.Address(), known.why, code(&serverError{code: sqlState})), known.fix)
			failure.Transient = known.transient
			return failure
		}
		return c.noPostgres()
	default:
		return c.noPostgres()
	}
	encrypted, err := c.server.Encrypt(ctx, c.net)
	if err != nil {
		return err
	}
	state := encrypted.ConnectionState()
	c.net, c.tls = encrypted, &state
	return nil
}

func (c *conn) noPostgres() *connector.Failure {
	return c.server.Fail(c.server.Address()+": what answers is no PostgreSQL server", "Check type, host and port: MySQL and MariaDB need fn::rotate::mysql")
}

// readEarlyError reads the SQLSTATE of an error message whose first byte is read already. It is not ok where that is no
// message of PostgreSQL's.
func (c *conn) readEarlyError() (sqlState string, ok bool) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(c.net, header); err != nil {
		return "", false
	}
	// A server that cannot start a process says so in plain text, "could not fork new process for connection".
	if string(header) == "coul" {
		return "53300", true
	}
	length := binary.BigEndian.Uint32(header) // of the message with these four bytes
	if length < 4 || length > maxMessage {
		return "", false
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(c.net, body); err != nil {
		return "", false
	}
	for _, field := range strings.Split(string(body), "\x00") {
		if strings.HasPrefix(field, "C") && len(field) == 6 {
			return field[1:], true
		}
	}
	return "", false
}

// login authenticates by SCRAM-SHA-256 or md5, or by a token and nothing else, and waits until the server is ready. The error
// is a *serverError, an errMethod, errIterations, errSCRAM, a *connector.Failure, or that of the network.
func (c *conn) login(username string, secret *password, database, application string) error {
	c.user = username
	c.frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": username, "database": database, "client_encoding": "UTF8", "application_name": application,
	}})
	if err := c.frontend.Flush(); err != nil {
		return err
	}
	c.byToken = secret.token != nil
	asked := false // the server has seen a proof of the password
	var exchange *exchange
	for {
		message, err := c.frontend.Receive()
		if err != nil {
			return err
		}
		switch message := message.(type) {
		case *pgproto3.AuthenticationOk:
			if !asked || exchange != nil {
				return errTrust
			}
			c.accepted = true
		case *pgproto3.AuthenticationMD5Password:
			if c.byToken {
				return errMethod("a password (md5)")
			}
			asked = true
			c.frontend.Send(&pgproto3.PasswordMessage{Password: "md5" + hexMD5(hexMD5(secret.Reveal()+username)+string(message.Salt[:]))})
		case *pgproto3.AuthenticationSASL:
			if c.byToken {
				return errMethod("a password (scram-sha-256)")
			}
			var mechanism string
			if exchange, mechanism, err = newExchange(secret, message.AuthMechanisms, c.tls); err != nil {
				return err
			}
			asked = true
			c.frontend.Send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: exchange.clientFirst()})
		case *pgproto3.AuthenticationSASLContinue:
			if exchange == nil {
				return errSCRAM
			}
			final, err := exchange.clientFinal(string(message.Data))
			if err != nil {
				return err
			}
			c.frontend.Send(&pgproto3.SASLResponse{Data: final})
		case *pgproto3.AuthenticationSASLFinal:
			if exchange == nil {
				return errSCRAM
			}
			if err := exchange.verify(string(message.Data)); err != nil {
				return err
			}
			exchange = nil
		case *pgproto3.AuthenticationCleartextPassword:
			if !c.byToken {
				return errMethod("the password in clear (password, ldap, pam or radius in pg_hba.conf; rds_iam on RDS)")
			}
			if c.tokenSent {
				return errMethod("it a second time")
			}
			token, err := secret.token()
			if err != nil {
				return err
			}
			asked, c.tokenSent = true, true
			c.frontend.Send(&pgproto3.PasswordMessage{Password: token.Reveal()})
		case *pgproto3.AuthenticationGSS:
			return errMethod("Kerberos (gss in pg_hba.conf)")
		case *pgproto3.ParameterStatus:
			switch message.Name {
			case "server_version":
				c.version = message.Value
			case "scram_iterations": // from PostgreSQL 16 on
				c.iterations, _ = strconv.Atoi(message.Value)
			}
		case *pgproto3.ErrorResponse:
			return &serverError{code: message.Code, routine: message.Routine, ended: true}
		case *pgproto3.ReadyForQuery:
			if !c.accepted {
				return errSCRAM
			}
			c.status = message.TxStatus
			return nil
		case *pgproto3.BackendKeyData, *pgproto3.NoticeResponse, *pgproto3.NegotiateProtocolVersion:
		default:
			return errMethod(fmt.Sprintf("a way to log in that the connector does not know (%T)", message))
		}
		if err := c.frontend.Flush(); err != nil {
			return err
		}
	}
}

// begin are the words that begin a transaction, and end one that failed.
func (c *conn) begin() string {
	if c.status == 'I' {
		return "BEGIN; "
	}
	return "ROLLBACK; BEGIN; "
}

// exec runs statements as one simple-query message.
func (c *conn) exec(statements string) error {
	c.frontend.Send(&pgproto3.Query{String: statements})
	err := c.frontend.Flush()
	if err == nil {
		_, err = c.results()
	}
	return err
}

// row runs statements, a query with parameters as text, and a last statement unless that is empty, all in one round trip. It
// answers the query's first row as text; NULL is "". After an error the connection is of no more use.
func (c *conn) row(statements, text string, parameters []string, last string) (row []string, err error) {
	values := make([][]byte, len(parameters))
	for i, parameter := range parameters {
		values[i] = []byte(parameter)
	}
	c.frontend.Send(&pgproto3.Query{String: statements})
	c.frontend.Send(&pgproto3.Parse{Query: text})
	c.frontend.Send(&pgproto3.Bind{Parameters: values})
	c.frontend.Send(&pgproto3.Execute{})
	c.frontend.Send(&pgproto3.Sync{})
	if last != "" {
		c.frontend.Send(&pgproto3.Query{String: last})
	}
	if err := c.frontend.Flush(); err != nil {
		return nil, err
	}
	if _, err := c.results(); err != nil {
		return nil, err
	}
	if row, err = c.results(); err != nil || last == "" {
		return row, err
	}
	_, err = c.results()
	return row, err
}

// results reads until the server is ready again, and answers the first row, nil if there is none.
func (c *conn) results() (row []string, err error) {
	var refused *serverError
	for {
		message, err := c.frontend.Receive()
		if err != nil {
			// A FATAL error comes first and the end of the connection right after: the error is the reason.
			if refused != nil {
				refused.ended = true
				return nil, refused
			}
			return nil, err
		}
		switch message := message.(type) {
		case *pgproto3.DataRow:
			if row == nil {
				for _, value := range message.Values {
					row = append(row, string(value))
				}
			}
		case *pgproto3.ErrorResponse:
			refused = &serverError{code: message.Code, routine: message.Routine}
		case *pgproto3.ReadyForQuery:
			c.status = message.TxStatus
			if refused != nil {
				return nil, refused
			}
			return row, nil
		}
	}
}

// close says goodbye, without waiting.
func (c *conn) close() {
	c.stop()
	if c.frontend != nil {
		_ = c.net.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		c.frontend.Send(&pgproto3.Terminate{})
		_ = c.frontend.Flush()
	}
	_ = c.net.Close()
}
