// Package environments writes the two ESC environments of the connector: the managing credentials
// environment, which holds the managing user and the AWS login, and the rotator environment, whose
// passwords ESC changes. managing.yaml and rotator.yaml show what users will find in them.
package environments

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"esc-connector-lambda-go/lambda/event"

	"gopkg.in/yaml.v3"
)

//go:embed managing.yaml
var managingTemplate []byte

//go:embed rotator.yaml
var rotatorTemplate []byte

// Name says which environment is meant.
type Name struct {
	Organization string
	Project      string
	Environment  string
}

// String returns the name as the Pulumi CLI takes it: organization/project/environment.
func (n Name) String() string {
	return n.Organization + "/" + n.Project + "/" + n.Environment
}

// Path returns the name as the settings have it: project/environment.
func (n Name) Path() string { return n.Project + "/" + n.Environment }

// ManagingCreds is what the managing credentials environment holds.
type ManagingCreds struct {
	RoleARN  string       // the role that ESC assumes to invoke the connector
	Username string       // the managing user; empty leaves the placeholder
	Password event.Secret // its password; empty leaves the placeholder
	IAM      bool         // the managing user has no password, and logs in by RDS IAM authentication
}

// Rotator is what the rotator environment holds.
type Rotator struct {
	Engine    string // postgres or mysql, as in fn::rotate::postgres
	Host      string
	Port      int
	Managing  Name // the managing credentials environment
	LambdaARN string
	Database  string // empty leaves the placeholder, as for the two users
	Username1 string
	Username2 string
}

// Document returns the environment's YAML. It holds the password in clear: ESC encrypts what stands
// under fn::secret when it stores the environment.
func (m ManagingCreds) Document() (string, error) {
	return fill(managingTemplate, func(d *document) {
		d.set(text(m.RoleARN), "values", "awsLogin", "fn::open::aws-login", "oidc", "roleArn")
		d.replace(text(m.Username), "values", "managingUser", "username")
		if m.IAM {
			d.noPassword("values", "managingUser", "password")
			return
		}
		// ESC encrypts the value under fn::secret as it stands, escapes included: it needs none.
		if password := m.Password.Reveal(); password != "" {
			d.replace(password, "values", "managingUser", "password", "fn::secret")
			d.uncomment("values", "managingUser", "password")
		}
	})
}

// Document returns the environment's YAML.
func (r Rotator) Document() (string, error) {
	return fill(rotatorTemplate, func(d *document) {
		rotate := d.rename("fn::rotate::"+r.Engine, "values", "dbRotator", "fn::rotate::ENGINE")
		inputs := func(path ...string) []string {
			return append([]string{"values", "dbRotator", rotate, "inputs"}, path...)
		}
		d.set(reference(r.Managing, "awsLogin"), inputs("database", "connector", "awsLambda", "login")...)
		d.set(text(r.LambdaARN), inputs("database", "connector", "awsLambda", "lambdaArn")...)
		d.replace(text(r.Database), inputs("database", "database")...)
		d.set(text(r.Host), inputs("database", "host")...)
		d.number(r.Port, inputs("database", "port")...)
		d.set(reference(r.Managing, "managingUser"), inputs("database", "managingUser")...)
		d.replace(text(r.Username1), inputs("rotateUsers", "username1")...)
		d.replace(text(r.Username2), inputs("rotateUsers", "username2")...)
	})
}

// ReadRotator reads from a rotator environment's document what the program knows better than its
// author: engine, host, port and function. What is not where Document puts it stays empty.
func ReadRotator(document string) Rotator {
	var read struct {
		Values struct {
			DbRotator map[string]struct {
				Inputs struct {
					Database struct {
						Connector struct {
							AwsLambda struct {
								LambdaARN string `yaml:"lambdaArn"`
							} `yaml:"awsLambda"`
						}
						Host string
						Port int
					}
				}
			} `yaml:"dbRotator"`
		}
	}
	// A document of another shape is the user's own affair.
	_ = yaml.Unmarshal([]byte(document), &read)
	for function, rotator := range read.Values.DbRotator {
		if engine, ok := strings.CutPrefix(function, "fn::rotate::"); ok {
			database := rotator.Inputs.Database
			return Rotator{Engine: engine, Host: database.Host, Port: database.Port, LambdaARN: database.Connector.AwsLambda.LambdaARN}
		}
	}
	return Rotator{}
}

