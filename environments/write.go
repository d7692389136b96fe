package environments

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-pulumiservice/sdk/go/pulumiservice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// Contents is what Write puts into the two environments.
type Contents struct {
	Managing ManagingCreds // but for its RoleARN
	Name     Name          // of the rotator environment; that of the other is Rotator.Managing
	Rotator  Rotator       // but for its LambdaARN

	RoleARN   pulumi.StringInput
	LambdaARN pulumi.StringInput

	Retain   bool   // whether the environments stay when the stack is destroyed
	Schedule string // by which ESC rotates, in cron's notation; empty: only by hand
	Team     string // that may administer the managing credentials environment; empty: who created it
	Webhook  Webhook
}

// Types of the environments and of what stands beside them.
const (
	Type         = "pulumiservice:index:Environment"
	TeamType     = "pulumiservice:index:TeamEnvironmentPermission"
	ScheduleType = "pulumiservice:index:EnvironmentRotationSchedule"
	WebhookType  = "pulumiservice:index:Webhook"
)

// Logical names of what this package registers. They stand in the states of all who have deployed the connector, and so never
// change: an environment of another name would be created anew, and the one that holds the live passwords deleted.
const (
	ManagingResource = "managingCreds"
	TeamResource     = "managingTeam"
	RotatorResource  = "rotator"
	ScheduleResource = "rotationSchedule"
	CloudResource    = "pulumiCloud"
	WebhookResource  = "webhook"
)

// Connect registers the provider of Pulumi Cloud at that URL.
func Connect(ctx *pulumi.Context, url string) (*pulumiservice.Provider, error) {
	cloud, err := pulumiservice.NewProvider(ctx, CloudResource, &pulumiservice.ProviderArgs{ApiUrl: pulumi.String(url)})
	if err != nil {
		return nil, fmt.Errorf("registering the provider of Pulumi Cloud at %s: %w", url, err)
	}
	return cloud, nil
}

// Write registers the two environments, which are written once: from the first rotation on the
// rotator environment holds the only copy of live passwords, and both hold the user's own edits.
// Therefore no input of theirs ever changes again (an update would send the whole older document),
// and their type, name and parent stay as they are (a new one would be a replacement, and delete them).
func Write(ctx *pulumi.Context, cloud *pulumiservice.Provider, contents Contents) error {
	once := []pulumi.ResourceOption{
		pulumi.Provider(cloud),
		pulumi.IgnoreChanges([]string{"yaml", "name", "project", "organization"}),
		// A replacement that is forced (pulumi up --replace) fails before it deletes anything, since the
		// environment exists.
		pulumi.DeleteBeforeReplace(false),
		pulumi.AdditionalSecretOutputs([]string{"yaml"}),
		pulumi.RetainOnDelete(contents.Retain),
	}

	managing, err := register(ctx, ManagingResource, contents.Rotator.Managing,
		contents.RoleARN.ToStringOutput().ApplyT(func(roleARN string) (pulumi.AssetOrArchive, error) {
			document := contents.Managing
			document.RoleARN = roleARN
			return asset(document.Document())
		}).(pulumi.AssetOrArchiveOutput), once...)
	if err != nil {
		return err
	}

	// ESC evaluates the rotator environment when it is created, and with it the managing one.
	rotator, err := register(ctx, RotatorResource, contents.Name,
		contents.LambdaARN.ToStringOutput().ApplyT(func(lambdaARN string) (pulumi.AssetOrArchive, error) {
			document := contents.Rotator
			document.LambdaARN = lambdaARN
			return asset(document.Document())
		}).(pulumi.AssetOrArchiveOutput), append(once, pulumi.DependsOn([]pulumi.Resource{managing}))...)
	if err != nil {
		return err
	}
	access, err := writeAccess(ctx, cloud, contents, managing, rotator)
	if err != nil {
		return err
	}
	webhook, err := writeWebhook(ctx, cloud, contents, rotator)
	if err != nil {
		return err
	}
	// The engine ends the update where one of these cannot be made, and says why. Whatever else fails then fails by that.
	for _, made := range slices.Concat([]pulumi.CustomResource{managing, rotator}, access, webhook) {
		if _, err := internals.UnsafeAwaitOutput(ctx.Context(), made.ID()); err != nil {
			return fmt.Errorf("writing the environments: %w", err)
		}
	}
	return nil
}

