package validation

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// good is a Database of an engine that breaks no rule.
func good(engine dbv1.Engine) *dbv1.Database {
	db := &dbv1.Database{
		TypeMeta:   metav1.TypeMeta{APIVersion: "db.platform.io/v1", Kind: "Database"},
		ObjectMeta: metav1.ObjectMeta{Name: "good", Namespace: "team"},
		Spec: dbv1.DatabaseSpec{
			Engine: engine, Version: "15.4", Profile: dbv1.ProfileStandard,
			Topology: dbv1.TopologySpec{Mode: dbv1.Standalone, Replicas: 1},
			Storage:  &dbv1.StorageSpec{Size: quantity("10Gi")},
		},
	}
	if engine == dbv1.Elasticsearch {
		db.Spec.Version = "8.15.3"
		db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Cluster, Replicas: 3}
	}
	return db
}

func quantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func s3() *dbv1.BackupDestination {
	return &dbv1.BackupDestination{S3: &dbv1.S3Destination{Bucket: "backups"}}
}

func claim() *dbv1.BackupDestination {
	return &dbv1.BackupDestination{PersistentVolumeClaim: &dbv1.ClaimDestination{ClaimName: "backups"}}
}

// engineWithSettings is an engine that owns some settings and refuses one.
type engineWithSettings struct{}

func (engineWithSettings) OwnedSettings() map[string]string {
	return map[string]string{"port": "set spec.networking.port", "ssl*": "set spec.networking.tls"}
}

func (engineWithSettings) ValidateConfig(db *dbv1.Database) field.ErrorList {
	var errs field.ErrorList
	for name, value := range db.Spec.EngineConfig {
		if value == "nonsense" {
			errs = append(errs, field.Invalid(field.NewPath("spec", "engineConfig").Key(name), string(value), "the engine cannot read this"))
		}
	}
	return errs
}

// ruleCase breaks one rule.
type ruleCase struct {
	// rule that must refuse, and what is wrong, in words.
	rule, wrong string
	// engine of the good Database that is made bad; PostgreSQL when empty.
	engine dbv1.Engine
	// before changes the good Database to another good one.
	before func(spec *dbv1.DatabaseSpec)
	// bad breaks the rule.
	bad func(db *dbv1.Database)
	// change is true when only the change from good to bad is wrong.
	change bool
	// context that Go needs to see it.
	context Context
	// detail is what Go says, when that is not the rule's message.
	detail string
	// at is the field that Go names.
	at string
}

func spec(change func(s *dbv1.DatabaseSpec)) func(*dbv1.Database) {
	return func(db *dbv1.Database) { change(&db.Spec) }
}

func mode(m dbv1.TopologyMode, replicas, shards int32) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) {
		s.Topology = dbv1.TopologySpec{Mode: m, Replicas: replicas, Shards: shards}
	})
}

func tls(t dbv1.TLSSpec) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.Networking = &dbv1.NetworkingSpec{TLS: &t} })
}

func auth(a dbv1.AuthSpec) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.Auth = &a })
}

// login is a change of what a good Database was before.
func login(username, database string) func(*dbv1.DatabaseSpec) {
	return func(s *dbv1.DatabaseSpec) { s.Auth = &dbv1.AuthSpec{Username: username, Database: database} }
}

func consul(c dbv1.ConsulSpec) func(*dbv1.Database) {
	c.Enabled = true
	return auth(dbv1.AuthSpec{Consul: &c})
}

func rotation(r dbv1.RotationPolicy) func(*dbv1.Database) {
	r.Enabled = true
	return auth(dbv1.AuthSpec{RotationPolicy: &r})
}

func ha(h dbv1.HighAvailabilitySpec) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.HighAvailability = &h })
}

func backup(b dbv1.BackupSpec) func(*dbv1.Database) {
	b.Enabled = true
	return spec(func(s *dbv1.DatabaseSpec) { s.Backup = &b })
}

func restore(r dbv1.RestoreSpec) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.Restore = &r })
}

func metrics(m dbv1.MetricsSpec) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.Observability = &dbv1.ObservabilitySpec{Metrics: &m} })
}

func window(w dbv1.MaintenanceWindow) func(*dbv1.Database) {
	w.StartTime = "02:00"
	return spec(func(s *dbv1.DatabaseSpec) {
		s.Maintenance = &dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{w}}
	})
}

func setting(name, value string) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) {
		s.EngineConfig = map[string]dbv1.ConfigValue{name: dbv1.ConfigValue(value)}
	})
}

func size(s string) func(*dbv1.Database) {
	return spec(func(spec *dbv1.DatabaseSpec) { spec.Storage.Size = quantity(s) })
}

func grow(g dbv1.AutoGrowSpec) func(*dbv1.Database) {
	g.Enabled, g.ThresholdPercent = true, 80
	return spec(func(s *dbv1.DatabaseSpec) { s.Storage.AutoGrow = &g })
}

