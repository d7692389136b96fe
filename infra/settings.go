package infra

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/infra/archive"
	"esc-connector-lambda-go/lambda/event"

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
	KeepWarm            bool   // whether a regular dry run keeps the function from becoming inactive
	PermissionsBoundary string // ARN, or empty
	TrustedSubject      string // a StringLike pattern; empty trusts the managing environment alone

	Rotator            environments.Name
	Managing           environments.Name
	RetainEnvironments bool
	RotationSchedule   string // cron, or empty
	ManagingTeam       string // a team of Pulumi Cloud, or empty
	Backend            Backend

	// Who hears of a rotation that fails.
	WebhookURL    event.Secret // empty for nobody
	WebhookFormat string       // the provider's word
	AlarmTopic    string       // the ARN of an SNS topic, or empty

	// Values for the documents; empty leaves a placeholder there.
	DatabaseName     string
	RotateUsername1  string
	RotateUsername2  string
	ManagingUsername string
	ManagingPassword event.Secret
	ManagingIAM      bool // whether the managing user has no password, and logs in by RDS IAM authentication

	CheckDatabase         bool // whether the function looks at the database at the end of an update
	PrepareDatabase       bool // whether the function makes the database's users
	MasterUsername        string
	MasterPassword        event.Secret // of who makes them; empty where RDS keeps it
	ApplicationRole       string       // on PostgreSQL: whose members both users become, or empty
	ApplicationPrivileges []string     // on MySQL: what both may do with the database's tables
}

// setting is one row of the settings' table.
type setting struct {
	name    string   // in the project's namespace, unless it has one
	allowed string   // what a value may be, for the person who set a wrong one; of choices it follows
	choices []string // the words that a value may be, in any case; set gets the one that was meant
	example string   // a value for the command that mends it; without one each of the choices has a command
	preset  string   // the value when it is not set
	need    need
	secret  bool // whether the value is a secret even where it stands in clear, of which the user is warned
	list    bool // whether the value may be a list, as pulumi config set --path makes it
	set     func(*Settings, string) error
}

type need int

const (
	optional need = iota
	required
	fromRDS // required where rdsDbIdentifier is not set
)

const environmentNames = "project/environment, each of letters, digits, '-', '_' and '.'"

