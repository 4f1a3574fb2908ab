// Package paths says where the local cluster keeps things. There are two kinds: what is expensive to make and stays (programs,
// images), and the state of the running cluster, which `down` removes as a whole.
package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// EnvCache overrides the folder of everything that the cluster command writes.
const EnvCache = "DATABASE_OPERATOR_CACHE"

// maxRoot keeps unix sockets below the folder within the 107 bytes that the kernel allows; the longest is the one by which the
// CSI driver announces itself to a kubelet.
const maxRoot = 48

// Cache is the root of all files of the cluster command.
type Cache string

// Default returns the cache folder of this user: $DATABASE_OPERATOR_CACHE, else a folder in the usual place for caches.
func Default() (Cache, error) {
	dir := os.Getenv(EnvCache)
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding the cache folder (set %s to choose one): %w", EnvCache, err)
		}
		dir = filepath.Join(base, "database-operator")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolving the cache folder %s: %w", dir, err)
	}
	if len(dir) > maxRoot {
		return "", fmt.Errorf("the cache folder %s is longer than %d characters, too long for unix sockets in it: set %s to a shorter one",
			dir, maxRoot, EnvCache)
	}
	return Cache(dir), nil
}

// Instance is the name by which what a cluster has outside its folder is known: namespaces and control groups. Every cache has a
// cluster of its own, and they do not meet; the one in the usual place of this user has the plain name.
func (c Cache) Instance() string {
	if home, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil && string(c) == filepath.Join(home.HomeDir, ".cache", "database-operator") {
		return instance
	}
	hash := sha256.Sum256([]byte(c))
	return instance + hex.EncodeToString(hash[:3])
}

const instance = "kdev"

// Bin is the folder of the programs, with links by their usual names.
func (c Cache) Bin(elem ...string) string { return c.join("bin", elem) }

// Images is the folder of image archives. Every archive in it is loaded into every node.
func (c Cache) Images(elem ...string) string { return c.join("images", elem) }

// Store is the folder of containerd stores into which all images were imported once, to be copied by hard links into nodes.
func (c Cache) Store(elem ...string) string { return c.join("store", elem) }

// Temp is the folder of unfinished work; `down` empties it.
func (c Cache) Temp(elem ...string) string { return c.join("tmp", elem) }

// Cluster is the folder of the state of the running cluster; `down` removes it.
func (c Cache) Cluster(elem ...string) string { return c.join("cluster", elem) }

// Kubeconfig is the file with which the host talks to the running cluster as its administrator.
func (c Cache) Kubeconfig() string { return c.Cluster("kubeconfig") }

func (c Cache) join(sub string, elem []string) string {
	return filepath.Join(append([]string{string(c), sub}, elem...)...)
}
