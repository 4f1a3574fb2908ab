package status

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

var now = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

// before is a time in the past.
func before(d time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(-d))) }

// in is a time in the future.
func in(d time.Duration) *metav1.Time { return before(-d) }

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), -update takes it over:\n%s", path, diff)
	}
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: *before(3 * time.Hour)}
}

func good(kind string) metav1.Condition {
	return condition(kind, metav1.ConditionTrue, dbv1.ReasonAsExpected, "")
}

// database is one that nobody has looked at yet.
func database() *dbv1.Database {
	return &dbv1.Database{
		ObjectMeta: metav1.ObjectMeta{Name: "orders", Namespace: "shop", UID: "db-uid", Generation: 3, CreationTimestamp: *before(12 * 24 * time.Hour)},
		Spec: dbv1.DatabaseSpec{
			Engine: dbv1.PostgreSQL, Version: "15.4", Profile: dbv1.ProfileStandard,
			Topology:  dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 2},
			Storage:   &dbv1.StorageSpec{Size: new(resource.MustParse("10Gi"))},
			Lifecycle: dbv1.LifecycleSpec{DeletionPolicy: dbv1.DeletionRetain},
		},
	}
}

func instance(name string, ordinal int32, role dbv1.InstanceRole) dbv1.DatabaseInstance {
	account := dbv1.InstanceAccount{Username: "app", PasswordVersion: "7", State: dbv1.AccountPresent}
	return dbv1.DatabaseInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec:       dbv1.DatabaseInstanceSpec{DatabaseName: "orders", Engine: dbv1.PostgreSQL, Ordinal: ordinal, Accounts: []dbv1.InstanceAccount{account}},
		Status: dbv1.DatabaseInstanceStatus{
			Role: role, Phase: dbv1.InstanceRunning, Ready: true, PodUID: name + "-uid", DataID: fmt.Sprintf("data-%d", ordinal), Epoch: 7, Timeline: 3, ServerVersion: "15.4", EngineStarts: 1,
			Accounts: []dbv1.InstanceAccountStatus{{Username: "app", PasswordVersion: "7", Applied: true, Verified: true}},
			Storage:  &dbv1.InstanceStorageStatus{UsedBytes: 3 << 30, CapacityBytes: 10 << 30},
		},
	}
}

func pod(name, node string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name + "-uid")},
		Spec:       corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "database"}},
		},
	}
}

func claim(name, size string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("fast"),
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}
}

func lease(holder string, r record.Record) *coordinationv1.Lease {
	text, err := r.Render()
	if err != nil {
		panic(err)
	}
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "orders-primary", Namespace: "shop", Annotations: map[string]string{"db.platform.io/record": text}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
}

