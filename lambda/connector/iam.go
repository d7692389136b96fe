package connector

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"esc-connector-lambda-go/lambda/event"
)

// ManagingAuthVariable is the function's environment variable for how the managing user logs in: by the event's password, or
// as an IAM user of RDS.
const ManagingAuthVariable = "DB_MANAGING_AUTH"

const iam = "iam"

// UsesIAM reports whether that variable asks for RDS IAM authentication. ReadIAM reports whether it can be.
func UsesIAM() bool { return os.Getenv(ManagingAuthVariable) == iam }

// ReadIAM reads from the function's environment whether the managing user logs in by RDS IAM authentication. Its token goes to
// the server in clear, so it takes TLS that verifies. The error is a *Failure that names the variable.
func ReadIAM(terms *TLS) (bool, error) {
	switch mode := os.Getenv(ManagingAuthVariable); {
	case mode == "", mode == "password":
		return false, nil
	case mode != iam:
		return false, refused(fmt.Sprintf("the function's environment variable %s is %q, which is not known", ManagingAuthVariable, mode),
			"Set the stack's managingAuthentication to password or iam, and run pulumi up")
	case !terms.verifies():
		return false, refused(fmt.Sprintf("the function's environment variable %s is iam, and %s is %q: the token of RDS IAM authentication goes to the server in clear, and so over verified TLS alone",
			ManagingAuthVariable, SSLModeVariable, os.Getenv(SSLModeVariable)),
			"Set the stack's databaseSslMode to verify-full, or managingAuthentication to password, and run pulumi up")
	}
	return true, nil
}

// CheckIAM refuses a preparation of a managing user who would log in otherwise than the function has it. The error is a *Failure.
func CheckIAM(request event.Request, uses bool) error {
	if request.Prepare == nil || (request.Prepare.ManagingUser.Authentication == event.AuthenticationIAM) == uses {
		return nil
	}
	asked, has := "by RDS IAM authentication", "by a password"
	if uses {
		asked, has = has, asked
	}
	return refused(fmt.Sprintf("the managing user is to be made for logins %s, and the function has it log in %s (%s)", asked, has, ManagingAuthVariable),
		"Set the stack's managingAuthentication to the one that is meant, and run pulumi up")
}

// verifies reports whether the terms ask for TLS with a certificate that is verified.
func (t *TLS) verifies() bool { return t != nil && t.verify }

// Token is what a user logs in with in place of a password, by RDS IAM authentication: for 15 minutes and at this server, by the
// credentials that the function's environment holds now. No API of AWS's is called. The error is a *Failure.
//
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
func (s *Server) Token(username string) (event.Secret, error) {
	if !s.TLS.verifies() {
		return event.Secret{}, s.Fail(s.Address()+": a token of RDS IAM authentication goes over verified TLS alone", "Set the stack's databaseSslMode to verify-full, and run pulumi up")
	}
	credentials := aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}
	region := os.Getenv("AWS_REGION")
	for _, needed := range []struct{ variable, value string }{
		{"AWS_ACCESS_KEY_ID", credentials.AccessKeyID}, {"AWS_SECRET_ACCESS_KEY", credentials.SecretAccessKey}, {"AWS_REGION", region},
	} {
		if needed.value == "" {
			return event.Secret{}, s.Fail("the token of RDS IAM authentication cannot be signed: the function's environment has no "+needed.variable+", which Lambda puts there with its execution role's credentials",
				"Run it as a function of AWS Lambda, with its execution role; elsewhere set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION")
		}
	}
	// RDS compares the host with its own endpoint's, which is in lower case.
	host := strings.ToLower(strings.TrimSuffix(s.Host, "."))
	retrieve := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials, nil })
	token, err := auth.BuildAuthToken(context.Background(), net.JoinHostPort(host, strconv.Itoa(s.Port)), region, username, retrieve)
	if err != nil { // the host is no part of a URL, which Request.Check has ruled out
		return event.Secret{}, s.Fail(s.Address()+": the token of RDS IAM authentication cannot be signed for this host", "Use the database's own endpoint as host")
	}
	return event.NewSecret(token), nil
}

// ByToken is how the managing user logged in, for a dry run, "" for a password.
func (s *Server) ByToken() string {
	if s.IAM {
		return " by RDS IAM authentication"
	}
	return ""
}

// RefusedToken is why a server may have refused a token, which RDS answers in the same way whatever it is.
const RefusedToken = "The answer is the same for all causes, the likely first: IAM authentication is off at the database (aws rds modify-db-instance, or modify-db-cluster, with " +
	"--enable-iam-database-authentication); the execution role lacks rds-db:connect for the database's resource id and this user (pulumi up); the user is written in another case " +
	"than in that permission; host is an alias, and not the endpoint of RDS's own; the user is none that logs in by IAM; the role's credentials have expired (run it again in a moment)"
