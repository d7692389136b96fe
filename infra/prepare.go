package infra

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Preparation is what the function is to make in the database before the environments name it: the users, where
// prepareDatabase is set.
type Preparation struct {
	environment string // org/project/env of the rotator environment that the users are for
	target      prepared
	before      *prepared // what the output says from an earlier update, or nil
	due         bool      // whether the function is to be asked
	secretARN   string    // of the master user's secret, where RDS keeps it
	request     event.Request
	done        bool
}

// prepared is what the output databasePreparation says of an environment's database.
type prepared struct {
	Database     string // host:port/name
	ManagingUser string
	RotateUsers  []string
	Made, Found  []string // names of what was made, and of what was there already
}

// covers reports whether the same users of the same database were prepared.
func (p prepared) covers(other prepared) bool {
	return p.Database == other.Database && p.ManagingUser == other.ManagingUser && slices.Equal(p.RotateUsers, other.RotateUsers)
}

// isDone reports whether this update has prepared the database.
func (p *Preparation) isDone() bool { return p != nil && p.done }

// PlanPreparation finds out, before anything is created, whether the database has to be prepared and who may do it, and reads
// their password. There is nothing to prepare, and nil, where prepareDatabase is not set.
func PlanPreparation(ctx *pulumi.Context, settings *Settings, last *LastState, site *Site) (*Preparation, error) {
	if !settings.PrepareDatabase {
		return nil, nil
	}
	database := site.Database
	p := &Preparation{environment: settings.Rotator.String(), target: prepared{
		Database:     net.JoinHostPort(database.Host, strconv.Itoa(database.Port)) + "/" + settings.DatabaseName,
		ManagingUser: settings.ManagingUsername,
		RotateUsers:  []string{settings.RotateUsername1, settings.RotateUsername2},
	}}
	if before, there := last.prepared[p.environment]; there {
		p.before = &before
	}
	if p.before != nil && p.before.covers(p.target) {
		return p, nil
	}
	p.due = true
	if err := p.findMaster(settings, site); err != nil {
		return nil, err
	}
	p.request = event.Request{Type: database.Engine, Host: database.Host, Port: database.Port, Database: settings.DatabaseName,
		Prepare: &event.Prepare{
			MasterUser:      event.MasterUser{Username: settings.MasterUsername, Password: settings.MasterPassword},
			ManagingUser:    event.ManagingUser{Username: settings.ManagingUsername, Password: settings.ManagingPassword},
			RotateUsers:     p.target.RotateUsers,
			ApplicationRole: settings.ApplicationRole,
			Privileges:      settings.ApplicationPrivileges,
		}}
	if settings.ManagingIAM {
		p.request.Prepare.ManagingUser.Authentication = event.AuthenticationIAM
	}
	if database.Engine == event.TypeMySQL && len(settings.ApplicationPrivileges) == 0 {
		p.request.Prepare.Privileges = []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	}
	if p.secretARN != "" {
		// A name and a password for the checks, until the secret is read.
		p.request.Prepare.MasterUser = event.MasterUser{Username: database.master.username, Password: event.NewSecret("unread")}
		if database.master.username == "" {
			p.request.Prepare.MasterUser.Username = "the master user"
		}
	}
	if err := p.check(settings); err != nil {
		return nil, err
	}
	if ctx.DryRun() {
		return p, ctx.Log.Info(fmt.Sprintf("pulumi up will prepare the database %s: %s", settings.hide(p.target.Database), settings.hide(p.what())), nil)
	}
	if p.secretARN == "" {
		return p, nil
	}
	if err := p.readMaster(ctx, settings); err != nil {
		return nil, err
	}
	return p, p.check(settings)
}

