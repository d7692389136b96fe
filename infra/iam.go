package infra

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"esc-connector-lambda-go/lambda/event"
)

// The function's variable for how the managing user logs in, and its value for RDS IAM authentication.
const managingAuthVariable, managingAuthIAM = "DB_MANAGING_AUTH", "iam"

// checkIAM is which settings do not go with a managing user who logs in by RDS IAM authentication.
func (s *Settings) checkIAM() []problem {
	if !s.ManagingIAM {
		return nil
	}
	key := s.Project + ":managingAuthentication"
	byPassword := "\n  Or: pulumi config set " + key + " password"
	is := ", and managingAuthentication is iam: "
	var problems []problem
	for _, unfit := range []struct {
		name string
		is   bool
		why  string
	}{
		{"lambdaArtifact", s.Published, "Pulumi's archive logs in by a password"},
		{"databaseSslMode", s.SSLMode != "" && s.SSLMode != "verify-full", "the token that logs in goes to the database as it is, and so over verified TLS alone"},
		{"managingPassword", true, "nobody has that password"},
		{"databaseHost", s.DatabaseHost != "" && !isRDSEndpoint(s.DatabaseHost), "RDS takes a token for its own endpoint alone, and not for another name of it"},
	} {
		if row := settingOf(unfit.name); s.isSet(row) && unfit.is {
			key := row.key(s.Project)
			shown := s.shown(key)
			if row.secret { // also where it stands in clear
				shown = aSecret
			}
			problems = append(problems, problem{key: key, reason: shown + is + unfit.why, command: "pulumi config rm " + key + byPassword})
		}
	}
	if identifier := settingOf("rdsDbIdentifier"); !s.isSet(identifier) {
		missing := s.problem(identifier, "is not set"+is+"only databases that RDS runs know it")
		missing.command += byPassword
		problems = append(problems, missing)
	}
	user := settingOf("managingUsername")
	switch {
	case !s.isSet(user):
		missing := s.problem(user, "is not set"+is+"the permission to log in names the user")
		missing.command += byPassword
		problems = append(problems, missing)
	case strings.ContainsAny(s.ManagingUsername, "*?$"): // which mean something else in a policy
		wrong := s.problem(user, s.shown(user.key(s.Project))+is+"the permission to log in would be for other users, too")
		wrong.allowed = "a user without *, ? and $ in its name"
		problems = append(problems, wrong)
	case notInPolicies.MatchString(s.ManagingUsername):
		wrong := s.problem(user, s.shown(user.key(s.Project))+is+"IAM takes such a letter in no policy, and so in no permission to log in")
		wrong.allowed = "a user whose name has letters up to ÿ (U+00FF) alone"
		wrong.command += byPassword
		problems = append(problems, wrong)
	}
	return problems
}

// isRDSEndpoint reports whether a host is a name that RDS gives to its databases.
func isRDSEndpoint(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".rds.amazonaws.com") || strings.HasSuffix(host, ".rds.amazonaws.com.cn")
}

// checkIAM refuses a cluster that lets nobody in by a token. Of an instance the provider does not tell: a login does.
func (r *record) checkIAM(settings *Settings, cli string) error {
	if !settings.ManagingIAM || r.kind != "cluster" || r.iam {
		return nil
	}
	return fmt.Errorf("checking the %s: IAM authentication is off, and managingAuthentication is iam; nothing was created.\n"+
		"  Turn it on, and run pulumi up again in a minute or so: %s rds modify-db-cluster --region %s --db-cluster-identifier %s --enable-iam-database-authentication --apply-immediately\n"+
		"  Or: pulumi config set %s:managingAuthentication password", r, cli, settings.Region, r.identifier, settings.Project)
}

// managingLogin lets the function log in as the managing user, and as nobody else. It is a policy of its own: where the managing user
// gets a password again, the function knows that before this right goes.
//
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html
func (d *deployment) managingLogin(role *iam.Role) ([]pulumi.Resource, error) {
	if !d.settings.ManagingIAM {
		return nil, nil
	}
	user := d.settings.ManagingUsername
	if d.database.Engine == event.TypeMySQL {
		user, _ = event.SplitAccount(user)
	}
	document, err := newPolicy(statement{Sid: "LogInAsManagingUser", Effect: "Allow", Action: []string{"rds-db:connect"},
		Resource: []string{d.account.arn("rds-db", "dbuser:"+d.database.ResourceID+"/"+user)}}).json()
	if err != nil {
		return nil, err
	}
	policy, err := iam.NewRolePolicy(d.ctx, managingLoginResource, &iam.RolePolicyArgs{
		Name: pulumi.String(managingLoginName), Role: role.Name, Policy: pulumi.String(document),
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, fmt.Errorf("registering the execution role's right to log in to the database: %w", err)
	}
	return []pulumi.Resource{policy}, nil
}
