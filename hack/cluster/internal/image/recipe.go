// The known images, and how they are made of Debian's packages.

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

// Recipe makes a known image of Debian's packages, with the names and the layout of the official one, so that what is written
// for that runs unmodified.
type Recipe struct {
	Name string
	// Repository and Tags make the names. Of the tags, "{version}" stands for the version of the packaged program.
	Repository string
	Tags       []string
	Suite      string
	Packages   []string
	// VersionOf is the package whose version is that of the program.
	VersionOf string
	// Drop are patterns of files that are not unpacked.
	Drop []string
	// Before and After are shell scripts that run outside, with the root file system as $1: before the packages are
	// installed, and after.
	Before, After string
	Config        Config
}

// Recipes are the images that every cluster has.
var Recipes = []Recipe{postgres15}

// known are all that can be made; the others only where they are asked for.
var known = append(slices.Clip(Recipes), redis7, redis8, patroni)

// postgres15 mirrors docker.io/library/postgres:15 (Debian's variant): user postgres with id 999, programs and data in the same
// places, the same locale. The entrypoint script is missing.
var postgres15 = Recipe{
	Name:       "postgres-15",
	Repository: "docker.io/library/postgres",
	Tags:       []string{"15", "15.0", "15.4", "{version}", "15-bookworm"},
	Suite:      "bookworm",
	Packages:   []string{"postgresql-15", "locales", "libnss-wrapper", "xz-utils", "zstd"},
	VersionOf:  "postgresql-15",
	// Just-in-time compilation is optional: PostgreSQL goes without where its library is missing.
	Drop: []string{"/usr/lib/postgresql/*/lib/bitcode/*", "/usr/lib/postgresql/*/lib/llvmjit*", "/usr/lib/*/libLLVM*", "/usr/lib/*/libz3*"},
	Before: `echo "postgres:x:999:999::/var/lib/postgresql:/bin/bash" >>"$1/etc/passwd"
		echo "postgres:x:999:" >>"$1/etc/group"
		mkdir -p "$1/etc/postgresql-common"
		echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"`,
	After: `chroot "$1" localedef -i en_US -c -f UTF-8 -A /usr/share/locale/locale.alias en_US.UTF-8
		rm -rf "$1/usr/share/i18n" "$1/var/lib/postgresql/15" "$1/etc/postgresql/15"
		install -d -o 999 -g 999 -m 1777 "$1/var/lib/postgresql" "$1/var/lib/postgresql/data"
		install -d -o 999 -g 999 -m 3777 "$1/run/postgresql"`,
	Config: Config{
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
			"LANG=en_US.utf8", "PG_MAJOR=15", "PGDATA=/var/lib/postgresql/data",
		},
		Cmd:          []string{"postgres"},
		ExposedPorts: map[string]struct{}{"5432/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/postgresql/data": {}},
		StopSignal:   "SIGINT",
	},
}

// redis7 mirrors docker.io/library/redis:7.0 (Debian's variant): user redis with id 999, programs in the PATH, data in /data. The
// entrypoint script is missing.
var redis7 = Recipe{
	Name:       "redis-7",
	Repository: "docker.io/library/redis",
	Tags:       []string{"7", "7.0", "{version}", "7-bookworm", "7.0-bookworm"},
	Suite:      "bookworm",
	Packages:   []string{"redis-server"},
	VersionOf:  "redis-server",
	Before: `echo "redis:x:999:999::/data:/usr/sbin/nologin" >>"$1/etc/passwd"
		echo "redis:x:999:" >>"$1/etc/group"`,
	After: `rm -rf "$1/etc/redis" "$1/var/lib/redis" "$1/var/log/redis"
		install -d -o 999 -g 999 -m 755 "$1/data"`,
	Config: Config{
		Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Cmd:          []string{"redis-server"},
		WorkingDir:   "/data",
		ExposedPorts: map[string]struct{}{"6379/tcp": {}},
		Volumes:      map[string]struct{}{"/data": {}},
	},
}

// redis8 is the same of Debian 13.
var redis8 = Recipe{
	Name:       "redis-8",
	Repository: redis7.Repository,
	Tags:       []string{"8", "8.0", "{version}", "8-trixie", "8.0-trixie"},
	Suite:      "trixie",
	Packages:   redis7.Packages,
	VersionOf:  redis7.VersionOf,
	Before:     redis7.Before,
	After:      redis7.After,
	Config:     redis7.Config,
}

// patroni has Patroni beside the same PostgreSQL, for the comparison with it (hack/peers). It stores its state in Kubernetes.
var patroni = Recipe{
	Name:       "patroni",
	Repository: "docker.io/local/patroni",
	Tags:       []string{"15"},
	Suite:      postgres15.Suite,
	Packages:   append(slices.Clip(postgres15.Packages), "patroni", "python3-kubernetes"),
	VersionOf:  "patroni",
	Drop:       postgres15.Drop,
	Before:     postgres15.Before,
	After:      postgres15.After,
	Config: Config{
		Env:          append(slices.Clip(postgres15.Config.Env), "PYTHONUNBUFFERED=1"),
		Cmd:          []string{"patroni"},
		ExposedPorts: map[string]struct{}{"5432/tcp": {}, "8008/tcp": {}},
	},
}

