// Package cachingsha2_test holds the connector's logins to MySQL accounts with the plugin caching_sha2_password,
// MySQL's own default, against go-mysql-server. It is good for the logins only: what its ALTER USER does is not what
// MySQL's does.
package cachingsha2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sqle "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
	"github.com/dolthub/go-mysql-server/sql"
	"github.com/dolthub/go-mysql-server/sql/mysql_db"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/mysql"
)

const managerPassword, userPassword, newPassword = "Manager-Secret-1", "Old-Secret-2", "New-Secret-3 'quoted'"

// start runs a server with two accounts of caching_sha2_password, a managing user and a user. Its cache is cold.
func start(t *testing.T) (port int, caFile string) {
	t.Helper()
	provider := memory.NewDBProvider(memory.NewDatabase("app"))
	engine := sqle.NewDefault(provider)
	accounts := engine.Analyzer.Catalog.MySQLDb
	accounts.SetPersister(&mysql_db.NoopPersister{})
	editor := accounts.Editor()
	accounts.AddSuperUser(editor, "root", "localhost", "")
	editor.Close()
	session := memory.NewSession(sql.NewBaseSessionWithClientServer("", sql.Client{User: "root", Address: "localhost"}, 1), provider)
	for _, statement := range []string{
		"CREATE USER manager@'%' IDENTIFIED WITH caching_sha2_password BY '" + managerPassword + "'",
		"CREATE USER user@'%' IDENTIFIED WITH caching_sha2_password BY '" + userPassword + "'",
		"GRANT CREATE USER ON *.* TO manager@'%'", "GRANT ALTER ON app.* TO manager@'%'",
	} {
		_, rows, _, err := engine.Query(sql.NewContext(t.Context(), sql.WithSession(session)), statement)
		require.NoError(t, err, strings.Fields(statement)[:3])
		_, err = sql.RowIterToRows(sql.NewContext(t.Context(), sql.WithSession(session)), rows)
		require.NoError(t, err, strings.Fields(statement)[:3])
	}

	authority, err := dbtest.NewAuthority("test CA")
	require.NoError(t, err)
	certificate, key, err := authority.Issue(time.Time{}, "127.0.0.1")
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	require.NoError(t, err)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, authority.PEM, 0o644))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	mysqlServer, err := server.NewServer(server.Config{
		Protocol: "tcp", Address: listener.Addr().String(), Listener: listener, Version: "8.0.36",
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
	}, engine, sql.NewContext, memory.NewSessionBuilder(provider), nil)
	require.NoError(t, err)
	go func() { _ = mysqlServer.Start() }()
	t.Cleanup(func() { _ = mysqlServer.Close() })
	return listener.Addr().(*net.TCPAddr).Port, caFile
}

func request(port int) connector.Request {
	return connector.Request{
		Type: connector.TypeMySQL, Host: "127.0.0.1", Port: port, Database: "app",
		ManagingUser: &connector.ManagingUser{Username: "manager", Password: connector.NewSecret(managerPassword)},
		RotateUser:   &connector.RotateUser{Username: "user", NewPassword: connector.NewSecret(newPassword)},
	}
}

func terms(t *testing.T, mode, caFile string) *connector.TLS {
	t.Helper()
	t.Setenv(connector.SSLModeVariable, mode)
	t.Setenv(connector.SSLRootCertVariable, caFile)
	terms, err := connector.ReadTLS()
	require.NoError(t, err)
	return terms
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestColdCacheLogsInOverTLS(t *testing.T) {
	for _, mode := range []string{"verify-full", "require"} {
		port, caFile := start(t)
		request := request(port)
		terms := terms(t, mode, caFile)
		for range 2 { // with a cold cache, and with a warm one
			outcome, err := mysql.DryRun(bounded(t), connector.NewServer(request, terms), request)
			require.NoError(t, err)
			assert.Contains(t, outcome.Message, `logged in as "manager"`)
			assert.Contains(t, outcome.Message, "MySQL 8.0.")
		}
		request.ManagingUser.Password = connector.NewSecret("wrong")
		_, err := mysql.DryRun(bounded(t), connector.NewServer(request, terms), request)
		assert.ErrorContains(t, err, "1045")
	}
}

func TestRotationOverTLS(t *testing.T) {
	port, caFile := start(t)
	request := request(port)
	outcome, err := mysql.Rotate(bounded(t), connector.NewServer(request, terms(t, "verify-full", caFile)), request)
	require.NoError(t, err)
	assert.Equal(t, connector.ProofDone, outcome.Proof, outcome.Note)
}

// record passes connections on to the server. What it returns waits until the client has ended them all, and answers
// all that it sent.
func record(t *testing.T, server int) (port int, sent func() []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	var lock sync.Mutex
	var all bytes.Buffer
	accepting := make(chan struct{})
	var clients sync.WaitGroup
	go func() {
		defer close(accepting)
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server))
			if err != nil {
				client.Close()
				return
			}
			clients.Go(func() {
				var one bytes.Buffer
				_, _ = io.Copy(upstream, io.TeeReader(client, &one))
				upstream.Close()
				lock.Lock()
				defer lock.Unlock()
				all.Write(one.Bytes())
			})
			go func() { _, _ = io.Copy(client, upstream); client.Close() }()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port, func() []byte {
		listener.Close()
		<-accepting
		clients.Wait()
		return all.Bytes()
	}
}

func TestPasswordIsNeverSentInClearWithoutTLS(t *testing.T) {
	port, caFile := start(t)
	for _, mode := range []string{"disable", "verify-full"} {
		through, sent := record(t, port)
		request := request(through)
		_, err := mysql.DryRun(bounded(t), connector.NewServer(request, terms(t, mode, caFile)), request)
		if mode == "verify-full" {
			assert.NoError(t, err)
		}
		wire := sent()
		assert.NotEmpty(t, wire)
		assert.False(t, bytes.Contains(wire, []byte(managerPassword)), "the managing password went over the wire in clear, with %s", mode)
	}
}
