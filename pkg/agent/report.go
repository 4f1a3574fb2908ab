package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	clientset "github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Writing the status.
//
// The loop publishes a status at every turn; the reporter keeps the latest, and writes it when it
// differs from what was last written, at most once a second, with backoff while that fails. It is
// applied (we own every field that we send, and no longer what we leave out), and carries the
// object's UID, so that it never lands on another object of the same name.

// reportPeriod is the shortest time between two writes.
const reportPeriod = time.Second

type reporter struct {
	client          clientset.Interface
	namespace, name string
	metrics         *Metrics

	wake chan struct{}

	mu      sync.Mutex
	uid     types.UID
	wanted  *dbv1.DatabaseInstanceStatus
	written *dbv1.DatabaseInstanceStatus
}

func newReporter(client clientset.Interface, namespace, name string, metrics *Metrics) *reporter {
	return &reporter{client: client, namespace: namespace, name: name, metrics: metrics, wake: make(chan struct{}, 1)}
}

// publish notes what the status must be.
func (r *reporter) publish(uid types.UID, status dbv1.DatabaseInstanceStatus) {
	r.mu.Lock()
	if uid != r.uid {
		r.uid, r.written = uid, nil
	}
	r.wanted = &status
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run writes until the context ends.
func (r *reporter) run(ctx context.Context) {
	logger := klog.LoggerWithName(klog.FromContext(ctx), "reporter")
	failures := backoff{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		delay := reportPeriod
		wrote, err := r.write(ctx)
		switch {
		case err != nil:
			delay = time.Until(failures.fail(time.Now()))
			logger.Info("The status could not be written", "err", err, "retryAfter", delay)
			r.again()
		case !wrote:
			continue
		default:
			failures.reset()
		}
		if !pause(ctx, delay) {
			return
		}
	}
}

// flush writes what is left, once.
func (r *reporter) flush(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := r.write(ctx); err != nil {
		klog.FromContext(ctx).Info("The last status could not be written", "err", err)
	}
}

func (r *reporter) again() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// pending is what must be written, or nothing.
func (r *reporter) pending() (types.UID, *dbv1.DatabaseInstanceStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted == nil || r.written != nil && equality.Semantic.DeepEqual(r.wanted, r.written) {
		return "", nil
	}
	return r.uid, r.wanted
}

func (r *reporter) write(ctx context.Context) (bool, error) {
	uid, status := r.pending()
	if status == nil {
		return false, nil
	}
	body, err := statusPatch(r.namespace, r.name, uid, status, metav1.Now())
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	force := true
	_, err = r.client.DatabaseV1().DatabaseInstances(r.namespace).Patch(ctx, r.name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: naming.AgentFieldManager, Force: &force}, "status")
	r.metrics.patched(err)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("apply the status: %w", err)
	}
	// When the object is gone there is nothing to write to; a new one has another UID.
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.uid == uid {
		r.written = status
	}
	return true, nil
}

// statusPatch is the applied object.
func statusPatch(namespace, name string, uid types.UID, status *dbv1.DatabaseInstanceStatus, now metav1.Time) ([]byte, error) {
	stamped := status.DeepCopy()
	stamped.ObservedAt = &now
	body, err := json.Marshal(map[string]any{
		"apiVersion": dbv1.SchemeGroupVersion.String(),
		"kind":       "DatabaseInstance",
		"metadata":   map[string]any{"namespace": namespace, "name": name, "uid": uid},
		"status":     stamped,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	return body, nil
}
