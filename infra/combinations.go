package infra

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"esc-connector-lambda-go/environments"
)

// placeholderOrganization is what Pulumi gives as a stack's organization where there is none.
const placeholderOrganization = "organization"

// publicBackend is Pulumi's own instance of Pulumi Cloud.
const publicBackend = "https://api.pulumi.com"

// combine completes the settings that follow from others, and returns which do not go together.
func (s *Settings) combine() []problem {
	if s.Managing == (environments.Name{}) && s.Rotator != (environments.Name{}) {
		s.Managing = s.derivedManaging()
	}
	problems := slices.Concat(s.missingOrganization(), s.checkLogin(), s.missingDatabase(), s.checkPublished(), s.checkIAM(), s.missingForPreparation(), s.sameUsers(), s.sameEnvironment(), s.checkWatch())
	s.Rotator.Organization, s.Managing.Organization = s.Organization, s.Organization
	return problems
}

// derivedManaging is the managing credentials environment's name where it is not set.
func (s *Settings) derivedManaging() environments.Name {
	name := s.Rotator
	name.Environment += "ManagingCreds"
	return name
}

func (s *Settings) missingOrganization() []problem {
	row := settingOf("organization")
	if s.isSet(row) || s.Organization != placeholderOrganization {
		return nil
	}
	missing := s.problem(row, "is not set, and this stack's state is not kept in Pulumi Cloud, so that its organization is "+
		"only the placeholder \""+placeholderOrganization+"\"")
	missing.allowed = "the organization of Pulumi Cloud in which the two ESC environments are to be"
	return []problem{missing}
}

// checkLogin is about backendUrl and the instance that the CLI is logged in to, where the one is Pulumi's own and the other
// is not. The CLI gives the login's access token to providers (from v3.259.0 on; none where the state is in a folder or a
// bucket), and the provider would send it to backendUrl.
func (s *Settings) checkLogin() []problem {
	login, err := ParseBackend(os.Getenv("PULUMI_API"))
	// One instance that people host themselves can have several addresses.
	addresses := []string{login.URL, s.Backend.URL}
	if err != nil || !s.inCloud || s.Backend.URL == "" || login.URL == s.Backend.URL || !slices.Contains(addresses, publicBackend) {
		return nil
	}
	key := s.Project + ":backendUrl"
	is, other := "is "+s.Backend.URL, s.Backend.URL
	if s.isSecret(key) {
		is, other = aSecret, "<the other>"
	}
	return []problem{{key: key,
		reason:  fmt.Sprintf("%s, and the Pulumi CLI is logged in to %s, whose access token is not for the former", is, login.URL),
		allowed: "the instance of Pulumi Cloud that the CLI is logged in to; or log in to the other: pulumi login " + other,
		command: "pulumi config set " + key + " " + login.URL}}
}

// missingDatabase is what is not set of a database's whereabouts. RDS knows all of it; of another
// database the settings must say it, but for the port.
func (s *Settings) missingDatabase() []problem {
	identifier := settingOf("rdsDbIdentifier")
	if s.isSet(identifier) {
		return nil
	}
	var missing []problem
	outsideRDS := false
	for _, row := range settings {
		if row.need != fromRDS {
			continue
		}
		if s.isSet(row) {
			outsideRDS = true
			continue
		}
		missing = append(missing, s.problem(row, "is not set, and neither is rdsDbIdentifier, by which RDS would tell it"))
	}
	if !outsideRDS {
		return []problem{s.problem(identifier, "is not set")}
	}
	return missing
}

// missingForPreparation is what prepareDatabase needs and is not set.
func (s *Settings) missingForPreparation() []problem {
	if !s.PrepareDatabase {
		return nil
	}
	var missing []problem
	need := func(name, reason string) {
		if row := settingOf(name); !s.isSet(row) {
			missing = append(missing, s.problem(row, reason))
		}
	}
	for _, name := range []string{"databaseName", "rotateUsername1", "rotateUsername2", "managingUsername", "managingPassword"} {
		if name != "managingPassword" || !s.ManagingIAM {
			need(name, "is not set, and prepareDatabase needs it")
		}
	}
	return missing
}

