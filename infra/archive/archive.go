// Package archive makes the function's code: it compiles ./lambda of the user's project and zips it (archive.go, zip.go), with the
// certificates of the user's own (certificates.go), unless the same has been built before (cache.go).
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	Path      string // in the user's cache folder
	SHA256    string // in base64, as Lambda reports it
	GoVersion string // of the toolchain that compiled it
	CAFile    string // the name of the CA file in it, or empty
}

// Source is what an archive is made of.
type Source struct {
	Root         string // the project's folder
	Architecture string // Lambda's word: x86_64 or arm64
	CAFile       string // a PEM file in the project's folder, or empty
	LastGo       string // the Go that compiled the function that stands, or empty
}

// goArchitectures are Go's words for Lambda's.
var goArchitectures = map[string]string{"x86_64": "amd64", "arm64": "arm64"}

// Build compiles ./lambda for Lambda's runtime with the go on PATH, and zips it. The same
// source and toolchain give the same bytes, whatever the machine and its settings. What has been
// built before is taken from the user's cache folder. A toolchain other than the last one is named,
// since it changes the archive.
func Build(ctx *pulumi.Context, of Source) (*Archive, error) {
	b, err := newBuild(ctx.Context(), of.Root, of.Architecture)
	if err != nil {
		return nil, err
	}
	archive := &Archive{GoVersion: b.goVersion}
	if of.LastGo != "" && of.LastGo != b.goVersion {
		err := ctx.Log.Info(fmt.Sprintf("./lambda was compiled with %s, and now is with %s: the function's code changes by that alone", of.LastGo, b.goVersion), nil)
		if err != nil {
			return nil, err
		}
	}
	if of.CAFile != "" {
		archive.CAFile = caFileName
		if b.ca, err = Certificates(filepath.Join(of.Root, of.CAFile)); err != nil {
			return nil, fmt.Errorf("reading databaseCaFile %q: %w", of.CAFile, err)
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

// withStderr adds what a command wrote about its failure.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
