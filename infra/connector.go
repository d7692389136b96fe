package infra

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/infra/archive"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// Connector is what was deployed: what the environments' documents name of it, and how to look at it.
type Connector struct {
	LambdaARN    pulumi.StringOutput
	RoleARN      pulumi.StringOutput // the invocation role, which ESC assumes
	CheckCommand string              // for a shell: whether the function reaches the database; empty where it cannot

	deployment *deployment
	made       []pulumi.Output // of all that the environments wait for
	daily      pulumi.Resource // what has the function check the database each day; nil without keepWarm
	whole      bool            // whether all of that is there
	checked    bool            // whether the function was seen to reach the database
}

// Contents is what the two environments are to hold: what the program knows, and what the user has set. It waits until the
// whole connector is made, so that no environment is written, and none that was imported loses its protection, where AWS
// refused something.
//
// The documents name the ARNs as they are, and not as outputs: by those the state would have the environments depend on the
// function and the role, and to destroy one of these with its dependents would delete the environments.
func (c *Connector) Contents(ctx *pulumi.Context, settings *Settings, database *Database) (environments.Contents, error) {
	contents := environments.Contents{
		Managing: environments.ManagingCreds{Username: settings.ManagingUsername, Password: settings.ManagingPassword, IAM: settings.ManagingIAM},
		Name:     settings.Rotator,
		Rotator: environments.Rotator{
			Engine:    database.Engine,
			Host:      database.Host,
			Port:      database.Port,
			Managing:  settings.Managing,
			Database:  settings.DatabaseName,
			Username1: settings.RotateUsername1,
			Username2: settings.RotateUsername2,
		},
		RoleARN:   pulumi.String(c.deployment.account.roleARN(c.deployment.names.invocationRole)),
		LambdaARN: pulumi.String(c.deployment.functionARN()),
		Retain:    settings.RetainEnvironments,
		Schedule:  settings.RotationSchedule,
		Team:      settings.ManagingTeam,
		Webhook:   environments.Webhook{URL: settings.WebhookURL, Format: settings.WebhookFormat},
	}
	c.whole = true
	for _, output := range c.made {
		made, err := internals.UnsafeAwaitOutput(ctx.Context(), output)
		if unsigned := (unsignedError{}); errors.As(err, &unsigned) {
			return contents, unsigned
		}
		if err != nil {
			return contents, fmt.Errorf("deploying the connector: %w", err)
		}
		if !made.Known && !ctx.DryRun() {
			// A part that is not a target of pulumi up --target, and is not there. The engine refuses what depends on it.
			contents.RoleARN, contents.LambdaARN = c.RoleARN, c.LambdaARN
			c.whole = false
		}
	}
	return contents, nil
}

// deployment is what the steps of DeployConnector share.
type deployment struct {
	ctx      *pulumi.Context
	settings *Settings
	account  *Account
	last     *LastState
	database *Database
	names    names
	tags     pulumi.StringMap
	stands   *standing // nil where there is no function to compare with
}

// functionARN is known before the function is there.
func (d *deployment) functionARN() string { return d.account.functionARN(d.names.function) }

// goVersionTag is the function's tag that names the Go that compiled it.
const goVersionTag = "connector:go"

// BuildArchive has ./lambda compiled and zipped. It is empty where Pulumi's published archive is deployed.
func BuildArchive(ctx *pulumi.Context, settings *Settings, last *LastState) (*archive.Archive, error) {
	if settings.Published {
		return &archive.Archive{}, warnOfPublished(ctx)
	}
	return archive.Build(ctx, archive.Source{Root: settings.root, Architecture: settings.Architecture, CAFile: settings.CAFile,
		LastGo: text(part(last.outputs(functionResource).Tags, goVersionTag))})
}

// DeployConnector registers the function, all that it needs, and the role by which ESC invokes it.
func DeployConnector(ctx *pulumi.Context, settings *Settings, last *LastState, site *Site, archive *archive.Archive) (*Connector, error) {
	d := &deployment{ctx: ctx, settings: settings, last: last, account: site.Account, database: site.Database, names: newNames(settings, last),
		tags: pulumi.ToStringMap(stackTags(settings))}
	d.stands = d.findStanding()
	if err := errors.Join(d.warnOfConfiguration(), d.warnOfStop()); err != nil {
		return nil, err
	}
	logs, err := d.logGroup()
	if err != nil {
		return nil, err
	}
	role, permissions, err := d.executionRole()
	if err != nil {
		return nil, err
	}
	group, rules, err := d.network(permissions)
	if err != nil {
		return nil, err
	}
	code, err := d.code(archive)
	if err != nil {
		return nil, err
	}
	login, err := d.managingLogin(role)
	if err != nil {
		return nil, err
	}
	function, err := d.function(archive, code, logs, role, group, slices.Concat(rules, []pulumi.Resource{permissions}, login))
	if err != nil {
		return nil, err
	}
	invocationRole, mayInvoke, err := d.invocationRole(site.Trust, function)
	if err != nil {
		return nil, err
	}
	connector := &Connector{LambdaARN: function.Arn, RoleARN: invocationRole.Arn, deployment: d,
		made: []pulumi.Output{function.Arn, invocationRole.Arn, mayInvoke.ID()}}
	watching, err := d.watch(logs, function)
	if err != nil {
		return nil, err
	}
	connector.made = append(connector.made, watching...)
	if settings.Published { // which knows no dry run
		return connector, nil
	}
	if connector.CheckCommand, err = d.checkCommand(); err != nil {
		return nil, err
	}
	if settings.KeepWarm {
		var target *eventTarget
		if target, err = d.keepWarm(function); err != nil {
			return nil, err
		}
		connector.made = append(connector.made, target.ID())
		connector.daily = target
	}
	return connector, err
}

