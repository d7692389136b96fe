package dbtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// botocore is a token of AWS's own making, from the tests of its library for Python (test_generate_db_auth_token in
// https://github.com/boto/botocore/blob/develop/tests/unit/test_signers.py).
const botocore = "prod-instance.us-east-1.rds.amazonaws.com:3306/?Action=connect&DBUser=someusername&X-Amz-Algorithm=AWS4-HMAC-SHA256" +
	"&X-Amz-Date=20161107T173933Z&X-Amz-SignedHeaders=host&X-Amz-Expires=900&X-Amz-Credential=akid%2F20161107%2Fus-east-1%2Frds-db%2Faws4_request" +
	"&X-Amz-Signature=d1138cdbc0ca63eec012ec0fc6c2267e03642168f5884a7795320d4c18374c61"

func TestTokenIsGoodForOneUserOfOneServerForAWhile(t *testing.T) {
	signedAt := time.Date(2016, 11, 7, 17, 39, 33, 0, time.UTC)
	good := func() *IAM {
		return &IAM{
			Host: "prod-instance.us-east-1.rds.amazonaws.com", Region: "us-east-1",
			Key:        func(id string) (string, string, bool) { return "skid", "", id == "akid" },
			MayConnect: func(_, user string) bool { return user == "someusername" },
		}
	}
	assert.NoError(t, good().check(3306, "someusername", botocore, signedAt.Add(tokenAge)))
	for name, c := range map[string]struct {
		change      func(*IAM)
		user, token string
		port        int
		after       time.Duration
		says        string
	}{
		"another host":          {change: func(i *IAM) { i.Host = "alias.example" }, says: "signed for prod-instance"},
		"another port":          {port: 3307, says: "signed for prod-instance"},
		"another user":          {user: "SomeUsername", says: "signed for the user someusername"},
		"a user that it names":  {user: "other", token: strings.Replace(botocore, "someusername", "other", 1), says: "another signature"},
		"another region":        {change: func(i *IAM) { i.Region = "us-east-2" }, says: "the scope"},
		"another secret":        {change: func(i *IAM) { i.Key = func(string) (string, string, bool) { return "other", "", true } }, says: "another signature"},
		"an unknown key":        {change: func(i *IAM) { i.Key = func(string) (string, string, bool) { return "", "", false } }, says: "not known, or has expired"},
		"no session token":      {change: func(i *IAM) { i.Key = func(string) (string, string, bool) { return "skid", "session", true } }, says: "another session token"},
		"no right to connect":   {change: func(i *IAM) { i.MayConnect = func(string, string) bool { return false } }, says: "not allowed rds-db:connect"},
		"too old":               {after: tokenAge + time.Second, says: "too old"},
		"from the future":       {after: -clockSkew - time.Second, says: "from the future"},
		"a longer life":         {token: strings.Replace(botocore, "Expires=900", "Expires=901", 1), says: "another lifetime"},
		"a parameter more":      {token: botocore + "&X=1", says: "another signature"},
		"a parameter twice":     {token: botocore + "&DBUser=other", says: "there twice"},
		"no signature":          {token: strings.Split(botocore, "&X-Amz-Signature")[0], says: "another signature"},
		"a password":            {token: "manager_password", says: "no token"},
		"nothing":               {token: "?", says: "signed for "},
		"a credential of parts": {token: strings.Replace(botocore, "akid%2F", "akid", 1), says: "a credential that is none"},
	} {
		t.Run(name, func(t *testing.T) {
			iam, user, token, port := good(), "someusername", botocore, 3306
			if c.change != nil {
				c.change(iam)
			}
			if c.user != "" {
				user = c.user
			}
			if c.token != "" {
				token = c.token
			}
			if c.port != 0 {
				port = c.port
			}
			assert.ErrorContains(t, iam.check(port, user, token, signedAt.Add(c.after)), c.says)
		})
	}
}