var booleans = []string{"true", "false"}

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
	{name: "managingPassword", secret: true, allowed: anyText,
		set: func(s *Settings, v string) error { return setSecret(&s.ManagingPassword, v) }},
	{name: "managingAuthentication", preset: "password", choices: []string{"password", managingAuthIAM},
		set: func(s *Settings, v string) error { s.ManagingIAM = v == managingAuthIAM; return nil }},

	{name: "checkDatabase", preset: "true", choices: booleans,
		set: func(s *Settings, v string) error { s.CheckDatabase = v == "true"; return nil }},
	{name: "prepareDatabase", preset: "false", choices: booleans,
		set: func(s *Settings, v string) error { s.PrepareDatabase = v == "true"; return nil }},
	{name: "masterUsername", example: "postgres", allowed: anyText,
		set: func(s *Settings, v string) error { return setText(&s.MasterUsername, v) }},
	{name: "masterPassword", secret: true, allowed: anyText,
		set: func(s *Settings, v string) error { return setSecret(&s.MasterPassword, v) }},
	{name: "applicationRole", example: "app_role", allowed: anyText,
		set: func(s *Settings, v string) error { return setText(&s.ApplicationRole, v) }},
	{name: "applicationPrivileges", example: "'SELECT,INSERT,UPDATE,DELETE'", list: true,
		allowed: "privileges with commas between them, of " + strings.Join(event.Privileges, ", "), set: setPrivileges},

	{name: "databaseHost", need: fromRDS, example: "db.example.com", allowed: "a host name or an IP address", set: setHost},
	{name: "databasePort", example: "5432", allowed: "a number from 1 to 65535",
		set: func(s *Settings, v string) error { return setInt(&s.DatabasePort, v, 1, 65535) }},
	{name: "databaseEngine", need: fromRDS, example: "postgres", allowed: "postgres, or mysql (which serves MariaDB too)", set: setEngine},
	{name: "vpcId", need: fromRDS, example: "vpc-0123456789abcdef0", allowed: "the ID of a VPC",
		set: func(s *Settings, v string) error { return setID(&s.VPC, v, "vpc") }},
	{name: "subnetIds", need: fromRDS, example: "'subnet-0123456789abcdef0,subnet-0fedcba9876543210'",
		allowed: "IDs of subnets, with commas between them", list: true, set: setSubnets},
	{name: "databaseSecurityGroupId", need: fromRDS, example: "sg-0123456789abcdef0", allowed: "the ID of a security group, or account/ID of one in another account",
		set: setDatabaseGroup},
	{name: "manageDatabaseIngress", preset: "true", choices: booleans,
		set: func(s *Settings, v string) error { s.ManageIngress = v == "true"; return nil }},

	{name: "databaseSslMode", preset: "verify-full", example: "verify-full", choices: []string{"verify-full", "require", "disable"},
		set: func(s *Settings, v string) error { s.SSLMode = v; return nil }},
	{name: "databaseCaFile", example: "database-ca.pem",
		allowed: "a file inside the project's folder that holds certificates in PEM, and no private key", set: setCAFile},

	{name: "lambdaArchitecture", preset: "x86_64", choices: []string{"x86_64", "arm64"},
		set: func(s *Settings, v string) error { s.Architecture = v; return nil }},
	{name: "codeSigning", preset: "true", choices: booleans,
		set: func(s *Settings, v string) error { s.CodeSigning = v == "true"; return nil }},
	{name: "logRetentionDays", preset: "30", example: "30", allowed: retentions(), set: setRetention},
	{name: "keepWarm", preset: "true", choices: booleans,
		set: func(s *Settings, v string) error { s.KeepWarm = v == "true"; return nil }},
	{name: "permissionsBoundaryArn", example: "arn:aws:iam::111122223333:policy/boundary", allowed: "the ARN of an IAM policy",
		set: setPermissionsBoundary},
	{name: "trustedSubject", example: "'pulumi:environments:pulumi.organization.login:my-organization:*'",
		allowed: "a pattern without spaces for the sub of ESC's tokens, with * and ? as in IAM's StringLike", set: setTrustedSubject},
	{name: "retainEnvironments", preset: "false", choices: booleans,
		set: func(s *Settings, v string) error { s.RetainEnvironments = v == "true"; return nil }},
	{name: "rotationSchedule", example: "'0 3 * * 0'",
		allowed: "a cron expression in UTC of five fields, minute hour day month weekday, once a day at the most; 0 3 * * 0 is each Sunday at 3",
		set:     setSchedule},
	{name: "managingCredsTeam", example: "database-administrators",
		allowed: "the name of a team of the organization: letters, digits, '-' and '_'", set: setTeam},
	{name: "lambdaArtifact", preset: "source", example: "source", choices: []string{"source", "published"},
		set: func(s *Settings, v string) error { s.Published = v == "published"; return nil }},

	{name: "rotationWebhookUrl", secret: true, allowed: "a URL that Pulumi Cloud reaches, which begins with https://", set: setWebhookURL},
	{name: "rotationWebhookFormat", preset: "raw", choices: []string{"raw", "slack", "ms_teams"},
		set: func(s *Settings, v string) error { s.WebhookFormat = v; return nil }},
	{name: "alarmTopicArn", example: "arn:aws:sns:us-west-2:111122223333:alarms", allowed: "the ARN of an SNS topic in the stack's region",
		set: setAlarmTopic},
}

// settingOf is the row of that name, which the table has.
func settingOf(name string) setting {
	return settings[slices.IndexFunc(settings, func(row setting) bool { return row.name == name })]
}

