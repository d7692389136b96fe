package archive

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tinyFunction = "package main\n\n// A raw string has its line ends in the binary, but for carriage returns.\nfunc main() { print(`one\ntwo`) }\n"

// project is a project's folder with this ./lambda, and a cache folder of its own for what is built.
func project(t *testing.T, source string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(out)))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	folder := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(folder, "lambda"), 0o755))
	for name, content := range map[string]string{
		"lambda/main.go": source,
		"go.mod":         "module example\n\ngo 1.25.0\n",
		"go.sum":         "",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	return folder
}

// nothing registers and asks nothing: a build only writes to the log.
type nothing struct{}

func (nothing) NewResource(pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return "", nil, nil
}
func (nothing) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func buildArchive(t *testing.T, of Source) (*Archive, []byte, error) {
	t.Helper()
	var archive *Archive
	var failure error
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		archive, failure = Build(ctx, of)
		return failure
	}, pulumi.WithMocks("shop", "dev", nothing{}))
	if failure != nil {
		return nil, nil, failure
	}
	require.NoError(t, err)
	content, err := os.ReadFile(archive.Path)
	require.NoError(t, err)
	return archive, content, nil
}

func TestTheArchiveRunsOnLambdaAndHoldsNothingElse(t *testing.T) {
	for architecture, machine := range map[string]elf.Machine{"x86_64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		archive, content, err := buildArchive(t, Source{Root: project(t, tinyFunction), Architecture: architecture})
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		assert.Equal(t, base64.StdEncoding.EncodeToString(sum[:]), archive.SHA256)

		reader, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		require.NoError(t, err)
		require.Len(t, reader.File, 1)
		assert.Equal(t, "bootstrap", reader.File[0].Name)
		assert.Equal(t, os.FileMode(0o755), reader.File[0].Mode())
		executable := unzip(t, reader.File[0])
		parsed, err := elf.NewFile(bytes.NewReader(executable))
		require.NoError(t, err)
		assert.Equal(t, machine, parsed.Machine)
		libraries, err := parsed.ImportedLibraries()
		require.NoError(t, err)
		assert.Empty(t, libraries, "linked statically")
	}
}

func unzip(t *testing.T, file *zip.File) []byte {
	t.Helper()
	opened, err := file.Open()
	require.NoError(t, err)
	defer opened.Close()
	content, err := io.ReadAll(opened)
	require.NoError(t, err)
	return content
}

