// Command demo walks the whole road on this machine and shows each step: the
// command that a user types, what it printed and how long it took.
//
// Everything is real but Pulumi Cloud and AWS, which stand-ins on loopback play.
// It leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"esc-connector-lambda-go/e2e/road"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	started := time.Now()
	show := newPresenter(os.Stdout)
	if err := walk(ctx, show); err != nil {
		show.failed(err)
		os.Exit(1)
	}
	show.summary(time.Since(started))
}

// tour is the demo's state.
type tour struct {
	*presenter
	machine *road.Machine
	cloud   *road.Cloud
	folder  string
	// project is the folder of the stack that the tour is at, and the folder of the commands.
	project string
}

func walk(ctx context.Context, show *presenter) (err error) {
	show.title("The ESC rotation connector, from pulumi new to pulumi destroy, on this machine")
	show.say("The Pulumi CLI, its engine, the ESC evaluator, the Lambda's binary, PostgreSQL and MariaDB are the real ones. "+
		"AWS is moto behind a gateway, and Pulumi Cloud a local ESC service. Nothing leaves this machine.",
		"Of what pulumi prints about its progress, the first pulumi up shows what is done, and the others show the sum.")

	t := &tour{presenter: show}
	if t.folder, err = os.MkdirTemp("", "esc-demo-"); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.folder)) }()

	template := ""
	if err := t.step("Start the stand-ins and the databases", func() (err error) {
		t.machine, err = road.StartMachine(ctx, func(step string) { show.say(step) })
		if err != nil {
			return err
		}
		show.say("compiling the template's program, as the first pulumi up does")
		if template, err = t.machine.CopyTemplate(ctx); err != nil {
			return err
		}
		home := filepath.Join(t.folder, "cloud")
		if err := os.Mkdir(home, 0o755); err != nil {
			return err
		}
		t.cloud, err = t.machine.NewCloud(home)
		return err
	}); err != nil {
		return errors.Join(err, t.stop())
	}
	defer func() { err = errors.Join(err, t.stop()) }()

	if err := t.postgres(ctx, template); err != nil {
		return err
	}
	if err := t.mariadb(ctx, template); err != nil {
		return err
	}
	return t.left(ctx)
}

func (t *tour) stop() error {
	var failures []error
	if t.cloud != nil {
		failures = append(failures, t.cloud.Close())
	}
	if t.machine != nil {
		failures = append(failures, t.machine.Stop())
	}
	return errors.Join(failures...)
}

// postgres is the road with the documents filled in by hand.
func (t *tour) postgres(ctx context.Context, template string) error {
	users := road.Users{
		Database: "shop", ManagingUser: "manager", ManagingPassword: `s3cret with %, " and #`,
		RotateUser1: "shop_a", RotatePassword1: "initial-a", RotateUser2: "shop_b", RotatePassword2: "initial-b",
	}
	t.title("Part 1: Aurora PostgreSQL, the documents filled in by hand")
	if err := t.prepare(ctx, "orders", "aurora-postgresql", road.Postgres, users); err != nil {
		return err
	}
	if err := t.newProject(ctx, template, "orders", "orders", "demo/orders"); err != nil {
		return err
	}
	const rotator = "acme/demo/orders"
	app, err := t.application(road.Postgres, rotator, users)
	if err != nil {
		return err
	}
	var first login
	return inTurn(
		func() error {
			return t.pulumi(ctx, "Deploy: find the database, build ./lambda, create everything", begun, "up", "--yes", "--skip-preview")
		},
		func() error { return t.check(ctx) },
		func() error {
			return t.esc(ctx, "The rotator environment, as pulumi up wrote it", "get", rotator, "--definition")
		},
		func() error {
			return t.esc(ctx, "The managing credentials environment: ESC's way into AWS", "get", rotator+"ManagingCreds", "--definition")
		},
		func() error {
			return t.step("Rotate too early: the message names what is to be filled in", func() error {
				return t.rotate(ctx, rotator, "the template's placeholder")
			})
		},
		func() error {
			return t.step("Fill in both environments, as in the console's editor", func() error {
				return errors.Join(
					t.fillIn(ctx, rotator+"ManagingCreds", map[string]string{
						"managing_user #": users.ManagingUser + " #", "manager_password": "'" + users.ManagingPassword + "'",
					}),
					t.fillIn(ctx, rotator, map[string]string{
						"rotator_db": users.Database, "user1 #": users.RotateUser1 + " #", "user2 #": users.RotateUser2 + " #",
					}),
				)
			})
		},
		func() error {
			return t.step("First rotation", func() error { return t.rotate(ctx, rotator, rotated) })
		},
		func() error { return t.addApplication(ctx, app) },
		func() (err error) {
			first, err = t.open(ctx, "The application logs in with what is current", app)
			return err
		},
		func() error { return t.failAndMend(ctx, rotator, users) },
		func() error { return t.afterRotation(ctx, app, first, users) },
		func() error {
			return t.keeps(ctx, rotator, func() error {
				return t.pulumi(ctx, "pulumi up --refresh: both documents stay what they were", progress,
					"up", "--refresh", "--yes", "--skip-preview")
			})
		},
		func() error { return t.destroy(ctx, app) },
	)
}

