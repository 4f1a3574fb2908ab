//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/naming"
)

// fullDisk is how long a disk stays full. Nobody takes over: what fills one instance's disk fills the others', too.
const fullDisk = 20 * time.Second

// dataFaults befall volumes.
var dataFaults = []fault{
	{name: "volume of a replica emptied", gap: noGap, after: samePrimary, cause: func(f *faulted) {
		f.empty(f.replicas()[1], syscall.SIGKILL)
		f.lasts(5 * time.Second)
	}},
	{name: "volume of the primary emptied", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		f.empty(f.primary, syscall.SIGKILL)
		f.lasts(5 * time.Second)
	}},
	{name: "volume of a replica emptied under its agent", gap: noGap, after: samePrimary, cause: func(f *faulted) {
		f.empty(f.replicas()[1], syscall.SIGCONT)
		f.lasts(5 * time.Second)
	}},
	{name: "volume of the primary emptied under its agent", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		f.empty(f.primary, syscall.SIGCONT)
		f.lasts(5 * time.Second)
	}},
	{name: "claim and pod of a replica deleted", gap: noGap, after: samePrimary, newClaim: true, cause: func(f *faulted) {
		f.deleteClaimAndPod(f.replicas()[1])
		f.lasts(5 * time.Second)
	}},
	{name: "claim and pod of the primary deleted", gap: processGap, after: anotherPrimary, newClaim: true, cause: func(f *faulted) {
		f.deleteClaimAndPod(f.primary)
		f.lasts(5 * time.Second)
	}},
	{name: "disk of the primary full", gap: fullDisk + processGap, cause: func(f *faulted) {
		_, free := f.fill(f.primary)
		f.lasts(fullDisk)
		free()
	}},
}

// fill keeps the volume of an instance full until one of the functions that it returns is called: what the engine gives back is taken at
// once. One of them leaves what was taken, and the other gives it back.
func (f *faulted) fill(instance string) (leave, free func()) {
	f.Helper()
	path := filepath.Join(f.volume(instance), "filler")
	filler, err := os.Create(path)
	f.ok(err)
	ctx, stop := context.WithCancel(f.ctx)
	full, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		once := sync.OnceFunc(func() { close(full) })
		for block := make([]byte, 1<<20); ctx.Err() == nil; {
			if _, err := filler.Write(block); errors.Is(err, syscall.ENOSPC) {
				once()
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	leave = sync.OnceFunc(func() {
		stop()
		<-ended
		_ = filler.Close()
	})
	free = sync.OnceFunc(func() {
		leave()
		f.ok(os.Remove(path))
	})
	f.afterwards(func(context.Context) error { free(); return nil })
	select {
	case <-full:
	case <-time.After(time.Minute):
		f.Fatal("the volume did not get full")
	}
	return leave, free
}

// volume is where an instance's volume is seen from this machine.
func (f *faulted) volume(instance string) string {
	f.Helper()
	return filepath.Join("/proc", strconv.Itoa(f.agent(f.pods[instance].UID)[0].pid), "root", naming.PathVolume)
}

// empty removes all that is on the volume of an instance, in a moment in which neither its engine nor its agent runs. Then the agent is
// killed, too, or goes on.
func (f *faulted) empty(instance string, then syscall.Signal) {
	f.Helper()
	pod := f.pods[instance].UID
	agent, volume := f.agent(pod), f.volume(instance)
	f.signal(agent, syscall.SIGSTOP)
	defer f.signal(agent, then)
	f.kill(pod, "postgres")
	entries, err := os.ReadDir(volume)
	f.ok(err)
	for _, entry := range entries {
		f.ok(os.RemoveAll(filepath.Join(volume, entry.Name())))
	}
}

// deleteClaimAndPod makes an instance begin anew, as a person does who gave up its volume.
func (f *faulted) deleteClaimAndPod(instance string) {
	f.Helper()
	f.ok(cluster.Kube.CoreV1().PersistentVolumeClaims(f.namespace).Delete(f.ctx, naming.Claim(instance), metav1.DeleteOptions{}))
	f.deletePod(instance)
}
