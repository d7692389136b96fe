package infra

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// LastState is what this stack's state holds as the program starts: what earlier updates have written,
// and what the documents of the environments name.
type LastState struct {
	known     bool
	stack     string                     // organization/project/stack
	entries   []entry                    // all but the stack itself
	resources map[string]resourceOutputs // by logical name, of what the program registers
	reported  Edits                      // what the last update's warning of drift said
	// What the stack's outputs call the function and the invocation role, which may be in the state no longer, or the documents.
	function, invocationRole string
	ended                    bool // whether an update has come to its end, where the stack gets its outputs
	documented               bool // whether the documents alone tell the names

	check    map[string]string   // what the last check of each environment's database found
	prepared map[string]prepared // which users of which database have been made, by environment
}

// resourceOutputs are the outputs that the program asks for, of resources of any type. They may have any type themselves: a
// user's own resources stand in the same state.
type resourceOutputs struct {
	Organization any `pulumi:"organization"`
	Project      any `pulumi:"project"`
	Name         any `pulumi:"name"`
	Arn          any `pulumi:"arn"`
	ApiUrl       any `pulumi:"apiUrl"`

	VpcConfig                 any `pulumi:"vpcConfig"`
	Environment               any `pulumi:"environment"` // of a function: {variables}; of others a name
	VpcId                     any `pulumi:"vpcId"`
	ReferencedSecurityGroupId any `pulumi:"referencedSecurityGroupId"`
	SecurityGroupRuleId       any `pulumi:"securityGroupRuleId"`
	SecurityGroupId           any `pulumi:"securityGroupId"`
	Key                       any `pulumi:"key"`
	VersionId                 any `pulumi:"versionId"`

	Team        any `pulumi:"team"`
	ScheduleId  any `pulumi:"scheduleId"`
	StatementId any `pulumi:"statementId"`
	Tags        any `pulumi:"tags"`

	// Of a function.
	Role                 any `pulumi:"role"`
	Runtime              any `pulumi:"runtime"`
	Handler              any `pulumi:"handler"`
	Description          any `pulumi:"description"`
	Timeout              any `pulumi:"timeout"`
	MemorySize           any `pulumi:"memorySize"`
	LoggingConfig        any `pulumi:"loggingConfig"`
	CodeSigningConfigArn any `pulumi:"codeSigningConfigArn"`
	SourceCodeHash       any `pulumi:"sourceCodeHash"`
	S3Key                any `pulumi:"s3Key"`
	LastModified         any `pulumi:"lastModified"`

	// Of the stack itself.
	EnvironmentEdits    any `pulumi:"environmentEdits"`
	LambdaArn           any `pulumi:"lambdaArn"`
	AssumedRoleArn      any `pulumi:"assumedRoleArn"`
	DatabaseCheck       any `pulumi:"databaseCheck"`
	DatabasePreparation any `pulumi:"databasePreparation"`
}

// text is an output that is one, or empty.
func text(output any) string {
	text, _ := output.(string)
	return text
}

// afterLast is the text's part after the last separator, or all of it.
func afterLast(text, separator string) string {
	return text[strings.LastIndex(text, separator)+len(separator):]
}

// part is what an output has by that name, or nil.
func part(output any, name string) any {
	parts, _ := output.(map[string]any)
	return parts[name]
}

// texts are those of a list.
func texts(output any) []string {
	var found []string
	list, _ := output.([]any)
	for _, each := range list {
		found = append(found, text(each))
	}
	return found
}

// variable is an environment variable of a function.
func (r resourceOutputs) variable(name string) string {
	return text(part(part(r.Environment, "variables"), name))
}

// entry is a resource in the state, whoever put it there.
type entry struct {
	urn     urn.URN
	outputs resourceOutputs
}

// environment is which one they are, of an environment's outputs.
func (o resourceOutputs) environment() environments.Name {
	return environments.Name{Organization: text(o.Organization), Project: text(o.Project), Environment: text(o.Name)}
}

// registeredTypes are the types of the resources whose outputs the program asks for: a user's resource may have one of their
// logical names.
var registeredTypes = map[string]string{
	environments.CloudResource:    "pulumi:providers:pulumiservice",
	environments.ManagingResource: environments.Type,
	environments.RotatorResource:  environments.Type,
	environments.ScheduleResource: environments.ScheduleType,
	environments.TeamResource:     environments.TeamType,
	environments.WebhookResource:  environments.WebhookType,
	archiveResource:               objectToken,
	bucketResource:                bucketToken,
	codeSigningResource:           "aws:lambda/codeSigningConfig:CodeSigningConfig",
	executionRoleResource:         "aws:iam/role:Role",
	fromConnectorResource:         ingressRuleToken,
	functionResource:              "aws:lambda/function:Function",
	invocationRoleResource:        "aws:iam/role:Role",
	keepWarmPermissionResource:    "aws:lambda/permission:Permission",
	keepWarmResource:              eventRuleToken,
	logGroupResource:              logGroupToken,
	oidcProviderResource:          "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
	securityGroupResource:         securityGroupToken,
	signingProfileResource:        signingProfileToken,
	toDatabaseResource:            egressRuleToken,
}

