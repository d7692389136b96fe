package infra

import (
	"fmt"
	"strings"
)

// sameUsers tells which settings name the same database user: the two whose passwords change in turn are two, and the
// managing user is neither, since a rotation would lock it out.
func (s *Settings) sameUsers() []problem {
	type user struct{ name, value string }
	users := []user{{"rotateUsername1", s.RotateUsername1}, {"rotateUsername2", s.RotateUsername2}, {"managingUsername", s.ManagingUsername}}
	var problems []problem
	for i, later := range users {
		for _, earlier := range users[:i] {
			if later.value == "" || plainUser(later.value) != plainUser(earlier.value) {
				continue
			}
			key, other := s.Project+":"+later.name, s.Project+":"+earlier.name
			reason := fmt.Sprintf("%s, the user that %s names", s.shown(key), other)
			if s.isSecret(other) {
				reason = "names the same user as " + other
			}
			problems = append(problems, problem{key: key, reason: reason,
				allowed: "another user: the passwords of two users change in turn, and the managing user's never does",
				command: "pulumi config set " + key + " " + example(later.name)})
			break
		}
	}
	return problems
}

// plainUser is a user's name without what SQL writes around it: blanks, quotes, and on MySQL the host % for any.
func plainUser(name string) string {
	unquoted := strings.NewReplacer("'", "", "`", "", `"`, "").Replace(strings.TrimSpace(name))
	return strings.TrimSuffix(unquoted, "@%")
}

// example is that of a setting.
func example(name string) string {
	for _, row := range settings {
		if row.name == name {
			return row.example
		}
	}
	return ""
}
