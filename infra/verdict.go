package infra

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi-pulumiservice/sdk/go/pulumiservice"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// What the program does with what it finds of itself is decided here: by the state that the last update left, or that
// somebody has made of it since, and by what Pulumi Cloud and AWS have of this stack's names. The engine creates what the
// program registers and the state lacks, and deletes what the state has and the program does not register. Of an environment
// that means its live passwords, so the program stops before it registers one.

// evidence is all that the decision rests on.
type evidence struct {
	settings *Settings
	last     *LastState
	// Of Pulumi Cloud and AWS, where they have been asked.
	asked bool
	live  map[environments.Name]bool // environments that exist
	// What AWS has that the state lacks, and that an update would create.
	remnants []remnant
	// What AWS has that the state lacks, and that an update would make a second time.
	left []remnant
	gone []string  // what the state has, and AWS does not
	open []remnant // rules by which the function reaches everything
	cli  string    // the AWS CLI, for commands

	imports func(resourceType, logicalName, id string) string // the command that takes it over
}

// holds is which environment the state's entry of a logical name names. A row of a table may have several.
type holds int

const (
	nothing     holds = 1 << iota // there is no such entry
	itself                        // the one that the settings name
	itsTwin                       // the other one of the two
	inAnother                     // one of another organization
	anotherName                   // any other
)

// known is an answer. A row of a table with either takes any.
type known int

const (
	either known = iota
	yes
	no
	unasked
)

func (k known) fits(answer known) bool { return k == either || k == answer }

// ownEntries name no environment but these two.
const ownEntries = nothing | itself | itsTwin

// environmentTable says of each of the two environments what is done: the first row that fits it does. A row without a
// way on goes on.
var environmentTable = []struct {
	entry holds // what the entry under its own logical name names
	under known // whether an entry under another logical name names it
	live  known // whether Pulumi Cloud has it
	means string
	way   func(*evidence, environment) verdict
}{
	{ownEntries, yes, unasked, "ask first, so that the state has the provider by which it is taken over again", nil},
	{ownEntries, yes, either, "it has an entry that this program does not register: the engine deletes it to be rid of that", (*evidence).putInOrder},
	{itself, no, either, "it is this stack's", nil},
	{itsTwin, no, either, "what its entry names is told of in the twin's row", nil},
	{inAnother, either, unasked, "ask first whether the organization was renamed", nil},
	{inAnother, either, yes, "its organization has another name in Pulumi Cloud", (*evidence).followOrganization},
	{inAnother, either, no, "the settings name another organization: the engine deletes it there", (*evidence).organizationBack},
	{anotherName, either, either, "the settings name another environment: the engine deletes the one it wrote", (*evidence).nameBack},
	{nothing, no, yes, "somebody else's, or this stack's whose state is lost, or half created", (*evidence).takeOver},
	{nothing, no, either, "it is to be created", nil},
}

// stackTable says what is done about the rest, before the environments.
var stackTable = []struct {
	found func(*evidence) bool
	means string
	way   func(*evidence) verdict
	alone bool // whether nothing else that is found counts
}{
	{(*evidence).foreign, "the state is another stack's: the engine creates all anew, and deletes that stack's", (*evidence).letGo, true},
	{(*evidence).backendMoved, "another instance of Pulumi Cloud: the engine deletes the environments of the one before", (*evidence).backendBack, false},
	{(*evidence).regionMoved, "another region: the engine makes another function, and the documents name the one before", (*evidence).regionBack, false},
	{(*evidence).takenByOther, "AWS has them for another stack, which had this one's name before, and whose the environments may be", (*evidence).leaveNames, true},
	{(*evidence).taken, "AWS has what the state lacks: the engine creates it, and AWS refuses", (*evidence).freeNames, false},
}

// environment is one of the two that the settings name.
type environment struct {
	logicalName string
	wanted      environments.Name
	twin        environments.Name
}

// verdict is what stops the program: a setting to set back, or a text.
type verdict struct {
	setting *problem
	text    string
}

