// Package infra reads the settings and deploys what the connector needs in AWS: it finds the
// database, compiles the function, decides whom the invocation role trusts, and registers it all.
package infra

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"esc-connector-lambda-go/environments"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
	"github.com/robfig/cron/v3"
)

// Settings is everything that a user may set, checked. The README describes each.
type Settings struct {
	root         string            // the project's folder
	given        Config            // what the user has set, without the space around it where that says nothing
	isSecret     func(string) bool // whether a key's value was set with --secret
	inCloud      bool              // whether the stack's state is in Pulumi Cloud
	Project      string
	Stack        string
	Organization string
	Region       string

	// Where the database is. What is empty comes from RDS, under DatabaseIdentifier.
	DatabaseIdentifier    string
	DatabaseEngine        string // the rotator's word: postgres or mysql
	DatabaseHost          string
	DatabasePort          int
	VPC                   string
	Subnets               []string
	DatabaseSecurityGroup string
	ManageIngress         bool // whether the database's security group is ours to add a rule to

	SSLMode string // DB_SSLMODE of the function
	CAFile  string // a PEM file in the project's folder, or empty

	Architecture        string // Lambda's word: x86_64 or arm64
	Published           bool   // whether the function runs the archive that Pulumi publishes, and not ./lambda
	CodeSigning         bool   // whether the function runs code only that a profile of the stack's own has signed
	LogRetentionDays    int    // 0 keeps them for ever
	KeepWarm            bool   // whether a weekly dry run keeps the function from becoming inactive
	PermissionsBoundary string // ARN, or empty
	TrustedSubject      string // a StringLike pattern; empty trusts the managing environment alone

	Rotator            environments.Name
	Managing           environments.Name
	RetainEnvironments bool
	RotationSchedule   string // cron, or empty
	ManagingTeam       string // a team of Pulumi Cloud, or empty
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
	name    string   // in the project's namespace, unless it has one
	allowed string   // what a value may be, for the person who set a wrong one
	example string   // a value for the command that mends it
	choices []string // or several, a command for each
	preset  string   // the value when it is not set
	need    need
	secret  bool
	set     func(*Settings, string) error
}

type need int

const (
	optional need = iota
	required
	fromRDS // required where rdsDbIdentifier is not set
)

// publicBackend is Pulumi's own instance of Pulumi Cloud.
const publicBackend = "https://api.pulumi.com"

const environmentNames = "project/environment, each of letters, digits, '-', '_' and '.'"