// dropAlways are files that no test reads.
var dropAlways = []string{"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*/*"}

// Find returns the recipe of that name.
func Find(name string) (Recipe, error) {
	names := make([]string, 0, len(known))
	for _, r := range known {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Recipe{}, fmt.Errorf("no image %q is known, only %s", name, strings.Join(names, ", "))
}

// Kitchen makes images and keeps their archives in the cache.
type Kitchen struct {
	Cache paths.Cache
	// Command makes a command that leaves nothing behind when this process is killed.
	Command func(ctx context.Context, args ...string) (*exec.Cmd, error)
	Log     io.Writer
}

// Archive returns the archive of a recipe, which is made if the cache does not have it, in place of what an earlier version of
// the recipe made.
func (k Kitchen) Archive(ctx context.Context, r Recipe) (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding the recipe of %s: %w", r.Name, err)
	}
	key := sha256.Sum256(data)
	return k.keep(r.Name, hex.EncodeToString(key[:6]), func(out string) error {
		_, _ = fmt.Fprintln(k.Log, "making the image", r.Name)
		return k.cook(ctx, r, out)
	})
}

// PauseName is the image of the process that holds a Pod's namespaces.
const PauseName = "docker.io/local/pause:1"

// Pause returns the archive of the pause image, made of the program.
func (k Kitchen) Pause(program string) (string, error) {
	_, key, _ := strings.Cut(filepath.Base(program), "-")
	return k.keep("pause", key, func(out string) error {
		root, err := k.tempDir("pause")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(root) }()
		if err := os.Link(program, filepath.Join(root, "pause")); err != nil {
			return fmt.Errorf("linking the pause program: %w", err)
		}
		return Pack(out, Spec{Names: []string{PauseName}, Rootfs: root, Config: Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}})
	})
}

// keep makes sure that the archive NAME_KEY.tar is there, as the only one of that name.
func (k Kitchen) keep(name, key string, create func(out string) error) (string, error) {
	out := k.Cache.Images(name + "_" + key + ".tar")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(k.Cache.Images(), 0o750); err != nil {
		return "", fmt.Errorf("making the folder of images: %w", err)
	}
	old, err := filepath.Glob(k.Cache.Images(name + "_*.tar"))
	if err != nil {
		return "", fmt.Errorf("listing images: %w", err)
	}
	if err := create(out); err != nil {
		return "", fmt.Errorf("making the image %s: %w", name, err)
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return "", fmt.Errorf("removing an old image: %w", err)
		}
	}
	return out, nil
}

func (k Kitchen) tempDir(name string) (string, error) {
	if err := os.MkdirAll(k.Cache.Temp(), 0o750); err != nil {
		return "", fmt.Errorf("making the folder of unfinished work: %w", err)
	}
	dir, err := os.MkdirTemp(k.Cache.Temp(), name+"-")
	if err != nil {
		return "", fmt.Errorf("making a temporary folder: %w", err)
	}
	return dir, nil
}

// cook installs the packages into a root file system and packs it.
func (k Kitchen) cook(ctx context.Context, r Recipe, out string) error {
	dir, err := k.tempDir(r.Name)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rootfs, versionFile := filepath.Join(dir, "rootfs.tar"), filepath.Join(dir, "version")
	cmd, err := k.Command(ctx, bootstrap(r, rootfs, versionFile)...)
	if err != nil {
		return err
	}
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "SOURCE_DATE_EPOCH=0", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdout, cmd.Stderr = k.Log, k.Log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has things to unmount
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mmdebstrap: %w", err)
	}
	version, err := os.ReadFile(versionFile)
	if err != nil {
		return fmt.Errorf("reading the version: %w", err)
	}
	return Pack(out, Spec{Names: r.names(string(version)), Rootfs: rootfs, Config: r.Config})
}

// names returns the full names; version is that of the Debian package, such as 15.18-0+deb12u1 or 5:7.0.15-1~deb12u7.
func (r Recipe) names(version string) []string {
	version, _, _ = strings.Cut(version, "-")
	if _, upstream, ok := strings.Cut(version, ":"); ok {
		version = upstream
	}
	names := make([]string, 0, len(r.Tags))
	for _, tag := range r.Tags {
		names = append(names, r.Repository+":"+strings.ReplaceAll(tag, "{version}", version))
	}
	return names
}

// bootstrap is the command that makes the root file system.
func bootstrap(r Recipe, rootfs, versionFile string) []string {
	args := []string{
		"mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=tar", "--skip=output/dev",
		"--include=" + strings.Join(r.Packages, ","),
		`--aptopt=APT::Install-Recommends "false"`, "--dpkgopt=force-confold",
	}
	for _, pattern := range append(append([]string{}, dropAlways...), r.Drop...) {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	return append(args,
		"--essential-hook="+script(r.Before),
		"--customize-hook="+script(r.After),
		"--customize-hook="+fmt.Sprintf(`chroot "$1" dpkg-query -W -f '${Version}' %s >%s`, r.VersionOf, versionFile),
		r.Suite, rootfs,
	)
}

// script makes a hook of shell lines, which ends at the first that fails.
func script(lines string) string { return "set -e; " + strings.ReplaceAll(lines, "\n", "; ") }
