// Command bench measures the project against the least possible in the same run, and prints one table.
//
//	go run ./cmd/bench [-only PART[,PART...]] [-rotations N] [-results FOLDER]
//
// The parts are
//
//   - build: the Pulumi program's cold build and download against an empty Pulumi program's, and the
//     function's against an empty handler's;
//   - preview: pulumi preview with nothing changed against an empty program's;
//   - function: start, rotations, CPU time, memory and round trips against the least possible rotator;
//   - scale: many rotations at once, each in a process of its own as Lambda would start them.
//
// The baselines are in e2e/baselines, and are compiled with the versions of the project's own go.mod. Times on a busy
// machine are noise; the ratios, measured turn by turn, are less so. The raw figures go to a JSON file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	only := flag.String("only", "build,preview,function,scale", "the parts to measure, with commas between")
	rotations := flag.Int("rotations", 60, "how many rotations a figure of the part function stands on")
	results := flag.String("results", "baselines/results", "the folder for the raw figures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*only, ","), *rotations, *results); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the parts share.
type bench struct {
	*report
	root      string // the project's folder
	folder    string // for what the run makes
	rotations int
}

func run(ctx context.Context, parts []string, rotations int, results string) (err error) {
	root, err := projectRoot(ctx)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "esc-bench-")
	if err != nil {
		return fmt.Errorf("making a folder for the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b := &bench{report: newReport(), root: root, folder: folder, rotations: rotations}
	known := map[string]func(context.Context) error{
		"build": b.measureBuild, "preview": b.measurePreview, "function": b.measureFunction, "scale": b.measureScale,
	}
	for _, part := range parts {
		measure, ok := known[part]
		if !ok {
			return fmt.Errorf("choosing the parts: there is no part %q; there are build, preview, function and scale", part)
		}
		if err := measure(ctx); err != nil {
			return fmt.Errorf("measuring the part %s: %w", part, err)
		}
	}
	b.print(os.Stdout)
	path := filepath.Join(results, time.Now().UTC().Format("20060102T150405Z")+".json")
	if err := b.write(path); err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs; raw figures: %s\n", runtime.Version(), runtime.NumCPU(), path)
	return nil
}

// projectRoot is the folder of the module that this one tests.
func projectRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "esc-connector-lambda-go").Output()
	if err != nil {
		return "", fmt.Errorf("finding the project's folder: %w; run this in e2e", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