// writeAccess registers what stands beside the environments: who may administer the one, and when ESC
// rotates the other. Both go with the stack, even where the environments stay.
func writeAccess(ctx *pulumi.Context, cloud *pulumiservice.Provider, contents Contents, managing, rotator pulumi.Resource) ([]pulumi.CustomResource, error) {
	var made []pulumi.CustomResource
	if contents.Team != "" {
		managingName := contents.Rotator.Managing
		permission, err := pulumiservice.NewTeamEnvironmentPermission(ctx, TeamResource, &pulumiservice.TeamEnvironmentPermissionArgs{
			Organization: pulumi.String(managingName.Organization),
			Project:      pulumi.String(managingName.Project),
			Environment:  pulumi.String(managingName.Environment),
			Team:         pulumi.String(contents.Team),
			Permission:   pulumiservice.EnvironmentPermissionAdmin,
		}, pulumi.Provider(cloud), pulumi.DependsOn([]pulumi.Resource{managing}), pulumi.DeleteBeforeReplace(true))
		if err != nil {
			return nil, fmt.Errorf("registering the permission of team %s on %s: %w", contents.Team, managingName, err)
		}
		made = append(made, permission)
	}
	if contents.Schedule != "" {
		schedule, err := pulumiservice.NewEnvironmentRotationSchedule(ctx, ScheduleResource, &pulumiservice.EnvironmentRotationScheduleArgs{
			Organization: pulumi.String(contents.Name.Organization),
			Project:      pulumi.String(contents.Name.Project),
			Environment:  pulumi.String(contents.Name.Environment),
			ScheduleCron: pulumi.String(contents.Schedule),
		}, pulumi.Provider(cloud), pulumi.DependsOn([]pulumi.Resource{rotator}), pulumi.DeleteBeforeReplace(true))
		if err != nil {
			return nil, fmt.Errorf("registering the rotation schedule of %s: %w", contents.Name, err)
		}
		made = append(made, schedule)
	}
	return made, nil
}

// ScheduleID is what the provider calls an environment's rotation schedule
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/rotation_schedules.go).
func ScheduleID(rotator Name, id string) string { return rotator.String() + "/rotations/" + id }

// ImportCommand is the command that takes over what is in Pulumi Cloud as it is, into the state of the stack at hand. What it takes
// over stays protected until the next update has made all else.
func ImportCommand(ctx *pulumi.Context, resourceType, logicalName, id string) string {
	command := fmt.Sprintf("pulumi import %s %s %s --generate-code=false", resourceType, logicalName, id)
	// By the provider's own defaults it would ask the instance that PULUMI_BACKEND_URL names. In a preview the state may
	// not have our provider yet.
	if !ctx.DryRun() {
		command += fmt.Sprintf(" --provider %[1]s=urn:pulumi:%[2]s::%[3]s::pulumi:providers:pulumiservice::%[1]s",
			CloudResource, ctx.Stack(), ctx.Project())
	}
	return command
}

// Exists asks Pulumi Cloud whether an environment of that name is there. What is no clear answer is an error: an
// environment that is there after all would fail an update that has half made what is in AWS.
func Exists(ctx *pulumi.Context, cloud *pulumiservice.Provider, name Name) (bool, error) {
	found, err := pulumiservice.LookupEnvironment(ctx, &pulumiservice.LookupEnvironmentArgs{
		OrganizationName: name.Organization,
		ProjectName:      &name.Project,
		Name:             name.Environment,
	}, pulumi.Provider(cloud))
	if err == nil {
		return found.EnvironmentId != "", nil
	}
	// The provider's words for a 404, and for nothing else
	// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/functions/environments.go).
	if strings.Contains(err.Error(), "environment "+name.String()+" not found") {
		return false, nil
	}
	return false, fmt.Errorf("asking Pulumi Cloud whether the environment %s exists: %w; nothing was created.\n"+
		"  Try again. If it stays so, see whether this login may see the organization's environments: pulumi env ls --organization %s",
		name, err, name.Organization)
}

func asset(document string, err error) (pulumi.AssetOrArchive, error) {
	if err != nil {
		return nil, err
	}
	return pulumi.NewStringAsset(document), nil
}

func register(ctx *pulumi.Context, logicalName string, name Name, yaml pulumi.AssetOrArchiveInput,
	options ...pulumi.ResourceOption,
) (*pulumiservice.Environment, error) {
	// Secret as a whole: a refresh reads what users and ESC have written since.
	yaml = pulumi.ToSecret(yaml).(pulumi.AssetOrArchiveOutput)
	environment, err := pulumiservice.NewEnvironment(ctx, logicalName, &pulumiservice.EnvironmentArgs{
		Organization: pulumi.String(name.Organization),
		Project:      pulumi.String(name.Project),
		Name:         pulumi.String(name.Environment),
		Yaml:         yaml,
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("registering the environment %s: %w", name, err)
	}
	return environment, nil
}
