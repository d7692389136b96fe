package main

import (
	"cmp"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
)

// offering is a PostgreSQL server that says yes to TLS on its own terms.
func offering(t *testing.T, terms *tls.Config) int {
	t.Helper()
	return serve(t, "127.0.0.1", func(conn net.Conn) {
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, 8))
		_, _ = io.WriteString(conn, "S")
		_ = tls.Server(conn, terms).Handshake()
	})
}

func TestCertificatesThatAreNotBelieved(t *testing.T) {
	authority, err := dbtest.NewAuthority("own CA")
	require.NoError(t, err)
	stranger, err := dbtest.NewAuthority("own CA") // the same name, another key
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, authority.PEM, 0o644))
	t.Setenv(connector.SSLRootCertVariable, file)
	for name, c := range map[string]struct {
		by   *dbtest.Authority
		host string // of the certificate
		as   string // the host of the event
		end  time.Time
		code int
		says []string
	}{
		"a good one":                   {by: authority, host: "127.0.0.1", code: 200, says: []string{"verified", "own CA"}},
		"one that has expired":         {by: authority, host: "127.0.0.1", end: time.Now().Add(-time.Hour), code: 400, says: []string{"TLS: ", "valid from", time.Now().UTC().Add(-time.Hour).Format(time.DateOnly)}},
		"a good one for an address":    {by: authority, host: "127.0.0.1", as: "::ffff:127.0.0.1%lo", code: 200, says: []string{"verified"}},
		"one for another, of a zone":   {by: authority, host: "127.0.0.9", as: "::ffff:127.0.0.1%lo", code: 400, says: []string{"TLS: ", "127.0.0.9", "not for this host"}},
		"one for another address":      {by: authority, host: "127.0.0.9", code: 400, says: []string{"TLS: ", "127.0.0.9", "not for this host"}},
		"one for no host":              {by: authority, code: 400, says: []string{"TLS: ", "names no host", "databaseCaFile"}},
		"one for a long name":          {by: authority, host: strings.Repeat("evil.", 40) + "example", code: 400, says: []string{"TLS: ", `for "(not printable)"`}},
		"one by a CA of the same name": {by: stranger, host: "127.0.0.1", code: 400, says: []string{"TLS: ", "own CA", "DB_SSLROOTCERT"}},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, key, err := c.by.Issue(c.end, strings.Fields(c.host)...)
			require.NoError(t, err)
			pair, err := tls.X509KeyPair(certificate, key)
			require.NoError(t, err)
			port := offering(t, &tls.Config{Certificates: []tls.Certificate{pair}})
			answer := invoke(t, wire{"type": "postgres", "host": cmp.Or(c.as, "127.0.0.1"), "port": port, "dryRun": true}, plenty)
			assert.Equal(t, c.code, answer.Code, answer.Message)
			for _, part := range c.says {
				assert.Contains(t, answer.Message, part)
			}
		})
	}
}

// What expires some day is no news; what does so soon is, before it fails.
func TestAuthorityThatExpiresSoonIsAWarning(t *testing.T) {
	const aDay = 24 * time.Hour
	for _, days := range []int{59, 61} {
		end := time.Now().Add(time.Duration(days) * aDay)
		authority, err := dbtest.NewAuthorityUntil("ending CA", end)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(file, authority.PEM, 0o644))
		t.Setenv(connector.SSLRootCertVariable, file)
		certificate, key, err := authority.Issue(time.Time{}, "127.0.0.1")
		require.NoError(t, err)
		pair, err := tls.X509KeyPair(certificate, key)
		require.NoError(t, err)
		dryRun := wire{"type": "postgres", "host": "127.0.0.1", "port": offering(t, &tls.Config{Certificates: []tls.Certificate{pair}}), "dryRun": true}

		answer := invoke(t, dryRun, plenty)
		require.Equal(t, 200, answer.Code, answer.Message)
		if days > 60 {
			assert.Empty(t, answer.Warning)
			assert.NotContains(t, answer.log, "warning")
			continue
		}
		for _, part := range []string{"127.0.0.1:", `"ending CA"`, end.UTC().Format(time.DateOnly), "databaseCaFile", "aws rds modify-db-instance"} {
			assert.Contains(t, answer.Warning, part)
		}
		assert.Equal(t, answer.Warning, answer.log["warning"])
		assert.Equal(t, "ok", answer.log["result"])

		// Without verification nobody looks at it.
		t.Setenv(connector.SSLModeVariable, "require")
		answer = invoke(t, dryRun, plenty)
		assert.Equal(t, 200, answer.Code, answer.Message)
		assert.Empty(t, answer.Warning)
		t.Setenv(connector.SSLModeVariable, "")
	}
}

// What cannot agree is no fault of the network, and builds of MySQL 5.7 have no ephemeral keys.
func TestVersionsAndCiphersOfOldServers(t *testing.T) {
	t.Setenv(connector.SSLModeVariable, "require")
	key, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(cryptorand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pair := []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}
	for name, c := range map[string]struct {
		terms *tls.Config
		code  int
		says  string
	}{
		"TLS 1.1": {&tls.Config{Certificates: pair, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 400,
			"the TLS handshake failed: server and connector agree on no version or cipher"},
		"a client's certificate": {&tls.Config{Certificates: pair, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}, 400,
			"the server asks for a client certificate"},
		"a client's certificate, over TLS 1.3": {&tls.Config{Certificates: pair, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}, 400,
			"the server broke off the TLS connection"},
		"no ephemeral key": {&tls.Config{Certificates: pair, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, 200, "TLS 1.2"},
	} {
		t.Run(name, func(t *testing.T) {
			event := wire{"type": "postgres", "host": "127.0.0.1", "port": offering(t, c.terms), "dryRun": true}
			if c.terms.MinVersion == tls.VersionTLS13 { // the alert comes after the handshake
				event = anyEvent(newPassword).with("host", "127.0.0.1").with("port", event["port"])
			}
			answer := invoke(t, event, plenty)
			assert.Equal(t, c.code, answer.Code, answer.Message)
			assert.Contains(t, answer.Message, c.says)
			assert.NotContains(t, answer.Message, "security group")
		})
	}
}

func TestDryRunOverTLSTellsTheCertificate(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		answer := invoke(t, wire{"type": db.kind, "host": db.Host, "port": db.Port, "dryRun": true}, plenty)
		require.Equal(t, 200, answer.Code, answer.Message)
		until := time.Now().UTC().Add(24 * time.Hour).Format(time.DateOnly) // dbtest's certificates live for a day
		for _, part := range []string{"nothing was changed", "127.0.0.1", "TLS 1.3", "verified", "dbtest CA", until} {
			assert.Contains(t, answer.Message, part)
		}
		assert.Equal(t, "none", answer.log["proof"])
		assert.Equal(t, true, answer.log["dryRun"])

		answer = invoke(t, wire{"type": db.kind, "host": db.Host, "port": db.Port, "dryRun": true, "database": "", "managingUser": map[string]any{}, "rotateUser": map[string]any{"username": ""}}, plenty)
		assert.Equal(t, 200, answer.Code, answer.Message)

		rotation := rotation(t, db).with("dryRun", true)
		user := rotation["rotateUser"].(map[string]any)["username"].(string)
		answer = invoke(t, rotation, plenty)
		require.Equal(t, 200, answer.Code, answer.Message)
		assert.Contains(t, answer.Message, "exists and may be changed")
		assert.NoError(t, db.login(t, user, oldPassword))
		assert.Error(t, db.login(t, user, newPassword))
	})
}
