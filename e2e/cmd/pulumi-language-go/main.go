// Command pulumi-language-go is a small Go language host for a machine that has
// the Pulumi CLI but not the host that Pulumi's installer puts beside it.
//
// It builds the program in the project's folder with the go command on PATH and
// runs it with the environment that github.com/pulumi/pulumi/sdk/v3/go/pulumi
// reads. Code generation, packing and debugging are refused.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-language-go: %v\n", err)
		os.Exit(1)
	}
}

// serve answers the engine whose address is the first argument until it ends.
func serve() error {
	// The engine passes tracing and root flags that mean nothing here.
	flag.String("tracing", "", "ignored")
	flag.String("root", "", "ignored")
	flag.Parse()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	engine := flag.Arg(0)
	if engine != "" {
		// Each few seconds, so that a host whose engine was killed outlives no test.
		if err := rpcutil.Healthcheck(ctx, engine, 5*time.Second, cancel); err != nil {
			return fmt.Errorf("watching the engine at %s: %w", engine, err)
		}
	}

	stop := make(chan bool)
	go func() {
		<-ctx.Done()
		close(stop)
	}()
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: stop,
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, &host{engine: engine})
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("opening a port for the engine: %w", err)
	}
	fmt.Printf("%d\n", handle.Port)
	if err := <-handle.Done; err != nil {
		return fmt.Errorf("serving the engine: %w", err)
	}
	return nil
}

type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine string
}

func (h *host) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = req.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{}, nil
}

// GetRequiredPackages names none: the resources a program registers carry
// their provider's version, and the engine loads what they name.
func (h *host) GetRequiredPackages(
	context.Context, *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

func (h *host) RuntimeOptionsPrompts(
	context.Context, *pulumirpc.RuntimeOptionsRequest,
) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

func (h *host) Template(context.Context, *pulumirpc.TemplateRequest) (*pulumirpc.TemplateResponse, error) {
	return &pulumirpc.TemplateResponse{}, nil
}

// GetProgramDependencies lists the modules that the program requires.
func (h *host) GetProgramDependencies(
	ctx context.Context, req *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Version}} {{.Indirect}} {{.Main}}", "all")
	cmd.Dir = req.GetInfo().GetProgramDirectory()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the modules of %s: %w", cmd.Dir, err)
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for line := range strings.Lines(string(out)) {
		var path, version, indirect, isMain string
		if n, _ := fmt.Sscan(line, &path, &version, &indirect, &isMain); n != 4 || isMain == "true" {
			continue
		}
		if indirect == "true" && !req.GetTransitiveDependencies() {
			continue
		}
		response.Dependencies = append(response.Dependencies, &pulumirpc.DependencyInfo{Name: path, Version: version})
	}
	return response, nil
}

// InstallDependencies runs "go mod tidy", as `pulumi new` and `pulumi install` expect.
func (h *host) InstallDependencies(
	req *pulumirpc.InstallDependenciesRequest,
	stream grpc.ServerStreamingServer[pulumirpc.InstallDependenciesResponse],
) error {
	say := func(text string) error {
		return stream.Send(&pulumirpc.InstallDependenciesResponse{Stdout: []byte(text)})
	}
	if err := say("Installing dependencies...\n\n"); err != nil {
		return err
	}
	cmd := exec.CommandContext(stream.Context(), "go", "mod", "tidy")
	cmd.Dir = req.GetInfo().GetProgramDirectory()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("`go mod tidy` in %s: %w\n%s", cmd.Dir, err, out)
	}
	return say("Finished installing dependencies\n\n")
}

// Run compiles the program and runs it. A program that reported its error to
// the engine exits with a status of its own, which becomes Bail: the CLI then
// adds nothing to what the program said.
func (h *host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	if h.engine == "" {
		return nil, errors.New("running a program: the engine's address is not known; Handshake comes first")
	}
	program, cleanUp, err := programPath()
	if err != nil {
		return nil, err
	}
	defer cleanUp()
	if program, err = build(ctx, req.GetInfo(), program); err != nil {
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	}

	environment, err := h.environment(req)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Dir = req.GetPwd()
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == constant.ExitStatusLoggedError:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case errors.As(err, &exit):
		return &pulumirpc.RunResponse{
			Error: fmt.Sprintf("program exited with non-zero exit code: %d", exit.ExitCode()),
		}, nil
	default:
		return nil, fmt.Errorf("running the program: %w", err)
	}
}

