//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// plannedGap is how long clients may be without an acknowledgement when the primary changes on purpose. The target is 2 s, in 95 of 100
// cases on a machine of its own.
const plannedGap = 8 * time.Second

// TestPlannedChanges does to one replicated database, one after the other, what people do on purpose. Whatever it is, clients only have to
// connect again, once, and reads from replicas go on.
func TestPlannedChanges(t *testing.T) {
	t.Parallel()
	// There are fewer nodes than instances for a while.
	b := &bed{subject: ourDatabase{synchronous: 1, anywhere: true}, name: "synchronousReplicas: 1", synchronous: true}
	newBed(t, b).run(t, slices.Concat(switchovers, fences, rollingChanges, scales, growths))
}

var switchovers = []fault{
	{name: "switchover to one instance", planned: true, gap: plannedGap, after: anotherPrimary, terms: 2, cause: func(f *faulted) {
		to := f.replicas()[1]
		f.plugin("switchover", "ha", "--to", to)
		same(f.scope, "the primary", f.scope.database("ha").Status.Primary.Name, to)
	}},
	{name: "switchover that is refused", planned: true, harmless: true, gap: noGap, after: samePrimary, terms: 1, cause: func(f *faulted) {
		f.pluginFails("ha-9 is no instance of Database ha", "switchover", "ha", "--to", "ha-9")
		f.pluginFails(f.primary+" is the primary already", "switchover", "ha", "--to", f.primary)
	}},
	// The primary is down by the time that it turns out, and comes back.
	{name: "switchover that is aborted", planned: true, gap: 30*time.Second + plannedGap, after: samePrimary, terms: 2, cause: func(f *faulted) {
		to := f.replicas()[1]
		agent := f.agent(f.pods[to].UID)
		f.signal(agent, syscall.SIGSTOP)
		defer f.signal(agent, syscall.SIGCONT)
		f.pluginFails("instance "+to+" did not confirm that it has everything", "switchover", "ha", "--to", to)
	}},
}

var fences = []fault{
	{name: "replica fenced", planned: true, harmless: true, gap: noGap, after: samePrimary, terms: 1, cause: func(f *faulted) { f.fence(f.replicas()[1]) }},
	{name: "primary fenced", planned: true, gap: plannedGap, after: anotherPrimary, terms: 2, cause: func(f *faulted) { f.fence(f.primary) }},
}

var rollingChanges = []fault{
	{name: "setting that is reloaded", planned: true, harmless: true, gap: noGap, after: samePrimary, terms: 1, cause: func(f *faulted) {
		f.edit("ha", config("work_mem", "6MB"))
	}},
	{name: "setting that needs a restart", planned: true, gap: plannedGap, after: anotherPrimary, terms: 2, cause: func(f *faulted) {
		f.edit("ha", config("max_connections", "150"))
	}, seen: runsWith("max_connections", 150)},
	// Replicas must not have fewer than their primary.
	{name: "setting that shrinks on the primary first", planned: true, gap: plannedGap, after: samePrimary, terms: 2, cause: func(f *faulted) {
		f.edit("ha", config("max_connections", "90"))
	}, seen: runsWith("max_connections", 90)},
	{name: "resources", planned: true, gap: plannedGap, after: anotherPrimary, terms: 2, cause: func(f *faulted) {
		f.edit("ha", func(db *dbv1.Database) {
			db.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("600Mi")}}
		})
	}},
	{name: "version and a setting that shrinks", planned: true, gap: plannedGap, after: anotherPrimary, terms: 3, cause: func(f *faulted) {
		f.edit("ha", func(db *dbv1.Database) {
			db.Spec.Version = "15.4"
			config("max_connections", "80")(db)
		})
	}, seen: runsWith("max_connections", 80)},
}

var scales = []fault{
	// The fifth instance is the primary when it is to go.
	{name: "scaled out and in", planned: true, gap: plannedGap, terms: 3, newClaim: true, cause: func(f *faulted) {
		f.scale(5, 1)
		f.plugin("switchover", "ha", "--to", "ha-4")
		f.scale(2, 1)
		f.scale(3, 1)
	}},
}

// alone: there is nobody else to read from for a moment, when the Service of replicas begins to lead to the primary, or ends to.
var alone = fault{name: "scaled to one and back", gap: plannedGap, after: anyPrimary, terms: 2, newClaim: true, cause: func(f *faulted) {
	f.scale(1, 0)
	f.scale(3, 1)
}}

