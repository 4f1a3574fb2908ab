package controller

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/registry"
	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
)

// silent is an API server that never answers. It counts the requests that it was sent, and those that wait.
type silent struct {
	asked chan struct{}
	sent  atomic.Int32
	wait  atomic.Int32
}

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.sent.Add(1)
	s.wait.Add(1)
	defer s.wait.Add(-1)
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A sync that has begun goes on when no other may begin, and makes no request any more when its own context ends.
func TestASyncUnderWayEndsWithItsOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &silent{asked: make(chan struct{}, 1)}
		config := &rest.Config{Host: "http://api.invalid", Transport: api}
		clients := Clients{Kube: kubernetes.NewForConfigOrDie(config), Databases: versioned.NewForConfigOrDie(config), Metadata: metadata.NewForConfigOrDie(config)}
		controller, err := New(t.Context(), clients, events.NewFakeRecorder(1), Options{Engines: registry.Engines(), Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		db := &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "db"}, Spec: dbv1.DatabaseSpec{Engine: dbv1.PostgreSQL}}
		if err := controller.kinds["Database"].informer.GetStore().Add(db); err != nil {
			t.Fatal(err)
		}
		controller.queue.Add(cache.MetaObjectToName(db))
		ctx, stop := context.WithCancel(t.Context())
		syncs, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { controller.Run(ctx, syncs); close(ended) }()
		<-api.asked
		stop()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("Run ended before it")
		default:
		}
		if api.wait.Load() != 1 {
			t.Error("it was cancelled")
		}
		cancel()
		synctest.Wait()
		if api.wait.Load() != 0 {
			t.Error("it goes on")
		}
		<-ended
		if n := api.sent.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}
