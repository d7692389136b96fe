package infra

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"esc-connector-lambda-go/environments"
	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readSettings(t *testing.T, settings map[string]string) (*Settings, error) {
	t.Helper()
	var read *Settings
	err := run(t, newCloud(), settings, func(ctx *pulumi.Context, c Config) (err error) {
		read, err = ReadSettings(ctx, c)
		return err
	})
	return read, err
}

func TestTheAnswersOfPulumiNewAreEnough(t *testing.T) {
	s, err := readSettings(t, minimal(nil))
	require.NoError(t, err)
	assert.Equal(t, "eu-west-1", s.Region)
	assert.Equal(t, "orders", s.DatabaseIdentifier)
	assert.Equal(t, environments.Name{Organization: "acme", Project: "shop", Environment: "orders"}, s.Rotator)
	assert.Equal(t, environments.Name{Organization: "acme", Project: "shop", Environment: "ordersManagingCreds"}, s.Managing)
	assert.Equal(t, "https://api.pulumi.com", s.Backend.URL)
	assert.Zero(t, s.ManagingPassword)
}

// In the stack's file, by hand, they stand unquoted.
func TestAListOrAMapInThePlaceOfATextIsRefused(t *testing.T) {
	for _, value := range []string{`["a","b"]`, `{"a":"b"}`, `[]`} {
		for _, name := range []string{"databaseName", "rotateUsername1", "rotateUsername2", "managingUsername"} {
			_, err := readSettings(t, minimal(map[string]string{"shop:" + name: value}))
			require.ErrorContains(t, err, "shop:"+name+" is ", value)
			require.ErrorContains(t, err, "a list or a map, and one value is wanted")
		}
	}
	for _, text := range []string{"[a", "{x}", "0123"} {
		s, err := readSettings(t, minimal(map[string]string{"shop:databaseName": text}))
		require.NoError(t, err)
		assert.Equal(t, text, s.DatabaseName)
	}
}

func TestAllBadSettingsAreReportedAtOnceWithWhatMendsThem(t *testing.T) {
	_, err := readSettings(t, map[string]string{
		"aws:region":                         "Ireland",
		"shop:rotatedSecretsEnvironmentName": "orders",
		"shop:backendUrl":                    "api.pulumi.com",
		"shop:managingPassword":              "s3cret\x00",
	})
	require.Error(t, err)
	message := err.Error()
	for _, want := range []string{
		`aws:region is "Ireland"`,
		"pulumi config set aws:region us-west-2",
		"shop:rdsDbIdentifier is not set",
		"pulumi config set shop:rdsDbIdentifier my-database",
		`shop:rotatedSecretsEnvironmentName is "orders"`,
		"pulumi config set shop:rotatedSecretsEnvironmentName myProject/myEnvironment",
		`shop:backendUrl is "api.pulumi.com"`,
		"shop:managingPassword is set to a [secret]",
		"pulumi config set --secret shop:managingPassword",
		"5 of them need a change; nothing was created",
	} {
		assert.Contains(t, message, want)
	}
	assert.NotContains(t, message, "s3cret")
}

// A message that names a value must name one that is taken.
func TestWhatTheTableProposesIsAllowed(t *testing.T) {
	root := t.TempDir()
	server := httptest.NewTLSServer(nil)
	server.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(root, settingOf("databaseCaFile").example), authority, 0o600))
	for _, row := range settings {
		proposed := append([]string{row.preset, strings.Trim(row.example, "'")}, row.choices...)
		proposed = slices.DeleteFunc(proposed, func(value string) bool { return value == "" })
		assert.True(t, row.secret || len(proposed) > 0, "%s has no example for its command", row.name)
		assert.NotEqual(t, row.allowed == "", row.choices == nil, "what %s may be is said once", row.name)
		for _, value := range proposed {
			assert.NoError(t, row.check(&Settings{root: root}, value), "%s = %s", row.name, value)
		}
	}
}

