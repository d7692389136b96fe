package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// saying is an engine that says a text wherever an engine can say something.
func saying(text string, fail bool) map[string]Engine {
	run := func(context.Context, *connector.Server, event.Request) (connector.Outcome, error) {
		if fail {
			return connector.Outcome{}, &connector.Failure{Stage: connector.StageChange, Why: text, Fix: text}
		}
		return connector.Outcome{Message: text, Note: text}, nil
	}
	return map[string]Engine{"postgres": {run, run, run}, "mysql": {run, run, run}}
}

func TestGuardMasksSecretsWholeAndEscaped(t *testing.T) {
	t.Parallel()
	const secret = `p"a's\s<wörd>%/é&`
	inJSON, err := json.Marshal(secret)
	require.NoError(t, err)
	for _, text := range []string{
		secret, strconv.Quote(secret), strconv.QuoteToASCII(secret), string(inJSON), strings.ReplaceAll(secret, "'", "''"),
		strings.ReplaceAll(secret, `"`, `""`), "p%22a%27s%5Cs%3Cw%C3%B6rd%3E%25%2F%C3%A9%26",
	} {
		for _, fail := range []bool{true, false} {
			answer := invokeWith(t, saying("before "+text+" after", fail), anyEvent(secret), plenty)
			assert.Contains(t, answer.Message, "before ")
			assert.Contains(t, answer.Message, " after")
			assert.NotContains(t, answer.Message, strings.Trim(text, `"`))
			assert.Contains(t, answer.Message, masked)
		}
	}
}

// anyPreparation is an event that creates users.
func anyPreparation(masterPassword, managingPassword string) wire {
	return wire{"type": "postgres", "host": "db.example", "port": 5432, "database": "app", "prepare": map[string]any{
		"masterUser":   map[string]any{"username": "master", "password": masterPassword},
		"managingUser": map[string]any{"username": "managing", "password": managingPassword},
		"rotateUsers":  []string{"app_1", "app_2"}}}
}

func TestGuardMasksThePasswordsOfAPreparation(t *testing.T) {
	t.Parallel()
	const master, managing = `Mas"ter'%-1`, `Man"aging'%-2`
	for _, fail := range []bool{true, false} {
		answer := invokeWith(t, saying("before "+master+" "+strconv.Quote(managing)+" after app_1", fail), anyPreparation(master, managing), plenty)
		assert.Contains(t, answer.Message, `before *** "***" after app_1`)
		for _, secret := range []string{`ter'%-1`, `aging'%-2`} {
			assert.NotContains(t, answer.raw, secret)
		}
	}
}

func TestAnswerAndLogOfAPreparation(t *testing.T) {
	t.Parallel()
	prepared := Engine{Prepare: func(context.Context, *connector.Server, event.Request) (connector.Outcome, error) {
		return connector.Outcome{Proof: connector.ProofNone, Message: "made app_1", Made: []string{"app_1"}, Found: []string{"managing", "app_2"}}, nil
	}}
	answer := invokeWith(t, map[string]Engine{"postgres": prepared}, anyPreparation("Master-Secret-1", managerPassword), plenty)
	assert.True(t, strings.HasPrefix(answer.raw, `{"code":200,"message":"made app_1","made":["app_1"],"found":["managing","app_2"]}`), answer.raw)
	assert.Equal(t, "preparation", answer.log["event"])
	assert.Equal(t, "app_1, app_2", answer.log["targetUser"])
	assert.Equal(t, "ok", answer.log["result"])

	for kind, sent := range map[string]wire{
		"rotation": anyEvent(newPassword), "dry run": anyEvent(newPassword).with("dryRun", true), "preparation": anyPreparation("Master-Secret-1", managerPassword).with("dryRun", true),
	} {
		answer := invokeWith(t, saying("ok", false), sent, plenty)
		assert.True(t, strings.HasPrefix(answer.raw, `{"code":200,"message":"ok"}`), "nothing but what ESC reads: %s", answer.raw)
		assert.Equal(t, kind, answer.log["event"])
	}
}

func TestGuardLeavesThePublicAndTheFixedAlone(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"postgres", "db.example", "managing", "example", "message", "code\":400", "app", "5432", "ed",
		"password", "newPassword", "managing user", "log in as", "Nothing was changed", "changed"} {
		text := "db.example:5432, database app, managing, user, postgres, newPassword, log in as managing user, Nothing was changed"
		answer := invokeWith(t, saying(text, true), anyEvent(secret), plenty)
		assert.Contains(t, answer.Message, text, secret)
		assert.Equal(t, 400, answer.Code)
		assert.Equal(t, "db.example", answer.log["host"])
		assert.Equal(t, "failed", answer.log["result"])
	}
}

