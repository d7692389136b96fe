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

func TestARotationThatFailsLeavesTheState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, answer, failure, want string
	}{
		{name: "the connector refuses", answer: `{"code":400,"message":"user1 does not exist"}`, want: "user1 does not exist"},
		{name: "the function crashes", failure: "Unhandled", answer: `{"errorType":"Runtime.ExitError","errorMessage":"exit status 2"}`,
			want: "the connector's function failed (Unhandled): exit status 2"},
		{name: "the function answers something else", answer: `"done"`, want: "reading the answer of the connector's function"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			_, _, err := w.rotate(adminToken, "db", "rotator")
			require.NoError(t, err)
			before, revision, _ := w.service.Definition("acme/db/rotator")
			w.answers, w.failure = []string{test.answer}, test.failure

			event, diagnostics, err := w.rotate(adminToken, "db", "rotator")
			require.NoError(t, err)
			require.Empty(t, diagnostics)
			assert.Equal(t, client.RotationEventFailed, event.Status)
			assert.Nil(t, event.PostRotationRevision)
			require.Len(t, event.Rotations, 1)
			assert.Equal(t, "dbRotator", event.Rotations[0].EnvironmentPath)
			require.NotNil(t, event.Rotations[0].ErrorMessage)
			assert.Contains(t, *event.Rotations[0].ErrorMessage, test.want)
			after, unchanged, _ := w.service.Definition("acme/db/rotator")
			assert.Equal(t, before, after)
			assert.Equal(t, revision, unchanged)
			assert.Len(t, w.events, 2, "one rotation is one invocation")
		})
	}
}

func TestARotationKeepsWhatWasEditedMeanwhile(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.onInvoke = func() {
		edited := rotatorDocument("postgres", w.functionARN(), ".db.managing") + "  note: edited\n"
		_, _, err := w.client(adminToken).UpdateEnvironment(t.Context(), org, "db", "rotator", []byte(edited), "")
		assert.NoError(t, err)
		_, _, err = w.rotate(adminToken, "db", "rotator")
		assert.ErrorContains(t, err, "a rotation of this environment is in progress")
	}
	event, diagnostics, err := w.rotate(adminToken, "db", "rotator")
	require.NoError(t, err)
	require.Empty(t, diagnostics)
	require.Equal(t, client.RotationEventSucceeded, event.Status)
	kept, _, _ := w.service.Definition("acme/db/rotator")
	assert.Contains(t, kept, "note: edited")
	assert.Contains(t, kept, "current:")
}

func TestAStateThatTheUserWroteIsRotatedOn(t *testing.T) {
	t.Parallel()
	w := connected(t)
	document := rotatorDocument("postgres", w.functionARN(), ".db.managing") + `      state:
        current:
          username: user2
          password:
            fn::secret: second
        previous:
          username: user1
          password:
            fn::secret: first
`
	_, _, err := w.client(adminToken).UpdateEnvironment(t.Context(), org, "db", "rotator", []byte(document), "")
	require.NoError(t, err)
	values, _, err := w.open(adminToken, "db", "rotator")
	require.NoError(t, err)
	assert.JSONEq(t, `{"dbRotator":{"current":{"username":"user2","password":"second"},"previous":{"username":"user1","password":"first"}}}`, values)
	_, _, err = w.rotate(adminToken, "db", "rotator")
	require.NoError(t, err)
	require.Len(t, w.events, 1)
	var sent struct{ RotateUser wireUser }
	require.NoError(t, json.Unmarshal([]byte(w.events[0]), &sent))
	assert.Equal(t, "user1", sent.RotateUser.Username)
	assert.Equal(t, "first", sent.RotateUser.Password)
}

func TestOnlyTheNamedPathsAreRotated(t *testing.T) {
	t.Parallel()
	w := connected(t)
	document := rotatorDocument("postgres", w.functionARN(), ".db.managing")
	_, _, err := w.client(adminToken).UpdateEnvironment(t.Context(), org, "db", "rotator",
		[]byte(document+"  second:"+document[len("values:\n  # the application's database\n  dbRotator:"):]), "")
	require.NoError(t, err)
	response, _, err := w.client(adminToken).RotateEnvironment(t.Context(), org, "db", "rotator", []string{"second"})
	require.NoError(t, err)
	require.NotNil(t, response)
	require.Len(t, response.SecretRotationEvent.Rotations, 1)
	assert.Equal(t, "second", response.SecretRotationEvent.Rotations[0].EnvironmentPath)
	assert.Len(t, w.events, 1)
}

func TestALoginThatIsRefusedRotatesNothing(t *testing.T) {
	t.Parallel()
	w := connected(t)
	require.NoError(t, w.client(adminToken).DeleteEnvironment(t.Context(), org, "db", "managing"))
	w.write("db", "managing", loginDocument(w.roleARN("missing")))
	_, diagnostics, err := w.rotate(adminToken, "db", "rotator")
	require.NoError(t, err)
	require.NotEmpty(t, diagnostics)
	assert.Contains(t, diagnostics[0].Summary, notAuthorized)
	assert.Empty(t, w.events)
}
