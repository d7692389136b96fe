package e2e

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// readyCommands are the words about a database that has no users yet, and about what the function is asked at the end of an
// update.
var readyCommands = map[string]command{
	"aws-calls":         awsCalls,
	"aws-secret-status": awsSecretStatus,
	"empty":             empty,
	"keep-master":       keepMaster,
	"to-prepare":        toPrepare,
}

// masterSecret begins a password of the kind that RDS makes up, with what is special in shells, URLs, SQL and JSON.
const masterSecret = `m4ster'%<&>"\pw#?[é$`

// empty ENGINE NAME [instance] makes an RDS cluster of the engine, or a single instance, and on its server a database without users
// of its own, $DATABASE, and the master user $MASTER with the password $MASTER_PASSWORD, who, as on RDS, is no superuser. $MANAGER,
// $MANAGING, $USER1, $USER2 and $ROLE are names and a password for those to come.
func empty(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	engine := args[0]
	server, err := s.machine.Server(engine)
	ts.Check(err)
	names := map[string]string{
		"DATABASE": s.named("app"), "MASTER": s.named("master"), "MASTER_PASSWORD": masterSecret + s.named("of"), "MANAGER": s.named("manager"),
		"MANAGING": `mana%ger "pass#word`, "USER1": s.named("user1"), "USER2": s.named("user2"), "ROLE": s.named("role"),
		"PORT": strconv.Itoa(server.Port),
	}
	ts.Check(server.Exec(ctx, road.Empty(engine, names["DATABASE"], names["MASTER"], names["MASTER_PASSWORD"])...))
	add, rdsEngine := s.cloud.AddCluster, map[string]string{road.Postgres: "aurora-postgresql", road.MySQL: "aurora-mysql"}
	if len(args) > 2 {
		add, rdsEngine = s.cloud.AddInstance, map[string]string{road.Postgres: "postgres", road.MySQL: "mysql"}
	}
	ts.Check(add(ctx, args[1], rdsEngine[engine], server))
	for name, value := range names {
		ts.Setenv(name, value)
	}
}

// to-prepare [KEY=VALUE...] sets what lets pulumi up make the users of the database that empty has made, in the project at hand.
func toPrepare(ts *testscript.TestScript, neg bool, args []string) {
	settings(ts, neg, append([]string{"databaseName=" + ts.Getenv("DATABASE"), "rotateUsername1=" + ts.Getenv("USER1"),
		"rotateUsername2=" + ts.Getenv("USER2"), "managingUsername=" + ts.Getenv("MANAGER"), "prepareDatabase=true"}, args...))
	run(ts, neg, of(ts).machine.Pulumi, "config", "set", "--secret", "managingPassword", ts.Getenv("MANAGING"))
}

// keep-master NAME [instance] [customers-key] lets RDS keep the password of the master user of that cluster, or instance.
func keepMaster(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	master := road.Master{Username: ts.Getenv("MASTER"), Password: ts.Getenv("MASTER_PASSWORD")}
	for _, word := range args[1:] {
		switch word {
		case "instance":
			master.Instance = true
		case "customers-key":
			master.CustomersKey = true
		default:
			ts.Fatalf("keep-master does not know %q", word)
		}
	}
	ts.Check(of(ts).cloud.KeepMaster(ctx, args[0], master))
}

// aws-secret-status STATUS is what RDS says of the secrets that it keeps; "as-it-is" ends that.
func awsSecretStatus(ts *testscript.TestScript, _ bool, args []string) {
	status := args[0]
	if status == "as-it-is" {
		status = ""
	}
	of(ts).cloud.AWS.SecretStatus(status)
}

// aws-calls FILE writes the calls that have reached AWS since the last aws-calls, or since the story began, to a file: a line each,
// as in lambda:InvokeFunction, sorted.
func awsCalls(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	var lines []string
	calls := s.cloud.AWS.Calls()
	for _, call := range calls[s.called:] {
		lines = append(lines, call.Service+":"+call.Action+"\n")
	}
	s.called = len(calls)
	slices.Sort(lines)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "")), 0o600))
}