var (
	regionPattern       = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)
	identifierPattern   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	organizationPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	hostPattern         = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	readerPattern       = regexp.MustCompile(`\.cluster-ro-[^.]+\.([^.]+\.)?rds\.`)
	idPattern           = regexp.MustCompile(`^[0-9A-Za-z]+$`)
	policyPattern       = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::([0-9]{12}|aws):policy/[!-~]+$`)
	accountPattern      = regexp.MustCompile(`^[0-9]{12}$`)
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
	if len(parts) == 3 {
		return errors.New("it has three parts: leave out the organization")
	}
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

func setSecret(field *event.Secret, value string) error {
	*field = event.NewSecret(value)
	return checkText(value)
}

// setHost takes a name or an address of the database's writer.
func setHost(s *Settings, value string) error {
	host := strings.ToLower(strings.TrimSuffix(value, "."))
	switch {
	case strings.Contains(host, "://"):
		return errors.New("that is a URL, of which only the host is wanted")
	case event.IsRDSProxy(host):
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

func setID(field *string, value, kind string) error {
	if rest, ok := strings.CutPrefix(value, kind+"-"); !ok || !idPattern.MatchString(rest) {
		return fmt.Errorf("that does not have the form %s-0123456789abcdef0", kind)
	}
	*field = value
	return nil
}

// setSubnets takes a list, or IDs with commas or spaces between them.
func setSubnets(s *Settings, value string) error {
	ids, err := elements(value, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if err != nil {
		return err
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

// setPrivileges takes a list, or privileges with commas between them, as SQL has them: in any case.
func setPrivileges(s *Settings, value string) error {
	words, err := elements(value, func(r rune) bool { return r == ',' })
	if err != nil {
		return err
	}
	for _, word := range words {
		privilege := strings.ToUpper(strings.Join(strings.Fields(word), " "))
		if !slices.Contains(event.Privileges, privilege) {
			return fmt.Errorf("%q is none of the privileges that two users may be given for their tables", word)
		}
		if !slices.Contains(s.ApplicationPrivileges, privilege) {
			s.ApplicationPrivileges = append(s.ApplicationPrivileges, privilege)
		}
	}
	if len(s.ApplicationPrivileges) == 0 {
		return errors.New("it names no privilege")
	}
	return nil
}

// setDatabaseGroup takes a group of another account with that account's ID before it.
func setDatabaseGroup(s *Settings, value string) error {
	group := value
	if account, rest, foreign := strings.Cut(value, "/"); foreign {
		if !accountPattern.MatchString(account) {
			return errors.New("what stands before the / is no AWS account of 12 digits")
		}
		group = rest
	}
	if err := setID(&group, group, "sg"); err != nil {
		return err
	}
	s.DatabaseSecurityGroup = value
	return nil
}

// setCAFile only checks the path; the file is read when the archive is built.
func setCAFile(s *Settings, value string) error {
	if !filepath.IsLocal(filepath.FromSlash(value)) {
		return errors.New("that path leads out of the project's folder")
	}
	s.CAFile = filepath.FromSlash(value)
	_, err := archive.Certificates(filepath.Join(s.root, s.CAFile))
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
	if notInPolicies.MatchString(value) {
		return errors.New("it holds a letter that IAM takes in no policy: those up to ÿ (U+00FF) it takes")
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

// setWebhookURL takes an address that Pulumi Cloud reaches. Its path is often all that a sender must know, as with Slack: so
// no error repeats it.
func setWebhookURL(s *Settings, value string) error {
	address, err := url.Parse(value)
	if err != nil || address.Host == "" || strings.ContainsAny(value, " \t\r\n") {
		return errors.New("that is not a URL with a scheme and a host")
	}
	if address.Scheme != "https" && (address.Scheme != "http" || !isLoopback(address.Hostname())) {
		return errors.New("it does not begin with https://, and its messages name environments and users")
	}
	s.WebhookURL = event.NewSecret(value)
	return nil
}

func setAlarmTopic(s *Settings, value string) error {
	if !topicPattern.MatchString(value) {
		return errors.New("that is not the ARN of an SNS topic")
	}
	s.AlarmTopic = value
	return nil
}
