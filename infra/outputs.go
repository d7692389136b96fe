package infra

import (
	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// ExportOutputs gives the stack its outputs. Where the environments are new, it says what to do next.
func (c *Connector) ExportOutputs(ctx *pulumi.Context, settings *Settings, last *LastState, edits Edits) {
	ctx.Export("lambdaArn", c.LambdaARN)
	ctx.Export("assumedRoleArn", c.RoleARN)
	ctx.Export("rotatorEnvironment", pulumi.String(settings.Rotator.String()))
	ctx.Export("managingCredsEnvironment", pulumi.String(settings.Managing.String()))
	ctx.Export("environmentsOnDestroy", pulumi.String(onDestroy(settings)))
	ctx.Export("databaseUsersOnDestroy", pulumi.String("kept by pulumi destroy; docs/USERS.md has the SQL that removes them"))
	if url := settings.Backend.ConsoleURL(settings.Rotator); url != "" {
		ctx.Export("rotatorEnvironmentUrl", pulumi.String(url))
		ctx.Export("managingCredsEnvironmentUrl", pulumi.String(settings.Backend.ConsoleURL(settings.Managing)))
	}
	if c.CheckCommand != "" {
		ctx.Export("checkCommand", pulumi.String(c.CheckCommand))
	}
	if len(edits) > 0 {
		ctx.Export("environmentEdits", pulumi.ToStringArrayMap(edits))
	}
	ctx.Export("rotateCommand", pulumi.String(escCommand(ctx, settings, "rotate", settings.Rotator)))
	if last.Begins() && !ctx.DryRun() {
		next := "Next:" + c.nextSteps(ctx, settings)
		c.LambdaARN.ApplyT(func(string) error { return ctx.Log.Info(next, nil) }) // not where creating it failed
	}
}

// onDestroy says what pulumi destroy does to the environments, by what is deployed and not by what is set since. A protection
// by the CLI cannot be seen from here. The CLI shows 150 characters of it.
func onDestroy(settings *Settings) string {
	if settings.RetainEnvironments {
		// An update of a part leaves the environments in the state as they were, and is here like any other.
		return "kept by pulumi destroy, if pulumi up has run without --target and --exclude since retainEnvironments was set"
	}
	return "deleted by pulumi destroy (pulumi up ends any pulumi state protect); to keep both, set retainEnvironments, then pulumi up"
}

// nextSteps are what is left to do after the environments were written, with the commands to paste.
func (c *Connector) nextSteps(ctx *pulumi.Context, settings *Settings) string {
	steps := ""
	if settings.ManagingUsername == "" || settings.ManagingPassword == (event.Secret{}) && !settings.ManagingIAM {
		steps += "\n  Replace the placeholders in managingUser:\n    " + escCommand(ctx, settings, "edit", settings.Managing)
	}
	if settings.DatabaseName == "" || settings.RotateUsername1 == "" || settings.RotateUsername2 == "" {
		steps += "\n  Replace the placeholders in database and rotateUsers:\n    " + escCommand(ctx, settings, "edit", settings.Rotator)
	}
	if c.CheckCommand != "" && !c.checked {
		steps += "\n  Check the way to the database:\n    eval \"$(pulumi stack output checkCommand)\""
	}
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
	return steps + "\n  Rotate, in a minute or so: AWS refuses a new role (AssumeRoleWithWebIdentity) until it is known everywhere:\n    " + escCommand(ctx, settings, "rotate", settings.Rotator)
}

// escCommand is a command of the Pulumi CLI on an environment. Where the stack's organization is another
// one, its state may be elsewhere than in Pulumi Cloud, and the CLI must be told where that is.
func escCommand(ctx *pulumi.Context, settings *Settings, verb string, environment environments.Name) string {
	command := "pulumi env " + verb + " " + environment.String()
	if ctx.Organization() != settings.Organization {
		command = "PULUMI_BACKEND_URL=" + settings.Backend.URL + " " + command
	}
	return command
}
