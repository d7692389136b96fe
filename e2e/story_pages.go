package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
	"esc-connector-lambda-go/lambda/dbtest"
)

// What stands in the pages for a reader's own passwords.
const (
	managingPassword = `m4naging "pass#word`
	firstPassword    = "first password"

	newManagingPassword = `n3w $managing'#word`
)

// words are those of the folder Readme, whose stories type what README.md and the pages in docs tell a reader to type. Names are
// theirs, too: of the stories that make their users, there is one for each engine, since they share its server.
func (all pages) words() map[string]command {
	return map[string]command{
		"aws-left":         awsLeft,
		"administer":       sql, // which here is about a page's SQL
		"aws-later":        awsLater,
		"aws-topic":        awsTopic,
		"aws-topic-policy": awsTopicPolicy,
		"calls-within":     callsWithin,
		"converse":         converse,
		"cluster":          cluster,
		"database":         database,
		"document":         document,
		"esc-delete-team":  escDeleteTeam,
		"esc-edit":         escEdit,
		"esc-open":         escOpen,
		"esc-rotate":       escRotate,
		"empty":            empty,
		"settings":         settings,
		"to-prepare":       toPrepare,
		"fail":             failService,
		"recover":          recoverService,
		"log-query":        logQuery,
		"login":            login,
		"login-as":         loginAs,
		"git-host":         gitHost,
		"heard":            heard,
		"iam-policy":       iamPolicy,
		"keep-master":      keepMaster,
		"names-within":     namesWithin,
		"network":          network,
		"published":        published,
		"pulumi":           pulumiCommand,
		"replace":          replace,
		"resources":        all.resources,
		"save":             all.save,
		"serve":            serve,
		"sh":               all.sh,
		"sql":              all.sql,
	}
}

// person is who reads the pages and types: the answers that pulumi asks for, and where Pulumi Cloud is.
const person = `#!/bin/bash
set -eu
case $1 in
new)
	answers=(--config aws:region=us-west-2 --config "backendUrl=$ESC"
		--config rotatedSecretsEnvironmentName=demo/orders)
	[ -z "${RDS_IDENTIFIER:-}" ] || answers+=(--config "rdsDbIdentifier=$RDS_IDENTIFIER")
	case $* in *--generate-only*) answers=() ;; *) answers+=(--stack acme/dev) ;; esac
	"$PULUMI" "$@" --yes --non-interactive "${answers[@]}"
	;;
up | destroy | refresh) "$PULUMI" "$@" --yes --skip-preview --non-interactive ;;
preview) "$PULUMI" "$@" --non-interactive ;;
import)
	grep -q pulumiservice:apiUrl Pulumi.dev.yaml || "$PULUMI" config set pulumiservice:apiUrl "$ESC"
	"$PULUMI" "$@" --yes --skip-preview --non-interactive
	;;
stack) if [ "${2:-}" = rm ]; then "$PULUMI" "$@" --yes; else "$PULUMI" "$@"; fi ;;
*) "$PULUMI" "$@" ;;
esac
`

// maker looks whether there is such a target: what it runs has tests of its own.
const maker = `#!/bin/sh
exec /usr/bin/make --dry-run -C "$TEMPLATE" "$@"
`

func addPerson(env *testscript.Env) error {
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for name, script := range map[string]string{"pulumi": person, "make": maker} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			return err
		}
	}
	s := env.Values["story"].(*story)
	env.Setenv("PULUMI", s.machine.Pulumi)
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("CA", s.machine.CABundle)
	return nil
}

// sh SECTION N... runs the blocks of commands with these numbers, from 1, of a section of the pages.
func (all pages) sh(ts *testscript.TestScript, neg bool, args []string) {
	blocks := all.blocks(args[0], "sh")
	for _, arg := range args[1:] {
		number, err := strconv.Atoi(arg)
		ts.Check(err)
		if number < 1 || number > len(blocks) {
			ts.Fatalf("the section #%s has %d blocks of commands, and no number %d", args[0], len(blocks), number)
		}
		where := filepath.Join(ts.Getenv("WORK"), ".folder")
		ts.Check(os.WriteFile(where, nil, 0o600))
		block := ofReader(ts).Replace(blocks[number-1])
		typed(ts, neg, strings.TrimSpace(block), "bash", "-euo", "pipefail", "-c", block+"\npwd >"+where)
		if folder, err := os.ReadFile(where); err == nil && len(folder) > 0 {
			ts.Check(ts.Chdir(strings.TrimSpace(string(folder))))
		}
	}
}

