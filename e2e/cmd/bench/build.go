package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

// The baselines' names in the table.
const (
	emptyProgram = "empty Pulumi program"
	emptyHandler = "empty handler"
)

// functionFlags build for Lambda, as `pulumi up` does; stripped leaves the symbols out.
var (
	functionFlags = []string{"-tags", "lambda.norpc,nethttpomithttp2", "-trimpath", "-buildvcs=false"}
	stripped      = append(slices.Clone(functionFlags), "-ldflags", "-s -w -buildid=")
	functionEnv   = []string{"CGO_ENABLED=0", "GOOS=linux", "GOFLAGS="}
)

func (b *bench) measureBuild(ctx context.Context) error {
	program, err := b.emptyProgram(ctx)
	if err != nil {
		return err
	}
	handler, err := b.baseline("handler")
	if err != nil {
		return err
	}
	if err := b.measureDownload(ctx, program); err != nil {
		return err
	}
	progress("building the empty program and then ours, from an empty build cache: minutes")
	ours, theirs, err := b.coldBuilds(ctx, nil,
		source{program, []string{"-buildvcs=false", "-o", b.path("empty-program"), "."}},
		source{b.root, []string{"-buildvcs=false", "-o", b.path("program"), "."}})
	if err != nil {
		return err
	}
	b.add(
		row{Measure: "program, cold build: CPU time", Unit: "s", Ours: ours.cpu, Baseline: theirs.cpu, Against: emptyProgram, MaxRatio: atMost(1.3)},
		row{Measure: "program, cold build: largest process", Unit: "MB", Ours: ours.peak, Baseline: theirs.peak, Against: emptyProgram, MaxOurs: atMost(1500)},
	)
	progress("building the empty handler and then the function, from an empty build cache")
	ours, theirs, err = b.coldBuilds(ctx, functionEnv,
		source{handler, append(slices.Clone(stripped), "-o", b.path("handler"), ".")},
		source{b.root, append(slices.Clone(stripped), "-o", b.path("bootstrap"), "./lambda")})
	if err != nil {
		return err
	}
	b.add(row{Measure: "function, cold build: CPU time", Unit: "s", Ours: ours.cpu, Baseline: theirs.cpu, Against: emptyHandler})
	return b.measureSize(ctx, handler)
}

// measureDownload compares what `go mod download` fetches for a project.
func (b *bench) measureDownload(ctx context.Context, program string) error {
	ours, err := downloads(ctx, b.root)
	if err != nil {
		return err
	}
	theirs, err := downloads(ctx, program)
	if err != nil {
		return err
	}
	b.add(
		row{Measure: "go mod download", Unit: "MB", Ours: ours.megabytes, Baseline: theirs.megabytes, Against: emptyProgram},
		row{Measure: "go mod download", Unit: "modules", Ours: ours.modules, Baseline: theirs.modules, Against: emptyProgram},
	)
	return nil
}

type download struct{ megabytes, modules float64 }

