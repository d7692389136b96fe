package e2e

import (
	"os"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The language host has these names as text, see there.
func TestTheLanguageHostSetsTheVariablesThatProgramsRead(t *testing.T) {
	source, err := os.ReadFile("cmd/pulumi-language-go/main.go")
	require.NoError(t, err)
	for _, name := range []string{
		pulumi.EnvOrganization, pulumi.EnvProject, pulumi.EnvPulumiRootDirectory, pulumi.EnvStack, pulumi.EnvConfig,
		pulumi.EnvConfigSecretKeys, pulumi.EnvDryRun, pulumi.EnvParallel, pulumi.EnvMonitor, pulumi.EnvEngine,
	} {
		assert.Contains(t, string(source), `"`+name+`":`)
	}
}