// mariadb is the road with everything given by settings, so that nothing needs an edit.
func (t *tour) mariadb(ctx context.Context, template string) error {
	users := road.Users{
		Database: "blog", ManagingUser: "manager", ManagingPassword: `back\slash 'quotes' "and" $more`,
		RotateUser1: "blog_a", RotatePassword1: "initial-a", RotateUser2: "blog_b", RotatePassword2: "initial-b",
	}
	t.title("Part 2: Aurora MySQL (a MariaDB server plays it), filled in by settings")
	if err := t.prepare(ctx, "articles", "aurora-mysql", road.MySQL, users); err != nil {
		return err
	}
	if err := t.newProject(ctx, template, "articles", "articles", "demo/articles"); err != nil {
		return err
	}
	const rotator = "acme/demo/articles"
	app, err := t.application(road.MySQL, rotator, users)
	if err != nil {
		return err
	}
	var first login
	return inTurn(
		func() error {
			return t.step("Say who is who; the password comes on standard input", func() error {
				names := t.stack("config", "set-all",
					"--plaintext", "databaseName="+users.Database, "--plaintext", "rotateUsername1="+users.RotateUser1,
					"--plaintext", "rotateUsername2="+users.RotateUser2, "--plaintext", "managingUsername="+users.ManagingUser)
				password := t.stack("config", "set", "--secret", "managingPassword")
				password.input = strings.NewReader(users.ManagingPassword)
				_, err := t.run(ctx, names)
				if err == nil {
					_, err = t.run(ctx, password)
				}
				return err
			})
		},
		func() error { return t.pulumi(ctx, "Deploy", progress, "up", "--yes", "--skip-preview") },
		func() error {
			return t.step("First rotation, with nothing edited", func() error { return t.rotate(ctx, rotator, rotated) })
		},
		func() error { return t.addApplication(ctx, app) },
		func() (err error) {
			first, err = t.open(ctx, "The application logs in with what is current", app)
			return err
		},
		func() error {
			return t.step("Second rotation: the other user's turn", func() error { return t.rotate(ctx, rotator, rotated) })
		},
		func() error { return t.afterRotation(ctx, app, first, users) },
		func() error { return t.destroy(ctx, app) },
	)
}

// inTurn takes the steps until one fails.
func inTurn(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes what a user has before all this.
func (t *tour) prepare(ctx context.Context, cluster, rdsEngine, engine string, users road.Users) error {
	return t.step("What is there before: a VPC, an RDS cluster and its users", func() error {
		server, err := t.machine.Server(engine)
		if err != nil {
			return err
		}
		if err := t.sql(ctx, engine, users.ManagingPassword, users.Statements(engine)...); err != nil {
			return err
		}
		return t.cloud.AddCluster(ctx, cluster, rdsEngine, server)
	})
}

// sql runs an administrator's statements, and shows them without the secret.
func (t *tour) sql(ctx context.Context, engine, secret string, statements ...string) error {
	server, err := t.machine.Server(engine)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		t.command("sql>", hide(statement, secret))
	}
	return server.Exec(ctx, statements...)
}