// What a preparation needs is asked for at once, with the commands.
func TestWhatIsMissingForAPreparation(t *testing.T) {
	_, err := readSettings(t, minimal(map[string]string{"shop:prepareDatabase": "true"}))
	require.Error(t, err)
	for _, setting := range []string{"databaseName", "rotateUsername1", "rotateUsername2", "managingUsername", "managingPassword"} {
		assert.ErrorContains(t, err, "shop:"+setting+" is not set, and prepareDatabase needs it.")
	}
	assert.ErrorContains(t, err, "pulumi config set --secret shop:managingPassword")
	assert.ErrorContains(t, err, "5 of them need a change")

	outside := map[string]string{"aws:region": "eu-west-1", "shop:rotatedSecretsEnvironmentName": "shop/orders", "shop:databaseHost": "db.example", "shop:databaseEngine": "postgres",
		"shop:vpcId": "vpc-1", "shop:subnetIds": "subnet-1", "shop:databaseSecurityGroupId": "sg-1", "shop:prepareDatabase": "true"}
	_, err = readSettings(t, outside)
	assert.ErrorContains(t, err, "shop:masterUsername is not set, and prepareDatabase needs it where RDS does not run the database.")
	assert.ErrorContains(t, err, "shop:masterPassword is not set, and prepareDatabase needs it where RDS does not run the database.")
	assert.ErrorContains(t, err, "7 of them need a change")

	for one, other := range map[string]string{"masterUsername": "masterPassword", "masterPassword": "masterUsername"} {
		err := update(t, newCloud(), with(minimal(allUsers), "shop:prepareDatabase", "true", "shop:"+one, "Hidden-1"))
		assert.ErrorContains(t, err, "shop:"+other+" is not set, and "+one+" is: prepareDatabase needs both")
	}
	err = update(t, newCloud(), with(minimal(allUsers), "shop:prepareDatabase", "true", "shop:masterUsername", "root", "shop:rotateUsername1", ""))
	assert.ErrorContains(t, err, "2 of them need a change")
	_, err = readSettings(t, with(minimal(allUsers), "shop:prepareDatabase", "true"))
	assert.NoError(t, err, "RDS may keep the password")
	_, err = readSettings(t, minimal(map[string]string{"shop:masterUsername": "master"}))
	assert.NoError(t, err, "without a preparation nothing is needed")
}

func TestUsersOfAPreparationWhoAreTheSame(t *testing.T) {
	own := with(minimal(allUsers), "shop:prepareDatabase", "true", "shop:masterUsername", "root", "shop:masterPassword", "Master-Secret-2")
	for setting, same := range map[string]string{"shop:masterUsername": "'two'@'%'", "shop:applicationRole": "one", "shop:managingUsername": "one"} {
		_, err := readSettings(t, with(own, setting, same))
		assert.ErrorContains(t, err, setting+" is ", same)
	}
	_, err := readSettings(t, with(own, "shop:applicationRole", "app_role"))
	assert.NoError(t, err)
	_, err = readSettings(t, with(own, "shop:prepareDatabase", "false", "shop:masterUsername", "two"))
	assert.NoError(t, err, "nobody is made")
}