var settings = []setting{
	{name: "aws:region", need: required, example: "us-west-2",
		allowed: "the name of an AWS region, such as eu-central-1", set: setRegion},
	{name: "rdsDbIdentifier", example: "my-database",
		allowed: "the identifier of an RDS cluster or instance: letters, digits and single hyphens, a letter first",
		set:     setDatabaseIdentifier},
	{name: "rotatedSecretsEnvironmentName", need: required, example: "myProject/myEnvironment",
		allowed: environmentNames,
		set:     func(s *Settings, v string) error { return setEnvironment(&s.Rotator, v) }},
	{name: "managingCredsEnvironmentName", example: "myProject/myEnvironmentManagingCreds",
		allowed: environmentNames,
		set:     func(s *Settings, v string) error { return setEnvironment(&s.Managing, v) }},
	{name: "backendUrl", preset: "https://api.pulumi.com", example: "https://api.pulumi.com",
		allowed: "an https:// URL without path, user, query or fragment",
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

	{name: "databaseHost", need: fromRDS, example: "db.example.com", allowed: "a host name or an IP address", set: setHost},
	{name: "databasePort", example: "5432", allowed: "a number from 1 to 65535",
		set: func(s *Settings, v string) error { return setInt(&s.DatabasePort, v, 1, 65535) }},
	{name: "databaseEngine", need: fromRDS, example: "postgres", allowed: "postgres, or mysql (which serves MariaDB too)", set: setEngine},
	{name: "vpcId", need: fromRDS, example: "vpc-0123456789abcdef0", allowed: "the ID of a VPC",
		set: func(s *Settings, v string) error { return setID(&s.VPC, v, "vpc") }},
	{name: "subnetIds", need: fromRDS, example: "subnet-0123456789abcdef0,subnet-0fedcba9876543210",
		allowed: "IDs of subnets, with commas between them", set: setSubnets},
	{name: "databaseSecurityGroupId", need: fromRDS, example: "sg-0123456789abcdef0", allowed: "the ID of a security group, or account/ID of one in another account",
		set: setDatabaseGroup},
	{name: "manageDatabaseIngress", preset: "true", choices: []string{"true", "false"}, allowed: "true or false",
		set: func(s *Settings, v string) error { return setBool(&s.ManageIngress, v) }},

	{name: "databaseSslMode", preset: "verify-full", example: "verify-full", allowed: "verify-full, require or disable",
		set: func(s *Settings, v string) error { return setWord(&s.SSLMode, v, "verify-full", "require", "disable") }},
	{name: "databaseCaFile", example: "database-ca.pem",
		allowed: "a file inside the project's folder that holds certificates in PEM, and no private key", set: setCAFile},

	{name: "lambdaArchitecture", preset: "x86_64", choices: []string{"x86_64", "arm64"}, allowed: "x86_64 or arm64",
		set: func(s *Settings, v string) error { return setWord(&s.Architecture, v, "x86_64", "arm64") }},
	{name: "codeSigning", preset: "true", choices: []string{"true", "false"}, allowed: "true or false",
		set: func(s *Settings, v string) error { return setBool(&s.CodeSigning, v) }},
	{name: "logRetentionDays", preset: "30", example: "30", allowed: retentions(), set: setRetention},
	{name: "keepWarm", preset: "true", choices: []string{"true", "false"}, allowed: "true or false",
		set: func(s *Settings, v string) error { return setBool(&s.KeepWarm, v) }},
	{name: "permissionsBoundaryArn", example: "arn:aws:iam::111122223333:policy/boundary", allowed: "the ARN of an IAM policy",
		set: setPermissionsBoundary},
	{name: "trustedSubject", example: "'pulumi:environments:pulumi.organization.login:my-organization:*'",
		allowed: "a pattern without spaces for the sub of ESC's tokens, with * and ? as in IAM's StringLike", set: setTrustedSubject},
	{name: "retainEnvironments", preset: "false", choices: []string{"true", "false"}, allowed: "true or false",
		set: func(s *Settings, v string) error { return setBool(&s.RetainEnvironments, v) }},
	{name: "rotationSchedule", example: "'0 3 * * 0'",
		allowed: "a cron expression in UTC of five fields, minute hour day month weekday, once a day at the most; 0 3 * * 0 is each Sunday at 3",
		set:     setSchedule},
	{name: "managingCredsTeam", example: "database-administrators",
		allowed: "the name of a team of the organization: letters, digits, '-' and '_'", set: setTeam},
	{name: "lambdaArtifact", preset: "source", example: "source", allowed: "source or published", set: setArtifact},
}

// ReadSettings checks the whole configuration, and reports all that is wrong with it in one error.
// A setting that looks misspelt gives a warning.
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
		if problem := read(ctx, s, row, key); problem != nil {
			problems = append(problems, *problem)
		}
	}
	problems = append(problems, s.fillIn()...)
	if err := errors.Join(warnOfMisspelt(ctx, configuration), warnOfClearSecrets(ctx, configuration)); err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &SettingsError{stack: s.Stack, problems: problems}
	}
	return s, nil
}

