package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/event"
)

// preparationOf is the event by which the administrator makes a managing user and two users to rotate.
func preparationOf(db database, manager, password string, users ...string) wire {
	prepare := map[string]any{
		"masterUser":   map[string]any{"username": db.AdminUser, "password": db.AdminPassword},
		"managingUser": map[string]any{"username": manager, "password": password}, "rotateUsers": users,
	}
	if db.kind == event.TypeMySQL {
		prepare["privileges"] = []string{"SELECT", "INSERT"}
	}
	return wire{"type": db.kind, "host": db.Host, "port": db.Port, "database": databaseName, "prepare": prepare}
}

func TestUsersOfAPreparationAreRotatedAndNothingHoldsAPassword(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		for name, password := range passwords {
			if len(password) < shortest {
				password += password + password
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				manager, users := unique("manager"), []string{unique("user"), unique("user")}
				prepared := preparationOf(db, manager, password, users...)
				secret := func(answer answer, holds ...string) {
					t.Helper()
					for _, held := range append(holds, password, db.AdminPassword) {
						assert.NotContains(t, answer.raw, held)
					}
				}
				answer := invoke(t, prepared, plenty)
				require.Equal(t, 200, answer.Code, answer.Message)
				assert.Contains(t, answer.raw, `"made":["`+manager+`","`+users[0]+`","`+users[1]+`"]`)
				secret(answer)
				for _, user := range users {
					answer := invoke(t, rotationOf(db, manager, user).with("managingUser.password", password), plenty)
					require.Equal(t, 200, answer.Code, answer.Message)
					assert.Equal(t, "done", answer.log["proof"])
					assert.NoError(t, db.login(t, user, newPassword))
				}
				answer = invoke(t, prepared, plenty)
				require.Equal(t, 200, answer.Code, answer.Message)
				assert.Contains(t, answer.raw, `"found":["`+manager+`","`+users[0]+`","`+users[1]+`"]`)
				assert.NotContains(t, answer.raw, `"made"`)
				secret(answer)
				for _, user := range users {
					assert.NoError(t, db.login(t, user, newPassword), "its password is not kept")
				}

				const other = "Another-Secret-5"
				answer = invoke(t, prepared.with("prepare", preparationOf(db, manager, other, users...)["prepare"]), plenty)
				assert.Equal(t, 400, answer.Code)
				assert.Contains(t, answer.Message, "Nothing was changed")
				secret(answer, other)
			})
		}
	})
}
