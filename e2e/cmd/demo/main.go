// Command demo tells stories that the tests tell too, and shows each step: what the story says, the command that a user
// types, what it printed and how long it took. Run it in the folder e2e.
//
// Everything is real but Pulumi Cloud and AWS, which stand-ins on loopback play.
// It leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e"
)

// stories are told one after the other. A further one is a line here.
var stories = []string{
	"testdata/readme/first-rotation.txtar",
	"testdata/readme/iam-nothing.txtar",
	"testdata/stories/prepare-mariadb.txtar",
	"testdata/stories/road-mariadb.txtar",
	"testdata/stories/watch-alarms.txtar",
}

func main() { testscript.Main(demo{}, e2e.Commands()) }

type demo struct{}

// Run returns the exit code.
func (demo) Run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	show := newPresenter(os.Stdout)
	if err := tell(ctx, show); err != nil {
		show.failed(err)
		return 1
	}
	show.summary()
	return 0
}

func tell(ctx context.Context, show *presenter) (err error) {
	var all []*script
	for _, path := range stories {
		read, err := readScript(path)
		if err != nil {
			return err
		}
		all = append(all, read)
		show.total += read.steps
	}
	show.title("The ESC rotation connector, from pulumi new to pulumi destroy, on this machine")
	show.say("The Pulumi CLI, its engine, the ESC evaluator, the Lambda's binary, PostgreSQL and MariaDB are the real ones. "+
		"AWS is moto behind a gateway, and Pulumi Cloud a local service. Nothing leaves this machine.",
		"The demo tells stories that the tests tell too. A $ is before what a user types, and a · before what the story does "+
			"besides. Of what pulumi prints about its progress, the first pulumi up shows what is done, and the others show the sum.")

	folder, err := os.MkdirTemp("", "esc-demo-")
	if err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	show.begin("Start the stand-ins and the databases")
	at, err := e2e.Open(ctx, func(step string) { show.say(step) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	for i, script := range all {
		show.part(fmt.Sprintf("Part %d of %d, e2e/%s", i+1, len(all), script.path))
		if err := script.tell(ctx, show, at, folder); err != nil {
			return fmt.Errorf("e2e/%s: %w", script.path, err)
		}
	}
	show.end()
	return nil
}

// tell tells a story to the presenter.
func (s *script) tell(ctx context.Context, show *presenter, at *e2e.Place, folder string) error {
	told := &telling{script: s, show: show, done: ctx}
	params, err := at.Params(filepath.Dir(s.path), told)
	if err != nil {
		return err
	}
	file := filepath.Join(folder, filepath.Base(s.path))
	if err := os.WriteFile(file, s.marked, 0o600); err != nil {
		return fmt.Errorf("writing the story for the demo: %w", err)
	}
	params.Files, params.WorkdirRoot = []string{file}, folder
	maps.Copy(params.Cmds, map[string]func(*testscript.TestScript, bool, []string){mark: told.reach})
	testscript.RunT(told, params)
	return told.failure
}
