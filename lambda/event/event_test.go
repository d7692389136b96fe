package event_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/event"
)

// fill gives each text and each secret of a value another text, and each pointer something to point to.
func fill(value reflect.Value, secrets *[]string) {
	number := fmt.Sprint(len(*secrets), value.Type())
	switch {
	case value.Type() == reflect.TypeFor[event.Secret]():
		*secrets = append(*secrets, "Hidden-"+number)
		value.Set(reflect.ValueOf(event.NewSecret("Hidden-" + number)))
	case value.Kind() == reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem(), secrets)
	case value.Kind() == reflect.Struct:
		for i := range value.NumField() {
			fill(value.Field(i), secrets)
		}
	}
}

// A secret of a new field is known to all that know secrets.
func TestEverySecretOfAnEventIsSentAndIsKnownToTheGuard(t *testing.T) {
	t.Parallel()
	var request event.Request
	var hidden []string
	fill(reflect.ValueOf(&request).Elem(), &hidden)
	require.Len(t, hidden, 5)
	var known []string
	for _, secret := range request.Secrets() {
		known = append(known, secret.Reveal())
	}
	assert.ElementsMatch(t, hidden, known)

	sent, err := request.Wire()
	require.NoError(t, err)
	printed, err := json.Marshal(request)
	require.NoError(t, err)
	for _, secret := range hidden {
		assert.Contains(t, string(sent), secret)
		for _, text := range []string{string(printed), fmt.Sprintf("%v %+v %#v", request, request, request), fmt.Sprint(request.Prepare, request.Secrets())} {
			assert.NotContains(t, text, secret, "after it was sent, too")
		}
	}
	read, err := event.ParseRequest(sent)
	require.NoError(t, err)
	assert.Equal(t, request, read)
}

// Package fmt calls no method of a field that is not exported.
func TestASecretWithinAnotherTypeIsNotPrinted(t *testing.T) {
	t.Parallel()
	type credential struct{ password event.Secret }
	holder := credential{event.NewSecret("Leaky-1")}
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", holder, holder, holder), "Leaky-1")
	assert.Equal(t, "Leaky-1", holder.password.Reveal())
}

func TestAPastedConnectionIsNotShown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"postgres://m:S3cretPass@db/app", "host=db user=m password = 'S3cretPass'", "Server=db;Uid=m;Pwd=S3cretPass;", "m:S3cretPass@tcp(db:3306)/app",
		"m:S3cretPass@db.internal/app", "user=m pass=S3cretPass"} {
		assert.NotContains(t, event.ShownName(text), "S3cretPass")
		err := event.Request{Type: text, Host: "db.example", Port: 5432}.Check()
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "S3cretPass")
	}
	for _, name := range []string{"app_user1@10.%", "app@2001:db8::1", "tenant:app"} {
		assert.Equal(t, name, event.ShownName(name))
	}
}

func TestWhatIsNotThereIsNotSent(t *testing.T) {
	t.Parallel()
	sent, err := event.Request{Type: "postgres", Host: "db.example", Port: 5432, DryRun: true}.Wire()
	require.NoError(t, err)
	assert.Equal(t, `{"type":"postgres","host":"db.example","port":5432,"dryRun":true}`, string(sent))
}

func preparation(kind string) event.Request {
	return event.Request{Type: kind, Host: "db.example", Port: 5432, Database: "app", Prepare: &event.Prepare{
		MasterUser:   event.MasterUser{Username: "master", Password: event.NewSecret("Master-Secret-1")},
		ManagingUser: event.ManagingUser{Username: "manager", Password: event.NewSecret("Manager-Secret-2")},
		RotateUsers:  []string{"app_1", "app_2"},
	}}
}

func TestPreparationsThatAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		kinds string
		spoil func(r *event.Request)
		says  []string
	}{
		"a managing user beside it":          {"postgres mysql", func(r *event.Request) { r.ManagingUser = &event.ManagingUser{} }, []string{"prepare stands beside"}},
		"a user to rotate beside it":         {"postgres mysql", func(r *event.Request) { r.RotateUser = &event.RotateUser{} }, []string{"prepare stands beside"}},
		"users to rotate beside it":          {"postgres mysql", func(r *event.Request) { r.RotateUsers = []string{} }, []string{"prepare stands beside"}},
		"the same in a dry run":              {"postgres mysql", func(r *event.Request) { r.DryRun, r.RotateUsers = true, []string{"a", "b"} }, []string{"prepare stands beside"}},
		"no database":                        {"postgres mysql", func(r *event.Request) { r.Database = "" }, []string{"database is missing", "settings"}},
		"no database in a dry run":           {"postgres mysql", func(r *event.Request) { r.Database, r.DryRun = "", true }, []string{"database is missing"}},
		"no master user":                     {"postgres mysql", func(r *event.Request) { r.Prepare.MasterUser = event.MasterUser{} }, []string{"prepare.masterUser.username is missing"}},
		"no master password":                 {"postgres mysql", func(r *event.Request) { r.Prepare.MasterUser.Password = event.Secret{} }, []string{"prepare.masterUser.password is missing"}},
		"no managing user":                   {"postgres mysql", func(r *event.Request) { r.Prepare.ManagingUser.Username = "" }, []string{"prepare.managingUser.username is missing"}},
		"no managing password":               {"postgres mysql", func(r *event.Request) { r.Prepare.ManagingUser.Password = event.Secret{} }, []string{"prepare.managingUser.password is missing"}},
		"an unknown authentication":          {"postgres mysql", func(r *event.Request) { r.Prepare.ManagingUser.Authentication = "kerberos" }, []string{`authentication is "kerberos"`, "Known is iam"}},
		"a password beside a token":          {"postgres mysql", func(r *event.Request) { r.Prepare.ManagingUser.Authentication = "iam" }, []string{"has a password beside authentication iam"}},
		"no user":                            {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers = nil }, []string{"names 0 users", "Name two"}},
		"one user":                           {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers = []string{"app_1"} }, []string{"names 1 users"}},
		"three users":                        {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers = []string{"app_1", "app_2", "app_3"} }, []string{"names 3 users"}},
		"a user without a name":              {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[1] = "" }, []string{"prepare.rotateUsers[1] is missing"}},
		"one user twice":                     {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[1] = "app_1" }, []string{"prepare.rotateUsers[0] and prepare.rotateUsers[1] are both"}},
		"a managing user to rotate":          {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[1] = "manager" }, []string{"prepare.managingUser and prepare.rotateUsers[1] are both", "lock"}},
		"a master user to rotate":            {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[0] = "master" }, []string{"prepare.masterUser and prepare.rotateUsers[0] are both"}},
		"the master user as managing user":   {"postgres mysql", func(r *event.Request) { r.Prepare.ManagingUser.Username = "master" }, []string{"prepare.masterUser and prepare.managingUser are both"}},
		"one name at two hosts":              {"mysql", func(r *event.Request) { r.Prepare.RotateUsers = []string{"app@10.%", "app@192.%"} }, []string{"are both \"app\""}},
		"a name at any host":                 {"mysql", func(r *event.Request) { r.Prepare.RotateUsers = []string{"app", "app@%"} }, []string{"are both \"app\""}},
		"an account without a name":          {"mysql", func(r *event.Request) { r.Prepare.RotateUsers[0] = "@%" }, []string{"has no name before its @"}},
		"a URL for a user":                   {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[0] = "postgres://a:Hidden-9@b" }, []string{"is a URL"}},
		"a URL for the role":                 {"postgres", func(r *event.Request) { r.Prepare.ApplicationRole = "postgres://a:Hidden-9@b" }, []string{"prepare.applicationRole is a URL"}},
		"NUL in the master password":         {"postgres mysql", func(r *event.Request) { r.Prepare.MasterUser.Password = event.NewSecret("Hidden\x00") }, []string{"prepare.masterUser.password holds a NUL"}},
		"no Unicode in a name":               {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[0] = "a\ufffd" }, []string{"not valid Unicode"}},
		"an RDS Proxy":                       {"postgres mysql", func(r *event.Request) { r.Host = "orders.proxy-abc123.eu-west-1.rds.amazonaws.com" }, []string{"RDS Proxy"}},
		"an RDS Proxy in China":              {"postgres mysql", func(r *event.Request) { r.Host = "orders.proxy-abc123.rds.cn-north-1.amazonaws.com.cn" }, []string{"RDS Proxy"}},
		"a role that is a user":              {"postgres", func(r *event.Request) { r.Prepare.ApplicationRole = "app_1" }, []string{"prepare.applicationRole", "are both"}},
		"a role that is the master":          {"postgres", func(r *event.Request) { r.Prepare.ApplicationRole = "master" }, []string{"prepare.applicationRole", "are both"}},
		"a role on MySQL":                    {"mysql", func(r *event.Request) { r.Prepare.ApplicationRole = "app" }, []string{"for PostgreSQL alone", "prepare.privileges"}},
		"privileges on PostgreSQL":           {"postgres", func(r *event.Request) { r.Prepare.Privileges = []string{"SELECT"} }, []string{"for MySQL and MariaDB alone", "applicationRole"}},
		"all privileges":                     {"mysql", func(r *event.Request) { r.Prepare.Privileges = []string{"SELECT", "ALL"} }, []string{"prepare.privileges[1]", `"ALL"`, "SELECT, "}},
		"all privileges in two words":        {"mysql", func(r *event.Request) { r.Prepare.Privileges = []string{"ALL PRIVILEGES"} }, []string{"prepare.privileges[0]"}},
		"the right to give rights":           {"mysql", func(r *event.Request) { r.Prepare.Privileges = []string{"GRANT OPTION"} }, []string{"prepare.privileges[0]"}},
		"a privilege of the whole server":    {"mysql", func(r *event.Request) { r.Prepare.Privileges = []string{"FILE"} }, []string{"prepare.privileges[0]"}},
		"SQL for a privilege":                {"mysql", func(r *event.Request) { r.Prepare.Privileges = []string{"SELECT ON *.* TO x; --"} }, []string{"prepare.privileges[0]"}},
		"an empty privilege":                 {"mysql", func(r *event.Request) { r.Prepare.Privileges = []string{""} }, []string{"prepare.privileges[0]"}},
		"a blank after a name":               {"postgres mysql", func(r *event.Request) { r.Prepare.RotateUsers[1] += " " }, []string{`prepare.rotateUsers[1] "app_2 "`, "pasted along"}},
		"a line end after the managing user": {"postgres mysql", func(r *event.Request) { r.Prepare.ManagingUser.Username += "\n" }, []string{`prepare.managingUser.username "manager\n"`, "pasted along"}},
		"a blank before the database":        {"postgres mysql", func(r *event.Request) { r.Database = "\t" + r.Database }, []string{"database ", "pasted along"}},
		"a blank before a host":              {"mysql", func(r *event.Request) { r.Prepare.RotateUsers[0] = "app @10.%" }, []string{"prepare.rotateUsers[0]", "pasted along"}},
		"a name that PostgreSQL would cut":   {"postgres", func(r *event.Request) { r.Prepare.RotateUsers = []string{long + "1", long + "2"} }, []string{"65 bytes long"}},
		"a role's name that would be cut":    {"postgres", func(r *event.Request) { r.Prepare.ApplicationRole = long }, []string{"64 bytes long"}},
		"a name that PostgreSQL keeps":       {"postgres", func(r *event.Request) { r.Prepare.ManagingUser.Username = "pg_manager" }, []string{"keeps for itself"}},
		"the role that stands for everyone":  {"postgres", func(r *event.Request) { r.Prepare.ApplicationRole = "public" }, []string{"keeps for itself"}},
	} {
		for _, kind := range strings.Fields(c.kinds) {
			t.Run(kind+": "+name, func(t *testing.T) {
				t.Parallel()
				request := preparation(kind)
				require.NoError(t, request.Check())
				c.spoil(&request)
				err := request.Check()
				var refusal *event.Refusal
				require.ErrorAs(t, err, &refusal)
				for _, part := range c.says {
					assert.ErrorContains(t, err, part)
				}
				assert.NotEmpty(t, refusal.Fix)
				for _, secret := range []string{"Master-Secret-1", "Manager-Secret-2", "Hidden"} {
					assert.NotContains(t, err.Error(), secret)
				}
			})
		}
	}
}