// ReadManagingCreds reads from a managing credentials environment's document the role, as ReadRotator does.
func ReadManagingCreds(document string) ManagingCreds {
	var read struct {
		Values struct {
			AwsLogin struct {
				Login struct {
					OIDC struct {
						RoleARN string `yaml:"roleArn"`
					}
				} `yaml:"fn::open::aws-login"`
			} `yaml:"awsLogin"`
		}
	}
	_ = yaml.Unmarshal([]byte(document), &read)
	return ManagingCreds{RoleARN: read.Values.AwsLogin.Login.OIDC.RoleARN}
}

// identifier is a name that may stand between the dots of ${a.b.c}.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reference is the ESC expression for a value of another environment: ${environments.p.e.value}, or
// ${environments["my.project"]["my.env"].value} for names that the plain form would split.
func reference(n Name, value string) string {
	var expression strings.Builder
	expression.WriteString("${environments")
	for _, part := range []string{n.Project, n.Environment} {
		if identifier.MatchString(part) {
			expression.WriteString("." + part)
		} else {
			expression.WriteString(`["` + part + `"]`)
		}
	}
	expression.WriteString("." + value + "}")
	return expression.String()
}

// text escapes what ESC would take for the start of an expression or for an escape: in its strings
// ${ opens an expression and $$ stands for one dollar sign.
func text(value string) string {
	var escaped strings.Builder
	for i, r := range value {
		escaped.WriteRune(r)
		if rest := value[i+1:]; r == '$' && (strings.HasPrefix(rest, "$") || strings.HasPrefix(rest, "{")) {
			escaped.WriteRune('$')
		}
	}
	return escaped.String()
}

// document is a YAML template while it is filled; the first error stops it.
type document struct {
	root *yaml.Node
	err  error
}

func fill(template []byte, with func(*document)) (string, error) {
	// A checkout on Windows may have given the template \r\n line ends, which would land in comments.
	template = bytes.ReplaceAll(template, []byte("\r\n"), []byte("\n"))
	var root yaml.Node
	if err := yaml.Unmarshal(template, &root); err != nil {
		return "", fmt.Errorf("reading the environment's template: %w", err)
	}
	d := &document{root: &root}
	if with(d); d.err != nil {
		return "", d.err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&root); err != nil {
		return "", fmt.Errorf("writing the environment's document: %w", err)
	}
	return out.String(), nil
}

// find returns the key and value at the path.
func (d *document) find(path []string) (key, value *yaml.Node) {
	key, value = &yaml.Node{}, d.root.Content[0]
	for _, name := range path {
		found := false
		for i := 0; i+1 < len(value.Content); i += 2 {
			if value.Content[i].Value == name {
				key, value, found = value.Content[i], value.Content[i+1], true
				break
			}
		}
		if !found {
			if d.err == nil {
				d.err = fmt.Errorf("filling the environment's template: it has no %s", strings.Join(path, "."))
			}
			return &yaml.Node{}, &yaml.Node{}
		}
	}
	return key, value
}

// set gives the value at the path, always a string: the encoder quotes what YAML would read as
// something else.
func (d *document) set(value string, path ...string) {
	_, node := d.find(path)
	// Encode, unlike SetString, also quotes what older YAML takes for booleans and numbers.
	var encoded yaml.Node
	if err := encoded.Encode(value); err != nil && d.err == nil {
		d.err = fmt.Errorf("filling %s of the environment's template: %w", strings.Join(path, "."), err)
	}
	node.Kind, node.Tag, node.Value, node.Style = yaml.ScalarNode, encoded.Tag, encoded.Value, encoded.Style
	if strings.ContainsAny(value, "\n\r") || strings.TrimSpace(value) != value {
		// A block would depend on the indentation around it, and on who edits the document next.
		node.Style = yaml.DoubleQuotedStyle
	}
}

// replace gives the value at the path and drops the comment that asks the user to, or leaves both
// when there is no value.
func (d *document) replace(value string, path ...string) {
	if value == "" {
		return
	}
	d.set(value, path...)
	d.uncomment(path...)
}

// noPassword gives the rotator the text that it asks for in a password's place, which says that there is none.
func (d *document) noPassword(path ...string) {
	d.set("unused", path...)
	key, value := d.find(path)
	value.Content, key.LineComment, value.LineComment = nil, "", "# the connector logs in by RDS IAM authentication"
}

func (d *document) uncomment(path ...string) {
	key, value := d.find(path)
	key.LineComment, value.LineComment = "", ""
	key.HeadComment, value.HeadComment = "", ""
}

func (d *document) number(value int, path ...string) {
	_, node := d.find(path)
	node.Kind, node.Tag, node.Value = yaml.ScalarNode, "!!int", strconv.Itoa(value)
}

func (d *document) rename(name string, path ...string) string {
	key, _ := d.find(path)
	key.SetString(name)
	return name
}