func TestTheOrganizationIsAskedForWhereTheStackHasNone(t *testing.T) {
	body := func(ctx *pulumi.Context, c Config) error {
		_, err := ReadSettings(ctx, c)
		return err
	}
	settings := minimal(nil)
	without := func(info *pulumi.RunInfo) { info.Organization = "" }
	configuration := Config{}
	mocks := pulumi.WithMocks("shop", "dev", newCloud())
	with := func(info *pulumi.RunInfo) { info.Config = settings }
	program := func(ctx *pulumi.Context) error { return body(ctx, configuration) }
	err := pulumi.RunErr(program, mocks, without, with, configuration.Capture)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "pulumi config set shop:organization")

	settings["shop:organization"] = "  "
	require.ErrorContains(t, pulumi.RunErr(program, mocks, without, with, configuration.Capture), "pulumi config set shop:organization")

	settings["shop:organization"] = "organization"
	require.NoError(t, pulumi.RunErr(program, mocks, without, with, configuration.Capture), "an organization may have that name")
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	for name, values := range map[string][]string{
		"shop:rdsDbIdentifier": {"1orders", "orders-", "or--ders", "or_ders", "arn:aws:rds:eu-west-1:111122223333:cluster:orders",
			"orders.cluster-abc.eu-west-1.rds.amazonaws.com", strings.Repeat("a", 64)},
		"shop:rotatedSecretsEnvironmentName": {"orders", "a/b/c", "/orders", "shop/", "shop/or ders", "shop/ördérs"},
		"shop:managingCredsEnvironmentName":  {"orders", "shop/orders"},
		"shop:backendUrl": {"ftp://api.pulumi.com", "http://api.acme.example", "https://app.pulumi.com", "https://", "https://user@api.pulumi.com", "https://api.pulumi.com?x",
			"https://api.pulumi.com/#x", "https://pulumi.acme.example/x", "://"},
		"shop:organization":          {"ac me", "acme/x", "-acme"},
		"aws:region":                 {"us", "us_west_2", "us-west", "US-WEST-2", " us-west-2"},
		"shop:rotationSchedule":      {"0 3 * *", "0 0 3 * * 0", "60 3 * * 0", "0 24 * * *", "0 3 30 2 *", "@daily", "CRON_TZ=UTC 0 3 * * 0", "weekly", "0 */6 * * *", "0,30 3 * * 0", "0 3,4 1 * *"},
		"shop:managingCredsTeam":     {"our team", "acme/team", "-team"},
		"shop:checkDatabase":         {"never", "2"},
		"shop:prepareDatabase":       {"once", "{}"},
		"shop:masterUsername":        {"ma\x00ster", `["a"]`},
		"shop:applicationRole":       {"ro\x00le"},
		"shop:applicationPrivileges": {"ALL", "ALL PRIVILEGES", "GRANT OPTION", "FILE", "SELECT ON *.* TO x", "SELECT;", ",", "[]", `{"a":"b"}`},
	} {
		for _, value := range values {
			_, err := readSettings(t, minimal(map[string]string{name: value}))
			if assert.Error(t, err, "%s = %q", name, value) {
				assert.Contains(t, err.Error(), name)
			}
		}
	}
}

func TestAnEnvironmentIsNamedWithoutItsOrganization(t *testing.T) {
	_, err := readSettings(t, minimal(map[string]string{"shop:rotatedSecretsEnvironmentName": "acme/shop/orders"}))
	require.ErrorContains(t, err, "it has three parts: leave out the organization")
}

func TestSelfHostedBackendsAreTakenInAnySpelling(t *testing.T) {
	for value, want := range map[string]struct{ url, issuer, console string }{
		"https://api.pulumi.com":          {"https://api.pulumi.com", "api.pulumi.com/oidc", "https://app.pulumi.com/acme/esc/shop/orders"},
		"HTTPS://API.Pulumi.com/":         {"https://api.pulumi.com", "api.pulumi.com/oidc", "https://app.pulumi.com/acme/esc/shop/orders"},
		"https://api.acme.example:8443//": {"https://api.acme.example:8443", "api.acme.example:8443/oidc", "https://app.acme.example:8443/acme/esc/shop/orders"},
		"https://pulumi.acme.example:443": {"https://pulumi.acme.example", "pulumi.acme.example/oidc", ""},
	} {
		backend, err := ParseBackend(value)
		require.NoError(t, err)
		assert.Equal(t, want.url, backend.URL)
		assert.Equal(t, want.issuer, backend.Issuer())
		assert.Equal(t, want.console, backend.ConsoleURL(environments.Name{Organization: "acme", Project: "shop", Environment: "orders"}))
	}
}