// findMaster decides who makes the users.
func (p *Preparation) findMaster(settings *Settings, site *Site) error {
	if missing := settings.missingMaster(); len(missing) > 0 {
		return &SettingsError{stack: settings.Stack, problems: missing}
	}
	if err := refuseLoggedSecrets(); err != nil {
		return err
	}
	if settings.MasterUsername != "" {
		return nil
	}
	secret := site.Database.master.secret
	switch {
	case secret.SecretArn == "":
		return fmt.Errorf(`preparing the database: RDS does not keep the password of its master user, and no setting says who may make users; nothing was created or changed.
  Let RDS keep it, which changes that password: %[1]s rds modify-db-cluster --region %[2]s --db-cluster-identifier %[3]s --manage-master-user-password --apply-immediately
    (of an instance that is in no cluster: modify-db-instance and --db-instance-identifier)
  Or say who may make users:
    pulumi config set %[4]s:masterUsername <user>
    pulumi config set --secret %[4]s:masterPassword
  Or make the users yourself, by docs/USERS.md: pulumi config rm %[4]s:prepareDatabase`,
			site.Account.CLI, settings.Region, settings.DatabaseIdentifier, settings.Project)
	case secret.SecretStatus == "creating" || secret.SecretStatus == "rotating":
		return fmt.Errorf("preparing the database: RDS is %s the secret of its master user, %s, whose password is not settled until that has ended; nothing was created or changed.\n"+
			"  Run pulumi up again in some minutes", secret.SecretStatus, secret.SecretArn)
	}
	p.secretARN = secret.SecretArn
	return nil
}

// tellTales are the variables by which the engine and the provider write what they send, with the values that do not.
var tellTales = []struct {
	name  string
	quiet []string
}{
	// https://github.com/pulumi/pulumi/blob/master/sdk/go/common/env/env.go
	{"PULUMI_DEBUG_GRPC", nil},
	// By which the CLI's --otel-traces is seen: the provider's spans hold what it is sent and answers.
	{"PULUMI_OTEL_EXPORTER_OTLP_ENDPOINT", nil},
	// https://developer.hashicorp.com/terraform/plugin/log/managing. JSON is the level TRACE.
	{"TF_LOG", []string{"OFF", "ERROR", "WARN", "INFO"}},
	{"TF_LOG_PROVIDER", []string{"OFF", "ERROR", "WARN", "INFO"}},
	{"TF_LOG_PROVIDER_AWS", []string{"OFF", "ERROR", "WARN", "INFO"}},
}

// refuseLoggedSecrets stops where what is sent to the provider, a master user's password for instance, would be logged.
func refuseLoggedSecrets() error {
	if name := loggedBy(); name != "" {
		return fmt.Errorf("preparing the database: the environment variable %[1]s is set, by which the password of the database's master user would be logged; nothing was created or changed.\n"+
			"  Run pulumi up without it (PULUMI_OTEL_EXPORTER_OTLP_ENDPOINT: without --otel-traces): unset %[1]s", name)
	}
	return nil
}

// loggedBy is the variable by which what is sent to the provider would be logged, or empty.
func loggedBy() string {
	for _, variable := range tellTales {
		if value := os.Getenv(variable.name); value != "" && !slices.Contains(variable.quiet, strings.ToUpper(value)) {
			return variable.name
		}
	}
	return ""
}

// readMaster reads the master user's name and password.
func (p *Preparation) readMaster(ctx *pulumi.Context, settings *Settings) error {
	var found secretVersion
	// Not Invoke, which refuses an answer with secrets in it: https://github.com/pulumi/pulumi-aws/issues/1449
	_, err := ctx.InvokePackageRaw(secretVersionToken, secretVersionArgs{SecretId: p.secretARN}, &found, "", pulumi.Version(awsVersion))
	if err != nil {
		return p.unreadable(ctx, settings, err)
	}
	var master struct{ Username, Password string }
	if json.Unmarshal([]byte(found.SecretString), &master) != nil || master.Username == "" || master.Password == "" {
		return fmt.Errorf("preparing the database: the secret %s does not hold the username and password of a master user, as RDS writes them; nothing was created or changed.\n"+
			"  Look at what it holds in AWS Secrets Manager, or say who may make users: pulumi config set %[2]s:masterUsername <user>, and pulumi config set --secret %[2]s:masterPassword",
			p.secretARN, settings.Project)
	}
	p.request.Prepare.MasterUser = event.MasterUser{Username: master.Username, Password: event.NewSecret(master.Password)}
	return nil
}

