package connector

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"esc-connector-lambda-go/lambda/rdsca"
)

// The function's environment variables.
const (
	SSLModeVariable     = "DB_SSLMODE"
	SSLRootCertVariable = "DB_SSLROOTCERT"
)

// TLS are the terms of the connection to the database.
type TLS struct {
	// verify is false for the mode require: encrypt, and believe any certificate.
	verify bool
	// extra are the CAs that the user gave, trusted as well as the RDS CAs and the system's.
	extra []*x509.Certificate
}

// ReadTLS reads the terms from the function's environment: nil is plain text. The error is a *Failure that names the
// variable.
func ReadTLS() (*TLS, error) {
	extra, err := readRootCert()
	if err != nil {
		return nil, err
	}
	switch mode := os.Getenv(SSLModeVariable); mode {
	case "", "verify-full":
		return &TLS{verify: true, extra: extra}, nil
	case "require":
		return &TLS{}, nil
	case "disable":
		return nil, nil
	default:
		return nil, refused(fmt.Sprintf("the function's environment variable %s is %q, which is not known", SSLModeVariable, mode),
			"Set the stack's databaseSslMode to verify-full, require or disable, and run pulumi up")
	}
}

// rootCertFile is the user's CA file beside the executable, read where there is one and no variable names another: it comes and goes with
// the code, which a variable does not.
const rootCertFile = "database-ca.pem"

func readRootCert() ([]*x509.Certificate, error) {
	path := os.Getenv(SSLRootCertVariable)
	named := path != ""
	if !named {
		path = rootCertFile
	}
	fix, of := "Give the stack's databaseCaFile a PEM file of CA certificates, and run pulumi up", "beside the function's code"
	if named {
		of = "of the function's environment variable " + SSLRootCertVariable
	}
	bad := func(why string) error { return refused(fmt.Sprintf("the file %q %s %s", path, of, why), fix) }
	file := path
	if !filepath.IsAbs(file) {
		file = filepath.Join(os.Getenv("LAMBDA_TASK_ROOT"), file)
	}
	content, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist) && !named:
		return nil, nil
	case errors.Is(err, os.ErrNotExist):
		fix = "Run pulumi up, which brings the file of the stack's databaseCaFile with the code"
		return nil, bad("is not there")
	case err != nil:
		return nil, bad("cannot be read")
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // which editors on Windows write
	var certificates []*x509.Certificate
	unparsable := func() error {
		return bad("holds a certificate, number " + strconv.Itoa(len(certificates)+1) + ", that cannot be parsed")
	}
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, unparsable()
		}
		certificates = append(certificates, certificate)
	}
	// encoding/pem passes over a block that is cut short or damaged.
	if len(certificates) < bytes.Count(content, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, unparsable()
	}
	if certificates == nil {
		return nil, bad("holds no PEM certificate")
	}
	return certificates, nil
}

// cipherSuites are Go's own for TLS 1.2, and last two without an ephemeral key, since builds of MySQL 5.7 know no other
// that Go does: https://github.com/go-sql-driver/mysql/issues/1635
var cipherSuites = func() []uint16 {
	var suites []uint16
	for _, suite := range tls.CipherSuites() {
		suites = append(suites, suite.ID)
	}
	return append(suites, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256)
}()

// Config is the configuration for a connection to the server, nil for plain text. Verification is ours, by
// VerifyConnection, so that a CA is parsed only when the server's certificate names it.
func (s *Server) Config() *tls.Config {
	if s.TLS == nil {
		return nil
	}
	config := &tls.Config{ServerName: strings.TrimSuffix(s.Host, "."), InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, CipherSuites: cipherSuites}
	if s.TLS.verify {
		config.VerifyConnection = s.verify
	}
	return config
}

func (s *Server) verify(state tls.ConnectionState) error {
	leaf, sent := state.PeerCertificates[0], x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		sent.AddCert(certificate)
	}
	// Not state.ServerName, which is empty for an address, and then x509 would take a certificate for any host.
	options := x509.VerifyOptions{DNSName: strings.TrimSuffix(s.Host, "."), Intermediates: sent, Roots: x509.NewCertPool()}
	if address, err := netip.ParseAddr(options.DNSName); err == nil {
		options.DNSName = address.Unmap().WithZone("").String()
	}
	if options.DNSName == "" {
		return s.untrusted(leaf, x509.HostnameError{Certificate: leaf})
	}
	for _, certificate := range s.TLS.extra {
		options.Roots.AddCert(certificate)
	}
	for _, certificate := range state.PeerCertificates {
		issuers, err := rdsca.Named(certificate.RawIssuer)
		if err != nil {
			return err
		}
		for _, issuer := range issuers {
			options.Roots.AddCert(issuer)
		}
	}
	chains, err := leaf.Verify(options)
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		if system, systemErr := x509.SystemCertPool(); systemErr == nil {
			options.Roots = system
			chains, systemErr = leaf.Verify(options)
			if systemErr == nil || !errors.As(systemErr, new(x509.UnknownAuthorityError)) {
				err = systemErr
			}
		}
	}
	if err != nil {
		return s.untrusted(leaf, err)
	}
	s.setAuthority(chains)
	return nil
}