// programPath is where the program is built: in PULUMI_HOME, where go build finds
// the last one and need not link it again, else in a folder that cleanUp removes.
func programPath() (path string, cleanUp func(), err error) {
	if home := os.Getenv("PULUMI_HOME"); home != "" {
		return filepath.Join(home, "program"), func() {}, nil
	}
	folder, err := os.MkdirTemp("", "pulumi-go-")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for the program: %w", err)
	}
	return filepath.Join(folder, "program"), func() { _ = os.RemoveAll(folder) }, nil
}

// build compiles the program, and answers where it is then: at path, or where it was kept.
func build(ctx context.Context, source *pulumirpc.ProgramInfo, path string) (string, error) {
	folder := source.GetProgramDirectory()
	kept, err := keptPath(folder)
	if err != nil {
		return "", err
	}
	if kept != "" {
		unlock, err := lock(kept + ".lock")
		if err != nil {
			return "", fmt.Errorf("waiting for another build of the program: %w", err)
		}
		defer unlock()
		if _, err := os.Stat(kept); err == nil {
			return kept, nil
		}
	}
	compile := exec.CommandContext(ctx, "go", "build", "-o", path, source.GetEntryPoint())
	compile.Dir = folder
	compile.Stdout, compile.Stderr = os.Stdout, os.Stderr
	if err := compile.Run(); err != nil {
		return "", fmt.Errorf("unable to run `go build` in %s: %w", folder, err)
	}
	if kept == "" {
		return path, nil
	}
	// go build never writes into a file that is there: it puts another one into its place.
	if err := os.Link(path, kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("keeping the program: %w", err)
	}
	return kept, nil
}

// lock waits until no other process holds the file locked.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// programsVariable names a folder in which programs are kept by what they were built from, for as long as nobody changes
// the toolchain. It saves the second that go build takes to find that there is nothing to do.
const programsVariable = "PULUMI_LANGUAGE_GO_PROGRAMS"

var mainClause = regexp.MustCompile(`(?m)^package main\b`)

// keptPath is where the program of this source is kept, once it is built; "" where none is.
func keptPath(folder string) (string, error) {
	programs := os.Getenv(programsVariable)
	if programs == "" {
		return "", nil
	}
	digest := sha256.New()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// A module of its own is none of the program's.
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != folder {
				return fs.SkipDir
			}
			return nil
		}
		// Beside the program's own source lies what has nothing to do with it.
		if filepath.Dir(path) == folder && !slices.Contains([]string{".go", ".mod", ".sum"}, filepath.Ext(path)) || !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// Nor is another command, such as the function, which a program cannot import.
		if filepath.Dir(path) != folder && filepath.Ext(path) == ".go" && mainClause.Match(content) {
			return nil
		}
		name, err := filepath.Rel(folder, path)
		fmt.Fprintf(digest, "%q %x\n", name, sha256.Sum256(content))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the program's source: %w", err)
	}
	return filepath.Join(programs, hex.EncodeToString(digest.Sum(nil))), nil
}

// environment is what pulumi.Run reads, on top of the host's own. The names are those of the Env constants of package
// github.com/pulumi/pulumi/sdk/v3/go/pulumi, whose import would double the time that the host takes to start.
func (h *host) environment(req *pulumirpc.RunRequest) ([]string, error) {
	config, err := json.Marshal(req.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("encoding the stack's configuration: %w", err)
	}
	secretKeys, err := json.Marshal(req.GetConfigSecretKeys())
	if err != nil {
		return nil, fmt.Errorf("encoding the names of the stack's secrets: %w", err)
	}
	environment := os.Environ()
	for name, value := range map[string]string{
		"PULUMI_ORGANIZATION":       req.GetOrganization(),
		"PULUMI_PROJECT":            req.GetProject(),
		"PULUMI_ROOT_DIRECTORY":     req.GetInfo().GetRootDirectory(),
		"PULUMI_STACK":              req.GetStack(),
		"PULUMI_CONFIG":             string(config),
		"PULUMI_CONFIG_SECRET_KEYS": string(secretKeys),
		"PULUMI_DRY_RUN":            fmt.Sprint(req.GetDryRun()),
		"PULUMI_PARALLEL":           fmt.Sprint(req.GetParallel()),
		"PULUMI_MONITOR":            req.GetMonitorAddress(),
		"PULUMI_ENGINE":             h.engine,
	} {
		environment = append(environment, name+"="+value)
	}
	return environment, nil
}