// unreadable is the error where the master user's secret cannot be read.
func (p *Preparation) unreadable(ctx *pulumi.Context, settings *Settings, err error) error {
	advice := "Try again in some minutes"
	switch message := err.Error(); {
	case strings.Contains(message, "Access to KMS is not allowed"):
		advice = "The secret is encrypted with a key of your own. Whoever runs this program needs kms:Decrypt on that key, in their policy and in the key's"
	case deniedPattern.MatchString(message):
		err, advice = explain(ctx, err, "secretsmanager:GetSecretValue"), "On this resource: "+p.secretARN
	case isNotFound(err):
		advice = "Let RDS make it anew: take the master password out of its management and give it back, by aws rds modify-db-cluster or modify-db-instance"
	}
	return fmt.Errorf("preparing the database: reading the secret of its master user, %s: %w; nothing was created or changed.\n  %s\n"+
		"  Or say who may make users: pulumi config set %[4]s:masterUsername <user>, and pulumi config set --secret %[4]s:masterPassword",
		p.secretARN, err, advice, settings.Project)
}

// check refuses, before anything is created, what the function would refuse.
func (p *Preparation) check(settings *Settings) error {
	unfit := func(name, why string) error {
		return fmt.Errorf("preparing the database: %[1]s:%[2]s is %[3]s; nothing was created or changed.\n  pulumi config rm %[1]s:%[2]s", settings.Project, name, why)
	}
	switch mysql := p.request.Type == event.TypeMySQL; {
	case mysql && settings.ApplicationRole != "":
		return unfit("applicationRole", "for PostgreSQL alone: on MySQL and MariaDB both users get applicationPrivileges, and without it SELECT, INSERT, UPDATE and DELETE")
	case !mysql && len(settings.ApplicationPrivileges) > 0:
		return unfit("applicationPrivileges", "for MySQL and MariaDB alone: on PostgreSQL both users become members of applicationRole")
	}
	if err := p.request.Check(); err != nil {
		return fmt.Errorf("preparing the database: %s; nothing was created or changed.\n"+
			"  To set another one: pulumi config set <setting> <value>",
			settings.hide(settingsOfParts.Replace(err.Error()), p.request.Secrets()...))
	}
	return nil
}

// settingsOfParts names the settings that the parts of a preparation come from, the longer parts first.
var settingsOfParts = strings.NewReplacer(
	"prepare.masterUser.username", "masterUsername", "prepare.masterUser.password", "masterPassword", "prepare.masterUser", "the master user",
	"prepare.managingUser.username", "managingUsername", "prepare.managingUser.password", "managingPassword", "prepare.managingUser", "managingUsername",
	"prepare.rotateUsers[0]", "rotateUsername1", "prepare.rotateUsers[1]", "rotateUsername2",
	"prepare.applicationRole", "applicationRole", "prepare.privileges", "applicationPrivileges")

// what is to be there once the database is prepared.
func (p *Preparation) what() string {
	prepare := p.request.Prepare
	what := fmt.Sprintf("the managing user %s, and %s and %s, whose passwords are rotated", prepare.ManagingUser.Username, prepare.RotateUsers[0], prepare.RotateUsers[1])
	switch {
	case prepare.ApplicationRole != "":
		what += ", in the role " + prepare.ApplicationRole
	case len(prepare.Privileges) > 0:
		what += ", who may " + strings.Join(prepare.Privileges, ", ")
	}
	return what
}

