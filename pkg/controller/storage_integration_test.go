//go:build integration

package controller_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/testing/simulation"
)

// class makes a StorageClass, and the change that asks for volumes of it.
func (w *world) class(expands bool, size string) func(*dbv1.Database) {
	w.Helper()
	class, err := w.kube.StorageV1().StorageClasses().Create(w.Context(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{GenerateName: w.namespace + "-"}, Provisioner: "simulated", AllowVolumeExpansion: &expands,
	}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = w.kube.StorageV1().StorageClasses().Delete(context.Background(), class.Name, metav1.DeleteOptions{})
	})
	return func(db *dbv1.Database) {
		db.Spec.Storage = &dbv1.StorageSpec{Size: new(resource.MustParse(size)), StorageClassName: &class.Name}
	}
}

// hasSize says whether volumes and StatefulSet have a size, and what does not.
func (w *world) hasSize(size string, instances int) (bool, string) {
	w.Helper()
	want := resource.MustParse(size)
	for n := range instances {
		claim, err := w.kube.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.Context(), fmt.Sprintf("data-db-%d", n), metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		if have := claim.Status.Capacity[corev1.ResourceStorage]; have.Cmp(want) != 0 {
			return false, claim.Name + " has " + have.String() + "\n" + describe(w.get("db"))
		}
	}
	set, err := w.kube.AppsV1().StatefulSets(w.namespace).Get(w.Context(), "db", metav1.GetOptions{})
	if err != nil {
		return false, err.Error()
	}
	have := set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
	return have.Cmp(want) == 0 && set.DeletionTimestamp == nil, "the StatefulSet has " + have.String()
}

func TestVolumesGrowUnderRunningPods(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited, w.as(operatorRules(t)))
	w.create(w.basic("db", replicated(2), w.class(true, "1Gi")))
	w.waitHealthy("db", 2)
	before := w.podUIDs("db", 2)
	set, err := w.kube.AppsV1().StatefulSets(w.namespace).Get(t.Context(), "db", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.update("db", func(db *dbv1.Database) { db.Spec.Storage.Size = new(resource.MustParse("2Gi")) })
	w.eventually("all have the new size", func() (bool, string) { return w.hasSize("2Gi", 2) })
	w.waitHealthy("db", 2)
	w.eventually("the new StatefulSet has the pods", func() (bool, string) {
		now, err := w.kube.AppsV1().StatefulSets(w.namespace).Get(t.Context(), "db", metav1.GetOptions{})
		if err != nil || now.UID == set.UID {
			return false, errorText(err)
		}
		for name, uid := range before {
			pod, err := w.kube.CoreV1().Pods(w.namespace).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || pod.UID != uid || !metav1.IsControlledBy(pod, now) {
				return false, fmt.Sprintf("pod %s: %v", name, err)
			}
		}
		return true, ""
	})
}

func TestVolumesThatCannotGrowAreNamed(t *testing.T) {
	w := newWorld(t)
	w.start(unlimited, w.as(operatorRules(t)))
	w.create(w.basic("db", w.class(false, "1Gi")))
	w.waitReady("db")
	w.update("db", func(db *dbv1.Database) {
		db.Spec.Storage.Size = new(resource.MustParse("2Gi"))
		db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"work_mem": "8MB"}
	})
	db := w.waitFor("db", dbv1.ConditionStorageReady, metav1.ConditionFalse, dbv1.ReasonResizeFailed)
	if text := describe(db); !strings.Contains(text, "data-db-0 cannot grow to 2Gi") || !strings.Contains(text, "allowVolumeExpansion") {
		t.Errorf("the condition does not say what to do: %s", text)
	}
	w.eventually("it holds nothing else up", func() (bool, string) {
		db := w.get("db")
		return isUpToDate(db) && db.Status.Phase == dbv1.PhaseReady, describe(db)
	})
	w.update("db", func(db *dbv1.Database) { db.Spec.Storage.Size = new(resource.MustParse("1Gi")) })
	w.waitFor("db", dbv1.ConditionStorageReady, metav1.ConditionTrue)
}

func TestAFullVolumeGrowsByItself(t *testing.T) {
	var used atomic.Int64
	w := newWorldWith(t, simulation.Options{Report: func(instance *dbv1.DatabaseInstance, status *dbv1.DatabaseInstanceStatus) {
		if status.Storage != nil && instance.Name == "db-0" && used.Load() > 0 {
			status.Storage.UsedBytes = used.Load()
		}
	}})
	w.start(unlimited)
	w.create(w.basic("db", replicated(2), w.class(true, "1Gi"), func(db *dbv1.Database) {
		db.Spec.Storage.AutoGrow = &dbv1.AutoGrowSpec{Enabled: true, Step: new(resource.MustParse("1Gi")), MaxSize: new(resource.MustParse("3Gi"))}
	}))
	w.waitHealthy("db", 2)
	used.Store(1 << 30 * 9 / 10)
	w.sim.Poke()
	w.eventually("all grow by a step", func() (bool, string) { return w.hasSize("2Gi", 2) })
	w.waitFor("db", dbv1.ConditionStorageReady, metav1.ConditionTrue)
	// What the spec says is less than that, and is no mistake.
	w.update("db", func(db *dbv1.Database) { db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"work_mem": "8MB"} })
	w.waitHealthy("db", 2)
	if ok, why := w.hasSize("2Gi", 2); !ok {
		t.Error(why)
	}
	used.Store(29 << 30 / 10)
	w.sim.Poke()
	w.eventually("all grow to the largest size", func() (bool, string) { return w.hasSize("3Gi", 2) })
	db := w.waitFor("db", dbv1.ConditionStorageReady, metav1.ConditionFalse, dbv1.ReasonVolumeNearlyFull)
	if text := describe(db); !strings.Contains(text, "autoGrow.maxSize") {
		t.Errorf("the condition does not say what to do: %s", text)
	}
}

// Nothing is made twice, and no pod is lost, wherever the operator dies.
func TestGrowthSurvivesTheOperator(t *testing.T) {
	var class func(*dbv1.Database)
	interrupted(t, func(w *world) {
		class = w.class(true, "1Gi")
		w.create(w.basic("db", class))
		w.waitReady("db")
	}, func(w *world) {
		patch := []byte(`{"spec":{"storage":{"size":"2Gi"}}}`)
		if _, err := w.databases.DatabaseV1().Databases(w.namespace).Patch(w.Context(), "db", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			w.Fatal(err)
		}
	}, func(w *world) {
		w.eventually("all have the new size", func() (bool, string) { return w.hasSize("2Gi", 1) })
		w.waitReady("db")
		pod, err := w.kube.CoreV1().Pods(w.namespace).Get(w.Context(), "db-0", metav1.GetOptions{})
		if err != nil || pod.Status.StartTime == nil {
			w.Errorf("the pod: %v", err)
		}
	})
}
