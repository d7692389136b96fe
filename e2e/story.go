package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

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
	words := map[string]command{
		"as":               as,
		"aws-deploy":       awsDeploy,
		"aws-idle":         awsIdle,
		"aws-invoke":       awsInvoke,
		"aws-left":         awsLeft,
		"aws-lose-answer":  awsLoseAnswer,
		"aws-name-servers": awsNameServers,
		"aws-oidc":         awsOIDC,
		"aws-public-cas":   awsPublicCAs,
		"aws-publish":      awsPublish,
		"aws-refuse-code":  awsRefuseCode,
		"aws-throttle":     awsThrottle,
		"aws-update":       awsUpdate,
		"aws-weekly":       awsWeekly,
		"ca":               ca,
		"database":         database,
		"document":         document,
		"esc-open":         escOpen,
		"esc-rotate":       escRotate,
		"esc-edit":         escEdit,
		"filled":           filled,
		"kept":             kept,
		"login":            login,
		"login-as":         loginAs,
		"new":              newProject,
		"network":          network,
		"nowhere":          nowhere,
		"own-state":        ownState,
		"paste":            paste,
		"project":          project,
		"protect":          protect,
		"pulumi":           pulumiCommand,
		"remember":         remember,
		"replace":          replace,
		"restore":          restore,
		"schedules":        schedules,
		"settings":         settings,
		"sql":              sql,
	}
	maps.Copy(words, stackCommands)
	maps.Copy(words, functionCommands)
	maps.Copy(words, stateCommands)
	maps.Copy(words, cloudCommands)
	maps.Copy(words, handCommands)
	maps.Copy(words, watchCommands)
	maps.Copy(words, readyCommands)
	return words
}()

// stacks is the folder of stacks that earlier versions made. They are never made anew.
var stacks = func() string {
	folder, err := filepath.Abs("testdata/stacks")
	if err != nil {
		panic(err)
	}
	return folder
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

// database ENGINE NAME [instance] makes an RDS cluster of the engine, or a single instance, and on its server the
// database app, the users user1 and user2 and the managing user manager, whose password is $MANAGING. The port is $PORT.
func database(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	engine := args[0]
	server, err := s.machine.Server(engine)
	ts.Check(err)
	users := road.Users{
		Database: s.named("app"), ManagingUser: s.named("manager"), ManagingPassword: `mana%ger "pass#word`,
		RotateUser1: s.named("user1"), RotatePassword1: "first-" + s.named("user1"),
		RotateUser2: s.named("user2"), RotatePassword2: "first-" + s.named("user2"),
	}
	ts.Check(server.Exec(ctx, users.Statements(engine)...))
	add, rdsEngine := s.cloud.AddCluster, map[string]string{road.Postgres: "aurora-postgresql", road.MySQL: "aurora-mysql"}
	if len(args) > 2 {
		add, rdsEngine = s.cloud.AddInstance, map[string]string{road.Postgres: "postgres", road.MySQL: "mysql"}
	}
	ts.Check(add(ctx, args[1], rdsEngine[engine], server))
	ts.Setenv("PORT", strconv.Itoa(server.Port))
	ts.Setenv("DATABASE", users.Database)
	ts.Setenv("MANAGER", users.ManagingUser)
	ts.Setenv("MANAGING", users.ManagingPassword)
	ts.Setenv("USER1", users.RotateUser1)
	ts.Setenv("USER2", users.RotateUser2)
}

// login ENGINE USER PASSWORD logs in as an application does.
func login(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := of(ts).machine.Login(ctx, args[0], args[1], args[2])
	switch {
	case err != nil && !neg:
		ts.Fatalf("%v", err)
	case err == nil && neg:
		ts.Fatalf("logging in as %s succeeded, and should have been refused", args[1])
	}
}

// login-as ENGINE USER-FILE PASSWORD-FILE is login with what the files hold.
func loginAs(ts *testscript.TestScript, neg bool, args []string) {
	line := func(name string) string { return strings.TrimSuffix(ts.ReadFile(name), "\n") }
	login(ts, neg, []string{args[0], line(args[1]), line(args[2])})
}

// own-state keeps the state of the story's stacks in a folder from now on, and not in Pulumi Cloud.
func ownState(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("PULUMI_BACKEND_URL", of(ts).cloud.FolderURL())
	ts.Setenv("PULUMI_CONFIG_PASSPHRASE", "road")
}

// inCloud does what needs Pulumi Cloud, wherever the state is.
func inCloud(ts *testscript.TestScript, do func()) {
	state := ts.Getenv("PULUMI_BACKEND_URL")
	ts.Setenv("PULUMI_BACKEND_URL", of(ts).cloud.ESCURL)
	defer ts.Setenv("PULUMI_BACKEND_URL", state)
	do()
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

// aws-left prints, a line each, what stands in the account that the story's database did not bring.
func awsLeft(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	left, err := of(ts).cloud.Left(ctx)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.Join(append(left, ""), "\n"))
}

// aws-oidc AUDIENCE... makes an OIDC provider for the story's ESC, as another team would.
func awsOIDC(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(of(ts).cloud.AddOIDCProvider(ctx, args...))
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

// restore STACK brings back, in the project at hand, a stack of testdata/stacks
// as its users would have it: its settings, its state, and both documents with
// live passwords. Its AWS account is empty, as if somebody had cleared it.
func restore(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	kept := filepath.Join(stacks, args[0])
	here := strings.NewReplacer(
		"{{ESC}}", s.cloud.ESCURL, "{{ESC_HOST}}", strings.TrimPrefix(s.cloud.ESCURL, "https://"), "{{ACCOUNT}}", s.cloud.Account)
	for from, to := range map[string]string{
		"Pulumi.dev.yaml": "Pulumi.dev.yaml", "stack.json": "../stack.json", "rotator.yaml": "../kept-rotator.yaml", "managing.yaml": "../kept-managing.yaml",
	} {
		text, err := os.ReadFile(filepath.Join(kept, from))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(to), []byte(here.Replace(string(text))), 0o600))
	}
	run(ts, false, s.machine.Pulumi, "stack", "import", "--file", ts.MkAbs("../stack.json"))
	// The managing environment first: the rotator's document refers to it.
	for _, environment := range []struct{ name, file string }{
		{"acme/demo/rotatorManagingCreds", "../kept-managing.yaml"}, {"acme/demo/rotator", "../kept-rotator.yaml"},
	} {
		inCloud(ts, func() {
			run(ts, false, s.machine.Pulumi, "env", "init", environment.name, "--file", ts.MkAbs(environment.file))
		})
	}
}
