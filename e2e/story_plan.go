package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// planCommands are the words about what a preview says.
var planCommands = map[string]command{
	"foretold": foretold,
	"plan":     plan,
}

// plan prints what a preview would do, a line each: the operation, the type and the name.
func plan(ts *testscript.TestScript, _ bool, _ []string) {
	file := ts.MkAbs("../plan.json")
	run(ts, false, "sh", "-c", fmt.Sprintf("%s preview --json --non-interactive >%s", of(ts).machine.Pulumi, file))
	var preview struct {
		Steps []struct{ Op, URN string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &preview))
	var lines []string
	for _, step := range preview.Steps {
		parts := strings.Split(step.URN, "::")
		if step.Op != "same" && len(parts) == 4 {
			lines = append(lines, strings.Join([]string{step.Op, parts[2], parts[3]}, " "))
		}
	}
	slices.Sort(lines)
	_, err := fmt.Fprint(ts.Stdout(), strings.Join(append(slices.Compact(lines), ""), "\n"))
	ts.Check(err)
}

// foretold [ARGUMENT...] runs a preview and then up, both with the arguments, and prints what up did, a line each: the
// operation, the type and the name. It fails where the preview has said anything else.
func foretold(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("PULUMI_ENABLE_STREAMING_JSON_PREVIEW", "true")
	defer ts.Setenv("PULUMI_ENABLE_STREAMING_JSON_PREVIEW", "")
	said := operations(ts, append([]string{"preview"}, args...)...)
	did := operations(ts, append([]string{"up", "--yes", "--skip-preview"}, args...)...)
	if !slices.Equal(said, did) {
		ts.Fatalf("the preview said\n  %s\nand up did\n  %s", strings.Join(said, "\n  "), strings.Join(did, "\n  "))
	}
	_, err := fmt.Fprint(ts.Stdout(), strings.Join(append(did, ""), "\n"))
	ts.Check(err)
}

// operations runs the CLI, and answers what its events tell of resources that change.
func operations(ts *testscript.TestScript, args ...string) []string {
	file := ts.MkAbs("../events.json")
	line := strings.Join(append([]string{of(ts).machine.Pulumi}, args...), " ") + " --json --non-interactive >" + file
	run(ts, false, "sh", "-c", line)
	var lines []string
	for _, text := range strings.Split(strings.TrimSpace(ts.ReadFile(file)), "\n") {
		var event struct {
			ResourcePreEvent *struct {
				Metadata struct{ Op, URN, Type string }
			}
		}
		ts.Check(json.Unmarshal([]byte(text), &event))
		if event.ResourcePreEvent == nil {
			continue
		}
		switch change := event.ResourcePreEvent.Metadata; change.Op {
		case "same", "refresh", "read", "":
		default:
			lines = append(lines, strings.Join([]string{change.Op, change.Type, change.URN[strings.LastIndex(change.URN, "::")+2:]}, " "))
		}
	}
	slices.Sort(lines)
	return lines
}
