package infra

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// LastState is what this stack's state holds as the program starts: what earlier updates have written,
// and what the documents of the environments name.
type LastState struct {
	known     bool
	stack     string                     // organization/project/stack
	resources map[string]resourceOutputs // by logical name
	told      Edits                      // what the last update's warning of drift told
}

// Edits are lines that environments' documents should have and do not, by environment.
type Edits map[string][]string

// resourceOutputs are the outputs that the program asks for, of resources of any type.
type resourceOutputs struct {
	Organization string `pulumi:"organization"`
	Project      string `pulumi:"project"`
	Name         string `pulumi:"name"`
	Arn          string `pulumi:"arn"`
	ApiUrl       string `pulumi:"apiUrl"`
	VpcConfig    struct {
		SubnetIds []string `pulumi:"subnetIds"`
	} `pulumi:"vpcConfig"`
	Environment               any    `pulumi:"environment"` // of a function: {variables}; of others a name
	VpcId                     string `pulumi:"vpcId"`
	ReferencedSecurityGroupId string `pulumi:"referencedSecurityGroupId"`

	Tags map[string]string `pulumi:"tags"`

	EnvironmentEdits Edits `pulumi:"environmentEdits"` // of the stack itself
}

// variable is an environment variable of a function.
func (r resourceOutputs) variable(name string) string {
	environment, _ := r.Environment.(map[string]any)
	variables, _ := environment["variables"].(map[string]any)
	value, _ := variables[name].(string)
	return value
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
	for urn, resource := range answer.Outputs {
		if strings.Contains(urn, "::pulumi:pulumi:Stack::") {
			last.told = resource.Outputs.EnvironmentEdits
			continue
		}
		last.resources[logicalName(urn)] = resource.Outputs
	}
	return last, last.checkUnmoved(settings)
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

func logicalName(urn string) string { return urn[strings.LastIndex(urn, "::")+2:] }

// Claims are the environments that this stack is about to create. There are none where the state is
// not known.
func (l *LastState) Claims(settings *Settings) []environments.Claim {
	var claims []environments.Claim
	for _, claim := range []environments.Claim{
		{LogicalName: environments.ManagingResource, Name: settings.Managing},
		{LogicalName: environments.RotatorResource, Name: settings.Rotator},
	} {
		if _, there := l.resources[claim.LogicalName]; l.known && !there {
			claims = append(claims, claim)
		}
	}
	return claims
}

// environment is the environment of that logical name as the stack wrote it, and whether it did.
func (l *LastState) environment(name string) (environments.Name, bool) {
	found := l.resources[name]
	return environments.Name{Organization: found.Organization, Project: found.Project, Environment: found.Name}, found.Name != ""
}

// checkUnmoved stops a changed setting that would make Pulumi replace an environment, which deletes the
// old one first, and with it the only copy of live passwords.
func (l *LastState) checkUnmoved(settings *Settings) error {
	var problems []problem
	moved := func(name, was, is string) {
		key := settings.Project + ":" + name
		if name == "aws:region" {
			key = name
		}
		problems = append(problems, problem{key: key,
			reason:  fmt.Sprintf("has changed from %q to %q, by which the environments of this stack would be deleted, with the live passwords in them", was, is),
			command: "Back to what it was: pulumi config set " + key + " " + was})
	}
	rotator, written := l.environment(environments.RotatorResource)
	if written && rotator != settings.Rotator && rotator.Organization == settings.Organization {
		moved("rotatedSecretsEnvironmentName", rotator.Path(), settings.Rotator.Path())
	}
	managing, alsoWritten := l.environment(environments.ManagingResource)
	follows := len(problems) > 0 && settings.Managing == settings.derivedManaging()
	if alsoWritten && managing != settings.Managing && managing.Organization == settings.Organization && !follows {
		moved("managingCredsEnvironmentName", managing.Path(), settings.Managing.Path())
	}
	if !written {
		rotator, written = managing, alsoWritten
	}
	if !written {
		return nil
	}
	if rotator.Organization != settings.Organization {
		moved("organization", rotator.Organization, settings.Organization)
	}
	if was := l.resources[environments.CloudResource].ApiUrl; was != "" {
		if backend, err := ParseBackend(was); err == nil {
			was = backend.URL
		}
		// Earlier versions took a URL with a path.
		if was != settings.Backend.URL && !strings.HasPrefix(was, settings.Backend.URL+"/") {
			moved("backendUrl", was, settings.Backend.URL)
		}
	}
	if region := l.arnPart(regionPart); region != "" && region != settings.Region {
		moved("aws:region", region, settings.Region)
	}
	if len(problems) == 0 {
		return nil
	}
	return &SettingsError{stack: settings.Stack, problems: problems, advice: `Other ways on:
  A second connector, beside this one: pulumi stack init <name>, and give that stack the new value.
  Move this one: keep what the environments hold (pulumi env get), then pulumi destroy, and pulumi up with the new value.`}
}

const (
	regionPart  = 3
	accountPart = 4
)

// arnPart is a part of the function's ARN.
func (l *LastState) arnPart(part int) string {
	parts := strings.Split(l.resources["function"].Arn, ":")
	if len(parts) != 7 {
		return ""
	}
	return parts[part]
}

// checkAccount stops an update with the credentials of another AWS account.
func (l *LastState) checkAccount(account *Account) error {
	if was := l.arnPart(accountPart); was != "" && was != account.ID {
		return fmt.Errorf("checking the AWS account: this stack was deployed to %s, and these credentials are of %s; nothing was changed.\n"+
			"  Log in to %s, so that this names it: aws sts get-caller-identity", was, account.ID, was)
	}
	return nil
}

// documents are the environments' documents by logical name, as the state has them: from when they were
// written, or from the last refresh. They hold secrets. The provider keeps a document as a string, whatever a program
// gives it (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/environment.go), which the
// SDK would make an empty asset of.
func (l *LastState) documents(ctx *pulumi.Context) map[string]string {
	var answer struct {
		Outputs map[string]struct {
			Outputs struct {
				Yaml any `pulumi:"yaml"`
			} `pulumi:"outputs"`
		} `pulumi:"outputs"`
	}
	documents := map[string]string{}
	if _, written := l.resources[environments.RotatorResource]; !written {
		return documents
	}
	if err := readState(ctx, l.stack, &answer); err != nil {
		return documents
	}
	for urn, resource := range answer.Outputs {
		switch document := resource.Outputs.Yaml.(type) {
		case string:
			documents[logicalName(urn)] = document
		case pulumi.Asset:
			documents[logicalName(urn)] = document.Text()
		}
	}
	return documents
}

// warnOfDrift tells which lines of the environments' documents no longer fit what the program has found
// and deploys: once, for what the last update told is not told again. It never writes those documents:
// they are the user's to edit. It returns all such lines, to be the stack's output environmentEdits.
func (l *LastState) warnOfDrift(ctx *pulumi.Context, settings *Settings, site *Site) (Edits, error) {
	edits, warnings := l.drift(l.documents(ctx), settings, site.Account, site.Database)
	for _, warning := range warnings {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return nil, err
		}
	}
	return edits, nil
}

