// A node: its files, its programs, and when they work.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

// startNode starts what makes a node, but for kube-proxy: containerd, kubelet and the CSI driver.
func (c *Cluster) startNode(ctx context.Context, n node, store string) error {
	if err := c.tree.Create(n.name); err != nil {
		return err
	}
	if err := copyStore(ctx, store, n.containerdRoot()); err != nil {
		return err
	}
	if err := c.configure(n); err != nil {
		return err
	}
	if err := c.start(ctx, n.name, n.process("containerd"), []string{"containerd", "--config", n.path("containerd.toml")}); err != nil {
		return err
	}
	err := c.await(ctx, []string{n.process("containerd")}, func() error { return runtimeReady(ctx, n.socket()) })
	if err != nil {
		return err
	}
	if err := c.importLoaded(ctx, n); err != nil {
		return err
	}
	first := n.number == 1
	programs := []struct {
		name string
		args []string
	}{
		{"kubelet", []string{
			c.programs.Kube, "kubelet", "--config=" + n.path("kubelet.json"), "--kubeconfig=" + n.path("kubelet.kubeconfig"),
			"--root-dir=" + n.kubeletDir(), "--hostname-override=" + n.name, "--node-ip=" + n.address(),
		}},
		{"csi", []string{
			c.programs.CSI, "--node=" + n.name, "--volumes=" + n.volumes(), "--kubelet-dir=" + n.kubeletDir(),
			"--kubeconfig=" + n.path("csi.kubeconfig"), "--takes-unselected=" + strconv.FormatBool(first),
		}},
	}
	for _, p := range programs {
		if err := c.start(ctx, n.name, n.process(p.name), p.args); err != nil {
			return err
		}
	}
	return nil
}

// startProxy starts kube-proxy. It ends when the addresses of its Node become others than at its start, so the Node has to be there.
func (c *Cluster) startProxy(ctx context.Context, n node) error {
	return c.start(ctx, n.name, n.process("kube-proxy"), []string{c.programs.Kube, "kube-proxy", "--config=" + n.path("kube-proxy.json")})
}

// awaitNode completes a node that was started, and waits until Pods with volumes can run there. Without its own programs, or those that
// the caller needs besides, it does not wait.
func (c *Cluster) awaitNode(ctx context.Context, client *api, n node, besides ...string) error {
	registering := append(slices.Clone(besides), n.process("containerd"), n.process("kubelet"))
	if err := c.await(ctx, registering, func() error { return client.nodeKnown(ctx, n.name) }); err != nil {
		return err
	}
	if err := c.startProxy(ctx, n); err != nil {
		return err
	}
	return c.await(ctx, append(n.programs(), besides...), func() error { return c.nodeReady(ctx, client, n) })
}

// configure writes the node's configuration files and the certificates of its programs.
func (c *Cluster) configure(n node) error {
	containerd, err := containerdConfig{
		Root: n.containerdRoot(), State: n.containerdState(), Socket: n.socket(), CNIBin: c.programs.CNIDir, CNIConf: n.path("cni"),
	}.render()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"containerd.toml": containerd,
		"resolv.conf":     []byte("nameserver " + fabricAddress + "\n"),
	}
	configs := map[string]object{
		filepath.Join("cni", "10-pods.conflist"): cniConfig(n),
		"kubelet.json":                           kubeletConfig(n, c.pki()),
		"kube-proxy.json":                        proxyConfig(n),
	}
	for name, config := range configs {
		if files[name], err = renderJSON(config); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := writeFile(n.path(name), data); err != nil {
			return err
		}
	}
	users := map[string]pki.Identity{
		"kubelet": {
			Name: n.process("kubelet"), User: "system:node:" + n.name, Groups: []string{"system:nodes"},
			Hosts: []string{n.name, n.address(), "127.0.0.1"},
		},
		"kube-proxy": {Name: n.process("kube-proxy"), User: "system:kube-proxy"},
		"csi":        {Name: n.process("csi"), User: csiUser},
	}
	for name, user := range users {
		if err := c.pki().WriteKubeconfig(n.path(name+".kubeconfig"), internalServer, user); err != nil {
			return err
		}
	}
	return nil
}

// awaitSocket waits until something answers on a unix socket.
func awaitSocket(ctx context.Context, socket string) error {
	return retry(ctx, func() error {
		dialer := net.Dialer{Timeout: time.Second}
		connection, err := dialer.DialContext(ctx, "unix", socket)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", socket, err)
		}
		return connection.Close()
	})
}

// dnsReady returns nil if the DNS server knows the API server's Service. It is asked from inside the fabric, through a shim.
func (c *Cluster) dnsReady(ctx context.Context) error {
	cmd, err := c.Command(ctx, fabric, selfCommand(ResolveCommand, "kubernetes.default.svc."+clusterDomain+".")...)
	if err != nil {
		return err
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the DNS server does not answer: %w: %s", err, output)
	}
	return nil
}

// ResolveCommand is the (hidden) subcommand of this program that calls Resolve with its only argument.
const ResolveCommand = "resolve"

// Resolve asks the cluster's DNS server for a name.
func Resolve(ctx context.Context, name string) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", net.JoinHostPort(fabricAddress, "53"))
	}}
	addresses, err := resolver.LookupHost(ctx, name)
	if err != nil {
		return fmt.Errorf("resolving: %w", err)
	}
	if len(addresses) == 0 {
		return errors.New("no address")
	}
	_, err = fmt.Fprintln(os.Stdout, addresses[0])
	return err
}
