package infra

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Edits are lines that environments' documents should have and do not, by environment.
type Edits map[string][]string

// WarnOfDrift says which lines of the environments' documents no longer fit what the program has found
// and deploys: once, for what the last update reported is not reported again. It never writes those documents:
// they are the user's to edit. It returns all such lines, to be the stack's output environmentEdits.
func (l *LastState) WarnOfDrift(ctx *pulumi.Context, settings *Settings, site *Site) (Edits, error) {
	edits, warnings := l.drift(l.documents(ctx), settings, site.Account, site.Database)
	return edits, warn(ctx, warnings)
}

// drift is the edits that the documents need, and a warning for each document whose edits have not been reported.
func (l *LastState) drift(documents map[string]string, settings *Settings, account *Account, database *Database) (Edits, []string) {
	names := newNames(settings, l)
	rotator := environments.ReadRotator(documents[environments.RotatorResource])
	managing := environments.ReadManagingCreds(documents[environments.ManagingResource])
	edits, lines := Edits{}, map[string][]string{}
	// What stands in a document may have been pasted there, with a password in it.
	drifted := func(environment environments.Name, key, was, is string, shown func(string) string) {
		if was != "" && was != is {
			name := environment.String()
			edits[name] = append(edits[name], key+is)
			lines[name] = append(lines[name], fmt.Sprintf("%s%s   # now %s", key, is, event.Visible(shown(was))))
		}
	}
	drifted(settings.Rotator, "fn::rotate::", rotator.Engine, database.Engine, event.ShownName)
	drifted(settings.Rotator, "host: ", rotator.Host, database.Host, event.ShownHost)
	if rotator.Port != 0 {
		drifted(settings.Rotator, "port: ", strconv.Itoa(rotator.Port), strconv.Itoa(database.Port), event.ShownName)
	}
	drifted(settings.Rotator, "lambdaArn: ", rotator.LambdaARN, account.functionARN(names.function), event.ShownName)
	drifted(settings.Managing, "roleArn: ", managing.RoleARN, account.roleARN(names.invocationRole), event.ShownName)

	var warnings []string
	for _, name := range []string{settings.Managing.String(), settings.Rotator.String()} {
		if len(edits[name]) > 0 && !slices.Equal(edits[name], l.reported[name]) {
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

// edits are the output environmentEdits.
func (r resourceOutputs) edits() Edits {
	edits := Edits{}
	environments, _ := r.EnvironmentEdits.(map[string]any)
	for name, lines := range environments {
		edits[name] = texts(lines)
	}
	return edits
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
	for text, resource := range answer.Outputs {
		name := urn.URN(text).Name()
		if !isOwn(urn.URN(text), name) {
			continue
		}
		switch document := resource.Outputs.Yaml.(type) {
		case string:
			documents[name] = document
		case pulumi.Asset:
			documents[name] = document.Text()
		}
	}
	return documents
}