// judge is the tables applied. Nil goes on.
func (e *evidence) judge() error {
	var problems []problem
	var texts []error
	say := func(v verdict) {
		switch {
		case v.setting != nil:
			problems = append(problems, *v.setting)
		case !slices.ContainsFunc(texts, func(said error) bool { return said.Error() == v.text }):
			texts = append(texts, errors.New(v.text))
		}
	}
	for _, row := range stackTable {
		if row.found(e) {
			say(row.way(e))
			if row.alone {
				return errors.Join(texts...)
			}
		}
	}
	for _, environment := range e.environments() {
		entry, under, live := e.holds(environment), e.under(environment), e.isLive(environment)
		for _, row := range environmentTable {
			if row.entry&entry != 0 && row.under.fits(under) && row.live.fits(live) {
				if row.way != nil {
					say(row.way(e, environment))
				}
				break
			}
		}
	}
	problems = e.once(problems)
	if len(problems) > 0 {
		return &SettingsError{stack: e.settings.Stack, problems: problems, advice: `Other ways on:
  A second connector, beside this one: pulumi stack init <organization>/<name>, and give that stack the new value.
  Move this one: keep what the environments hold (pulumi env get), then pulumi destroy, and pulumi up with the new value.`}
	}
	return errors.Join(texts...)
}

// once leaves out what follows from another problem: the organization's is both environments', and a managing name that was
// never set follows the rotator's.
func (e *evidence) once(problems []problem) []problem {
	var independent []problem
	for _, p := range problems {
		same := func(other problem) bool { return other.key == p.key }
		follows := p.key == e.key("managingCredsEnvironmentName") && e.settings.Managing == e.settings.derivedManaging() &&
			slices.ContainsFunc(problems, func(other problem) bool { return other.key == e.key("rotatedSecretsEnvironmentName") })
		if !follows && !slices.ContainsFunc(independent, same) {
			independent = append(independent, p)
		}
	}
	return independent
}

func (e *evidence) environments() []environment {
	managing, rotator := e.settings.Managing, e.settings.Rotator
	return []environment{
		{environments.ManagingResource, managing, rotator},
		{environments.RotatorResource, rotator, managing},
	}
}

func (e *evidence) holds(environment environment) holds {
	name, there := e.last.environment(environment.logicalName)
	switch {
	case !there:
		return nothing
	case name == environment.wanted:
		return itself
	case name == environment.twin:
		return itsTwin
	case name.Organization != environment.wanted.Organization:
		return inAnother
	}
	return anotherName
}

// otherEntries are the entries under other logical names that name the environment.
func (e *evidence) otherEntries(environment environment) []entry {
	var found []entry
	for _, entry := range e.last.entries {
		if string(entry.urn.Type()) == environments.Type && entry.outputs.environment() == environment.wanted &&
			!isOwn(entry.urn, environment.logicalName) {
			found = append(found, entry)
		}
	}
	slices.SortFunc(found, func(a, b entry) int { return cmp.Compare(a.urn, b.urn) })
	return found
}

func (e *evidence) under(environment environment) known {
	if len(e.otherEntries(environment)) > 0 {
		return yes
	}
	return no
}

func (e *evidence) isLive(environment environment) known {
	switch {
	case !e.asked:
		return unasked
	case e.live[environment.wanted]:
		return yes
	}
	return no
}

// toAsk are the environments of which Pulumi Cloud must tell whether they exist.
func (e *evidence) toAsk() []environment {
	return slices.DeleteFunc(e.environments(), func(environment environment) bool {
		return e.holds(environment)&(nothing|inAnother) == 0
	})
}

const nothingDone = "nothing was created or changed"

