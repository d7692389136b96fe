package infra

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"strings"

	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// Connector is what was deployed: what the environments' documents name of it, and how to look at it.
type Connector struct {
	LambdaARN    pulumi.StringOutput
	RoleARN      pulumi.StringOutput // the invocation role, which ESC assumes
	CheckCommand string              // for a shell: tells whether the function reaches the database; empty where it cannot

	names   names
	account *Account
	made    []pulumi.Output // of all that the environments wait for
}

// Contents is what the two environments are to hold: what the program knows, and what the user has set. It waits until the
// whole connector is made, so that no environment is written, and none that was imported loses its protection, where AWS
// refused something.
//
// The documents name the ARNs as they are, and not as outputs: by those the state would have the environments depend on the
// function and the role, and to destroy one of these with its dependents would delete the environments.
func (c *Connector) Contents(ctx *pulumi.Context, settings *Settings, database *Database) (environments.Contents, error) {
	contents := environments.Contents{
		Managing: environments.ManagingCreds{Username: settings.ManagingUsername, Password: settings.ManagingPassword},
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
		RoleARN:   pulumi.String(c.account.roleARN(c.names.invocationRole)),
		LambdaARN: pulumi.String(c.account.functionARN(c.names.function)),
		Retain:    settings.RetainEnvironments,
		Schedule:  settings.RotationSchedule,
		Team:      settings.ManagingTeam,
	}
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
		}
	}
	return contents, nil
}

// ExportOutputs gives the stack its outputs. Where the environments are new, it says what to do next.
func (c *Connector) ExportOutputs(ctx *pulumi.Context, settings *Settings, last *LastState, edits Edits) {
	ctx.Export("lambdaArn", c.LambdaARN)
	ctx.Export("assumedRoleArn", c.RoleARN)
	ctx.Export("rotatorEnvironment", pulumi.String(settings.Rotator.String()))
	ctx.Export("managingCredsEnvironment", pulumi.String(settings.Managing.String()))
	ctx.Export("environmentsOnDestroy", pulumi.String(onDestroy(settings)))
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
	if !last.Complete() && !ctx.DryRun() {
		next := "Next:" + c.nextSteps(ctx, settings)
		c.LambdaARN.ApplyT(func(string) error { return ctx.Log.Info(next, nil) }) // not where creating it failed
	}
}

// onDestroy tells what pulumi destroy does to the environments, by what is deployed and not by what is set since. A protection
// by the CLI cannot be seen from here. The CLI shows 150 characters of it.
func onDestroy(settings *Settings) string {
	if settings.RetainEnvironments {
		// An update of a part leaves the environments in the state as they were, and cannot be told from any other here.
		return "kept by pulumi destroy, if pulumi up has run without --target and --exclude since retainEnvironments was set"
	}
	return "deleted by pulumi destroy (pulumi up ends any pulumi state protect); to keep both, set retainEnvironments, then pulumi up"
}

