package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// environmentCommands are the words about ESC's environments, and about who uses them.
var environmentCommands = map[string]command{
	"as":              as,
	"document":        document,
	"esc-delete-team": escDeleteTeam,
	"esc-edit":        escEdit,
	"esc-open":        escOpen,
	"esc-rotate":      escRotate,
	"kept":            kept,
	"protect":         protect,
	"remember":        remember,
	"schedules":       schedules,
}

// environments are those of most stories.
var environments = []string{"demo/rotator", "demo/rotatorManagingCreds"}

// client is ESC's API as the user whom the word `as` chose: the client that the CLI has, as a schedule of Pulumi Cloud or an
// application's SDK uses it. A story that is about the CLI says `pulumi env`.
func (s *story) client(ts *testscript.TestScript) client.Client {
	const insecure = true // the process does not trust the certificate that the CLI verifies
	return client.New("esc-story", s.cloud.ESCURL, ts.Getenv("PULUMI_ACCESS_TOKEN"), insecure)
}

// parts are those of ORGANIZATION/PROJECT/ENVIRONMENT.
func parts(ts *testscript.TestScript, environment string) (organization, project, name string) {
	names := strings.Split(environment, "/")
	if len(names) != 3 {
		ts.Fatalf("%q is not ORGANIZATION/PROJECT/ENVIRONMENT", environment)
	}
	return names[0], names[1], names[2]
}

// refused fails unless ESC did as neg says.
func refused(ts *testscript.TestScript, neg bool, what string, diagnostics []client.EnvironmentDiagnostic, err error) {
	if len(diagnostics) > 0 {
		err = errors.Join(err, fmt.Errorf("%+v", diagnostics))
	}
	switch {
	case err != nil && !neg:
		ts.Fatalf("%s: %v", what, err)
	case err == nil && neg:
		ts.Fatalf("%s: succeeded, and should have been refused", what)
	}
}

// patiently does once more what AWS refuses because it does not know a new role, or a new identity provider, everywhere
// yet: as somebody does who has read what pulumi up says.
func patiently(do func() ([]client.EnvironmentDiagnostic, error)) ([]client.EnvironmentDiagnostic, error) {
	diagnostics, err := do()
	if err == nil && len(diagnostics) > 0 && strings.Contains(diagnostics[0].Summary, "operation error STS: AssumeRoleWithWebIdentity") {
		return do()
	}
	return diagnostics, err
}

// esc-rotate ENVIRONMENT rotates what the environment holds. Where that fails, for a part of it too, it prints why.
func escRotate(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	organization, project, name := parts(ts, args[0])
	var answer *client.RotateEnvironmentResponse
	diagnostics, err := patiently(func() (diagnostics []client.EnvironmentDiagnostic, err error) {
		answer, diagnostics, err = of(ts).client(ts).RotateEnvironment(ctx, organization, project, name, nil)
		return diagnostics, err
	})
	if err == nil && len(diagnostics) == 0 {
		event := answer.SecretRotationEvent
		if event.Status != client.RotationEventSucceeded {
			err = fmt.Errorf("the rotation ended as %q", event.Status)
		}
		for _, rotation := range event.Rotations {
			if rotation.ErrorMessage != nil {
				fmt.Fprintf(ts.Stdout(), "%s: %s\n", rotation.EnvironmentPath, *rotation.ErrorMessage)
			}
		}
	}
	refused(ts, neg, "rotating "+args[0], diagnostics, err)
}

// esc-open ENVIRONMENT PROPERTY prints a text that the environment holds, as an application reads it.
func escOpen(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	organization, project, name := parts(ts, args[0])
	esc := of(ts).client(ts)
	var session string
	diagnostics, err := patiently(func() (diagnostics []client.EnvironmentDiagnostic, err error) {
		session, diagnostics, err = esc.OpenEnvironment(ctx, organization, project, name, "", time.Hour)
		return diagnostics, err
	})
	refused(ts, neg, "opening "+args[0], diagnostics, err)
	if err != nil || len(diagnostics) > 0 {
		return
	}
	value, err := esc.GetOpenProperty(ctx, organization, project, name, session, args[1])
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), value.ToString(false))
}

// esc-edit ENVIRONMENT OLD NEW [OLD NEW...] replaces each OLD by its NEW in the document, as a user does in an editor.
func escEdit(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	organization, project, name := parts(ts, args[0])
	esc := of(ts).client(ts)
	document, etag, _, err := esc.GetEnvironment(ctx, organization, project, name, "", true)
	ts.Check(err)
	text := string(document)
	for edit := range slices.Chunk(args[1:], 2) {
		if !strings.Contains(text, edit[0]) {
			ts.Fatalf("the document %s does not hold %q:\n%s", args[0], edit[0], text)
		}
		text = strings.ReplaceAll(text, edit[0], edit[1])
	}
	diagnostics, _, err := esc.UpdateEnvironment(ctx, organization, project, name, []byte(text), etag)
	refused(ts, neg, "editing "+args[0], diagnostics, err)
}

// document ENVIRONMENT FILE writes the document, as ESC keeps it, to a file.
func document(ts *testscript.TestScript, neg bool, args []string) {
	text, _, exists := of(ts).cloud.ESC.Definition(road.Organization + "/" + args[0])
	switch {
	case !exists && !neg:
		ts.Fatalf("ESC holds no environment %s; it holds %q", args[0], of(ts).cloud.ESC.Environments())
	case exists && neg:
		ts.Fatalf("%s exists, and should not", args[0])
	case exists:
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
	}
}

// written is an environment's document, as ESC keeps it, and its revision: each write makes a new one.
type written struct {
	document string
	revision int
}

func (s *story) written(ts *testscript.TestScript) map[string]written {
	now := map[string]written{}
	for _, name := range environments {
		document, revision, exists := s.cloud.ESC.Definition(s.cloud.Organization() + "/" + name)
		if !exists {
			ts.Fatalf("ESC holds no environment %s; it holds %q", name, s.cloud.ESC.Environments())
		}
		now[name] = written{document, revision}
	}
	return now
}

// remember keeps what both documents are, for kept.
func remember(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	s.remembered = s.written(ts)
}

// kept fails unless both documents are byte for byte what they were, and nobody wrote them.
func kept(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	for name, now := range s.written(ts) {
		if before := s.remembered[name]; now != before {
			ts.Fatalf("%s was written: revision %d was\n%s\nand revision %d is\n%s",
				name, before.revision, before.document, now.revision, now.document)
		}
	}
}

// schedules ENVIRONMENT prints the cron expressions by which Pulumi Cloud rotates it, a line each.
func schedules(ts *testscript.TestScript, _ bool, args []string) {
	_, err := fmt.Fprint(ts.Stdout(), strings.Join(append(of(ts).cloud.ESC.Schedules(road.Organization+"/"+args[0]), ""), "\n"))
	ts.Check(err)
}

// protect ENVIRONMENT on|off protects it from deletion, as its administrator does in the console.
func protect(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).cloud.ESC.Protect(road.Organization+"/"+args[0], args[1] == "on")
}

// esc-delete-team TEAM deletes a team, as an administrator of the organization does in the console.
func escDeleteTeam(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).cloud.ESC.DeleteTeam(args[0])
}

// as USER makes that user of the road the one who runs what follows.
func as(ts *testscript.TestScript, _ bool, args []string) {
	token := "pul-road-" + args[0]
	ts.Setenv("PULUMI_ACCESS_TOKEN", token)
	ts.Check(of(ts).cloud.Login(token))
}
