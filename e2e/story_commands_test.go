package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// environments are those of most stories.
var environments = []string{"demo/rotator", "demo/rotatorManagingCreds"}

// filled ENGINE CLUSTER makes a database and a project whose settings leave nothing to fill in by hand.
// The database's port is $PORT.
func filled(ts *testscript.TestScript, neg bool, args []string) {
	database(ts, false, args)
	server, err := of(ts).machine.Server(args[0])
	ts.Check(err)
	ts.Setenv("PORT", strconv.Itoa(server.Port))
	newProject(ts, neg, []string{"project", "rdsDbIdentifier=" + args[1], "rotatedSecretsEnvironmentName=" + environments[0]})
	run(ts, neg, of(ts).machine.Pulumi, "config", "set-all",
		"--plaintext", "organization="+road.Organization,
		"--plaintext", "databaseName="+ts.Getenv("DATABASE"),
		"--plaintext", "rotateUsername1="+ts.Getenv("USER1"),
		"--plaintext", "rotateUsername2="+ts.Getenv("USER2"),
		"--plaintext", "managingUsername="+ts.Getenv("MANAGER"),
		"--secret", "managingPassword="+ts.Getenv("MANAGING"))
}

// written is an environment's document, as ESC keeps it, and its revision: each write makes a new one.
type written struct {
	document string
	revision int
}

func (s *story) written(ts *testscript.TestScript) map[string]written {
	now := map[string]written{}
	for _, name := range environments {
		document, revision, exists := s.cloud.ESC.Definition(road.Organization + "/" + name)
		if !exists {
			ts.Fatalf("ESC holds no environment %s; it holds %q", name, s.cloud.ESC.Environments())
		}
		now[name] = written{document, revision}
	}
	return now
}

// remember keeps what both documents are, for kept.
func remember(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	s.remembered = s.written(ts)
}

// kept fails unless both documents are byte for byte what they were, and nobody wrote them.
func kept(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	for name, now := range s.written(ts) {
		if before := s.remembered[name]; now != before {
			ts.Fatalf("%s was written: revision %d was\n%s\nand revision %d is\n%s",
				name, before.revision, before.document, now.revision, now.document)
		}
	}
}

// paste PATTERN runs every command that the last output holds and the pattern matches, as
// somebody does who copies it into a shell.
func paste(ts *testscript.TestScript, neg bool, args []string) {
	lines := regexp.MustCompile(args[0]).FindAllString(ts.ReadFile("stdout"), -1)
	if len(lines) == 0 {
		ts.Fatalf("the last output holds no command that matches %s", args[0])
	}
	ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "true")
	defer ts.Setenv("PULUMI_SKIP_CONFIRMATIONS", "")
	for _, line := range lines {
		do := func() { run(ts, neg, "sh", "-c", line) }
		if strings.HasPrefix(line, "pulumi env ") {
			withESC(ts, do)
			continue
		}
		do()
	}
}

// sql ENGINE STATEMENT... runs statements as the database's administrator.
func sql(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := of(ts).machine.Server(args[0])
	ts.Check(err)
	ts.Check(server.Exec(ctx, args[1:]...))
}

// ca ENGINE FILE writes the certificate authority of the engine's server to a file.
func ca(ts *testscript.TestScript, _ bool, args []string) {
	server, err := of(ts).machine.Server(args[0])
	ts.Check(err)
	authority, err := os.ReadFile(server.CAFile)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), authority, 0o600))
}

// as admin|reader|team makes that user the one who runs what follows.
func as(ts *testscript.TestScript, _ bool, args []string) {
	token, known := map[string]string{"admin": road.Token, "reader": road.ReaderToken, "team": road.TeamToken}[args[0]]
	if !known {
		ts.Fatalf("nobody is called %s", args[0])
	}
	ts.Setenv("PULUMI_ACCESS_TOKEN", token)
	// The CLI goes on with the account that it knows at that address.
	if err := os.Remove(filepath.Join(ts.Getenv("PULUMI_HOME"), "credentials.json")); !os.IsNotExist(err) {
		ts.Check(err)
	}
}

// schedules ENVIRONMENT prints the cron expressions by which Pulumi Cloud rotates it, a line each.
func schedules(ts *testscript.TestScript, _ bool, args []string) {
	_, err := fmt.Fprint(ts.Stdout(), strings.Join(append(of(ts).cloud.ESC.Schedules(road.Organization+"/"+args[0]), ""), "\n"))
	ts.Check(err)
}

// protect ENVIRONMENT on|off protects it from deletion, as its administrator does in the console.
func protect(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).cloud.ESC.Protect(road.Organization+"/"+args[0], args[1] == "on")
}

// aws-delete ARN-FILE deletes the function of that ARN behind the stack's back.
func awsDelete(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := lambda.New(lambda.Options{
		Region: road.Region, BaseEndpoint: &of(ts).cloud.AWSURL, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	arn := strings.TrimSpace(ts.ReadFile(args[0]))
	_, err := client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &arn})
	ts.Check(err)
}

// nowhere TEXT fails where a file of the story holds the text, as it is or encoded: the stack's state
// and its backups, the CLI's own files, the project, temporary files.
func nowhere(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	asJSON, err := json.Marshal(args[0])
	ts.Check(err)
	forms := [][]byte{[]byte(args[0]), asJSON[1 : len(asJSON)-1], []byte(url.QueryEscape(args[0]))}
	for shift := range 3 {
		// The characters in the middle of what base64 makes of it, wherever it stands.
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + args[0]))
		forms = append(forms, []byte(encoded[4:len(encoded)-4]))
	}
	read := 0
	for _, folder := range []string{s.cloud.Home, ts.Getenv("WORK")} {
		ts.Check(filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			read++
			for _, form := range forms {
				if bytes.Contains(content, form) {
					ts.Fatalf("%s holds %q", path, form)
				}
			}
			return nil
		}))
	}
	ts.Logf("none of %d files holds it", read)
}