// read sets what one row of the table is for.
func read(ctx *pulumi.Context, s *Settings, row setting, key string) *problem {
	value := s.given[key]
	switch {
	case value == "" && row.need == required:
		return &problem{key: key, reason: "is not set", allowed: row.allowed, command: row.command(key)}
	case value == "":
		value = row.preset
	}
	if value == "" {
		return nil
	}
	err := row.set(s, value)
	if isStructure(value) && row.name != "subnetIds" && !row.secret {
		err = errors.New("that is a list or a map, and one value is wanted")
	}
	if err == nil && row.secret {
		s.ManagingPassword = config.New(ctx, "").RequireSecret(row.name)
	}
	if err == nil {
		return nil
	}
	reason := fmt.Sprintf("%s: %v", s.shown(key), err)
	switch {
	case row.secret:
		reason = fmt.Sprintf("%s: %v", aSecret, err)
	case s.isSecret(key): // which the reason may repeat
		reason = aSecret + ", and what it is cannot be used"
	}
	return &problem{key: key, reason: reason, allowed: row.allowed, command: row.command(key)}
}

// isStructure tells of what the engine makes of a list or a map in the stack's file: JSON.
func isStructure(value string) bool {
	return strings.HasPrefix(value, "[") && json.Valid([]byte(value)) || strings.HasPrefix(value, "{") && json.Valid([]byte(value))
}

const aSecret = "is set to a [secret]"

// shown tells what a setting is, and never what a secret is.
func (s *Settings) shown(key string) string {
	if s.isSecret(key) {
		return aSecret
	}
	return fmt.Sprintf("is %q", s.given[key])
}

// fillIn completes the settings that follow from others.
func (s *Settings) fillIn() []problem {
	var problems []problem
	key := s.Project + ":organization"
	if s.given[key] == "" && s.Organization == placeholderOrganization {
		problems = append(problems, problem{key: key,
			reason: "is not set, and this stack's state is not kept in Pulumi Cloud, so that its organization is " +
				"only the placeholder \"" + placeholderOrganization + "\"",
			allowed: "the organization of Pulumi Cloud in which the two ESC environments are to be",
			command: "pulumi config set " + key + " my-organization"})
	}
	problems = append(problems, s.checkLogin()...)
	problems = append(problems, s.missingDatabase()...)
	problems = append(problems, s.checkPublished()...)
	problems = append(problems, s.sameUsers()...)
	if s.Managing == (environments.Name{}) && s.Rotator != (environments.Name{}) {
		s.Managing = s.derivedManaging()
	}
	if s.Managing == s.Rotator && s.Rotator != (environments.Name{}) {
		key := s.Project + ":managingCredsEnvironmentName"
		problems = append(problems, problem{key: key,
			reason:  s.shown(key) + ", the rotator environment itself",
			allowed: "another environment, so that who reads the rotated passwords need not see the managing user's",
			command: "pulumi config rm " + key})
	}
	s.Rotator.Organization, s.Managing.Organization = s.Organization, s.Organization
	return problems
}

// checkLogin tells where of backendUrl and the instance that the CLI is logged in to the one is Pulumi's own and the other
// is not. The CLI gives the login's access token to providers (from v3.259.0 on; none where the state is in a folder or a
// bucket), and the provider would send it to backendUrl.
func (s *Settings) checkLogin() []problem {
	login, err := ParseBackend(os.Getenv("PULUMI_API"))
	// One instance that people host themselves can have several addresses.
	addresses := []string{login.URL, s.Backend.URL}
	if err != nil || !s.inCloud || s.Backend.URL == "" || login.URL == s.Backend.URL || !slices.Contains(addresses, publicBackend) {
		return nil
	}
	key := s.Project + ":backendUrl"
	is, other := "is "+s.Backend.URL, s.Backend.URL
	if s.isSecret(key) {
		is, other = aSecret, "<the other>"
	}
	return []problem{{key: key,
		reason:  fmt.Sprintf("%s, and the Pulumi CLI is logged in to %s, whose access token is not for the former", is, login.URL),
		allowed: "the instance of Pulumi Cloud that the CLI is logged in to; or log in to the other: pulumi login " + other,
		command: "pulumi config set " + key + " " + login.URL}}
}

