//go:build integration

package controller_test

import (
	"testing"
)

func TestADatabaseBecomesReady(t *testing.T) {
	w := newWorld(t)
	w.start(0)
	w.create(w.basic("db"))
	db := w.waitReady("db")
	if n := w.sim.Bootstraps(w.namespace, "data-db-0"); n != 1 {
		t.Errorf("%d databases were made on the volume, want 1", n)
	}
	if db.Status.Endpoint != "db."+w.namespace+".svc:5432" || db.Status.Ready != "1/1" || db.Status.Primary.Name != "db-0" {
		t.Errorf("status %+v", db.Status)
	}
}
