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

// deploy stops at the first step that fails. Nothing is created before all that can be checked has been.
func deploy(ctx *pulumi.Context, configuration infra.Config) error {
	settings, err := infra.ReadSettings(ctx, configuration) // what the user has set, checked
	if err != nil {
		return err
	}
	last, err := infra.ReadLastState(ctx, settings) // what this stack has written before, and must stay where it is
	if err != nil {
		return err
	}
	cloud, err := environments.Connect(ctx, settings.Backend.URL) // Pulumi Cloud
	if err != nil {
		return err
	}
	if err := last.Examine(ctx, settings, cloud); err != nil { // what of it all is there, and whose it is
		return err
	}
	site, err := infra.FindSite(ctx, settings, last) // the account, the database and its network, whom the account trusts
	if err != nil {
		return err
	}
	edits, err := last.WarnOfDrift(ctx, settings, site) // lines of the two environments that no longer fit, which are the user's to edit
	if err != nil {
		return err
	}
	preparation, err := infra.PlanPreparation(ctx, settings, last, site) // which users the database lacks, and who may make them
	if err != nil {
		return err
	}
	archive, err := infra.BuildArchive(ctx, settings, last) // ./lambda, compiled and zipped
	if err != nil {
		return err
	}

	connector, err := infra.DeployConnector(ctx, settings, last, site, archive) // the function, and who may invoke it
	if err != nil {
		return err
	}
	contents, err := connector.Contents(ctx, settings, site.Database) // once all of that is there
	if err != nil {
		return err
	}
	if err := connector.Prepare(ctx, settings, last, preparation); err != nil { // the database's users, before an environment names them
		return err
	}
	if err := environments.Write(ctx, cloud, contents); err != nil { // once, and never again
		return err
	}
	if err := connector.Check(ctx, settings, last, site.Database, preparation); err != nil { // what the function sees of the database
		return err
	}
	if err := connector.WatchSilence(); err != nil { // when somebody is to hear of it
		return err
	}
	connector.ExportOutputs(ctx, settings, last, edits) // what pulumi stack output shows, and what to do next
	return nil
}

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
