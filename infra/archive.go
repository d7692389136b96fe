package infra

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Archive is the function's code: a zip with the compiled ./lambda in it, and the user's CA file.
type Archive struct {
	Path         string // in the user's cache folder
	SHA256       string // in base64, as Lambda reports it
	Architecture string // Lambda's word: x86_64 or arm64
	GoVersion    string // of the toolchain that compiled it
	CAFile       string // the name of the CA file in it, or empty
}

// goVersionTag is the function's tag that names the Go that compiled it.
const goVersionTag = "connector:go"

// caFileName is the user's CA file in the archive, whatever it is called in the project.
const caFileName = "database-ca.pem"

// goArchitectures are Go's words for Lambda's.
var goArchitectures = map[string]string{"x86_64": "amd64", "arm64": "arm64"}

// BuildArchive compiles ./lambda for Lambda's runtime with the go on PATH, and zips it. The same
// source and toolchain give the same bytes, whatever the machine and its settings. What has been
// built before is taken from the user's cache folder. A toolchain other than the last update's is named,
// since it changes the archive. Where Pulumi's published archive is deployed, only the architecture is given.
func BuildArchive(ctx *pulumi.Context, settings *Settings, last *LastState) (*Archive, error) {
	if settings.Published {
		return &Archive{Architecture: settings.Architecture}, warnOfPublished(ctx)
	}
	b, err := newBuild(ctx.Context(), settings.root, settings.Architecture)
	if err != nil {
		return nil, err
	}
	archive := &Archive{Architecture: settings.Architecture, GoVersion: b.goVersion}
	if was := text(part(last.outputs(functionResource).Tags, goVersionTag)); was != "" && was != b.goVersion {
		err := ctx.Log.Info(fmt.Sprintf("./lambda was compiled with %s, and now is with %s: the function's code changes by that alone", was, b.goVersion), nil)
		if err != nil {
			return nil, err
		}
	}
	if settings.CAFile != "" {
		archive.CAFile = caFileName
		if b.ca, err = certificates(filepath.Join(settings.root, settings.CAFile)); err != nil {
			return nil, fmt.Errorf("reading databaseCaFile %q: %w", settings.CAFile, err)
		}
	}
	name, err := b.cacheName()
	if err != nil {
		return nil, err
	}
	folder, err := b.folder()
	if err == nil {
		archive.Path = filepath.Join(folder, name)
	} else if err := warnOfCache(ctx, err); err != nil {
		return nil, err
	}
	content, err := b.cached(ctx, archive.Path)
	if err == nil && content == nil {
		content, archive.Path, err = b.run(ctx, archive.Path)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	archive.SHA256 = base64.StdEncoding.EncodeToString(sum[:])
	return archive, nil
}

// build is one compilation of ./lambda.
type build struct {
	root         string // the project's folder
	architecture string
	goVersion    string
	cache        string // the go command's
	environment  []string
	ca           []byte // nil without a CA file
	unread       bool   // source lies where cacheName does not look
}

// goSettings are the go command's that do not change what it builds, only how it gets there. They
// are read once, so that all the user's others can be switched off.
var goSettings = []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOPRIVATE", "GONOPROXY", "GOSUMDB", "GONOSUMDB",
	"GOINSECURE", "GOAUTH", "GOTOOLCHAIN", "GOTMPDIR"}

// unrelated are variables that begin like Go's and change nothing in what it builds: how it reaches the network, and goenv's.
var unrelated = regexp.MustCompile(`^(GOOGLE_.*|GOENV_.*|GODEBUG|GOVCS|GOCACHEPROG)$`)

// notInTags is what Lambda takes in no tag, such as the brackets in the version of Red Hat's Go.
var notInTags = regexp.MustCompile(`[^\p{L}\p{Z}\p{N}_.:/=+\-@]+`)

// inherited is the program's environment for the go command and what that starts, without Pulumi's own variables: PULUMI_CONFIG holds
// every secret of the configuration in clear.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "PULUMI_") })
}

func newBuild(ctx context.Context, root, architecture string) (*build, error) {
	command := exec.CommandContext(ctx, "go", append([]string{"env", "-json", "GOVERSION", "GOFLAGS"}, goSettings...)...)
	// A workspace around the project could choose another toolchain, and is left out of the build as well.
	command.Dir, command.Env = root, append(inherited(), "GOWORK=off")
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its settings, to compile ./lambda: %w\n"+
			"  The program compiles the function with the go command on PATH: go version must work", withStderr(err))
	}
	settings := map[string]string{}
	if err := json.Unmarshal(out, &settings); err != nil {
		return nil, fmt.Errorf("reading the answer of go env -json: %w", err)
	}
	environment := slices.DeleteFunc(inherited(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "GO") && !unrelated.MatchString(name) || strings.HasPrefix(name, "CGO_")
	})
	flags := ""
	if slices.Contains(strings.Fields(settings["GOFLAGS"]), "-modcacherw") {
		flags = "-modcacherw" // for the folders of GOMODCACHE
	}
	for _, name := range goSettings {
		environment = append(environment, name+"="+settings[name])
	}
	environment = append(environment,
		"GOENV=off", "GOWORK=off", "GOFLAGS="+flags, "GOEXPERIMENT=", "CGO_ENABLED=0",
		"GOOS=linux", "GOARCH="+goArchitectures[architecture], "GOAMD64=v1", "GOARM64=v8.0")
	version := strings.Trim(notInTags.ReplaceAllString(settings["GOVERSION"], "-"), "-")
	return &build{root: root, architecture: architecture, goVersion: version, cache: settings["GOCACHE"], environment: environment}, nil
}

