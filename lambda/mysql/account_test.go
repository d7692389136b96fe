package mysql

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"esc-connector-lambda-go/lambda/event"
)

func TestHostPatternsAdmitAsTheManualSays(t *testing.T) {
	for _, c := range []struct {
		pattern, client string
		admits          bool
	}{
		{"%", "10.1.2.3", true}, {"", "10.1.2.3", true}, {"10.1.2.3", "10.1.2.3", true}, {"10.1.2.4", "10.1.2.3", false},
		{"10.1.%", "10.1.2.3", true}, {"10.2.%", "10.1.2.3", false}, {"10.1.2._", "10.1.2.3", true}, {"10.1.2._", "10.1.2.33", false},
		{"192.168.1.0/255.255.255.0", "192.168.1.77", true}, {"192.168.1.0/255.255.255.0", "192.168.2.77", false},
		{"192.168.1.0/24", "192.168.1.77", true}, {"192.168.1.0/24", "192.168.2.77", false}, {"192.168.1.0/x", "192.168.1.77", false},
		{"LocalHost", "localhost", true}, {"%.example", "db.example", true}, {"%.example", "10.1.2.3", false},
		{`a\_b.example`, "a_b.example", true}, {`a\_b.example`, "axb.example", false},
		{"10.1.%", "ip-10-1-2-3.ec2.internal", true}, // the server may match the address that it does not show
		{"2001:db8::%", "2001:db8::7", true}, {"::1", "::1", true},
	} {
		assert.Equal(t, c.admits, account{"user", c.pattern}.admits(c.client), "%s %s", c.pattern, c.client)
	}
}

func TestMySQLKeepsThePluginAndMariaDBGetsTheHash(t *testing.T) {
	text, argument := statement(false, event.NewSecret("Secret-1"))
	assert.Equal(t, "ALTER USER IF EXISTS ?@? IDENTIFIED BY ?", text)
	assert.Equal(t, "Secret-1", argument)
	// SELECT PASSWORD('mypass'), an example of the MySQL 5.7 manual's page on password hashing.
	text, argument = statement(true, event.NewSecret("mypass"))
	assert.Equal(t, "ALTER USER IF EXISTS ?@? IDENTIFIED BY PASSWORD ?", text)
	assert.Equal(t, "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4", argument)
}

func TestMariaDBIsKnownByEitherSign(t *testing.T) {
	assert.True(t, isMariaDB("2", "10.11.14-MariaDB-log"))
	assert.True(t, isMariaDB("2", "8.0.36"), "a version of the administrator's choice")
	assert.True(t, isMariaDB("1", "10.11.14-MariaDB-log"), "a proxy that leaves comments out")
	assert.False(t, isMariaDB("1", "8.0.36"))
}

func TestVersionsAreCompared(t *testing.T) {
	for version, least := range map[string]bool{"8.0.14": true, "8.0.13-log": false, "8.0.36": true, "8.4.0": true, "9.1.0": true, "5.7.44-log": false, "8.0.mysql_aurora.3.04.0": false, "nonsense": false} {
		assert.Equal(t, least, atLeast(version, 8, 0, 14), version)
	}
}

