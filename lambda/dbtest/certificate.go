package dbtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// Authority is a certificate authority for tests.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	// PEM is the authority's certificate.
	PEM []byte
}

// NewAuthority makes a certificate authority that lives for a year.
func NewAuthority(commonName string) (*Authority, error) {
	return NewAuthorityUntil(commonName, time.Now().AddDate(1, 0, 0))
}

// NewAuthorityUntil makes a certificate authority that lives until then.
func NewAuthorityUntil(commonName string, notAfter time.Time) (*Authority, error) {
	template := &x509.Certificate{
		NotAfter:              notAfter,
		Subject:               pkix.Name{CommonName: commonName},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	key, der, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, pemBlock("CERTIFICATE", der)}, nil
}

// Until is the authority's certificate, as PEM, if the same authority lives until then.
func (a *Authority) Until(notAfter time.Time) ([]byte, error) {
	template := *a.certificate
	template.NotAfter, template.SerialNumber = notAfter, big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, a.key.Public(), a.key)
	return pemBlock("CERTIFICATE", der), err
}

// Issue makes a server certificate for the hosts, names or IP addresses, and its key, both as PEM. notAfter may lie
// in the past, and the zero time means a day from now.
func (a *Authority) Issue(notAfter time.Time, hosts ...string) (certificate, key []byte, err error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "database"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		NotAfter:    notAfter,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	private, der, err := sign(template, a)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pemBlock("CERTIFICATE", der), pemBlock("PRIVATE KEY", pkcs8), nil
}

// sign makes a key and its certificate, signed by the authority, or by itself where there is none.
func sign(template *x509.Certificate, by *Authority) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	template.NotBefore = time.Now().Add(-48 * time.Hour)
	if template.NotAfter.Before(template.NotBefore) {
		template.NotBefore = template.NotAfter.Add(-48 * time.Hour)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	return key, der, err
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// tlsFiles are the paths of a server's certificate, its key and its CA.
type tlsFiles struct{ certificate, key, ca string }

// writeTLS writes the files of a certificate for the server, for the loopback addresses and the hosts, into the folder.
func (s *Server) writeTLS(folder string, hosts []string, write func(path, content string) error) (tlsFiles, error) {
	files := tlsFiles{folder + "/server.crt", folder + "/server.key", folder + "/ca.crt"}
	authority, err := NewAuthority("dbtest CA")
	if err != nil {
		return files, err
	}
	certificate, key, err := authority.Issue(time.Time{}, append([]string{"localhost", "127.0.0.1", "::1"}, hosts...)...)
	if err != nil {
		return files, err
	}
	if err := write(files.certificate, string(certificate)); err != nil {
		return files, err
	}
	if err := write(files.key, string(key)); err != nil {
		return files, err
	}
	s.Authority, s.CAFile = authority, files.ca
	return files, os.WriteFile(files.ca, authority.PEM, 0o644)
}
