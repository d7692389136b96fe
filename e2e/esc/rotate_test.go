package esc_test

import (
	"encoding/json"
	"testing"

	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type wireUser struct {
	Username, Password string
	NewPassword        string `json:",omitempty"`
}

func TestRotationsAlternateTheTwoUsers(t *testing.T) {
	t.Parallel()
	w := connected(t)

	type state struct {
		DBRotator struct{ Current, Previous wireUser } `json:"dbRotator"`
	}
	var before state
	for round, want := range []struct{ current, previous string }{{"user1", "user2"}, {"user2", "user1"}, {"user1", "user2"}} {
		event, diagnostics, err := w.rotate(adminToken, "db", "rotator")
		require.NoError(t, err)
		require.Empty(t, diagnostics)
		require.Equal(t, client.RotationEventSucceeded, event.Status)
		require.NotNil(t, event.PostRotationRevision)
		assert.Equal(t, event.PreRotationRevision+1, *event.PostRotationRevision)

		values, diagnostics, err := w.open(adminToken, "db", "rotator")
		require.NoError(t, err)
		require.Empty(t, diagnostics)
		var after state
		require.NoError(t, json.Unmarshal([]byte(values), &after))
		assert.Equal(t, want.current, after.DBRotator.Current.Username)
		assert.Equal(t, want.previous, after.DBRotator.Previous.Username)
		assert.Equal(t, before.DBRotator.Current.Password, after.DBRotator.Previous.Password, "what was current still works")
		assert.GreaterOrEqual(t, len(after.DBRotator.Current.Password), 32)
		assert.NotEqual(t, before.DBRotator.Current.Password, after.DBRotator.Current.Password)

		require.Len(t, w.events, round+1)
		var sent map[string]any
		require.NoError(t, json.Unmarshal([]byte(w.events[round]), &sent))
		assert.Equal(t, map[string]any{
			"type": "postgres", "host": "db.example", "port": 5432.0, "database": "rotator_db",
			"managingUser": map[string]any{"username": "managing_user", "password": "manager's password"},
			"rotateUser": map[string]any{
				"username": want.current, "password": before.DBRotator.Previous.Password,
				"newPassword": after.DBRotator.Current.Password,
			},
		}, sent)
		before = after
	}
	assert.NotContains(t, w.invokedBy, "esc", "the function is invoked with the assumed role's credentials")
}
