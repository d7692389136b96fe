package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

// presenter is the one place that prints. A title opens a part, a step has a
// number, a command and its output are indented, and what takes longer than
// patience says that it is still at work. Colours are for terminals, unless
// NO_COLOR is set.
type presenter struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	colour   bool
	steps    []finished
}

type finished struct {
	title string
	took  time.Duration
}

const patience = 5 * time.Second

const (
	bold  = "1"
	dim   = "2"
	green = "32"
	red   = "31"
	cyan  = "36"
)

func newPresenter(out *os.File) *presenter {
	terminal := term.IsTerminal(int(out.Fd()))
	return &presenter{out: out, terminal: terminal, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

func (p *presenter) paint(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *presenter) print(lines ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range lines {
		if p.terminal {
			// The progress line, if there is one, makes room.
			fmt.Fprint(p.out, "\r\x1b[K")
		}
		fmt.Fprintln(p.out, line)
	}
}

func (p *presenter) title(text string) {
	p.print("", p.paint(bold, text), p.paint(dim, strings.Repeat("─", min(len([]rune(text)), 78))))
}

func (p *presenter) say(lines ...string) {
	for _, line := range lines {
		p.print("   " + line)
	}
}

func (p *presenter) command(line string) { p.print("   " + p.paint(cyan, line)) }

// step runs one step and tells how long it took.
func (p *presenter) step(title string, do func() error) error {
	p.print("", p.paint(bold, fmt.Sprintf("%2d. %s", len(p.steps)+1, title)))
	started := time.Now()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() { p.progress(started, done) })
	err := do()
	close(done)
	waiting.Wait()
	took := time.Since(started)
	p.steps = append(p.steps, finished{title, took})
	if err != nil {
		return fmt.Errorf("step %d, %s: %w", len(p.steps), title, err)
	}
	p.print("   " + p.paint(green, fmt.Sprintf("✓ %.1f s", took.Seconds())))
	return nil
}

// progress says, from patience on, that the step goes on: every second in one
// line of a terminal, every 15 seconds in a pipe.
func (p *presenter) progress(started time.Time, done <-chan struct{}) {
	interval := 15 * time.Second
	if p.terminal {
		interval = time.Second
	}
	next := time.NewTimer(patience)
	defer next.Stop()
	for {
		select {
		case <-done:
			return
		case <-next.C:
		}
		elapsed := fmt.Sprintf("   … %.0f s", time.Since(started).Seconds())
		if p.terminal {
			p.mu.Lock()
			fmt.Fprint(p.out, "\r\x1b[K"+p.paint(dim, elapsed))
			p.mu.Unlock()
		} else {
			p.print(elapsed)
		}
		next.Reset(interval)
	}
}

// lines shows a command's output, line by line.
func (p *presenter) lines(from io.Reader) {
	for scanner := bufio.NewScanner(from); scanner.Scan(); {
		if text := strings.TrimRight(scanner.Text(), " \r"); text != "" {
			p.print("     " + p.paint(dim, text))
		}
	}
}

// run shows a command as a user would type it, runs it and shows what it prints.
func (p *presenter) run(ctx context.Context, folder string, environ []string, shown, path string, args ...string) error {
	return p.runWith(ctx, nil, folder, environ, shown, path, args...)
}

// runWith is run with a standard input.
func (p *presenter) runWith(
	ctx context.Context, input io.Reader, folder string, environ []string, shown, path string, args ...string,
) error {
	p.command("$ " + shown + " " + quoted(args))
	command := prepared(ctx, folder, environ, path, args...)
	command.Stdin = input
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	var reading sync.WaitGroup
	reading.Go(func() { p.lines(reader) })
	err := command.Run()
	_ = writer.Close()
	reading.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	return nil
}

// output is what a command prints to its standard output.
func output(ctx context.Context, folder string, environ []string, path string, args ...string) (string, error) {
	command := prepared(ctx, folder, environ, path, args...)
	var errors bytes.Buffer
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", path, err, errors.String())
	}
	return string(out), nil
}

func prepared(ctx context.Context, folder string, environ []string, path string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, path, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), environ...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command
}

// quoted is args as a shell reads them.
func quoted(args []string) string {
	var words []string
	for _, arg := range args {
		if strings.ContainsAny(arg, " \"'#%$\\*?&;()<>|") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

func (p *presenter) failed(err error) {
	p.print("", p.paint(red, "The demo failed: "+err.Error()))
}

func (p *presenter) summary(total time.Duration) {
	p.title("Summary")
	for i, step := range p.steps {
		title := []rune(step.title)
		if len(title) > 64 {
			title = append(title[:63], '…')
		}
		p.print(fmt.Sprintf("  %2d  %-64s %7.1f s", i+1, string(title), step.took.Seconds()))
	}
	p.print(p.paint(green, fmt.Sprintf("      %-64s %7.1f s", "everything worked", total.Seconds())))
}
