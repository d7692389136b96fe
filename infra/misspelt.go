package infra

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// providers are the namespaces of the settings that the providers read.
var providers = []string{"aws", "pulumi", "pulumiservice"}

// warnOfMisspelt names the nearest setting for each key of the project's namespace that is none, and each setting in the
// namespace of another project, such as the template's from which somebody moves over.
func warnOfMisspelt(ctx *pulumi.Context, configuration Config) error {
	for _, key := range slices.Sorted(maps.Keys(configuration)) {
		namespace, name, _ := strings.Cut(key, ":")
		known := slices.ContainsFunc(settings, func(row setting) bool { return row.name == name })
		ours := namespace == ctx.Project()
		if known && !ours && !slices.Contains(providers, namespace) {
			err := ctx.Log.Warn(fmt.Sprintf("%s is a setting of another project, and is ignored. If this one's is meant, set %s:%s, and\n  pulumi config rm %s",
				key, ctx.Project(), name, key), nil)
			if err != nil {
				return err
			}
		}
		if known || !ours {
			continue
		}
		nearest, distance := "", len(name)
		for _, row := range settings {
			d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(row.name), nil)
			if d < distance {
				nearest, distance = row.name, d
			}
		}
		if distance > 3 || distance > len(name)/3 {
			continue
		}
		err := ctx.Log.Warn(fmt.Sprintf("%s is not a setting of this program, and is ignored. Is %s:%s meant?\n  pulumi config rm %s",
			key, ctx.Project(), nearest, key), nil)
		if err != nil {
			return err
		}
	}
	return nil
}
