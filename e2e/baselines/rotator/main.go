// Command rotator is the least that a rotator can do with the connector's drivers: it logs in as the
// managing user and sends the new password. It checks nothing and explains nothing, and the server's
// log holds the password.
//
// ROTATOR_PROVE=1 adds a login as the rotated user, ROTATOR_CA, a PEM file, verified TLS. ROTATOR_CLEAR=1 lets MariaDB ask for
// the managing password in clear, which then is a token of RDS IAM authentication.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

type event struct {
	Type         string `json:"type"`
	Host         string `json:"host"`
	Port         int    `json:"port"`
	Database     string `json:"database"`
	ManagingUser struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"managingUser"`
	RotateUser struct {
		Username    string `json:"username"`
		NewPassword string `json:"newPassword"`
	} `json:"rotateUser"`
}

type answer struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func main() { lambda.Start(answered) }

func answered(ctx context.Context, e event) (answer, error) {
	return answer{200, "ok"}, rotate(ctx, e)
}

func rotate(ctx context.Context, e event) error {
	terms, err := encryption(e.Host)
	if err != nil {
		return err
	}
	engine := postgres
	if e.Type == "mysql" {
		engine = mariaDB
	}
	if err := engine(ctx, e, terms, e.ManagingUser.Username, e.ManagingUser.Password, true); err != nil {
		return err
	}
	if os.Getenv("ROTATOR_PROVE") == "" {
		return nil
	}
	return engine(ctx, e, terms, e.RotateUser.Username, e.RotateUser.NewPassword, false)
}

// encryption is nil for plain text.
func encryption(host string) (*tls.Config, error) {
	file := os.Getenv("ROTATOR_CA")
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}, nil
}

// postgres logs in and, if asked to, sets the rotated user's password.
func postgres(ctx context.Context, e event, terms *tls.Config, user, password string, change bool) error {
	config, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		return err
	}
	config.Host, config.Port, config.Database = e.Host, uint16(e.Port), e.Database
	config.User, config.Password, config.TLSConfig = user, password, terms
	connection, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	if !change {
		return nil
	}
	statement := fmt.Sprintf(`ALTER ROLE "%s" PASSWORD '%s'`, strings.ReplaceAll(e.RotateUser.Username, `"`, `""`),
		strings.ReplaceAll(e.RotateUser.NewPassword, `'`, `''`))
	return connection.Exec(ctx, statement).Close()
}

// mariaDB logs in and, if asked to, sets the rotated user's password.
func mariaDB(ctx context.Context, e event, terms *tls.Config, user, password string, change bool) error {
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
	config.User, config.Passwd, config.TLS, config.InterpolateParams = user, password, terms, true
	config.AllowCleartextPasswords = os.Getenv("ROTATOR_CLEAR") != ""
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	connection, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	if !change {
		return nil
	}
	_, err = connection.(driver.ExecerContext).ExecContext(ctx, "ALTER USER ?@'%' IDENTIFIED BY ?", []driver.NamedValue{
		{Ordinal: 1, Value: e.RotateUser.Username}, {Ordinal: 2, Value: e.RotateUser.NewPassword},
	})
	return err
}