// Prepare has the function make the database's users, before an environment names them. It can be repeated: what is there
// stays as it is.
func (c *Connector) Prepare(ctx *pulumi.Context, settings *Settings, last *LastState, p *Preparation) error {
	if p == nil {
		return nil
	}
	if p.before != nil {
		c.exportPreparation(ctx, settings, p.environment, *p.before)
	}
	if ctx.DryRun() || !c.whole {
		return nil
	}
	if !p.due {
		return ctx.Log.Info(fmt.Sprintf("The database %s was prepared before, and nothing is sent to it: a changed managingPassword, managingAuthentication, applicationRole or applicationPrivileges is not applied (docs/USERS.md says how).\n"+
			"  No longer needed:%s", settings.hide(p.target.Database), settings.endPreparation()), nil)
	}
	secrets := p.request.Secrets()
	reason := ""
	if p.before != nil && !namesAreSecret(settings) {
		reason = fmt.Sprintf(" anew (the environments keep what they hold, and are yours to edit), since it was prepared for %s and %s at %s", p.before.ManagingUser, strings.Join(p.before.RotateUsers, ", "), p.before.Database)
	}
	err := ctx.Log.Info(settings.hide(fmt.Sprintf("Preparing the database%s: %s, at %s, by its master user %s", reason, p.what(), p.target.Database, p.request.Prepare.MasterUser.Username), secrets...), nil)
	if err != nil {
		return err
	}
	answer, err := c.ask(ctx, p.request)
	if err != nil || !answer.OK() {
		return c.notPrepared(settings, last, p, answer, err)
	}
	p.done = true
	p.target.Made, p.target.Found = p.named(answer.Made), p.named(answer.Found)
	c.exportPreparation(ctx, settings, p.environment, p.target)
	message := "Prepared the database: " + answer.Message
	if settings.MasterPassword != (event.Secret{}) {
		message += "\n  The master user's password is needed no longer, nor what else only a preparation reads:" + settings.endPreparation()
	}
	return ctx.Log.Info(settings.hide(message, secrets...), nil)
}

// named are those of the names that stand in the event: an output holds nothing else, whatever the function answers.
func (p *Preparation) named(names []string) []string {
	asked := p.request.Names()
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(asked, name) })
}

// notPrepared is the error where the function could not be asked, or could not do it.
func (c *Connector) notPrepared(settings *Settings, last *LastState, p *Preparation, answer event.Answer, err error) error {
	message, advice := answer.Message, ""
	if err != nil {
		message = err.Error()
	}
	if isDenied(err) {
		advice = "\n  Whoever runs this program needs " + c.mayInvoke()
	}
	environments := "the rotator environment was not created"
	if last.Complete() {
		environments = "both environments are as they were"
	}
	return fmt.Errorf("preparing the database %s: %s\n  The connector is deployed, and %s.%s\n"+
		"  When the cause is gone: pulumi up, which goes on from here\n"+
		"  Or make the users yourself, by docs/USERS.md: pulumi config rm %s:prepareDatabase, and pulumi up",
		settings.hide(p.target.Database), settings.hide(message, p.request.Secrets()...), environments, advice, settings.Project)
}

// exportPreparation remembers what was prepared, for later updates. Names that were set as secrets stay such.
func (c *Connector) exportPreparation(ctx *pulumi.Context, settings *Settings, environment string, done prepared) {
	var output pulumi.Input = pulumi.Map{environment: pulumi.Map{
		"database":     pulumi.String(done.Database),
		"managingUser": pulumi.String(done.ManagingUser),
		"rotateUsers":  pulumi.ToStringArray(done.RotateUsers),
		"made":         pulumi.ToStringArray(done.Made),
		"found":        pulumi.ToStringArray(done.Found),
	}}
	if namesAreSecret(settings) {
		output = pulumi.ToSecret(output)
	}
	ctx.Export("databasePreparation", output)
}

// namesAreSecret reports whether a name that a preparation is remembered by was set as a secret. The host is kept secret nowhere,
// of which misplacedSecrets warns.
func namesAreSecret(settings *Settings) bool {
	return slices.ContainsFunc([]string{"databaseName", "managingUsername", "rotateUsername1", "rotateUsername2", "applicationRole"},
		func(name string) bool { return settings.isSecret(settingOf(name).key(settings.Project)) })
}

// preparations are the output databasePreparation.
func (r resourceOutputs) preparations() map[string]prepared {
	found := map[string]prepared{}
	environments, _ := r.DatabasePreparation.(map[string]any)
	for name, said := range environments {
		if text(part(said, "database")) == "" {
			continue
		}
		found[name] = prepared{Database: text(part(said, "database")), ManagingUser: text(part(said, "managingUser")),
			RotateUsers: texts(part(said, "rotateUsers")), Made: texts(part(said, "made")), Found: texts(part(said, "found"))}
	}
	return found
}