// isOwn reports whether a URN is that of the program's resource of that logical name, which has no parent but the stack.
func isOwn(urn urn.URN, logicalName string) bool {
	return urn.Name() == logicalName && string(urn.QualifiedType()) == registeredTypes[logicalName]
}

// outputs are those of the program's resource of that logical name, empty where the state has none.
func (l *LastState) outputs(logicalName string) resourceOutputs {
	if registeredTypes[logicalName] == "" {
		panic("registeredTypes lacks " + logicalName + ", and so the program would never see it in a state")
	}
	return l.resources[logicalName]
}

// has reports whether the state has the program's resource of that logical name.
func (l *LastState) has(logicalName string) bool {
	_ = l.outputs(logicalName) // which asks whether it could be found
	_, there := l.resources[logicalName]
	return there
}

// stateToken asks the engine for the outputs of all resources of a stack.
const stateToken = "pulumi:pulumi:readStackResourceOutputs"

// ReadLastState reads the state of the stack that is being updated, and stops where the settings would move
// what it has written.
func ReadLastState(ctx *pulumi.Context, settings *Settings) (*LastState, error) {
	stack := strings.Join([]string{ctx.Organization(), ctx.Project(), ctx.Stack()}, "/")
	var answer struct {
		Name    string `pulumi:"name"`
		Outputs map[string]struct {
			Outputs resourceOutputs `pulumi:"outputs"`
		} `pulumi:"outputs"`
	}
	if err := readState(ctx, stack, &answer); err != nil {
		// Without it a changed setting could move an environment, which deletes the old one.
		return nil, fmt.Errorf("reading the state of the stack %s, to see what it has written: %w; nothing was created or changed.\n"+
			"  Try again. If it stays so, see whether this login may read the stack: pulumi stack export >/dev/null", stack, err)
	}
	last := &LastState{stack: stack, known: answer.Name == stack, resources: map[string]resourceOutputs{}}
	for key, resource := range answer.Outputs {
		found := entry{urn.URN(key), resource.Outputs}
		switch name := found.urn.Name(); {
		case found.urn.QualifiedType() == "pulumi:pulumi:Stack":
			if string(found.urn.Stack()) == ctx.Stack() {
				last.reported = resource.Outputs.edits()
				last.check, last.prepared = resource.Outputs.checks(), resource.Outputs.preparations()
				last.function = afterLast(text(resource.Outputs.LambdaArn), ":")
				last.ended = last.function != ""
				last.invocationRole = afterLast(text(resource.Outputs.AssumedRoleArn), "/")
				continue
			}
		case isOwn(found.urn, name):
			last.resources[name] = resource.Outputs
		}
		last.entries = append(last.entries, found)
	}
	if !last.named() {
		last.nameByDocuments(ctx)
	}
	return last, (&evidence{settings: settings, last: last}).judge()
}