func requests(r corev1.ResourceRequirements) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.Resources = &r })
}

// devices are claims of devices.
func devices(n int) []corev1.ResourceClaim {
	var claims []corev1.ResourceClaim
	for i := range n {
		claims = append(claims, corev1.ResourceClaim{Name: fmt.Sprintf("gpu-%d", i)})
	}
	return claims
}

func scheduling(where dbv1.SchedulingSpec) func(*dbv1.Database) {
	return spec(func(s *dbv1.DatabaseSpec) { s.Scheduling = &where })
}

func tolerates(t corev1.Toleration) func(*dbv1.Database) {
	return scheduling(dbv1.SchedulingSpec{Tolerations: []corev1.Toleration{t}})
}

func topology(m dbv1.TopologyMode, replicas, shards int32) func(*dbv1.DatabaseSpec) {
	return func(s *dbv1.DatabaseSpec) {
		s.Topology = dbv1.TopologySpec{Mode: m, Replicas: replicas, Shards: shards}
	}
}

func memory(s string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceMemory: *quantity(s)}
}

func source(path string, d *dbv1.BackupDestination) *dbv1.RestoreSource {
	return &dbv1.RestoreSource{Database: path, Destination: *d}
}

// ruleCases break every rule at least once.
var ruleCases = []ruleCase{
	{rule: "name", wrong: "a name of 41 characters", at: "metadata.name", bad: func(db *dbv1.Database) { db.Name = "a2345678901234567890123456789012345678901" }},
	{rule: "name", wrong: "a name that begins with a digit", at: "metadata.name", bad: func(db *dbv1.Database) { db.Name = "4db" }},
	{rule: "name", wrong: "a name with a dot", at: "metadata.name", bad: func(db *dbv1.Database) { db.Name = "my.db" }},
	{rule: "engine-immutable", wrong: "another engine", at: "spec.engine", change: true, bad: spec(func(s *dbv1.DatabaseSpec) { s.Engine = dbv1.MongoDB })},
	{rule: "version-form", wrong: "a version that is a word", at: "spec.version", bad: spec(func(s *dbv1.DatabaseSpec) { s.Version = "latest" })},
	{rule: "version-form", wrong: "a version with a suffix", at: "spec.version", bad: spec(func(s *dbv1.DatabaseSpec) { s.Version = "15.4-alpine" })},
	{rule: "version-form", wrong: "a version of four numbers", at: "spec.version", bad: spec(func(s *dbv1.DatabaseSpec) { s.Version = "1.2.3.4" })},
	{rule: "version-elasticsearch", wrong: "a short version of Elasticsearch", engine: dbv1.Elasticsearch, at: "spec.version", bad: spec(func(s *dbv1.DatabaseSpec) { s.Version = "8.15" })},
	{rule: "version-downgrade", wrong: "a lower minor version", context: Context{CurrentVersion: "15.5"}, at: "spec.version", bad: spec(func(s *dbv1.DatabaseSpec) { s.Version = "15.4" })},
	{rule: "version-downgrade", wrong: "a lower major version", context: Context{CurrentVersion: "16"}, at: "spec.version", bad: spec(func(s *dbv1.DatabaseSpec) { s.Version = "15.9" })},
	{rule: "image-form", wrong: "an image with a space", at: "spec.image", bad: spec(func(s *dbv1.DatabaseSpec) { s.Image = "postgres 15" })},

	{rule: "mode-postgresql", wrong: "a sharded PostgreSQL", at: "spec.topology.mode", bad: mode(dbv1.Sharded, 1, 1)},
	{rule: "mode-mongodb", wrong: "a MongoDB cluster", engine: dbv1.MongoDB, at: "spec.topology.mode", bad: mode(dbv1.Cluster, 3, 0)},
	{rule: "mode-redis", wrong: "a sharded Redis", engine: dbv1.Redis, at: "spec.topology.mode", bad: mode(dbv1.Sharded, 1, 3)},
	{rule: "mode-elasticsearch", wrong: "a replicated Elasticsearch", engine: dbv1.Elasticsearch, at: "spec.topology.mode", bad: mode(dbv1.Replicated, 3, 0)},
	{rule: "mode-elasticsearch", wrong: "a standalone Elasticsearch", engine: dbv1.Elasticsearch, at: "spec.topology.mode", bad: mode(dbv1.Standalone, 1, 0)},
	{rule: "mode-sqlite", wrong: "a replicated SQLite", engine: dbv1.SQLite, at: "spec.topology.mode", bad: mode(dbv1.Replicated, 1, 0)},
	{rule: "replicas-range", wrong: "more instances than were ever tried", at: "spec.topology.replicas", bad: mode(dbv1.Replicated, 51, 0)},
	{rule: "standalone-replicas", wrong: "a standalone PostgreSQL of 2", at: "spec.topology.replicas", bad: mode(dbv1.Standalone, 2, 0)},
	{rule: "standalone-replicas", wrong: "a SQLite of 2", engine: dbv1.SQLite, at: "spec.topology.replicas", bad: mode(dbv1.Standalone, 2, 0)},
	{rule: "elasticsearch-replicas", wrong: "an Elasticsearch of 2", engine: dbv1.Elasticsearch, at: "spec.topology.replicas", bad: mode(dbv1.Cluster, 2, 0)},
	{rule: "mongodb-replicas", wrong: "a MongoDB of 4", engine: dbv1.MongoDB, at: "spec.topology.replicas", bad: mode(dbv1.Replicated, 4, 0)},
	{rule: "mongodb-replicas", wrong: "a replicated MongoDB of 1", engine: dbv1.MongoDB, at: "spec.topology.replicas", bad: mode(dbv1.Replicated, 1, 0)},
	{rule: "redis-cluster-shards", wrong: "a Redis Cluster of 2 shards", engine: dbv1.Redis, at: "spec.topology.shards", bad: mode(dbv1.Cluster, 2, 2)},
	{rule: "redis-cluster-shards", wrong: "a Redis Cluster without shards", engine: dbv1.Redis, at: "spec.topology.shards", bad: mode(dbv1.Cluster, 2, 0)},
	{rule: "mongodb-shards", wrong: "a sharded MongoDB without shards", engine: dbv1.MongoDB, at: "spec.topology.shards", bad: mode(dbv1.Sharded, 3, 0)},
	{rule: "shards-elsewhere", wrong: "a replicated PostgreSQL with shards", at: "spec.topology.shards", bad: mode(dbv1.Replicated, 2, 2)},
	{rule: "shards-elsewhere", wrong: "an Elasticsearch with shards", engine: dbv1.Elasticsearch, at: "spec.topology.shards", bad: mode(dbv1.Cluster, 3, 3)},
	{rule: "mode-change", wrong: "from Replicated to Standalone", at: "spec.topology.mode", change: true, before: topology(dbv1.Replicated, 3, 0), bad: mode(dbv1.Standalone, 1, 0)},
	{rule: "mode-change", wrong: "from Replicated to Sharded", engine: dbv1.MongoDB, at: "spec.topology.mode", change: true, before: topology(dbv1.Replicated, 3, 0), bad: mode(dbv1.Sharded, 3, 2)},
	{rule: "mode-change", wrong: "from Standalone to Redis Cluster", engine: dbv1.Redis, at: "spec.topology.mode", change: true, bad: mode(dbv1.Cluster, 2, 3)},
	{rule: "synchronous-replicas", wrong: "as many synchronous replicas as instances", at: "spec.highAvailability.synchronousReplicas", before: topology(dbv1.Replicated, 2, 0), bad: ha(dbv1.HighAvailabilitySpec{SynchronousReplicas: 2})},

	{rule: "storage-required", wrong: "no storage", at: "spec.storage.size", bad: spec(func(s *dbv1.DatabaseSpec) { s.Storage = nil })},
	{rule: "storage-required", wrong: "storage without a size", engine: dbv1.Redis, at: "spec.storage.size", bad: spec(func(s *dbv1.DatabaseSpec) { s.Storage.Size = nil })},
	{rule: "storage-added", wrong: "storage taken from a Redis", engine: dbv1.Redis, at: "spec.storage", change: true, bad: spec(func(s *dbv1.DatabaseSpec) { s.Storage = nil })},
	{rule: "storage-class-immutable", wrong: "another storage class", at: "spec.storage.storageClassName", change: true, before: func(s *dbv1.DatabaseSpec) { s.Storage.StorageClassName = new("slow") }, bad: spec(func(s *dbv1.DatabaseSpec) { s.Storage.StorageClassName = new("fast") })},
	{rule: "storage-class-immutable", wrong: "a storage class where there was none", at: "spec.storage.storageClassName", change: true, bad: spec(func(s *dbv1.DatabaseSpec) { s.Storage.StorageClassName = new("fast") })},
	{rule: "storage-size", wrong: "a negative size", at: "spec.storage.size", bad: size("-5Gi")},
	{rule: "storage-size", wrong: "no size at all", at: "spec.storage.size", bad: size("0Gi")},
	{rule: "storage-shrink", wrong: "a smaller volume", at: "spec.storage.size", context: Context{CurrentStorageSize: quantity("20Gi")}, bad: size("10Gi")},
	{rule: "auto-grow-step", wrong: "growing by nothing", at: "spec.storage.autoGrow.step", bad: grow(dbv1.AutoGrowSpec{Step: quantity("0")})},
	{rule: "auto-grow-max-positive", wrong: "growing up to less than nothing", at: "spec.storage.autoGrow.maxSize", bad: grow(dbv1.AutoGrowSpec{MaxSize: quantity("-1Gi")})},
	{rule: "auto-grow-max", wrong: "growing up to less than the size", at: "spec.storage.autoGrow.maxSize", bad: grow(dbv1.AutoGrowSpec{MaxSize: quantity("5Gi")})},
	{rule: "resources", wrong: "a request above its limit", at: "spec.resources.requests[memory]", bad: requests(corev1.ResourceRequirements{Requests: memory("2Gi"), Limits: memory("1Gi")})},
	{rule: "resources", wrong: "a negative request", at: "spec.resources.requests[memory]", detail: "must not be negative; remove it for the profile's default", bad: requests(corev1.ResourceRequirements{Requests: memory("-1Gi"), Limits: memory("1Gi")})},
	{rule: "resource-claims", wrong: "a claim of a device", at: "spec.resources.claims", bad: requests(corev1.ResourceRequirements{Claims: devices(1)})},
	{rule: "resource-claims-added", wrong: "a claim of a device, for what runs", at: "spec.resources.claims", change: true, context: Context{CurrentVersion: "15.4"}, bad: requests(corev1.ResourceRequirements{Claims: devices(1)})},
	{rule: "resources-memory", wrong: "a limit without its unit", at: "spec.resources.limits[memory]", bad: requests(corev1.ResourceRequirements{Limits: memory("2")})},

	{rule: "port-range", wrong: "a port of root's", at: "spec.networking.port", bad: spec(func(s *dbv1.DatabaseSpec) { s.Networking = &dbv1.NetworkingSpec{Port: 80} })},
	{rule: "port-range", wrong: "a port that there is not", at: "spec.networking.port", bad: spec(func(s *dbv1.DatabaseSpec) { s.Networking = &dbv1.NetworkingSpec{Port: 65536} })},
	{rule: "metrics-port-range", wrong: "metrics on a port of root's", at: "spec.observability.metrics.port", bad: metrics(dbv1.MetricsSpec{Port: 80})},
	{rule: "port-agent", wrong: "the agent's port", at: "spec.networking.port", bad: spec(func(s *dbv1.DatabaseSpec) { s.Networking = &dbv1.NetworkingSpec{Port: 8008} })},
	{rule: "metrics-port-agent", wrong: "metrics on the agent's port", at: "spec.observability.metrics.port", bad: metrics(dbv1.MetricsSpec{Port: 8009})},
	{rule: "metrics-port", wrong: "metrics on the clients' port", at: "spec.observability.metrics.port", bad: metrics(dbv1.MetricsSpec{Port: 5432})},
	{rule: "service-monitor", wrong: "a monitor of no metrics", at: "spec.observability.metrics.serviceMonitor", bad: metrics(dbv1.MetricsSpec{Enabled: new(false), ServiceMonitor: true})},
	{rule: "redis-cluster-port", wrong: "a port without room for the bus", engine: dbv1.Redis, at: "spec.networking.port", before: topology(dbv1.Cluster, 2, 3), bad: spec(func(s *dbv1.DatabaseSpec) { s.Networking = &dbv1.NetworkingSpec{Port: 60000} })},
	{rule: "tls-one-source", wrong: "two sources of a certificate", at: "spec.networking.tls.secretName", bad: tls(dbv1.TLSSpec{Enabled: true, CertManager: true, SecretName: "mine"})},
	{rule: "tls-source", wrong: "no source of a certificate", at: "spec.networking.tls", bad: tls(dbv1.TLSSpec{Enabled: true})},
	{rule: "tls-issuer", wrong: "an issuer without cert-manager", at: "spec.networking.tls.issuerRef", bad: tls(dbv1.TLSSpec{Enabled: true, SecretName: "mine", IssuerRef: &dbv1.IssuerReference{Name: "ca"}})},
	{rule: "service-annotations", wrong: "an annotation of the operator on Services", at: "spec.networking.annotations[db.platform.io/adopt]", bad: spec(func(s *dbv1.DatabaseSpec) {
		s.Networking = &dbv1.NetworkingSpec{Annotations: map[string]string{"db.platform.io/adopt": "x"}}
	})},
	{rule: "pod-labels", wrong: "a label of the operator", at: "spec.podMetadata.labels[db.platform.io/role]", bad: spec(func(s *dbv1.DatabaseSpec) {
		s.PodMetadata = &dbv1.PodMetadata{Labels: map[string]dbv1.LabelValue{"db.platform.io/role": "primary"}}
	})},
	{rule: "pod-annotations", wrong: "an annotation of the operator", at: "spec.podMetadata.annotations[db.platform.io/x]", bad: spec(func(s *dbv1.DatabaseSpec) {
		s.PodMetadata = &dbv1.PodMetadata{Annotations: map[string]dbv1.AnnotationValue{"db.platform.io/x": "y"}}
	})},
	{rule: "label-value", wrong: "a label's value with a space", at: "spec.podMetadata.labels[team]", bad: spec(func(s *dbv1.DatabaseSpec) {
		s.PodMetadata = &dbv1.PodMetadata{Labels: map[string]dbv1.LabelValue{"team": "a b"}}
	})},
	{rule: "metadata-names", wrong: "a label with spaces in its name", at: "spec.podMetadata.labels[my label]", detail: "not a name that Kubernetes accepts", bad: spec(func(s *dbv1.DatabaseSpec) {
		s.PodMetadata = &dbv1.PodMetadata{Labels: map[string]dbv1.LabelValue{"my label": "x"}}
	})},

	{rule: "backup-schedule", wrong: "backups without a schedule", at: "spec.backup.schedule", bad: backup(dbv1.BackupSpec{Destination: s3()})},
	{rule: "backup-destination", wrong: "a dump that goes nowhere", at: "spec.backup.destination", bad: backup(dbv1.BackupSpec{Schedule: "@daily"})},
	{rule: "backup-destination", wrong: "an Elasticsearch snapshot that goes nowhere", engine: dbv1.Elasticsearch, at: "spec.backup.destination", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Method: dbv1.BackupSnapshot})},
	{rule: "destination-one", wrong: "two destinations", at: "spec.backup.destination", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Destination: &dbv1.BackupDestination{S3: s3().S3, PersistentVolumeClaim: claim().PersistentVolumeClaim}})},
	{rule: "destination-one", wrong: "an empty destination", at: "spec.restore.source.destination", bad: restore(dbv1.RestoreSpec{Source: source("team/db", &dbv1.BackupDestination{})})},
	{rule: "method-elasticsearch", wrong: "a dump of Elasticsearch", engine: dbv1.Elasticsearch, at: "spec.backup.method", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Method: dbv1.BackupDump, Destination: s3()})},
	{rule: "method-incremental", wrong: "incremental backups of PostgreSQL 15", at: "spec.backup.method", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Method: dbv1.BackupIncremental, Destination: s3()})},
	{rule: "s3-bucket", wrong: "a bucket with a scheme", at: "spec.backup.destination.s3.bucket", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Destination: &dbv1.BackupDestination{S3: &dbv1.S3Destination{Bucket: "s3://backups"}}})},
	{rule: "s3-endpoint", wrong: "an endpoint without a scheme", at: "spec.backup.destination.s3.endpoint", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Destination: &dbv1.BackupDestination{S3: &dbv1.S3Destination{Bucket: "backups", Endpoint: "minio:9000"}}})},
	{rule: "s3-prefix", wrong: "a prefix that climbs", at: "spec.backup.destination.s3.prefix", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Destination: &dbv1.BackupDestination{S3: &dbv1.S3Destination{Bucket: "backups", Prefix: "a/../b"}}})},
	{rule: "claim-path", wrong: "a path that climbs", at: "spec.backup.destination.persistentVolumeClaim.path", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Destination: &dbv1.BackupDestination{PersistentVolumeClaim: &dbv1.ClaimDestination{ClaimName: "backups", Path: "../b"}}})},
	{rule: "backup-cron", wrong: "a schedule of six fields", at: "spec.backup.schedule", detail: "not a cron expression", bad: backup(dbv1.BackupSpec{Schedule: "0 0 2 * * *", Destination: s3()})},
	{rule: "backup-cron", wrong: "a schedule of 30 February", at: "spec.backup.schedule", detail: "this time never comes", bad: backup(dbv1.BackupSpec{Schedule: "0 0 30 2 *", Destination: s3()})},
	{rule: "backup-cron", wrong: "a schedule with @every", at: "spec.backup.schedule", detail: "name the times", bad: backup(dbv1.BackupSpec{Schedule: "@every 6h", Destination: s3()})},
	{rule: "backup-cron", wrong: "a schedule with a time zone in it", at: "spec.backup.schedule", detail: "set timeZone", bad: backup(dbv1.BackupSpec{Schedule: "CRON_TZ=Europe/Berlin 0 2 * * *", Destination: s3()})},
	{rule: "backup-cron", wrong: "a time zone that is none", at: "spec.backup.timeZone", detail: "not a known time zone", bad: backup(dbv1.BackupSpec{Schedule: "@daily", TimeZone: "Mars/Olympus", Destination: s3()})},
	{rule: "backup-cron", wrong: "a verification that never comes", at: "spec.backup.verify.schedule", detail: "this time never comes", bad: backup(dbv1.BackupSpec{Schedule: "@daily", Verify: &dbv1.BackupVerification{Schedule: "0 0 31 4 *"}, Destination: s3()})},

	{rule: "restore-one-source", wrong: "a restore from nowhere", at: "spec.restore", bad: restore(dbv1.RestoreSpec{})},
	{rule: "restore-one-source", wrong: "a restore from two places", at: "spec.restore", bad: restore(dbv1.RestoreSpec{BackupName: "x", Source: source("team/db", s3())})},
	{rule: "restore-one-target", wrong: "two targets", at: "spec.restore", bad: restore(dbv1.RestoreSpec{BackupName: "x", LSN: "0/3000148", RestorePoint: "before"})},
	{rule: "restore-target-postgresql", wrong: "a log position of Redis", engine: dbv1.Redis, at: "spec.restore", bad: restore(dbv1.RestoreSpec{BackupName: "x", LSN: "0/3000148"})},
	{rule: "restore-target-elasticsearch", wrong: "a point in time of Elasticsearch", engine: dbv1.Elasticsearch, at: "spec.restore.pointInTime", bad: restore(dbv1.RestoreSpec{BackupName: "x", PointInTime: &metav1.Time{Time: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}})},
	{rule: "restore-source-path", wrong: "a source without its namespace", at: "spec.restore.source.database", bad: restore(dbv1.RestoreSpec{Source: source("db", s3())})},

	{rule: "username-form", wrong: "an account that begins with a digit", at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "1app"})},
	{rule: "database-form", wrong: "a database with a space", at: "spec.auth.database", bad: auth(dbv1.AuthSpec{Database: "my shop"})},
	{rule: "username-postgresql", wrong: "PostgreSQL's superuser", at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "postgres"})},
	{rule: "username-postgresql", wrong: "a process of the engine", at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "walreceiver"})},
	{rule: "username-postgresql", wrong: "the account of replicas", at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "db_replication"})},
	{rule: "username-pg", wrong: "a name of PostgreSQL's", at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "pg_monitor"})},
	{rule: "username-mongodb", wrong: "MongoDB's administrator", engine: dbv1.MongoDB, at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "admin"})},
	{rule: "username-redis", wrong: "Redis's default user", engine: dbv1.Redis, at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "default"})},
	{rule: "username-elasticsearch", wrong: "Elasticsearch's superuser", engine: dbv1.Elasticsearch, at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "elastic"})},
	{rule: "username-sqlite", wrong: "an account of the operator", engine: dbv1.SQLite, at: "spec.auth.username", bad: auth(dbv1.AuthSpec{Username: "operator"})},
	{rule: "database-postgresql", wrong: "PostgreSQL's template", at: "spec.auth.database", bad: auth(dbv1.AuthSpec{Database: "template1"})},
	{rule: "database-mongodb", wrong: "MongoDB's own database", engine: dbv1.MongoDB, at: "spec.auth.database", bad: auth(dbv1.AuthSpec{Database: "local"})},
	{rule: "username-immutable", wrong: "another username", at: "spec.auth.username", change: true, before: login("shop", ""), bad: auth(dbv1.AuthSpec{Username: "orders"})},
	{rule: "username-immutable", wrong: "a username where there was none", at: "spec.auth.username", change: true, bad: auth(dbv1.AuthSpec{Username: "orders"})},
	{rule: "username-immutable", wrong: "a username where there was only a database", at: "spec.auth.username", change: true, before: login("", "shop"), bad: auth(dbv1.AuthSpec{Username: "orders"})},
	{rule: "database-immutable", wrong: "another database", at: "spec.auth.database", change: true, before: login("app", "shop"), bad: auth(dbv1.AuthSpec{Username: "app", Database: "orders"})},
	{rule: "database-immutable", wrong: "a database that was the account's", at: "spec.auth.database", change: true, before: login("shop", ""), bad: auth(dbv1.AuthSpec{Username: "shop", Database: "app"})},
	{rule: "database-immutable", wrong: "a database where there was none", at: "spec.auth.database", change: true, bad: auth(dbv1.AuthSpec{Database: "orders"})},
	{rule: "username-account", wrong: "not the account that was made", at: "spec.auth.username", detail: "leave it out, and it stays alice", context: Context{Username: "alice"}, bad: auth(dbv1.AuthSpec{Username: "bob"})},
	{rule: "database-account", wrong: "not the database that was made", at: "spec.auth.database", detail: "leave it out, and it stays shop", context: Context{Username: "app", DatabaseName: "shop"}, bad: auth(dbv1.AuthSpec{Database: "orders"})},
	{rule: "rotation-schedule", wrong: "a rotation without a schedule", at: "spec.auth.rotationPolicy.schedule", bad: rotation(dbv1.RotationPolicy{})},
	{rule: "rotation-cron", wrong: "a rotation that never comes", at: "spec.auth.rotationPolicy.schedule", detail: "this time never comes", bad: rotation(dbv1.RotationPolicy{Schedule: "0 0 31 2 *"})},
	{rule: "rotation-cron", wrong: "a rotation in the machine's zone", at: "spec.auth.rotationPolicy.timeZone", detail: "not a known time zone", bad: rotation(dbv1.RotationPolicy{Schedule: "@monthly", TimeZone: "Local"})},
	{rule: "rotation-wait", wrong: "an old password that never ends", at: "spec.auth.rotationPolicy.gracePeriod", bad: rotation(dbv1.RotationPolicy{Schedule: "@monthly", GracePeriod: duration(1000 * time.Hour)})},
	{rule: "consul-path", wrong: "a path with a leading slash", at: "spec.auth.consul.path", bad: consul(dbv1.ConsulSpec{Path: "/database/credentials/x"})},
	{rule: "consul-path", wrong: "a path that climbs", at: "spec.auth.consul.path", bad: consul(dbv1.ConsulSpec{Path: "database/credentials/../other"})},
	{rule: "consul-prefix", wrong: "a path of another namespace", at: "spec.auth.consul.path", detail: "begin it with database/team/", context: Context{ConsulPrefixes: []string{"database/{namespace}/"}}, bad: consul(dbv1.ConsulSpec{Path: "database/other/x"})},
	{rule: "consul-prefix", wrong: "a path beside the prefix", at: "spec.auth.consul.path", detail: "begin it with database/team/", context: Context{ConsulPrefixes: []string{"database/{namespace}"}}, bad: consul(dbv1.ConsulSpec{Path: "database/team-b/x"})},
	{rule: "consul-address", wrong: "an address with a path", at: "spec.auth.consul.address", bad: consul(dbv1.ConsulSpec{Address: "https://consul:8500/v1"})},
	{rule: "consul-scheme", wrong: "two schemes", at: "spec.auth.consul.scheme", bad: consul(dbv1.ConsulSpec{Address: "https://consul:8500", Scheme: "http"})},

	{rule: "window-start", wrong: "a window at 2 o'clock", at: "spec.maintenance.windows[0].startTime", bad: func(db *dbv1.Database) {
		window(dbv1.MaintenanceWindow{Duration: *duration(time.Hour)})(db)
		db.Spec.Maintenance.Windows[0].StartTime = "2:00"
	}},
	{rule: "window-duration", wrong: "a window of five minutes", at: "spec.maintenance.windows[0].duration", bad: window(dbv1.MaintenanceWindow{Duration: *duration(5 * time.Minute)})},
	{rule: "window-duration", wrong: "a window of 25 hours", at: "spec.maintenance.windows[0].duration", bad: window(dbv1.MaintenanceWindow{Duration: *duration(25 * time.Hour)})},
	{rule: "window-zone", wrong: "a window in no time zone", at: "spec.maintenance.windows[0].timeZone", detail: "not a known time zone", bad: window(dbv1.MaintenanceWindow{Duration: *duration(time.Hour), TimeZone: "CEST/Berlin"})},
	{rule: "lease-duration", wrong: "a lease of five seconds", at: "spec.highAvailability.leaseDuration", bad: ha(dbv1.HighAvailabilitySpec{LeaseDuration: duration(5 * time.Second), RenewDeadline: duration(4 * time.Second), RenewPeriod: duration(time.Second)})},
	{rule: "renew-period", wrong: "renewal all the time", at: "spec.highAvailability.renewPeriod", bad: ha(dbv1.HighAvailabilitySpec{RenewPeriod: duration(100 * time.Millisecond)})},
	{rule: "retry-period", wrong: "retries all the time", at: "spec.highAvailability.retryPeriod", bad: ha(dbv1.HighAvailabilitySpec{RetryPeriod: duration(time.Millisecond)})},
	{rule: "renew-order", wrong: "no time for a retry", at: "spec.highAvailability.renewDeadline", bad: ha(dbv1.HighAvailabilitySpec{RenewPeriod: duration(10 * time.Second)})},
	{rule: "renew-deadline", wrong: "a primary that outlives its lease", at: "spec.highAvailability.renewDeadline", bad: ha(dbv1.HighAvailabilitySpec{RenewDeadline: duration(15 * time.Second)})},
	{rule: "clock-margin", wrong: "no room for clocks that differ", at: "spec.highAvailability.renewDeadline", bad: ha(dbv1.HighAvailabilitySpec{RenewDeadline: duration(13 * time.Second)})},
	{rule: "max-lag", wrong: "no lag at all", at: "spec.highAvailability.maxLag", bad: ha(dbv1.HighAvailabilitySpec{MaxLag: quantity("0")})},
	{rule: "max-lag", wrong: "a byte", at: "spec.highAvailability.maxLag", bad: ha(dbv1.HighAvailabilitySpec{MaxLag: quantity("1")})},
	{rule: "max-lag", wrong: "a thousandth of a byte", at: "spec.highAvailability.maxLag", bad: ha(dbv1.HighAvailabilitySpec{MaxLag: quantity("1m")})},
	{rule: "max-lag", wrong: "sixteen bytes", at: "spec.highAvailability.maxLag", bad: ha(dbv1.HighAvailabilitySpec{MaxLag: quantity("16")})},
	{rule: "max-lag", wrong: "eight kibibytes", at: "spec.highAvailability.maxLag", bad: ha(dbv1.HighAvailabilitySpec{MaxLag: quantity("8Ki")})},
	{rule: "max-lag", wrong: "less than nothing", at: "spec.highAvailability.maxLag", bad: ha(dbv1.HighAvailabilitySpec{MaxLag: quantity("-16Mi")})},
	{rule: "tracing-endpoint", wrong: "traces that go nowhere", at: "spec.observability.tracing.endpoint", bad: spec(func(s *dbv1.DatabaseSpec) {
		s.Observability = &dbv1.ObservabilitySpec{Tracing: &dbv1.TracingSpec{Enabled: true}}
	})},

	{rule: "node-selector", wrong: "a label with spaces", at: "spec.scheduling.nodeSelector[a b c]", detail: "write it as disktype", bad: scheduling(dbv1.SchedulingSpec{NodeSelector: map[string]string{"a b c": "d"}})},
	{rule: "node-selector", wrong: "a value with spaces", at: "spec.scheduling.nodeSelector[disktype]", detail: "write it as ssd", bad: scheduling(dbv1.SchedulingSpec{NodeSelector: map[string]string{"disktype": "d e"}})},
	{rule: "toleration", wrong: "an operator that there is not", at: "spec.scheduling.tolerations[0].operator", detail: "set it to Equal, with a value, or to Exists", bad: tolerates(corev1.Toleration{Key: "a", Operator: "Foo"})},
	{rule: "toleration", wrong: "a key with spaces", at: "spec.scheduling.tolerations[0].key", detail: "as the taint has it", bad: tolerates(corev1.Toleration{Key: "a b", Operator: corev1.TolerationOpExists})},
	{rule: "toleration", wrong: "no key", at: "spec.scheduling.tolerations[0].key", detail: "operator: Exists, which tolerates every taint", bad: tolerates(corev1.Toleration{Value: "a"})},
	{rule: "toleration", wrong: "a value with spaces", at: "spec.scheduling.tolerations[0].value", detail: "as the taint has it", bad: tolerates(corev1.Toleration{Key: "a", Value: "b c"})},
	{rule: "toleration", wrong: "a value of any", at: "spec.scheduling.tolerations[0].value", detail: "remove the value", bad: tolerates(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, Value: "b"})},
	{rule: "toleration", wrong: "a comparison with no number", at: "spec.scheduling.tolerations[0].value", detail: "write a whole number", bad: tolerates(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpLt, Value: "0x1"})},
	{rule: "toleration", wrong: "a comparison with a number as nobody writes it", at: "spec.scheduling.tolerations[0].value", detail: "write a whole number", bad: tolerates(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpGt, Value: "+01"})},
	{rule: "toleration", wrong: "a comparison of any", at: "spec.scheduling.tolerations[0].key", detail: "set the key of the taint", bad: tolerates(corev1.Toleration{Operator: corev1.TolerationOpGt, Value: "1"})},
	{rule: "toleration", wrong: "an effect that there is not", at: "spec.scheduling.tolerations[0].effect", detail: "set it to NoSchedule, PreferNoSchedule or NoExecute", bad: tolerates(corev1.Toleration{Key: "a", Effect: "Evict"})},
	{rule: "toleration", wrong: "seconds without an eviction", at: "spec.scheduling.tolerations[0].effect", detail: "tolerationSeconds", bad: tolerates(corev1.Toleration{Key: "a", Effect: corev1.TaintEffectNoSchedule, TolerationSeconds: new(int64(3))})},
	{rule: "priority-class", wrong: "a name that no object can have", at: "spec.scheduling.priorityClassName", bad: scheduling(dbv1.SchedulingSpec{PriorityClassName: "NOPE_"})},

	{rule: "setting-name", wrong: "a name with a line break", at: "spec.engineConfig[max\nport]", bad: setting("max\nport", "1")},
	{rule: "setting-value", wrong: "a value with a line break", at: "spec.engineConfig[work_mem]", bad: setting("work_mem", "4MB\nport = 1")},
	{rule: "setting-owned", wrong: "a setting of the operator", at: "spec.engineConfig[Port]", detail: "the operator owns this setting: set spec.networking.port", context: Context{Engine: engineWithSettings{}}, bad: setting("Port", "1")},
	{rule: "setting-owned", wrong: "a setting with a prefix of the operator", at: "spec.engineConfig[ssl_ciphers]", detail: "the operator owns this setting: set spec.networking.tls", context: Context{Engine: engineWithSettings{}}, bad: setting("ssl_ciphers", "1")},
	{rule: "setting-engine", wrong: "a value that the engine cannot read", at: "spec.engineConfig[work_mem]", detail: "the engine cannot read this", context: Context{Engine: engineWithSettings{}}, bad: setting("work_mem", "nonsense")},
}

// made is the good Database of a case, and the bad one.
func (c ruleCase) made() (before, after *dbv1.Database) {
	engine := c.engine
	if engine == "" {
		engine = dbv1.PostgreSQL
	}
	before = good(engine)
	if c.before != nil {
		c.before(&before.Spec)
	}
	after = before.DeepCopy()
	c.bad(after)
	return before, after
}

// says is what the case's rule says.
func (c ruleCase) says() string {
	if c.detail != "" {
		return c.detail
	}
	return ruleOf(c.rule).Message
}

func ruleOf(id string) *Rule {
	for i := range Rules {
		if Rules[i].ID == id {
			return &Rules[i]
		}
	}
	return nil
}
