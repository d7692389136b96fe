package rdsca_test

import (
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/rdsca"
)

func bundled(t *testing.T) []*x509.Certificate {
	var all []*x509.Certificate
	require.NoError(t, rdsca.Each(func(der []byte) error {
		certificate, err := x509.ParseCertificate(der)
		all = append(all, certificate)
		return err
	}))
	return all
}

func TestBundleHoldsEachKindOfRootAndNoBeta(t *testing.T) {
	kinds := map[string]int{}
	for _, certificate := range bundled(t) {
		assert.NotContains(t, certificate.Subject.String(), "Beta")
		assert.True(t, certificate.IsCA, certificate.Subject)
		for _, kind := range []string{"RSA2048 G1", "RSA4096 G1", "ECC384 G1"} {
			if strings.HasSuffix(certificate.Subject.CommonName, kind) {
				kinds[kind]++
			}
		}
	}
	// The source covers 27 regions and a preview, each with a root of each kind.
	for kind, count := range kinds {
		assert.GreaterOrEqual(t, count, 28, kind)
	}
	assert.Len(t, kinds, 3)
}

func TestPulumiNewTakesTheBundleForBinary(t *testing.T) {
	// On Windows pulumi new rewrites the line ends of a file without a NUL in its first 8,000 bytes.
	content, err := os.ReadFile("bundle.flate")
	require.NoError(t, err)
	assert.Contains(t, string(content[:8000]), "\x00")
}

func TestNamedFindsEachCertificateByItsSubject(t *testing.T) {
	for _, certificate := range bundled(t) {
		found, err := rdsca.Named(certificate.RawSubject)
		require.NoError(t, err)
		assert.True(t, len(found) > 0 && found[0].Subject.String() == certificate.Subject.String(), certificate.Subject)
	}
	found, err := rdsca.Named([]byte("no such name"))
	require.NoError(t, err)
	assert.Empty(t, found)
}