// setAuthority notes the authority that vouches for the server's certificate: of several the one that does so the longest.
func (s *Server) setAuthority(chains [][]*x509.Certificate) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.authority = nil
	for _, chain := range chains {
		if root := chain[len(chain)-1]; s.authority == nil || root.NotAfter.After(s.authority.NotAfter) {
			s.authority = root
		}
	}
}

// Warning is what a person should know although the server was reached: "", or that its certificate authority is about to expire.
func (s *Server) Warning() string {
	const soon = 60 * 24 * time.Hour
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.authority == nil || time.Until(s.authority.NotAfter) > soon {
		return ""
	}
	return s.Address() + ": the certificate authority " + strconv.Quote(subjectName(s.authority)) + ", by which the server's certificate is verified, expires on " +
		day(s.authority.NotAfter) + ". From then on the connector refuses the server, and no rotation succeeds. Give the server a certificate of the next authority: " +
		"on RDS by aws rds modify-db-instance --ca-certificate-identifier rds-ca-rsa2048-g1 …; elsewhere put that authority's PEM beside the old one in the file of the stack's setting " +
		"databaseCaFile first, and run pulumi up"
}

// untrusted is the failure of a certificate that was not believed.
func (s *Server) untrusted(leaf *x509.Certificate, err error) error {
	failure := s.Fail("", "")
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.HostnameError)) && len(names(leaf)) == 0:
		failure.Why = s.Address() + ": the server's certificate names no host, as one that MySQL or MariaDB has made by itself"
		failure.Fix = "Give the server a certificate for its host name, and the CA's PEM file with the stack's setting databaseCaFile (" + SSLRootCertVariable + ")"
	case errors.As(err, new(x509.HostnameError)):
		failure.Why = s.Address() + ": the server's certificate is for " + strconv.Quote(strings.Join(names(leaf), ", ")) + ", not for this host"
		failure.Fix = "Use the database's own endpoint as host, as its certificate names it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		failure.Why = s.Address() + ": the server's certificate is valid from " + day(leaf.NotBefore) + " to " + day(leaf.NotAfter) + ", or that of its CA has expired"
		failure.Fix = "Renew the server's certificate; on RDS, choose a current CA: aws rds modify-db-instance --ca-certificate-identifier rds-ca-rsa2048-g1 …"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		failure.Why = s.Address() + ": the server's certificate was issued by " + strconv.Quote(issuerName(leaf)) + ", a CA that the connector does not trust"
		failure.Fix = "Give the CA's PEM file with the stack's setting databaseCaFile (" + SSLRootCertVariable + "); AWS GovCloud, the China regions and new regions have RDS bundles of their own"
	default:
		failure.Why = s.Address() + ": the server's certificate cannot be verified"
		failure.Fix = "Check the certificate: openssl s_client -connect " + s.Address() + " -showcerts -starttls …"
	}
	return failure
}

// names are the first few hosts that a certificate is for.
func names(certificate *x509.Certificate) []string {
	const few = 5
	all := slices.Clone(certificate.DNSNames)
	for _, ip := range certificate.IPAddresses {
		all = append(all, ip.String())
	}
	all = all[:min(len(all), few)]
	for i, name := range all {
		all[i] = certified(name)
	}
	return all
}

// certified is a name out of a certificate, which anybody may have made: whole or not at all, as with Printable.
func certified(name string) string {
	const longest = 128 // bytes
	if len(name) > longest || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "(not printable)"
	}
	return name
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// NoTLS is the failure of a server that offers no TLS where the terms ask for it.
func (s *Server) NoTLS() *Failure {
	s.SetStage(StageTLS)
	return s.Fail(s.Address()+": the server offers no TLS", "Turn TLS on in the database; only where its network is trusted, "+
		"pulumi config set databaseSslMode disable ("+SSLModeVariable+"), which sends everything unencrypted")
}

// Encrypt makes the connection a TLS connection by the server's terms. The error is a *Failure.
func (s *Server) Encrypt(ctx context.Context, plain net.Conn) (*tls.Conn, error) {
	s.SetStage(StageTLS)
	conn := tls.Client(plain, s.Config())
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, s.TLSFailure(err)
	}
	return conn, nil
}

// TLSFailure is the failure of a handshake.
func (s *Server) TLSFailure(err error) *Failure {
	if AsFailure(err) != nil || isNetwork(err) {
		return s.Broken(err)
	}
	// crypto/tls has types of its own for few of these.
	return s.Fail(s.Address()+": the TLS handshake failed: server and connector agree on no version or cipher (TLS 1.2 is the least), "+
		"the server asks for a client certificate, or its own cannot be read", "Check the database's TLS settings")
}

// Certificate describes the certificate of a connection, for a dry run.
func (s *Server) Certificate(state tls.ConnectionState) string {
	leaf := state.PeerCertificates[0]
	verified := "not verified (" + SSLModeVariable + " is require)"
	if s.TLS.verify {
		verified = "verified"
	}
	return "TLS " + strings.TrimPrefix(tls.VersionName(state.Version), "TLS ") + ", certificate " + verified + ", issued by " + strconv.Quote(issuerName(leaf)) +
		", valid until " + day(leaf.NotAfter)
}

func issuerName(certificate *x509.Certificate) string { return shortName(certificate.Issuer) }

func subjectName(certificate *x509.Certificate) string { return shortName(certificate.Subject) }

func shortName(name pkix.Name) string {
	return certified(cmp.Or(name.CommonName, strings.Join(name.Organization, ", ")))
}