// putInOrder leaves each environment one entry, under its own name. Where names are all that is wrong, it changes these. Else it
// lets go of what is too much, with all that depends on it, and takes that over again: which entry depends on which, the engine
// does not tell (GetStackResourceOutputs in https://github.com/pulumi/pulumi/blob/v3.259.0/pkg/backend/backend.go).
func (e *evidence) putInOrder(environment) verdict {
	var found, tooMuch, takeBack []string
	var moves []move
	for _, environment := range e.environments() {
		others, holds := e.otherEntries(environment), e.holds(environment)
		if holds&ownEntries == 0 {
			continue
		}
		goesToo := environment.logicalName == environments.RotatorResource && len(tooMuch) > 0 // it depends on the other
		if holds == itself && goesToo || holds != itself && len(others) > 0 {
			takeBack = append(takeBack, e.takeBack(environment))
		}
		if len(others) == 0 {
			continue
		}
		var names []string
		if holds == itself {
			names = append(names, strconv.Quote(environment.logicalName))
		}
		for _, other := range others {
			shown := strconv.Quote(other.urn.Name())
			if other.urn.QualifiedType() != other.urn.Type() { // where this program does not look for it
				shown += " below another resource"
			}
			names = append(names, shown)
			tooMuch = append(tooMuch, other.urn.Quote())
		}
		found = append(found, fmt.Sprintf("%s as %s, and not as %q alone", environment.wanted, strings.Join(names, " and "), environment.logicalName))
		if other := others[0].urn; len(others) == 1 && holds != itself && other.QualifiedType() == other.Type() { // which a rename does not change
			moves = append(moves, move{other, environment.logicalName})
		}
	}
	commands := renames(moves)
	if len(moves) < len(found) {
		commands = "  Let go of that in the state alone, with what depends on it there, and take over again what this program has of it:\n" +
			"    pulumi state delete --force --target-dependents " + strings.Join(tooMuch, " ")
		for _, command := range append(takeBack, e.takeBackBeside()...) {
			commands += "\n    " + command
		}
	}
	return verdict{text: fmt.Sprintf("checking the state: it has %s; an update would delete what it has elsewhere or under another name, with what that holds; %s.\n%s",
		strings.Join(found, ", and "), nothingDone, commands)}
}

// move is an entry that takes another name.
type move struct {
	from urn.URN
	to   string
}

func (m move) onto(other move) bool { return m.from.Rename(m.to) == other.from }

// renames orders the moves so that each finds its name free.
func renames(moves []move) string {
	const between = "exchanged"
	advice := ""
	if len(moves) == 2 && moves[0].onto(moves[1]) {
		slices.Reverse(moves)
		if moves[0].onto(moves[1]) {
			moves = []move{{moves[0].from, between}, moves[1], {moves[0].from.Rename(between), moves[0].to}}
			advice = "\n  Or where it is the settings that were exchanged, set them back: rotatedSecretsEnvironmentName and managingCredsEnvironmentName"
		}
	}
	text := "  Give each its name in the state:"
	for _, move := range moves {
		text += fmt.Sprintf("\n    pulumi state rename %s %s", move.from.Quote(), move.to)
	}
	return text + advice
}

// takeBack is the command that takes over an environment. It does nothing where the state has it
// (importResources in https://github.com/pulumi/pulumi/blob/v3.259.0/pkg/resource/deploy/import.go).
func (e *evidence) takeBack(environment environment) string {
	return e.imports(environments.Type, environment.logicalName, environment.wanted.String())
}

// takeBackBeside takes over what stands beside the rotator environment, and depends on it. An update makes a team's permission
// again, but an environment has no second schedule, and a second webhook would tell of everything twice.
func (e *evidence) takeBackBeside() (commands []string) {
	rotator := e.settings.Rotator
	if id := text(e.last.outputs(environments.ScheduleResource).ScheduleId); id != "" {
		commands = append(commands, e.imports(environments.ScheduleType, environments.ScheduleResource, environments.ScheduleID(rotator, id)))
	}
	if name := text(e.last.outputs(environments.WebhookResource).Name); name != "" {
		commands = append(commands, e.imports(environments.WebhookType, environments.WebhookResource, environments.WebhookID(rotator, name)))
	}
	return commands
}

