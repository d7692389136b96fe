package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// Place is where stories happen: servers and stand-ins, a copy of the template, and the settings of the go command.
type Place struct {
	machine   *road.Machine
	template  string
	toolchain map[string]string
	// told counts the stories: each has names of its own on the servers that they share.
	told atomic.Int32
}

// Open starts a place. Progress, if not nil, hears of each step.
func Open(ctx context.Context, progress func(step string)) (*Place, error) {
	machine, err := road.StartMachine(ctx, progress)
	if err != nil {
		return nil, err
	}
	at := &Place{machine: machine}
	if at.template, err = machine.CopyTemplate(ctx); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	settings, err := exec.CommandContext(ctx, "go", "env", "-json",
		"GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN", "GONOSUMDB", "GOSUMDB").Output()
	if err == nil {
		err = json.Unmarshal(settings, &at.toolchain)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking go for its settings: %w", err), at.Close())
	}
	return at, nil
}

// Close ends what Open has started.
func (at *Place) Close() error { return at.machine.Stop() }

// The folders of stories. Those of the second type what the pages tell a reader to type.
const (
	Stories = "testdata/stories"
	Readme  = "testdata/readme"
)

// Params are what testscript needs to tell the stories of a folder: its words, and what is set up for each. A story may be
// told to an audience.
func (at *Place) Params(folder string, audience Audience) (testscript.Params, error) {
	words, also := storyWords, func(*testscript.Env) error { return nil }
	if folder == Readme {
		all, err := loadPages()
		if err != nil {
			return testscript.Params{}, err
		}
		words, also = all.words(), addPerson
	}
	return testscript.Params{
		Cmds: maps.Clone(words),
		Setup: func(env *testscript.Env) error {
			if err := setUp(env, at, audience); err != nil {
				return err
			}
			return also(env)
		},
	}, nil
}

// Audience is who watches while a story is told.
type Audience interface {
	// Types is called before a command runs that a user would type.
	Types(command string)
	// Prints is called with what it has printed.
	Prints(output string)
}

// command is a word of the stories.
type command = func(ts *testscript.TestScript, neg bool, args []string)

// storyWords are those of the folder Stories.
var storyWords = func() map[string]command {
	words := map[string]command{}
	for _, table := range []map[string]command{projectCommands, databaseCommands, environmentCommands, stackCommands, planCommands, functionCommands, stateCommands,
		cloudCommands, accountCommands, handCommands, watchCommands} {
		maps.Copy(words, table)
	}
	return words
}()

// story is what the commands of one story share.
type story struct {
	machine  *road.Machine
	cloud    *road.Cloud
	number   int
	audience Audience // or nil

	remembered map[string]written // by project/environment
	listener   *listener          // or nil
	called     int                // how many calls aws-calls has written
}

func setUp(env *testscript.Env, at *Place, audience Audience) error {
	home, err := os.MkdirTemp("", "esc-story-")
	if err != nil {
		return err
	}
	cloud, err := at.machine.NewCloud(home)
	if err != nil {
		return err
	}
	env.Defer(func() {
		if err := cloud.Close(); err != nil {
			env.T().Log("closing the story's cloud: ", err)
		}
		if err := os.RemoveAll(home); err != nil {
			env.T().Log("removing the story's folder: ", err)
		}
	})
	env.Values["story"] = &story{machine: at.machine, cloud: cloud, number: int(at.told.Add(1)), audience: audience}
	for name, value := range at.toolchain {
		env.Setenv(name, value)
	}
	for _, variable := range cloud.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env.Setenv(name, value)
	}
	// Stories run side by side. An update takes a fifth less processor time if each of its programs counts on one processor,
	// and if the CLI keeps no log of itself: this file stands where the log's folder would.
	env.Setenv("GOMAXPROCS", "1")
	if err := os.WriteFile(filepath.Join(home, "pulumi", "logs"), nil, 0o600); err != nil {
		return err
	}
	// testscript gives a story a HOME that does not exist.
	env.Setenv("HOME", home)
	for name, value := range at.machine.Shared() {
		env.Setenv(name, value)
	}
	env.Setenv("TEMPLATE", at.template)
	env.Setenv("ESC", cloud.ESCURL)
	env.Setenv("ACCOUNT", cloud.Account)
	return nil
}

func of(ts *testscript.TestScript) *story { return ts.Value("story").(*story) }

// named makes a database user's or database's name the story's own: stories share the servers.
func (s *story) named(name string) string { return fmt.Sprintf("%s_%d", name, s.number) }

// run runs a command in the story's folder, and fails unless it ends as neg says.
func run(ts *testscript.TestScript, neg bool, command string, args ...string) {
	typed(ts, neg, commandLine(command, args), command, args...)
}

// typed is run of what a user types in another form.
func typed(ts *testscript.TestScript, neg bool, line, command string, args ...string) {
	audience := of(ts).audience
	if audience != nil {
		audience.Types(line)
	}
	err := ts.Exec(command, args...)
	if audience != nil {
		audience.Prints(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
	}
	switch {
	case err != nil && !neg:
		ts.Fatalf("%s %s: %v", filepath.Base(command), strings.Join(args, " "), err)
	case err == nil && neg:
		ts.Fatalf("%s %s: succeeded, and should have failed", filepath.Base(command), strings.Join(args, " "))
	}
}

// commandLine is a command as a user types it into a shell.
func commandLine(command string, args []string) string {
	words := []string{filepath.Base(command)}
	for _, arg := range args {
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'#$\\*?&;()<>|`[]{}~") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
