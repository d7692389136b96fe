package esc_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/dbtest"
)

// pulumi runs the real CLI against the world's service and answers what it printed.
func (w *world) pulumi(home string, arguments ...string) (output string, err error) {
	w.t.Helper()
	command := exec.Command(cli(w.t), append(arguments, "--color", "never", "--non-interactive")...)
	command.Dir = home
	command.Env = []string{
		"HOME=" + home, "PULUMI_HOME=" + filepath.Join(home, ".pulumi"), "PATH=" + os.Getenv("PATH"),
		"PULUMI_BACKEND_URL=" + w.url, "PULUMI_ACCESS_TOKEN=" + adminToken, "PULUMI_SKIP_UPDATE_CHECK=true",
	}
	var text bytes.Buffer
	command.Stdout, command.Stderr = &text, &text
	err = command.Run()
	return text.String(), err
}

// cli finds the Pulumi CLI: on PATH, else where this project builds it.
func cli(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("pulumi"); err == nil {
		return path
	}
	cache, err := dbtest.CacheFolder()
	require.NoError(t, err)
	path := filepath.Join(cache, "bin", "pulumi")
	require.FileExists(t, path, "the Pulumi CLI is not on PATH, and not built: run `make test`")
	return path
}

func TestThePulumiCLIWorksWithTheService(t *testing.T) {
	t.Parallel()
	w := connected(t)
	home := t.TempDir()
	run := func(arguments ...string) string {
		t.Helper()
		output, err := w.pulumi(home, arguments...)
		require.NoError(t, err, output)
		return output
	}
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(home, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}

	assert.Contains(t, run("env", "ls"), "acme/db/managing\nacme/db/rotator\n")

	assert.Contains(t, run("env", "init", "acme/db/app"), "Environment created: acme/db/app")
	output, err := w.pulumi(home, "env", "init", "acme/db/app")
	assert.Error(t, err)
	assert.Contains(t, output, "already exists")

	document := write("app.yaml", "values:\n  user: app\n  token:\n    fn::secret: s3cr3t-text\n")
	assert.Contains(t, run("env", "edit", "acme/db/app", "--file", document), "Environment updated. (revision 2)")
	shown := run("env", "get", "acme/db/app")
	assert.Contains(t, shown, "[secret]")
	assert.NotContains(t, shown, "s3cr3t-text")
	assert.Contains(t, run("env", "get", "acme/db/app", "--show-secrets"), "s3cr3t-text")
	assert.Equal(t, "s3cr3t-text\n", run("env", "open", "acme/db/app", "token", "--format", "string"))
	assert.Contains(t, run("env", "run", "acme/db/app", "--", "echo", "ran"), "ran")
	run("env", "set", "acme/db/app", "user", "other")
	assert.Contains(t, run("env", "get", "acme/db/app", "user", "--value", "string"), "other")
	assert.Contains(t, run("env", "version", "history", "acme/db/app"), "revision 3 (tag: latest)")

	broken := write("broken.yaml", "values:\n  user: ${nobody}\n")
	output, _ = w.pulumi(home, "env", "edit", "acme/db/app", "--file", broken)
	assert.Contains(t, output, `unknown property "nobody"`)

	output, _ = w.pulumi(home, "env", "open", "acme/db/rotator")
	assert.Contains(t, output, "rotate the environment first")
	assert.Contains(t, run("env", "rotate", "acme/db/rotator"), "Environment 'acme/db/rotator' rotated.\nNew revision '3' was created.")
	assert.Equal(t, "user1\n", run("env", "open", "acme/db/rotator", "dbRotator.current.username", "--format", "string"))
	run("env", "rotate", "acme/db/rotator")
	assert.Equal(t, "user2\n", run("env", "open", "acme/db/rotator", "dbRotator.current.username", "--format", "string"))
	assert.Contains(t, run("env", "get", "acme/db/rotator"), "# the application's database", "a rotation keeps comments")

	w.will(`{"code":400,"message":"connecting to db.example failed"}`)
	output, _ = w.pulumi(home, "env", "rotate", "acme/db/rotator")
	assert.Contains(t, output, "connecting to db.example failed")

	assert.Contains(t, run("env", "rm", "acme/db/app", "--yes"), `Environment "acme/db/app" has been removed!`)
	assert.NotContains(t, run("env", "ls"), "acme/db/app")
}

func TestAnEditorThatSavesTooLateIsRefused(t *testing.T) {
	w := connected(t)
	home := t.TempDir()
	editor := filepath.Join(home, "editor")
	// While the editor is open, somebody rotates.
	require.NoError(t, os.WriteFile(editor, []byte(`#!/bin/sh
set -e
'`+cli(t)+`' env rotate acme/db/rotator --non-interactive
sed -i 's/rotator_db/orders/' "$1"
`), 0o700))
	output, err := w.pulumi(home, "env", "edit", "acme/db/rotator", "--editor", editor)
	assert.Error(t, err)
	assert.Contains(t, output, "Conflict")
	yaml, revision, _ := w.service.Definition("acme/db/rotator")
	assert.Equal(t, 3, revision)
	assert.Contains(t, yaml, "rotator_db")
	assert.Contains(t, yaml, "current:")
}
