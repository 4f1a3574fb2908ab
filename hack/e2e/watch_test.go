//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

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

// process is a process of this machine.
type process struct {
	pid     int
	command string
}

// needsLocal skips the test where the processes of pods are not those of this machine.
func (s *scope) needsLocal() {
	s.Helper()
	if !cluster.Local {
		s.Skip("it kills processes of pods, which are processes of this machine only on the local cluster: unset KUBECONFIG")
	}
}

// processes returns the processes of a pod with this name. They are found by the pod's UID, which is in the name of their cgroup.
func processes(pod types.UID, command string) []process {
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup") // fails only for a bad pattern
	var found []process
	for _, file := range files {
		cgroup, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(cgroup), "pod"+string(pod)) {
			continue
		}
		dir := filepath.Dir(file)
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		pid, pidErr := strconv.Atoi(filepath.Base(dir))
		if err == nil && pidErr == nil && strings.HasPrefix(command, strings.TrimSpace(string(comm))) {
			found = append(found, process{pid, string(comm)})
		}
	}
	return found
}

// kill kills the processes of a pod with this name and returns how many there were.
func (s *scope) kill(pod types.UID, command string) int {
	s.Helper()
	found := processes(pod, command)
	for _, p := range found {
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
			s.Logf("killing %s (%d): %v", command, p.pid, err)
		}
	}
	return len(found)
}