// followOrganization lets go of the old organization's entries and of what stands beside them: a schedule, a webhook and a
// team's permission.
func (e *evidence) followOrganization(environment) verdict {
	var letGo, commands []string
	was := ""
	for _, environment := range e.environments() {
		if e.holds(environment) == inAnother && e.isLive(environment) == yes {
			name, _ := e.last.environment(environment.logicalName)
			was = name.Organization
			letGo = append(letGo, e.urn(environment.logicalName).Quote())
			commands = append(commands, e.takeBack(environment))
		}
	}
	return verdict{text: fmt.Sprintf(`checking the organization: the state has the environments in %[1]s, and they are in %[2]s; %[3]s.
  Where %[1]s was renamed to %[2]s in Pulumi Cloud, let the state follow; the environments keep what they hold, and the function its ARN:
    pulumi state delete --force --target-dependents %[4]s
    %[5]s
  Where it was not: pulumi config set %[6]s %[1]s`,
		was, e.settings.Organization, nothingDone, strings.Join(letGo, " "), strings.Join(append(commands, e.takeBackBeside()...), "\n    "),
		e.key("organization"))}
}

func (e *evidence) takeOver(environment environment) verdict {
	return verdict{text: fmt.Sprintf(`checking the environment %[1]s: it exists already, and this stack did not write it, or has lost sight of it; %[2]s.
  If it is another stack's, or somebody else's, choose another name
  If it was this stack's, take it over as it is: %[3]s
  If it is empty, left by an update that was killed: pulumi env rm %[1]s`,
		environment.wanted, nothingDone, e.takeBack(environment))}
}

// key is a setting's full name.
func (e *evidence) key(name string) string {
	if strings.Contains(name, ":") {
		return name
	}
	return e.settings.Project + ":" + name
}

// back is the verdict on a setting that would make Pulumi replace an environment, which deletes the old one.
func (e *evidence) back(name, was, is string) verdict {
	key := e.key(name)
	return verdict{setting: &problem{key: key,
		reason:  fmt.Sprintf("has changed from %q to %q, by which the environments of this stack would be deleted, with the live passwords in them", was, is),
		command: "Back to what it was: pulumi config set " + key + " " + was}}
}

func (e *evidence) nameBack(environment environment) verdict {
	was, _ := e.last.environment(environment.logicalName)
	setting := "rotatedSecretsEnvironmentName"
	if environment.logicalName == environments.ManagingResource {
		setting = "managingCredsEnvironmentName"
	}
	return e.back(setting, was.Path(), environment.wanted.Path())
}

func (e *evidence) organizationBack(environment environment) verdict {
	was, _ := e.last.environment(environment.logicalName)
	return e.back("organization", was.Organization, e.settings.Organization)
}

// written reports whether the state has either environment.
func (e *evidence) written() bool {
	return slices.ContainsFunc(e.environments(), func(environment environment) bool { return e.holds(environment) != nothing })
}

// backend is the URL of the instance of Pulumi Cloud that the state names, or empty.
func (e *evidence) backend() string {
	was := text(e.last.outputs(environments.CloudResource).ApiUrl)
	if parsed, err := ParseBackend(was); err == nil {
		return parsed.URL
	}
	return was
}

func (e *evidence) backendMoved() bool {
	was, is := e.backend(), e.settings.Backend.URL
	// Earlier versions took a URL with a path.
	return e.written() && was != "" && was != is && !strings.HasPrefix(was, is+"/")
}

func (e *evidence) backendBack() verdict {
	return e.back("backendUrl", e.backend(), e.settings.Backend.URL)
}

func (e *evidence) regionMoved() bool {
	was := e.last.arnPart(regionPart)
	return e.written() && was != "" && was != e.settings.Region
}

func (e *evidence) regionBack() verdict {
	return e.back("aws:region", e.last.arnPart(regionPart), e.settings.Region)
}

// urn is that of an environment's own entry.
func (e *evidence) urn(logicalName string) urn.URN {
	for _, entry := range e.last.entries {
		if isOwn(entry.urn, logicalName) {
			return entry.urn
		}
	}
	return ""
}