// unread is a warning of what is set for a preparation where there is to be none.
func (s *Settings) unread() []string {
	set := s.ofPreparation()
	if s.PrepareDatabase || len(set) == 0 {
		return nil
	}
	names := strings.Join(set, ", ")
	if s.Published {
		return []string{fmt.Sprintf("nothing is done by %s with lambdaArtifact published, whose function prepares no database%s", names, s.remove(set))}
	}
	return []string{fmt.Sprintf("nothing is done by %s without prepareDatabase\n  pulumi config set %s:prepareDatabase true\n  Or, where the users are there:%s",
		names, s.Project, s.remove(set))}
}

// ofPreparation are the settings that are set and that a preparation alone reads.
func (s *Settings) ofPreparation() []string {
	return slices.DeleteFunc([]string{"masterUsername", "masterPassword", "applicationRole", "applicationPrivileges"},
		func(name string) bool { return !s.isSet(settingOf(name)) })
}

// endPreparation are the commands that remove prepareDatabase and what it alone reads.
func (s *Settings) endPreparation() string {
	return s.remove(append(s.ofPreparation(), "prepareDatabase"))
}

// remove are the commands that remove settings, a line each.
func (s *Settings) remove(names []string) string {
	var commands strings.Builder
	for _, name := range names {
		fmt.Fprintf(&commands, "\n    pulumi config rm %s:%s", s.Project, name)
	}
	return commands.String()
}

// missingMaster is what is not set of who makes the users. What RDS knows of them is found out later, and where they have been made
// it is needed no longer: it is reported together with what else is wrong, or as soon as it is needed.
func (s *Settings) missingMaster() []problem {
	username, password := settingOf("masterUsername"), settingOf("masterPassword")
	outsideRDS := !s.isSet(settingOf("rdsDbIdentifier")) && s.isSet(settingOf("databaseHost"))
	var missing []problem
	for _, pair := range [][2]setting{{username, password}, {password, username}} {
		switch is, other := pair[0], pair[1]; {
		case !s.PrepareDatabase || s.isSet(is):
		case s.isSet(other):
			missing = append(missing, s.problem(is, "is not set, and "+other.name+" is: prepareDatabase needs both, or neither where RDS keeps the password"))
		case outsideRDS:
			missing = append(missing, s.problem(is, "is not set, and prepareDatabase needs it where RDS does not run the database"))
		}
	}
	return missing
}

// sameUsers is which settings name the same database user: the two whose passwords change in turn are two, and the
// managing user is neither, since a rotation would lock it out.
func (s *Settings) sameUsers() []problem {
	type user struct{ name, value string }
	users := []user{{"rotateUsername1", s.RotateUsername1}, {"rotateUsername2", s.RotateUsername2}, {"managingUsername", s.ManagingUsername}}
	if s.PrepareDatabase {
		users = append(users, user{"masterUsername", s.MasterUsername}, user{"applicationRole", s.ApplicationRole})
	}
	var problems []problem
	for i, later := range users {
		for _, earlier := range users[:i] {
			if later.value == "" || plainUser(later.value) != plainUser(earlier.value) {
				continue
			}
			row, other := settingOf(later.name), s.Project+":"+earlier.name
			reason := fmt.Sprintf("%s, the user that %s names", s.shown(row.key(s.Project)), other)
			if s.isSecret(other) {
				reason = "names the same user as " + other
			}
			same := s.problem(row, reason)
			same.allowed = "another user: the passwords of two users change in turn, and the managing user's never does"
			if later.name == "masterUsername" || later.name == "applicationRole" {
				same.allowed = "another name: the users that are made are neither the master user nor the role that they are in"
			}
			problems = append(problems, same)
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

func (s *Settings) sameEnvironment() []problem {
	if s.Managing != s.Rotator || s.Rotator == (environments.Name{}) {
		return nil
	}
	key := s.Project + ":managingCredsEnvironmentName"
	return []problem{{key: key,
		reason:  s.shown(key) + ", the rotator environment itself",
		allowed: "another environment, so that who reads the rotated passwords need not see the managing user's",
		command: "pulumi config rm " + key}}
}
