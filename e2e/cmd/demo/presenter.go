package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

// presenter is the one place that prints. A title opens a part, a step has a
// number, a command and its output are indented, and what takes longer than
// patience says that it is still at work. A terminal gets lines that fit, and
// colours unless NO_COLOR is set.
type presenter struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	width    int // of the terminal
	colour   bool
	steps    []finished
}

type finished struct {
	title string
	took  time.Duration
}

const patience = 5 * time.Second

const (
	plain = ""
	bold  = "1"
	dim   = "2"
	green = "32"
	red   = "31"
	cyan  = "36"
)

func newPresenter(out *os.File) *presenter {
	width, _, err := term.GetSize(int(out.Fd()))
	terminal := err == nil
	return &presenter{out: out, terminal: terminal, width: width, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

func (p *presenter) paint(style, text string) string {
	if !p.colour || style == plain {
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

// write prints words in a style, on as many lines of the terminal as it takes:
// the first one begins with indent, the others with hanging, and joint ends
// those that go on.
func (p *presenter) write(style, indent, hanging, joint string, words ...string) {
	var lines []string
	line, begun := indent, false
	for _, word := range words {
		if p.terminal && begun && len([]rune(line+" "+word+joint)) > p.width {
			lines = append(lines, line+joint)
			line, begun = hanging, false
		}
		if begun {
			line += " "
		}
		line, begun = line+word, true
		// A word that is wider than a line. A command must stay what it is.
		for runes := []rune(line); p.terminal && joint == "" && len(runes) > p.width && p.width > len(hanging); runes = []rune(line) {
			lines = append(lines, string(runes[:p.width]))
			line = hanging + string(runes[p.width:])
		}
	}
	for _, line := range append(lines, line) {
		p.print(p.paint(style, line))
	}
}

func (p *presenter) title(text string) {
	p.print("")
	p.write(bold, "", "", "", strings.Split(text, " ")...)
	p.print(p.paint(dim, strings.Repeat("─", min(len([]rune(text)), 78))))
}

func (p *presenter) say(lines ...string) {
	for _, line := range lines {
		p.write(plain, "   ", "   ", "", strings.Split(line, " ")...)
	}
}

// command shows what a user types: a shell reads its words in the same way.
func (p *presenter) command(prompt string, words ...string) {
	p.write(cyan, "   ", "       ", ` \`, append([]string{prompt}, words...)...)
}

// step runs one step and tells how long it took.
func (p *presenter) step(title string, do func() error) error {
	p.print("")
	p.write(bold, fmt.Sprintf("%2d. ", len(p.steps)+1), "    ", "", strings.Split(title, " ")...)
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

// command is one that a user types.
type command struct {
	folder  string
	environ []string // on top of the demo's own
	input   io.Reader
	shown   string // its name, as the user types it
	path    string
	args    []string
	hidden  *regexp.Regexp // lines of its output that are not shown
}

// run shows a command, runs it and shows what it prints, which it returns as well.
func (p *presenter) run(ctx context.Context, c command) (string, error) {
	words := []string{c.shown}
	for i, word := range quoted(c.args) {
		// An option and its value stay on one line.
		if i > 0 && strings.HasPrefix(c.args[i-1], "-") && !strings.HasPrefix(word, "-") {
			words[len(words)-1] += " " + word
			continue
		}
		words = append(words, word)
	}
	p.command("$", words...)
	return p.follow(ctx, c)
}

// follow runs a command that has been shown.
func (p *presenter) follow(ctx context.Context, c command) (string, error) {
	prepared := c.prepared(ctx)
	reader, writer := io.Pipe()
	prepared.Stdout, prepared.Stderr = writer, writer
	var said strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() {
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			said.WriteString(scanner.Text() + "\n")
			text := strings.TrimRight(scanner.Text(), " \r")
			if text == "" || c.hidden != nil && c.hidden.MatchString(text) {
				continue
			}
			words := strings.TrimLeft(text, " ")
			indent := "     " + text[:len(text)-len(words)]
			p.write(dim, indent, indent+"  ", "", strings.Split(words, " ")...)
		}
	})
	err := prepared.Run()
	_ = writer.Close()
	reading.Wait()
	if err != nil {
		return said.String(), fmt.Errorf("%s: %w", c.shown, err)
	}
	return said.String(), nil
}

// output is what a command prints to its standard output. Nothing is shown.
func (c command) output(ctx context.Context) (string, error) {
	prepared := c.prepared(ctx)
	var errors bytes.Buffer
	prepared.Stderr = &errors
	out, err := prepared.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", c.shown, err, errors.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

func (c command) prepared(ctx context.Context) *exec.Cmd {
	prepared := exec.CommandContext(ctx, c.path, c.args...)
	prepared.Dir, prepared.Stdin = c.folder, c.input
	prepared.Env = append(os.Environ(), c.environ...)
	prepared.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return prepared
}

// quoted is args as a shell reads them.
func quoted(args []string) []string {
	var words []string
	for _, arg := range args {
		if strings.ContainsAny(arg, " \"'#%$\\*?&;()<>|`") {
			if strings.Contains(arg, "'") && !strings.ContainsAny(arg, "\"$\\`") {
				arg = `"` + arg + `"`
			} else {
				arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
			}
		}
		words = append(words, arg)
	}
	return words
}

func (p *presenter) failed(err error) {
	p.print("")
	p.write(red, "", "  ", "", strings.Split("The demo failed: "+err.Error(), " ")...)
}

func (p *presenter) summary(total time.Duration) {
	p.title("Summary")
	for i, step := range p.steps {
		title := []rune(step.title)
		if len(title) > 64 {
			title = append(title[:63], '…')
		}
		p.print(fmt.Sprintf(" %2d  %-64s %6.1f s", i+1, string(title), step.took.Seconds()))
	}
	p.print(p.paint(green, fmt.Sprintf("     %-64s %6.1f s", "everything worked", total.Seconds())))
}
