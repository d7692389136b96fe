package e2e

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the program and the stand-ins rest on was read in the sources of these versions.
var readVersions = map[string]struct {
	version string
	sources *regexp.Regexp // by which comments name where a fact was read: a repository, or a file of it
}{
	"github.com/pulumi/pulumi-aws/sdk/v6": {"v6.83.0",
		regexp.MustCompile(`hashicorp/terraform-provider-aws|pulumi/pulumi-aws|pulumi/pulumi-terraform-bridge|hashicorp/awspolicyequivalence|` +
			`hashicorp/aws-sdk-go-base|\binternal/[a-z0-9]+/[a-z0-9_/]+\.go|_data_source\.go`)},
	"github.com/pulumi/pulumi-pulumiservice/sdk": {"v1.3.0", regexp.MustCompile(`pulumi/pulumi-pulumiservice|\bprovider/pkg/`)},
}

// A newer provider may do otherwise than its stand-in and the program expect, and no story would tell. So whoever moves one
// reads again what this test lists, mends what has changed, and then sets the version here.
func TestTheProvidersAreThoseWhoseSourcesWereRead(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	for provider, read := range readVersions {
		found := regexp.MustCompile(regexp.QuoteMeta(provider) + ` (v\S+)`).FindStringSubmatch(string(module))
		require.NotNil(t, found, "go.mod requires no %s", provider)
		facts := factsFrom(t, read.sources)
		assert.NotEmpty(t, facts, "no comment names where a fact about %s was read", provider)
		assert.Equal(t, read.version, found[1], "%s has moved. Read these facts again, in its sources of that version:\n%s", provider, strings.Join(facts, "\n"))
	}
}

// factsFrom lists the lines of the project's comments that name one of the sources.
func factsFrom(t *testing.T, sources *regexp.Regexp) []string {
	t.Helper()
	var facts []string
	require.NoError(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || path == filepath.Join("..", "e2e", "versions_test.go") {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for number := 1; lines.Scan(); number++ {
			if _, comment, is := strings.Cut(lines.Text(), "//"); is && sources.MatchString(comment) {
				facts = append(facts, fmt.Sprintf("%s:%d: %s", path, number, strings.TrimSpace(lines.Text())))
			}
		}
		return lines.Err()
	}))
	return facts
}