func TestPatternOfManyWildcardsTakesNoTime(t *testing.T) {
	long := strings.Repeat("a", 255)
	assert.False(t, like(long, strings.Repeat("%a", 127)+"b"))
	assert.True(t, like(long, strings.Repeat("%a", 127)))
	for pattern, matches := range map[string]bool{"%": true, "%%": true, "a%": true, "%a": true, "%ab%": false, `\%`: false, `a\`: false, "": false, "_": false} {
		assert.Equal(t, matches, like("aaa", pattern), pattern)
	}
	assert.True(t, like("", "%"))
	assert.True(t, like("50%", `50\%`))
	assert.False(t, account{"user", long + "%"}.admits(long), "no account has a host so long")
}

func TestHashIsThatOfSHACrypt(t *testing.T) {
	// The first is an example of https://www.akkadia.org/drepper/SHA-crypt.txt, and the others are libxcrypt's, as in
	// perl -e 'print crypt("x" x 64, q($5$saltstring$))'.
	for password, digest := range map[string]string{
		"Hello world!": "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "": "FdNfA4gXqvCeO6iZs7G/.wwwoywYZqo0l1pwmfWaBA7",
		strings.Repeat("x", 20): "RUNZhfQ85ZNcYynSjMsHKvLp0MZ3UT5.VhrHQzcHOj3", strings.Repeat("x", 64): ".Q4wJP3hnYUpcFYigvdygfeEBqAFzeeKjKg/MtHRkKA",
		strings.Repeat("Pässwörter", 9): "QtUtfq.P0Q8pf0HGiMWh6m9v8MEu.oAsQ8PO2N/C8r0",
	} {
		assert.Equal(t, digest, shaCrypt(password, "saltstring"), password)
	}
	hash := sha2Hash(cachingSHA2Password, event.NewSecret("Hello world!"), "01234567890123456789")
	assert.Regexp(t, `^\$A\$005\$01234567890123456789[./0-9A-Za-z]{43}$`, hash)
	assert.Regexp(t, `^\$5\$01234567890123456789\$[./0-9A-Za-z]{43}$`, sha2Hash(sha256Password, event.NewSecret("Hello world!"), "01234567890123456789"))
}

func TestPluginOfANewAccountIsTheServersDefault(t *testing.T) {
	for _, c := range []struct{ policy, byDefault, plugin string }{
		{"", nativePassword, nativePassword},                                                                                         // 5.7, and 8.0 before authentication_policy
		{"*,,", nativePassword, nativePassword}, {"*,,", cachingSHA2Password, cachingSHA2Password}, {"*,,", "", cachingSHA2Password}, // 8.0, 8.4
		{"*:mysql_native_password,,", "", nativePassword}, {"*:sha256_password", "", sha256Password}, {" sha256_password , *", nativePassword, sha256Password},
		{"*,,", "authentication_ldap_simple", cachingSHA2Password}, {"*", "", cachingSHA2Password},
	} {
		assert.Equal(t, c.plugin, defaultPlugin(c.policy, c.byDefault), "%+v", c)
	}
}

func TestGrantNamesTheDatabaseAlone(t *testing.T) {
	for database, pattern := range map[string]string{"app": "app", "my_app": `my\_app`, "100%": `100\%`, `back\slash`: `back\\slash`, "App": "App"} {
		assert.Equal(t, pattern, naming{}.pattern(database))
		assert.True(t, naming{}.matches(pattern, database))
		assert.False(t, naming{}.matches(pattern, database+"x"))
	}
	assert.Equal(t, "My_App", naming{literal: true}.pattern("My_App"))
	assert.Equal(t, `my\_app`, naming{folds: true}.pattern("My_App"))
	assert.True(t, naming{folds: true}.matches("my_app", "My_App"))
	assert.False(t, naming{literal: true}.matches(`my\_app`, "my_app"))
	assert.False(t, naming{literal: true}.matches("my%", "my_app"))
}

func TestOnlyWhatIsLackingIsGranted(t *testing.T) {
	four := []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	for name, c := range map[string]struct {
		needs needs
		held  holding
		lacks []grant
		clear bool
	}{
		"nothing is there":                   {needs{[]string{"CREATE USER"}, []string{"ALTER"}}, holding{}, []grant{{[]string{"CREATE USER"}, "*.*"}, {[]string{"ALTER"}, "`my\\_app`.*"}}, true},
		"nothing is needed":                  {needs{}, holding{databases: map[string][]string{"my%": {"SELECT"}}}, nil, true},
		"all is there everywhere":            {needs{nil, four}, holding{everywhere: append([]string{"PROCESS"}, four...)}, nil, true},
		"some is there":                      {needs{nil, four}, holding{everywhere: []string{"SELECT"}, databases: map[string][]string{`my\_app`: {"INSERT"}}}, []grant{{[]string{"UPDATE", "DELETE"}, "`my\\_app`.*"}}, true},
		"a wider grant is enough":            {needs{nil, four}, holding{databases: map[string][]string{"my_app": four}}, nil, true},
		"two wider ones, and each is enough": {needs{nil, four}, holding{databases: map[string][]string{"my_app": four, "my%": four}}, nil, true},
		"a wider one that is out of force":   {needs{nil, four}, holding{databases: map[string][]string{`my\_app`: {"SELECT"}, "my_app": four}}, []grant{{four[1:], "`my\\_app`.*"}}, true},
		"a wider one is repeated":            {needs{nil, four[:2]}, holding{databases: map[string][]string{"my_app": {"CREATE", "SELECT"}}}, []grant{{[]string{"CREATE", "SELECT", "INSERT"}, "`my\\_app`.*"}}, true},
		"one of two wider ones":              {needs{nil, four}, holding{databases: map[string][]string{"my_app": four, "my%": {"SELECT"}}}, nil, false},
		"a wider one to pass on":             {needs{nil, four}, holding{databases: map[string][]string{"my_app": {"SELECT", grantOption}}}, nil, false},
	} {
		lacks, clear := c.needs.lacking(c.held, "my_app", naming{})
		assert.Equal(t, c.lacks, lacks, name)
		assert.Equal(t, c.clear, clear, name)
	}
}
