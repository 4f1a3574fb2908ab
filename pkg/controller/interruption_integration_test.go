//go:build integration

package controller_test

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// interrupted runs a change once for every number of writes after which the operator dies, and
// each time lets a new operator finish it: once with the last write undone, once with it done and
// its answer lost. It ends when the operator lives through the change.
func interrupted(t *testing.T, before, change, check func(w *world)) {
	t.Helper()
	for _, lastLands := range []bool{false, true} {
		for limit := int64(0); ; limit++ {
			lived := false
			t.Run(fmt.Sprintf("killed in write %d, which lands %v", limit+1, lastLands), func(t *testing.T) {
				w := newWorld(t)
				w.lastLands = lastLands
				lived = w.interrupt(limit, before, change)
				w.start(unlimited)
				check(w)
				if n := w.sim.Bootstraps(w.namespace, naming.Claim("db-0")); n != 1 {
					t.Errorf("%d databases were made on the volume, want 1", n)
				}
			})
			if t.Failed() {
				return
			}
			if lived {
				break
			}
		}
	}
}

// interrupt makes the change with an operator that dies after limit writes, and is true when it
// did not need so many.
func (w *world) interrupt(limit int64, before, change func(w *world)) bool {
	w.Helper()
	if before != nil {
		op, _ := w.start(unlimited)
		before(w)
		op.stop()
	}
	op, killed := w.start(limit)
	defer op.stop()
	change(w)
	return w.settlesUnless(killed)
}

// settlesUnless is true when the operator was not killed until the Database had come to rest.
func (w *world) settlesUnless(killed <-chan struct{}) bool {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-killed:
			return false
		case <-deadline:
			w.Fatal("neither settled nor killed")
		case <-tick.C:
			db, err := w.databases.DatabaseV1().Databases(w.namespace).Get(w.Context(), "db", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true
			}
			if err == nil && db.DeletionTimestamp == nil && db.Status.Phase == dbv1.PhaseReady && db.Status.ObservedGeneration == db.Generation && isUpToDate(db) {
				return true
			}
		}
	}
}

func TestProvisioningSurvivesAStopAfterAnyWrite(t *testing.T) {
	interrupted(t, nil,
		func(w *world) { w.create(w.basic("db")) },
		func(w *world) { w.waitReady("db") })
}

func TestAConfigurationChangeSurvivesAStopAfterAnyWrite(t *testing.T) {
	interrupted(t,
		func(w *world) { w.create(w.basic("db")); w.waitReady("db") },
		func(w *world) {
			w.update("db", func(db *dbv1.Database) { db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"max_connections": "50"} })
		},
		func(w *world) { w.waitReady("db") })
}

func TestDeletionSurvivesAStopAfterAnyWrite(t *testing.T) {
	for _, policy := range []dbv1.DeletionPolicy{dbv1.DeletionRetain, dbv1.DeletionDelete} {
		t.Run(string(policy), func(t *testing.T) {
			interrupted(t,
				func(w *world) {
					w.create(w.basic("db", func(db *dbv1.Database) { db.Spec.Lifecycle.DeletionPolicy = policy }))
					w.waitReady("db")
				},
				func(w *world) { w.delete("db") },
				func(w *world) { w.gone("db", policy == dbv1.DeletionRetain) })
		})
	}
}
