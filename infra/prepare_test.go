package infra

import (
	"errors"
	"maps"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const secretARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:rds!cluster-0123-AbCdEf"

// keepsMaster is a cloud whose RDS keeps the master password of its cluster, in a secret of that status. What the secret holds is
// read by the last function.
func keepsMaster(status string, secret func() (resource.PropertyValue, error)) *cloud {
	c := newCloud()
	cluster := c.answers[clusterToken]
	c.answers[clusterToken] = func(args resource.PropertyMap) (map[string]any, error) {
		found, err := cluster(args)
		found = maps.Clone(found)
		found["masterUsername"] = "master"
		found["masterUserSecrets"] = []any{map[string]any{"secretArn": secretARN, "secretStatus": status, "kmsKeyId": "key"}}
		return found, err
	}
	c.answers[secretVersionToken] = func(args resource.PropertyMap) (map[string]any, error) {
		if args["secretId"].StringValue() != secretARN {
			return nil, errors.New("another secret was asked for")
		}
		value, err := secret()
		return map[string]any{"secretString": value}, err
	}
	return c
}

func secretOf(text string) func() (resource.PropertyValue, error) {
	return func() (resource.PropertyValue, error) { return resource.NewProperty(text), nil }
}

func prepares(further map[string]string) map[string]string {
	settings := minimal(allUsers)
	settings["shop:prepareDatabase"] = "true"
	maps.Copy(settings, further)
	return settings
}

const made = `{"code":200,"message":"made","made":["one","two"],"found":["manager"]}`

func TestThePreparationIsSentOnceWithWhoMayMakeUsers(t *testing.T) {
	t.Parallel()
	own := map[string]string{"shop:masterUsername": "root", "shop:masterPassword": "Master-Secret-2"}
	for name, c := range map[string]struct {
		cloud    *cloud
		settings map[string]string
		master   map[string]any
	}{
		"the settings": {newCloud(), own, map[string]any{"username": "root", "password": "Master-Secret-2"}},
		"the settings, before RDS": {keepsMaster("active", func() (resource.PropertyValue, error) { return resource.PropertyValue{}, errors.New("read") }), own,
			map[string]any{"username": "root", "password": "Master-Secret-2"}},
		"RDS":                         {keepsMaster("active", secretOf(`{"username":"master","password":"p"}`)), nil, map[string]any{"username": "master", "password": "p"}},
		"RDS, which cannot rotate it": {keepsMaster("impaired", secretOf(`{"username":"master","password":"p"}`)), nil, map[string]any{"username": "master", "password": "p"}},
		"RDS, by an answer that is marked as a secret": {keepsMaster("active", func() (resource.PropertyValue, error) {
			return resource.MakeSecret(resource.NewProperty(`{"username":"master","password":"p"}`)), nil
		}), nil, map[string]any{"username": "master", "password": "p"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := c.cloud.answersOf(made, `{"code":200,"message":"checked"}`)
			require.NoError(t, update(t, c.cloud, prepares(c.settings)))
			require.Len(t, *events, 2)
			assert.Equal(t, map[string]any{"type": "postgres", "host": "orders.cluster-abc.eu-west-1.rds.amazonaws.com", "port": 5432.0, "database": "app",
				"prepare": map[string]any{"masterUser": c.master, "managingUser": map[string]any{"username": "manager", "password": "Managing-Secret-1"},
					"rotateUsers": []any{"one", "two"}}}, (*events)[0])
			assert.Equal(t, true, (*events)[1]["dryRun"])
		})
	}
}

func TestWhatUsersMayDoOnEachEngine(t *testing.T) {
	t.Parallel()
	master := map[string]string{"shop:masterUsername": "root", "shop:masterPassword": "Master-Secret-2"}
	for name, c := range map[string]struct {
		engine   string
		settings map[string]string
		key      string
		want     any
	}{
		"a role":                 {"postgres", map[string]string{"shop:applicationRole": "app_role"}, "applicationRole", "app_role"},
		"no role":                {"postgres", nil, "applicationRole", nil},
		"the usual privileges":   {"mysql", nil, "privileges", []any{"SELECT", "INSERT", "UPDATE", "DELETE"}},
		"other privileges":       {"mysql", map[string]string{"shop:applicationPrivileges": "select, create  temporary tables,select"}, "privileges", []any{"SELECT", "CREATE TEMPORARY TABLES"}},
		"privileges as a list":   {"mysql", map[string]string{"shop:applicationPrivileges": `["EXECUTE","SELECT"]`}, "privileges", []any{"EXECUTE", "SELECT"}},
		"none, where a role may": {"postgres", map[string]string{"shop:applicationRole": "app_role"}, "privileges", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := prepares(master)
			maps.Copy(settings, c.settings)
			settings["shop:databaseEngine"] = c.engine
			cloud := newCloud()
			events := cloud.answersOf(made, `{"code":200,"message":"checked"}`)
			require.NoError(t, update(t, cloud, settings))
			assert.Equal(t, c.want, (*events)[0]["prepare"].(map[string]any)[c.key])
		})
	}
}