// logGroup is made before the function, which would otherwise make one that keeps its lines for ever.
func (d *deployment) logGroup() (*logGroup, error) {
	var group logGroup
	err := register(d.ctx, logGroupToken, logGroupResource, logGroupArgs{
		Name:            pulumi.String(d.names.logGroup),
		RetentionInDays: pulumi.Int(d.settings.LogRetentionDays),
		Tags:            d.tags,
	}, &group, pulumi.DeleteBeforeReplace(true),
		// An account's guardrails may encrypt it with a key of theirs, which a refresh would have the provider take away again
		// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/logs/group.go).
		pulumi.IgnoreChanges([]string{"kmsKeyId"}))
	return &group, err
}

// code is the archive as it is uploaded, or as it is after it was signed, or Pulumi's.
func (d *deployment) code(archive *archive.Archive) (*functionCode, error) {
	switch {
	case d.settings.Published:
		return d.published()
	case d.settings.CodeSigning:
		return d.signed(archive)
	}
	return &functionCode{upload: pulumi.NewFileArchive(archive.Path), hash: pulumi.String(d.stands.hashOf(archive))}, nil
}

// function needs its role's permissions before it is created, and until after it is deleted.
func (d *deployment) function(archive *archive.Archive, code *functionCode, logs *logGroup, role *iam.Role, group *securityGroup, after []pulumi.Resource,
) (*lambda.Function, error) {
	// How many of it may run at once is for whoever reserves that to say, and so is that none may.
	options := []pulumi.ResourceOption{pulumi.DeleteBeforeReplace(true), pulumi.DependsOn(append(after, logs)), pulumi.IgnoreChanges([]string{"reservedConcurrentExecutions"})}
	if !d.last.hasFunction() {
		options = append(options, afterFailure)
	}
	var environment lambda.FunctionEnvironmentPtrInput
	if d.settings.Published {
		// ESC updates the code to the newest version of the published object.
		options = append(options, pulumi.IgnoreChanges([]string{"s3ObjectVersion"}))
	} else {
		environment = d.environment(archive)
	}
	function, err := lambda.NewFunction(d.ctx, functionResource, &lambda.FunctionArgs{
		Name:                 pulumi.String(d.names.function),
		Description:          pulumi.String("Changes database passwords when Pulumi ESC asks for it"),
		Runtime:              pulumi.String("provided.al2023"),
		Handler:              pulumi.String("bootstrap"),
		Architectures:        pulumi.StringArray{pulumi.String(d.settings.Architecture)},
		Code:                 code.upload,
		SourceCodeHash:       code.hash,
		S3Bucket:             code.bucket,
		S3Key:                code.key,
		CodeSigningConfigArn: code.signingConfig,
		Environment:          environment,
		Role:                 role.Arn,
		Timeout:              pulumi.Int(30),  // seconds
		MemorySize:           pulumi.Int(256), // MB
		LoggingConfig: lambda.FunctionLoggingConfigArgs{
			LogFormat: pulumi.String("JSON"),
			LogGroup:  pulumi.String(d.names.logGroup),
		},
		VpcConfig: lambda.FunctionVpcConfigArgs{
			SubnetIds:               pulumi.ToStringArray(d.database.Subnets),
			SecurityGroupIds:        pulumi.StringArray{group.ID().ToStringOutput()},
			Ipv6AllowedForDualStack: pulumi.Bool(d.database.DualStack),
		},
		// Not in a VPC that another account shares, whose default group is not ours to use. The provider would look for that group
		// by a VPC that the state does not name, where the function's creation has failed.
		ReplaceSecurityGroupsOnDestroy: pulumi.Bool(d.database.DefaultGroup != ""),
		ReplacementSecurityGroupIds:    d.replacementGroups(),
		Tags:                           d.functionTags(archive),
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("registering the function: %w", err)
	}
	return function, nil
}

// environment holds no variable whose value is the connector's default: Lambda encrypts variables by a grant of the execution role's,
// and refuses every invocation once that role was made anew: https://github.com/hashicorp/terraform-provider-aws/issues/6352
func (d *deployment) environment(archive *archive.Archive) lambda.FunctionEnvironmentPtrInput {
	variables := pulumi.StringMap{}
	if d.settings.SSLMode != "verify-full" {
		variables["DB_SSLMODE"] = pulumi.String(d.settings.SSLMode)
	}
	if d.settings.ManagingIAM {
		variables[managingAuthVariable] = pulumi.String(managingAuthIAM)
	}
	// Earlier versions named the file so. The provider sends the configuration before the code: the old code needs the variable yet.
	if archive.CAFile != "" && d.last.outputs(functionResource).variable("DB_SSLROOTCERT") != "" {
		variables["DB_SSLROOTCERT"] = pulumi.String(archive.CAFile)
	}
	if len(variables) == 0 {
		return nil
	}
	return lambda.FunctionEnvironmentArgs{Variables: variables}
}

// replacementGroups is where the function's network interfaces go at its end, so that its own group can.
func (d *deployment) replacementGroups() pulumi.StringArrayInput {
	if d.database.DefaultGroup == "" {
		return nil
	}
	return pulumi.StringArray{pulumi.String(d.database.DefaultGroup)}
}

// functionTags also say which Go compiled the function: another one changes the archive of the same source.
func (d *deployment) functionTags(archive *archive.Archive) pulumi.StringMap {
	tags := maps.Clone(d.tags)
	if archive.GoVersion != "" {
		tags[goVersionTag] = pulumi.String(archive.GoVersion)
	}
	return tags
}
