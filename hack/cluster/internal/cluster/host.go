// The few traces outside our folder, and how they go.

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

// What kubelet, containerd and the CNI plugins change on the host outside our folder, at places that cannot be configured, is put
// back here.

// sysctls are settings of the kernel that a kubelet changes.
var sysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

const sysctlDir = "/proc/sys"

// saveSysctls remembers the settings before the first kubelet starts.
func saveSysctls(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	values := map[string]string{}
	for _, name := range sysctls {
		data, err := os.ReadFile(filepath.Join(sysctlDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a kernel setting: %w", err)
		}
		values[name] = strings.TrimSpace(string(data))
	}
	data, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("encoding the kernel's settings: %w", err)
	}
	return writeFile(file, data)
}

// restoreSysctls puts the settings back, if any were saved.
func restoreSysctls(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the kernel's settings: %w", err)
	}
	values := map[string]string{}
	if err := json.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("decoding the kernel's settings: %w", err)
	}
	for name, value := range values {
		file := filepath.Join(sysctlDir, name)
		if present, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(present)) == value {
			continue
		}
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			return fmt.Errorf("restoring a kernel setting: %w", err)
		}
	}
	return nil
}

// removeShimSockets removes the sockets of the shims of nodes, in a folder that all containerds share. Each shim has
// written where its socket is.
func (c *Cluster) removeShimSockets(nodes string) error {
	const dir = "/run/containerd/s/"
	addresses, err := filepath.Glob(c.cache.Cluster(nodes, "containerd", "state", "io.containerd.runtime.v2.task", "*", "*", "address"))
	if err != nil {
		return fmt.Errorf("listing shims: %w", err)
	}
	for _, file := range addresses {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading the address of a shim: %w", err)
		}
		socket := strings.TrimPrefix(strings.TrimSpace(string(data)), "unix://")
		if !strings.HasPrefix(socket, dir) {
			continue
		}
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the socket of a shim: %w", err)
		}
	}
	return nil
}

// removeStrayFiles removes what was written elsewhere: links to logs of Pods, the CNI plugins' notes, and empty folders.
func removeStrayFiles(cluster, instance string) error {
	logs, err := filepath.Glob("/var/log/containers/*.log")
	if err != nil {
		return fmt.Errorf("listing links to logs: %w", err)
	}
	for _, link := range logs {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, cluster+"/") {
			if err := os.Remove(link); err != nil {
				return fmt.Errorf("removing a link to a log: %w", err)
			}
		}
	}
	notes, err := filepath.Glob("/var/lib/cni/results/" + instance + "-*")
	if err != nil {
		return fmt.Errorf("listing notes of CNI plugins: %w", err)
	}
	for _, note := range notes {
		// The loopback plugin's is named by the same container.
		container := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(note), instance+"-"), "-eth0")
		for _, file := range []string{note, "/var/lib/cni/results/cni-loopback-" + container + "-lo"} {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing a note of a CNI plugin: %w", err)
			}
		}
	}
	for _, path := range strays {
		_ = os.Remove(path) // of the folders only those that are empty; others may use them
	}
	return nil
}

// strays are made at fixed places by every containerd, kubelet and CNI plugin: children before parents.
var strays = []string{
	"/run/containerd/s", "/run/containerd", "/var/lib/cni/results", "/var/lib/cni", "/var/log/containers",
	"/var/lib/kubelet/device-plugins/kubelet.sock", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet",
}

// Command returns a command that runs in the namespace and the control group of a node or of the fabric. It dies with this process.
func (c *Cluster) Command(ctx context.Context, place string, args ...string) (*exec.Cmd, error) {
	s, err := c.loadState()
	if err != nil {
		return nil, err
	}
	if f := s.standstill(place); f != nil {
		return nil, fmt.Errorf("nothing can run on %s after `%s`", place, f)
	}
	return process.Command(ctx, process.Spec{Name: args[0], Args: args, Netns: c.net.file(place), Cgroups: c.tree.JoinFiles(place, "system")})
}

// BuildCommand returns a command that runs in a control group of ours, so that `down` ends it and all that it has started.
func (c *Cluster) BuildCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	if err := c.tree.Create("build"); err != nil {
		return nil, err
	}
	return process.Command(ctx, process.Spec{Name: args[0], Args: args, Cgroups: c.tree.JoinFiles("build")})
}

// EndBuild removes the control group of BuildCommand.
func (c *Cluster) EndBuild() { c.tree.RemoveEmpty("build") }

func selfCommand(args ...string) []string { return append([]string{"/proc/self/exe"}, args...) }
