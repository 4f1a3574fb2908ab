// Package consistency lets a controller read its own writes.
//
// A cache lags behind the API server. A decision made on a cache that has not seen the
// controller's last write would repeat it, or contradict it. So every write is recorded with the
// resourceVersion that it got, every delete with the UID that it was for, and a key is not worked
// on again before the caches have seen them.
package consistency

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"
)

// Cache is what is asked of an informer's store.
type Cache interface {
	GetByKey(key string) (item any, exists bool, err error)
	LastStoreSyncResourceVersion() string
}

// StaleError says that a cache has not seen a write yet.
type StaleError struct {
	Resource schema.GroupResource
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("the cache of %s has not seen the last write yet", e.Resource)
}

// Store remembers the writes of one controller, by the key that they were made for.
type Store struct {
	caches map[schema.GroupResource]Cache

	mu     sync.Mutex
	writes map[cache.ObjectName]*written
}

// written are the writes for one key that are not known to be seen.
type written struct {
	versions map[schema.GroupResource]string
	deletes  map[types.UID]deleted
}

type deleted struct {
	resource schema.GroupResource
	key      string
}

// NewStore makes a Store over the caches of every resource that is written.
func NewStore(caches map[schema.GroupResource]Cache) *Store {
	return &Store{caches: caches, writes: map[cache.ObjectName]*written{}}
}

// Wrote records an object as the API server returned it.
func (s *Store) Wrote(key cache.ObjectName, resource schema.GroupResource, object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(key).versions[resource] = object.GetResourceVersion()
}

// Deleted records that an object of this UID was deleted.
func (s *Store) Deleted(key cache.ObjectName, resource schema.GroupResource, name string, uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(key).deletes[uid] = deleted{resource: resource, key: key.Namespace + "/" + name}
}

func (s *Store) of(key cache.ObjectName) *written {
	w := s.writes[key]
	if w == nil {
		w = &written{versions: map[schema.GroupResource]string{}, deletes: map[types.UID]deleted{}}
		s.writes[key] = w
	}
	return w
}

// EnsureReady is nil when the caches have seen every write for a key, else a *StaleError. What
// was seen is forgotten.
func (s *Store) EnsureReady(key cache.ObjectName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writes[key]
	if w == nil {
		return nil
	}
	for resource, version := range w.versions {
		seen := s.caches[resource].LastStoreSyncResourceVersion()
		if order, err := resourceversion.CompareResourceVersion(seen, version); err != nil || order < 0 {
			return &StaleError{Resource: resource}
		}
		delete(w.versions, resource)
	}
	for uid, d := range w.deletes {
		item, exists, err := s.caches[d.resource].GetByKey(d.key)
		if object, ok := item.(metav1.Object); err == nil && exists && ok && object.GetUID() == uid && object.GetDeletionTimestamp() == nil {
			return &StaleError{Resource: d.resource}
		}
		delete(w.deletes, uid)
	}
	delete(s.writes, key)
	return nil
}

// Forget drops what is recorded for a key that is gone.
func (s *Store) Forget(key cache.ObjectName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writes, key)
}