var growths = []fault{
	alone,
	{name: "volumes grown", planned: true, harmless: true, gap: noGap, after: samePrimary, terms: 1, cause: func(f *faulted) { f.grow("1536Mi") }},
	// Half of one is not free any more; all grow.
	{name: "volumes that grow by themselves", planned: true, harmless: true, gap: noGap, after: samePrimary, terms: 1, cause: func(f *faulted) {
		f.growsBeyond(func() {
			f.edit("ha", func(db *dbv1.Database) {
				db.Spec.Storage.AutoGrow = &dbv1.AutoGrowSpec{
					Enabled: true, ThresholdPercent: 50, Step: new(resource.MustParse("512Mi")), MaxSize: new(resource.MustParse("2Gi")),
				}
			})
			path := filepath.Join(f.volume(f.primary), "filler")
			f.ok(os.WriteFile(path, make([]byte, 700<<20), 0o600))
			f.afterwards(func(context.Context) error { return os.Remove(path) })
		})
	}},
	{name: "volumes grown out of full ones", gap: 3 * time.Minute, cause: func(f *faulted) {
		leave, free := f.fill(f.primary)
		f.lasts(5 * time.Second)
		leave()
		f.grow("3Gi")
		free()
	}},
}

// drains befall nodes.
var drains = []fault{
	{name: "nodes drained", planned: true, gap: plannedGap, after: anotherPrimary, terms: 2, cause: func(f *faulted) {
		f.drain(f.replicas()[1])
		f.allReady("ha", recoverTimeout)
		f.drain(f.primary)
	}},
}

// plugin runs `kubectl database ARGS`.
func (f *faulted) plugin(args ...string) {
	f.Helper()
	f.ok(cluster.Plugin(f.ctx, append(args, "--namespace", f.namespace)...))
}

// pluginFails runs it, and expects that it fails and says why.
func (f *faulted) pluginFails(why string, args ...string) {
	f.Helper()
	err := cluster.Plugin(f.ctx, append(args, "--namespace", f.namespace)...)
	if err == nil || !strings.Contains(err.Error(), why) {
		f.Errorf("kubectl database %s: got %v, want %q", strings.Join(args, " "), err, why)
	}
}

// fence stops an engine, looks that it stays down while its pod runs, and lifts the fence.
func (f *faulted) fence(instance string) {
	f.Helper()
	pod := f.pods[instance].UID
	f.plugin("fence", instance)
	f.wait(changeTimeout, "the engine to stop", func() (string, error) {
		if left := len(processes(pod, "postgres")); left > 0 {
			return fmt.Sprintf("%d of its processes are left", left), nil
		}
		return "", nil
	})
	f.never(3*time.Second, "a fenced engine runs", func() string {
		if left := len(processes(pod, "postgres")); left > 0 {
			return fmt.Sprintf("%d processes", left)
		}
		return ""
	})
	f.plugin("unfence", instance)
}

// runsWith expects that all engines say that they run with a value.
func runsWith(setting string, value int64) func(*group, *report) string {
	return func(after *group, _ *report) string {
		for name, instance := range after.instances {
			if engine := instance.Status.Engine; engine == nil || engine.PostgreSQL.HotStandby[setting] != value {
				return fmt.Sprintf("%s runs with %+v, and not with %s %d", name, engine, setting, value)
			}
		}
		return ""
	}
}

// scale changes the number of instances, and waits until there are so many.
func (f *faulted) scale(replicas, synchronous int32) {
	f.Helper()
	f.edit("ha", func(db *dbv1.Database) {
		db.Spec.Topology.Replicas, db.Spec.HighAvailability.SynchronousReplicas = replicas, synchronous
	})
	f.allReady("ha", recoverTimeout)
}

// grow makes volumes larger, and waits until the file systems are.
func (f *faulted) grow(size string) {
	f.Helper()
	f.growsBeyond(func() {
		f.edit("ha", func(db *dbv1.Database) {
			db.Spec.Storage.Size, db.Spec.Storage.AutoGrow = new(resource.MustParse(size)), nil
		})
	})
}

// growsBeyond waits until all file systems are larger than before something was done.
func (f *faulted) growsBeyond(do func()) {
	f.Helper()
	before := map[string]int64{}
	for name, instance := range f.instances {
		before[name] = instance.Status.Storage.CapacityBytes
	}
	do()
	_, err := f.tryUntil("ha", recoverTimeout, func(g *group) string {
		for name, instance := range g.instances {
			if storage := instance.Status.Storage; storage == nil || storage.CapacityBytes <= before[name] {
				return fmt.Sprintf("the file system of %s has %+v", name, storage)
			}
		}
		return ""
	})
	f.ok(err)
}

// drain takes the pods of the database off the node of an instance, as kubectl drain does, and lets new ones come.
func (f *faulted) drain(instance string) {
	f.Helper()
	node := f.pods[instance].Spec.NodeName
	defer func() {
		_, err := cluster.Kubectl(f.ctx, "", "uncordon", node)
		f.ok(err)
	}()
	_, err := cluster.Kubectl(f.ctx, "", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s",
		"--pod-selector=db.platform.io/database=ha")
	f.ok(err)
}
