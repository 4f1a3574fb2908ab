package v1

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAnEmptyDatabaseHasDefaultsForEverything(t *testing.T) {
	db := &Database{Spec: DatabaseSpec{Engine: PostgreSQL, Version: "15.0"}}
	before := db.DeepCopy()
	got := map[string]any{
		"profile": EffectiveProfile(db), "mode": Mode(db), "replicas": Replicas(db), "shards": Shards(db),
		"image": Image(db), "port": Port(db), "metricsPort": MetricsPort(db), "metrics": MetricsEnabled(db),
		"serviceMonitor": ServiceMonitor(db), "logging": Logging(db), "tracing": Tracing(db),
		"service": ServiceType(db), "tls": TLSEnabled(db), "user": Username(db), "database": DatabaseName(db),
		"consul": Consul(db), "rotation": Rotation(db), "backup": BackupEnabled(db), "method": MethodOf(db),
		"retention": BackupRetention(db), "zone": BackupTimeZone(db), "size": StorageSize(db),
		"grow": AutoGrow(db, resource.MustParse("1Gi")), "deletion": EffectiveDeletionPolicy(db),
		"paused": Paused(db), "hibernated": Hibernated(db), "spread": AntiAffinity(db),
	}
	want := map[string]any{
		"profile": ProfileStandard, "mode": Standalone, "replicas": int32(1), "shards": int32(0),
		"image": "docker.io/library/postgres:15.0", "port": int32(5432), "metricsPort": int32(9187), "metrics": true,
		"serviceMonitor": false, "logging": LoggingSpec{Level: "info", Format: "json"}, "tracing": (*TracingSpec)(nil),
		"service": corev1.ServiceTypeClusterIP, "tls": false, "user": "app", "database": "app",
		"consul": (*ConsulSpec)(nil), "rotation": (*RotationPolicy)(nil), "backup": false, "method": BackupDump,
		"retention": int32(7), "zone": "UTC", "size": (*resource.Quantity)(nil),
		"grow": (*AutoGrowSpec)(nil), "deletion": DeletionRetain,
		"paused": false, "hibernated": false, "spread": AntiAffinityPreferred,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	successful, failed := HistoryOf(db)
	if successful != 3 || failed != 1 {
		t.Errorf("history is %d and %d, want 3 and 1", successful, failed)
	}
	if diff := cmp.Diff(before, db); diff != "" {
		t.Errorf("reading defaults changed the Database:\n%s", diff)
	}
}

func TestEveryEngineHasItsPortsAndItsImage(t *testing.T) {
	type facts struct {
		Port, Metrics int32
		Image         string
		Method        BackupMethod
	}
	want := map[Engine]facts{
		PostgreSQL:    {5432, 9187, "docker.io/library/postgres:8.1", BackupDump},
		MongoDB:       {27017, 9216, "docker.io/library/mongo:8.1", BackupDump},
		Redis:         {6379, 9121, "docker.io/library/redis:8.1", BackupDump},
		Elasticsearch: {9200, 9114, "docker.elastic.co/elasticsearch/elasticsearch:8.1", BackupSnapshot},
		SQLite:        {8080, 8080, "", BackupDump},
	}
	for engine, want := range want {
		t.Run(string(engine), func(t *testing.T) {
			db := &Database{Spec: DatabaseSpec{Engine: engine, Version: "8.1"}}
			if diff := cmp.Diff(want, facts{Port(db), MetricsPort(db), Image(db), MethodOf(db)}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			db.Spec.Image = "registry.example.com/engine:1"
			if got := Image(db); got != db.Spec.Image {
				t.Errorf("image is %q, want the user's", got)
			}
		})
	}
}

func TestWhatTheUserSaysWinsOverDefaults(t *testing.T) {
	no, yes, rate, none := false, true, int32(0), int32(0)
	lag := resource.MustParse("1Mi")
	db := &Database{Spec: DatabaseSpec{
		Engine: SQLite, Version: "3.46", Profile: ProfileProd,
		Topology:   TopologySpec{Mode: Sharded, Replicas: 3, Shards: 2, AntiAffinity: &no},
		Networking: &NetworkingSpec{Port: 9000, ServiceType: corev1.ServiceTypeNodePort, TLS: &TLSSpec{Enabled: true}},
		Auth: &AuthSpec{
			Username: "shop", Database: "orders", Consul: &ConsulSpec{Enabled: true, Path: "a/b"},
			RotationPolicy: &RotationPolicy{Enabled: true, Schedule: "@monthly", GracePeriod: &metav1.Duration{}},
		},
		Backup:        &BackupSpec{Enabled: true, Method: BackupWAL, Retention: 3, TimeZone: "Europe/Berlin", History: &BackupHistory{Successful: &none}},
		Observability: &ObservabilitySpec{Metrics: &MetricsSpec{Enabled: &no, ServiceMonitor: true}, Tracing: &TracingSpec{Enabled: true, SamplingRatePerMillion: &rate}},
		Lifecycle:     LifecycleSpec{Paused: true, Hibernated: true, DeletionPolicy: DeletionDelete},
		HighAvailability: &HighAvailabilitySpec{
			SynchronousReplicas: 1, MaxLag: &lag, LeaseDuration: &metav1.Duration{Duration: 30 * time.Second},
		},
	}}
	successful, failed := HistoryOf(db)
	got := []any{
		Mode(db), Replicas(db), Shards(db), AntiAffinity(db), Port(db), MetricsPort(db), ServiceType(db), TLSEnabled(db), Username(db), DatabaseName(db), Consul(db).Path,
		BackupEnabled(db), MethodOf(db), BackupRetention(db), BackupTimeZone(db), successful, failed,
		MetricsEnabled(db), ServiceMonitor(db), *Tracing(db).SamplingRatePerMillion, Paused(db), Hibernated(db), EffectiveDeletionPolicy(db),
		Rotation(db).GracePeriod.Duration, Rotation(db).MaxDrain.Duration, Rotation(db).TimeZone,
	}
	want := []any{
		Sharded, int32(3), int32(2), AntiAffinityNone, int32(9000), int32(9000), corev1.ServiceTypeNodePort, true, "shop", "orders", "a/b",
		true, BackupWAL, int32(3), "Europe/Berlin", int32(0), int32(1),
		false, false, int32(0), true, true, DeletionDelete,
		time.Duration(0), 24 * time.Hour, "UTC",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ha := HighAvailability(db)
	if ha.SynchronousReplicas != 1 || ha.MaxLag.String() != "1Mi" || ha.LeaseDuration.Duration != 30*time.Second ||
		ha.RenewDeadline.Duration != 10*time.Second || ha.RenewPeriod.Duration != 5*time.Second || ha.RetryPeriod.Duration != time.Second {
		t.Errorf("high availability is %+v", ha)
	}
	db.Spec.Auth.Database, db.Spec.Topology.AntiAffinity = "", &yes
	if got := DatabaseName(db); got != "shop" {
		t.Errorf("the database is %q, want the account's name", got)
	}
	if got := AntiAffinity(db); got != AntiAffinityRequired {
		t.Errorf("anti-affinity is %q", got)
	}
}

func TestAntiAffinityFollowsTheProfile(t *testing.T) {
	for profile, want := range map[Profile]AntiAffinityMode{
		"": AntiAffinityPreferred, ProfileDev: AntiAffinityNone, ProfileStandard: AntiAffinityPreferred, ProfileProd: AntiAffinityRequired,
	} {
		if got := AntiAffinity(&Database{Spec: DatabaseSpec{Profile: profile}}); got != want {
			t.Errorf("profile %q: %s, want %s", profile, got, want)
		}
	}
}

func TestResourcesComeFromTheProfileExceptWhereTheUserSaysOtherwise(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	for _, tc := range []struct {
		name                     string
		profile                  Profile
		requests, limits         corev1.ResourceList
		wantRequests, wantLimits corev1.ResourceList
	}{
		{name: "dev", profile: ProfileDev, wantRequests: list("100m", "256Mi"), wantLimits: list("", "256Mi")},
		{name: "standard", profile: ProfileStandard, wantRequests: list("250m", "512Mi"), wantLimits: list("", "512Mi")},
		{name: "no profile", wantRequests: list("250m", "512Mi"), wantLimits: list("", "512Mi")},
		{name: "prod", profile: ProfileProd, wantRequests: list("1", "2Gi"), wantLimits: list("", "2Gi")},
		{name: "memory request alone", profile: ProfileProd, requests: list("", "4Gi"), wantRequests: list("1", "4Gi"), wantLimits: list("", "4Gi")},
		{name: "memory limit below the profile's request", profile: ProfileProd, limits: list("", "1Gi"), wantRequests: list("1", "1Gi"), wantLimits: list("", "1Gi")},
		{name: "CPU limit alone", profile: ProfileProd, limits: list("500m", ""), wantRequests: list("500m", "2Gi"), wantLimits: list("500m", "2Gi")},
		{name: "all said", requests: list("2", "3Gi"), limits: list("4", "5Gi"), wantRequests: list("2", "3Gi"), wantLimits: list("4", "5Gi")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := &Database{Spec: DatabaseSpec{Profile: tc.profile}}
			if tc.requests != nil || tc.limits != nil {
				db.Spec.Resources = &corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}
			}
			before := db.DeepCopy()
			got := Resources(db)
			if diff := cmp.Diff(corev1.ResourceRequirements{Requests: tc.wantRequests, Limits: tc.wantLimits}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, db); diff != "" {
				t.Errorf("the Database was changed:\n%s", diff)
			}
		})
	}
}

func TestVolumesGrowByATenthUpToTwiceTheirSize(t *testing.T) {
	size := resource.MustParse("100Gi")
	db := &Database{Spec: DatabaseSpec{Storage: &StorageSpec{Size: &size, AutoGrow: &AutoGrowSpec{Enabled: true}}}}
	got := AutoGrow(db, size)
	if got.ThresholdPercent != 80 || got.Step.String() != "10Gi" || got.MaxSize.String() != "200Gi" {
		t.Errorf("got %d %s %s", got.ThresholdPercent, got.Step, got.MaxSize)
	}
	if got := AutoGrow(db, resource.MustParse("2Gi")); got.Step.String() != "1Gi" {
		t.Errorf("a small volume grows by %s, want 1Gi", got.Step)
	}
	huge := resource.MustParse("7Ei")
	db.Spec.Storage.Size = &huge
	if got := AutoGrow(db, huge); got.MaxSize.Sign() <= 0 {
		t.Errorf("a huge volume grows up to %s", got.MaxSize)
	}
}

func TestRegisteredKindsBelongToTheGroup(t *testing.T) {
	if got, want := Resource("databases"), (schema.GroupResource{Group: "db.platform.io", Resource: "databases"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
