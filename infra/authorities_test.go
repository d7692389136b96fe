package infra

import (
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"testing"

	"esc-connector-lambda-go/lambda/rdsca"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheRegionsOfBuiltInAuthoritiesAreThoseOfTheBundle(t *testing.T) {
	regions := map[string]bool{}
	require.NoError(t, rdsca.Each(func(der []byte) error {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		name, _, found := strings.Cut(strings.TrimPrefix(certificate.Subject.CommonName, "Amazon RDS "), " Root CA")
		if found && !strings.HasPrefix(name, "Preview") {
			regions[name] = true
		}
		return nil
	}))
	assert.ElementsMatch(t, slices.Collect(maps.Keys(regions)), builtInRegions)

	for account, want := range map[Account]string{
		{Partition: "aws", Region: "eu-west-1"}:            "",
		{Partition: "aws", Region: "il-central-1"}:         "https://truststore.pki.rds.amazonaws.com/il-central-1/il-central-1-bundle.pem",
		{Partition: "aws-us-gov", Region: "us-gov-west-1"}: "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem",
		{Partition: "aws-cn", Region: "cn-north-1"}:        "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/cn-north-1/cn-north-1-bundle.pem",
		{Partition: "aws-iso", Region: "us-iso-east-1"}:    "<the bundle that AWS publishes for this region>",
	} {
		assert.Equal(t, want, authoritiesOf(&account))
	}
}
