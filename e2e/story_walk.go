package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// walk SERIES LENGTH does to the stack, so many times, a random series of so many commands, as people do who repair a state:
// none of them says that it deletes an environment. Then it does what pulumi up says until that succeeds, and both documents
// must be as remembered, and a rotation succeeds once a refresh has seen what AWS lacks. Another number of series comes from WALK_SERIES, a seed from WALK_SEED.
func walk(ts *testscript.TestScript, _ bool, args []string) {
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		ts.Check(err)
		return n
	}
	series, length := number(args[0]), number(args[1])
	if given := os.Getenv("WALK_SERIES"); given != "" {
		series = number(given)
	}
	seed := uint64(2) // so that the test does the same each time; other walks are begun by hand
	if given := os.Getenv("WALK_SEED"); given != "" {
		seed = uint64(number(given))
	}
	for i := range series {
		w := &walker{ts: ts, s: of(ts), random: rand.New(rand.NewPCG(seed, uint64(i))), stack: "dev"}
		if w.stack = strings.TrimSpace(ts.Getenv("WALKED")); w.stack == "" {
			w.stack = "dev"
		}
		var done []string
		for range length {
			done = append(done, w.step())
		}
		ts.Logf("series %d of WALK_SEED=%d: %s", i, seed, strings.Join(done, "; "))
		w.recover()
		ts.Setenv("WALKED", w.stack)
		kept(ts, false, nil)
		w.recover("--refresh")
		kept(ts, false, nil)
		escRotate(ts, false, []string{"acme/demo/rotator"})
		remember(ts, false, nil)
	}
}

// walker is one random series of commands.
type walker struct {
	ts     *testscript.TestScript
	s      *story
	random *rand.Rand
	stack  string
}

// try runs the CLI, which may fail, and answers what it said.
func (w *walker) try(args ...string) (string, bool) {
	err := w.ts.Exec(w.s.machine.Pulumi, append(args, "--non-interactive")...)
	return w.ts.ReadFile("stdout") + w.ts.ReadFile("stderr"), err == nil
}

func (w *walker) urn(kind, name string) string {
	return fmt.Sprintf("urn:pulumi:%s::project::%s::%s", w.stack, kind, name)
}

func pick[T any](w *walker, from ...T) T { return from[w.random.IntN(len(from))] }

// parts are the URNs of what the state has in AWS, and in Pulumi Cloud beside the environments.
func (w *walker) parts() (parts []urn.URN) {
	var state struct {
		Deployment struct{ Resources []struct{ URN urn.URN } }
	}
	w.ts.Check(w.ts.Exec(w.s.machine.Pulumi, "stack", "export"))
	w.ts.Check(json.Unmarshal([]byte(w.ts.ReadFile("stdout")), &state))
	for _, resource := range state.Deployment.Resources {
		kind := string(resource.URN.QualifiedType())
		if strings.HasPrefix(kind, "aws:") || strings.HasPrefix(kind, "pulumiservice:") && kind != environmentType {
			parts = append(parts, resource.URN)
		}
	}
	return parts
}

// part is one of them, the function where there are none.
func (w *walker) part() string {
	return string(pick(w, append(w.parts(), urn.URN(w.urn("aws:lambda/function:Function", "function")))...))
}

// step does one thing, and tells which.
func (w *walker) step() string {
	environment := pick(w, "rotator", "managingCreds")
	exported := filepath.Join(w.ts.Getenv("WORK"), "walk.json")
	var line []string
	switch w.random.IntN(14) {
	case 0:
		id := map[string]string{"rotator": "acme/demo/rotator", "managingCreds": "acme/demo/rotatorManagingCreds"}[pick(w, "rotator", "managingCreds")]
		line = []string{"import", environmentType, pick(w, environment, "mine"), id, "--generate-code=false", "--yes", "--skip-preview"}
		if w.random.IntN(2) == 0 {
			line = append(line, "--protect=false")
		}
	case 1:
		line = []string{"state", "delete", "--yes", "--force", "--target-dependents", pick(w, w.urn(environmentType, environment), w.part())}
	case 2:
		line = []string{"state", "rename", "--yes", w.urn(environmentType, environment), pick(w, "rotator", "managingCreds", "other")}
	case 3:
		to := fmt.Sprintf("walk%d", w.random.IntN(1000))
		if _, ok := w.try("stack", "rename", to); ok {
			w.stack = to
		}
		return "stack rename " + to
	case 4:
		line = []string{"stack", "export", "--file", exported}
	case 5:
		line = []string{"stack", "import", "--force", "--file", exported}
	case 6:
		line = []string{"up", "--yes", "--skip-preview", "--target", pick(w, w.part(), w.urn(environmentType, environment))}
	case 7:
		line = []string{"destroy", "--yes", "--skip-preview", "--target-dependents", "--target", w.part()}
	case 8:
		faults := pick(w, &w.s.cloud.ESC.Faults, &w.s.cloud.AWSFaults)
		faults.Fail(rest.Fault{Status: 503})
		defer faults.Recover()
		line = []string{"refresh", "--yes", "--skip-preview"}
		if faults == &w.s.cloud.AWSFaults {
			line = append(line, "--target", w.urn(environmentType, environment)) // AWS's SDK tries again for long
		}
	case 9:
		line = []string{"import", environmentType, "below", "acme/demo/rotator", "--parent", "parent=" + w.urn(environmentType, environment),
			"--generate-code=false", "--yes", "--skip-preview"}
	case 10:
		subnets := pick(w, "", w.ts.Getenv("SUBNET1"))
		w.s.cloud.AWS.FailInterfaces("SubnetOutOfIPAddresses", "The subnet has no free address", w.random.IntN(2) == 0)
		defer w.s.cloud.AWS.FailInterfaces("", "", false)
		if _, ok := w.try("config", "set", "subnetIds", subnets); !ok {
			return "no setting"
		}
		line = []string{"up", "--yes", "--skip-preview"}
	case 11:
		line = []string{"state", "taint", "--yes", w.part()}
	case 12:
		line = []string{"up", "--yes", "--skip-preview", "--replace", w.part()}
	default:
		if w.random.IntN(2) == 0 {
			w.try("up", "--yes", "--skip-preview")
			return "up"
		}
		return "up, killed at " + w.cut()
	}
	_, ok := w.try(line...)
	return fmt.Sprintf("%s (%v)", strings.Join(line[:min(len(line), 8)], " "), ok)
}