func TestSecretThatHoldsAPublicWordIsMaskedWhole(t *testing.T) {
	t.Parallel()
	answer := invokeWith(t, saying("it is managing-Secret-of-user", true), anyEvent("managing-Secret-of-user"), plenty)
	assert.Contains(t, answer.Message, "it is ***")
	assert.NotContains(t, answer.raw, "Secret-of")
}

// A message is printed in a terminal, which obeys what a name holds.
func TestNamesInAMessageHoldNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	for _, fail := range []bool{true, false} {
		answer := invokeWith(t, saying("ALTER ROLE \"ad\x1b[2Jmin\u202e\nx\" LOGIN;", fail), anyEvent(newPassword), plenty)
		assert.Contains(t, answer.Message, `ALTER ROLE "ad\x1b[2Jmin\u202e\nx" LOGIN;`)
		assert.Contains(t, answer.Message, "stand here for one character each")
		assert.NotRegexp(t, `[[:cntrl:]]|\x{202e}`, answer.Message)
		assert.Equal(t, `ALTER ROLE "größe" LOGIN;`, invokeWith(t, saying(`ALTER ROLE "größe" LOGIN;`, false), anyEvent(newPassword), plenty).Message)
	}
}

func TestTextOfTheServerIsPrintedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"15.18 (Debian 15.18-0+deb12u1)", "8.0.mysql_aurora.3.04.0", "10.11.14-MariaDB-log", "ip-10-0-1-5.ec2.internal", "app@10.0.%", "2001:db8::7"} {
		assert.Equal(t, text, connector.Printable(text))
	}
	for _, text := range []string{"8.0.36 pass#word!of$many?signs", strings.Repeat("a", 250) + "password", "line\nline", "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"} {
		assert.Equal(t, "(not printable)", connector.Printable(text))
	}
}

func FuzzNoSecretComesOut(f *testing.F) {
	f.Add("Xq7unmistakable", "user1", "db.example", "text", uint64(1))
	f.Add(`a"b'c\d%e{f}g`, `u"1`, "h", `%s\`, uint64(2))
	f.Fuzz(func(t *testing.T, secret, user, host, text string, seed uint64) {
		const shortestSecret = 8
		if len(secret) < shortestSecret || strings.ToValidUTF8(secret, "") != secret {
			return
		}
		// Secrets are random, as ESC's are: each of the three differs, and none is a word of the rest.
		random := rand.New(rand.NewPCG(seed, seed))
		secrets := make([]string, 3)
		for i := range secrets {
			secrets[i] = fmt.Sprintf("%s%x", secret, random.Uint64())
		}
		content := wire{"type": []string{"postgres", "mysql"}[seed%2], "host": host, "port": int(seed % 70000), "database": "app", "dryRun": seed%3 == 0,
			"managingUser": map[string]any{"username": "managing", "password": secrets[0]},
			"rotateUser":   map[string]any{"username": user, "password": secrets[1], "newPassword": secrets[2]}}
		if seed%4 == 0 {
			content = content.with("managingUser", nil).with("rotateUser", nil).with("prepare", map[string]any{"rotateUsers": []string{user, "app_2"},
				"masterUser": map[string]any{"username": "master", "password": secrets[0]}, "managingUser": map[string]any{"username": "managing", "password": secrets[1]}})
			secrets[2] = secrets[1] // there are two
		}
		event, err := json.Marshal(content)
		require.NoError(t, err)
		if seed%5 == 0 { // not quite JSON, or not the right shape
			event = bytes.Replace(event, []byte(`"port"`), []byte(text), 1)
		}
		for _, fail := range []bool{true, false} {
			var log bytes.Buffer
			handler := &Handler{Log: slog.New(slog.NewJSONHandler(&log, nil)),
				Engines: saying(text+secrets[0]+" "+strconv.Quote(secrets[1])+" "+strings.ReplaceAll(secrets[2], "'", "''"), fail)}
			reply, err := handler.Invoke(t.Context(), event)
			left := string(reply) + log.String() + fmt.Sprint(err)
			for _, secret := range secrets {
				inJSON, _ := json.Marshal(secret)
				assert.NotContains(t, left, secret)
				assert.NotContains(t, left, string(inJSON[1:len(inJSON)-1]))
			}
		}
	})
}

func TestSecretPrintsAsAPlaceholder(t *testing.T) {
	t.Parallel()
	secret := event.NewSecret(newPassword)
	inJSON, err := json.Marshal(map[string]any{"a": secret, "b": &secret})
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("line", "secret", secret, "user", event.RotateUser{NewPassword: secret})
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", secret, secret, secret, secret, secret, secret, secret), string(inJSON), log.String(),
		fmt.Sprintf("%v %+v %#v", event.RotateUser{NewPassword: secret}, &event.ManagingUser{Password: secret}, event.Request{RotateUser: &event.RotateUser{NewPassword: secret}}),
	} {
		assert.NotContains(t, text, newPassword)
		assert.NotContains(t, text, fmt.Sprintf("%x", newPassword))
	}
}