// Nothing is created where it is known beforehand that the database cannot be prepared.
func TestWhatStopsAPreparationBeforehand(t *testing.T) {
	unread := func() (resource.PropertyValue, error) {
		return resource.PropertyValue{}, errors.New("the secret was read")
	}
	denied := func(message string) func() (resource.PropertyValue, error) {
		return func() (resource.PropertyValue, error) { return resource.PropertyValue{}, errors.New(message) }
	}
	const asked = "reading Secrets Manager Secret Version (" + secretARN + "|AWSCURRENT): "
	own := map[string]string{"shop:masterUsername": "root", "shop:masterPassword": "Master-Secret-2"}
	for name, c := range map[string]struct {
		cloud     *cloud
		settings  map[string]string
		variables map[string]string
		says      []string
	}{
		"nobody who may": {newCloud(), nil, nil, []string{"RDS does not keep the password",
			"aws rds modify-db-cluster --region eu-west-1 --db-cluster-identifier orders --manage-master-user-password --apply-immediately",
			"pulumi config set shop:masterUsername <user>", "pulumi config set --secret shop:masterPassword", "pulumi config rm shop:prepareDatabase"}},
		"a secret that is rotated": {keepsMaster("rotating", unread), nil, nil, []string{"RDS is rotating the secret", "again in some minutes"}},
		"a secret that is made":    {keepsMaster("creating", unread), nil, nil, []string{"RDS is creating the secret"}},
		"no right to read it": {keepsMaster("active", denied(asked+"api error AccessDeniedException: User: x is not authorized to perform: secretsmanager:GetSecretValue on resource: y")), nil, nil,
			[]string{"needs the IAM permission secretsmanager:GetSecretValue", "On this resource: " + secretARN}},
		"no right to its key": {keepsMaster("active", denied(asked+"api error AccessDeniedException: Access to KMS is not allowed")), nil, nil,
			[]string{"a key of your own", "kms:Decrypt"}},
		"a secret that is gone":    {keepsMaster("active", denied(asked+"couldn't find resource")), nil, nil, []string{"Let RDS make it anew"}},
		"a secret of another form": {keepsMaster("active", secretOf("Hidden-3")), nil, nil, []string{"does not hold the username and password"}},
		"a secret without a name":  {keepsMaster("active", secretOf(`{"password":"Hidden-3"}`)), nil, nil, []string{"does not hold the username and password"}},
		"the master as a user, by the secret": {keepsMaster("active", secretOf(`{"username":"two","password":"Hidden-3"}`)), nil, nil,
			[]string{"the master user and rotateUsername2 are both"}},
		"the master as a user, by RDS": {keepsMaster("active", unread), map[string]string{"shop:rotateUsername1": "master"}, nil, []string{"are both \"master\""}},
		"privileges on PostgreSQL":     {newCloud(), with(own, "shop:applicationPrivileges", "SELECT"), nil, []string{"for MySQL and MariaDB alone"}},
		"a role on MySQL":              {newCloud(), with(own, "shop:applicationRole", "app_role", "shop:databaseEngine", "mysql"), nil, []string{"for PostgreSQL alone"}},
		"the engine's log":             {newCloud(), own, map[string]string{"PULUMI_DEBUG_GRPC": "log.json"}, []string{"PULUMI_DEBUG_GRPC is set"}},
		"the engine's traces":          {newCloud(), own, map[string]string{"PULUMI_OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4317"}, []string{"without --otel-traces"}},
		"the provider's log":           {keepsMaster("active", unread), nil, map[string]string{"TF_LOG": "debug"}, []string{"TF_LOG is set"}},
		"the provider's own log":       {keepsMaster("active", unread), nil, map[string]string{"TF_LOG_PROVIDER_AWS": "TRACE"}, []string{"TF_LOG_PROVIDER_AWS is set"}},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range c.variables {
				t.Setenv(variable, value)
			}
			events := c.cloud.answersOf()
			err := update(t, c.cloud, prepares(c.settings))
			require.ErrorContains(t, err, "preparing the database: ")
			assert.ErrorContains(t, err, "nothing was created or changed")
			for _, part := range c.says {
				assert.ErrorContains(t, err, part)
			}
			for _, secret := range []string{"Hidden-3", "Managing-Secret-1", "Master-Secret-2", "the secret was read"} {
				assert.NotContains(t, err.Error(), secret)
			}
			assert.Empty(t, *events)
			assert.Empty(t, c.cloud.registered)
		})
	}
}