// missingDatabase tells what is not set of a database's whereabouts. RDS knows all of it; of another
// database the settings must tell it, but for the port.
func (s *Settings) missingDatabase() []problem {
	isSet := func(row setting) bool { return s.given[row.key(s.Project)] != "" }
	if slices.ContainsFunc(settings, func(row setting) bool { return row.name == "rdsDbIdentifier" && isSet(row) }) {
		return nil
	}
	elsewhere := slices.ContainsFunc(settings, func(row setting) bool { return row.need == fromRDS && isSet(row) })
	var problems []problem
	for _, row := range settings {
		reason := ""
		switch {
		case elsewhere && row.need == fromRDS && !isSet(row):
			reason = "is not set, and neither is rdsDbIdentifier, by which RDS would tell it"
		case !elsewhere && row.name == "rdsDbIdentifier":
			reason = "is not set"
		default:
			continue
		}
		key := row.key(s.Project)
		problems = append(problems, problem{key: key, reason: reason, allowed: row.allowed, command: row.command(key)})
	}
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
	if len(row.choices) == 0 {
		return "pulumi config set " + key + " " + row.example
	}
	var commands []string
	for _, choice := range row.choices {
		commands = append(commands, "pulumi config set "+key+" "+choice)
	}
	return strings.Join(commands, "\n  ")
}

