package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// The syncs that end after the signal have events, too.
func TestTheLastEventsAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fake.NewClientset()
		kube.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(time.Second)
			return false, nil, nil
		})
		ctx, signal := context.WithCancel(t.Context())
		recorder, stop, err := record(ctx, kube)
		if err != nil {
			t.Fatal(err)
		}
		signal()
		synctest.Wait()
		db := &dbv1.Database{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns"}}
		recorder.Eventf(db, nil, corev1.EventTypeNormal, "Ready", "Report", "it is ready")
		began := time.Now()
		stop()
		if took := time.Since(began); took < time.Second || took > eventsLimit {
			t.Fatalf("the end took %s, and the API server a second", took)
		}
		list, err := kube.EventsV1().Events("ns").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Reason != "Ready" {
			t.Errorf("events %v, %v", list, err)
		}
	})
}
