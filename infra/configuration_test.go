package infra

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Users add resources of their own to main.go, and read settings for them as the SDK's documentation has it. This test also keeps the
// modules of that package in go.sum, so that their program compiles at once.
func TestSettingsOfTheUsersOwnAreReadBesideOurs(t *testing.T) {
	require.NoError(t, run(t, newCloud(), minimal(map[string]string{"shop:notes": "theirs"}), func(ctx *pulumi.Context, configuration Config) error {
		_, err := ReadSettings(ctx, configuration)
		assert.Equal(t, "theirs", config.New(ctx, "").Get("notes"))
		return err
	}))
}