// nextSteps are what is left to do after the environments were written, with the commands to paste.
func (c *Connector) nextSteps(ctx *pulumi.Context, settings *Settings) string {
	steps := ""
	if settings.ManagingUsername == "" || settings.ManagingPassword == (event.Secret{}) {
		steps += "\n  Replace the placeholders in managingUser:\n    " + escCommand(ctx, settings, "edit", settings.Managing)
	}
	if settings.DatabaseName == "" || settings.RotateUsername1 == "" || settings.RotateUsername2 == "" {
		steps += "\n  Replace the placeholders in database and rotateUsers:\n    " + escCommand(ctx, settings, "edit", settings.Rotator)
	}
	if c.CheckCommand != "" {
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

// names are fixed when they are first given, since ARNs made of them stand in the users' documents: a
// stack that is renamed keeps them.
type names struct {
	function       string
	invocationRole string
	executionRole  string
	logGroup       string
	rule           string
	archive        string // the object's key
}

// Names of the roles' inline policies.
const (
	executionPolicyName  = "connector"
	invocationPolicyName = "invoke"
)

var notInNames = regexp.MustCompile(`[^A-Za-z0-9-]+`)

func newNames(s *Settings, last *LastState) names {
	sum := sha256.Sum256([]byte(strings.Join([]string{s.Organization, s.Project, s.Stack, s.Region}, "/")))
	hash := hex.EncodeToString(sum[:4])
	readable := strings.Trim(notInNames.ReplaceAllString(s.Project+"-"+s.Stack, "-"), "-")
	// What is left of a renamed stack, of which a part was destroyed, tells what the rest was called.
	for _, left := range []struct{ logicalName, infix string }{{"function", "-"}, {"invocationRole", "-invoke-"}, {"executionRole", "-run-"}} {
		name := text(last.outputs(left.logicalName).Name)
		if i := strings.LastIndex(name, left.infix); i > 0 && len(name)-i-len(left.infix) == len(hash) {
			readable, hash = name[:i], name[i+len(left.infix):]
			break
		}
	}
	name := func(suffix string) string {
		suffix += "-" + hash
		// 64 characters is the most of a role's name and of a function's.
		return strings.TrimRight(readable[:min(len(readable), 64-len(suffix))], "-") + suffix
	}
	function := cmp.Or(text(last.outputs("function").Name), name(""))
	return names{
		function:       function,
		invocationRole: cmp.Or(text(last.outputs("invocationRole").Name), name("-invoke")),
		executionRole:  cmp.Or(text(last.outputs("executionRole").Name), name("-run")),
		logGroup:       cmp.Or(text(last.outputs("logs").Name), "/aws/lambda/"+function),
		rule:           cmp.Or(text(last.outputs("keepWarm").Name), function),
		archive:        archiveKey(last),
	}
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
}

// DeployConnector registers the function, all that it needs, and the role by which ESC invokes it.
func DeployConnector(ctx *pulumi.Context, settings *Settings, last *LastState, site *Site, archive *Archive) (*Connector, error) {
	d := &deployment{ctx: ctx, settings: settings, last: last, account: site.Account, database: site.Database, names: newNames(settings, last),
		tags: pulumi.StringMap{
			"pulumi:project": pulumi.String(settings.Project),
			"pulumi:stack":   pulumi.String(settings.Stack),
		}}
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
	function, err := d.function(archive, code, logs, role, group, append(rules, permissions))
	if err != nil {
		return nil, err
	}
	invocationRole, mayInvoke, err := d.invocationRole(site.Trust, function)
	if err != nil {
		return nil, err
	}
	connector := &Connector{LambdaARN: function.Arn, RoleARN: invocationRole.Arn, names: d.names, account: site.Account,
		made: []pulumi.Output{function.Arn, invocationRole.Arn, mayInvoke.ID()}}
	if settings.Published { // which knows no dry run
		return connector, nil
	}
	if connector.CheckCommand, err = d.checkCommand(); err != nil {
		return nil, err
	}
	if settings.KeepWarm {
		var target *eventTarget
		if target, err = d.keepWarm(function); err == nil {
			connector.made = append(connector.made, target.ID())
		}
	}
	return connector, err
}

// logGroup is made before the function, which would otherwise make one that keeps its lines for ever.
func (d *deployment) logGroup() (*logGroup, error) {
	var group logGroup
	err := register(d.ctx, logGroupToken, "logs", logGroupArgs{
		Name:            pulumi.String(d.names.logGroup),
		RetentionInDays: pulumi.Int(d.settings.LogRetentionDays),
		Tags:            d.tags,
	}, &group, pulumi.DeleteBeforeReplace(true))
	return &group, err
}

// executionRole is what the function runs as. Lambda itself needs the permissions on network
// interfaces, on all resources; the function's own code is denied them:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
func (d *deployment) executionRole() (*iam.Role, *iam.RolePolicy, error) {
	trust, err := newPolicy(statement{
		Effect:    "Allow",
		Principal: map[string]string{"Service": "lambda.amazonaws.com"},
		Action:    []string{"sts:AssumeRole"},
	}).json()
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(d.ctx, "executionRole", &iam.RoleArgs{
		Name:                pulumi.String(d.names.executionRole),
		Description:         pulumi.String("The rotation connector's function runs as this role"),
		AssumeRolePolicy:    pulumi.String(trust),
		PermissionsBoundary: d.permissionsBoundary(),
		Tags:                d.tags,
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, nil, fmt.Errorf("registering the execution role: %w", err)
	}
	interfaces := []string{
		"ec2:CreateNetworkInterface",
		"ec2:DescribeNetworkInterfaces",
		"ec2:DescribeSubnets",
		"ec2:DeleteNetworkInterface",
		"ec2:AssignPrivateIpAddresses",
		"ec2:UnassignPrivateIpAddresses",
	}
	// By the names, which are known: so a preview tells no change of this policy where the log group is made anew.
	document, err := newPolicy(
		statement{Sid: "WriteLogs", Effect: "Allow",
			Action:   []string{"logs:CreateLogStream", "logs:PutLogEvents"},
			Resource: []string{d.account.arn("logs", "log-group:"+d.names.logGroup) + ":*"}},
		statement{Sid: "NetworkInterfaces", Effect: "Allow", Action: interfaces, Resource: []string{"*"}},
		statement{Sid: "NoNetworkInterfacesForTheCode", Effect: "Deny", Action: interfaces, Resource: []string{"*"},
			Condition: conditions{"ArnEquals": {"lambda:SourceFunctionArn": d.account.functionARN(d.names.function)}}},
	).json()
	if err != nil {
		return nil, nil, err
	}
	permissions, err := iam.NewRolePolicy(d.ctx, "executionPolicy", &iam.RolePolicyArgs{
		Name:   pulumi.String(executionPolicyName),
		Role:   role.Name,
		Policy: pulumi.String(document),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("registering the execution role's permissions: %w", err)
	}
	return role, permissions, nil
}

// permissionsBoundary is nil without one: an empty string would be a policy of no name.
func (d *deployment) permissionsBoundary() pulumi.StringPtrInput {
	if d.settings.PermissionsBoundary == "" {
		return nil
	}
	return pulumi.String(d.settings.PermissionsBoundary)
}

// network is the function's security group, which reaches the database's port, DNS servers of the user's own, and
// nothing else.
func (d *deployment) network(permissions *iam.RolePolicy) (*securityGroup, []pulumi.Resource, error) {
	if before := text(d.last.outputs("securityGroup").VpcId); before != "" && before != d.database.VPC {
		err := d.ctx.Log.Info(fmt.Sprintf("The function moves from %s to %s, and gets a security group there. At its end pulumi up waits until AWS has deleted the function's "+
			"network interfaces in %[1]s, which hold the old group: that takes up to 45 minutes, and after an hour, or two at the worst, it gives up. "+
			"The function works meanwhile, and another pulumi up goes on where this one was stopped", before, d.database.VPC), nil)
		if err != nil {
			return nil, nil, err
		}
	}
	var group securityGroup
	// The provider waits for Lambda's interfaces by this timeout, but no less than 45 minutes, and then tries to delete the group
	// for as long again: https://github.com/pulumi/pulumi-aws/issues/4382, and resourceSecurityGroupDelete in
	// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_security_group.go
	// A function's network interfaces can outlive it by up to 45 minutes, and hold the group. Lambda deletes them by these
	// permissions, which must outlive the group for that: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
	err := register(d.ctx, securityGroupToken, "securityGroup", securityGroupArgs{
		Description: pulumi.String("Rotation connector " + d.names.function),
		VpcId:       pulumi.String(d.database.VPC),
		Tags:        d.tags,
	}, &group, pulumi.DependsOn([]pulumi.Resource{permissions}), pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: "1h"}))
	if err != nil {
		return nil, nil, err
	}
	port := pulumi.Int(d.database.Port)
	databaseGroup := pulumi.String(d.database.SecurityGroup)
	var options []pulumi.ResourceOption
	if strings.Contains(d.database.SecurityGroup, "/") {
		// The provider creates a rule for a group of another account, and cannot change it:
		// https://github.com/hashicorp/terraform-provider-aws/issues/36958
		options = append(options, pulumi.ReplaceOnChanges([]string{"referencedSecurityGroupId", "fromPort", "toPort"}))
	}
	var egress securityGroupRule
	err = register(d.ctx, egressRuleToken, "toDatabase", securityGroupRuleArgs{
		Description:               pulumi.String("To the database"),
		SecurityGroupId:           group.ID().ToStringOutput(),
		ReferencedSecurityGroupId: databaseGroup,
		IpProtocol:                pulumi.String("tcp"),
		FromPort:                  port,
		ToPort:                    port,
		Tags:                      d.tags,
	}, &egress, options...)
	if err != nil {
		return nil, nil, err
	}
	rules := []pulumi.Resource{&egress}
	for _, server := range d.database.NameServers {
		for _, protocol := range []string{"udp", "tcp"} {
			rule, err := d.toNameServer(&group, server, protocol)
			if err != nil {
				return nil, nil, err
			}
			rules = append(rules, rule)
		}
	}
	if !d.settings.ManageIngress {
		return &group, rules, d.tellIngress(&group)
	}
	var ingress securityGroupRule
	err = register(d.ctx, ingressRuleToken, "fromConnector", securityGroupRuleArgs{
		Description:               pulumi.String("From the rotation connector " + d.names.function),
		SecurityGroupId:           databaseGroup,
		ReferencedSecurityGroupId: group.ID().ToStringOutput(),
		IpProtocol:                pulumi.String("tcp"),
		FromPort:                  port,
		ToPort:                    port,
		Tags:                      d.tags,
	}, &ingress)
	return &group, append(rules, &ingress), err
}

// toNameServer lets the function ask one DNS server.
func (d *deployment) toNameServer(group *securityGroup, server netip.Addr, protocol string) (*securityGroupRule, error) {
	const dns = 53
	args := securityGroupRuleArgs{
		Description:     pulumi.String("To a DNS server of the VPC"),
		SecurityGroupId: group.ID().ToStringOutput(),
		IpProtocol:      pulumi.String(protocol),
		FromPort:        pulumi.Int(dns),
		ToPort:          pulumi.Int(dns),
		Tags:            d.tags,
	}
	host := pulumi.String(netip.PrefixFrom(server, server.BitLen()).String())
	if server.Is4() {
		args.CidrIpv4 = host
	} else {
		args.CidrIpv6 = host
	}
	var rule securityGroupRule
	name := "toNameServer-" + protocol + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(server.String())
	return &rule, register(d.ctx, egressRuleToken, name, args, &rule)
}

// tellIngress prints the rule that the database's security group needs, and which is not ours to add.
func (d *deployment) tellIngress(group *securityGroup) error {
	database := d.database
	d.ctx.Export("databaseIngressCommand", group.ID().ToStringOutput().ApplyT(func(id string) (string, error) {
		command := fmt.Sprintf("%s ec2 authorize-security-group-ingress --region %s --group-id %s --protocol tcp --port %d --source-group %s",
			d.account.CLI, d.account.Region, database.SecurityGroup, database.Port, id)
		if owner, group, foreign := strings.Cut(database.SecurityGroup, "/"); foreign {
			command = fmt.Sprintf("aws ec2 authorize-security-group-ingress --region %s --group-id %s --ip-permissions "+
				"'IpProtocol=tcp,FromPort=%d,ToPort=%[3]d,UserIdGroupPairs=[{GroupId=%[4]s,UserId=%[5]s}]' # with credentials of the account %[6]s",
				d.account.Region, group, database.Port, id, d.account.ID, owner)
		}
		return command, d.ctx.Log.Info(fmt.Sprintf("manageDatabaseIngress is false: let the connector in where the rules of %s are kept: "+
			"TCP port %d from %s, or\n  %s\nTake that rule away before pulumi destroy, since AWS deletes no group that a rule of another one names",
			database.SecurityGroup, database.Port, id, command), nil)
	}).(pulumi.StringOutput))
	return nil
}

// code is the archive as it is uploaded, or as it is after it was signed, or Pulumi's.
func (d *deployment) code(archive *Archive) (*functionCode, error) {
	switch {
	case d.settings.Published:
		return d.published()
	case d.settings.CodeSigning:
		return d.signed(archive)
	}
	return d.uploaded(archive), nil
}

// function needs its role's permissions before it is created, and until after it is deleted.
func (d *deployment) function(archive *Archive, code *functionCode, logs *logGroup, role *iam.Role, group *securityGroup, after []pulumi.Resource,
) (*lambda.Function, error) {
	options := []pulumi.ResourceOption{pulumi.DeleteBeforeReplace(true), pulumi.DependsOn(append(after, logs))}
	if !code.inPlace {
		options = append(options, afterFailure)
	}
	var environment lambda.FunctionEnvironmentPtrInput
	if d.settings.Published {
		// ESC updates the code to the newest version of the published object.
		options = append(options, pulumi.IgnoreChanges([]string{"s3ObjectVersion"}))
	} else {
		environment = d.environment(archive)
	}
	function, err := lambda.NewFunction(d.ctx, "function", &lambda.FunctionArgs{
		Name:                 pulumi.String(d.names.function),
		Description:          pulumi.String("Changes database passwords when Pulumi ESC asks for it"),
		Runtime:              pulumi.String("provided.al2023"),
		Handler:              pulumi.String("bootstrap"),
		Architectures:        pulumi.StringArray{pulumi.String(archive.Architecture)},
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
func (d *deployment) environment(archive *Archive) lambda.FunctionEnvironmentPtrInput {
	variables := pulumi.StringMap{}
	if d.settings.SSLMode != "verify-full" {
		variables["DB_SSLMODE"] = pulumi.String(d.settings.SSLMode)
	}
	// Earlier versions named the file so. The provider sends the configuration before the code: the old code needs the variable yet.
	if archive.CAFile != "" && d.last.outputs("function").variable("DB_SSLROOTCERT") != "" {
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

// functionTags also tell which Go compiled the function: another one changes the archive of the same source.
func (d *deployment) functionTags(archive *Archive) pulumi.StringMap {
	tags := maps.Clone(d.tags)
	if archive.GoVersion != "" {
		tags[goVersionTag] = pulumi.String(archive.GoVersion)
	}
	return tags
}

// invocationRole is the role that ESC assumes. It may invoke this function, and look at it.
func (d *deployment) invocationRole(trust *Trust, function *lambda.Function) (*iam.Role, *iam.RolePolicy, error) {
	provider, err := trust.provider(d.ctx)
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(d.ctx, "invocationRole", &iam.RoleArgs{
		Name:        pulumi.String(d.names.invocationRole),
		Description: pulumi.String("Pulumi ESC assumes this role to invoke the rotation connector"),
		AssumeRolePolicy: provider.ToStringOutput().ApplyT(func(providerARN string) (string, error) {
			return trust.policy(providerARN).json()
		}).(pulumi.StringOutput),
		PermissionsBoundary: d.permissionsBoundary(),
		Tags:                d.tags,
	}, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, nil, fmt.Errorf("registering the invocation role: %w", err)
	}
	mayInvoke, err := iam.NewRolePolicy(d.ctx, "invocationPolicy", &iam.RolePolicyArgs{
		Name: pulumi.String(invocationPolicyName),
		Role: role.Name,
		Policy: function.Arn.ApplyT(func(functionARN string) (string, error) {
			statements := []statement{{Sid: "InvokeConnector", Effect: "Allow",
				Action: []string{"lambda:InvokeFunction", "lambda:GetFunction"}, Resource: []string{functionARN}}}
			if d.settings.Published {
				statements = append(statements, d.updateByESC(functionARN)...)
			}
			return newPolicy(statements...).json()
		}).(pulumi.StringOutput),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("registering the invocation role's permissions: %w", err)
	}
	return role, mayInvoke, nil
}
