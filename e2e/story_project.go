package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/rogpeppe/go-internal/testscript"
	"gopkg.in/yaml.v3"

	"esc-connector-lambda-go/e2e/road"
)

// projectCommands are the words about a project, its settings and its files, and about what a person runs there.
var projectCommands = map[string]command{
	"filled":     filled,
	"new":        newProject,
	"nowhere":    nowhere,
	"paste":      paste,
	"project":    project,
	"pulumi":     pulumiCommand,
	"replace":    replace,
	"settings":   settings,
	"to-prepare": toPrepare,
}

// new FOLDER [KEY=VALUE...] makes a project from the template in FOLDER, with a stack "dev", and goes there.
func newProject(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	line := []string{
		"new", ts.Getenv("TEMPLATE"), "--yes", "--non-interactive", "--name", args[0], "--description", "A story",
		"--stack", "dev", "--dir", args[0], "--config", "aws:region=" + road.Region, "--config", "backendUrl=" + s.cloud.ESCURL,
	}
	for _, setting := range args[1:] {
		line = append(line, "--config", setting)
	}
	run(ts, neg, s.machine.Pulumi, line...)
	if neg {
		return
	}
	ts.Check(ts.Chdir(args[0]))
}

// project FOLDER [KEY=VALUE...] makes what new makes, and takes less than half the time: new installs the program's
// dependencies, which are there.
func project(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	folder := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(folder, os.DirFS(ts.Getenv("TEMPLATE"))))
	file := filepath.Join(folder, "Pulumi.yaml")
	text, err := os.ReadFile(file)
	ts.Check(err)
	kept, _, found := strings.Cut(strings.NewReplacer("${PROJECT}", args[0], "${DESCRIPTION}", "A story").Replace(string(text)), "template:\n")
	if !found {
		ts.Fatalf("%s holds no template section to leave out", file)
	}
	ts.Check(os.WriteFile(file, []byte(kept), 0o644))

	settings := map[string]string{"aws:region": road.Region, args[0] + ":backendUrl": s.cloud.ESCURL}
	for _, setting := range args[1:] {
		key, value, _ := strings.Cut(setting, "=")
		settings[args[0]+":"+key] = value
	}
	// JSON is YAML.
	text, err = json.Marshal(map[string]any{"config": settings})
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(folder, "Pulumi.dev.yaml"), text, 0o644))
	ts.Check(ts.Chdir(args[0]))
	run(ts, false, s.machine.Pulumi, "stack", "init", "dev", "--non-interactive")
}

// filled ENGINE CLUSTER makes a database and a project whose settings leave nothing to fill in by hand.
func filled(ts *testscript.TestScript, neg bool, args []string) {
	database(ts, false, args)
	project(ts, neg, []string{
		"project", "rdsDbIdentifier=" + args[1], "rotatedSecretsEnvironmentName=" + environments[0],
		"databaseName=" + ts.Getenv("DATABASE"),
		"rotateUsername1=" + ts.Getenv("USER1"), "rotateUsername2=" + ts.Getenv("USER2"), "managingUsername=" + ts.Getenv("MANAGER"),
	})
	run(ts, neg, of(ts).machine.Pulumi, "config", "set", "--secret", "managingPassword", ts.Getenv("MANAGING"))
}

// to-prepare [KEY=VALUE...] sets what lets pulumi up make the users of the database that empty has made, in the project at hand.
func toPrepare(ts *testscript.TestScript, neg bool, args []string) {
	settings(ts, neg, append([]string{"databaseName=" + ts.Getenv("DATABASE"), "rotateUsername1=" + ts.Getenv("USER1"),
		"rotateUsername2=" + ts.Getenv("USER2"), "managingUsername=" + ts.Getenv("MANAGER"), "prepareDatabase=true"}, args...))
	run(ts, neg, of(ts).machine.Pulumi, "config", "set", "--secret", "managingPassword", ts.Getenv("MANAGING"))
}

