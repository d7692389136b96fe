package e2e

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
	"esc-connector-lambda-go/lambda/dbtest"
)

// databaseCommands are the words about the database and its users.
var databaseCommands = map[string]command{
	"ca":          ca,
	"database":    database,
	"empty":       empty,
	"keep-master": keepMaster,
	"login":       login,
	"login-as":    loginAs,
	"network":     network,
	"sql":         sql,
}

// database ENGINE NAME [instance] makes an RDS cluster of the engine, or a single instance, and on its server the
// database app, the users user1 and user2 and the managing user manager, whose password is $MANAGING. The port is $PORT.
func database(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	engine := args[0]
	server, err := s.machine.Server(engine)
	ts.Check(err)
	users := road.Users{
		Database: s.named("app"), ManagingUser: s.named("manager"), ManagingPassword: `mana%ger "pass#word`,
		RotateUser1: s.named("user1"), RotatePassword1: "first-" + s.named("user1"),
		RotateUser2: s.named("user2"), RotatePassword2: "first-" + s.named("user2"),
	}
	ts.Check(server.Exec(ctx, users.Statements(engine)...))
	ts.Check(s.addDatabase(ctx, server, args))
	ts.Setenv("PORT", strconv.Itoa(server.Port))
	ts.Setenv("DATABASE", users.Database)
	ts.Setenv("MANAGER", users.ManagingUser)
	ts.Setenv("MANAGING", users.ManagingPassword)
	ts.Setenv("USER1", users.RotateUser1)
	ts.Setenv("USER2", users.RotateUser2)
}

// addDatabase tells RDS of the database on a server, as ENGINE NAME [instance] have it.
func (s *story) addDatabase(ctx context.Context, server *dbtest.Server, args []string) error {
	engine, name := args[0], args[1]
	if len(args) > 2 {
		return s.cloud.AddInstance(ctx, name, map[string]string{road.Postgres: "postgres", road.MySQL: "mysql"}[engine], server)
	}
	return s.cloud.AddCluster(ctx, name, map[string]string{road.Postgres: "aurora-postgresql", road.MySQL: "aurora-mysql"}[engine], server)
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
	ts.Check(s.addDatabase(ctx, server, args))
	for name, value := range names {
		ts.Setenv(name, value)
	}
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

// login ENGINE USER PASSWORD logs in as an application does.
func login(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := of(ts).machine.Login(ctx, args[0], args[1], args[2])
	switch {
	case err != nil && !neg:
		ts.Fatalf("%v", err)
	case err == nil && neg:
		ts.Fatalf("logging in as %s succeeded, and should have been refused", args[1])
	}
}

// login-as ENGINE USER-FILE PASSWORD-FILE is login with what the files hold.
func loginAs(ts *testscript.TestScript, neg bool, args []string) {
	line := func(name string) string { return strings.TrimSuffix(ts.ReadFile(name), "\n") }
	login(ts, neg, []string{args[0], line(args[1]), line(args[2])})
}

// sql ENGINE STATEMENT... runs statements as the database's administrator.
func sql(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := of(ts).machine.Server(args[0])
	ts.Check(err)
	ts.Check(server.Exec(ctx, args[1:]...))
}

// ca ENGINE FILE [DURATION] writes the certificate authority of the engine's server to a file, as one that expires after that time.
func ca(ts *testscript.TestScript, _ bool, args []string) {
	server, err := of(ts).machine.Server(args[0])
	ts.Check(err)
	authority := server.Authority.PEM
	if len(args) > 2 {
		lives, err := time.ParseDuration(args[2])
		ts.Check(err)
		authority, err = server.Authority.Until(time.Now().Add(lives))
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), authority, 0o600))
}

// cluster ENGINE NAME makes an RDS cluster, and on its server the database app and a master user
// who, as on RDS, is no superuser of PostgreSQL.
func cluster(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := s.machine.Server(args[0])
	ts.Check(err)
	rdsEngine := "aurora-postgresql"
	if args[0] == road.MySQL {
		rdsEngine = "aurora-mysql"
	}
	ts.Check(server.Exec(ctx, masterUser(args[0])...))
	ts.Check(s.cloud.AddCluster(ctx, args[1], rdsEngine, server))
	ts.Check(s.cloud.KeepMaster(ctx, args[1], road.Master{Username: "master", Password: masterPassword}))
	network(ts, false, args)
}

// network ENGINE NAME tells the story where the database is, in the words that the pages' placeholders stand for.
func network(ts *testscript.TestScript, _ bool, args []string) {
	s, identifier := of(ts), args[1]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := s.machine.Server(args[0])
	ts.Check(err)
	vpc, subnets, group, err := s.cloud.Network(ctx, identifier)
	ts.Check(err)
	for name, value := range map[string]string{
		"RDS_IDENTIFIER": identifier,
		"PGPORT":         strconv.Itoa(server.Port),
		"VPC":            vpc,
		"SUBNET1":        subnets[0],
		"SUBNET2":        subnets[1],
		"SECURITY_GROUP": group,
		"CALLS":          strconv.Itoa(len(s.cloud.AWS.Calls())),
	} {
		ts.Setenv(name, value)
	}
}
