// The images of the nodes.
//
// They are imported once, not once per node and start: a containerd without anything else imports all archives of the cache into a
// store, and every node gets a copy of that by hard links, in less than a second and at no cost of space. That is sound because
// the files in question never change: blobs are named by their hashes, and layers are only ever read below an overlay. The
// databases of containerd, which do change, are copied.

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

// imageStore returns the store with all images of the cache; it is made anew when they have changed.
func (c *Cluster) imageStore(ctx context.Context) (string, error) {
	archives, err := filepath.Glob(c.cache.Images("*.tar"))
	if err != nil {
		return "", fmt.Errorf("listing images: %w", err)
	}
	key, err := storeKey(archives)
	if err != nil {
		return "", err
	}
	store := c.cache.Store(key)
	if _, err := os.Stat(store); err == nil {
		return store, nil
	}
	// Nodes have links of their own: earlier stores can go.
	if err := os.RemoveAll(c.cache.Store()); err != nil {
		return "", fmt.Errorf("removing earlier image stores: %w", err)
	}
	if err := c.makeStore(ctx, store, archives); err != nil {
		return "", fmt.Errorf("importing images: %w", err)
	}
	return store, nil
}

// storeKey changes with the archives and with containerd.
func storeKey(archives []string) (string, error) {
	hash := sha256.New()
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return "", fmt.Errorf("finding containerd: %w", err)
	}
	for _, file := range append([]string{containerd}, archives...) {
		info, err := os.Stat(file)
		if err != nil {
			return "", fmt.Errorf("looking at an image: %w", err)
		}
		_, _ = fmt.Fprintln(hash, filepath.Base(file), info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// makeStore imports the archives into a new store.
func (c *Cluster) makeStore(ctx context.Context, store string, archives []string) error {
	work := c.cache.Temp("store")
	if err := c.cleanTemp(); err != nil {
		return err
	}
	config, err := containerdConfig{Root: filepath.Join(work, "root"), State: filepath.Join(work, "state"), Socket: filepath.Join(work, "sock")}.render()
	if err != nil {
		return err
	}
	file := filepath.Join(work, "containerd.toml")
	if err := writeFile(file, config); err != nil {
		return err
	}
	const name = "containerd-store"
	if err := c.tree.Create("store"); err != nil {
		return err
	}
	err = c.table.Start(ctx, process.Spec{Name: name, Args: []string{"containerd", "--config", file}, Cgroups: c.tree.JoinFiles("store")})
	if err != nil {
		return err
	}
	socket := filepath.Join(work, "sock")
	err = awaitSocket(ctx, socket)
	for _, archive := range archives {
		if err == nil {
			err = importArchive(ctx, socket, archive)
		}
	}
	if err := errors.Join(err, c.table.Stop(name, stopGrace)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(store), 0o750); err != nil {
		return fmt.Errorf("making the folder of image stores: %w", err)
	}
	if err := os.Rename(filepath.Join(work, "root"), store); err != nil {
		return fmt.Errorf("keeping the image store: %w", err)
	}
	return c.cleanTemp()
}

// importArchive imports an image archive through a containerd, and unpacks it.
func importArchive(ctx context.Context, socket, archive string) error {
	cmd := exec.CommandContext(ctx, "ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("importing %s: %w: %s", archive, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// copyStore copies a store to a node that has none.
func copyStore(ctx context.Context, store, root string) error {
	if _, err := os.Stat(root); err == nil {
		return nil
	}
	temp := root + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return fmt.Errorf("removing an unfinished copy: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o750); err != nil {
		return fmt.Errorf("making containerd's folder: %w", err)
	}
	if output, err := exec.CommandContext(ctx, "cp", "--archive", "--link", store, temp).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the image store: %w: %s", err, output)
	}
	for _, pattern := range []string{"*/*.db", "*.db"} {
		databases, err := filepath.Glob(filepath.Join(temp, pattern))
		if err != nil {
			return fmt.Errorf("listing containerd's databases: %w", err)
		}
		for _, database := range databases {
			if err := unlink(database); err != nil {
				return err
			}
		}
	}
	if err := os.Rename(temp, root); err != nil {
		return fmt.Errorf("keeping the copy of the image store: %w", err)
	}
	return nil
}

// unlink makes a hard link a file of its own.
func unlink(file string) error {
	from, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("copying a database: %w", err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(file+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("copying a database: %w", err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("copying a database: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("copying a database: %w", err)
	}
	return nil
}

// LoadImage imports an image archive into all nodes of the running cluster, and keeps it for nodes that are added.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	s, err := c.loadState()
	if err != nil {
		return err
	}
	if s.Nodes == 0 {
		return errors.New("the cluster is not up")
	}
	for _, n := range c.nodes(s.Nodes) {
		if f := s.standstill(n.name); f != nil {
			return fmt.Errorf("images cannot be loaded into %s after `%s`", n.name, f)
		}
	}
	data, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("opening the image: %w", err)
	}
	defer func() { _ = data.Close() }()
	kept := c.cache.Cluster("images", filepath.Base(archive))
	if err := os.MkdirAll(filepath.Dir(kept), 0o750); err != nil {
		return fmt.Errorf("making the folder of loaded images: %w", err)
	}
	if output, err := exec.CommandContext(ctx, "cp", "--reflink=auto", archive, kept).CombinedOutput(); err != nil {
		return fmt.Errorf("keeping the image: %w: %s", err, output)
	}
	for _, n := range c.nodes(s.Nodes) {
		if err := importArchive(ctx, n.socket(), kept); err != nil {
			return fmt.Errorf("node %s: %w", n.name, err)
		}
	}
	return nil
}

// importLoaded imports what was loaded before the node was there.
func (c *Cluster) importLoaded(ctx context.Context, n node) error {
	archives, err := filepath.Glob(c.cache.Cluster("images", "*"))
	if err != nil {
		return fmt.Errorf("listing loaded images: %w", err)
	}
	done := n.path("images-imported")
	if _, err := os.Stat(done); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, archive := range archives {
		if err := importArchive(ctx, n.socket(), archive); err != nil {
			return err
		}
	}
	return writeFile(done, nil)
}
