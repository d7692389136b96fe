package infra

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Config is the stack's whole configuration, which a program otherwise sees one known key at a time.
// Give its Capture to pulumi.Run.
type Config map[string]string

// Capture fills the configuration when the program starts.
func (c Config) Capture(info *pulumi.RunInfo) { maps.Copy(c, info.Config) }

// ReadSettings checks the whole configuration, and reports all that is wrong with it in one error.
// What is set and does not do what it seems to gives a warning.
func ReadSettings(ctx *pulumi.Context, configuration Config) (*Settings, error) {
	// The engine starts the program in its own folder, which `main` in Pulumi.yaml can put below the project's.
	s := &Settings{root: ".", given: Config{}, isSecret: ctx.IsConfigSecret,
		Project: ctx.Project(), Stack: ctx.Stack(), Organization: ctx.Organization(), inCloud: ctx.Organization() != placeholderOrganization}
	var problems []problem
	for _, row := range settings {
		key := row.key(s.Project)
		s.given[key] = configuration[key]
		// Another namespace's is read by its provider, too, as it stands.
		if row.allowed != anyText && row.name != key {
			s.given[key] = strings.TrimSpace(configuration[key])
		}
		if reason := s.read(row); reason != "" {
			problems = append(problems, s.problem(row, reason))
		}
	}
	problems = append(problems, s.combine()...)
	if err := warn(ctx, slices.Concat(s.misspelt(configuration), s.misplacedSecrets(), s.unread())); err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &SettingsError{stack: s.Stack, problems: append(problems, s.missingMaster()...)}
	}
	return s, nil
}

// warn logs each of them as a warning.
func warn(ctx *pulumi.Context, warnings []string) error {
	for _, warning := range warnings {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return err
		}
	}
	return nil
}

// read sets what one row of the table is for, and returns what is wrong with it, which continues the setting's name.
func (s *Settings) read(row setting) string {
	key := row.key(s.Project)
	value := s.given[key]
	switch {
	case value == "" && row.need == required:
		return "is not set"
	case value == "":
		value = row.preset
	}
	if value == "" {
		return ""
	}
	err := row.check(s, value)
	switch {
	case err == nil:
		return ""
	case row.secret:
		return fmt.Sprintf("%s: %v", aSecret, err)
	case s.isHidden(key): // which the error may repeat
		return s.shown(key) + ", and what it is cannot be used"
	}
	return fmt.Sprintf("%s: %v", s.shown(key), err)
}

func (row setting) check(s *Settings, value string) error {
	if isStructure(value) && !row.list && !row.secret {
		return errors.New("that is a list or a map, and one value is wanted")
	}
	if row.choices != nil {
		var known bool
		if value, known = choose(row.choices, value); !known {
			return errors.New("that is not an allowed value")
		}
	}
	return row.set(s, value)
}

// choose returns the one of the words that a value means. For booleans that is also what YAML once took for them.
func choose(words []string, value string) (word string, known bool) {
	word = strings.ToLower(value)
	if slices.Equal(words, booleans) {
		switch word {
		case "yes", "on", "t", "1":
			word = "true"
		case "no", "off", "f", "0":
			word = "false"
		}
	}
	return word, slices.Contains(words, word)
}

// isStructure reports whether a value is what the engine makes of a list or a map in the stack's file: JSON.
func isStructure(value string) bool {
	return strings.HasPrefix(value, "[") && json.Valid([]byte(value)) || strings.HasPrefix(value, "{") && json.Valid([]byte(value))
}

// elements are those of a list: in JSON, as pulumi config set --path makes it, or with separators between them.
func elements(value string, separator func(rune) bool) ([]string, error) {
	if !strings.HasPrefix(value, "[") {
		return strings.FieldsFunc(value, separator), nil
	}
	var list []string
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return nil, errors.New("that is not a list of strings in JSON")
	}
	return list, nil
}

// isSet reports whether the user has set what a row of the table is for.
func (s *Settings) isSet(row setting) bool { return s.given[row.key(s.Project)] != "" }

func (row setting) key(project string) string {
	if strings.Contains(row.name, ":") {
		return row.name
	}
	return project + ":" + row.name
}

// command sets the setting, of which key is the full name.
func (row setting) command(key string) string {
	set := "pulumi config set " + key + " "
	switch {
	case row.secret:
		return "pulumi config set --secret " + key
	case row.example != "":
		return set + row.example
	}
	return set + strings.Join(row.choices, "\n  "+set)
}

// problem is one setting that is wrong.
type problem struct {
	key     string // the full name, project:name
	reason  string // continues the name as a sentence
	allowed string
	command string
}

// problem is what is wrong with the setting of that row, by what its value may be.
func (s *Settings) problem(row setting, reason string) problem {
	key := row.key(s.Project)
	allowed := row.allowed
	if last := len(row.choices) - 1; last > 0 {
		allowed = strings.Join(row.choices[:last], ", ") + " or " + row.choices[last]
	}
	return problem{key: key, reason: reason, allowed: allowed, command: row.command(key)}
}

// SettingsError says everything that is wrong with the settings.
type SettingsError struct {
	stack    string
	problems []problem
	advice   string // what else can be done, about all of them
}

func (e *SettingsError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "reading the settings of stack %s: ", e.stack)
	if len(e.problems) > 1 {
		fmt.Fprintf(&text, "%d of them need a change; ", len(e.problems))
	}
	text.WriteString("nothing was created.")
	for _, p := range e.problems {
		fmt.Fprintf(&text, "\n\n%s %s.", p.key, p.reason)
		if p.allowed != "" {
			fmt.Fprintf(&text, "\n  Allowed: %s.", p.allowed)
		}
		fmt.Fprintf(&text, "\n  %s", p.command)
	}
	if e.advice != "" {
		text.WriteString("\n\n" + e.advice)
	}
	return text.String()
}
