package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/platform-io/database-operator/pkg/controller"
	dbfake "github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
)

// A standby is ready as well; one that cannot fill its caches says which.
func TestReadinessNamesCachesThatAreNotFilled(t *testing.T) {
	clients := controller.Clients{
		Kube: fake.NewClientset(), Databases: dbfake.NewSimpleClientset(), Metadata: metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme()),
	}
	c, err := controller.New(t.Context(), clients, events.NewFakeRecorder(1), controller.Options{})
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	(&server{controller: c}).readyz(answer, nil)
	if text := answer.Body.String(); answer.Code != http.StatusServiceUnavailable || !strings.Contains(text, "secrets, serviceaccounts, services, statefulsets.apps") {
		t.Errorf("%d %s", answer.Code, text)
	}
}

// leader is a process that leads, with one sync under way that ends when it is told to, or is cancelled.
type leader struct {
	*server
	api *fake.Clientset
	// cut is true while renewals get no answer, where a release would.
	cut     atomic.Bool
	syncing atomic.Bool
	// finish ends the sync that is under way.
	finish chan struct{}
	// stop asks the process to stop; ended is how it did.
	stop  context.CancelFunc
	ended chan error
}

// lead starts one, in a bubble.
func lead(t *testing.T) *leader {
	t.Helper()
	l := &leader{api: fake.NewClientset(), finish: make(chan struct{}), ended: make(chan error, 1)}
	l.api.PrependReactor("update", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		lease := action.(clienttesting.UpdateAction).GetObject().(*coordinationv1.Lease)
		isRenewal := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
		return isRenewal && l.cut.Load(), nil, errors.New("the API server does not answer")
	})
	l.server = &server{
		options: &options{leaderElect: true, leaseNS: "system", leaseName: "operator", shutdownLimit: 20 * time.Second},
		kube:    l.api, election: leaderelection.NewLeaderHealthzAdaptor(time.Second),
		sync: func(ctx, syncs context.Context) {
			l.syncing.Store(true)
			defer l.syncing.Store(false)
			select {
			case <-l.finish:
				<-ctx.Done()
			case <-syncs.Done():
			}
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	go func() { l.ended <- l.work(ctx, t.Context()) }()
	synctest.Wait()
	if !l.syncing.Load() || l.holder(t) == "" {
		t.Fatal("it does not lead")
	}
	return l
}

func (l *leader) holder(t *testing.T) string {
	t.Helper()
	item, err := l.api.Tracker().Get(coordinationv1.SchemeGroupVersion.WithResource("leases"), "system", "operator")
	if err != nil {
		t.Fatal(err)
	}
	if holder := item.(*coordinationv1.Lease).Spec.HolderIdentity; holder != nil {
		return *holder
	}
	return ""
}

func (l *leader) renewed(t *testing.T) time.Time {
	t.Helper()
	item, err := l.api.CoordinationV1().Leases("system").Get(t.Context(), "operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return item.Spec.RenewTime.Time
}

// A stop leaves syncs some time, and cancels them then. For as long as one is under way, the lease is held.
func TestALeaseIsHeldForAsLongAsASyncIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lead(t)
		l.stop()
		time.Sleep(l.options.shutdownLimit - time.Second)
		synctest.Wait()
		if !l.syncing.Load() || l.holder(t) == "" {
			t.Errorf("before its time is over: syncing %v, holder %q", l.syncing.Load(), l.holder(t))
		}
		if age := time.Since(l.renewed(t)); age > renewDeadline {
			t.Errorf("the lease was last renewed %s ago", age)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if l.syncing.Load() || l.holder(t) != "" {
			t.Fatalf("after it: syncing %v, holder %q", l.syncing.Load(), l.holder(t))
		}
		if err := <-l.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestALeaseIsReleasedWhenTheLastSyncHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lead(t)
		l.stop()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !l.syncing.Load() || l.holder(t) == "" {
			t.Errorf("while it is under way: syncing %v, holder %q", l.syncing.Load(), l.holder(t))
		}
		close(l.finish)
		synctest.Wait()
		if l.holder(t) != "" {
			t.Fatalf("it is still held by %q", l.holder(t))
		}
		if err := <-l.ended; err != nil {
			t.Error(err)
		}
	})
}

// Who cannot renew its lease works no more before a standby may take it, and writes nothing to it after.
func TestALostLeaseCancelsSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lead(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		last := l.renewed(t)
		l.cut.Store(true)
		time.Sleep(time.Until(last.Add(leaseDuration - time.Second)))
		synctest.Wait()
		if l.syncing.Load() {
			t.Fatal("a sync is under way when the lease is about to end")
		}
		if err := <-l.ended; err == nil {
			t.Error("it ended well")
		}
		if l.holder(t) == "" {
			t.Error("it released a lease that it had lost")
		}
	})
}
