// Taking the cluster down, from whatever state it is in.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// stopGrace is how long a program may take to end before it is killed. What it would save is thrown away.
const stopGrace = 2 * time.Second

// stopOrder lists the programs by the beginnings of their names: what depends on others ends before those. An API server without
// etcd, for one, would drain for a minute.
var stopOrder = [][]string{
	{"kubelet-", "kube-proxy-", "csi-"},
	{"kube-scheduler", "kube-controller-manager", "coredns", "forwarder"},
	{"kube-apiserver"},
	{"etcd"},
}

// Down removes everything that Up, or an Up that was killed, has made, but for the caches. It may be called at any time.
func (c *Cluster) Down(ctx context.Context) error {
	began := time.Now()
	// What is frozen cannot end.
	c.tree.Thaw()
	if err := c.stopPrograms(); err != nil {
		return err
	}
	// Containers, their shims, containerd, and whatever else.
	if err := c.tree.Kill(); err != nil {
		return err
	}
	c.step(began, "processes stopped")
	if err := c.removeTraces(ctx); err != nil {
		return err
	}
	for _, dir := range []string{c.cache.Cluster(), c.cache.Temp()} {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	c.step(began, "down")
	return nil
}

// removeTraces removes what processes leave in the kernel and on the host, when they have ended. The state is still needed.
func (c *Cluster) removeTraces(ctx context.Context) error {
	steps := []func() error{
		func() error { return c.removeShimSockets("n*") },
		func() error { return unmountBelow(c.cache.Cluster()) },
		func() error { return unmountBelow(c.cache.Temp()) },
		func() error { return detachBelow(c.cache.Cluster()) },
		func() error { return removeLoopNodes(c.cache.Cluster("n*", "volumes"), "/dev", "/sys/block") },
		func() error { return c.net.remove(ctx) },
		func() error { return c.tree.Remove() },
		func() error { return restoreSysctls(c.cache.Cluster("sysctls.json")) },
		func() error { return removeStrayFiles(c.cache.Cluster(), c.cache.Instance()) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// stopPrograms ends the programs that have records, in order, those that are alike at the same time.
func (c *Cluster) stopPrograms() error {
	records, err := filepath.Glob(filepath.Join(c.table.Records, "*.json"))
	if err != nil {
		return fmt.Errorf("listing process records: %w", err)
	}
	for _, group := range stopOrder {
		var errs []error
		var mutex sync.Mutex
		var all sync.WaitGroup
		for _, record := range records {
			name := strings.TrimSuffix(filepath.Base(record), ".json")
			if !hasAnyPrefix(name, group) {
				continue
			}
			all.Go(func() {
				err := c.table.Stop(name, stopGrace)
				mutex.Lock()
				defer mutex.Unlock()
				errs = append(errs, err)
			})
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

func hasAnyPrefix(name string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// cleanTemp removes unfinished work, and what is mounted there.
func (c *Cluster) cleanTemp() error {
	if err := unmountBelow(c.cache.Temp()); err != nil {
		return err
	}
	return removeTree(c.cache.Temp())
}

// removeTree removes a folder, but not through a mount: that would delete what is mounted.
func removeTree(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("not removing %s, on which is mounted: %s", dir, strings.Join(mounts, ", "))
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}
