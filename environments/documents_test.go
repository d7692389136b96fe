package environments

import (
	"slices"
	"strings"
	"testing"

	"esc-connector-lambda-go/lambda/event"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

var plain = Name{Organization: "acme", Project: "shop", Environment: "ordersManagingCreds"}

func TestDocumentsWithoutValuesHoldPlaceholdersThatSayWhatToReplace(t *testing.T) {
	managing, err := ManagingCreds{RoleARN: "arn:aws:iam::111122223333:role/shop-dev-invoke-12345678"}.Document()
	require.NoError(t, err)
	assert.Equal(t, `values:
  managingUser:
    username: managing_user # Replace with your managing user
    password: # Replace with your password, and keep fn::secret, which encrypts it
      fn::secret: manager_password
  awsLogin:
    fn::open::aws-login:
      oidc:
        duration: 1h
        roleArn: arn:aws:iam::111122223333:role/shop-dev-invoke-12345678
        sessionName: pulumi-esc-secret-rotator
        subjectAttributes:
          - currentEnvironment.name
`, managing)

	rotator, err := Rotator{Engine: "postgres", Host: "db.example", Port: 5433, Managing: plain,
		LambdaARN: "arn:aws:lambda:eu-west-1:111122223333:function:shop-dev-12345678"}.Document()
	require.NoError(t, err)
	assert.Equal(t, `values:
  dbRotator:
    fn::rotate::postgres:
      inputs:
        database:
          connector:
            awsLambda:
              login: ${environments.shop.ordersManagingCreds.awsLogin}
              lambdaArn: arn:aws:lambda:eu-west-1:111122223333:function:shop-dev-12345678
          database: rotator_db # Replace with your database's name
          host: db.example
          port: 5433
          managingUser: ${environments.shop.ordersManagingCreds.managingUser}
        rotateUsers:
          username1: user1 # Replace with your first user
          username2: user2 # Replace with your second user
`, rotator)
}

func TestManagingUserWithoutAPasswordHasAWordInItsPlace(t *testing.T) {
	document, err := ManagingCreds{RoleARN: "arn:aws:iam::111122223333:role/r", Username: "esc_manager", IAM: true}.Document()
	require.NoError(t, err)
	assert.Contains(t, document, `  managingUser:
    username: esc_manager
    password: unused # the connector logs in by RDS IAM authentication
  awsLogin:
`)
}

func TestReferencesToNamesThatThePlainFormWouldSplitAreSubscripts(t *testing.T) {
	for name, want := range map[Name]string{
		{Project: "shop", Environment: "orders"}:       `${environments.shop.orders.awsLogin}`,
		{Project: "my.project", Environment: "my.env"}: `${environments["my.project"]["my.env"].awsLogin}`,
		{Project: "my-project", Environment: "env_1"}:  `${environments["my-project"].env_1.awsLogin}`,
		{Project: "p", Environment: "1st"}:             `${environments.p["1st"].awsLogin}`,
	} {
		assert.Equal(t, want, reference(name, "awsLogin"))
	}
}

// What a user gives is found again as it was given, whatever YAML or ESC would make of it.
func TestAnyValueStaysWhatItIs(t *testing.T) {
	awkward := []string{
		`plain`, `it's`, `say "hi"`, `a: b`, `# not a comment`, `a #b`, `- item`, `{a: 1}`, `[1]`, `*alias`, `&anchor`,
		`!tag`, `%`, `@host`, "`", `fn::secret`, `fn::open::x: y`, `0123`, `1e3`, `0x1F`, `1_000`, `yes`, `No`, `on`, `null`, `~`, `true`, `.inf`,
		`2024-01-01`, "two\nlines", "dos\r\nlines", "tab\there", ` leading`, `trailing `, `back\slash`, `Ünïcødé 漢字 🔑`, `x²`, `=`, `<<`, `---`, `...`, `|`, `>`, "\u0085", "\u2028", "\ufeff",
	}
	for _, value := range awkward {
		document, err := ManagingCreds{RoleARN: "arn", Username: value, Password: event.NewSecret(value)}.Document()
		require.NoError(t, err)
		var read struct {
			Values struct {
				ManagingUser struct {
					Username any
					Password map[string]any
				} `yaml:"managingUser"`
			}
		}
		require.NoError(t, yaml.Unmarshal([]byte(document), &read), "%q gave\n%s", value, document)
		assert.Equal(t, value, read.Values.ManagingUser.Username)
		assert.Equal(t, map[string]any{"fn::secret": value}, read.Values.ManagingUser.Password)
		assert.NotContains(t, document, "Replace")
		assert.NotContains(t, document, "\r")
		if slices.Contains([]string{"yes", "No", "on"}, value) {
			assert.Contains(t, document, `username: "`+value+`"`, "YAML 1.1 reads a boolean otherwise")
		}
	}
}

func TestDollarsAreTextForESCAndUntouchedUnderSecret(t *testing.T) {
	for value, want := range map[string]string{
		"${x}":   "$${x}",
		"a$b":    "a$b",
		"cost$":  "cost$",
		"$$":     "$$$",
		"$${x}":  "$$$${x}",
		"{$}${}": "{$}$${}",
	} {
		assert.Equal(t, want, text(value))
	}
	document, err := ManagingCreds{RoleARN: "arn", Username: "${u}", Password: event.NewSecret("${p}$$")}.Document()
	require.NoError(t, err)
	assert.Contains(t, document, "username: $${u}\n")
	assert.Contains(t, document, "fn::secret: ${p}$$\n")
}

func TestTemplatesWithWindowsLineEndsGiveTheSameDocuments(t *testing.T) {
	want, err := ManagingCreds{RoleARN: "arn"}.Document()
	require.NoError(t, err)
	before := managingTemplate
	t.Cleanup(func() { managingTemplate = before })
	managingTemplate = []byte(strings.ReplaceAll(string(before), "\n", "\r\n"))
	got, err := ManagingCreds{RoleARN: "arn"}.Document()
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestWhatADocumentNamesIsReadBackFromIt(t *testing.T) {
	written := Rotator{Engine: "mysql", Host: "db.example", Port: 3307, LambdaARN: "arn:aws:lambda:x", Managing: plain}
	document, err := written.Document()
	require.NoError(t, err)
	// As after a rotation, and an edit.
	document += "        # by hand\n      state:\n        current: {username: user1, password: {fn::secret: {ciphertext: abc}}}\n"
	assert.Equal(t, Rotator{Engine: "mysql", Host: "db.example", Port: 3307, LambdaARN: "arn:aws:lambda:x"}, ReadRotator(document))

	document, err = ManagingCreds{RoleARN: "arn:aws:iam::x"}.Document()
	require.NoError(t, err)
	assert.Equal(t, ManagingCreds{RoleARN: "arn:aws:iam::x"}, ReadManagingCreds(document))

	for _, other := range []string{"", "values: 1", "imports: [a]\nvalues: {dbRotator: {x: {}}}", "\t"} {
		assert.Zero(t, ReadRotator(other))
		assert.Zero(t, ReadManagingCreds(other))
	}
}
