package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The real provider refuses a setting that it does not know: "Invalid or unknown key".
func TestTheSettingsAreThoseOfTheProvider(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi-aws/sdk/v6")
	list.Dir = filepath.Join("..", "..", "..")
	folder, err := list.Output()
	require.NoError(t, err)
	sdk, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "go", "aws", "config", "config.go"))
	require.NoError(t, err)
	for _, setting := range settings {
		assert.True(t, strings.Contains(string(sdk), `"aws:`+setting+`"`), setting)
	}
}
