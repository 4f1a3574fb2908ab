// Package build makes what the cluster consists of: it installs the Debian packages and builds the programs from Go modules. All
// of it is cached, keyed by the sources, so that a second call takes no time.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/platform-io/database-operator/hack/cluster/internal/lock"
	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

// Program is a Go program of this folder.
type Program struct {
	Name string
	// Module is the folder of its module, relative to hack/cluster, and Package that of its main package, relative to the module.
	Module, Package string
	// Sources are the folders, relative to the module, of the sources of which it consists.
	Sources []string
	LDFlags string
	// Links are further names in the folder of programs.
	Links []string
}

// kubernetesVersion is what the programs report as their version; it is that of the module k8s.io/kubernetes.
const kubernetesVersion = "v1.37.2"

// The programs of a cluster. Kube takes most of the time.
var (
	Kube = Program{
		Name: "kube", Module: "kube", Sources: []string{"."}, Links: []string{"kubectl"},
		LDFlags: "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37" +
			" -X k8s.io/client-go/pkg/version.gitVersion=" + kubernetesVersion,
	}
	CoreDNS = Program{Name: "coredns", Module: "coredns", Sources: []string{"."}}
	CSI     = Program{Name: "loop-csi", Module: ".", Package: "csi/loop-csi", Sources: []string{"csi", "csi/loop-csi"}}
	Pause   = Program{Name: "pause", Module: ".", Package: "pause", Sources: []string{"pause"}}

	Programs = []Program{Kube, CoreDNS, CSI, Pause}
)

// Builder builds into a cache.
type Builder struct {
	Cache paths.Cache
	// Source is the folder hack/cluster.
	Source string
	// Log takes the output of the tools.
	Log io.Writer
}

// FindSource returns the folder hack/cluster from which this program was built.
func FindSource() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..")
	if !ok || !filepath.IsAbs(dir) {
		return "", errors.New("this program does not know its sources: build it without -trimpath")
	}
	if _, err := os.Stat(filepath.Join(dir, "kube", "go.mod")); err != nil {
		return "", fmt.Errorf("the sources of this program have moved, build it again: %w", err)
	}
	return dir, nil
}

// Program makes sure that the program is built from the present sources, and returns its path.
func (b Builder) Program(ctx context.Context, p Program) (string, error) {
	key, err := b.key(p)
	if err != nil {
		return "", err
	}
	// The file of every version stays where it is: a running cluster may execute it. Old ones go when the cluster is down.
	file := b.Cache.Bin("store", p.Name+"-"+key)
	if err := b.ensure(ctx, p, file); err != nil {
		return "", err
	}
	for _, link := range append([]string{p.Name}, p.Links...) {
		if err := symlink(file, b.Cache.Bin(link)); err != nil {
			return "", err
		}
	}
	return file, nil
}

// ensure builds the file if it is missing. Tests start many of this command at once: one of them builds, the others wait.
func (b Builder) ensure(ctx context.Context, p Program, file string) error {
	if exists(file) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return fmt.Errorf("making the folder of programs: %w", err)
	}
	unlock, err := lock.Acquire(filepath.Join(filepath.Dir(file), p.Name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if exists(file) {
		return nil
	}
	return b.build(ctx, p, file)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, os.ErrNotExist)
}

func (b Builder) build(ctx context.Context, p Program, file string) error {
	_, _ = fmt.Fprintf(b.Log, "building %s\n", p.Name)
	temp := file + ".new"
	// Without cgo, so that a program also runs in an image that has no libraries.
	cmd := exec.CommandContext(ctx, "go", "build", "-o", temp, "-ldflags", "-s -w "+p.LDFlags, "./"+p.Package)
	cmd.Dir = filepath.Join(b.Source, p.Module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w", p.Name, err)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("keeping %s: %w", p.Name, err)
	}
	return nil
}

// Prune removes programs that were built from other sources. Those that run go on.
func Prune(cache paths.Cache) error {
	files, err := filepath.Glob(cache.Bin("store", "*-*"))
	if err != nil {
		return fmt.Errorf("listing programs: %w", err)
	}
	links, err := filepath.Glob(cache.Bin("*"))
	if err != nil {
		return fmt.Errorf("listing programs: %w", err)
	}
	used := map[string]bool{}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			used[target] = true
		}
	}
	for _, file := range files {
		if used[file] || strings.HasSuffix(file, ".new") {
			continue // a file that is new belongs to a build
		}
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("removing an old program: %w", err)
		}
	}
	return nil
}

// key is a hash of all that the program is made from.
func (b Builder) key(p Program) (string, error) {
	module := filepath.Join(b.Source, p.Module)
	files := []string{filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum")}
	for _, dir := range p.Sources {
		matches, err := filepath.Glob(filepath.Join(module, dir, "*.go"))
		if err != nil {
			return "", fmt.Errorf("listing the sources of %s: %w", p.Name, err)
		}
		files = append(files, slices.DeleteFunc(matches, func(f string) bool { return strings.HasSuffix(f, "_test.go") })...)
	}
	hash := sha256.New()
	_, _ = fmt.Fprintln(hash, runtime.Version(), p.LDFlags)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("reading the sources of %s: %w", p.Name, err)
		}
		_, _ = fmt.Fprintln(hash, filepath.Base(file), len(data))
		_, _ = hash.Write(data)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// symlink points the link at the target, in one step.
func symlink(target, link string) error {
	if present, err := os.Readlink(link); err == nil && present == target {
		return nil
	}
	temp := link + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", temp, err)
	}
	if err := os.Symlink(target, temp); err != nil {
		return fmt.Errorf("linking %s: %w", link, err)
	}
	if err := os.Rename(temp, link); err != nil {
		return fmt.Errorf("linking %s: %w", link, err)
	}
	return nil
}
