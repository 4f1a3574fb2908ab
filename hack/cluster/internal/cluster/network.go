// The network: namespaces, one bridge, one link per node, static routes.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

// network is a network, by the name of its cluster.
type network string

const (
	netnsDir = "/run/netns"
	// netnsNote says that netnsDir was no mount: the first `ip netns add` mounts it on itself. It is the machine's, and not in the folder
	// of a cluster, because several may use the mount, of which the last takes it away.
	netnsNote = "/run/netns.database-operator"
)

// netns is the name of the network namespace of a node or of the fabric.
func (w network) netns(place string) string { return string(w) + "-" + place }

// file is the file of that namespace.
func (w network) file(place string) string { return filepath.Join(netnsDir, w.netns(place)) }

// create makes the namespaces, links and routes for the nodes. Nothing of it is in the host's namespace.
func (w network) create(ctx context.Context, nodes []node) error {
	if err := w.makeFabric(ctx); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := w.connect(ctx, n); err != nil {
			return fmt.Errorf("connecting %s: %w", n.name, err)
		}
	}
	for _, from := range nodes {
		for _, to := range nodes {
			if from.name == to.name {
				continue
			}
			if err := w.ip(ctx, from.name, "route", "replace", to.podCIDR(), "via", to.address()); err != nil {
				return fmt.Errorf("routing from %s to %s: %w", from.name, to.name, err)
			}
		}
	}
	return nil
}

// makeFabric makes the namespace of the control plane, with a bridge to which the nodes are connected.
func (w network) makeFabric(ctx context.Context) error {
	if err := w.addNetns(ctx, fabric); err != nil {
		return err
	}
	if !w.hasLink(ctx, fabric, "br0") {
		if err := w.ip(ctx, fabric, "link", "add", "br0", "type", "bridge"); err != nil {
			return err
		}
	}
	if err := w.ip(ctx, fabric, "address", "replace", fabricAddress+"/"+fabricPrefix, "dev", "br0"); err != nil {
		return err
	}
	if err := w.ip(ctx, fabric, "link", "set", "br0", "up"); err != nil {
		return err
	}
	return w.forwardPackets(ctx, fabric)
}

// connect makes the namespace of a node and its link to the bridge.
func (w network) connect(ctx context.Context, n node) error {
	if err := w.addNetns(ctx, n.name); err != nil {
		return err
	}
	if !w.hasLink(ctx, n.name, "eth0") {
		err := w.ip(ctx, "", "link", "add", n.veth(), "netns", w.netns(fabric), "type", "veth", "peer", "name", "eth0", "netns", w.netns(n.name))
		if err != nil {
			return err
		}
	}
	steps := []struct {
		namespace string
		args      []string
	}{
		{fabric, []string{"link", "set", n.veth(), "master", "br0", "up"}},
		{n.name, []string{"address", "replace", n.address() + "/" + fabricPrefix, "dev", "eth0"}},
		// A node keeps its address on the wire when it is started again, or its neighbours would look for the old one for a while.
		{n.name, []string{"link", "set", "eth0", "address", n.mac(), "up"}},
		{n.name, []string{"route", "replace", "default", "via", fabricAddress}},
		{fabric, []string{"route", "replace", n.podCIDR(), "via", n.address()}},
	}
	for _, step := range steps {
		if err := w.ip(ctx, step.namespace, step.args...); err != nil {
			return err
		}
	}
	return w.forwardPackets(ctx, n.name)
}

// disconnect removes the namespace of a node, and with it all that a machine forgets when it is switched off: addresses of Pods,
// rules, tracked connections. The link is removed first, since a namespace goes only some time after its name has.
func (w network) disconnect(ctx context.Context, n node) error {
	if w.hasLink(ctx, fabric, n.veth()) {
		if err := w.ip(ctx, fabric, "link", "delete", n.veth()); err != nil {
			return err
		}
	}
	return w.removeNetns(ctx, w.file(n.name))
}

// setRawTable replaces the rules in iptables' table `raw` of a namespace, in one step. Nobody else uses that table.
func (w network) setRawTable(ctx context.Context, place, rules string) error {
	cmd, err := process.Command(ctx, process.Spec{Name: "iptables", Netns: w.file(place), Args: []string{"iptables-restore", "--wait", "5"}})
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(rules)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("setting the rules of %s: %w: %s", place, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// addNetns makes a namespace. A file that is none is what remains when its making was interrupted.
func (w network) addNetns(ctx context.Context, name string) error {
	if w.ip(ctx, name, "link", "set", "lo", "up") == nil {
		return nil
	}
	if err := os.Remove(w.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a broken namespace: %w", err)
	}
	if err := noteMount(netnsDir, netnsNote); err != nil {
		return err
	}
	if err := w.ip(ctx, "", "netns", "add", w.netns(name)); err != nil {
		return err
	}
	return w.ip(ctx, name, "link", "set", "lo", "up")
}

func (w network) hasLink(ctx context.Context, namespace, link string) bool {
	return w.ip(ctx, namespace, "link", "show", "dev", link) == nil
}

// forwardPackets makes a namespace a router. The setting can be written only by a process inside.
func (w network) forwardPackets(ctx context.Context, namespace string) error {
	cmd, err := process.Command(ctx, process.Spec{
		Name: "sysctl", Netns: w.file(namespace), Args: []string{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
	})
	if err != nil {
		return err
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("forwarding packets in %s: %w: %s", namespace, err, output)
	}
	return nil
}

// ip runs the command ip of iproute2 for a namespace of ours, or for the host's if none is given.
func (w network) ip(ctx context.Context, namespace string, args ...string) error {
	if namespace != "" {
		args = append([]string{"-n", w.netns(namespace)}, args...)
	}
	cmd := exec.CommandContext(ctx, "ip", args...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// remove removes all namespaces of ours, and with them every link and route, and the mount that they were in.
func (w network) remove(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(netnsDir, w.netns("*")))
	if err != nil {
		return fmt.Errorf("listing network namespaces: %w", err)
	}
	for _, file := range files {
		if err := w.removeNetns(ctx, file); err != nil {
			return err
		}
	}
	return unmountNoted(netnsDir, netnsNote)
}

func (w network) removeNetns(ctx context.Context, file string) error {
	if err := w.ip(ctx, "", "netns", "delete", filepath.Base(file)); err == nil {
		return nil
	}
	// Its making was interrupted between the file and the mount.
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a broken namespace: %w", err)
	}
	return nil
}