func TestTheArchiveDependsOnTheSourceAlone(t *testing.T) {
	first := project(t, tinyFunction)
	_, want, err := buildArchive(t, Source{Root: first, Architecture: "x86_64"})
	require.NoError(t, err)

	t.Run("not on the folder, nor on the user's settings of go", func(t *testing.T) {
		again := project(t, tinyFunction)
		t.Setenv("GOFLAGS", "-tags=other")
		t.Setenv("GOAMD64", "v3")
		t.Setenv("CGO_ENABLED", "1")
		t.Setenv("GOOS", "windows")
		t.Setenv("GOEXPERIMENT", "nogreenteagc")
		_, got, err := buildArchive(t, Source{Root: again, Architecture: "x86_64"})
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got))
	})
	t.Run("not on Windows' line ends", func(t *testing.T) {
		again := project(t, strings.ReplaceAll(tinyFunction, "\n", "\r\n"))
		_, got, err := buildArchive(t, Source{Root: again, Architecture: "x86_64"})
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got))
	})
	t.Run("and what is built already is not built again", func(t *testing.T) {
		root := project(t, tinyFunction)
		before, _, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
		require.NoError(t, err)
		built, err := os.Stat(before.Path)
		require.NoError(t, err)
		after, _, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
		require.NoError(t, err)
		assert.Equal(t, before, after)
		reused, err := os.Stat(after.Path)
		require.NoError(t, err)
		assert.True(t, os.SameFile(built, reused))

		require.NoError(t, os.WriteFile(filepath.Join(root, "lambda/main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600))
		changed, _, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
		require.NoError(t, err)
		assert.NotEqual(t, before.SHA256, changed.SHA256)
	})
}

// What the function is compiled from can lie where its source is not looked for.
func TestSourceElsewhereIsNotTakenForUnchanged(t *testing.T) {
	const caller = "package main\n\nimport \"example/%s\"\n\nfunc main() { print(%s) }\n"
	for name, place := range map[string]func(t *testing.T, root string) string{ // answers the file that changes
		"another package of the project": func(t *testing.T, root string) string {
			write(t, root, "lambda/main.go", fmt.Sprintf(caller, "words", "words.Word"))
			return "words/words.go"
		},
		"a module in a folder": func(t *testing.T, root string) string {
			write(t, root, "lambda/main.go", strings.Replace(fmt.Sprintf(caller, "", "words.Word"), "example/", "example.org/words", 1))
			write(t, root, "go.mod", "module example\n\ngo 1.25.0\n\nrequire example.org/words v0.0.0\n\nreplace example.org/words => ./words\n")
			write(t, root, "words/go.mod", "module example.org/words\n\ngo 1.25.0\n")
			return "words/words.go"
		},
		"vendor": func(t *testing.T, root string) string {
			write(t, root, "lambda/main.go", strings.Replace(fmt.Sprintf(caller, "", "words.Word"), "example/", "example.org/words", 1))
			write(t, root, "go.mod", "module example\n\ngo 1.25.0\n\nrequire example.org/words v1.0.0\n")
			write(t, root, "vendor/modules.txt", "# example.org/words v1.0.0\n## explicit; go 1.25.0\nexample.org/words\n")
			return "vendor/example.org/words/words.go"
		},
		"a symbolic link": func(t *testing.T, root string) string {
			require.NoError(t, os.Rename(filepath.Join(root, "lambda"), filepath.Join(root, "elsewhere")))
			require.NoError(t, os.Symlink("elsewhere", filepath.Join(root, "lambda")))
			return "elsewhere/word.go"
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := project(t, tinyFunction)
			file := place(t, root)
			packageName := "words"
			if name == "a symbolic link" {
				packageName = "main"
			}
			var sums []string
			for _, word := range []string{"first", "second", "first"} {
				source := "package " + packageName + "\n\nvar Word = `" + word + "`\n"
				if packageName == "main" {
					source += "\nfunc init() { print(Word) }\n"
				}
				write(t, root, file, source)
				archive, _, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
				require.NoError(t, err)
				sums = append(sums, archive.SHA256)
			}
			assert.NotEqual(t, sums[0], sums[1])
			assert.Equal(t, sums[0], sums[2])
		})
	}
}

func write(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// A container without a home folder has the go command's cache all the same.
func TestTheArchiveIsKeptBesideGosOwnCacheWhereThereIsNoOther(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", "/dev/null/cache")
	folder, err := (&build{cache: cache}).folder()
	require.NoError(t, err)
	assert.Equal(t, cache, filepath.Dir(folder))
	assert.DirExists(t, folder)
}

// A file that was cut, or written to, is no archive: Lambda would refuse it, or run what it must not.
func TestADamagedArchiveOfTheCacheIsCompiledAgain(t *testing.T) {
	root := project(t, tinyFunction)
	archive, want, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
	require.NoError(t, err)
	flipped := bytes.Clone(want)
	flipped[len(flipped)/2] ^= 1
	var another bytes.Buffer
	writer := zip.NewWriter(&another)
	_, err = writer.Create("other")
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	for name, damaged := range map[string][]byte{"half": want[:len(want)/2], "empty": {}, "flipped": flipped, "another": another.Bytes()} {
		require.NoError(t, os.WriteFile(archive.Path, damaged, 0o600))
		_, got, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
		require.NoError(t, err, name)
		assert.True(t, bytes.Equal(want, got), name)
		kept, err := os.ReadFile(archive.Path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, kept), "%s: it is mended", name)
	}
}

// What stands in the way here is a folder where a file should be, and a file where a folder should: root, too, cannot read
// or write there.
func TestACacheThatCannotBeUsedIsDoneWithout(t *testing.T) {
	root := project(t, tinyFunction)
	archive, want, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
	require.NoError(t, err)
	require.NoError(t, os.Remove(archive.Path))
	require.NoError(t, os.Mkdir(archive.Path, 0o755))
	elsewhere, got, err := buildArchive(t, Source{Root: root, Architecture: "x86_64"})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	assert.NotEqual(t, archive.Path, elsewhere.Path)
	require.NoError(t, os.RemoveAll(filepath.Dir(elsewhere.Path)))

	t.Setenv("XDG_CACHE_HOME", "/dev/null/cache")
	_, err = (&build{cache: "/dev/null/go"}).folder()
	require.Error(t, err, "Build goes on without")
}

// A go of a distribution can have a version that Lambda takes in no tag, and a workspace around the project can name another.
func TestTheVersionOfGoIsOneForATag(t *testing.T) {
	root := project(t, tinyFunction)
	bin := t.TempDir()
	write(t, bin, "go", "#!/bin/sh\n[ \"$GOWORK\" = off ] || exit 1\necho '{\"GOVERSION\":\"go1.26.2 (Red Hat 1.26.2-2.el10)\",\"GOFLAGS\":\"-mod=mod -modcacherw\",\"GOCACHE\":\"/tmp\"}'\n")
	require.NoError(t, os.Chmod(filepath.Join(bin, "go"), 0o755))
	t.Setenv("PATH", bin)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
	t.Setenv("GOEXPERIMENT", "boringcrypto")
	b, err := newBuild(t.Context(), root, "x86_64")
	require.NoError(t, err)
	assert.Equal(t, "go1.26.2 -Red Hat 1.26.2-2.el10", b.goVersion)
	assert.Contains(t, b.environment, "GOOGLE_APPLICATION_CREDENTIALS=key.json")
	assert.Contains(t, b.environment, "GOFLAGS=-modcacherw")
	assert.NotContains(t, b.environment, "GOEXPERIMENT=boringcrypto")
	for _, variable := range b.environment {
		assert.NotRegexp(t, "^PULUMI_", variable, "the configuration's secrets, and the access token")
	}
}

func TestTheCompilersOwnLinesAreShown(t *testing.T) {
	_, _, err := buildArchive(t, Source{Root: project(t, "package main\n\nfunc main() { undeclared() }\n"), Architecture: "x86_64"})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "compiling ./lambda for linux/amd64")
	assert.Contains(t, err.Error(), "lambda/main.go:3:15: undefined: undeclared")
}