// ownFunction and ownRole are ARNs of a function and of an invocation role that have their names from this program.
var (
	ownFunction = regexp.MustCompile(`^arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:(([A-Za-z0-9-]+)-([0-9a-f]{8}))$`)
	ownRole     = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/(([A-Za-z0-9-]+)-invoke-([0-9a-f]{8}))$`)
)

// nameByDocuments has the function and the invocation role called as the environments' documents call them. So a stack whose state was
// lost after it was renamed keeps both ARNs, and finds what it has in AWS.
func (l *LastState) nameByDocuments(ctx *pulumi.Context) {
	documents := l.documents(ctx)
	function := ownFunction.FindStringSubmatch(environments.ReadRotator(documents[environments.RotatorResource]).LambdaARN)
	role := ownRole.FindStringSubmatch(environments.ReadManagingCreds(documents[environments.ManagingResource]).RoleARN)
	if function == nil || role == nil || function[3] != role[3] || !strings.HasPrefix(function[2], role[2]) {
		return
	}
	l.function, l.invocationRole, l.documented = function[1], role[1], true
}

// readState asks again when it fails: the engine writes the state at the same time, and a state that is kept in a
// folder cannot be read in the midst of that.
func readState(ctx *pulumi.Context, stack string, answer any) error {
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		// Not Invoke, which refuses an answer with secrets in it.
		_, err := ctx.InvokePackageRaw(stateToken, map[string]any{"stackName": stack}, answer, "")
		if err == nil || pause > 200*time.Millisecond {
			return err
		}
		time.Sleep(pause)
	}
}

// Complete reports whether the state has both environments.
func (l *LastState) Complete() bool {
	_, managing := l.environment(environments.ManagingResource)
	_, rotator := l.environment(environments.RotatorResource)
	return managing && rotator
}

// Begins reports whether this update makes an environment, or goes on where the one that did was cut off.
func (l *LastState) Begins() bool { return !l.Complete() || !l.ended }

// environment is the environment of that logical name as the stack wrote it, and whether it did.
func (l *LastState) environment(logicalName string) (environments.Name, bool) {
	found := l.outputs(logicalName).environment()
	return found, found.Environment != ""
}

const (
	regionPart  = 3
	accountPart = 4
)

// arnPart is a part of the function's ARN.
func (l *LastState) arnPart(part int) string {
	parts := strings.Split(text(l.outputs(functionResource).Arn), ":")
	if len(parts) != 7 {
		return ""
	}
	return parts[part]
}

// hasFunction reports whether AWS has made the function: one whose creation failed has no ARN in the state.
func (l *LastState) hasFunction() bool { return l.arnPart(regionPart) != "" }

// checkAccount stops an update with the credentials of another AWS account.
func (l *LastState) checkAccount(account *Account) error {
	if was := l.arnPart(accountPart); was != "" && was != account.ID {
		return fmt.Errorf("checking the AWS account: this stack was deployed to %s, and these credentials are of %s; nothing was changed.\n"+
			"  Log in to %s, so that this names it: %s sts get-caller-identity", was, account.ID, was, account.CLI)
	}
	return nil
}

// noteTeam says, before an update takes a team's permission away, what to do where the team is gone: Pulumi Cloud's
// provider then fails, and a refresh does too
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/team_environment_perm.go).
func (l *LastState) noteTeam(ctx *pulumi.Context, settings *Settings) error {
	was := text(l.outputs(environments.TeamResource).Team)
	if was == "" || was == settings.ManagingTeam {
		return nil
	}
	return ctx.Log.Info(fmt.Sprintf(`The team %[1]s loses its permission on %[2]s. If it fails by a 404, because somebody has deleted that team, let the stack forget the permission, and run pulumi up again:
    pulumi state delete --yes urn:pulumi:%[3]s::%[4]s::%[5]s::%[6]s`,
		was, settings.Managing, ctx.Stack(), ctx.Project(), registeredTypes[environments.TeamResource], environments.TeamResource), nil)
}

// noteSchedule says, before an environment that is there gets a schedule, what to do where it has one: Pulumi Cloud refuses a
// second one, and its provider has no function that would find the first.
func (l *LastState) noteSchedule(ctx *pulumi.Context, settings *Settings) error {
	_, there := l.environment(environments.RotatorResource)
	if settings.RotationSchedule == "" || !there || text(l.outputs(environments.ScheduleResource).ScheduleId) != "" {
		return nil
	}
	name := settings.Rotator
	return ctx.Log.Info(fmt.Sprintf(`%[1]s gets a rotation schedule. If it fails by a 409, because %[1]s has one already, from an update that was killed or made by hand, see its ID: %[2]s
    Take it over: %[3]s
    Or remove it: %[4]s <ID>
  Then run pulumi up again`,
		name, escCommand(ctx, settings, "schedule list", name),
		environments.ImportCommand(ctx, environments.ScheduleType, environments.ScheduleResource, environments.ScheduleID(name, "<ID>")),
		escCommand(ctx, settings, "schedule remove", name)), nil)
}

// noteWebhook says, before an environment that is there gets a webhook, what to do where it has one: Pulumi Cloud makes a second one
// of another name, and its provider has no function that would find the first
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/webhook.go).
func (l *LastState) noteWebhook(ctx *pulumi.Context, settings *Settings) error {
	_, there := l.environment(environments.RotatorResource)
	if settings.WebhookURL.Reveal() == "" || !there || l.has(environments.WebhookResource) {
		return nil
	}
	name := settings.Rotator
	return ctx.Log.Info(fmt.Sprintf(`%[1]s gets a webhook. Where an update that was killed has made one before, each failed rotation is told of twice from now on. See whether there are two of the same display name: %[2]s
    Remove both: %[3]s <NAME>
  Then run pulumi up --refresh, which makes one`,
		name, escCommand(ctx, settings, "webhook list", name), escCommand(ctx, settings, "webhook remove", name)), nil)
}

// noteName says, before an update writes the stack's new name into the tags of what it has in AWS, what to do where AWS lacks an
// event rule or an alarm of these: nothing can look for one but a refresh, and the provider, which writes tags first, fails
// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/provider/tags_interceptor.go).
func (l *LastState) noteName(ctx *pulumi.Context, settings *Settings) error {
	watched := slices.ContainsFunc(l.entries, func(e entry) bool {
		return slices.Contains([]string{eventRuleToken, metricAlarmToken}, string(e.urn.Type()))
	})
	earlier := l.earlierTags(settings)
	if !watched || len(earlier) == 0 {
		return nil
	}
	return ctx.Log.Info(fmt.Sprintf("This stack was %s at its last update: the tags of what it has in AWS get its new name. "+
		"If that fails by a ResourceNotFoundException, because AWS lacks a rule or an alarm that the state has:\n    pulumi up --refresh",
		otherStack(earlier[0], settings)), nil)
}
