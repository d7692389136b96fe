package dbtest

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
)

// Played is a server that a test plays: it says a script on each connection, whatever it hears.
type Played struct {
	Port int

	listener    net.Listener
	accepting   chan struct{}
	connections sync.WaitGroup
	lock        sync.Mutex
	heard       [][]byte
}

// Play starts a server that says the script of that number on each connection. secure begins with TLS, nil for a server
// without it; what comes before TLS is its own.
func Play(t testing.TB, secure func(net.Conn, []byte) (conn net.Conn, rest []byte, err error), script func(number int) []byte) *Played {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Played{Port: listener.Addr().(*net.TCPAddr).Port, listener: listener, accepting: make(chan struct{})}
	go func() {
		defer close(p.accepting)
		for number := 0; ; number++ {
			plain, err := listener.Accept()
			if err != nil {
				return
			}
			p.connections.Go(func() {
				defer plain.Close()
				connection, say := plain, script(number)
				if secure != nil {
					if connection, say, err = secure(plain, say); err != nil {
						return
					}
				}
				_, _ = connection.Write(say)
				if half, ok := connection.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
				heard, _ := io.ReadAll(connection)
				p.lock.Lock()
				defer p.lock.Unlock()
				p.heard = append(p.heard, heard)
			})
		}
	}()
	return p
}

// Close waits until the client has ended every connection.
func (p *Played) Close() {
	p.listener.Close()
	<-p.accepting
	p.connections.Wait()
}

// Heard is what the client has said on each connection, inside TLS where there is any. Close comes before.
func (p *Played) Heard() [][]byte { return p.heard }

// VerifiedTLS is the configuration of a played server, and the terms on which the connector verifies its certificate. It sets
// variables of the process for a moment.
func VerifiedTLS() (server *tls.Config, terms *connector.TLS, err error) {
	authority, err := NewAuthority("of a played server")
	if err != nil {
		return nil, nil, err
	}
	certificate, key, err := authority.Issue(time.Time{}, "127.0.0.1")
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, nil, err
	}
	folder, err := os.MkdirTemp("", "played-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(file, authority.PEM, 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.Setenv(connector.SSLRootCertVariable, file); err != nil {
		return nil, nil, err
	}
	defer os.Unsetenv(connector.SSLRootCertVariable)
	terms, err = connector.ReadTLS()
	return &tls.Config{Certificates: []tls.Certificate{pair}}, terms, err
}
