package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
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
	started  time.Time

	number, total int    // of the step that is under way, and of all
	stop          func() // its clock
	began         time.Time
	checks        int             // in it
	typed         string          // the last command
	deployed      bool            // whether pulumi has shown its progress
	shown         map[string]bool // lines
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
	return &presenter{
		out: out, terminal: terminal, width: width, colour: terminal && os.Getenv("NO_COLOR") == "",
		started: time.Now(), total: 1, shown: map[string]bool{},
	}
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

// begin begins a step, and ends the one before.
func (p *presenter) begin(title string) {
	p.end()
	p.print("")
	p.number++
	p.write(bold, fmt.Sprintf("%2d/%d. ", p.number, p.total), "       ", "", strings.Split(title, " ")...)
	p.checks, p.began = 0, time.Now()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() { p.tick(p.began, done) })
	p.stop = func() {
		close(done)
		waiting.Wait()
		p.stop = nil
	}
}

// end ends the step that is under way, if there is one.
func (p *presenter) end() {
	if p.stop == nil {
		return
	}
	p.stop()
	took := fmt.Sprintf("✓ %.1f s", time.Since(p.began).Seconds())
	switch p.checks {
	case 0:
	case 1:
		took += ", with one check"
	default:
		took += fmt.Sprintf(", with %d checks", p.checks)
	}
	p.print("   " + p.paint(green, took))
}

// part begins a story.
func (p *presenter) part(title string) {
	p.end()
	p.title(title)
}

// tick says, from patience on, that the step goes on: every second in one
// line of a terminal, every 15 seconds in a pipe.
func (p *presenter) tick(started time.Time, done <-chan struct{}) {
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

// What pulumi prints while it works: progress is all of it, begun is that of what is not done yet.
var (
	progress = regexp.MustCompile(`^ *(@ |([-+~=] +)?\w+:\S+:\w+ [^(])`)
	begun    = regexp.MustCompile(`^ *(@ |[-+~=] +\w+:\S+:\w+ \S+ \w+ing \()`)
)

// most is how many lines are shown of what a command prints under one heading.
const most = 40

// output shows what a command printed, but for live passwords. Of Pulumi it shows the progress once, and what it tells under a
// heading unless all of that was told before.
func (p *presenter) output(text string) {
	hidden := begun
	if p.deployed {
		hidden = progress
	}
	var blocks [][]string
	for line := range strings.Lines(masked(p.typed, text)) {
		line = strings.TrimRight(line, " \r\n")
		p.deployed = p.deployed || progress.MatchString(line)
		switch {
		case line == "" || hidden.MatchString(line):
		case len(blocks) > 0 && strings.HasPrefix(line, " "):
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], line)
		default:
			blocks = append(blocks, []string{line})
		}
	}
	var lines []string
	for _, block := range blocks {
		if told.MatchString(block[0]) && !p.news(block) {
			continue
		}
		if gone := len(block) - most; gone > 0 {
			block = slices.Replace(block, most/2, most/2+gone, fmt.Sprintf("… %d more lines …", gone))
		}
		lines = append(lines, block...)
	}
	for _, line := range lines {
		words := strings.TrimLeft(line, " ")
		indent := "     " + line[:len(line)-len(words)]
		p.write(dim, indent, indent+"  ", "", strings.Split(words, " ")...)
	}
}

// told are the headings of what Pulumi tells again and again.
var told = regexp.MustCompile(`^(Diagnostics|Outputs|Next):`)

// news reports whether a block of lines holds one that was not shown before.
func (p *presenter) news(block []string) bool {
	is := false
	for _, line := range block {
		is = is || !p.shown[line]
		p.shown[line] = true
	}
	return is
}

// masked is what a command printed without live passwords.
func masked(command, output string) string {
	if regexp.MustCompile(`\b(env open|esc-open) .*[pP]assword`).MatchString(command) {
		return "…, a live password\n"
	}
	return regexp.MustCompile(`("[pP]assword": *)"(?:[^"\\]|\\.)*"`).ReplaceAllString(output, `$1"…"`)
}

func (p *presenter) failed(err error) {
	if p.stop != nil {
		p.stop()
	}
	p.print("")
	for line := range strings.Lines("The demo failed: " + err.Error()) {
		p.write(red, "", "  ", "", strings.Split(strings.TrimSuffix(line, "\n"), " ")...)
	}
}

func (p *presenter) summary() {
	p.print("", p.paint(green, fmt.Sprintf("Everything worked: %d steps in %.0f s. Nothing is left on this machine but what is in the caches.",
		p.number, time.Since(p.started).Seconds())))
}