// The CLI tells providers its address and its token; this one's token must not go to another address.
func TestABackendThatTheCLIIsNotLoggedInToIsRefused(t *testing.T) {
	t.Setenv("PULUMI_API", "https://API.acme.example/")
	_, err := readSettings(t, minimal(nil))
	require.Error(t, err)
	for _, part := range []string{"shop:backendUrl is https://api.pulumi.com, and", "logged in to https://api.acme.example",
		"pulumi login https://api.pulumi.com", "pulumi config set shop:backendUrl https://api.acme.example"} {
		assert.ErrorContains(t, err, part)
	}

	_, err = readSettings(t, minimal(map[string]string{"shop:backendUrl": "https://other.acme.example"}))
	require.NoError(t, err, "another name of the same, perhaps")
	s, err := readSettings(t, minimal(map[string]string{"shop:backendUrl": "https://api.acme.example:443"}))
	require.NoError(t, err)
	assert.Equal(t, "https://api.acme.example", s.Backend.URL)
}

func TestNumbersWordsAndListsAreTakenAsPulumiConfigGivesThem(t *testing.T) {
	for _, subnets := range []string{"subnet-0a,subnet-0b", "subnet-0a, subnet-0b", `["subnet-0a","subnet-0b"]`, "subnet-0a subnet-0b,subnet-0a"} {
		s, err := readSettings(t, minimal(map[string]string{
			"shop:subnetIds": subnets, "shop:databasePort": "5433", "shop:manageDatabaseIngress": "False",
			"shop:logRetentionDays": "0", "shop:lambdaArchitecture": "arm64", "shop:databaseEngine": "mariadb",
		}))
		require.NoError(t, err)
		assert.Equal(t, []string{"subnet-0a", "subnet-0b"}, s.Subnets)
		assert.Equal(t, 5433, s.DatabasePort)
		assert.False(t, s.ManageIngress)
		assert.Zero(t, s.LogRetentionDays)
		assert.Equal(t, "arm64", s.Architecture)
		assert.Equal(t, "mysql", s.DatabaseEngine)
	}
	s, err := readSettings(t, minimal(map[string]string{
		"shop:lambdaArchitecture": " ARM64 ", "shop:databaseSslMode": "Require", "shop:codeSigning": "no", "shop:retainEnvironments": "ON",
		"shop:rdsDbIdentifier": " Orders ", "shop:managingCredsEnvironmentName": "  ", "shop:databaseName": "  ",
	}))
	require.NoError(t, err)
	assert.Equal(t, "arm64", s.Architecture)
	assert.Equal(t, "require", s.SSLMode)
	assert.False(t, s.CodeSigning)
	assert.True(t, s.RetainEnvironments)
	assert.Equal(t, "orders", s.DatabaseIdentifier)
	assert.Equal(t, "shop/ordersManagingCreds", s.Managing.Path())
	assert.Equal(t, "  ", s.DatabaseName, "a database may have such a name")
	for given, want := range map[string]string{
		"0 3 * * 0": "0 3 * * 0", " 30  4\t1,15 */2 MON-FRI ": "30 4 1,15 */2 MON-FRI", "0 0 29 2 *": "0 0 29 2 *",
	} {
		s, err := readSettings(t, minimal(map[string]string{"shop:rotationSchedule": given, "shop:managingCredsTeam": "db_team-1"}))
		require.NoError(t, err)
		assert.Equal(t, want, s.RotationSchedule)
		assert.Equal(t, "db_team-1", s.ManagingTeam)
	}
	s, err = readSettings(t, minimal(nil))
	require.NoError(t, err)
	assert.True(t, s.ManageIngress)
	assert.Equal(t, 30, s.LogRetentionDays)
	assert.Equal(t, "x86_64", s.Architecture)
	assert.Equal(t, "verify-full", s.SSLMode)
	assert.False(t, s.RetainEnvironments)
}