// healthy is a Database about which there is nothing to say.
func healthy() *Report {
	db := database()
	db.Spec.Backup = &dbv1.BackupSpec{Enabled: true, Schedule: "0 2 * * *"}
	db.Status = dbv1.DatabaseStatus{
		Phase: dbv1.PhaseReady, Ready: "2/2", ReadyReplicas: 2, CurrentVersion: "15.4", ObservedGeneration: 3,
		Endpoint: "orders.shop.svc:5432", ReadOnlyEndpoint: "orders-ro.shop.svc:5432",
		CurrentPrimary:        "orders-0",
		Primary:               &dbv1.PrimaryStatus{Name: "orders-0", Epoch: 7, Since: before(51 * time.Hour)},
		CredentialsSecret:     "orders-credentials",
		LastBackup:            &dbv1.BackupReference{Name: "orders-20260314", Time: before(13 * time.Hour)},
		LastVerifiedBackup:    &dbv1.BackupReference{Name: "orders-20260308", Time: before(6 * 24 * time.Hour)},
		FirstRecoverablePoint: before(7 * 24 * time.Hour),
		RotationStatus: &dbv1.RotationStatus{
			Phase: "Idle", ActiveUser: "app_a", LastRotation: before(9 * 24 * time.Hour), NextRotation: in(18 * 24 * time.Hour),
		},
		Conditions: []metav1.Condition{
			good(dbv1.ConditionProvisioned), good(dbv1.ConditionReady), good(dbv1.ConditionStorageReady), good(dbv1.ConditionUpToDate),
			condition(dbv1.ConditionConsulSynced, metav1.ConditionTrue, dbv1.ReasonNotRequested, "spec.auth.consul is not set"),
		},
	}
	replica := instance("orders-1", 1, dbv1.RoleReplica)
	replica.Status.LagBytes = new(int64(0))
	db.Status.Operation = &dbv1.OperationStatus{
		ID: "s1", Kind: dbv1.OperationSwitchover, Target: "orders-0", Phase: dbv1.OperationSucceeded, StartedAt: before(2 * time.Hour), FinishedAt: before(2 * time.Hour),
		Message: "instance orders-0 is the primary",
	}
	return &Report{
		Database:  db,
		Lease:     lease("orders-0/orders-0-uid", record.Record{Name: "data-0", Candidates: []record.Candidate{{Name: "data-0", Instance: "orders-0"}, {Name: "data-1", Instance: "orders-1"}}}),
		Instances: []dbv1.DatabaseInstance{instance("orders-0", 0, dbv1.RolePrimary), replica},
		Pods:      []corev1.Pod{pod("orders-0", "node-a"), pod("orders-1", "node-b")},
		Claims:    []corev1.PersistentVolumeClaim{claim("data-orders-0", "10Gi"), claim("data-orders-1", "10Gi")},
	}
}

// troubled is a Database with all that can be said about one.
func troubled() *Report {
	r := healthy()
	s := &r.Database.Status
	r.Database.Spec.Version, s.Phase, s.Ready = "15.5", dbv1.PhaseDegraded, "1/2"
	s.Health = &dbv1.HealthStatus{Status: "Degraded", Message: "1 of 2 instances does not answer"}
	s.LastVerifiedBackup, s.CurrentPrimary = nil, ""
	s.Operation = &dbv1.OperationStatus{
		ID: "u1", Kind: "Upgrade", Target: "15.5", Phase: "Replicas", StartedAt: before(4 * time.Minute), Deadline: in(26 * time.Minute),
		Message: "orders-1 was restarted with 15.5 and is awaited",
	}
	s.Conditions = append(s.Conditions,
		condition(dbv1.ConditionReplicationHealthy, metav1.ConditionUnknown, dbv1.ReasonUnknown, "orders-1 has not reported since its pod was replaced."),
		condition(dbv1.ConditionBackupConfigured, metav1.ConditionFalse, "DestinationUnreachable",
			"The bucket s3://backups/orders refuses to be written: AccessDenied. Give the credentials of Secret orders-s3 the right s3:PutObject on it, "+
				"or name another bucket in spec.backup.destination."))
	s.Conditions[1] = condition(dbv1.ConditionReady, metav1.ConditionFalse, dbv1.ReasonInstanceNotReady, "orders-1 does not answer; see its message below.")
	s.Plan = []dbv1.PlannedStep{
		{Kind: "Switchover", Target: "orders-1", Reason: "the primary is upgraded last"},
		{Kind: "RestartPod", Target: "orders-0", Reason: "version 15.5 is wanted", HeldBy: "MaintenanceWindow", NotBefore: in(10 * time.Hour)},
	}
	s.RotationStatus = &dbv1.RotationStatus{Phase: "Blocked", ActiveUser: "app_a", PreviousValidUntil: in(30 * time.Minute)}
	r.Lease = lease("", record.Record{Name: "data-0", W: 1, Candidates: []record.Candidate{{Name: "data-0", Instance: "orders-0"}, {Name: "lost", Instance: "orders-2"}}})
	troubleInstances(r)
	r.Backups = []dbv1.DatabaseBackup{
		{ObjectMeta: metav1.ObjectMeta{Name: "orders-20260314", CreationTimestamp: *before(13 * time.Hour)}, Status: dbv1.DatabaseBackupStatus{Phase: dbv1.BackupSucceeded}},
		{
			ObjectMeta: metav1.ObjectMeta{Name: "orders-manual", CreationTimestamp: *before(2 * time.Hour)},
			Status:     dbv1.DatabaseBackupStatus{Phase: dbv1.BackupFailed, Message: "AccessDenied"},
		},
		{ObjectMeta: metav1.ObjectMeta{Name: "orders-again", CreationTimestamp: *before(time.Minute)}},
	}
	for i := range 7 {
		r.Warnings = append(r.Warnings, eventsv1.Event{
			Regarding: corev1.ObjectReference{Kind: "Pod", Name: "orders-1"}, Reason: "Unhealthy", Note: "Readiness probe failed: HTTP probe failed with statuscode: 503",
			EventTime: metav1.NewMicroTime(now.Add(time.Duration(i-7) * time.Minute)),
		})
	}
	r.Warnings[6].Series = &eventsv1.EventSeries{Count: 12, LastObservedTime: metav1.NewMicroTime(now.Add(-10 * time.Second))}
	return r
}