// arguments of the go command; without a build ID, which differs with the line ends of the source. The function speaks
// HTTP with Lambda's runtime API alone, by HTTP/1.1, and does without the 0.15 MB of HTTP/2
// (https://github.com/golang/go/blob/master/src/net/http/omithttp2.go).
var arguments = []string{"build", "-tags", "lambda.norpc,nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid="}

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

// checkZip refuses a zip that is not what zipped makes: Lambda would refuse it, and the function might be lost by that.
func (b *build) checkZip(content []byte) error {
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	var files []string
	for _, file := range archive.File {
		opened, err := file.Open()
		if err != nil {
			return err
		}
		// To the end, where the checksum is compared.
		if _, err := io.Copy(io.Discard, opened); err != nil {
			return fmt.Errorf("%s: %w", file.Name, err)
		}
		files = append(files, file.Name)
	}
	want := []string{"bootstrap"}
	if b.ca != nil {
		want = append(want, caFileName)
	}
	if !slices.Equal(files, want) {
		return fmt.Errorf("it holds %q, and not %q", files, want)
	}
	return nil
}

// run compiles and zips into path, and returns the zip and where it is: under a name of its own content where the given
// one does not follow from all that was compiled, and in a temporary folder where there is no cache.
func (b *build) run(ctx *pulumi.Context, path string) ([]byte, string, error) {
	err := ctx.Log.Info(fmt.Sprintf("Compiling ./lambda for linux/%s with %s", goArchitectures[b.architecture], b.goVersion), nil)
	if err != nil {
		return nil, "", err
	}
	began := time.Now()
	work, err := os.MkdirTemp("", "esc-connector-")
	if err != nil {
		return nil, "", fmt.Errorf("making a folder for the compiled ./lambda: %w\n  Give this user a folder for temporary files, by TMPDIR", err)
	}
	bootstrap := filepath.Join(work, "bootstrap")
	command := exec.CommandContext(ctx.Context(), "go", append(slices.Clone(arguments), "-o", bootstrap, "./lambda")...)
	command.Dir, command.Env = b.root, b.environment
	if out, err := command.CombinedOutput(); err != nil {
		return nil, "", errors.Join(fmt.Errorf("compiling ./lambda for linux/%s with %s: %w\n%s\n  Correct the source, and run pulumi up again",
			goArchitectures[b.architecture], b.goVersion, err, strings.TrimSpace(string(out))), os.RemoveAll(work))
	}
	content, err := zipped(bootstrap, b.ca)
	if err == nil {
		err = os.Remove(bootstrap)
	}
	if err != nil {
		return nil, "", fmt.Errorf("zipping the compiled ./lambda: %w", err)
	}
	if path != "" {
		if b.unread {
			sum := sha256.Sum256(content)
			path = filepath.Join(filepath.Dir(path), hex.EncodeToString(sum[:])+".zip")
		}
		if err = store(content, path); err == nil {
			err = os.RemoveAll(work)
		} else if err = warnOfCache(ctx, err); err == nil {
			path = ""
		}
	}
	if path == "" && err == nil { // it stays there for the provider, which uploads it after this
		path = filepath.Join(work, "connector.zip")
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		return nil, "", fmt.Errorf("storing the compiled ./lambda: %w", err)
	}
	return content, path, ctx.Log.Info(fmt.Sprintf("Compiled ./lambda in %.1f s: a zip of %.2f MB", time.Since(began).Seconds(),
		float64(len(content))/1e6), nil)
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

// zipped returns a zip that holds the file as bootstrap, and the CA file if there is one, with nothing in
// it of the machine or the hour.
func zipped(file string, ca []byte) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	writer.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	add := func(name string, mode fs.FileMode, content []byte) error {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		header.SetMode(mode)
		entry, err := writer.CreateHeader(header)
		if err != nil {
			return err
		}
		_, err = entry.Write(content)
		return err
	}
	if err := add("bootstrap", 0o755, content); err != nil {
		return nil, err
	}
	if ca != nil {
		if err := add(caFileName, 0o644, ca); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// begin is the first line of a certificate, also behind the last one of another; not in a comment.
var begin = regexp.MustCompile(`(?m)^[^#\r\n]*-----BEGIN CERTIFICATE-----`)

// certificates reads a PEM file, and returns its certificates alone, encoded anew: without the comments
// between them, and with the same line ends on every machine.
func certificates(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such file in the project's folder")
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // which editors on Windows put there
	var out bytes.Buffer
	found := 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, errors.New("it holds a private key, which nothing here needs and which must not get into the function")
		case block.Type == "CERTIFICATE":
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("a certificate in it cannot be read: %w", err)
			}
			if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
				return nil, err
			}
			found++
		}
	}
	begun := len(begin.FindAll(content, -1))
	switch {
	case begun != found:
		return nil, fmt.Errorf("of %d certificates in it %d can be read: each must begin on a line of its own, and be whole", begun, found)
	case found == 0:
		return nil, errors.New("it holds no certificate in PEM")
	}
	return out.Bytes(), nil
}

// withStderr adds what a command wrote about its failure.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