// settings KEY=VALUE... writes settings of the project at hand into its stack's file, as a user does in an editor. A
// setting without a value goes.
func settings(ts *testscript.TestScript, _ bool, args []string) {
	file, err := workspace.LoadProject(ts.MkAbs("Pulumi.yaml"))
	ts.Check(err)
	path := ts.MkAbs("Pulumi.dev.yaml")
	text, err := os.ReadFile(path)
	if !os.IsNotExist(err) { // a stack without settings has no such file
		ts.Check(err)
	}
	var stack map[string]any
	ts.Check(yaml.Unmarshal(text, &stack))
	if stack == nil {
		stack = map[string]any{}
	}
	set, _ := stack["config"].(map[string]any)
	if set == nil {
		set = map[string]any{}
		stack["config"] = set
	}
	for _, setting := range args {
		key, value, _ := strings.Cut(setting, "=")
		if !strings.Contains(key, ":") {
			key = file.Name.String() + ":" + key
		}
		set[key] = value
		if value == "" {
			delete(set, key)
		}
	}
	text, err = yaml.Marshal(stack)
	ts.Check(err)
	ts.Check(os.WriteFile(path, text, 0o600))
}

// pulumi ARGS... runs the CLI, as the user whom the word `as` chose.
func pulumiCommand(ts *testscript.TestScript, neg bool, args []string) {
	if args[0] == "env" {
		inCloud(ts, func() { run(ts, neg, of(ts).machine.Pulumi, args...) })
		return
	}
	args = append(args, "--non-interactive")
	if slices.Contains([]string{"up", "destroy", "refresh"}, args[0]) {
		args = append(args, "--yes", "--skip-preview")
	}
	run(ts, neg, of(ts).machine.Pulumi, args...)
}

// paste PATTERN... runs every command that the last output holds and one of the patterns matches, as
// somebody does who copies them into a shell: those of the first pattern first.
func paste(ts *testscript.TestScript, neg bool, args []string) {
	output := ts.ReadFile("stdout")
	var lines []string
	for _, pattern := range args {
		found := regexp.MustCompile(pattern).FindAllString(output, -1)
		if len(found) == 0 {
			ts.Fatalf("the last output holds no command that matches %s", pattern)
		}
		lines = append(lines, found...)
	}
	ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "true")
	defer ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "")
	for _, line := range lines {
		do := func() { typed(ts, neg, line, "sh", "-c", line) }
		if strings.HasPrefix(line, "pulumi env ") {
			inCloud(ts, do)
			continue
		}
		do()
	}
}

// replace FILE OLD NEW changes a file.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	text, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(text, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(text, []byte(args[1]), []byte(args[2])), 0o644))
}

// nowhere TEXT fails where a file of the story holds the text, as it is or encoded: the stack's state
// and its backups, the CLI's own files, the project, temporary files.
func nowhere(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	asJSON, err := json.Marshal(args[0])
	ts.Check(err)
	forms := [][]byte{[]byte(args[0]), asJSON[1 : len(asJSON)-1], []byte(url.QueryEscape(args[0]))}
	for shift := range 3 {
		// The characters in the middle of what base64 makes of it, wherever it stands.
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + args[0]))
		forms = append(forms, []byte(encoded[4:len(encoded)-4]))
	}
	read := 0
	for _, folder := range []string{s.cloud.Home, ts.Getenv("WORK")} {
		ts.Check(filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if unzipped, err := gzip.NewReader(bytes.NewReader(content)); err == nil { // logs of the CLI's own
				if text, err := io.ReadAll(unzipped); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
					content = text
				}
			}
			read++
			for _, form := range forms {
				if bytes.Contains(content, form) {
					ts.Fatalf("%s holds %q", path, form)
				}
			}
			return nil
		}))
	}
	ts.Logf("none of %d files holds it", read)
}