func troubleInstances(r *Report) {
	is := &r.Instances[1].Status
	is.Message, is.Phase, is.PodUID, is.LagBytes = "The engine was started and does not answer yet", dbv1.InstanceStarting, "an-earlier-pod", new(int64(48<<20))
	is.PendingRestart = []string{"max_connections", "shared_buffers"}
	is.Accounts[0].Verified, is.Accounts[0].Message = false, "the server refused the login"
	is.Storage.UsedBytes = 9 << 30
	is.Archive = &dbv1.InstanceArchiveStatus{FailingSince: before(2 * time.Hour), Backlog: 31}
	r.Pods[1].Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "database", RestartCount: 5,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 1m20s restarting failed container"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}},
	}}
	r.Claims[1] = claim("data-orders-1", "8Gi")
	r.Instances = append(r.Instances, dbv1.DatabaseInstance{ObjectMeta: metav1.ObjectMeta{Name: "orders-2"}})
	r.Claims = append(r.Claims, corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data-orders-2"}, Spec: r.Claims[1].Spec, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	})
}

func TestText(t *testing.T) {
	paused := healthy()
	paused.Database.Spec.Lifecycle.Paused = true
	paused.Database.Status.Phase = dbv1.PhasePaused
	paused.Database.Generation = 4
	paused.Pods, paused.Unread = nil, []Unread{{partPods, "you may not list them"}}

	deleted := healthy()
	deleted.Database.DeletionTimestamp = before(5 * time.Minute)
	deleted.Database.Finalizers = []string{"db.platform.io/cleanup"}
	deleted.Database.Status = dbv1.DatabaseStatus{Phase: dbv1.PhaseDeleting, ObservedGeneration: 3, Conditions: []metav1.Condition{
		condition(dbv1.ConditionReady, metav1.ConditionFalse, dbv1.ReasonDeleting, ""),
	}}
	deleted.Instances, deleted.Pods = nil, nil

	narrow := &Report{Database: healthy().Database, Unread: []Unread{{partInstances, "you may not list them"}, {partBackups, "you may not list them"}}}
	narrow.Database.Spec.Backup, narrow.Database.Status.LastBackup = nil, nil

	for name, report := range map[string]*Report{
		"narrow": narrow, "healthy": healthy(), "troubled": troubled(), "new": {Database: database()}, "paused": paused, "deleted": deleted,
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, name, Text(report, Options{Now: now, Width: 100}))
		})
	}
}

func TestColoursChangeNothingButColours(t *testing.T) {
	got := Text(troubled(), Options{Now: now, Width: 100, Colour: true})
	compare(t, "colours", got)
	if stripped := uncolour(got); stripped != Text(troubled(), Options{Now: now, Width: 100}) {
		t.Error("without its colours the text is another")
	}
}

// uncolour drops escape sequences.
func uncolour(s string) string {
	var out []rune
	inside := false
	for _, r := range s {
		switch {
		case r == '\x1b':
			inside = true
		case inside && r == 'm':
			inside = false
		case !inside:
			out = append(out, r)
		}
	}
	return string(out)
}

