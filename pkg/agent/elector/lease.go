package elector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// The client of the Lease.
//
// It has connections of its own, and speaks HTTP/1.1: a request that was not answered closes its
// connection then, and the next one dials anew. Over HTTP/2 all of the agent's requests share one
// connection: a list would hold up renewals, and one that leads through a broken node would be used
// until a ping says so, which takes longer than a Lease lasts. The idle ones may lead there, too, so
// they are closed as well.
//
// A request is sent once (client-go repeats what was answered with Retry-After): each write has one
// outcome. The server is told the time-out, so that it does not commit long after nobody waits.

const (
	// requestLimit is how long a request may take at most.
	requestLimit = 2 * time.Second
	// watchPeriod is how long a watch lasts, more or less.
	watchPeriod = 5 * time.Minute
)

// leaseAPI is what the elector needs of Kubernetes.
type leaseAPI interface {
	// read returns the Lease, nothing when there is none, or an error when that was not said.
	read(ctx context.Context, limit time.Duration) (*coordinationv1.Lease, error)
	// write puts a Lease in the place of the one that has its resourceVersion and UID; without them,
	// where there is none. It returns what is there then. An error says why the outcome is not Committed.
	write(ctx context.Context, lease *coordinationv1.Lease, limit time.Duration) (*coordinationv1.Lease, election.Outcome, error)
	// watch tells what changes until the context ends. It tries for ever, and promises nothing.
	watch(ctx context.Context, changed func(watch.EventType, *coordinationv1.Lease))
}

// leaseClient is the Lease in a cluster.
type leaseClient struct {
	namespace, name string
	rest            rest.Interface
	base            http.RoundTripper
}

func newLeaseClient(config *rest.Config, namespace, name string) (*leaseClient, error) {
	c := &leaseClient{namespace: namespace, name: name}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.TLSClientConfig.NextProtos = []string{"http/1.1"}
	// A dialer of its own also keeps client-go from sharing the transport.
	config.Dial = (&net.Dialer{
		Timeout:         requestLimit,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
	}).DialContext
	config.WrapTransport = transport.Wrappers(func(base http.RoundTripper) http.RoundTripper {
		c.base = base
		return base
	}, config.WrapTransport)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make the client of the Lease: %w", err)
	}
	leases, err := coordinationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("make the client of the Lease: %w", err)
	}
	c.rest = leases.RESTClient()
	return c, nil
}

// read implements leaseAPI. Without a resourceVersion the API server asks a quorum.
func (c *leaseClient) read(ctx context.Context, limit time.Duration) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	lease := &coordinationv1.Lease{}
	err := c.rest.Get().Namespace(c.namespace).Resource("leases").Name(c.name).Timeout(limit).MaxRetries(0).Do(ctx).Into(lease)
	switch {
	case err == nil:
		return lease, nil
	case apierrors.IsNotFound(err) && said(err):
		return nil, nil
	}
	c.closeIdle(err)
	return nil, fmt.Errorf("read the Lease: %w", err)
}

// write implements leaseAPI. A Lease can be created by PUT, and agents may do nothing else; without the
// UID, an update of one that was deleted would create it, whatever its resourceVersion.
func (c *leaseClient) write(ctx context.Context, lease *coordinationv1.Lease, limit time.Duration) (*coordinationv1.Lease, election.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	written := &coordinationv1.Lease{}
	err := c.rest.Put().Namespace(c.namespace).Resource("leases").Name(c.name).Timeout(limit).MaxRetries(0).Body(lease).Do(ctx).Into(written)
	if err == nil {
		return written, election.Committed, nil
	}
	c.closeIdle(err)
	return nil, outcomeOf(err, lease.ResourceVersion == ""), fmt.Errorf("write the Lease: %w", err)
}

// outcomeOf says what an error means. Only the API server's own word that there is another version is a
// Conflict. Everything else is Unknown: what has no answer, or a server's failure (500, 504), because
// it may be committed; and what was refused for another reason (403, 422, 429), although it is not.
// There the safe reading is the other way round: the API cannot be written, which is what promises of
// the candidates are for, and a Conflict would say that it answers.
func outcomeOf(err error, creates bool) election.Outcome {
	switch {
	case !said(err):
		return election.Unknown
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err) && !creates:
		return election.Conflict
	case creates && apierrors.IsInvalid(err) && blames(err, "metadata.resourceVersion"):
		// A creation by PUT of what is there.
		return election.Conflict
	}
	return election.Unknown
}

// said: this is the API server's answer, not that of something in between.
func said(err error) bool {
	return apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// blames says whether a refusal is for the sake of that field.
func blames(err error, field string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == field })
}

func (c *leaseClient) closeIdle(err error) {
	if !said(err) {
		utilnet.CloseIdleConnectionsFor(c.base)
	}
}

// watch implements leaseAPI.
func (c *leaseClient) watch(ctx context.Context, changed func(watch.EventType, *coordinationv1.Lease)) {
	first := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 10 * time.Second}
	for backoff := first; ; {
		came, err := c.watchOnce(ctx, changed)
		klog.FromContext(ctx).V(4).Info("The watch of the Lease ended", "err", err)
		if came {
			backoff = first
		}
		if !pause(ctx, backoff.Step()) {
			return
		}
	}
}

// watchOnce says whether anything came.
func (c *leaseClient) watchOnce(ctx context.Context, changed func(watch.EventType, *coordinationv1.Lease)) (bool, error) {
	period := watchPeriod + rand.N(watchPeriod) //nolint:gosec // it spreads load
	ctx, cancel := context.WithTimeout(ctx, period+requestLimit)
	defer cancel()
	seconds := int64(period / time.Second)
	watcher, err := c.rest.Get().Namespace(c.namespace).Resource("leases").VersionedParams(&metav1.ListOptions{
		Watch: true, TimeoutSeconds: &seconds,
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, c.name).String(),
	}, scheme.ParameterCodec).MaxRetries(0).Watch(ctx)
	if err != nil {
		return false, fmt.Errorf("watch the Lease: %w", err)
	}
	defer watcher.Stop()
	came := false
	for event := range watcher.ResultChan() {
		lease, ok := event.Object.(*coordinationv1.Lease)
		if !ok {
			return came, apierrors.FromObject(event.Object)
		}
		came = true
		changed(event.Type, lease)
	}
	return came, nil
}
