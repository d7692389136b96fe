package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func printableASCII() string {
	var all strings.Builder
	for r := ' '; r <= '~'; r++ {
		all.WriteRune(r)
	}
	return all.String()
}

// passwords is the table of what a password can look like.
var passwords = map[string]string{
	"every printable ASCII character": printableASCII(),
	"URL":                             "a%2Fb#c?d[e]f@g:h/i",
	"quotes":                          `it's "quoted" \'twice\' \\ and $more$`,
	"format verbs":                    "%s%d%v%!(EXTRA)",
	"braces":                          "{{.Password}} ${HOME} `id`",
	"spaces around":                   "  in the middle  ",
	"non-ASCII":                       "Pässwörter-密码-пароль",
	"squared":                         "x²",
	"full width":                      "passＡword",
	"soft hyphen":                     "soft\u00adhyphen",
	"zero width space":                "zero\u200bwidth",
	"emoji":                           "²😀",
	"roman numeral":                   "Ⅸ and ﬁsh",
	"only a soft hyphen":              "\u00ad",
	"no-break space":                  "no\u00a0break",
	"Hebrew":                          "סיסמה",
	"Hebrew and Latin, decomposed":    "e\u0301סיסמה",
	"compatibility, prohibited":       "\u0340accent\u212b",
	"control characters":              "tab\tnewline\nreturn\rbell\a",
	"90 bytes":                        strings.Repeat("0123456789", 9),
	"1000 bytes":                      strings.Repeat("0123456789", 100),
}

func TestAnyNewPasswordLogsIn(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		for name, password := range passwords {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rotation := rotation(t, db).with("rotateUser.newPassword", password)
				answer := invoke(t, rotation, plenty)
				require.Equal(t, 200, answer.Code, answer.Message)
				assert.Equal(t, "ok", answer.Message)
				assert.Equal(t, "done", answer.log["proof"])
				user := rotation["rotateUser"].(map[string]any)["username"].(string)
				assert.NoError(t, db.login(t, user, password))
				assert.Error(t, db.login(t, user, oldPassword))
				if len(password) >= shortest {
					assert.NotContains(t, answer.raw, password)
				}
			})
		}
	})
}

func TestAnyManagingPasswordLogsIn(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		for name, password := range passwords {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				manager, user := unique("manager"), unique("user")
				db.createManager(t, manager, password)
				db.createUser(t, user, oldPassword)
				answer := invoke(t, rotationOf(db, manager, user).with("managingUser.password", password), plenty)
				require.Equal(t, 200, answer.Code, answer.Message)
				assert.NoError(t, db.login(t, user, newPassword))
			})
		}
	})
}

func TestAnyUserName(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		for _, name := range []string{`it's`, `say "hi"`, "with space", "dotted.name", "100%", "UpperCase", `back\slash`, "naïve", "semi;colon--", "a/b?c#d"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				manager, user := unique(name), unique(name)
				db.createManager(t, manager, managerPassword)
				db.createUser(t, user, oldPassword)
				answer := invoke(t, rotationOf(db, manager, user), plenty)
				require.Equal(t, 200, answer.Code, answer.Message)
				assert.Equal(t, user, answer.log["targetUser"])
				assert.NoError(t, db.login(t, user, newPassword))
			})
		}
	})
}
