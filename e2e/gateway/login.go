package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"esc-connector-lambda-go/e2e/policy"
)

// logins are the credentials of execution roles that functions have got, and what RDS asks IAM about them.
type logins struct {
	mu   sync.Mutex
	keys map[string]key // by access key
	// letIn are the databases with IAM authentication, by identifier, which moto turns on at none of its clusters.
	letIn map[string]bool
}

// modify turns IAM authentication of a database on or off. Without ApplyImmediately that waits for its maintenance window, which
// never comes here (https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ClusterPendingModifiedValues.html).
func (l *logins) modify(action string, form url.Values) {
	asked := form.Get("EnableIAMDatabaseAuthentication")
	if !strings.HasPrefix(action, "ModifyDB") || asked == "" || form.Get("ApplyImmediately") != "true" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.letIn == nil {
		l.letIn = map[string]bool{}
	}
	l.letIn[cmp.Or(form.Get("DBClusterIdentifier"), form.Get("DBInstanceIdentifier"))] = asked == "true"
}

func (l *logins) letsIn(database *string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.letIn[awssdk.ToString(database)]
}

// databases are the elements of an answer of RDS's for them.
var databases = []struct{ element, identifier *regexp.Regexp }{
	{regexp.MustCompile(`(?s)<DBCluster>.*?</DBCluster>`), regexp.MustCompile(`<DBClusterIdentifier>(.*?)</`)},
	{regexp.MustCompile(`(?s)<DBInstance>.*?</DBInstance>`), regexp.MustCompile(`<DBInstanceIdentifier>(.*?)</`)},
}

var iamEnabled = regexp.MustCompile(`<IAMDatabaseAuthenticationEnabled>\w+<`)

// asPlayed says in moto's answer about databases which of them have IAM authentication.
func (l *logins) asPlayed(body []byte) []byte {
	for _, kind := range databases {
		body = kind.element.ReplaceAllFunc(body, func(database []byte) []byte {
			found := kind.identifier.FindSubmatch(database)
			if found == nil {
				return database
			}
			identifier := string(found[1])
			return iamEnabled.ReplaceAll(database, fmt.Appendf(nil, "<IAMDatabaseAuthenticationEnabled>%t<", l.letsIn(&identifier)))
		})
	}
	return body
}

// key is what a function gets for its execution role.
type key struct{ secret, session, role, region string }

// give makes credentials for a new execution environment, as Lambda gets them from STS.
func (l *logins) give(function *function) (accessKey string, made key) {
	const session = 600 // bytes: STS says of a token's length that it may be any
	random := make([]byte, session)
	_, _ = rand.Read(random) // never fails, says crypto/rand
	made = key{secret: rand.Text() + rand.Text()[:14], session: base64.StdEncoding.EncodeToString(random),
		role: function.Role[strings.LastIndex(function.Role, "/")+1:], region: function.region}
	accessKey = "ASIA" + rand.Text()[:16]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string]key{}
	}
	l.keys[accessKey] = made
	return accessKey, made
}

func (l *logins) find(accessKey string) (key, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.keys[accessKey]
	return found, ok
}

// Key is the secret and the session token of an access key that a function has.
func (g *Gateway) Key(accessKey string) (secret, session string, ok bool) {
	found, ok := g.logins.find(accessKey)
	return found.secret, found.session, ok
}

// MayConnect reports whether the role of an access key may rds-db:connect as a user of a database at that port, which lets users
// in by RDS IAM authentication. Of several such databases at one port any will do.
func (g *Gateway) MayConnect(ctx context.Context, accessKey, user string, port int) (bool, error) {
	key, ok := g.logins.find(accessKey)
	if !ok {
		return false, nil
	}
	config := g.functions.config(key.region)
	identifiers, err := g.logins.databasesAt(ctx, rds.NewFromConfig(config), int32(port))
	if err != nil {
		return false, err
	}
	role, err := policy.ReadRole(ctx, iam.NewFromConfig(config), key.role)
	if err != nil {
		return false, err
	}
	for _, identifier := range identifiers {
		resource := fmt.Sprintf("arn:aws:rds-db:%s:%s:dbuser:%s/%s", key.region, g.options.Account, identifier, user)
		if allowed, err := role.Allows(policy.Request{Action: "rds-db:connect", Resource: resource}); allowed || err != nil {
			return allowed, err
		}
	}
	return false, nil
}

// databasesAt are the resource identifiers of clusters and single instances at a port that let users in by a token.
func (l *logins) databasesAt(ctx context.Context, client *rds.Client, port int32) (identifiers []string, err error) {
	clusters, err := client.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{})
	if err != nil {
		return nil, err
	}
	for _, cluster := range clusters.DBClusters {
		if awssdk.ToInt32(cluster.Port) == port && l.letsIn(cluster.DBClusterIdentifier) {
			identifiers = append(identifiers, awssdk.ToString(cluster.DbClusterResourceId))
		}
	}
	instances, err := client.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{})
	if err != nil {
		return nil, err
	}
	for _, instance := range instances.DBInstances {
		if instance.DBClusterIdentifier == nil && instance.Endpoint != nil && awssdk.ToInt32(instance.Endpoint.Port) == port && l.letsIn(instance.DBInstanceIdentifier) {
			identifiers = append(identifiers, awssdk.ToString(instance.DbiResourceId))
		}
	}
	return identifiers, nil
}
