package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"esc-connector-lambda-go/e2e/road"
)

// stack is a deployed project.
type stack struct {
	folder      string
	environment []string
	pulumi      string
}

// run runs the CLI on the stack, and is the time that it took.
func (s *stack) run(ctx context.Context, args ...string) (time.Duration, error) {
	command := exec.CommandContext(ctx, s.pulumi, append(args, "--non-interactive")...)
	command.Dir, command.Env = s.folder, append(os.Environ(), s.environment...)
	began := time.Now()
	if out, err := command.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("pulumi %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(began), nil
}

// preview fails when there is something to change.
func (s *stack) preview(ctx context.Context) (float64, error) {
	took, err := s.run(ctx, "preview", "--expect-no-changes")
	return took.Seconds(), err
}

func (b *bench) measurePreview(ctx context.Context) (err error) {
	progress("deploying the project and an empty program on this machine")
	machine, err := road.StartMachine(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machine.Stop()) }()
	ours, close, err := b.deployOurs(ctx, machine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, close()) }()
	empty, close2, err := b.deployEmpty(ctx, machine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, close2()) }()

	progress("previewing both with nothing changed, turn by turn")
	var found, built, theirs []float64
	const previews = 5
	for i := range 1 + previews { // the first one warms up
		unchanged, err := ours.preview(ctx)
		if err != nil {
			return err
		}
		none, err := empty.preview(ctx)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(b.path("cache/esc-connector-lambda-go/archives")); err != nil {
			return fmt.Errorf("removing the compiled function: %w", err)
		}
		anew, err := ours.preview(ctx)
		if err != nil {
			return err
		}
		if i > 0 {
			found, theirs, built = append(found, unchanged), append(theirs, none), append(built, anew)
		}
	}
	b.Samples["preview, ours"], b.Samples["preview, "+emptyProgram], b.Samples["preview that builds the archive"] = found, theirs, built
	b.add(
		row{Measure: "warm pulumi preview, nothing changed", Unit: "s", Ours: quantile(found, 0.5), Baseline: quantile(theirs, 0.5), Against: emptyProgram, MaxRatio: atMost(2)},
		row{Measure: "the same, the archive found", Unit: "s", Ours: quantile(found, 0.5), Baseline: quantile(built, 0.5), Against: "the archive built anew", MaxRatio: atMost(1)},
	)
	return nil
}

// deployOurs makes a project from the template and deploys it. The archive is kept in a folder of its own.
func (b *bench) deployOurs(ctx context.Context, machine *road.Machine) (*stack, func() error, error) {
	template, err := machine.CopyTemplate(ctx)
	if err != nil {
		return nil, nil, err
	}
	cloud, err := b.newCloud(machine, "ours")
	if err != nil {
		return nil, nil, err
	}
	s := &stack{folder: b.folder, environment: append(cloud.Environ(), "XDG_CACHE_HOME="+b.path("cache")), pulumi: machine.Pulumi}
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} { // which would be elsewhere with another XDG_CACHE_HOME
		value, err := exec.CommandContext(ctx, "go", "env", name).Output()
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("asking go for %s: %w", name, err), cloud.Close())
		}
		s.environment = append(s.environment, name+"="+strings.TrimSpace(string(value)))
	}
	err = cloud.AddCluster(ctx, "orders", "aurora-postgresql", machine.Postgres)
	if err == nil {
		_, err = s.run(ctx, "new", template, "--yes", "--name", "orders", "--description", "A benchmark", "--stack", "dev", "--dir", "orders",
			"--config", "aws:region="+road.Region, "--config", "rdsDbIdentifier=orders",
			"--config", "rotatedSecretsEnvironmentName=demo/orders", "--config", "backendUrl="+cloud.ESCURL)
	}
	s.folder = b.path("orders")
	if err == nil {
		_, err = s.run(ctx, "up", "--yes", "--skip-preview")
	}
	if err != nil {
		return nil, nil, errors.Join(err, cloud.Close())
	}
	return s, cloud.Close, nil
}

// deployEmpty deploys the empty program.
func (b *bench) deployEmpty(ctx context.Context, machine *road.Machine) (*stack, func() error, error) {
	folder, err := b.emptyProgram(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "Pulumi.yaml"), []byte("name: empty\nruntime: go\n"), 0o644); err != nil {
		return nil, nil, fmt.Errorf("making the empty program: %w", err)
	}
	cloud, err := b.newCloud(machine, "empty")
	if err != nil {
		return nil, nil, err
	}
	s := &stack{folder: folder, environment: slices.Clone(cloud.Environ()), pulumi: machine.Pulumi}
	_, err = s.run(ctx, "stack", "init", "dev")
	if err == nil {
		_, err = s.run(ctx, "up", "--yes", "--skip-preview")
	}
	if err != nil {
		return nil, nil, errors.Join(err, cloud.Close())
	}
	return s, cloud.Close, nil
}

func (b *bench) newCloud(machine *road.Machine, name string) (*road.Cloud, error) {
	home := b.path("cloud-" + name)
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, fmt.Errorf("making a cloud's folder: %w", err)
	}
	return machine.NewCloud(home)
}
