package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// folder is where archives are kept: in the user's cache folder, or where there is none that can be written, as in a
// container, in that of the go command.
func (b *build) folder() (string, error) {
	cache, err := os.UserCacheDir()
	if err == nil {
		cache = filepath.Join(cache, "esc-connector-lambda-go", "archives")
		err = os.MkdirAll(cache, 0o755)
	}
	if err == nil {
		return cache, nil
	}
	cache = filepath.Join(b.cache, "esc-connector-lambda-go")
	if !filepath.IsAbs(cache) || os.MkdirAll(cache, 0o755) != nil {
		return "", fmt.Errorf("finding a folder for the compiled ./lambda: %w", err)
	}
	return cache, nil
}

var (
	// replaced is a module of go.mod that is replaced by a folder.
	replaced = regexp.MustCompile(`=>\s*"?(\.{0,2}[/\\]|[A-Za-z]:[/\\])`)
	// moduleLine is go.mod's name of the project.
	moduleLine = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)
	// importLine is an import of one package.
	importLine = regexp.MustCompile(`(?m)^\s*(?:import\s+)?(?:[\w.]+\s+)?"([^"]+)"\s*(?://.*)?$`)
)

// importsOther reports whether a file of ./lambda imports a package of the project that is not in ./lambda.
func importsOther(source []byte, project string) bool {
	for _, match := range importLine.FindAllSubmatch(source, -1) {
		if name, ours := strings.CutPrefix(string(match[1]), project+"/"); ours && name != "lambda" && !strings.HasPrefix(name, "lambda/") {
			return true
		}
	}
	return false
}

// cacheName names the archive by all that its content follows from, and sets unread where that is more than the files
// that it reads.
func (b *build) cacheName() (string, error) {
	modules, err := os.ReadFile(filepath.Join(b.root, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("reading the function's dependencies: %w\n  The file is part of the template: restore it", err)
	}
	_, noVendor := os.Stat(filepath.Join(b.root, "vendor"))
	b.unread = noVendor == nil || replaced.Match(modules)
	project := moduleLine.FindSubmatch(modules)
	digest := sha256.New()
	fmt.Fprintf(digest, "%s %s %q %x\n", b.goVersion, b.architecture, arguments, sha256.Sum256(b.ca))
	files := []string{"go.mod", "go.sum"}
	err = filepath.WalkDir(filepath.Join(b.root, "lambda"), func(path string, entry fs.DirEntry, err error) error {
		b.unread = b.unread || err == nil && entry.Type()&fs.ModeSymlink != 0
		if err == nil && entry.Type().IsRegular() && !strings.HasSuffix(path, "_test.go") {
			path, err = filepath.Rel(b.root, path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the function's source in ./lambda: %w\n  The folder is part of the template: restore it", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(b.root, file))
		if err != nil {
			return "", fmt.Errorf("reading the function's source in ./lambda: %w", err)
		}
		fmt.Fprintf(digest, "%s %x\n", filepath.ToSlash(file), sha256.Sum256(content))
		b.unread = b.unread || filepath.Ext(file) == ".go" && project != nil && importsOther(content, string(project[1]))
	}
	return hex.EncodeToString(digest.Sum(nil)) + ".zip", nil
}

// warnOfCache names a cache that could not be used, without which the build goes on.
func warnOfCache(ctx *pulumi.Context, err error) error {
	return ctx.Log.Warn(fmt.Sprintf("the cache of compiled functions cannot be used, and ./lambda is compiled each time: %v\n"+
		"  Give this user a folder that can be read and written there, or another one by XDG_CACHE_HOME", err), nil)
}

// cached is what an earlier build has left at path, nil where there is nothing that can be used.
func (b *build) cached(ctx *pulumi.Context, path string) ([]byte, error) {
	if b.unread || path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, warnOfCache(ctx, err)
	}
	if err := b.checkZip(content); err != nil {
		return nil, ctx.Log.Warn(fmt.Sprintf("the cached archive %s is damaged, and ./lambda is compiled again: %v", path, err), nil)
	}
	return content, nil
}

// store writes a file of the cache. It is renamed into place, so that an update that ends in between leaves no half of a
// file under that name.
func store(content []byte, path string) error {
	unfinished, err := os.CreateTemp(filepath.Dir(path), "unfinished-")
	if err != nil {
		return err
	}
	defer os.Remove(unfinished.Name())
	_, err = unfinished.Write(content)
	if err := errors.Join(err, unfinished.Chmod(0o644), unfinished.Close()); err != nil {
		return err
	}
	err = os.Rename(unfinished.Name(), path)
	if err == nil {
		return nil
	}
	// Windows replaces no file that another update is reading, and which holds the same.
	if there, readErr := os.ReadFile(path); readErr == nil && bytes.Equal(there, content) {
		return nil
	}
	return err
}
