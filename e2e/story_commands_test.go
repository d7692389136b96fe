package e2e

import (
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// environments are those of most stories.
var environments = []string{"demo/rotator", "demo/rotatorManagingCreds"}

// filled ENGINE CLUSTER makes a database and a project whose settings leave nothing to fill in by hand.
func filled(ts *testscript.TestScript, neg bool, args []string) {
	database(ts, false, args)
	newProject(ts, neg, []string{"project", "rdsDbIdentifier=" + args[1], "rotatedSecretsEnvironmentName=" + environments[0]})
	run(ts, neg, of(ts).machine.Pulumi, "config", "set-all",
		"--plaintext", "organization="+road.Organization,
		"--plaintext", "databaseName="+ts.Getenv("DATABASE"),
		"--plaintext", "rotateUsername1="+ts.Getenv("USER1"),
		"--plaintext", "rotateUsername2="+ts.Getenv("USER2"),
		"--plaintext", "managingUsername="+ts.Getenv("MANAGER"),
		"--secret", "managingPassword="+ts.Getenv("MANAGING"))
}

// written is an environment's document, as ESC keeps it, and its revision: each write makes a new one.
type written struct {
	document string
	revision int
}

func (s *story) written(ts *testscript.TestScript) map[string]written {
	now := map[string]written{}
	for _, name := range environments {
		document, revision, exists := s.cloud.ESC.Definition(road.Organization + "/" + name)
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

// paste PATTERN runs every command that the last output holds and the pattern matches, as
// somebody does who copies it into a shell.
func paste(ts *testscript.TestScript, neg bool, args []string) {
	lines := regexp.MustCompile(args[0]).FindAllString(ts.ReadFile("stdout"), -1)
	if len(lines) == 0 {
		ts.Fatalf("the last output holds no command that matches %s", args[0])
	}
	ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "true")
	defer ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "")
	for _, line := range lines {
		do := func() { run(ts, neg, "sh", "-c", line) }
		if strings.HasPrefix(line, "pulumi env ") {
			withESC(ts, do)
			continue
		}
		do()
	}
}
