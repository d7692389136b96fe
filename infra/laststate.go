package infra

import (
	"fmt"
	"strings"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// LastState is what this stack's state holds as the program starts: what earlier updates have written,
// and what the documents of the environments name.
type LastState struct {
	known     bool
	resources map[string]resourceOutputs // by logical name
}

// resourceOutputs are the outputs that the program asks for, of resources of any type.
type resourceOutputs struct {
	Organization string `pulumi:"organization"`
	Project      string `pulumi:"project"`
	Name         string `pulumi:"name"`
	Arn          string `pulumi:"arn"`
	ApiUrl       string `pulumi:"apiUrl"`
}

// stateToken asks the engine for the outputs of all resources of a stack.
const stateToken = "pulumi:pulumi:readStackResourceOutputs"

// ReadLastState reads the state of the stack that is being updated.
func ReadLastState(ctx *pulumi.Context) (*LastState, error) {
	stack := strings.Join([]string{ctx.Organization(), ctx.Project(), ctx.Stack()}, "/")
	var answer struct {
		Name    string `pulumi:"name"`
		Outputs map[string]struct {
			Outputs resourceOutputs `pulumi:"outputs"`
		} `pulumi:"outputs"`
	}
	// Not Invoke, which refuses an answer with secrets in it. None of them is read.
	if _, err := ctx.InvokePackageRaw(stateToken, map[string]any{"stackName": stack}, &answer, ""); err != nil {
		// Only the checks that need it are lost by that. The provider does not write an environment
		// that exists, and IgnoreChanges holds as long as the settings stay.
		return &LastState{}, ctx.Log.Debug(fmt.Sprintf("the state of the stack %s cannot be read: %v", stack, err), nil)
	}
	last := &LastState{known: answer.Name == stack, resources: map[string]resourceOutputs{}}
	for urn, resource := range answer.Outputs {
		last.resources[urn[strings.LastIndex(urn, "::")+2:]] = resource.Outputs
	}
	return last, nil
}

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

// CheckUnmoved stops a changed setting that would make Pulumi replace an environment, which deletes the
// old one first, and with it the only copy of live passwords.
func (l *LastState) CheckUnmoved(settings *Settings) error {
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
	if backend, err := ParseBackend(l.resources[environments.CloudResource].ApiUrl); err == nil && backend.URL != settings.Backend.URL {
		moved("backendUrl", backend.URL, settings.Backend.URL)
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
