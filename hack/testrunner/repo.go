package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/platform-io/database-operator/pkg/testing/cache"
)

// repo is the working tree, and where its tools are kept.
type repo struct {
	root, cache string
	out         io.Writer
	// testArgs are further arguments of "go test".
	testArgs []string
	// prepared says for each thing that several layers need whether it was made, so that it is tried once.
	prepared map[string]error
}

func openRepo(ctx context.Context, out io.Writer) (*repo, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the module: %w", err)
	}
	dir, err := cache.Dir()
	if err != nil {
		return nil, err
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	return &repo{root: root, cache: dir, out: out, prepared: map[string]error{}}, nil
}

// command is a program in a folder of the repository. When the context ends, it and its children are asked to end, and it is killed only
// if it does not. It has a process group of its own, because "go test" leaves the tests running when it is asked to end.
func (r *repo) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = filepath.Join(r.root, dir)
	cmd.Env = append(os.Environ(), "GOWORK=off", cache.Env+"="+r.cache)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Minute
	return cmd
}

// exec runs a program and shows its output.
func (r *repo) exec(ctx context.Context, dir, program string, args ...string) error {
	cmd := r.command(ctx, dir, program, args...)
	cmd.Stdout, cmd.Stderr = r.out, r.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return nil
}

// capture runs a program and returns what it printed, standard error included.
func (r *repo) capture(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := r.command(ctx, dir, program, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return output.String(), err
}

// modules returns the folders of the Go modules, the main one first.
func (r *repo) modules(ctx context.Context) ([]string, error) {
	files, err := r.files(ctx, "go.mod", "**/go.mod")
	if err != nil {
		return nil, err
	}
	dirs := make([]string, len(files))
	for i, file := range files {
		dirs[i] = filepath.Dir(file)
	}
	slices.Sort(dirs)
	return dirs, nil
}

// files returns the files that git has or would add, by pattern.
func (r *repo) files(ctx context.Context, patterns ...string) ([]string, error) {
	args := append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--"}, patterns...)
	cmd := r.command(ctx, ".", "git", args...)
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the files of the repository: %w", err)
	}
	return slices.DeleteFunc(strings.Fields(string(output)), func(file string) bool {
		_, err := os.Stat(filepath.Join(r.root, file))
		return errors.Is(err, os.ErrNotExist) // removed, and not yet committed
	}), nil
}

// tool is a program from a Go module, built once and kept in the cache.
type tool struct{ name, pkg, version string }

var (
	golangciLint = tool{"golangci-lint", "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", "v2.15.0"}
	kustomize    = tool{"kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.8.2"}
	tools        = []tool{golangciLint, kustomize}
)

// install returns the path of the tool. A folder of its own for each version makes a change of version take effect at once.
func (r *repo) install(ctx context.Context, t tool) (string, error) {
	dir := filepath.Join(r.cache, "tools", t.name+"-"+t.version)
	program := filepath.Join(dir, t.name)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	_, _ = fmt.Fprintln(os.Stderr, "installing", t.name, t.version) // standard output is the tool's
	cmd := r.command(ctx, ".", "go", "install", t.pkg+"@"+t.version)
	cmd.Env = append(cmd.Env, "GOBIN="+dir, "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("installing %s: %w\n%s", t.name, err, output)
	}
	return program, nil
}

// once runs f the first time that it is asked for the name, and afterwards returns the same error.
func (r *repo) once(name string, f func() error) error {
	if err, done := r.prepared[name]; done {
		return err
	}
	r.prepared[name] = f()
	return r.prepared[name]
}

// clusterTool builds the program of hack/cluster and returns its path.
func (r *repo) clusterTool(ctx context.Context) (string, error) {
	program := filepath.Join(r.cache, "bin", "cluster")
	return program, r.once("cluster", func() error {
		return r.exec(ctx, "hack/cluster", "go", "build", "-o", program, ".")
	})
}
