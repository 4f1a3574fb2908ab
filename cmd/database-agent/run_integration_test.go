//go:build integration

package main

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

func TestNewDatabaseBecomesReadyAndServesItsApplication(t *testing.T) {
	f := newFixture(t)
	f.declare(dbv1.DatabaseInstanceSpec{Bootstrap: true, ConfigHash: f.mount(baseConfig()), Accounts: []dbv1.InstanceAccount{application("1")}})
	f.start()

	status := f.await("a running engine", func(s *dbv1.DatabaseInstanceStatus) bool { return s.Phase == dbv1.InstanceRunning })
	if status.Ready || len(status.Accounts) > 0 {
		t.Errorf("ready %v with accounts %v before the system identifier is recorded", status.Ready, status.Accounts)
	}
	if code, _ := f.get("/readyz"); code != 503 {
		t.Errorf("/readyz says %d before the system identifier is recorded", code)
	}
	generation := f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.SystemID, spec.Bootstrap = status.SystemID, false })
	status = f.await("readiness", func(s *dbv1.DatabaseInstanceStatus) bool { return settled(s) && s.ObservedGeneration == generation })

	if status.Role != dbv1.RolePrimary || status.EngineStarts != 1 || status.DataID == "" || !strings.HasPrefix(status.ServerVersion, "1") {
		t.Errorf("unexpected status: %+v", status)
	}
	pod, err := f.kube.CoreV1().Pods(f.namespace).Get(t.Context(), instanceName, metav1.GetOptions{})
	f.must(err)
	if got := pod.Labels[naming.LabelRole]; got != "primary" {
		t.Errorf("the role label is %q", got)
	}
	for _, path := range []string{"/livez", "/startupz", "/readyz"} {
		if code, body := f.get(path); code != 200 {
			t.Errorf("%s says %d: %s", path, code, body)
		}
	}
	if _, body := f.get("/metrics"); !strings.Contains(body, "database_agent_engine_up 1") {
		t.Errorf("the metrics do not say that the engine is up:\n%s", body)
	}
	conn := f.mustConnect("first-password")
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t AS SELECT 1 AS n"); err != nil {
		t.Errorf("the application cannot make a table: %v", err)
	}
	var super bool
	f.must(conn.QueryRow(t.Context(), "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user").Scan(&super))
	if super {
		t.Error("the application's account has more rights than it needs")
	}
	if strings.Contains(f.log.String(), "first-password") || strings.Contains(f.log.String(), "SCRAM-SHA-256$") {
		t.Error("the log has the password, or its verifier")
	}
}
