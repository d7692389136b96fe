// Program esc-connector-lambda-go deploys a rotation connector: a Lambda function inside a database's VPC that
// changes database users' passwords when Pulumi ESC asks for it, and the two ESC environments to ask by.
package main

import (
	"fmt"
	"os"

	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/infra"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	configuration, logged := infra.Config{}, false
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		err := deploy(ctx, configuration)
		if err != nil {
			// Not by pulumi.Run, which puts words about unhandled errors and a bullet in front of it.
			logged = ctx.Log.Error(err.Error(), nil) == nil
		}
		return err
	}, configuration.Capture)
	if err != nil {
		if !logged {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(constant.ExitStatusLoggedError)
	}
}

// deploy stops at the first step that fails. Nothing is created before all that can be checked has been.
func deploy(ctx *pulumi.Context, configuration infra.Config) error {
	settings, err := infra.ReadSettings(ctx, configuration) // what the user has set, checked
	if err != nil {
		return err
	}
	last, err := infra.ReadLastState(ctx) // what this stack has written before
	if err != nil {
		return err
	}
	if err := last.CheckUnmoved(settings); err != nil { // which must stay where it is
		return err
	}
	account, err := infra.FindAccount(ctx, settings, last) // where in AWS this is
	if err != nil {
		return err
	}
	database, err := infra.FindDatabase(ctx, settings, account) // where the database is and which engine it runs
	if err != nil {
		return err
	}
	if err := last.WarnOfDrift(ctx, settings, account, database); err != nil { // which the documents may not fit any more
		return err
	}
	trust, err := infra.FindTrust(ctx, settings, account) // by which OIDC provider ESC logs in
	if err != nil {
		return err
	}
	if err := infra.CheckSigner(ctx, settings, last); err != nil { // by which the archive is signed
		return err
	}
	archive, err := infra.BuildArchive(ctx, settings, last) // ./lambda, compiled and zipped
	if err != nil {
		return err
	}

	cloud, err := environments.Connect(ctx, settings.Backend.URL) // Pulumi Cloud
	if err != nil {
		return err
	}
	if err := environments.CheckFree(ctx, cloud, last.Claims(settings)...); err != nil { // nobody else's environments
		return err
	}

	connector, err := infra.DeployConnector(ctx, settings, last, account, database, archive, trust)
	if err != nil {
		return err
	}
	err = environments.Write(ctx, cloud, environments.Contents{
		Managing:         settings.Managing,
		Rotator:          settings.Rotator,
		Engine:           database.Engine,
		Host:             database.Host,
		Port:             database.Port,
		RoleARN:          connector.RoleARN,
		LambdaARN:        connector.LambdaARN,
		Database:         settings.DatabaseName,
		Username1:        settings.RotateUsername1,
		Username2:        settings.RotateUsername2,
		ManagingUsername: settings.ManagingUsername,
		ManagingPassword: settings.ManagingPassword,
		Retain:           settings.RetainEnvironments,
		Schedule:         settings.RotationSchedule,
		Team:             settings.ManagingTeam,
	})
	if err != nil {
		return err
	}

	ctx.Export("lambdaArn", connector.LambdaARN)
	ctx.Export("assumedRoleArn", connector.RoleARN)
	ctx.Export("rotatorEnvironment", pulumi.String(settings.Rotator.String()))
	ctx.Export("managingCredsEnvironment", pulumi.String(settings.Managing.String()))
	if url := settings.Backend.ConsoleURL(settings.Rotator); url != "" {
		ctx.Export("rotatorEnvironmentUrl", pulumi.String(url))
		ctx.Export("managingCredsEnvironmentUrl", pulumi.String(settings.Backend.ConsoleURL(settings.Managing)))
	}
	if connector.CheckCommand != "" {
		ctx.Export("checkCommand", pulumi.String(connector.CheckCommand))
	}
	return nil
}
