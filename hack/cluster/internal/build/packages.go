// What the machine lacks is installed from Debian's packages, and no service of theirs is started.

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// tool is something that must be on the machine, and the Debian package that brings it. Whatever brings it is fine: nothing is
// installed where it is there already.
type tool struct{ program, pkg string }

var tools = []tool{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"ip", "iproute2"},
	{"mkfs.xfs", "xfsprogs"},
	{"mmdebstrap", "mmdebstrap"},
}

// cniDirs are where distributions and others put the CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// CNIDir returns the folder with the CNI plugins.
func CNIDir() (string, error) {
	for _, dir := range cniDirs {
		if exists(filepath.Join(dir, "ptp")) && exists(filepath.Join(dir, "host-local")) {
			return dir, nil
		}
	}
	return "", errors.New("the CNI plugins are in none of " + strings.Join(cniDirs, ", "))
}

// debianKeys are what the packages of images are signed with. mmdebstrap looks for them at this place, and with gpg, where the machine's own
// packages are another distribution's.
const debianKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

// missing returns the packages to be installed, each once.
func missing() []string {
	var packages []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil && (len(packages) == 0 || packages[len(packages)-1] != t.pkg) {
			packages = append(packages, t.pkg)
		}
	}
	if _, err := CNIDir(); err != nil {
		packages = append(packages, "containernetworking-plugins")
	}
	if !exists(debianKeys) {
		packages = append(packages, "debian-archive-keyring", "gpg")
	}
	return packages
}

// Packages installs what the machine lacks, on Debian and its like.
func (b Builder) Packages(ctx context.Context) error { return b.install(ctx, missing()) }

// Engines installs the programs of database engines where there are none, for tests that start servers as processes of this machine. It
// prefers the versions of the images.
func (b Builder) Engines(ctx context.Context) error {
	var packages []string
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if _, err := exec.LookPath("initdb"); err != nil && len(found) == 0 {
		packages = append(packages, "postgresql-15 | postgresql")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		packages = append(packages, "redis-server")
	}
	return b.install(ctx, packages)
}

// install installs packages, each a name, or names of which the first that there is will do.
func (b Builder) install(ctx context.Context, packages []string) error {
	if err := allowAgain(); err != nil {
		return err // what a killed run has left
	}
	if len(packages) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks %s, and without apt-get they cannot be installed: install them first", strings.Join(packages, ", "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("this machine lacks %s: install them, or run this as root", strings.Join(packages, ", "))
	}
	_, _ = fmt.Fprintln(b.Log, "installing", strings.Join(packages, ", "))
	if err := b.apt(ctx, "update", "-q"); err != nil {
		return err
	}
	err := errors.Join(forbidServices(), forbidDatabase())
	if err == nil {
		err = b.apt(ctx, append([]string{"satisfy", "-qy", "--no-install-recommends"}, packages...)...)
	}
	return errors.Join(err, allowAgain())
}

func (b Builder) apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	// An interrupted dpkg needs repair: let it end by itself.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return nil
}

// While packages are installed, policyFile tells them not to start their services: containerd's is not wanted, ours are enough.
const (
	policyFile  = "/usr/sbin/policy-rc.d"
	policySaved = policyFile + ".before-database-operator"
)

var policy = []byte("#!/bin/sh\n# Written by hack/cluster of database-operator while it installs packages: no services.\nexit 101\n")

func forbidServices() error {
	if exists(policyFile) {
		if err := os.Rename(policyFile, policySaved); err != nil {
			return fmt.Errorf("setting %s aside: %w", policyFile, err)
		}
	}
	if err := os.WriteFile(policyFile, policy, 0o755); err != nil {
		return fmt.Errorf("forbidding services: %w", err)
	}
	return nil
}

// While packages are installed, noDatabase tells PostgreSQL's not to make a database. Their createcluster.conf includes it, and stays
// as it is.
const noDatabase = "/etc/postgresql-common/createcluster.d/database-operator.conf"

func forbidDatabase() error {
	if err := os.MkdirAll(filepath.Dir(noDatabase), 0o755); err != nil {
		return fmt.Errorf("forbidding a database: %w", err)
	}
	if err := os.WriteFile(noDatabase, []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return fmt.Errorf("forbidding a database: %w", err)
	}
	return nil
}

// allowAgain undoes what forbids, also of a run that was killed; it does nothing where there is nothing of ours.
func allowAgain() error {
	if err := os.Remove(noDatabase); err == nil {
		_ = os.Remove(filepath.Dir(noDatabase))               // only if it is empty; others may use it
		_ = os.Remove(filepath.Dir(filepath.Dir(noDatabase))) // the same
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("allowing databases again: %w", err)
	}
	if present, err := os.ReadFile(policyFile); err == nil && bytes.Equal(present, policy) {
		if err := os.Remove(policyFile); err != nil {
			return fmt.Errorf("allowing services again: %w", err)
		}
	}
	if exists(policySaved) {
		if err := os.Rename(policySaved, policyFile); err != nil {
			return fmt.Errorf("restoring %s: %w", policyFile, err)
		}
	}
	return nil
}