func downloads(ctx context.Context, folder string) (download, error) {
	var total download
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json")
	command.Dir = folder
	out, err := command.Output()
	if err != nil {
		return total, fmt.Errorf("downloading the modules of %s: %w", folder, err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var module struct{ Zip string }
		if err := decoder.Decode(&module); errors.Is(err, io.EOF) {
			return total, nil
		} else if err != nil {
			return total, fmt.Errorf("reading the answer of go mod download: %w", err)
		}
		info, err := os.Stat(module.Zip)
		if err != nil {
			return total, fmt.Errorf("looking at a downloaded module: %w", err)
		}
		total.megabytes += float64(info.Size()) / 1e6
		total.modules++
	}
}

// measureSize compares the zips, and takes the executables apart.
func (b *bench) measureSize(ctx context.Context, handler string) error {
	ours, err := zipSize(b.path("bootstrap"))
	if err != nil {
		return err
	}
	theirs, err := zipSize(b.path("handler"))
	if err != nil {
		return err
	}
	b.add(row{Measure: "function, zip", Unit: "MB", Ours: ours, Baseline: theirs, Against: emptyHandler, MaxOurs: atMost(3.5)})

	sizes := map[string]part{}
	for executable, source := range map[string][2]string{"bootstrap-symbols": {b.root, "./lambda"}, "handler-symbols": {handler, "."}} {
		arguments := append(slices.Clone(functionFlags), "-o", b.path(executable), source[1])
		if _, err := goBuild(ctx, source[0], functionEnv, arguments...); err != nil {
			return err
		}
		groups, err := symbolSizes(b.path(executable))
		if err != nil {
			return err
		}
		for name, bytes := range groups {
			sum := sizes[name]
			sum.Name = name
			if executable == "bootstrap-symbols" {
				sum.Bytes = bytes
			} else {
				sum.EmptyBytes = bytes
			}
			sizes[name] = sum
		}
	}
	for _, sum := range sizes {
		b.Parts = append(b.Parts, sum)
	}
	slices.SortFunc(b.Parts, func(x, y part) int { return cmp.Compare(y.Bytes, x.Bytes) })
	return nil
}

// part is a group of packages in an executable.
type part struct {
	Name       string `json:"name"`
	Bytes      int64  `json:"bytes"`
	EmptyBytes int64  `json:"emptyBytes"`
}

// groups name the packages of an executable; the first that matches a symbol counts.
var groups = []struct {
	name    string
	symbols *regexp.Regexp
}{
	{"the connector: postgres, mysql and what they share", regexp.MustCompile(`^(esc-connector-lambda-go/lambda/(connector|mysql|postgres)|main)\.`)},
	{"the RDS certificate authorities", regexp.MustCompile(`^esc-connector-lambda-go/lambda/rdsca\.`)},
	{"PostgreSQL's messages (pgx/pgproto3)", regexp.MustCompile(`^github\.com/jackc/`)},
	{"the MySQL driver, database/sql, and Ed25519 for MariaDB", regexp.MustCompile(`^(github\.com/go-sql-driver/|database/sql|filippo\.io/|math/big)`)},
	{"SASLprep: stringprep and golang.org/x/text", regexp.MustCompile(`^(github\.com/xdg-go/|golang\.org/x/text)`)},
	{"Lambda's runtime client and JSON", regexp.MustCompile(`^(github\.com/aws/|encoding/json)`)},
	{"TLS, certificates and cryptography", regexp.MustCompile(`^(crypto|vendor/golang\.org/x/crypto|encoding/(asn1|pem)|internal/(crypto|godebug|sysrand|entropy))`)},
	{"net/http and net", regexp.MustCompile(`^(net|mime|vendor/golang\.org/x/(net|text)|compress|internal/(poll|nettrace|singleflight)|bufio|hash)\b`)},
	{tables, regexp.MustCompile(`^(runtime|type:|go:|internal/(runtime|abi|cpu|bytealg|reflectlite)|gc)`)},
	{"the rest of the standard library", regexp.MustCompile(`.`)},
}

// tables is the group of what no symbol of the executable names: the runtime's tables.
const tables = "Go's runtime, and its tables of all functions and types"

// symbolSizes are the bytes of each group in the executable. What is zeroed at start is not in the file.
func symbolSizes(executable string) (map[string]int64, error) {
	failed := func(err error) (map[string]int64, error) {
		return nil, fmt.Errorf("taking %s apart: %w", filepath.Base(executable), err)
	}
	file, err := elf.Open(executable)
	if err != nil {
		return failed(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return failed(err)
	}
	sizes := map[string]int64{}
	inFile := func(section *elf.Section) bool {
		return section.Flags&elf.SHF_ALLOC != 0 && section.Type != elf.SHT_NOBITS
	}
	for _, section := range file.Sections {
		if inFile(section) {
			sizes[tables] += int64(section.Size)
		}
	}
	for _, symbol := range symbols {
		if int(symbol.Section) >= len(file.Sections) || !inFile(file.Sections[symbol.Section]) {
			continue
		}
		for _, group := range groups {
			if group.symbols.MatchString(symbol.Name) {
				sizes[group.name] += int64(symbol.Size)
				sizes[tables] -= int64(symbol.Size)
				break
			}
		}
	}
	return sizes, nil
}

// zipSize is the size in MB of a zip that holds the file alone.
func zipSize(executable string) (float64, error) {
	content, err := os.ReadFile(executable)
	if err != nil {
		return 0, fmt.Errorf("zipping an executable: %w", err)
	}
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	entry, err := archive.Create("bootstrap")
	if err == nil {
		_, err = entry.Write(content)
	}
	if err = errors.Join(err, archive.Close()); err != nil {
		return 0, fmt.Errorf("zipping an executable: %w", err)
	}
	return float64(out.Len()) / 1e6, nil
}

func (b *bench) path(name string) string { return filepath.Join(b.folder, name) }

// baseline is a module of its own with the program of that name in e2e/baselines, and the versions of the project's go.mod.
func (b *bench) baseline(name string) (string, error) {
	folder := b.path("baseline-" + name)
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", fmt.Errorf("making the baseline %s: %w", name, err)
	}
	for file, source := range map[string]string{
		"go.mod": "go.mod", "go.sum": "go.sum", "main.go": "e2e/baselines/" + name + "/main.go",
	} {
		content, err := os.ReadFile(filepath.Join(b.root, source))
		if err == nil {
			content = bytes.Replace(content, []byte("module esc-connector-lambda-go\n"), []byte("module baseline\n"), 1)
			err = os.WriteFile(filepath.Join(folder, file), content, 0o644)
		}
		if err != nil {
			return "", fmt.Errorf("making the baseline %s: %w", name, err)
		}
	}
	return folder, nil
}

// emptyProgram is the baseline program, which requires no more than it needs.
func (b *bench) emptyProgram(ctx context.Context) (string, error) {
	folder, err := b.baseline("program")
	if err != nil {
		return "", err
	}
	tidy := exec.CommandContext(ctx, "go", "mod", "tidy")
	tidy.Dir = folder
	if out, err := tidy.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making the empty program: go mod tidy: %w\n%s", err, out)
	}
	return folder, nil
}

