//go:build integration

package controller_test

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// An engine that does not elect needs neither a Lease nor certificates, and settles all the same.
func TestADatabaseOfAnEngineThatDoesNotElect(t *testing.T) {
	w := newWorld(t)
	op, _ := w.start(unlimited)
	w.create(w.basic("cache", func(db *dbv1.Database) { db.Spec.Engine, db.Spec.Version = dbv1.Redis, "7.0" }))
	db := w.waitReady("cache")
	if db.Status.Endpoint != "cache."+w.namespace+".svc:6379" || db.Status.Ready != "1/1" || db.Status.Primary.Name != "cache-0" || db.Status.EngineStatus.Redis.SystemID == "" {
		t.Errorf("status %+v", db.Status)
	}
	secret := w.secret("cache-credentials")
	if uri := string(secret.Data["uri"]); uri != "redis://app:"+string(secret.Data["password"])+"@cache."+w.namespace+".svc:6379/0" {
		t.Errorf("uri %s", uri)
	}
	if _, err := w.kube.CoordinationV1().Leases(w.namespace).Get(t.Context(), naming.Lease("cache"), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its Lease: %v", err)
	}
	for _, name := range []string{naming.CA("cache"), naming.AgentTLS("cache")} {
		if _, err := w.kube.CoreV1().Secrets(w.namespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("Secret %s: %v", name, err)
		}
	}
	before := w.versions()
	w.eventually("the last reports have landed", func() (bool, string) {
		time.Sleep(time.Second)
		now := w.versions()
		settled := maps.Equal(before, now)
		before = now
		return settled, "still moving"
	})
	writes := op.writes.Load()
	time.Sleep(10 * time.Second)
	if diff := cmp.Diff(before, w.versions()); diff != "" || op.writes.Load() != writes {
		t.Errorf("%d write requests; objects that were written:\n%s", op.writes.Load()-writes, diff)
	}
}