func hide(text, secret string) string {
	for _, form := range []string{secret, strings.ReplaceAll(secret, "'", "''"), strings.NewReplacer(`\`, `\\`, "'", "''").Replace(secret)} {
		text = strings.ReplaceAll(text, form, "…")
	}
	return text
}

func (t *tour) newProject(ctx context.Context, template, name, cluster, environment string) error {
	t.project = t.folder
	if err := t.pulumi(ctx, "Make a project: the template, and answers to its questions", nil,
		"new", template, "--yes", "--name", name, "--description", "Rotates the passwords of "+name, "--stack", road.Organization+"/dev",
		"--dir", name, "--config", "aws:region="+road.Region, "--config", "rdsDbIdentifier="+cluster,
		"--config", "rotatedSecretsEnvironmentName="+environment, "--config", "backendUrl="+t.cloud.ESCURL,
	); err != nil {
		return err
	}
	t.project = filepath.Join(t.folder, name)
	return nil
}

// What pulumi prints while it works: progress is all of it, begun is that of what is not done yet.
var (
	progress = regexp.MustCompile(`^ *(@ |([-+~=] +)?\w+:\S+:\w+ [^(])`)
	begun    = regexp.MustCompile(`^ *(@ |[-+~=] +\w+:\S+:\w+ \S+ \w+ing \()`)
)

// stack is a command of the CLI on the stack at hand.
func (t *tour) stack(args ...string) command {
	return command{folder: t.project, environ: t.cloud.Environ(), shown: "pulumi", path: t.machine.Pulumi, args: args}
}

// pulumi runs the CLI on the stack at hand. What it prints is shown but for the hidden lines.
func (t *tour) pulumi(ctx context.Context, title string, hidden *regexp.Regexp, args ...string) error {
	return t.step(title, func() error {
		command := t.stack(args...)
		command.hidden = hidden
		_, err := t.run(ctx, command)
		return err
	})
}

// environment is a command `pulumi env`.
func (t *tour) environment(args ...string) command {
	return command{folder: t.folder, environ: t.cloud.Environ(), shown: "pulumi", path: t.machine.Pulumi, args: append([]string{"env"}, args...)}
}

func (t *tour) esc(ctx context.Context, title string, args ...string) error {
	return t.step(title, func() error {
		_, err := t.run(ctx, t.environment(args...))
		return err
	})
}

// check runs the stack's own command that tells whether the function reaches the database.
func (t *tour) check(ctx context.Context) error {
	return t.step("Check that the function reaches the database", func() error {
		const line = `eval "$(pulumi stack output checkCommand)"`
		shell := t.stack("-c", line)
		shell.path = "bash"
		t.command("$", line)
		answer, err := "", error(nil)
		if exec.CommandContext(ctx, "aws", "--version").Run() == nil {
			answer, err = t.follow(ctx, shell)
		} else {
			t.say("There is no AWS CLI here: the demo sends the command's event to its function.")
			answer, err = t.invoke(ctx)
			t.say(answer)
		}
		if err == nil && !regexp.MustCompile(`"code": ?200`).MatchString(answer) {
			err = errors.New("checking the connector: the answer is not code 200")
		}
		return err
	})
}

// invoke does what checkCommand does.
func (t *tour) invoke(ctx context.Context) (string, error) {
	line, err := t.stack("stack", "output", "checkCommand").output(ctx)
	if err != nil {
		return "", err
	}
	parts := regexp.MustCompile(`--function-name (\S+) .*'(\{.*\})'`).FindStringSubmatch(line)
	if parts == nil {
		return "", fmt.Errorf("reading the output checkCommand: it names no function and no event: %s", line)
	}
	answer, err := t.cloud.Invoke(ctx, parts[1], []byte(parts[2]))
	return string(answer), err
}

const rotated = "rotated."

// rotate fails unless the CLI says what it should: it ends well whatever became of the rotation.
func (t *tour) rotate(ctx context.Context, environment, says string) error {
	said, err := t.run(ctx, t.environment("rotate", environment))
	if err == nil && strings.Contains(said, "operation error STS") {
		t.say("AWS does not know the new role everywhere yet, as pulumi up has said. Later, which is at once here:")
		said, err = t.run(ctx, t.environment("rotate", environment))
	}
	if err == nil && !strings.Contains(said, says) {
		err = fmt.Errorf("rotating %s: the CLI does not say %q", environment, says)
	}
	return err
}

// failAndMend takes a privilege away, and gives it back as the failed rotation's message says.
func (t *tour) failAndMend(ctx context.Context, environment string, users road.Users) error {
	mend := fmt.Sprintf("ALTER ROLE %q CREATEROLE", users.ManagingUser)
	if err := t.step("Take a privilege away: the rotation says what mends it", func() error {
		revoke := fmt.Sprintf("ALTER ROLE %q NOCREATEROLE", users.ManagingUser)
		if err := t.sql(ctx, road.Postgres, users.ManagingPassword, revoke); err != nil {
			return err
		}
		return t.rotate(ctx, environment, mend)
	}); err != nil {
		return err
	}
	return t.step("Mend it. Second rotation: the other user's turn", func() error {
		if err := t.sql(ctx, road.Postgres, users.ManagingPassword, mend); err != nil {
			return err
		}
		return t.rotate(ctx, environment, rotated)
	})
}

// fillIn replaces placeholders, as a user does in the console's editor.
func (t *tour) fillIn(ctx context.Context, environment string, values map[string]string) error {
	text, err := t.environment("get", environment, "--definition", "--show-secrets").output(ctx)
	if err != nil {
		return err
	}
	for placeholder, value := range values {
		text = strings.Replace(text, placeholder, value, 1)
	}
	path := filepath.Join(t.folder, "edited.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	_, err = t.run(ctx, t.environment("edit", environment, "--file", "edited.yaml"))
	return errors.Join(err, os.Remove(path))
}

// application is one that reads its login from an ESC environment of its own.
type application struct {
	engine, environment, rotator, document string
	command                                []string // logs in with what the environment holds, and says as whom
}

// login is who an application logged in as, by the environment's values.
type login struct{ user, password string }

func (t *tour) application(engine, rotator string, users road.Users) (*application, error) {
	server, err := t.machine.Server(engine)
	if err != nil {
		return nil, err
	}
	imports := "imports:\n  - " + strings.TrimPrefix(rotator, road.Organization+"/") + "\nvalues:\n  environmentVariables:\n"
	app := &application{engine: engine, environment: rotator + "App", rotator: rotator}
	if engine == road.Postgres {
		app.document = imports + fmt.Sprintf(`    PGHOST: localhost
    PGPORT: "%d"
    PGDATABASE: %s
    PGUSER: ${dbRotator.current.username}
    PGPASSWORD: ${dbRotator.current.password}
    PGSSLMODE: verify-full
    PGSSLROOTCERT: ca.pem
`, server.Port, users.Database)
		app.command = []string{"psql", "-XAtc", "SELECT current_user"}
	} else {
		app.document = imports + fmt.Sprintf(`    MYSQL_HOST: localhost
    MYSQL_TCP_PORT: "%d"
    DB_USER: ${dbRotator.current.username}
    MYSQL_PWD: ${dbRotator.current.password}
`, server.Port)
		app.command = []string{"sh", "-c", `mariadb --defaults-file=tls.cnf -u"$DB_USER" -Ne "SELECT user()"`}
	}
	authorities, err := os.ReadFile(t.machine.CABundle)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities of the databases: %w", err)
	}
	for name, content := range map[string]string{
		"ca.pem": string(authorities), "tls.cnf": "[client]\nprotocol=tcp\nssl-ca=ca.pem\nssl-verify-server-cert\n",
	} {
		if err := os.WriteFile(filepath.Join(t.folder, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return app, nil
}

// addApplication makes the application's environment, which imports the rotator environment.
func (t *tour) addApplication(ctx context.Context, app *application) error {
	return t.step("An application's own environment imports the rotator's", func() error {
		t.command("$", "cat", "app.yaml")
		for line := range strings.Lines(app.document) {
			t.print("     " + t.paint(dim, strings.TrimSuffix(line, "\n")))
		}
		if err := os.WriteFile(filepath.Join(t.folder, "app.yaml"), []byte(app.document), 0o600); err != nil {
			return err
		}
		_, err := t.run(ctx, t.environment("init", app.environment, "--file", "app.yaml"))
		return err
	})
}

// open runs the application, and returns the login that is current.
func (t *tour) open(ctx context.Context, title string, app *application) (login, error) {
	var current login
	return current, t.step(title, func() (err error) {
		for property, value := range map[string]*string{"username": &current.user, "password": &current.password} {
			*value, err = t.environment("open", app.rotator, "dbRotator.current."+property, "--format", "string").output(ctx)
			if err != nil {
				return err
			}
		}
		said, err := t.run(ctx, t.environment(append([]string{"run", app.environment, "--"}, app.command...)...))
		if err == nil && !strings.HasPrefix(said, current.user) {
			err = fmt.Errorf("running the application: it is not logged in as %s", current.user)
		}
		return err
	})
}

// afterRotation shows who can log in after the rotation that followed the first login.
func (t *tour) afterRotation(ctx context.Context, app *application, first login, users road.Users) error {
	second, err := t.open(ctx, "The same command as before logs in as the other user", app)
	if err != nil {
		return err
	}
	if second.user == first.user {
		return fmt.Errorf("rotating %s a second time: %s was changed again", app.rotator, first.user)
	}
	if err := t.step("Who still holds the password of the first rotation can log in", func() error {
		return t.client(ctx, app.engine, first)
	}); err != nil {
		return err
	}
	oldest := login{first.user, map[string]string{users.RotateUser1: users.RotatePassword1, users.RotateUser2: users.RotatePassword2}[first.user]}
	return t.step("The password of before the first rotation is refused", func() error {
		if t.client(ctx, app.engine, oldest) == nil {
			return fmt.Errorf("logging in as %s with its first password succeeded, and should be refused", oldest.user)
		}
		t.say("refused, as it should be")
		return nil
	})
}

// client logs in with the database's own client.
func (t *tour) client(ctx context.Context, engine string, as login) error {
	server, err := t.machine.Server(engine)
	if err != nil {
		return err
	}
	port := strconv.Itoa(server.Port)
	client := command{
		folder: t.folder, shown: "psql", path: "psql", args: []string{"-XAtc", "SELECT current_user", "-U", as.user},
		environ: []string{
			"PGHOST=localhost", "PGPORT=" + port, "PGDATABASE=postgres", "PGSSLMODE=verify-full", "PGSSLROOTCERT=ca.pem", "PGPASSWORD=" + as.password,
		},
	}
	if engine == road.MySQL {
		client.shown, client.path = "mariadb", "mariadb"
		client.args = []string{"--defaults-file=tls.cnf", "-u" + as.user, "-Ne", "SELECT user()"}
		client.environ = []string{"MYSQL_HOST=localhost", "MYSQL_TCP_PORT=" + port, "MYSQL_PWD=" + as.password}
	}
	_, err = t.run(ctx, client)
	return err
}

// destroy leaves nothing of the application and of the stack.
func (t *tour) destroy(ctx context.Context, app *application) error {
	return t.step("Destroy it all", func() error {
		stack := t.stack("destroy", "--yes", "--skip-preview")
		stack.hidden = progress
		_, err := t.run(ctx, t.environment("rm", app.environment, "--yes"))
		if err == nil {
			_, err = t.run(ctx, stack)
		}
		return err
	})
}

// keeps fails unless the documents are after do what they were before.
func (t *tour) keeps(_ context.Context, rotator string, do func() error) error {
	documents := func() string {
		first, _, _ := t.cloud.ESC.Definition(rotator)
		second, _, _ := t.cloud.ESC.Definition(rotator + "ManagingCreds")
		return first + second
	}
	before := documents()
	if err := do(); err != nil {
		return err
	}
	if documents() != before {
		return errors.New("comparing both documents with those before: they changed, and must not")
	}
	t.say("Both documents are byte for byte as you and ESC made them.")
	return nil
}

func (t *tour) left(ctx context.Context) error {
	t.title("What is left")
	return t.step("What AWS and ESC still hold", func() error {
		left, err := t.cloud.Left(ctx)
		if err != nil {
			return err
		}
		for _, line := range left {
			t.say(line)
			if !strings.HasPrefix(line, "iam oidc-provider ") {
				return fmt.Errorf("looking for what is left in AWS: %s should be gone", line)
			}
		}
		t.say("The OIDC provider stays by design: an account has one for each issuer, and other stacks may use it.")
		if environments := t.cloud.ESC.Environments(); len(environments) > 0 {
			return fmt.Errorf("looking for what is left in ESC: %q should be gone", environments)
		}
		t.say("no ESC environment")
		return nil
	})
}
