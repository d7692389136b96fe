// Package infra reads the settings and deploys what the connector needs in AWS: it finds the
// database, compiles the function, decides whom the invocation role trusts, and registers it all.
package infra

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"esc-connector-lambda-go/environments"

	"github.com/agext/levenshtein"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

// Settings is everything that a user may set, checked. The README describes each.
type Settings struct {
	Project      string
	Stack        string
	Organization string
	Region       string

	DatabaseIdentifier string
	Rotator            environments.Name
	Managing           environments.Name
	Backend            Backend

	// Values for the documents; empty (or nil) leaves a placeholder there.
	DatabaseName     string
	RotateUsername1  string
	RotateUsername2  string
	ManagingUsername string
	ManagingPassword pulumi.StringInput
}

// Config is the stack's whole configuration, which a program otherwise sees one known key at a time.
// Give its Capture to pulumi.Run.
type Config map[string]string

// Capture fills the configuration when the program starts.
func (c Config) Capture(info *pulumi.RunInfo) { maps.Copy(c, info.Config) }

// setting is one row of the settings' table.
type setting struct {
	name    string // in the project's namespace, unless it has one
	allowed string // what a value may be, for the person who set a wrong one
	example string // a value for the command that mends it
	preset  string // the value when it is not set
	need    need
	secret  bool
	set     func(*Settings, string) error
}

type need int

const (
	optional need = iota
	required
	unsupported // known, and refused by this version
)

const environmentNames = "project/environment, each of letters, digits, '-', '_' and '.'"

var settings = []setting{
	{name: "aws:region", need: required, example: "us-west-2",
		allowed: "the name of an AWS region, such as eu-central-1", set: setRegion},
	{name: "rdsDbIdentifier", need: required, example: "my-database",
		allowed: "the identifier of an RDS cluster or instance: letters, digits and single hyphens, a letter first",
		set:     setDatabaseIdentifier},
	{name: "rotatedSecretsEnvironmentName", need: required, example: "myProject/myEnvironment",
		allowed: environmentNames,
		set:     func(s *Settings, v string) error { return setEnvironment(&s.Rotator, v) }},
	{name: "managingCredsEnvironmentName", example: "myProject/myEnvironmentManagingCreds",
		allowed: environmentNames,
		set:     func(s *Settings, v string) error { return setEnvironment(&s.Managing, v) }},
	{name: "backendUrl", preset: "https://api.pulumi.com", example: "https://api.pulumi.com",
		allowed: "an https:// URL without user, query or fragment",
		set:     func(s *Settings, v string) (err error) { s.Backend, err = ParseBackend(v); return err }},
	{name: "organization", example: "my-organization",
		allowed: "an organization of Pulumi Cloud: letters, digits, '-' and '_'", set: setOrganization},
	{name: "databaseName", example: "app", allowed: anyText,
		set: func(s *Settings, v string) error { return setText(&s.DatabaseName, v) }},
	{name: "rotateUsername1", example: "app_user1", allowed: anyText,
		set: func(s *Settings, v string) error { return setText(&s.RotateUsername1, v) }},
	{name: "rotateUsername2", example: "app_user2", allowed: anyText,
		set: func(s *Settings, v string) error { return setText(&s.RotateUsername2, v) }},
	{name: "managingUsername", example: "managing_user", allowed: anyText,
		set: func(s *Settings, v string) error { return setText(&s.ManagingUsername, v) }},
	{name: "managingPassword", secret: true, allowed: anyText, set: setManagingPassword},

	{name: "databaseHost", need: unsupported},
	{name: "databasePort", need: unsupported},
	{name: "databaseEngine", need: unsupported},
	{name: "vpcId", need: unsupported},
	{name: "subnetIds", need: unsupported},
	{name: "databaseSecurityGroupId", need: unsupported},
	{name: "databaseSslMode", need: unsupported},
	{name: "databaseCaFile", need: unsupported},
	{name: "lambdaArchitecture", need: unsupported},
	{name: "lambdaArtifact", need: unsupported},
	{name: "codeSigning", need: unsupported},
	{name: "logRetentionDays", need: unsupported},
	{name: "permissionsBoundaryArn", need: unsupported},
	{name: "manageDatabaseIngress", need: unsupported},
	{name: "keepWarm", need: unsupported},
	{name: "trustedSubject", need: unsupported},
	{name: "rotationSchedule", need: unsupported},
	{name: "managingCredsTeam", need: unsupported},
	{name: "retainEnvironments", need: unsupported},
}

// ReadSettings checks the whole configuration, and reports all that is wrong with it in one error.
// A setting that looks misspelt gives a warning.
func ReadSettings(ctx *pulumi.Context, configuration Config) (*Settings, error) {
	s := &Settings{Project: ctx.Project(), Stack: ctx.Stack(), Organization: ctx.Organization()}
	var problems []problem
	for _, row := range settings {
		if problem := read(ctx, s, row, configuration); problem != nil {
			problems = append(problems, *problem)
		}
	}
	problems = append(problems, s.fillIn(configuration)...)
	if err := warnOfMisspelt(ctx, configuration); err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &SettingsError{stack: s.Stack, problems: problems}
	}
	return s, nil
}