// cost is what a build took.
type cost struct {
	cpu  float64 // seconds, of all processes
	peak float64 // MB, of the largest process
}

// source is what to build: a module's folder, and the arguments of go build.
type source struct {
	folder    string
	arguments []string
}

// coldBuilds is what it takes to build each with an empty build cache. The baseline is built first and leaves its
// packages, which ours imports too, in the cache: what is common is measured once, so that a machine which is busier for
// one of the builds than for the other does not change the ratio. Ours is the sum of both builds, and so counts the
// linking of the baseline too, a hundredth or two.
func (b *bench) coldBuilds(ctx context.Context, environment []string, baseline, project source) (ours, theirs cost, err error) {
	cache, err := os.MkdirTemp(b.folder, "gocache-")
	if err != nil {
		return ours, theirs, fmt.Errorf("making an empty build cache: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	environment = append(slices.Clone(environment), "GOCACHE="+cache)
	if theirs, err = goBuild(ctx, baseline.folder, environment, baseline.arguments...); err != nil {
		return ours, theirs, err
	}
	added, err := goBuild(ctx, project.folder, environment, project.arguments...)
	return cost{cpu: theirs.cpu + added.cpu, peak: max(theirs.peak, added.peak)}, theirs, err
}

func goBuild(ctx context.Context, folder string, environment []string, arguments ...string) (cost, error) {
	command := exec.CommandContext(ctx, "go", append([]string{"build"}, arguments...)...)
	command.Dir = folder
	command.Env = append(os.Environ(), environment...)
	if out, err := command.CombinedOutput(); err != nil {
		return cost{}, fmt.Errorf("building in %s: %w\n%s", folder, err, out)
	}
	// wait4(2): the times are of the command and of all the processes that it waited for, the size is the largest's.
	spent := command.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{
		cpu:  float64(spent.Utime.Nano()+spent.Stime.Nano()) / 1e9,
		peak: float64(spent.Maxrss) * 1024 / 1e6,
	}, nil
}
