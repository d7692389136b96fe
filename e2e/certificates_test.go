package e2e

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/rdsca"
)

// It stands here, and not beside the certificates: a user's project must not fail by the calendar.
func TestNoBuiltInCertificateExpiresWithin90Days(t *testing.T) {
	looked := 0
	require.NoError(t, rdsca.Each(func(der []byte) error {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		looked++
		assert.True(t, certificate.NotAfter.After(time.Now().AddDate(0, 0, 90)),
			"%s expires on %s: run go generate ./lambda/rdsca, after a look for a newer source", certificate.Subject, certificate.NotAfter)
		return nil
	}))
	require.NotZero(t, looked)
}
