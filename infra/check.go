package infra

import (
	"fmt"
	"strings"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// checkPassed is what the output databaseCheck says of a database where the check found nothing wrong.
const checkPassed = "ok"

// Check has the function look at the database, where checkDatabase is set, and says what it found. The update goes on, whatever
// that is: the connector stands, and the database may be down. The users are looked at while their credentials in the environments
// are those of the settings: in the update that creates an environment, or goes on with it, or that has prepared the database.
// A managing user without a password is always looked at.
func (c *Connector) Check(ctx *pulumi.Context, settings *Settings, last *LastState, database *Database, preparation *Preparation) error {
	environment := settings.Rotator.String()
	before := last.check[environment]
	if !settings.CheckDatabase || settings.Published { // which knows no dry run
		return nil
	}
	if ctx.DryRun() || !c.whole {
		if before != "" {
			c.exportCheck(ctx, environment, before)
		}
		return nil
	}
	if c.deployment.stands.stopped() { // of which a warning tells
		c.exportCheck(ctx, environment, "not checked: "+isStopped)
		return nil
	}
	request := dryRun(database)
	switch {
	case (last.Begins() || preparation.isDone()) && loggedBy() == "": // with the managing password in it
		request = settings.wholeDryRun(database)
	case settings.ManagingIAM:
		request.Database, request.ManagingUser = settings.DatabaseName, &event.ManagingUser{Username: settings.ManagingUsername}
	}
	answer, err := c.ask(ctx, request)
	found := checkPassed
	switch {
	case isDenied(err):
		found = "not checked: lambda:InvokeFunction is missing"
		err = ctx.Log.Info(fmt.Sprintf("The database was not checked, since whoever runs this program may not invoke the function.\n"+
			"  To have it checked, they need %s\n  To be without: pulumi config set %s:checkDatabase false", c.mayInvoke(), settings.Project), nil)
	case err != nil || !answer.OK():
		message := answer.Message
		if err != nil {
			message = err.Error()
		}
		message = settings.hide(message)
		found = lasting(message)
		again := "pulumi up"
		if !settings.ManagingIAM { // as whom the command does not log in
			again += ", or eval \"$(pulumi stack output checkCommand)\""
		}
		if request.ManagingUser != nil && !settings.ManagingIAM { // at whom no later update looks
			again += "\n  A user or a password you correct in its environment, where no setting changes it any more. Then rotate:\n    " +
				escCommand(ctx, settings, "edit", settings.Managing) + "\n    " + escCommand(ctx, settings, "edit", settings.Rotator)
		}
		err = ctx.Log.Warn(fmt.Sprintf("The check of the database failed: %s\n"+
			"  The connector is deployed. When the cause is gone, check again: %s", message, again), nil)
	case before == checkPassed && request.ManagingUser == nil:
		err = ctx.Log.Info(fmt.Sprintf("The function reaches the database at %s:%d", database.Host, database.Port), nil)
	default:
		said := settings.hide(strings.TrimPrefix(answer.Message, "dry run, nothing was changed: "))
		if before != "" && request.ManagingUser == nil {
			said += "\n  Users and passwords stand in the environments by now, and no setting changes them there. Whether they are right a rotation shows"
		}
		err = ctx.Log.Info("Checked the database: "+said, nil)
	}
	if err != nil {
		return err
	}
	if answer.Warning != "" {
		if err := ctx.Log.Warn(settings.hide(answer.Warning), nil); err != nil {
			return err
		}
	}
	c.checked = found == checkPassed
	c.exportCheck(ctx, environment, found)
	return nil
}

func (c *Connector) exportCheck(ctx *pulumi.Context, environment, found string) {
	ctx.Export("databaseCheck", pulumi.ToStringMap(map[string]string{environment: found}))
}

// dryRun is the event that has the function reach the database, and change nothing:
//
//	{"type":"postgres","host":"db.example","port":5432,"dryRun":true}
func dryRun(database *Database) event.Request {
	return event.Request{Type: database.Engine, Host: database.Host, Port: database.Port, DryRun: true}
}

// checkCommand is a line for bash and zsh that invokes the function with a dry run. The payload is a
// file, since version 1 of the AWS CLI takes it as it is and version 2 as base64 where it is inline. The answer goes
// through a pipe, since the CLI opens its output anew and empties it, and comes without what the CLI itself says of the
// invocation. The command succeeds if the check does.
func (d *deployment) checkCommand() (string, error) {
	event, err := dryRun(d.database).Wire()
	if err != nil {
		return "", fmt.Errorf("writing the dry run's event: %w", err)
	}
	return fmt.Sprintf("(answer=$(%s lambda invoke --region %s --function-name %s --payload fileb://<(printf %%s '%s') /dev/fd/3 3>&1 >/dev/null) && "+
		`printf '%%s\n' "$answer" && [[ $answer == '{"code":200,'* ]])`,
		d.account.CLI, d.account.Region, d.names.function, event), nil
}

// wholeDryRun also has it look at all users that the settings name.
func (s *Settings) wholeDryRun(database *Database) event.Request {
	request := dryRun(database)
	request.Database = s.DatabaseName
	if s.ManagingUsername == "" || s.ManagingPassword == (event.Secret{}) && !s.ManagingIAM {
		return request
	}
	request.ManagingUser = &event.ManagingUser{Username: s.ManagingUsername, Password: s.ManagingPassword}
	if s.RotateUsername1 != "" && s.RotateUsername2 != "" {
		request.RotateUsers = []string{s.RotateUsername1, s.RotateUsername2}
	}
	return request
}

// checks are the output databaseCheck.
func (r resourceOutputs) checks() map[string]string {
	found := map[string]string{}
	environments, _ := r.DatabaseCheck.(map[string]any)
	for name, said := range environments {
		found[name] = text(said)
	}
	return found
}