// warnOfClearSecrets tells which secrets stand in clear in the stack's configuration file.
func warnOfClearSecrets(ctx *pulumi.Context, configuration Config) error {
	for _, row := range settings {
		key := row.key(ctx.Project())
		if !row.secret || configuration[key] == "" || ctx.IsConfigSecret(key) {
			continue
		}
		err := ctx.Log.Warn(fmt.Sprintf("%s is set without --secret, and so stands in clear in Pulumi.%s.yaml\n  %s",
			key, ctx.Stack(), row.command(key)), nil)
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	regionPattern       = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)
	identifierPattern   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	organizationPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	hostPattern         = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	proxyPattern        = regexp.MustCompile(`\.proxy-[^.]+\.([^.]+\.)?rds\.`)
	readerPattern       = regexp.MustCompile(`\.cluster-ro-[^.]+\.([^.]+\.)?rds\.`)
	idPattern           = regexp.MustCompile(`^[0-9A-Za-z]+$`)
	policyPattern       = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::([0-9]{12}|aws):policy/[!-~]+$`)
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

// setHost takes a name or an address of the database's writer.
func setHost(s *Settings, value string) error {
	host := strings.ToLower(strings.TrimSuffix(value, "."))
	switch {
	case strings.Contains(host, "://"):
		return errors.New("that is a URL, of which only the host is wanted")
	case proxyPattern.MatchString(host):
		return errors.New("that is an RDS Proxy, which checks passwords against a secret of its own, and so would refuse a new one; " +
			"give the writer endpoint of the database behind it")
	case readerPattern.MatchString(host):
		return errors.New("that is a cluster's reader endpoint, where no password can be changed; give its writer endpoint, without the -ro")
	case net.ParseIP(host) == nil && !hostPattern.MatchString(host):
		return errors.New("that is neither a host's name nor an IP address (a port is set by databasePort)")
	}
	s.DatabaseHost = host
	return nil
}

// setEngine takes the rotators' words, and RDS's too.
func setEngine(s *Settings, value string) error {
	rotator, ok := rotators[strings.ToLower(value)]
	if !ok {
		return errors.New("there is no rotator for that engine")
	}
	s.DatabaseEngine = rotator
	return nil
}

func setInt(field *int, value string, least, most int) error {
	number, err := strconv.Atoi(value)
	if err != nil {
		return errors.New("that is not a whole number")
	}
	if number < least || number > most {
		return fmt.Errorf("that is not between %d and %d", least, most)
	}
	*field = number
	return nil
}

// setBool also takes what YAML once took for booleans.
func setBool(field *bool, value string) error {
	switch folded := strings.ToLower(value); folded {
	case "yes", "on":
		*field = true
	case "no", "off":
		*field = false
	default:
		parsed, err := strconv.ParseBool(folded)
		if err != nil {
			return errors.New("that is neither true nor false")
		}
		*field = parsed
	}
	return nil
}

func setWord(field *string, value string, words ...string) error {
	folded := strings.ToLower(value)
	if !slices.Contains(words, folded) {
		return errors.New("that is not an allowed value")
	}
	*field = folded
	return nil
}

func setID(field *string, value, kind string) error {
	if rest, ok := strings.CutPrefix(value, kind+"-"); !ok || !idPattern.MatchString(rest) {
		return fmt.Errorf("that does not have the form %s-0123456789abcdef0", kind)
	}
	*field = value
	return nil
}

func setArtifact(s *Settings, value string) error {
	var artifact string
	err := setWord(&artifact, value, "source", "published")
	s.Published = artifact == "published"
	return err
}

// setSubnets takes a JSON list, as pulumi config set --path makes it, or IDs with commas or spaces
// between them.
func setSubnets(s *Settings, value string) error {
	var ids []string
	if strings.HasPrefix(value, "[") {
		if err := json.Unmarshal([]byte(value), &ids); err != nil {
			return errors.New("that is not a list of strings in JSON")
		}
	} else {
		ids = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	}
	for _, id := range ids {
		var checked string
		if err := setID(&checked, strings.TrimSpace(id), "subnet"); err != nil {
			return fmt.Errorf("%q is not the ID of a subnet", id)
		}
		if !slices.Contains(s.Subnets, checked) {
			s.Subnets = append(s.Subnets, checked)
		}
	}
	if len(s.Subnets) == 0 {
		return errors.New("it names no subnet")
	}
	return nil
}

// setCAFile only checks the path; the file is read when the archive is built.
func setCAFile(s *Settings, value string) error {
	if !filepath.IsLocal(filepath.FromSlash(value)) {
		return errors.New("that path leads out of the project's folder")
	}
	s.CAFile = filepath.FromSlash(value)
	_, err := certificates(filepath.Join(s.root, s.CAFile))
	return err
}

// retentionDays are CloudWatch's:
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
var retentionDays = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func retentions() string {
	words := make([]string, len(retentionDays))
	for i, days := range retentionDays {
		words[i] = strconv.Itoa(days)
	}
	return "one of " + strings.Join(words, ", ") + ", or 0 to keep the log for ever"
}

func setRetention(s *Settings, value string) error {
	var days int
	if err := setInt(&days, value, 0, retentionDays[len(retentionDays)-1]); err != nil {
		return err
	}
	if days != 0 && !slices.Contains(retentionDays, days) {
		return errors.New("CloudWatch keeps no logs for that time")
	}
	s.LogRetentionDays = days
	return nil
}

func setPermissionsBoundary(s *Settings, value string) error {
	if !policyPattern.MatchString(value) {
		return errors.New("that is not the ARN of a policy")
	}
	s.PermissionsBoundary = value
	return nil
}

func setTrustedSubject(s *Settings, value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("it holds a space or a control character")
	}
	s.TrustedSubject = value
	return checkText(value)
}

// cronFields are those of a crontab. The parser's extensions (@daily, CRON_TZ=) are not Pulumi Cloud's.
var cronFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

func setSchedule(s *Settings, value string) error {
	if strings.Contains(value, "=") {
		return errors.New("it names a time zone, and is always in UTC")
	}
	schedule, err := cronFields.Parse(value)
	if err != nil {
		return err
	}
	first := schedule.Next(time.Now().UTC())
	if first.IsZero() {
		return errors.New("there is no such day in any month")
	}
	// The shortest interval is that of the CLI's help on `pulumi env schedule new`.
	for last := first; last.Before(first.AddDate(1, 0, 0)); {
		next := schedule.Next(last)
		if next.Sub(last) < 24*time.Hour {
			return errors.New("it rotates more often than once a day, which Pulumi Cloud does not do")
		}
		last = next
	}
	s.RotationSchedule = strings.Join(strings.Fields(value), " ")
	return nil
}

func setTeam(s *Settings, value string) error {
	if !organizationPattern.MatchString(value) {
		return errors.New("that cannot be the name of a team")
	}
	s.ManagingTeam = value
	return nil
}

func setManagingPassword(_ *Settings, value string) error { return checkText(value) }