func TestFurtherSettingsThatCannotBeAreRefused(t *testing.T) {
	for name, values := range map[string][]string{
		"databaseHost": {"https://db.example", "db.example:5432", "db example",
			"p.proxy-abc.eu-west-1.rds.amazonaws.com", "p.proxy-abc.rds.cn-north-1.amazonaws.com.cn", "ro.endpoint.proxy-abc.eu-west-1.rds.amazonaws.com",
			"orders.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "orders.cluster-ro-abc.rds.cn-north-1.amazonaws.com.cn"},
		"databasePort":            {"0", "65536", "5432.5", "postgres"},
		"databaseEngine":          {"oracle-ee", "docdb"},
		"vpcId":                   {"vpc", "subnet-0a"},
		"subnetIds":               {"subnet", `["subnet-0a"`, `[1]`, ",", "vpc-0a"},
		"databaseSecurityGroupId": {"sg_0a"},
		"databaseSslMode":         {"prefer", "verify_full"},
		"databaseCaFile":          {"/etc/ssl/cert.pem", "../ca.pem", "missing.pem"},
		"lambdaArchitecture":      {"amd64"},
		"logRetentionDays":        {"31", "-1", "a month"},
		"permissionsBoundaryArn":  {"boundary", "arn:aws:iam::1:policy/x"},
		"manageDatabaseIngress":   {"maybe"},
		"lambdaArtifact":          {"latest"},
		"keepWarm":                {"maybe"},
		"trustedSubject":          {"a b", "pulumi:environments:*:данные"},
		"retainEnvironments":      {"2"},
		"codeSigning":             {"signed"},
	} {
		for _, value := range values {
			_, err := readSettings(t, minimal(map[string]string{"shop:" + name: value}))
			if assert.Error(t, err, "%s = %q", name, value) {
				assert.Contains(t, err.Error(), "shop:"+name)
			}
		}
	}
}

func TestACAFileIsOneOfTheProjectWithCertificatesInIt(t *testing.T) {
	settings := &Settings{root: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(settings.root, "empty.pem"), []byte("nothing"), 0o600))
	require.ErrorContains(t, setCAFile(settings, "empty.pem"), "no certificate")
	require.ErrorContains(t, setCAFile(settings, "other.pem"), "no such file")
	require.ErrorContains(t, setCAFile(settings, "../empty.pem"), "out of the project's folder")
}

func TestADatabaseOutsideRDSNeedsItsWhereaboutsAllAtOnce(t *testing.T) {
	settings := minimal(map[string]string{"shop:databaseHost": "db.example.com"})
	delete(settings, "shop:rdsDbIdentifier")
	_, err := readSettings(t, settings)
	require.Error(t, err)
	for _, name := range []string{"databaseEngine", "vpcId", "subnetIds", "databaseSecurityGroupId"} {
		assert.Contains(t, err.Error(), "shop:"+name+" is not set")
	}
	assert.NotContains(t, err.Error(), "databasePort")
	assert.NotContains(t, err.Error(), "shop:rdsDbIdentifier")
	assert.NotContains(t, err.Error(), "shop:databaseHost is")
}

func TestRegionsOfEveryPartitionAreTaken(t *testing.T) {
	for _, region := range []string{"us-gov-west-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1"} {
		settings := minimal(nil)
		settings["aws:region"] = region
		_, err := readSettings(t, settings)
		require.NoError(t, err)
	}
}

func TestWhatIsSetAsASecretIsInNoMessage(t *testing.T) {
	t.Setenv("PULUMI_API", "https://api.pulumi.com")
	for name, value := range map[string]string{
		"shop:rotatedSecretsEnvironmentName": "hush/h ush", "shop:managingCredsEnvironmentName": "shop/orders", "shop:subnetIds": "hush",
		"shop:rotationSchedule": "hush 1 2 3 4", "shop:databaseSslMode": "disable", "shop:lambdaArchitecture": "arm64",
		"shop:backendUrl": "https://hush.example",
	} {
		settings := minimal(map[string]string{"aws:region": "us-east-1", "shop:lambdaArtifact": "published", name: value})
		c := Config{}
		err := pulumi.RunErr(func(ctx *pulumi.Context) error { _, err := ReadSettings(ctx, c); return err },
			pulumi.WithMocksWithOrganization("acme", "shop", "dev", newCloud()),
			func(info *pulumi.RunInfo) { info.Config, info.ConfigSecretKeys = settings, []string{name} }, c.Capture)
		require.ErrorContains(t, err, name+" is set to a [secret]")
		assert.NotContains(t, err.Error(), "hush")
		assert.NotContains(t, err.Error(), `"`+value+`"`)
	}
}