func TestTable(t *testing.T) {
	calm, bad, fresh := healthy().Database, troubled().Database, database()
	bad.Name, fresh.Name, fresh.Namespace = "payments", "a-database-with-a-long-name", "staging"
	bad.Status.CurrentVersion = "15.4"
	bad.Spec.Lifecycle.Paused = true
	all := []dbv1.Database{*calm, *bad, *fresh}
	compare(t, "list", Table(all, false, Options{Now: now, Width: 100}))
	compare(t, "list-all", Table(all, true, Options{Now: now, Width: 100}))
}

// What stands against everything is said of every condition, and once on the page.
func TestAMessageOfSeveralConditionsIsWrittenOnce(t *testing.T) {
	report := &Report{Database: database()}
	for _, kind := range []string{dbv1.ConditionProvisioned, dbv1.ConditionReady, dbv1.ConditionStorageReady} {
		report.Database.Status.Conditions = append(report.Database.Status.Conditions, condition(kind, metav1.ConditionFalse, dbv1.ReasonAdoptionRequired, "volume data-orders-0 was there before"))
	}
	got := Text(report, Options{Now: now, Width: 100})
	if strings.Count(got, "volume data-orders-0") != 1 || strings.Count(got, "the same as Ready\n") != 2 {
		t.Errorf("got %s", got)
	}
}

// A replica has its accounts with its data, and reports none.
func TestAccountsOfAReplicatedDatabase(t *testing.T) {
	report := healthy()
	report.Instances[1].Status.Accounts = nil
	expect := func(want string) {
		t.Helper()
		if got := accounts(report); len(got) != 1 || got[0].text != want {
			t.Errorf("got %v, want %q", got, want)
		}
	}
	expect("✓ app, logs in on the primary; replicas have it with its data")
	report.Instances[0].Status.Accounts[0].Verified = false
	expect("✗ app, logs in on 0 of 1 instance (orders-0: applied, but could not log in)")
	report.Instances[0].Status.Role = dbv1.RoleReplica
	report.Instances[0].Status.Accounts = nil
	expect("? app, not known: no primary reports")
}

func TestBackupsThatThisReleaseCannotMakeAreNotAwaited(t *testing.T) {
	report := healthy()
	report.Database.Status.LastBackup, report.Database.Status.LastVerifiedBackup = nil, nil
	report.Database.Status.Conditions = append(report.Database.Status.Conditions,
		condition(dbv1.ConditionBackupConfigured, metav1.ConditionFalse, dbv1.ReasonNotSupported, "not supported yet: spec.backup; use pg_dump"))
	got := Text(report, Options{Now: now, Width: 100})
	if !strings.Contains(got, "Backups\n  none: not supported yet: spec.backup; use pg_dump\n") || strings.Contains(got, "none succeeded yet") {
		t.Errorf("got %s", got)
	}
}

func TestTextDoesNotChangeItsReport(t *testing.T) {
	report := troubled()
	Text(report, Options{Now: now, Width: 100})
	if diff := cmp.Diff(troubled(), report); diff != "" {
		t.Errorf("the report changed:\n%s", diff)
	}
}

func TestMessagesDoNotSteerTheTerminal(t *testing.T) {
	report := healthy()
	report.Database.Status.Conditions = []metav1.Condition{condition(dbv1.ConditionReady, metav1.ConditionFalse, "Odd", "clear \x1b[2J the screen\tand\nring \a")}
	report.Instances[0].Status.ServerVersion = "15\r4"
	if got := Text(report, Options{Now: now, Width: 100}); strings.ContainsAny(got, "\x1b\a\r\t") {
		t.Errorf("control characters came through: %q", got)
	}
}

func TestSizesAreReadable(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 16 << 20: "16MiB", 300 << 30: "300GiB", 5 << 60: "5120PiB"} {
		if got := size(bytes); got != want {
			t.Errorf("size(%d) = %s, want %s", bytes, got, want)
		}
	}
}
