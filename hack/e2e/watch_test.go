//go:build e2e

package e2e

import (
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// watchPods begins to watch the pods of a Database and returns a function that says which there have been.
func (s *scope) watchPods(name string) func() sets.Set[types.UID] {
	s.Helper()
	pods := cluster.Kube.CoreV1().Pods(s.namespace)
	list, err := pods.List(s.ctx, metav1.ListOptions{})
	s.ok(err)
	var mu sync.Mutex
	seen := sets.New[types.UID]()
	note := func(pod *corev1.Pod) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(pod.Name, name+"-") {
			seen.Insert(pod.UID)
		}
	}
	for i := range list.Items {
		note(&list.Items[i])
	}
	watcher, err := pods.Watch(s.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	s.ok(err)
	s.Cleanup(watcher.Stop)
	go func() {
		for event := range watcher.ResultChan() {
			if pod, isPod := event.Object.(*corev1.Pod); isPod {
				note(pod)
			}
		}
	}()
	return func() sets.Set[types.UID] {
		mu.Lock()
		defer mu.Unlock()
		return seen.Clone()
	}
}