// foreign reports whether the state has another stack's entries: an export that was imported by force. A renamed stack's or
// project's have the new name in their URNs.
func (e *evidence) foreign() bool { return slices.ContainsFunc(e.last.entries, e.isForeign) }

func (e *evidence) isForeign(entry entry) bool {
	return string(entry.urn.Stack()) != e.settings.Stack || string(entry.urn.Project()) != e.settings.Project
}

func (e *evidence) letGo() verdict {
	var foreign []string
	of := map[string]bool{}
	which := "--all"
	for _, entry := range e.last.entries {
		switch {
		case e.isForeign(entry):
			foreign = append(foreign, entry.urn.Quote())
			of[fmt.Sprintf("%s of the project %s", entry.urn.Stack(), entry.urn.Project())] = true
		case entry.urn.Type().Package() != "pulumi": // nor a provider, which this update may have put there already
			which = ""
		}
	}
	slices.Sort(foreign)
	if which == "" {
		which = strings.Join(foreign, " ")
	}
	return verdict{text: fmt.Sprintf(`checking the state of the stack %[1]s: %[2]d of its entries are those of the stack %[3]s. pulumi up would create all of it anew, and pulumi destroy would delete the other stack's function and environments; %[4]s.
  Let go of these entries in this state alone: pulumi state delete --force %[5]s
  To give a stack another name: pulumi stack rename <name> --stack <the other>
  To carry it over from another backend: pulumi stack migrate <URL of that backend> <the other>`,
		e.settings.Stack, len(foreign), strings.Join(slices.Sorted(maps.Keys(of)), " and "), nothingDone, which)}
}

