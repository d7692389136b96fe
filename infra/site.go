package infra

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Site is what AWS says of the place where the connector is to stand.
type Site struct {
	Account  *Account
	Database *Database
	Trust    *Trust
}

// Account is where in AWS the program deploys to.
type Account struct {
	ID        string
	Partition string // aws, aws-us-gov, aws-cn, ...
	Region    string
	CLI       string // the AWS CLI as it asks this account
}

// FindSite asks AWS for the account, the database and its network, and the OIDC provider, side by side. It
// stops where the connector cannot be deployed.
func FindSite(ctx *pulumi.Context, settings *Settings, last *LastState) (*Site, error) {
	site := &Site{}
	var noAccount error
	err := together(
		func() error { site.Account, noAccount = findAccount(ctx, settings, last); return nil },
		func() (err error) { site.Database, err = findDatabase(ctx, settings, last); return err },
		func() (err error) { site.Trust, err = findTrust(ctx, settings); return err },
		func() error { return checkSigner(ctx, settings, last) },
		func() error { return checkArchiveTags(ctx, settings) },
	)
	if noAccount != nil {
		return nil, noAccount // the others have failed by that, or looked in another account
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(site.Account.checkBoundary(settings), site.Account.checkTopic(settings), site.Database.checkGroups(settings, site.Account)); err != nil {
		return nil, err
	}
	return site, errors.Join(warn(ctx, unreadSigning(settings, last, site.Account)), warnOfAuthorities(ctx, settings, site.Account),
		last.noteTeam(ctx, settings), last.noteSchedule(ctx, settings), last.noteWebhook(ctx, settings), last.noteName(ctx, settings))
}

// findAccount asks AWS whose credentials these are, and stops where they are not of the account to which
// this stack was deployed before.
func findAccount(ctx *pulumi.Context, settings *Settings, last *LastState) (*Account, error) {
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
	account := &Account{ID: identity.AccountId, Partition: here.Partition, Region: settings.Region, CLI: awsCLI(ctx)}
	return account, last.checkAccount(account)
}

// checkBoundary stops a permissions boundary that IAM would refuse when it makes the roles: a customer's policy serves in
// its own account alone. AWS's own policies have the account "aws".
func (a *Account) checkBoundary(settings *Settings) error {
	if settings.PermissionsBoundary == "" {
		return nil
	}
	if owner := strings.Split(settings.PermissionsBoundary, ":")[accountPart]; owner != "aws" && owner != a.ID {
		return fmt.Errorf("checking permissionsBoundaryArn: the policy belongs to the AWS account %[1]s, but these credentials are of %[2]s, and a role's boundary must be in the role's own account; nothing was created or changed.\n"+
			"  If %[1]s is meant: log in to it\n  The policies in %[2]s: %[4]s iam list-policies --scope Local --query 'Policies[].Arn'\n"+
			"  One of them: pulumi config set %[3]s:permissionsBoundaryArn <arn>", owner, a.ID, settings.Project, a.CLI)
	}
	return nil
}

// arn is an ARN in this account and region.
func (a *Account) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", a.Partition, service, a.Region, a.ID, resource)
}

// functionARN is that of the function of that name.
func (a *Account) functionARN(name string) string { return a.arn("lambda", "function:"+name) }

// roleARN is that of the role of that name. IAM's have no region.
func (a *Account) roleARN(name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", a.Partition, a.ID, name)
}
