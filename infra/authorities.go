package infra

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// builtInRegions are the regions whose certificate authorities the connector has: each region has its own.
var builtInRegions = strings.Fields(`af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
	ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ca-central-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1
	eu-south-2 eu-west-1 eu-west-2 eu-west-3 me-central-1 me-south-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2`)

// authoritiesOf is where AWS publishes the region's authorities, or empty where they are built in.
func authoritiesOf(account *Account) string {
	if slices.Contains(builtInRegions, account.Region) {
		return ""
	}
	return cmp.Or(map[string]string{
		"aws":        fmt.Sprintf("https://truststore.pki.rds.amazonaws.com/%[1]s/%[1]s-bundle.pem", account.Region),
		"aws-us-gov": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem",
		"aws-cn":     fmt.Sprintf("https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/%[1]s/%[1]s-bundle.pem", account.Region),
	}[account.Partition], "<the bundle that AWS publishes for this region>")
}

// warnOfAuthorities warns where the connector's built-in certificate authorities are not those of RDS.
func warnOfAuthorities(ctx *pulumi.Context, settings *Settings, account *Account) error {
	bundle := authoritiesOf(account)
	if settings.DatabaseIdentifier == "" || settings.Published || settings.SSLMode != "verify-full" || settings.CAFile != "" || bundle == "" {
		return nil
	}
	return ctx.Log.Warn(fmt.Sprintf("RDS in %s has certificate authorities of its own, which the connector trusts only if they are set:\n"+
		"  curl -o rds-ca.pem %s\n  pulumi config set %s:databaseCaFile rds-ca.pem", account.Region, bundle, settings.Project), nil)
}