// ofReader puts the story's own into the place of what a reader must fill in.
func ofReader(ts *testscript.TestScript) *strings.Replacer {
	own := []string{
		"https://github.com/OWNER/esc-connector-lambda-go", ts.Getenv("TEMPLATE"),
		"orders.cluster-abc123.us-west-2.rds.amazonaws.com", "localhost",
		"db.example.com", "localhost",
		"global-bundle.pem", ts.Getenv("CA"),
		"<a first password>", firstPassword,
		"<another first password>", firstPassword,
		"<the managing password>", managingPassword,
		"<the new managing password>", strings.ReplaceAll(newManagingPassword, "'", "''"),
	}
	for placeholder, variable := range map[string]string{
		"managing_user":                                   "MANAGER",
		"app_user1":                                       "USER1",
		"app_user2":                                       "USER2",
		"vpc-0123456789abcdef0":                           "VPC",
		"subnet-0123456789abcdef0":                        "SUBNET1",
		"subnet-0fedcba9876543210":                        "SUBNET2",
		"sg-0123456789abcdef0":                            "SECURITY_GROUP",
		"arn:aws:sns:us-west-2:111122223333:alarms":       "TOPIC",
		"arn:aws:sns:us-west-2:999999999999:alarms":       "TOPIC",
		"arn:aws:cloudwatch:us-west-2:111122223333:alarm": "ALARMS",
	} {
		if value := ts.Getenv(variable); value != "" {
			own = append(own, placeholder, value)
		}
	}
	if database := ts.Getenv("DATABASE"); database != "" {
		own = append(own, "databaseName app", "databaseName "+database, "app.*", database+".*")
	}
	return strings.NewReplacer(own...)
}

// save SECTION LANGUAGE FILE writes the section's block of that language to a file, as a reader does.
func (all pages) save(ts *testscript.TestScript, _ bool, args []string) {
	blocks := all.blocks(args[0], args[1])
	if len(blocks) != 1 {
		ts.Fatalf("the section #%s has %d blocks in %s, and should have one", args[0], len(blocks), args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(ofReader(ts).Replace(blocks[0])), 0o600))
}

const masterPassword = "kept-by-RDS"

func masterUser(engine string) []string { return road.Empty(engine, "app", "master", masterPassword) }

// sql ENGINE SECTION [new] runs the section's SQL as the master user, with the engine's own client: the one of cluster, or of empty.
// With new the managing user gets another password by it than the first.
func (all pages) sql(ts *testscript.TestScript, _ bool, args []string) {
	server, err := of(ts).machine.Server(args[0])
	ts.Check(err)
	text := ofReader(ts).Replace(strings.Join(all.blocks(args[1], "sql"), "\n"))
	master, secret := ts.Getenv("MASTER"), ts.Getenv("MASTER_PASSWORD")
	if master == "" && args[0] == road.MySQL {
		master, secret = server.AdminUser, server.AdminPassword
	}
	client := mariadbClient(server, master, secret, text)
	if args[0] == road.Postgres {
		path := ts.MkAbs("readme.sql")
		ts.Check(os.WriteFile(path, []byte(text), 0o600))
		password := managingPassword
		if len(args) > 2 {
			password = newManagingPassword
		}
		environ := []string{"PGSSLMODE=verify-full", "PGSSLROOTCERT=" + of(ts).machine.CABundle}
		if master != "" {
			environ = append(environ, "PGUSER="+master, "PGPASSWORD="+secret, "PGDATABASE="+ts.Getenv("DATABASE"))
		}
		client = psqlClient("psql", server, path, password, environ...)
	}
	if out, err := client.CombinedOutput(); err != nil {
		ts.Fatalf("running the SQL of %s: %v\n%s", args[1], err, out)
	}
}

// psqlClient runs a script as the master user of cluster, unless environ says otherwise, and answers \password with password.
func psqlClient(psql string, server *dbtest.Server, script, password string, environ ...string) *exec.Cmd {
	client := exec.Command(psql, "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", script)
	client.Env = append(append(os.Environ(), "PGHOST=localhost", "PGPORT="+strconv.Itoa(server.Port),
		"PGUSER=master", "PGPASSWORD="+masterPassword, "PGDATABASE=app"), environ...)
	client.Stdin = strings.NewReader(password + "\n" + password + "\n")
	// Without a terminal psql asks on its standard input.
	client.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return client
}

func mariadbClient(server *dbtest.Server, user, password, text string) *exec.Cmd {
	client := exec.Command("mariadb", "--no-defaults", "--protocol=tcp", "--host=localhost", "--ssl-ca="+server.CAFile,
		fmt.Sprintf("--port=%d", server.Port), "--user="+user)
	client.Env = append(os.Environ(), "MYSQL_PWD="+password)
	client.Stdin = strings.NewReader(text)
	return client
}