// read sets what one row of the table is for.
func read(ctx *pulumi.Context, s *Settings, row setting, configuration Config) *problem {
	key := row.key(s.Project)
	value, isSet := configuration[key]
	value = strings.TrimSpace(value)
	if row.secret {
		value = configuration[key] // a password keeps its spaces
	}
	switch {
	case isSet && row.need == unsupported:
		return &problem{key: key, reason: "is not supported by this version",
			command: "pulumi config rm " + key}
	case value == "" && row.need == required:
		return &problem{key: key, reason: "is not set", allowed: row.allowed, command: row.command(key)}
	case value == "":
		value = row.preset
	}
	if value == "" {
		return nil
	}
	err := row.set(s, value)
	if err == nil && row.secret {
		s.ManagingPassword = config.New(ctx, "").RequireSecret(row.name)
	}
	if err == nil {
		return nil
	}
	shown := fmt.Sprintf("is %q", value)
	if row.secret || ctx.IsConfigSecret(key) {
		shown = "is set to a [secret]"
	}
	return &problem{key: key, reason: fmt.Sprintf("%s: %v", shown, err), allowed: row.allowed, command: row.command(key)}
}

// fillIn completes the settings that follow from others.
func (s *Settings) fillIn(configuration Config) []problem {
	var problems []problem
	key := s.Project + ":organization"
	if configuration[key] == "" && s.Organization == placeholderOrganization {
		problems = append(problems, problem{key: key,
			reason: "is not set, and this stack's state is not kept in Pulumi Cloud, so that its organization is " +
				"only the placeholder \"" + placeholderOrganization + "\"",
			allowed: "the organization of Pulumi Cloud in which the two ESC environments are to be",
			command: "pulumi config set " + key + " my-organization"})
	}
	if s.Managing == (environments.Name{}) && s.Rotator != (environments.Name{}) {
		s.Managing = s.derivedManaging()
	}
	if s.Managing == s.Rotator && s.Rotator != (environments.Name{}) {
		key := s.Project + ":managingCredsEnvironmentName"
		problems = append(problems, problem{key: key,
			reason:  fmt.Sprintf("is %q, the rotator environment itself", configuration[key]),
			allowed: "another environment, so that who reads the rotated passwords need not see the managing user's",
			command: "pulumi config rm " + key})
	}
	s.Rotator.Organization, s.Managing.Organization = s.Organization, s.Organization
	return problems
}

// derivedManaging is the managing credentials environment's name where it is not set.
func (s *Settings) derivedManaging() environments.Name {
	name := s.Rotator
	name.Environment += "ManagingCreds"
	return name
}

// placeholderOrganization is what Pulumi gives as a stack's organization where there is none.
const placeholderOrganization = "organization"

// problem is one setting that is wrong.
type problem struct {
	key     string // the full name, project:name
	reason  string // continues the name as a sentence
	allowed string
	command string
}

// SettingsError tells everything that is wrong with the settings.
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

func (row setting) key(project string) string {
	if strings.Contains(row.name, ":") {
		return row.name
	}
	return project + ":" + row.name
}

func (row setting) command(key string) string {
	if row.secret {
		return "pulumi config set --secret " + key
	}
	return "pulumi config set " + key + " " + row.example
}

// warnOfMisspelt names the nearest setting for each key of the project's namespace that is none.
func warnOfMisspelt(ctx *pulumi.Context, configuration Config) error {
	for _, key := range slices.Sorted(maps.Keys(configuration)) {
		name, ours := strings.CutPrefix(key, ctx.Project()+":")
		if !ours || slices.ContainsFunc(settings, func(row setting) bool { return row.name == name }) {
			continue
		}
		nearest, distance := "", len(name)
		for _, row := range settings {
			d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(row.name), nil)
			if d < distance {
				nearest, distance = row.name, d
			}
		}
		if distance > 3 || distance > len(name)/3 {
			continue
		}
		err := ctx.Log.Warn(fmt.Sprintf("%s is not a setting of this program, and is ignored. Is %s:%s meant?\n  pulumi config rm %s",
			key, ctx.Project(), nearest, key), nil)
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	regionPattern       = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+)+-[0-9]+$`)
	identifierPattern   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	organizationPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	environmentPattern  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

func setRegion(s *Settings, value string) error {
	if !regionPattern.MatchString(value) {
		return errors.New("that is not the name of a region")
	}
	s.Region = value
	return nil
}

// setDatabaseIdentifier folds to lower case, as RDS does when it stores an identifier.
func setDatabaseIdentifier(s *Settings, value string) error {
	folded := strings.ToLower(value)
	switch {
	case strings.HasPrefix(folded, "arn:"):
		return errors.New("that is an ARN, of which the identifier is only the last part")
	case strings.Contains(folded, "."):
		return errors.New("that looks like an endpoint, of which the identifier is only the first part")
	case len(folded) > 63:
		return errors.New("it is longer than 63 characters")
	case !identifierPattern.MatchString(folded):
		return errors.New("RDS has no identifiers of that form")
	}
	s.DatabaseIdentifier = folded
	return nil
}

func setEnvironment(name *environments.Name, value string) error {
	parts := strings.Split(value, "/")
	if len(parts) != 2 {
		return errors.New("that is not one project and one environment, with a slash between them")
	}
	for _, part := range parts {
		if !environmentPattern.MatchString(part) {
			return fmt.Errorf("%q cannot be part of an environment's name", part)
		}
	}
	name.Project, name.Environment = parts[0], parts[1]
	return nil
}

func setOrganization(s *Settings, value string) error {
	if !organizationPattern.MatchString(value) {
		return errors.New("that cannot be the name of an organization")
	}
	s.Organization = value
	return nil
}

const anyText = "any text in UTF-8, without NUL characters"

func checkText(value string) error {
	if !utf8.ValidString(value) {
		return errors.New("it is not valid UTF-8")
	}
	if strings.ContainsRune(value, 0) {
		return errors.New("it holds a NUL character")
	}
	return nil
}

func setText(field *string, value string) error {
	*field = value
	return checkText(value)
}

func setManagingPassword(_ *Settings, value string) error { return checkText(value) }
