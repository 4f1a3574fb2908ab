package consistency

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

type fakeCache struct {
	version string
	items   map[string]any
}

func (f *fakeCache) LastStoreSyncResourceVersion() string { return f.version }
func (f *fakeCache) GetByKey(key string) (any, bool, error) {
	item, ok := f.items[key]
	return item, ok, nil
}

func TestAKeyWaitsUntilItsWritesAreSeen(t *testing.T) {
	pods, key := schema.GroupResource{Resource: "pods"}, cache.ObjectName{Namespace: "ns", Name: "db"}
	fake := &fakeCache{version: "9"}
	store := NewStore(map[schema.GroupResource]Cache{pods: fake})
	if err := store.EnsureReady(key); err != nil {
		t.Fatalf("nothing was written: %v", err)
	}
	store.Wrote(key, pods, &metav1.ObjectMeta{ResourceVersion: "10"})
	var stale *StaleError
	if err := store.EnsureReady(key); !errors.As(err, &stale) || stale.Resource != pods {
		t.Fatalf("version 9 is older than the write at 10, got %v", err)
	}
	if err := store.EnsureReady(cache.ObjectName{Namespace: "ns", Name: "other"}); err != nil {
		t.Fatalf("another key has written nothing: %v", err)
	}
	fake.version = "10"
	if err := store.EnsureReady(key); err != nil {
		t.Fatalf("the write was seen: %v", err)
	}
}

func TestAKeyWaitsUntilItsDeletesAreSeen(t *testing.T) {
	pods, key := schema.GroupResource{Resource: "pods"}, cache.ObjectName{Namespace: "ns", Name: "db"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "old"}}
	fake := &fakeCache{version: "1", items: map[string]any{"ns/db-0": pod}}
	store := NewStore(map[schema.GroupResource]Cache{pods: fake})
	store.Deleted(key, pods, "db-0", "old")
	if err := store.EnsureReady(key); err == nil {
		t.Fatal("the pod is still there, and not being deleted")
	}
	for name, replacement := range map[string]any{
		"a new pod of the same name": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "new"}},
		"the pod, being deleted":     &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "old", DeletionTimestamp: new(metav1.Now())}},
	} {
		store.Deleted(key, pods, "db-0", "old")
		fake.items["ns/db-0"] = replacement
		if err := store.EnsureReady(key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsForgottenIsNotWaitedFor(t *testing.T) {
	pods, key := schema.GroupResource{Resource: "pods"}, cache.ObjectName{Namespace: "ns", Name: "db"}
	store := NewStore(map[schema.GroupResource]Cache{pods: &fakeCache{version: "1"}})
	store.Wrote(key, pods, &metav1.ObjectMeta{ResourceVersion: "10"})
	store.Forget(key)
	if err := store.EnsureReady(key); err != nil {
		t.Fatal(err)
	}
}
