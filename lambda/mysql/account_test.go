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
