package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/tools/txtar"
)

// script is a story with marks in it: before each comment, and before each line that does something, stands a line with
// the word mark, the number of what follows and, of a line, its words.
type script struct {
	path   string
	marked []byte
	parts  []part
	steps  int
}

// part is a comment, which begins a step, or a line that does something.
type part struct {
	comment, line string
}

const mark = "demo-reaches"

func readScript(path string) (*script, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a story: %w", err)
	}
	s := &script{path: path}
	var marked bytes.Buffer
	inComment := false
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSuffix(line, "\n")
		comment, is := strings.CutPrefix(line, "#")
		switch {
		case is && inComment:
			s.parts[len(s.parts)-1].comment += " " + strings.TrimSpace(comment)
		case is:
			fmt.Fprintf(&marked, "%s %d\n", mark, len(s.parts))
			s.parts = append(s.parts, part{comment: strings.TrimSpace(comment)})
			s.steps++
		case strings.TrimSpace(line) != "":
			fmt.Fprintf(&marked, "%s %d %s\n", mark, len(s.parts), line)
			s.parts = append(s.parts, part{line: line})
		}
		inComment = is
		fmt.Fprintln(&marked, line)
	}
	fmt.Fprintf(&marked, "%s %d\n", mark, len(s.parts))
	archive.Comment = marked.Bytes()
	s.marked = txtar.Format(archive)
	return s, nil
}

// checks are words that look at what has been done.
var checks = []string{"aws-left", "calls-within", "cmp", "exists", "grep", "kept", "names-within", "nowhere", "resources", "stderr", "stdout"}

// quiet are words that do nothing worth telling, or whose commands the presenter is told by [telling.Types].
var quiet = []string{"cd", "cp", "document", "env", "mkdir", "new", "paste", "pulumi", "remember", "sh", "stdin"}

// telling is a story under way. It is testscript's T, and the story's audience.
type telling struct {
	script  *script
	show    *presenter
	done    context.Context
	failure error

	at      int    // the part that is under way
	log     string // of testscript
	before  string // what stood in stdout before it
	prints  bool   // whether it has shown its own output
	refuses bool   // whether it must fail
}

// reach is the word mark: the story goes on with part N.
func (t *telling) reach(ts *testscript.TestScript, _ bool, args []string) {
	if t.done.Err() != nil {
		ts.Fatalf("interrupted")
	}
	t.finish(ts)
	number, err := strconv.Atoi(args[0])
	ts.Check(err)
	t.at, t.before, t.prints, t.refuses = number, ts.ReadFile("stdout"), true, false
	if number == len(t.script.parts) {
		return
	}
	now := t.script.parts[number]
	if now.comment != "" {
		t.show.begin(now.comment)
		return
	}
	words := args[1:]
	for strings.HasPrefix(words[0], "[") { // a condition
		words = words[1:]
	}
	if words[0] == "!" {
		t.refuses, words = true, words[1:]
	}
	switch word := words[0]; {
	case slices.Contains(checks, word):
		t.show.checks++
		t.refuses = false
	case slices.Contains(quiet, word):
		t.refuses = false
	case word == "exec":
		t.prints = false
		t.show.command("$", words[1:]...)
		t.show.typed = now.line
	default:
		t.prints = false
		t.show.say("· " + now.line)
		t.show.typed = now.line
	}
}

// finish shows what came of the part that was under way.
func (t *telling) finish(ts *testscript.TestScript) {
	if out := ts.ReadFile("stdout"); !t.prints && out != t.before {
		t.Prints(out)
	}
	if t.refuses {
		t.show.say("refused, as it should be")
	}
}

// Types is called before a command runs that a user would type.
func (t *telling) Types(line string) {
	for line := range strings.Lines(line) {
		prompt := "$"
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "done") { // it goes on with the command before it
			prompt = ">"
		}
		t.show.command(prompt, strings.Split(strings.TrimSpace(line), " ")...)
	}
	t.show.typed = line
}

// Prints is called with what it has printed.
func (t *telling) Prints(output string) {
	t.prints = true
	t.show.output(output)
}

var errStory = errors.New("the story failed")

// Run is called by testscript with the story.
func (t *telling) Run(_ string, tell func(testscript.T)) {
	defer func() {
		switch problem := recover(); problem {
		case nil:
		case errStory:
			t.failure = t.where()
		default:
			panic(problem)
		}
	}()
	tell(t)
}

// where is the failure, with what testscript has logged since the last comment, but for the marks.
func (t *telling) where() error {
	line := "at its beginning"
	if t.at < len(t.script.parts) {
		line = "at " + t.script.parts[t.at].line
	}
	return fmt.Errorf("%s:\n%s", line, regexp.MustCompile(`(?m)^> `+mark+` .*\n`).ReplaceAllString(t.log, ""))
}

// Log is called by testscript with its log, at the end.
func (t *telling) Log(args ...any) { t.log += fmt.Sprint(args...) }

// FailNow ends the story.
func (t *telling) FailNow() { panic(errStory) }

// Fatal ends the story.
func (t *telling) Fatal(args ...any) {
	t.Log(args...)
	t.FailNow()
}

// Skip ends the story too: a demo that shows half of it says more than it has done.
func (t *telling) Skip(args ...any) { t.Fatal(append([]any{"skipped: "}, args...)...) }

// Parallel does nothing: one story is told after the other.
func (t *telling) Parallel() {}

// Verbose says that the log need not hold what went well.
func (t *telling) Verbose() bool { return false }

var _ testscript.T = (*telling)(nil)
