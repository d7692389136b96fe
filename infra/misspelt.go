package infra

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// providers are the namespaces of the settings that the providers read.
var providers = []string{"aws", "pulumi", "pulumiservice"}

// misspelt are warnings that name the nearest setting for each key of the project's namespace that is none, and each setting in
// the namespace of another project, such as the template's from which somebody moves over.
func (s *Settings) misspelt(configuration Config) []string {
	var warnings []string
	for _, key := range slices.Sorted(maps.Keys(configuration)) {
		namespace, name, _ := strings.Cut(key, ":")
		known := slices.ContainsFunc(settings, func(row setting) bool { return row.name == name })
		switch ours := namespace == s.Project; {
		case known && !ours && !slices.Contains(providers, namespace):
			warnings = append(warnings, fmt.Sprintf("%s is a setting of another project, and is ignored. If this one's is meant, set %s:%s, and\n  pulumi config rm %s",
				key, s.Project, name, key))
		case !known && ours:
			if row := nearest(name); row != nil {
				warnings = append(warnings, fmt.Sprintf("%s is not a setting of this program, and is ignored. Is %s meant?\n  pulumi config rm %s",
					key, row.key(s.Project), key))
			}
		}
	}
	return warnings
}

// nearest is the setting that a name nearly is, or that one of several words is without some of its letters, as sslMode is, or nil: a
// user's own code may read settings of its own.
func nearest(name string) *setting {
	lower, most := strings.ToLower(name), min(3, len(name)/3)
	var found *setting
	for i, least := 0, most+1; i < len(settings); i++ {
		_, plain, _ := strings.Cut(settings[i].key(""), ":")
		plain = strings.ToLower(plain)
		distance := levenshtein.Distance(lower, plain, nil)
		if lower != name && leavesOut(plain, lower) {
			distance = min(distance, most)
		}
		if distance < least {
			found, least = &settings[i], distance
		}
	}
	return found
}

// leavesOut reports whether part is whole without some of its letters.
func leavesOut(whole, part string) bool {
	for _, letter := range whole {
		part = strings.TrimPrefix(part, string(letter))
	}
	return part == ""
}
