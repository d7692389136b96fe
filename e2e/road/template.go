package road

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// CopyTemplate writes the repository around this module, as a clone would hold
// it, to a new folder inside the machine's: `pulumi new` copies every file that
// it finds, ignored ones too. It then builds the program once, so that no road
// has to link it again. It answers the folder.
func (m *Machine) CopyTemplate(ctx context.Context) (string, error) {
	root, err := git(ctx, ".", "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	root = strings.TrimSpace(root)
	files, err := git(ctx, root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return "", err
	}
	folder := filepath.Join(m.folder, "template")
	for name := range strings.SplitSeq(strings.TrimSuffix(files, "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("copying the template: %w", err)
		}
		target := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", fmt.Errorf("copying the template: %w", err)
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return "", fmt.Errorf("copying the template: %w", err)
		}
	}
	if err := os.Mkdir(m.programs(), 0o755); err != nil {
		return "", fmt.Errorf("making a folder for programs: %w", err)
	}
	return folder, nil
}

// Shared are environment variables for roads that need not compile for
// themselves what another one has: the program, and the function in its archive.
func (m *Machine) Shared() map[string]string {
	return map[string]string{
		"PULUMI_LANGUAGE_GO_PROGRAMS": m.programs(),
		"XDG_CACHE_HOME":              filepath.Join(m.folder, "cache"),
	}
}

func (m *Machine) programs() string { return filepath.Join(m.folder, "programs") }

func git(ctx context.Context, folder string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", args...)
	command.Dir = folder
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
