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
	"os/signal"
	"path/filepath"
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
	show.say("The Pulumi CLI, its engine, the ESC evaluator, the Lambda's binary, PostgreSQL and MariaDB are the real ones.",
		"AWS is moto behind a gateway, and Pulumi Cloud a local ESC service. Nothing leaves this machine.")

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
	for _, step := range []func() error{
		func() error {
			return t.pulumi(ctx, "Deploy: look up the database, build ./lambda, create everything", "up", "--yes", "--skip-preview")
		},
		func() error {
			return t.esc(ctx, "The rotator environment that pulumi up wrote", "get", "acme/demo/orders", "--definition")
		},
		func() error {
			return t.esc(ctx, "The managing credentials environment: who may change passwords, and ESC's way into AWS",
				"get", "acme/demo/ordersManagingCreds", "--definition")
		},
		func() error {
			return t.fillIn(ctx, "acme/demo/ordersManagingCreds", map[string]string{
				"managing_user #": users.ManagingUser + " #", "manager_password": "'" + users.ManagingPassword + "'",
			})
		},
		func() error {
			return t.fillIn(ctx, "acme/demo/orders", map[string]string{
				"rotator_db": users.Database, "user1 #": users.RotateUser1 + " #", "user2 #": users.RotateUser2 + " #",
			})
		},
		func() error { return t.rotations(ctx, road.Postgres, "acme/demo/orders", users) },
		func() error {
			return t.keeps(ctx, "acme/demo/orders", func() error {
				return t.pulumi(ctx, "Run pulumi up again, with a refresh: both documents stay as ESC and you made them",
					"up", "--refresh", "--yes", "--skip-preview", "--suppress-progress")
			})
		},
		func() error {
			return t.pulumi(ctx, "Destroy it all", "destroy", "--yes", "--skip-preview", "--suppress-progress")
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mariadb is the road with everything given by settings, so that nothing needs an edit.
func (t *tour) mariadb(ctx context.Context, template string) error {
	users := road.Users{
		Database: "blog", ManagingUser: "manager", ManagingPassword: `back\slash 'quotes' "and" $more`,
		RotateUser1: "blog_a", RotatePassword1: "initial-a", RotateUser2: "blog_b", RotatePassword2: "initial-b",
	}
	t.title("Part 2: Aurora MySQL (a MariaDB server plays it), filled in by settings before pulumi up")
	if err := t.prepare(ctx, "articles", "aurora-mysql", road.MySQL, users); err != nil {
		return err
	}
	if err := t.newProject(ctx, template, "articles", "articles", "demo/articles"); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error {
			return t.pulumi(ctx, "Say who is who", "config", "set-all",
				"--plaintext", "databaseName="+users.Database, "--plaintext", "rotateUsername1="+users.RotateUser1,
				"--plaintext", "rotateUsername2="+users.RotateUser2, "--plaintext", "managingUsername="+users.ManagingUser)
		},
		func() error {
			return t.step("Give the managing password on standard input, which no shell's history keeps", func() error {
				return t.runWith(ctx, strings.NewReader(users.ManagingPassword), t.project, t.cloud.Environ(),
					"pulumi", t.machine.Pulumi, "config", "set", "--secret", "managingPassword")
			})
		},
		func() error { return t.pulumi(ctx, "Deploy", "up", "--yes", "--skip-preview", "--suppress-progress") },
		func() error { return t.rotations(ctx, road.MySQL, "acme/demo/articles", users) },
		func() error {
			return t.pulumi(ctx, "Destroy it all", "destroy", "--yes", "--skip-preview", "--suppress-progress")
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes what a user has before all this.
func (t *tour) prepare(ctx context.Context, cluster, rdsEngine, engine string, users road.Users) error {
	return t.step("What is there before: a private VPC, the RDS cluster "+cluster+", and its users (with throw-away passwords)", func() error {
		server, err := t.machine.Server(engine)
		if err != nil {
			return err
		}
		for _, statement := range users.Statements(engine) {
			t.command("sql> " + hide(statement, users.ManagingPassword))
		}
		if err := server.Exec(ctx, users.Statements(engine)...); err != nil {
			return err
		}
		return t.cloud.AddCluster(ctx, cluster, rdsEngine, server)
	})
}

func hide(text, secret string) string {
	for _, form := range []string{secret, strings.ReplaceAll(secret, "'", "''"), strings.NewReplacer(`\`, `\\`, "'", "''").Replace(secret)} {
		text = strings.ReplaceAll(text, form, "…")
	}
	return text
}

func (t *tour) newProject(ctx context.Context, template, name, cluster, environment string) error {
	t.project = t.folder
	if err := t.pulumi(ctx, "Make a project from the template; these are the answers to its questions",
		"new", template, "--yes", "--name", name, "--description", "Rotates the passwords of "+name, "--stack", "dev",
		"--dir", name, "--config", "aws:region="+road.Region, "--config", "rdsDbIdentifier="+cluster,
		"--config", "rotatedSecretsEnvironmentName="+environment, "--config", "backendUrl="+t.cloud.ESCURL,
	); err != nil {
		return err
	}
	t.project = filepath.Join(t.folder, name)
	return t.pulumi(ctx, "Name the organization: only because this stack's state is in a folder. On Pulumi Cloud it is the stack's own",
		"config", "set", "organization", road.Organization)
}

// pulumi runs the CLI on the stack at hand.
func (t *tour) pulumi(ctx context.Context, title string, args ...string) error {
	return t.step(title, func() error {
		return t.run(ctx, t.project, t.cloud.Environ(), "pulumi", t.machine.Pulumi, args...)
	})
}

// esc runs `pulumi env` against the ESC service.
func (t *tour) esc(ctx context.Context, title string, args ...string) error {
	return t.step(title, func() error { return t.runESC(ctx, args...) })
}

func (t *tour) runESC(ctx context.Context, args ...string) error {
	environ := append(t.cloud.Environ(), "PULUMI_BACKEND_URL="+t.cloud.ESCURL)
	return t.run(ctx, t.project, environ, "pulumi", t.machine.Pulumi, append([]string{"env"}, args...)...)
}

// ask is one value of an environment, not shown.
func (t *tour) ask(ctx context.Context, environment, property string) (string, error) {
	environ := append(t.cloud.Environ(), "PULUMI_BACKEND_URL="+t.cloud.ESCURL)
	out, err := output(ctx, t.project, environ, t.machine.Pulumi, "env", "open", environment, property, "--format", "string")
	return strings.TrimSuffix(out, "\n"), err
}

// fillIn replaces placeholders, as a user does in the console's editor.
func (t *tour) fillIn(ctx context.Context, environment string, values map[string]string) error {
	return t.step("Fill in "+environment+", as in the console's editor", func() error {
		environ := append(t.cloud.Environ(), "PULUMI_BACKEND_URL="+t.cloud.ESCURL)
		text, err := output(ctx, t.project, environ, t.machine.Pulumi, "env", "get", environment, "--definition", "--show-secrets")
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
		return errors.Join(t.runESC(ctx, "edit", environment, "--file", path), os.Remove(path))
	})
}

// rotations rotates twice, so that both users have a new password, and logs in as an application does.
func (t *tour) rotations(ctx context.Context, engine, environment string, users road.Users) error {
	if err := t.esc(ctx, "First rotation", "rotate", environment); err != nil {
		return err
	}
	user, err := t.ask(ctx, environment, "dbRotator.current.username")
	if err != nil {
		return err
	}
	password, err := t.ask(ctx, environment, "dbRotator.current.password")
	if err != nil {
		return err
	}
	if err := t.login(ctx, "The application logs in with what it finds in ESC", engine, user, password); err != nil {
		return err
	}
	if err := t.esc(ctx, "Second rotation: the other user's turn", "rotate", environment); err != nil {
		return err
	}
	if err := t.login(ctx, "An application that still holds the password of the first rotation keeps working", engine, user, password); err != nil {
		return err
	}
	oldest := map[string]string{users.RotateUser1: users.RotatePassword1, users.RotateUser2: users.RotatePassword2}[user]
	return t.step("The oldest password of "+user+" is refused", func() error {
		err := t.client(ctx, engine, user, oldest)
		if err == nil {
			return fmt.Errorf("logging in as %s with its first password succeeded, and should be refused", user)
		}
		t.say("refused, as it should be")
		return nil
	})
}

func (t *tour) login(ctx context.Context, title, engine, user, password string) error {
	return t.step(title, func() error { return t.client(ctx, engine, user, password) })
}

// client logs in with the database's own client, over verified TLS.
func (t *tour) client(ctx context.Context, engine, user, password string) error {
	server, err := t.machine.Server(engine)
	if err != nil {
		return err
	}
	if engine == road.Postgres {
		return t.run(ctx, t.folder, []string{"PGPASSWORD=" + password}, "psql", "psql", "--no-psqlrc", "--tuples-only",
			fmt.Sprintf("host=localhost port=%d user=%s dbname=shop sslmode=verify-full sslrootcert=%s", server.Port, user, t.machine.CABundle),
			"--command", "SELECT 'hello, ' || current_user")
	}
	return t.run(ctx, t.folder, []string{"MYSQL_PWD=" + password}, "mariadb", "mariadb", "--no-defaults", "--protocol=tcp", "--host=localhost",
		fmt.Sprintf("--port=%d", server.Port), "--user="+user, "--ssl-verify-server-cert", "--ssl-ca="+t.machine.CABundle,
		"--skip-column-names", "--execute", "SELECT CONCAT('hello, ', CURRENT_USER())")
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
	t.say("both documents are byte for byte what they were")
	return nil
}

func (t *tour) left(ctx context.Context) error {
	t.title("What is left")
	return t.step("In AWS, and in ESC", func() error {
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