// drift is the edits that the documents need, and a warning for each document whose edits have not been told.
func (l *LastState) drift(documents map[string]string, settings *Settings, account *Account, database *Database) (Edits, []string) {
	names := newNames(settings, l)
	rotator := environments.ReadRotator(documents[environments.RotatorResource])
	managing := environments.ReadManagingCreds(documents[environments.ManagingResource])
	edits, lines := Edits{}, map[string][]string{}
	drifted := func(environment environments.Name, key, was, is string) {
		if was != "" && was != is {
			name := environment.String()
			edits[name] = append(edits[name], key+is)
			lines[name] = append(lines[name], fmt.Sprintf("%s%s   # now %s", key, is, was))
		}
	}
	drifted(settings.Rotator, "fn::rotate::", rotator.Engine, database.Engine)
	drifted(settings.Rotator, "host: ", rotator.Host, database.Host)
	if rotator.Port != 0 {
		drifted(settings.Rotator, "port: ", strconv.Itoa(rotator.Port), strconv.Itoa(database.Port))
	}
	drifted(settings.Rotator, "lambdaArn: ", rotator.LambdaARN, account.arn("lambda", "function:"+names.function))
	drifted(settings.Managing, "roleArn: ", managing.RoleARN,
		fmt.Sprintf("arn:%s:iam::%s:role/%s", account.Partition, account.ID, names.invocationRole))

	var warnings []string
	for _, name := range []string{settings.Managing.String(), settings.Rotator.String()} {
		if len(edits[name]) > 0 && !slices.Equal(edits[name], l.told[name]) {
			warnings = append(warnings, fmt.Sprintf(`the environment %[1]s does not fit this stack any more, and is not written again, since it may hold live passwords.
  Edit it, so that these lines read as follows: pulumi env edit %[1]s
    %[2]s
  This is what the stack's state knows of it. When it reads so: pulumi refresh
  This warning comes once. To see the lines again: pulumi stack output environmentEdits`,
				name, strings.Join(lines[name], "\n    ")))
		}
	}
	return edits, warnings
}
