package infra

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"esc-connector-lambda-go/lambda/event"
)

const aSecret = "is set to a [secret]"

// shown says what a setting is, and never what a secret is.
func (s *Settings) shown(key string) string {
	switch {
	case s.isSecret(key):
		return aSecret
	case s.isHidden(key):
		return "is set to what may be a URL or a connection string with a password, which is not shown"
	}
	return fmt.Sprintf("is %q", s.given[key])
}

// isHidden reports whether what a setting is may not be shown: it is a secret, or may be a pasted URL or connection string.
func (s *Settings) isHidden(key string) bool {
	value, pasted := s.given[key], false
	switch _, name, _ := strings.Cut(key, ":"); name {
	case "databaseHost":
		pasted = event.ShownHost(value) != value
	case "backendUrl": // which is a URL, without the parts in which a secret would be; a webhook's is in a long path
		address, err := url.Parse(value)
		pasted = err != nil || address.Opaque != "" || address.User != nil || address.RawQuery != "" || address.Fragment != "" ||
			strings.Count(strings.Trim(address.Path, "/"), "/") > 0 || event.ShownName(address.Path) != address.Path
	default:
		pasted = event.ShownName(value) != value
	}
	return pasted || s.isSecret(key)
}

// hide puts [secret] into the place of each setting that is a secret, and of further ones, and leaves nothing that a terminal obeys.
func (s *Settings) hide(text string, further ...event.Secret) string {
	hidden := append(slices.Clone(further), s.ManagingPassword, s.MasterPassword, s.WebhookURL)
	for key, value := range s.given {
		if s.isSecret(key) {
			hidden = append(hidden, event.NewSecret(value))
			if strings.Contains(strings.ToLower(key), "username") { // of an account of MySQL's, which a message has in two parts
				name, _ := event.SplitAccount(value)
				hidden = append(hidden, event.NewSecret(name))
			}
		}
	}
	var forms []string
	for _, secret := range hidden {
		const least = 3 // bytes, as the CLI has it: less would hide everything
		if plain := secret.Reveal(); len(plain) >= least {
			for _, form := range event.Forms(plain) {
				forms = append(forms, form, event.Visible(form)) // as the function's answer has it
			}
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) }) // of one within another nothing is left
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, "[secret]")
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = event.Visible(line)
	}
	return strings.Join(lines, "\n")
}

// misplacedSecrets are warnings of secrets that stand in clear in the stack's configuration file, and of settings that are
// secrets there and nowhere else.
func (s *Settings) misplacedSecrets() []string {
	var warnings []string
	for _, row := range settings {
		key := row.key(s.Project)
		switch value := s.given[key]; {
		case !s.isSet(row):
		case !row.secret && (value == s.ManagingPassword.Reveal() || value == s.MasterPassword.Reveal()):
			warnings = append(warnings, fmt.Sprintf("%s is the same as a password of these settings, and is kept secret nowhere. Unless it is meant, set it anew, and choose another password\n  %s",
				key, row.command(key)))
		case row.secret && !s.isSecret(key):
			warnings = append(warnings, fmt.Sprintf("%s is set without --secret, and so stands in clear in Pulumi.%s.yaml\n  %s",
				key, s.Stack, row.command(key)))
		case !row.secret && s.isSecret(key) && row.allowed != anyText: // names in the database stay secrets
			warnings = append(warnings, fmt.Sprintf("%s is a secret of the stack's configuration, and is kept secret nowhere else: the stack's state, AWS or Pulumi Cloud may have it in clear, "+
				"and what the Pulumi CLI prints has [secret] in its place, commands included\n  pulumi config set --plaintext %s <value>", key, key))
		}
	}
	return warnings
}