func TestPreparationsThatAreTaken(t *testing.T) {
	t.Parallel()
	request := preparation(event.TypePostgres)
	request.Prepare.ApplicationRole = `the "app" role@%_`
	request.Prepare.RotateUsers = []string{"app@10.%", "app@192.%"} // an @ is a character like any other
	assert.NoError(t, request.Check())
	request = preparation(event.TypeMySQL)
	request.Prepare.Privileges = event.Privileges
	request.Prepare.RotateUsers = []string{"app_1@10.%", "app_2@%"}
	assert.NoError(t, request.Check())
	assert.Equal(t, []string{"app_1@10.%", "app_2@%"}, request.Targets())
	assert.Equal(t, event.KindPreparation, request.Kind())
	request.Prepare.ManagingUser = event.ManagingUser{Username: "manager", Authentication: event.AuthenticationIAM}
	assert.NoError(t, request.Check())
}

func TestDryRunOfTwoUsers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		says string // "" for nothing
	}{
		"two":                           {`"dryRun": true, "rotateUsers": ["a", "b"]`, ""},
		"two, and a managing user":      {`"dryRun": true, "rotateUsers": ["a", "b"], "managingUser": {"username": "m", "password": "p"}`, ""},
		"none":                          {`"dryRun": true, "rotateUsers": []`, ""},
		"null":                          {`"dryRun": true, "rotateUsers": null`, ""},
		"a user beside them, of no one": {`"dryRun": true, "rotateUsers": ["a", "b"], "rotateUser": {}`, ""},
		"a rotation":                    {`"rotateUsers": ["a", "b"], "database": "d", "managingUser": {"username": "m"}`, "rotateUsers is for a dry run alone"},
		"a user beside them":            {`"dryRun": true, "rotateUsers": ["a", "b"], "rotateUser": {"username": "c"}`, "beside rotateUser"},
		"one":                           {`"dryRun": true, "rotateUsers": ["a"]`, "names 1 users"},
		"the same twice":                {`"dryRun": true, "rotateUsers": ["a", "a"]`, "rotateUsers[0] and rotateUsers[1] are both"},
		"the managing user":             {`"dryRun": true, "rotateUsers": ["a", "m"], "managingUser": {"username": "m"}`, "managingUser and rotateUsers[1] are both"},
		"an empty name":                 {`"dryRun": true, "rotateUsers": ["a", ""]`, "rotateUsers[1] is missing"},
		"a name that is none":           {`"dryRun": true, "rotateUsers": ["a", 1]`, "wrong type"},
		"a list that is none":           {`"dryRun": true, "rotateUsers": "a, b"`, "wrong type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{event.TypePostgres, event.TypeMySQL} {
				request, err := event.ParseRequest([]byte(`{"type": "` + kind + `", "host": "db.example", "port": 5432, ` + c.text + `}`))
				if err == nil {
					err = request.Check()
				}
				if c.says == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, c.says)
				}
			}
		})
	}
	request := event.Request{Type: event.TypeMySQL, Host: "db.example", Port: 3306, DryRun: true, RotateUsers: []string{"app@10.%", "app@192.%"}}
	assert.NoError(t, request.Check(), "two accounts of MySQL's")
}
