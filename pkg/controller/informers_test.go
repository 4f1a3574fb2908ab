package controller

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	kubefake "k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"

	"github.com/platform-io/database-operator/pkg/generated/clientset/versioned/fake"
)

// An operator that may not list something syncs nothing, and there is no Database whose conditions could say so.
func TestCachesThatAreNotFilledAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := kubefake.NewClientset()
		kube.PrependReactor("list", "statefulsets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, forbidden("statefulsets", "", noPermission)
		})
		clients := Clients{Kube: kube, Databases: fake.NewSimpleClientset(), Metadata: metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())}
		controller, err := New(t.Context(), clients, events.NewFakeRecorder(1), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(controller.Unfilled()); n != len(controller.kinds) {
			t.Errorf("before the start, %d of %d are not filled", n, len(controller.kinds))
		}
		ctx, cancel := context.WithCancel(t.Context())
		started := make(chan error)
		go func() { started <- controller.Start(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := controller.Unfilled(); !slices.Equal(got, []string{"statefulsets.apps"}) || controller.HasSynced() {
			t.Errorf("not filled: %v", got)
		}
		cancel()
		if err := <-started; err == nil {
			t.Error("it started without")
		}
		controller.queue.ShutDown()
		controller.Shutdown()
	})
}
