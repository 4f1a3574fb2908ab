// Bringing the cluster up: every step looks at what is there, and adds what is missing.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/controlplane"
	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

const (
	// preferredPort is the API server's on the host, if it is free.
	preferredPort = 16443
	// upLimit is how long `up` waits in all for what it has started.
	upLimit = 3 * time.Minute
)

// UpOptions are what one can choose.
type UpOptions struct {
	// Nodes is how many there shall be; 0 means as many as there are, or one.
	Nodes int
	// Audit lets the API server write an audit log. It counts when the API server is started.
	Audit bool
}

// Up brings the cluster up, or what of it is missing, and returns when Pods with volumes can run and names resolve. It ends all faults.
func (c *Cluster) Up(ctx context.Context, options UpOptions) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upLimit, errors.New("gave up after "+upLimit.String()))
	defer cancel()
	began := time.Now()
	s, err := c.prepare(ctx, options)
	if err != nil {
		return err
	}
	nodes := c.nodes(s.Nodes)
	store, err := c.imageStore(ctx)
	if err != nil {
		return err
	}
	c.step(began, "images imported")
	if err := c.endFaults(ctx, s); err != nil {
		return err
	}
	c.step(began, "network of %d nodes", len(nodes))
	client, err := c.controlPlane(ctx, s)
	if err != nil {
		return err
	}
	c.step(began, "control plane ready")
	for _, n := range nodes {
		if err := c.startNode(ctx, n, store); err != nil {
			return fmt.Errorf("starting node %s: %w", n.name, err)
		}
	}
	for _, n := range nodes {
		if err := c.awaitNode(ctx, client, n, fabricPrograms...); err != nil {
			return fmt.Errorf("%w (logs are in %s)", err, c.table.Logs)
		}
	}
	// Without its service account no Pod can be made in the namespace.
	if err := retry(ctx, func() error { return client.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil) }); err != nil {
		return err
	}
	if err := c.await(ctx, c.allPrograms(s.Nodes), func() error { return c.dnsReady(ctx) }); err != nil {
		return err
	}
	c.step(began, "ready: export KUBECONFIG=%s", c.cache.Kubeconfig())
	return nil
}

// prepare decides on the number of nodes and the port, and remembers them before anything is started.
func (c *Cluster) prepare(ctx context.Context, options UpOptions) (state, error) {
	s, err := c.loadState()
	if err != nil {
		return s, err
	}
	if err := fitsSockets(c.cache); err != nil {
		return s, err
	}
	if options.Nodes > MaxNodes {
		return s, fmt.Errorf("at most %d nodes are possible", MaxNodes)
	}
	if options.Nodes != 0 && options.Nodes < s.Nodes {
		return s, fmt.Errorf("the cluster has %d nodes: nodes can be added, not removed; take it down first", s.Nodes)
	}
	s.Nodes = max(s.Nodes, options.Nodes, 1)
	s.Audit = s.Audit || options.Audit
	if s.Port == 0 {
		if s.Port, err = freePort(ctx, preferredPort); err != nil {
			return s, err
		}
	}
	if err := saveSysctls(c.cache.Cluster("sysctls.json")); err != nil {
		return s, err
	}
	return s, c.saveState(s)
}

// maxSocketPath is how many bytes the kernel takes for the path of a unix socket (unix(7)).
const maxSocketPath = 107

// fitsSockets refuses a cache whose path is too long for the sockets of a node.
func fitsSockets(cache paths.Cache) error {
	longest := newNode(cache, MaxNodes).path("kubelet", "pod-resources", "kubelet.sock")
	if excess := len(longest) - maxSocketPath; excess > 0 {
		return fmt.Errorf("the cache's folder %s is %d bytes too long for unix sockets: set DATABASE_OPERATOR_CACHE to a shorter path", cache, excess)
	}
	return nil
}

// freePort returns the preferred port of the loopback device, or another one if something listens there.
func freePort(ctx context.Context, preferred int) (int, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(preferred))
	if err != nil {
		listener, err = listen.Listen(ctx, "tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return 0, fmt.Errorf("finding a port for the API server: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return 0, fmt.Errorf("finding a port for the API server: %w", err)
	}
	return port, nil
}