// cut begins an update and kills it with all that it has started, at one of its changes in AWS, if there are so many.
func (w *walker) cut() string {
	faults, after := &w.s.cloud.AWSFaults, w.random.IntN(30)
	faults.Fail(rest.Fault{Late: w.random.IntN(2) == 0, Method: "POST", After: 20 + after})
	_, err := w.s.killWhenHanging(faults, func() { w.try("up", "--yes", "--skip-preview") })
	w.ts.Check(err)
	faults.Recover()
	w.try("cancel", "--yes")
	return fmt.Sprintf("call %d", after)
}

// wayOn are the commands of our messages that mend a state. Their other ways on, such as pulumi config set, are not among them: all
// that matches is run.
var wayOn = regexp.MustCompile(`(?m)(pulumi state delete --force (?:--target-dependents )?(?:--all|'[^\n]*')|pulumi state rename '\S+' \S+` +
	`|aws (?:(?:lambda|iam|logs) delete-|ec2 revoke-).*|pulumi import pulumiservice:\S+ .*[^>]|pulumi up --refresh|pulumi stack rename [^<\s]+)$`)

// listOfSchedules shows the ID of a schedule, which the program cannot know.
var (
	listOfSchedules = regexp.MustCompile(`pulumi env schedule list .*`)
	scheduleID      = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// recover does what pulumi up, with these flags, says, until it succeeds.
func (w *walker) recover(flags ...string) {
	said := ""
	for range 12 {
		var ok bool
		if said, ok = w.try(append([]string{"up", "--yes", "--skip-preview"}, flags...)...); ok {
			return
		}
		if !w.lookUp(said) {
			w.obey(said)
		}
	}
	w.ts.Fatalf("pulumi up still fails, after all that it said to do:\n%s", said)
}

// hasTargets is EventBridge's refusal to delete a rule.
var hasTargets = regexp.MustCompile(`deleting EventBridge Rule \((\S+)\).* has targets`)

// lookUp does what docs/TROUBLESHOOTING.md says of an error in the words of the CLI or of AWS.
func (w *walker) lookUp(said string) bool {
	switch rule := hasTargets.FindStringSubmatch(said); {
	case strings.Contains(said, "pulumi cancel"):
		w.try("cancel", "--yes")
	case rule != nil:
		w.ts.Check(w.ts.Exec("aws", "events", "remove-targets", "--rule", rule[1], "--ids", "connector"))
	case strings.Contains(said, "previously-imported resources"):
		w.try("state", "untaint", "--yes", w.urn("aws:iam/openIdConnectProvider:OpenIdConnectProvider", "oidcProvider"))
	default:
		return false
	}
	return true
}

// obey runs the commands of what pulumi up said, in their order, as somebody does who pastes them.
func (w *walker) obey(said string) {
	message := said[max(strings.LastIndex(said, "Diagnostics:"), 0):]
	w.ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "true")
	defer w.ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "")
	id := "none"
	if list := listOfSchedules.FindString(message); list != "" && w.ts.Exec("sh", "-c", list) == nil {
		id = scheduleID.FindString(w.ts.ReadFile("stdout"))
	}
	var done []string
	for _, command := range wayOn.FindAllString(message, -1) {
		if slices.Contains(done, command) {
			continue
		}
		done = append(done, command)
		if name, is := strings.CutPrefix(command, "pulumi stack rename "); is {
			w.stack = name
		}
		if err := w.ts.Exec("sh", "-c", strings.ReplaceAll(command, "<ID>", id)); err != nil {
			w.ts.Logf("%s: %v", command, err)
		}
	}
	w.ts.Logf("did what it said: %d commands", len(done))
}