// What is no secret to the program is told to be none, and what is one and stands in clear, too.
func TestSecretsThatAreNotKeptAreTold(t *testing.T) {
	s := &Settings{Project: "shop", Stack: "dev", isSecret: func(key string) bool { return key != "shop:masterPassword" && key != "aws:region" },
		given: Config{"aws:region": "eu-west-1", "shop:databaseHost": "db.example", "shop:rotateUsername1": "one", "shop:managingPassword": "Managing-Secret-1", "shop:masterPassword": "Master-Secret-2"}}
	warnings := s.misplacedSecrets()
	require.Len(t, warnings, 2)
	assert.Contains(t, warnings[0], "shop:masterPassword is set without --secret, and so stands in clear in Pulumi.dev.yaml\n  pulumi config set --secret shop:masterPassword")
	assert.Contains(t, warnings[1], "shop:databaseHost is a secret of the stack's configuration, and is kept secret nowhere else")
	assert.Contains(t, warnings[1], "\n  pulumi config set --plaintext shop:databaseHost <value>")
	assert.NotContains(t, warnings[1], "db.example")

	s = &Settings{Project: "shop", Stack: "dev", isSecret: func(string) bool { return false }, given: Config{"shop:managingUsername": "Managing-Secret-1", "shop:databaseName": "app"},
		ManagingPassword: event.NewSecret("Managing-Secret-1")}
	warnings = s.misplacedSecrets()
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "shop:managingUsername is the same as a password of these settings")
	assert.NotContains(t, warnings[0], "Managing-Secret-1")
}

// A user's own code may read settings of its own, of which there is no word.
func TestTheNearestSettingIsNamed(t *testing.T) {
	for name, want := range map[string]string{
		"rotateUsername": "shop:rotateUsername1", "databseHost": "shop:databaseHost", "masterUser": "shop:masterUsername", "managingUser": "shop:managingUsername",
		"rotateUser": "shop:rotateUsername1", "Keepwarm": "shop:keepWarm", "subnets": "shop:subnetIds", "databaseUser": "",
		"rotateUser2": "shop:rotateUsername2", "dbName": "shop:databaseName", "sslMode": "shop:databaseSslMode", "caFile": "shop:databaseCaFile",
		"appName": "", "teamName": "", "costCenter": "", "instanceType": "",
		"notes": "", "database": "", "application": "", "rotation": "", "region": "aws:region", "vpc": "",
	} {
		found := ""
		if row := nearest(name); row != nil {
			found = row.key("shop")
		}
		assert.Equal(t, want, found, name)
	}
	s := &Settings{Project: "shop"}
	assert.Equal(t, []string{"shop:masterUser is not a setting of this program, and is ignored. Is shop:masterUsername meant?\n  pulumi config rm shop:masterUser"},
		s.misspelt(Config{"shop:masterUser": "postgres", "shop:masterUsername": "postgres", "shop:notes": "theirs", "other:databaseHostt": "theirs"}))
}

func TestWhatAPreparationAloneReadsIsToldWithoutOne(t *testing.T) {
	s := &Settings{Project: "shop", given: Config{"shop:applicationRole": "app_role", "shop:masterUsername": "root", "shop:databaseName": "app"}}
	assert.Equal(t, []string{"nothing is done by masterUsername, applicationRole without prepareDatabase\n  pulumi config set shop:prepareDatabase true\n" +
		"  Or, where the users are there:\n    pulumi config rm shop:masterUsername\n    pulumi config rm shop:applicationRole"}, s.unread())
	s.Published = true
	assert.Equal(t, []string{"nothing is done by masterUsername, applicationRole with lambdaArtifact published, whose function prepares no database\n" +
		"    pulumi config rm shop:masterUsername\n    pulumi config rm shop:applicationRole"}, s.unread())
	s.PrepareDatabase, s.Published = true, false
	assert.Empty(t, s.unread())
	assert.Empty(t, (&Settings{Project: "shop", given: Config{"shop:databaseName": "app"}}).unread())
}

