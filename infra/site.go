package infra

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Account is where in AWS the program deploys to.
type Account struct {
	ID        string
	Partition string // aws, aws-us-gov, aws-cn, ...
	DNSSuffix string // amazonaws.com, amazonaws.com.cn, ...
	Region    string
}

// FindAccount asks AWS whose credentials these are, and stops where they are not of the account to which
// this stack was deployed before.
func FindAccount(ctx *pulumi.Context, settings *Settings, last *LastState) (*Account, error) {
	var identity callerIdentity
	var here partition
	err := together(
		func() error { return invoke(ctx, callerIdentityToken, noArgs{}, &identity, "sts:GetCallerIdentity") },
		func() error { return invoke(ctx, partitionToken, noArgs{}, &here, "sts:GetCallerIdentity") },
	)
	if err != nil {
		return nil, fmt.Errorf("asking AWS in %s for the account and its partition: %w",
			settings.Region, err)
	}
	account := &Account{ID: identity.AccountId, Partition: here.Partition, DNSSuffix: here.DnsSuffix, Region: settings.Region}
	return account, last.checkAccount(account)
}

// arn is an ARN in this account and region.
func (a *Account) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", a.Partition, service, a.Region, a.ID, resource)
}
