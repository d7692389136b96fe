package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDrawingsFitTheirTexts(t *testing.T) {
	texts, err := filepath.Glob("../../../docs/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, texts)
	for _, path := range texts {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		want, err := SVG(string(text))
		require.NoError(t, err, path)
		got, err := os.ReadFile(strings.TrimSuffix(path, ".txt") + ".svg")
		require.NoError(t, err)
		assert.Equal(t, want, string(got), "%s is older than its text: go -C e2e run ./cmd/draw ../docs", path)
	}
}
