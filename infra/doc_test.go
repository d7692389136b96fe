package infra

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestThePackageCommentNamesEachFile(t *testing.T) {
	doc, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	named := map[string]bool{"main.go": true, "doc.go": true}
	for _, name := range regexp.MustCompile(`[a-z]+\.go`).FindAllString(doc.Doc.Text(), -1) {
		named[name] = true
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	there := map[string]bool{"main.go": true}
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			there[name] = true
		}
	}
	assert.Equal(t, there, named)
}