func with(settings map[string]string, pairs ...string) map[string]string {
	settings = maps.Clone(settings)
	for i := 0; i < len(pairs); i += 2 {
		settings[pairs[i]] = pairs[i+1]
	}
	return settings
}

// A level of the log that writes no bodies is no reason.
func TestAQuietLogStopsNoPreparation(t *testing.T) {
	t.Setenv("TF_LOG", "warn")
	cloud := keepsMaster("active", secretOf(`{"username":"master","password":"p"}`))
	events := cloud.answersOf(made, `{"code":200,"message":"checked"}`)
	require.NoError(t, update(t, cloud, prepares(nil)))
	assert.Len(t, *events, 2)
}

// What was prepared is not sent again, as long as it is for the same users of the same database.
func TestAPreparationThatWasDone(t *testing.T) {
	t.Parallel()
	const environment, database = "acme/shop/orders", "orders.cluster-abc.eu-west-1.rds.amazonaws.com:5432/app"
	before := func(database, manager string, users ...any) map[string]any {
		return map[string]any{environment: map[string]any{"database": database, "managingUser": manager, "rotateUsers": users, "made": []any{"one"}, "found": []any{}}}
	}
	for name, c := range map[string]struct {
		before map[string]any
		sent   int
	}{
		"the same":                {before(database, "manager", "one", "two"), 0},
		"another database":        {before("orders.cluster-abc.eu-west-1.rds.amazonaws.com:5432/other", "manager", "one", "two"), 1},
		"another host":            {before("other:5432/app", "manager", "one", "two"), 1},
		"another managing user":   {before(database, "other", "one", "two"), 1},
		"another user":            {before(database, "manager", "one", "other"), 1},
		"of another environment":  {map[string]any{"acme/shop/other": map[string]any{"database": database}}, 1},
		"an output that is none":  {map[string]any{environment: "yes"}, 1},
		"users that are no list":  {map[string]any{environment: map[string]any{"database": database, "managingUser": "manager", "rotateUsers": "one, two"}}, 1},
		"the first time":          {nil, 1},
		"the same in other order": {before(database, "manager", "two", "one"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := keepsMaster("active", secretOf(`{"username":"master","password":"p"}`))
			cloud.answers[stateToken] = answer(map[string]any{"name": "acme/shop/dev", "outputs": map[string]any{
				"urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev": map[string]any{"outputs": map[string]any{"databasePreparation": c.before}}}})
			events := cloud.answersOf(`{"code":200,"message":"x"}`, `{"code":200,"message":"x"}`)
			require.NoError(t, update(t, cloud, prepares(nil)))
			sent := 0
			for _, event := range *events {
				if event["prepare"] != nil {
					sent++
				}
			}
			assert.Equal(t, c.sent, sent)
		})
	}
}

func TestAPreparationThatFailsFailsTheUpdate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(resource.PropertyMap) (map[string]any, error)
		says   string
	}{
		"the database": {answer(map[string]any{"result": `{"code":400,"message":"the master user may not. It said p4ssword-of-master and Managing-Secret-1"}`}), "the master user may not. It said [secret] and [secret]"},
		"AWS": {func(resource.PropertyMap) (map[string]any, error) {
			return nil, errors.New("api error AccessDeniedException: User: x is not authorized to perform: lambda:InvokeFunction")
		}, "needs lambda:InvokeFunction on arn:aws:lambda:eu-west-1:111122223333:function:"},
		"an answer of something else": {answer(map[string]any{"result": `{"body":"p4ssword-of-master"}`}), "not the connector's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := keepsMaster("active", secretOf(`{"username":"master","password":"p4ssword-of-master"}`))
			cloud.answers[invocationToken] = c.answer
			err := update(t, cloud, prepares(nil))
			require.ErrorContains(t, err, "preparing the database ")
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "the rotator environment was not created")
			assert.ErrorContains(t, err, "pulumi up, which goes on from here")
			assert.NotContains(t, err.Error(), "p4ssword-of-master")
			assert.NotContains(t, err.Error(), "Managing-Secret-1")
		})
	}
}