// newAuthority makes a certificate in PEM, and its key in DER.
func newAuthority(t *testing.T) (certificate, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err = x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), private
}

func TestTheUsersCertificatesGoIntoTheArchiveAndNothingElseOfTheFile(t *testing.T) {
	certificate, private := newAuthority(t)

	with := func(t *testing.T, content string) Source {
		root := project(t, tinyFunction)
		write(t, root, "my ca.pem", content)
		return Source{Root: root, Architecture: "x86_64", CAFile: "my ca.pem"}
	}
	for name, content := range map[string]string{
		"with Unix line ends":     "# our own\n" + string(certificate),
		"with Windows line ends":  strings.ReplaceAll("# our own\n"+string(certificate), "\n", "\r\n"),
		"with a byte order mark":  "\ufeff" + string(certificate),
		"beside one in a comment": "# -----BEGIN CERTIFICATE-----\n# MIIB\n" + string(certificate),
	} {
		t.Run(name, func(t *testing.T) {
			archive, content, err := buildArchive(t, with(t, content))
			require.NoError(t, err)
			reader, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
			require.NoError(t, err)
			require.Len(t, reader.File, 2)
			assert.Equal(t, archive.CAFile, reader.File[1].Name)
			assert.Equal(t, os.FileMode(0o644), reader.File[1].Mode())
			assert.Equal(t, certificate, unzip(t, reader.File[1]))
		})
	}
	for name, content := range map[string]string{
		"no certificate":                        "nothing",
		"of 2 certificates in it 0 can be read": strings.TrimSpace(string(certificate)) + string(certificate),
		"private key":                           string(certificate) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	} {
		_, _, err := buildArchive(t, with(t, content))
		assert.ErrorContains(t, err, name)
	}
}
