package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platform-io/database-operator/hack/audit"
	"github.com/platform-io/database-operator/hack/machine"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
	"github.com/platform-io/database-operator/pkg/testing/simulation"
)

const namespace = "bench"

// bench is what runs.
type bench struct {
	options
	dir string

	api  *apiServer
	op   *operator
	sim  *simulation.Simulation
	kube kubernetes.Interface
	db   versioned.Interface
	// endSimulation ends it, and the watching of Databases.
	endSimulation context.CancelFunc
}

// start brings everything up but the Databases.
func (b *bench) start(ctx context.Context) error {
	var err error
	if b.api, err = startAPIServer(ctx, filepath.Join(b.dir, "apiserver")); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", b.api.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // no limit: only the operator's own is measured
	if err := b.prepare(ctx, config); err != nil {
		return err
	}
	if b.op, err = startOperator(ctx, b.dir, b.api.kubeconfig, b.operatorArgs); err != nil {
		return err
	}
	simulated, cancel := context.WithCancel(ctx)
	b.endSimulation = cancel
	b.sim, err = simulation.Start(simulated, b.kube, b.db, simulation.Options{Workers: 16, ReportInterval: time.Second})
	return err
}

func (b *bench) prepare(ctx context.Context, config *rest.Config) error {
	crds, err := apiserver.CRDs()
	if err != nil {
		return err
	}
	if err := apiserver.InstallCRDs(ctx, config, crds...); err != nil {
		return err
	}
	if b.kube, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if b.db, err = versioned.NewForConfig(config); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = b.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make a namespace: %w", err)
	}
	return nil
}

// stop ends what was started, the last first.
func (b *bench) stop() error {
	var errs []error
	if b.endSimulation != nil {
		b.endSimulation()
	}
	if b.sim != nil {
		b.sim.Wait()
	}
	if b.op != nil {
		errs = append(errs, b.op.stop())
	}
	if b.api != nil {
		errs = append(errs, b.api.stop())
	}
	return errors.Join(errs...)
}

// measure creates the Databases and follows them.
func (b *bench) measure(ctx context.Context) (*result, error) {
	r := &result{Machine: machine.Describe(ctx), Databases: b.databases, OperatorArgs: b.operatorArgs, Seconds: map[string]float64{}, Memory: map[string]int64{}}
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	follow, err := followDatabases(watched, b.kube, b.db)
	if err != nil {
		return nil, err
	}
	if r.Memory["idle"], _, err = b.op.memory(); err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := b.create(ctx); err != nil {
		return nil, err
	}
	r.Seconds["created"] = time.Since(begun).Seconds()
	if err := follow.await(ctx, b.databases); err != nil {
		return nil, fmt.Errorf("%w; the operator says: %s", err, b.op.lastWords())
	}
	r.Seconds["applied"], r.Seconds["ready"] = follow.lastSet.Sub(begun).Seconds(), follow.lastReady.Sub(begun).Seconds()
	r.ReadyAfter = follow.spread()
	settled, err := b.settle(ctx)
	if err != nil {
		return nil, err
	}
	r.Seconds["settled"] = settled.Sub(begun).Seconds()
	if err := b.readOperator(ctx, r); err != nil {
		return nil, err
	}
	if err := sleep(ctx, time.Until(settled.Add(quiet+b.rest))); err != nil {
		return nil, err
	}
	return r, b.conclude(r, begun, settled)
}

// create makes all Databases, many at a time.
func (b *bench) create(ctx context.Context) error {
	numbers := make(chan int)
	errs := make(chan error, b.concurrency)
	var group sync.WaitGroup
	for range b.concurrency {
		group.Go(func() {
			for n := range numbers {
				db := &dbv1.Database{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("db-%05d", n), Namespace: namespace},
					Spec: dbv1.DatabaseSpec{
						Engine: dbv1.PostgreSQL, Version: "15.4", Profile: dbv1.ProfileStandard,
						Storage:      &dbv1.StorageSpec{Size: new(resource.MustParse("10Gi"))},
						EngineConfig: map[string]dbv1.ConfigValue{"max_connections": "200"},
					},
				}
				if _, err := b.db.DatabaseV1().Databases(namespace).Create(ctx, db, metav1.CreateOptions{}); err != nil {
					errs <- fmt.Errorf("create %s: %w", db.Name, err)
					return
				}
			}
		})
	}
	var first error
	for n := 0; n < b.databases && first == nil; n++ {
		select {
		case numbers <- n:
		case first = <-errs:
		}
	}
	close(numbers)
	group.Wait()
	close(errs)
	return errors.Join(first, <-errs) // nil when there is none
}

// quiet is how long nobody must have written for the operator to count as settled.
const quiet = 5 * time.Second

// settle waits until the operator writes no more, and returns when it last did.
func (b *bench) settle(ctx context.Context) (time.Time, error) {
	last, at := -1.0, time.Now()
	for {
		metrics, err := b.op.scrape(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if n := metrics.writes(); n != last {
			last, at = n, time.Now()
		}
		if time.Since(at) > quiet {
			return at, nil
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("wait for the operator to settle: %w", err)
		}
	}
}

// readOperator takes what the operator says of itself.
func (b *bench) readOperator(ctx context.Context, r *result) error {
	metrics, err := b.op.scrape(ctx)
	if err != nil {
		return err
	}
	if r.Memory["settled"], r.Memory["peak"], err = b.op.memory(); err != nil {
		return err
	}
	r.Sync = metrics.histogram("database_operator_sync_duration_seconds")
	r.Queue = metrics.histogram("workqueue_queue_duration_seconds")
	r.StaleSyncs = metrics.sum("database_operator_stale_syncs_total")
	r.Seconds["rateLimiter"] = metrics.histogram("rest_client_rate_limiter_duration_seconds").Sum
	r.Seconds["cpu"] = metrics.sum("process_cpu_seconds_total")
	r.RequestsByCode = metrics.by("rest_client_requests_total", "code")
	return nil
}

// conclude counts requests, and looks for data that was made twice.
func (b *bench) conclude(r *result, begun, settled time.Time) error {
	requests, err := audit.ReadFile(b.api.auditLog, func(r audit.Request) bool { return strings.HasPrefix(r.UserAgent, "database-operator/") })
	if err != nil {
		return err
	}
	r.Startup = audit.Tally(requests, time.Time{}, begun)
	r.Requests = audit.Tally(requests, begun, settled.Add(time.Second))
	r.Rest = audit.Tally(requests, settled.Add(time.Second), time.Now())
	r.Seconds["rest"] = b.rest.Seconds()
	for _, volume := range b.sim.Volumes() {
		r.Volumes++
		if volume.Bootstraps != 1 {
			r.BadVolumes = append(r.BadVolumes, fmt.Sprintf("%s: %d new databases", volume.Claim, volume.Bootstraps))
		}
	}
	return nil
}