// controlPlane starts etcd, the API server and the controllers in the fabric, and applies what the cluster needs.
func (c *Cluster) controlPlane(ctx context.Context, s state) (*api, error) {
	if err := c.startAPIServer(ctx, s); err != nil {
		return nil, err
	}
	if err := c.startForwarder(ctx, s); err != nil {
		return nil, err
	}
	server := "https://127.0.0.1:" + strconv.Itoa(s.Port)
	if err := c.pki().WriteKubeconfig(c.cache.Kubeconfig(), server, pki.Admin); err != nil {
		return nil, err
	}
	client, err := c.api(s)
	if err != nil {
		return nil, err
	}
	if err := controlplane.WaitReady(ctx, client.client, server); err != nil {
		return nil, fmt.Errorf("%w (logs are in %s)", err, c.table.Logs)
	}
	if err := c.startControllers(ctx); err != nil {
		return nil, err
	}
	for _, r := range manifests() {
		// The API server is ready a moment before its storage of every kind is: try again.
		if err := retry(ctx, func() error { return client.apply(ctx, r) }); err != nil {
			return nil, err
		}
	}
	return client, nil
}

func (c *Cluster) startAPIServer(ctx context.Context, s state) error {
	etcd := controlplane.Etcd{Kube: c.programs.Kube, DataDir: c.cache.Cluster("etcd"), ClientPort: 2379, Peer: 2380}
	server := controlplane.APIServer{
		Kube: c.programs.Kube, PKI: c.pki(), EtcdURL: etcd.URL(), Bind: "0.0.0.0", Advertise: fabricAddress, Port: apiPort,
	}
	if s.Audit {
		server.AuditLog, server.AuditPolicy = c.cache.Cluster("logs", "audit.log"), c.cache.Cluster("audit-policy.json")
		if err := writeFile(server.AuditPolicy, controlplane.AuditPolicy()); err != nil {
			return err
		}
	}
	if err := server.Issue(); err != nil {
		return err
	}
	if err := c.start(ctx, fabric, "etcd", etcd.Args()); err != nil {
		return err
	}
	return c.start(ctx, fabric, "kube-apiserver", server.Args())
}

// startControllers starts what works on behalf of the API server, each as its own user.
func (c *Cluster) startControllers(ctx context.Context) error {
	users := map[string]pki.Identity{
		"controller-manager": controlplane.ControllerManagerUser,
		"scheduler":          controlplane.SchedulerUser,
		"coredns":            {Name: "coredns", User: dnsUser},
	}
	kubeconfig := func(name string) string { return c.cache.Cluster(name + ".kubeconfig") }
	for name, user := range users {
		if err := c.pki().WriteKubeconfig(kubeconfig(name), internalServer, user); err != nil {
			return err
		}
	}
	manager := controlplane.ControllerManager{Kube: c.programs.Kube, PKI: c.pki(), Kubeconfig: kubeconfig("controller-manager")}
	if err := c.start(ctx, fabric, "kube-controller-manager", manager.Args()); err != nil {
		return err
	}
	scheduler := controlplane.Scheduler{Kube: c.programs.Kube, Kubeconfig: kubeconfig("scheduler")}
	if err := c.start(ctx, fabric, "kube-scheduler", scheduler.Args()); err != nil {
		return err
	}
	if err := writeFile(c.cache.Cluster("Corefile"), corefile(kubeconfig("coredns"))); err != nil {
		return err
	}
	return c.start(ctx, fabric, "coredns", []string{c.programs.CoreDNS, "-conf", c.cache.Cluster("Corefile")})
}

// startForwarder starts the process by which the host reaches the API server. Its listener is opened here, in the host's namespace,
// and inherited by the process in the fabric: a socket stays in the namespace where it was made.
func (c *Cluster) startForwarder(ctx context.Context, s state) error {
	const name = "forwarder"
	if r, err := c.table.Record(name); err != nil || r.Alive() {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(s.Port))
	if err != nil {
		return fmt.Errorf("listening for the API server: %w", err)
	}
	defer func() { _ = listener.Close() }()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("passing on the listener of the API server: %w", err)
	}
	defer func() { _ = file.Close() }()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the path of this program: %w", err)
	}
	return c.start(ctx, fabric, name, []string{self, ForwardCommand, net.JoinHostPort(fabricAddress, strconv.Itoa(apiPort))}, file)
}
