package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of queue, requests and leader election
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric of the build
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/controller"
	"github.com/platform-io/database-operator/pkg/engine/registry"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/reconnect"
)

// Stopping, in this order, so that two leaders never work at a time:
//
//  1. not ready any more; no new sync begins,
//  2. syncs under way end; what is not done after --shutdown-timeout is cancelled,
//  3. when none is under way, the leader's lease is released, so that the standby takes over at once,
//  4. informers and servers end, and the last events are written.
//
// A lease that cannot be renewed for renewDeadline is lost: syncs are cancelled at once, and the process ends. The
// standby takes it when it has not seen it renewed for leaseDuration, which is later. A request that was on its way
// then is harmless, because every write carries a UID or a resourceVersion. A lost lease is not released: that
// would be a request at a moment at which somebody else may have it.

// The times of the leader's lease.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// server is the running process.
type server struct {
	options    *options
	config     *rest.Config
	kube       kubernetes.Interface
	controller *controller.Controller
	// sync is the controller's Run.
	sync     func(ctx, syncs context.Context)
	election *leaderelection.HealthzAdaptor
	stopping atomic.Bool
}

// run runs until the context ends.
func run(ctx context.Context, o *options) error {
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "version", version.Get().GitVersion, "agentImage", o.agentImage)
	config, err := o.restConfig()
	if err != nil {
		return err
	}
	clients, err := newClients(config)
	if err != nil {
		return err
	}
	recorder, stop, err := record(ctx, clients.Kube)
	if err != nil {
		return err
	}
	defer stop()
	s := &server{options: o, config: config, kube: clients.Kube, election: leaderelection.NewLeaderHealthzAdaptor(20 * time.Second)}
	s.controller, err = controller.New(ctx, clients, recorder, controller.Options{
		Engines: registry.Engines(), AgentImage: o.agentImage, Workers: o.workers, Namespace: o.namespace,
	})
	if err != nil {
		return err
	}
	s.sync = s.controller.Run
	return s.run(ctx)
}

func (s *server) run(ctx context.Context) error {
	// Everything but the workers outlives the signal for as long as the workers take to end.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var serving sync.WaitGroup
	failed := make(chan error, 2)
	s.serve(background, &serving, failed)
	// A signal ends the wait for the caches as well.
	filling := context.AfterFunc(ctx, func() {
		if !s.controller.HasSynced() {
			end()
		}
	})
	if err := s.controller.Start(background); err != nil {
		return err
	}
	filling()
	done := make(chan error, 1)
	go func() { done <- s.work(ctx, background) }()
	var err error
	select {
	case err = <-done:
	case err = <-failed:
	}
	end()
	s.controller.Shutdown()
	serving.Wait()
	return err
}

// work runs the workers, as the leader if there is an election.
func (s *server) work(ctx, background context.Context) error {
	if !s.options.leaderElect {
		s.runWorkers(ctx, background)
		return nil
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, s.options.leaseNS, s.options.leaseName,
		s.kube.CoreV1(), s.kube.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: identity()})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	electing, resign := context.WithCancel(background)
	defer resign()
	var workers sync.WaitGroup
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: s.options.leaseName, WatchDog: s.election,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				workers.Go(func() { s.runWorkers(ctx, leading) })
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		workers.Wait()
		resign()
	})
	elector.Run(electing)
	if electing.Err() == nil || ctx.Err() == nil {
		return errors.New("the leader's lease was lost")
	}
	workers.Wait()
	return release(background, lock)
}

// runWorkers syncs until a stop is asked for or leading ends. The first leaves syncs under way some time to end, the
// second none.
func (s *server) runWorkers(stop, leading context.Context) {
	begin, end := context.WithCancel(leading)
	defer end()
	context.AfterFunc(stop, end)
	syncs, cancel := context.WithCancel(leading)
	defer cancel()
	context.AfterFunc(stop, func() { time.AfterFunc(s.options.shutdownLimit, cancel) })
	s.sync(begin, syncs)
}

// release lets go of the lease, if it is this process's. A last renewal may still arrive in between.
func release(ctx context.Context, lock resourcelock.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline)
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		record, _, err := lock.Get(ctx)
		if err != nil || record.HolderIdentity != lock.Identity() {
			return err
		}
		now := metav1.Now()
		return lock.Update(ctx, resourcelock.LeaderElectionRecord{
			LeaderTransitions: record.LeaderTransitions, LeaseDurationSeconds: 1, RenewTime: now, AcquireTime: now,
		})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release the leader's lease: %w", err)
	}
	return nil
}

// serve serves metrics and health.
func (s *server) serve(ctx context.Context, serving *sync.WaitGroup, failed chan<- error) {
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", legacyregistry.Handler())
	health := http.NewServeMux()
	health.HandleFunc("/livez", s.livez)
	health.HandleFunc("/readyz", s.readyz)
	for address, mux := range map[string]http.Handler{s.options.metricsAddr: metrics, s.options.healthAddr: health} {
		if address == "" || address == "0" {
			continue
		}
		listener := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
		serving.Go(func() {
			if err := listener.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve on %s: %w", address, err)
			}
		})
		context.AfterFunc(ctx, func() { _ = listener.Close() })
	}
}

// livez fails when the leader could not renew its lease for long and did not end.
func (s *server) livez(w http.ResponseWriter, r *http.Request) {
	if err := s.election.Check(r); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

// readyz does not depend on leadership: a standby is ready to take over.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	if unfilled := s.controller.Unfilled(); len(unfilled) > 0 {
		http.Error(w, fmt.Sprintf("caches are not filled yet: %s. If it stays so, the operator may not list and watch these (manifests/rbac); its log says why.",
			strings.Join(unfilled, ", ")), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (o *options) restConfig() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("how to reach the cluster (--kubeconfig): %w", err)
	}
	config.QPS, config.Burst = o.qps, o.burst
	config.UserAgent = "database-operator/" + version.Get().GitVersion
	config.Wrap(countRequests)
	config.Wrap(reconnect.Transport)
	return config, nil
}

func newClients(config *rest.Config) (controller.Clients, error) {
	// Kubernetes' own kinds have a binary form, which is cheaper on both sides; ours have not.
	binary := rest.CopyConfig(config)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	binary.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	kube, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return controller.Clients{}, fmt.Errorf("clients: %w", err)
	}
	databases, err := versioned.NewForConfig(config)
	if err != nil {
		return controller.Clients{}, fmt.Errorf("clients: %w", err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return controller.Clients{}, fmt.Errorf("clients: %w", err)
	}
	return controller.Clients{Kube: kube, Databases: databases, Metadata: meta}, nil
}

// identity names this process among the candidates for the lease.
func identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "_" + string(uuid.NewUUID())
}