// serve USER... builds the guide's service in Go, starts it, and asks it for its database user; between two
// of them it rotates. The service is never restarted.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	built := ts.MkAbs(".service")
	if out, err := exec.Command("go", "build", "-o", built, "./application/service").CombinedOutput(); err != nil {
		ts.Fatalf("building the guide's service: %v\n%s", err, out)
	}
	service := exec.Command(built, "acme/demo/orders")
	service.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, name := range []string{"PATH", "HOME", "PULUMI", "ESC", "PULUMI_HOME", "PULUMI_ACCESS_TOKEN", "SSL_CERT_FILE", "PGPORT"} {
		service.Env = append(service.Env, name+"="+ts.Getenv(name))
	}
	service.Env = append(service.Env, "PGHOST=localhost", "PGDATABASE=app", "PGSSLMODE=verify-full", "PGSSLROOTCERT="+ts.Getenv("CA"))
	input, err := service.StdinPipe()
	ts.Check(err)
	output, err := service.StdoutPipe()
	ts.Check(err)
	service.Stderr = ts.Stderr()
	ts.Check(service.Start())
	lines := bufio.NewScanner(output)
	for i, want := range args {
		if i > 0 {
			escRotate(ts, false, []string{"acme/demo/orders"})
		}
		_, err := io.WriteString(input, "\n")
		ts.Check(err)
		if !lines.Scan() || lines.Text() != want {
			ts.Fatalf("the service answered %q, and should be logged in as %s", lines.Text(), want)
		}
	}
	ts.Check(input.Close())
	ts.Check(service.Wait())
}

// converse FILE COMMAND... runs the command in a terminal. Each line of the file is a question to wait for and,
// after =>, the answer.
func converse(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	terminal := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command", strings.Join(args[1:], " "), "/dev/null")
	terminal.Dir = ts.MkAbs(".")
	terminal.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, name := range []string{"PATH", "HOME", "PULUMI", "TEMPLATE", "PULUMI_HOME",
		"PULUMI_ACCESS_TOKEN", "GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS", "SSL_CERT_FILE"} {
		terminal.Env = append(terminal.Env, name+"="+ts.Getenv(name))
	}
	terminal.Env = append(terminal.Env, "TERM=xterm", "PULUMI_SKIP_UPDATE_CHECK=true")
	input, err := terminal.StdinPipe()
	ts.Check(err)
	output, err := terminal.StdoutPipe()
	ts.Check(err)
	ts.Check(terminal.Start())
	var said bytes.Buffer
	buffer := make([]byte, 4096)
	// until reads on until the question comes, "" is the end, and leaves what follows it.
	until := func(question string) {
		for question == "" || !bytes.Contains(said.Bytes(), []byte(question)) {
			n, err := output.Read(buffer)
			said.Write(buffer[:n])
			fmt.Fprint(ts.Stdout(), string(buffer[:n]))
			if err == io.EOF && question == "" {
				return
			}
			if err != nil {
				ts.Fatalf("waiting for %q: %v; the terminal showed\n%s", question, err, said.String())
			}
		}
		said.Next(bytes.Index(said.Bytes(), []byte(question)) + len(question))
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		question, answer, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=>")
		until(strings.TrimSpace(question))
		_, err := io.WriteString(input, strings.TrimSpace(answer)+"\r")
		ts.Check(err)
	}
	until("")
	ts.Check(terminal.Wait())
}

// git-host serves the template as a git repository over HTTPS, at $GIT_URL.
func gitHost(ts *testscript.TestScript, _ bool, _ []string) {
	root := ts.MkAbs(".hosted")
	repository := filepath.Join(root, "team", "esc-connector-lambda-go.git")
	ts.Check(os.CopyFS(repository, os.DirFS(ts.Getenv("TEMPLATE"))))
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"},
		{"-c", "user.name=Host", "-c", "user.email=host@localhost", "commit", "--quiet", "--message", "The template"},
	} {
		ts.Check(ts.Exec("git", append([]string{"-C", repository}, args...)...))
	}
	programs, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	host := httptest.NewTLSServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"), Dir: root,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	})
	ts.Defer(host.Close)
	bundle, err := os.ReadFile(ts.Getenv("CA"))
	ts.Check(err)
	bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: host.Certificate().Raw})...)
	path := ts.MkAbs(".git-host.pem")
	ts.Check(os.WriteFile(path, bundle, 0o600))
	ts.Setenv("SSL_CERT_FILE", path)
	ts.Setenv("GIT_SSL_CAINFO", path)
	ts.Setenv("GIT_URL", host.URL+"/team/esc-connector-lambda-go.git")
}