// owners are the other stacks whose tags AWS has on something of this stack's names: of a stack that was renamed, its next
// update gives what it has the new name in its tags.
func (e *evidence) owners() []string {
	var owners []string
	for _, remnant := range e.remnants {
		if remnant.owner != "" {
			owners = append(owners, remnant.owner)
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

func (e *evidence) takenByOther() bool { return len(e.owners()) > 0 }

func (e *evidence) leaveNames() verdict {
	found, _ := removal(e.cli, e.remnants)
	ways := "Give this stack another name, for which AWS has nothing: pulumi stack rename <name>"
	if e.last.documented {
		was, project, _ := strings.Cut(e.owners()[0], ofProject)
		if project != e.settings.Project {
			was = strings.Join([]string{strings.Split(e.last.stack, "/")[0], project, was}, "/")
		}
		ways = fmt.Sprintf(`This stack's environments name them, too. Where that stack is alive, let go of these environments here: pulumi state delete --force --target-dependents %s
  Where this stack was called so, and its state was lost, call it so again, which is refused where another stack is: pulumi stack rename %s`,
			e.urn(environments.ManagingResource).Quote(), was)
	}
	return verdict{text: fmt.Sprintf(`checking the names of this stack in AWS: AWS has %s, which by their tags are those of the stack %s; %s.
  Delete none of it: a stack that is renamed keeps its names in AWS, and both its environments name them
  %s`,
		found, strings.Join(e.owners(), " and "), nothingDone, ways)}
}

func (e *evidence) taken() bool { return len(e.remnants) > 0 && !e.takenByOther() }

// freeNames names all that is in the way at once, and what deletes it.
func (e *evidence) freeNames() verdict {
	found, commands := removal(e.cli, e.remnants)
	besides := ""
	if left, commands := removal(e.cli, e.left); left != "" {
		besides = fmt.Sprintf("\n  AWS has %s, too. %s%s", left, staysBehind, commands)
	}
	return verdict{text: fmt.Sprintf(`checking the names of this stack in AWS: AWS has %s, and this stack's state does not; %s.
  They are of an earlier state of this stack, of an update that was killed, or of a stack that had this name and has not been updated since it was renamed.
  See whether another stack is alive with them: pulumi stack ls --all, and for each but this one pulumi stack output lambdaArn --stack <name>. Where one is, delete nothing, and give this one another name: pulumi stack rename <name>
  See whether the state can be had back: of another login (pulumi whoami --verbose), a file of pulumi stack export, or in Pulumi Cloud an earlier version: pulumi stack export --version <number> >state.json, and pulumi stack import --file state.json
  Else delete them (NoSuchEntity for a policy: its role does not have it; DeleteConflict for a role: take from it first the policies that others have given it). pulumi up makes them again under the same ARNs, and both environments stay as they are:%s%s`,
		found, nothingDone, commands, besides)}
}

// staysBehind is said of what an update makes a second time.
const staysBehind = "pulumi up makes another one of each, and these stay until you delete them. They may be those of a stack that is alive, one of the same name in another organization or one that was renamed, which these commands break. Once nothing uses them any more:"

// warnOfWhatIsLeft says once what is made a second time: at the next update the state has its own.
func (e *evidence) warnOfWhatIsLeft(ctx *pulumi.Context) error {
	left, commands := removal(e.cli, e.left)
	if left == "" {
		return nil
	}
	return ctx.Log.Warn(fmt.Sprintf("AWS has %s with this stack's tags, and its state does not: of an earlier state, or of an update that was killed. "+
		"This warning comes once. %s%s", left, staysBehind, commands), nil)
}

// warnOfWhatIsGone names what somebody has deleted, or what a state has that is older than its deletion.
func (e *evidence) warnOfWhatIsGone(ctx *pulumi.Context) error {
	if len(e.gone) == 0 {
		return nil
	}
	return ctx.Log.Warn(fmt.Sprintf("AWS does not have %s, and this stack's state does: somebody has deleted it, the state is an older one, "+
		"or an update was stopped that was to make it anew. An update may not see that, and fail by it, unless it refreshes:\n    pulumi up --refresh", strings.Join(e.gone, ", ")), nil)
}

// warnOfOpenGroup says that the function is not shut in, as docs/SECURITY.md has it.
func (e *evidence) warnOfOpenGroup(ctx *pulumi.Context) error {
	open, commands := removal(e.cli, e.open)
	if open == "" {
		return nil
	}
	return ctx.Log.Warn(fmt.Sprintf("the function can connect to everywhere, and not to the database alone, by %s: AWS gives each new group such a rule, "+
		"which the provider could not take away, or somebody has added it. Take it away:%s", open, commands), nil)
}

// Examine stops where going on would delete an environment, or write one that exists, or fail half-way over names that are
// taken. It asks Pulumi Cloud and AWS of what the state lacks.
func (l *LastState) Examine(ctx *pulumi.Context, settings *Settings, cloud *pulumiservice.Provider) error {
	if !l.known { // the providers' own checks are left
		return nil
	}
	e := &evidence{settings: settings, last: l, asked: true, live: map[environments.Name]bool{}, cli: awsCLI(ctx),
		imports: func(resourceType, logicalName, id string) string {
			return environments.ImportCommand(ctx, resourceType, logicalName, id)
		}}
	asked := e.toAsk()
	exist := make([]bool, len(asked))
	asking := []func() error{
		func() error { e.remnants, e.gone = l.remnants(ctx, settings); return nil },
		func() error { e.left = l.leftBehind(ctx, settings); return nil },
		func() error { e.open = l.openRules(ctx, settings); return nil },
	}
	for i, environment := range asked {
		asking = append(asking, func() (err error) {
			exist[i], err = environments.Exists(ctx, cloud, environment.wanted)
			if e.holds(environment) == inAnother {
				return nil // this organization may be one of which we may know nothing
			}
			return err
		})
	}
	if err := together(asking...); err != nil {
		return err
	}
	for i, environment := range asked {
		e.live[environment.wanted] = exist[i]
	}
	if err := e.judge(); err != nil {
		return err
	}
	return errors.Join(e.warnOfWhatIsLeft(ctx), e.warnOfWhatIsGone(ctx), e.warnOfOpenGroup(ctx))
}
