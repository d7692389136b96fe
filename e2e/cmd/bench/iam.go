package main

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"esc-connector-lambda-go/e2e/road"
	"esc-connector-lambda-go/lambda/dbtest"
)

// The managing user who logs in by a token, and the credentials that sign it, with a session token as long as those of STS.
const (
	tokenUser = "token_manager"
	region    = "us-west-2"
	keyID     = "ASIAIOSFODNN7EXAMPLE"
)

var secretKey, sessionToken = newPassword(), fmt.Sprintf("%0800d", 1)

// tokens says which tokens are good, as RDS would.
func tokens() *dbtest.IAM {
	return &dbtest.IAM{
		Host: "127.0.0.1", Region: region,
		Key:        func(id string) (secret, session string, ok bool) { return secretKey, sessionToken, id == keyID },
		MayConnect: func(_, user string) bool { return user == tokenUser },
	}
}

// measureTokens has ours rotate with a managing user who has no password, and with one who has, on the same server and turn by turn.
// What a server does to check a token is the test server's own affair, and so the least rotator goes along: by a token signed
// beforehand, and by a password. What it needs more with the token is what ours may need more, too.
func (b *bench) measureTokens(ctx context.Context, executables executables, engine, name string, server *dbtest.Server) error {
	progress("rotating on %s, by a token and by a password, turn by turn", name)
	token, err := signed(ctx, server)
	if err != nil {
		return err
	}
	byPassword := func() []byte { return rotation(engine, server.Host, server.Port, 0) }
	byToken := func() []byte { return rotationBy(tokenUser, token, engine, server.Host, server.Port, 0) }
	ourVariables, provedVariables := variables(server, true)
	ours := contestant{executable: executables.ours, variables: ourVariables, event: byPassword}
	least := contestant{executable: executables.rotator, variables: provedVariables, event: byPassword}
	oursByToken := contestant{executable: executables.ours, event: byToken, variables: append([]string{"DB_MANAGING_AUTH=iam",
		"AWS_ACCESS_KEY_ID=" + keyID, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_SESSION_TOKEN=" + sessionToken}, ourVariables...)}
	leastByToken := contestant{executable: executables.rotator, variables: append([]string{"ROTATOR_CLEAR=1"}, provedVariables...), event: byToken}
	if err := b.turnByTurn(ctx, &ours, &oursByToken, &least, &leastByToken); err != nil {
		return err
	}
	where := name + ", verified TLS, by a token"
	b.Samples["rotation, "+where+", ours"], b.Samples["rotation, "+where+", ours by a password"] = oursByToken.took, ours.took
	b.Samples["rotation, "+where+", "+leastProved], b.Samples["rotation, "+where+", "+leastProved+", by a password"] = leastByToken.took, least.took
	median := func(c contestant) float64 { return quantile(c.took, 0.5) }
	check := median(leastByToken) - median(least)
	b.add(
		row{Measure: "rotation, " + where + ", p50", Unit: "ms", Ours: median(oursByToken), Baseline: median(ours) + check, Against: "by a password, and the server's check", MaxRatio: atMost(1.1)},
		row{Measure: "rotation, " + where + ", p50", Unit: "ms", Ours: median(oursByToken), Baseline: median(ours), Against: "by a password"},
		row{Measure: "rotation, " + where + ", p50", Unit: "ms", Ours: median(oursByToken), Baseline: median(leastByToken), Against: leastProved},
		row{Measure: "function's CPU time a rotation, " + where, Unit: "ms", Ours: oursByToken.cpu, Baseline: ours.cpu, Against: "by a password"},
	)
	return nil
}

// signed is a token for the user.
func signed(ctx context.Context, server *dbtest.Server) (string, error) {
	retrieve := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secretKey, SessionToken: sessionToken}, nil
	})
	return auth.BuildAuthToken(ctx, net.JoinHostPort(server.Host, strconv.Itoa(server.Port)), region, tokenUser, retrieve)
}

// makeTokenUser lets the user rotate the first target.
func makeTokenUser(engine string) []string {
	if engine == road.MySQL {
		return []string{"CREATE USER " + tokenUser + " IDENTIFIED WITH " + dbtest.AWSAuthenticationPlugin + " AS 'RDS'",
			"GRANT CREATE USER ON *.* TO " + tokenUser, "GRANT ALTER ON " + database + ".* TO " + tokenUser}
	}
	return []string{"CREATE ROLE " + tokenUser + " LOGIN CREATEROLE NOINHERIT", "GRANT rds_iam TO " + tokenUser,
		"GRANT " + target(0) + " TO " + tokenUser + " WITH ADMIN OPTION"}
}
