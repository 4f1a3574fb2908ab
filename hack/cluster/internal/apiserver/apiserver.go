// Package apiserver runs etcd and kube-apiserver alone, without nodes, for integration tests and benchmarks: what a controller
// sees is then the real thing (CRDs, validation, admission, RBAC, server-side apply), at a cost of a few seconds.
//
// It needs no root, touches nothing outside its folder, and listens on the loopback device only; any number runs beside each
// other. Everything ends with this process, however that ends: the kernel kills the children.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/controlplane"
	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
	"github.com/platform-io/database-operator/hack/cluster/internal/process"
)

// advertise is the address that the API server announces. It must not be a loopback address; since no endpoints are published
// (there are no nodes), any other will do.
const advertise = "198.51.100.1" // TEST-NET-2

// readyLimit is how long the start may take, on a machine busy with other builds and tests.
const readyLimit = 2 * time.Minute

// Config says what to run.
type Config struct {
	Kube string // the multi-call program
	Dir  string // everything is kept here; it is emptied at the start and removed at the end
	Port int    // 0 chooses a free one
	// Controllers are those of kube-controller-manager to run beside, comma-separated, as in its flag --controllers; none if empty.
	Controllers string
	Audit       bool
	ExtraArgs   []string // for kube-apiserver
}

// Run starts the servers, writes the file kubeconfig into the folder and its path to out, and stays until the context ends or one
// of the servers does, which is an error. In the end it removes the folder; after an error it stays, for its logs.
func Run(ctx context.Context, config Config, out io.Writer) (err error) {
	if err := prepare(config.Dir); err != nil {
		return err
	}
	r := &runner{config: config, pki: pki.Dir(filepath.Join(config.Dir, "pki"))}
	defer func() {
		r.stop()
		if err == nil {
			err = os.RemoveAll(config.Dir)
		}
	}()
	if err := r.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while starting
		}
		return fmt.Errorf("%w (logs are in %s)", err, config.Dir)
	}
	if _, err := fmt.Fprintln(out, r.kubeconfig()); err != nil {
		return fmt.Errorf("announcing the kubeconfig: %w", err)
	}
	return r.wait(ctx)
}

// contents are the entries of the folder; others mean that it is not one of ours, and must not be removed.
var contents = map[string]bool{
	"pki": true, "etcd": true, "kubeconfig": true, "controller-manager.kubeconfig": true, "audit-policy.json": true, "audit.log": true,
	"etcd.log": true, "kube-apiserver.log": true, "kube-controller-manager.log": true,
	controlplane.FlexVolumeDir: true,
}

// prepare makes the folder, empty. What a killed run has left in it is removed.
func prepare(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	for _, entry := range entries {
		if !contents[entry.Name()] {
			return fmt.Errorf("%s holds %s, which is not of an API server: choose another folder", dir, entry.Name())
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("emptying %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	return nil
}

// runner holds what was started, in that order.
type runner struct {
	config   Config
	pki      pki.Dir
	server   string
	children []*process.Child
}

func (r *runner) path(name string) string { return filepath.Join(r.config.Dir, name) }

func (r *runner) kubeconfig() string { return r.path("kubeconfig") }

func (r *runner) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, errors.New("gave up after "+readyLimit.String()))
	defer cancel()
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return err
	}
	etcd := controlplane.Etcd{Kube: r.config.Kube, DataDir: r.path("etcd"), ClientPort: ports[0], Peer: ports[1]}
	api := controlplane.APIServer{
		Kube: r.config.Kube, PKI: r.pki, EtcdURL: etcd.URL(), Bind: "127.0.0.1", Advertise: advertise, Port: ports[2],
		// There are no controllers that would make the service account `default` or the endpoints of the Service kubernetes.
		Extra: append([]string{"--endpoint-reconciler-type=none"}, r.config.ExtraArgs...),
	}
	if r.config.Port != 0 {
		api.Port = r.config.Port
	}
	if r.config.Controllers == "" {
		api.Extra = append([]string{"--disable-admission-plugins=ServiceAccount"}, api.Extra...)
	}
	if r.config.Audit {
		api.AuditLog, api.AuditPolicy = r.path("audit.log"), r.path("audit-policy.json")
		if err := os.WriteFile(api.AuditPolicy, controlplane.AuditPolicy(), 0o600); err != nil {
			return fmt.Errorf("writing the audit policy: %w", err)
		}
	}
	r.server = "https://127.0.0.1:" + strconv.Itoa(api.Port)
	if err := r.launch(ctx, "etcd", etcd.Args()); err != nil {
		return err
	}
	if err := api.Issue(); err != nil {
		return err
	}
	if err := r.launch(ctx, "kube-apiserver", api.Args()); err != nil {
		return err
	}
	if err := r.pki.WriteKubeconfig(r.kubeconfig(), r.server, pki.Admin); err != nil {
		return err
	}
	if err := r.awaitReady(ctx); err != nil {
		return err
	}
	return r.startControllers(ctx)
}

// awaitReady waits for the API server, but not for one that has ended.
func (r *runner) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, child := range r.children {
		go func() {
			select {
			case <-child.Done():
				cancel(child.Err())
			case <-ctx.Done():
			}
		}()
	}
	tls, err := r.pki.Client(pki.Admin.Name)
	if err != nil {
		return err
	}
	client := controlplane.NewHTTPClient(tls)
	defer client.CloseIdleConnections()
	return controlplane.WaitReady(ctx, client, r.server)
}

func (r *runner) startControllers(ctx context.Context) error {
	if r.config.Controllers == "" {
		return nil
	}
	kubeconfig := r.path("controller-manager.kubeconfig")
	if err := r.pki.WriteKubeconfig(kubeconfig, r.server, controlplane.ControllerManagerUser); err != nil {
		return err
	}
	manager := controlplane.ControllerManager{Kube: r.config.Kube, PKI: r.pki, Kubeconfig: kubeconfig}
	return r.launch(ctx, "kube-controller-manager", append(manager.Args(), "--controllers="+r.config.Controllers, "--secure-port=0"))
}

func (r *runner) launch(ctx context.Context, name string, args []string) error {
	child, err := process.StartChild(ctx, name, r.path(name+".log"), args...)
	if err != nil {
		return err
	}
	r.children = append(r.children, child)
	return nil
}

// wait returns when the context ends, or with an error when a child does.
func (r *runner) wait(ctx context.Context) error {
	failed := make(chan error, len(r.children))
	for _, child := range r.children {
		go func() {
			<-child.Done()
			failed <- child.Err()
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("%w (logs are in %s)", err, r.config.Dir)
	}
}

// stop ends the children, the last one first: an API server without etcd would drain for a minute. Nothing of them is kept, so
// they get little time.
func (r *runner) stop() {
	for _, child := range slices.Backward(r.children) {
		child.Stop(2 * time.Second)
	}
}

// freePorts finds ports on the loopback device on which nothing listens. They are distinct, as all are held until the last is found.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var listen net.ListenConfig
	ports := make([]int, 0, n)
	for range n {
		listener, err := listen.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