// A password that was pasted along is in no message, and so in no log of a CI job.
func TestAnAddressWithAPasswordIsInNoMessage(t *testing.T) {
	for name, values := range map[string][]string{
		"databaseHost": {"postgres://app:S3cret@db.example/app", "app:S3cret@db.example", "host=db.example password = S3cret"},
		"backendUrl": {"https://app:S3cret@api.acme.example", "https://api.acme.example?token=S3cret", "https://api.acme.example#token=S3cret",
			"https://hooks.slack.com/services/T0/B0/S3cret", "host=db.example user=app password=S3cret", "app:S3cret@tcp(db.example:3306)/app",
			"app:S3cret@db.example", "jdbc:mysql://app:S3cret@db.example/app", "jdbc:sqlserver://db;user=a;password=S3cret"},
		"vpcId": {"postgres://app:S3cret@db.example"}, "subnetIds": {"postgres://app:S3cret@db.example"},
		"rdsDbIdentifier": {"postgres://app:S3cret@db.example", "app:S3cret@db.example:3306/app", "app:S3cret@/app", "username: app\npassword: S3cret",
			`{"username": "postgres", "password": "S3cret"}`}, "keepWarm": {"https://hooks.slack.com/S3cret"},
		"rotationWebhookFormat": {"https://hooks.slack.com/S3cret"}, "databaseSslMode": {"postgres://app:S3cret@db.example"},
	} {
		for _, value := range values {
			for _, further := range []map[string]string{nil, {"shop:managingAuthentication": "iam", "shop:managingUsername": "manager"}, {"shop:lambdaArtifact": "published"}} {
				_, err := readSettings(t, with(minimal(further), "shop:"+name, value))
				require.ErrorContains(t, err, "shop:"+name+" is set to what may be a URL or a connection string with a password, which is not shown, and what it is cannot be used.")
				assert.NotContains(t, err.Error(), "S3cret")
			}
		}
	}
	_, err := readSettings(t, minimal(map[string]string{"shop:backendUrl": "https://app.pulumi.com/acme", "shop:databaseHost": "db.example:5432"}))
	require.ErrorContains(t, err, `shop:backendUrl is "https://app.pulumi.com/acme": that is the console's address`)
	require.ErrorContains(t, err, `shop:databaseHost is "db.example:5432": `)
}

func TestEachSettingNamesAUserOfItsOwn(t *testing.T) {
	for name, c := range map[string]struct{ one, two, managing, bad string }{
		"the same twice":             {"app", "app", "", "rotateUsername2"},
		"with and without its host":  {"app", "app@%", "", "rotateUsername2"},
		"with and without quotes":    {"'app'@'%'", "app\n", "", "rotateUsername2"},
		"the managing user":          {"app_1", "app_2", "app_2", "managingUsername"},
		"the managing user, quoted":  {"app_1", "app_2", "`app_1`@`%`", "managingUsername"},
		"three of them":              {"app_1", "app_2", "manager", ""},
		"the same name, other hosts": {"app@10.0.%", "app@10.1.%", "", ""},
	} {
		_, err := readSettings(t, minimal(map[string]string{"shop:rotateUsername1": c.one, "shop:rotateUsername2": c.two, "shop:managingUsername": c.managing}))
		if c.bad == "" {
			assert.NoError(t, err, name)
			continue
		}
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), "shop:"+c.bad+" is ", name)
		assert.Contains(t, err.Error(), "the user that shop:", name)
		assert.Contains(t, err.Error(), "pulumi config set shop:"+c.bad+" ", name)
	}
}
