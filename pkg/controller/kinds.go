package controller

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// kind is how one resource is read and written: its informer, and its typed client behind one
// form for all.
type kind struct {
	resource schema.GroupResource
	informer cache.SharedIndexInformer
	// synced is done when the cache is filled, and its objects are queued.
	synced cache.DoneChecker
	client func(namespace string) resourceClient
}

// resourceClient is the part of a typed client that the executor uses.
type resourceClient interface {
	get(ctx context.Context, name string) (metav1.Object, error)
	patch(ctx context.Context, name string, how types.PatchType, data []byte, options metav1.PatchOptions) (metav1.Object, error)
	delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// typedClient is what the generated clients have in common.
type typedClient[T metav1.Object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Patch(ctx context.Context, name string, how types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (T, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// adapter makes a resourceClient of a typed client.
type adapter[T metav1.Object] struct{ typedClient[T] }

func (a adapter[T]) get(ctx context.Context, name string) (metav1.Object, error) {
	return a.Get(ctx, name, metav1.GetOptions{})
}

func (a adapter[T]) patch(ctx context.Context, name string, how types.PatchType, data []byte, options metav1.PatchOptions) (metav1.Object, error) {
	return a.Patch(ctx, name, how, data, options)
}

func (a adapter[T]) delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	return a.Delete(ctx, name, options)
}

func newKind[T metav1.Object, C typedClient[T]](group, resource string, informer cache.SharedIndexInformer, client func(namespace string) C) *kind {
	return &kind{
		resource: schema.GroupResource{Group: group, Resource: resource},
		informer: informer,
		client:   func(namespace string) resourceClient { return adapter[T]{client(namespace)} },
	}
}

// cached is the object as the informer knows it, nil when it does not.
func (k *kind) cached(namespace, name string) metav1.Object {
	item, exists, err := k.informer.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !exists {
		return nil
	}
	object, _ := item.(metav1.Object)
	return object
}

// byDatabase is the index of objects by the Database that they belong to.
const byDatabase = "database"

// owned are the objects of a Database, by name.
func owned[T metav1.Object](k *kind, key cache.ObjectName) (map[string]T, error) {
	items, err := k.informer.GetIndexer().ByIndex(byDatabase, key.String())
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", k.resource, err)
	}
	objects := make(map[string]T, len(items))
	for _, item := range items {
		if object, ok := item.(T); ok {
			objects[object.GetName()] = object
		}
	}
	return objects, nil
}

// kindOf finds the kind of an apply configuration.
func (c *Controller) kindOf(config runtime.ApplyConfiguration) (*kind, string, error) {
	named, ok := config.(interface {
		GetKind() *string
		GetName() *string
	})
	if !ok || named.GetKind() == nil || named.GetName() == nil {
		return nil, "", fmt.Errorf("%T has no kind and name", config)
	}
	k := c.kinds[*named.GetKind()]
	if k == nil {
		return nil, "", fmt.Errorf("kind %s is not one that the operator writes", *named.GetKind())
	}
	return k, *named.GetName(), nil
}
