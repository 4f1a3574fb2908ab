package v1

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults come from two places. Scalars that never depend on anything else are written by the API
// server, from the CRD. The rest is computed here, each time it is read, and never written back
// into a spec: a default that depends on another field must follow that field.
//
// The functions also give the values that the CRD gives, because an object may have been stored
// before the CRD had them, and because Go programs build Databases that no API server has seen.
// They take any Database, however empty, change nothing, and share no memory with it.

// The defaults of fields that have the same one for every Database.
const (
	DefaultUsername              = "app"
	DefaultTimeZone              = "UTC"
	DefaultBackupRetention       = 7
	DefaultSuccessfulJobs        = 3
	DefaultFailedJobs            = 1
	DefaultGrowThreshold         = 80
	DefaultLogLevel              = "info"
	DefaultLogFormat             = "json"
	DefaultTraceSampling         = 10000
	DefaultLeaseDuration         = 15 * time.Second
	DefaultRenewDeadline         = 10 * time.Second
	DefaultRenewPeriod           = 5 * time.Second
	DefaultRetryPeriod           = time.Second
	DefaultRotationGrace         = time.Hour
	DefaultRotationDrain         = 24 * time.Hour
	DefaultS3Region              = "us-east-1"
	defaultMaxLag                = 16 << 20
	minGrowStep            int64 = 1 << 30
)

// engineDefaults are the defaults that differ from engine to engine.
type engineDefaults struct {
	port, metricsPort int32
	image             string
	backup            BackupMethod
}

var defaultsOf = map[Engine]engineDefaults{
	PostgreSQL:    {port: 5432, metricsPort: 9187, image: "docker.io/library/postgres", backup: BackupDump},
	MongoDB:       {port: 27017, metricsPort: 9216, image: "docker.io/library/mongo", backup: BackupDump},
	Redis:         {port: 6379, metricsPort: 9121, image: "docker.io/library/redis", backup: BackupDump},
	Elasticsearch: {port: 9200, metricsPort: 9114, image: "docker.elastic.co/elasticsearch/elasticsearch", backup: BackupSnapshot},
	SQLite:        {port: 8080, backup: BackupDump},
}

// EffectiveProfile is the profile; standard when none is named.
func EffectiveProfile(db *Database) Profile {
	return or(db.Spec.Profile, ProfileStandard)
}

// Mode is the topology's mode; Standalone when none is named.
func Mode(db *Database) TopologyMode {
	return or(db.Spec.Topology.Mode, Standalone)
}

// Replicas is the number of instances per replica set, at least 1.
func Replicas(db *Database) int32 {
	return max(1, db.Spec.Topology.Replicas)
}

// Shards is the number of replica sets; 0 in the modes that have none.
func Shards(db *Database) int32 {
	if mode := Mode(db); mode != Cluster && mode != Sharded {
		return 0
	}
	return max(0, db.Spec.Topology.Shards)
}

// Image is the reference of the engine's image: the user's, or the stock image of the version. It
// is empty for SQLite without an image of the user's: there the operator's own image is run.
func Image(db *Database) string {
	stock := defaultsOf[db.Spec.Engine].image
	if db.Spec.Image != "" || stock == "" || db.Spec.Version == "" {
		return db.Spec.Image
	}
	return stock + ":" + db.Spec.Version
}

// Port is the port that clients connect to.
func Port(db *Database) int32 {
	if n := db.Spec.Networking; n != nil && n.Port != 0 {
		return n.Port
	}
	return defaultsOf[db.Spec.Engine].port
}

// MetricsPort is the port of the engine's metrics. SQLite's are served where its clients connect.
func MetricsPort(db *Database) int32 {
	if m := metricsOf(db); m != nil && m.Port != 0 {
		return m.Port
	}
	if port := defaultsOf[db.Spec.Engine].metricsPort; port != 0 {
		return port
	}
	return Port(db)
}

// MetricsEnabled says whether instances serve metrics of the engine.
func MetricsEnabled(db *Database) bool {
	m := metricsOf(db)
	return m == nil || m.Enabled == nil || *m.Enabled
}

// ServiceMonitor says whether a ServiceMonitor is wanted; without metrics there is none.
func ServiceMonitor(db *Database) bool {
	m := metricsOf(db)
	return m != nil && m.ServiceMonitor && MetricsEnabled(db)
}

func metricsOf(db *Database) *MetricsSpec {
	if db.Spec.Observability == nil {
		return nil
	}
	return db.Spec.Observability.Metrics
}

// Logging is the lowest level that is logged, and the format.
func Logging(db *Database) LoggingSpec {
	out := LoggingSpec{}
	if o := db.Spec.Observability; o != nil && o.Logging != nil {
		out = *o.Logging
	}
	return LoggingSpec{Level: or(out.Level, DefaultLogLevel), Format: or(out.Format, DefaultLogFormat)}
}

// Tracing says where traces are sent, or nil when none are.
func Tracing(db *Database) *TracingSpec {
	o := db.Spec.Observability
	if o == nil || o.Tracing == nil || !o.Tracing.Enabled {
		return nil
	}
	rate := int32(DefaultTraceSampling)
	if o.Tracing.SamplingRatePerMillion != nil {
		rate = *o.Tracing.SamplingRatePerMillion
	}
	return &TracingSpec{Enabled: true, Endpoint: o.Tracing.Endpoint, SamplingRatePerMillion: &rate}
}

// ServiceType is the type of the client Services.
func ServiceType(db *Database) corev1.ServiceType {
	if n := db.Spec.Networking; n != nil && n.ServiceType != "" {
		return n.ServiceType
	}
	return corev1.ServiceTypeClusterIP
}

// TLSEnabled says whether clients may use TLS.
func TLSEnabled(db *Database) bool {
	n := db.Spec.Networking
	return n != nil && n.TLS != nil && n.TLS.Enabled
}

// Username is the name of the application account, unless its Secret was there before the Database and says
// another.
func Username(db *Database) string {
	if a := db.Spec.Auth; a != nil && a.Username != "" {
		return a.Username
	}
	return DefaultUsername
}

// DatabaseName is the name of the database that the application account owns, as the spec says; by default it is
// the account's.
func DatabaseName(db *Database) string {
	if a := db.Spec.Auth; a != nil && a.Database != "" {
		return a.Database
	}
	return Username(db)
}

// Consul says where credentials are published, or nil when they are not.
func Consul(db *Database) *ConsulSpec {
	if a := db.Spec.Auth; a != nil && a.Consul != nil && a.Consul.Enabled {
		return a.Consul.DeepCopy()
	}
	return nil
}

// Rotation is the rotation policy with its defaults, or nil when there is none.
func Rotation(db *Database) *RotationPolicy {
	a := db.Spec.Auth
	if a == nil || a.RotationPolicy == nil || !a.RotationPolicy.Enabled {
		return nil
	}
	p := a.RotationPolicy
	return &RotationPolicy{
		Enabled: true, Schedule: p.Schedule,
		TimeZone:    or(p.TimeZone, DefaultTimeZone),
		Strategy:    or(p.Strategy, RotationTwoPhase),
		GracePeriod: &metav1.Duration{Duration: durationOr(p.GracePeriod, DefaultRotationGrace)},
		MaxDrain:    &metav1.Duration{Duration: durationOr(p.MaxDrain, DefaultRotationDrain)},
	}
}

// BackupEnabled says whether scheduled backups are taken.
func BackupEnabled(db *Database) bool {
	return db.Spec.Backup != nil && db.Spec.Backup.Enabled
}

// MethodOf is how backups are taken.
func MethodOf(db *Database) BackupMethod {
	if b := db.Spec.Backup; b != nil && b.Method != "" {
		return b.Method
	}
	return or(defaultsOf[db.Spec.Engine].backup, BackupDump)
}

// BackupRetention is the number of successful backups that are kept.
func BackupRetention(db *Database) int32 {
	if b := db.Spec.Backup; b != nil && b.Retention > 0 {
		return b.Retention
	}
	return DefaultBackupRetention
}

// BackupTimeZone is the time zone of the backup's schedules.
func BackupTimeZone(db *Database) string {
	if b := db.Spec.Backup; b != nil && b.TimeZone != "" {
		return b.TimeZone
	}
	return DefaultTimeZone
}

// HistoryOf is how many finished backup Jobs are kept.
func HistoryOf(db *Database) (successful, failed int32) {
	successful, failed = DefaultSuccessfulJobs, DefaultFailedJobs
	if b := db.Spec.Backup; b != nil && b.History != nil {
		if b.History.Successful != nil {
			successful = *b.History.Successful
		}
		if b.History.Failed != nil {
			failed = *b.History.Failed
		}
	}
	return successful, failed
}

// StorageSize is the wanted size of each volume, or nil when there is no volume.
func StorageSize(db *Database) *resource.Quantity {
	if s := db.Spec.Storage; s != nil && s.Size != nil {
		size := s.Size.DeepCopy()
		return &size
	}
	return nil
}

// AutoGrow says from what part, by how much and up to what size volumes grow from the given size,
// or nil when they do not grow by themselves.
func AutoGrow(db *Database, current resource.Quantity) *AutoGrowSpec {
	s := db.Spec.Storage
	if s == nil || s.AutoGrow == nil || !s.AutoGrow.Enabled || s.Size == nil {
		return nil
	}
	out := s.AutoGrow.DeepCopy()
	out.ThresholdPercent = or(out.ThresholdPercent, DefaultGrowThreshold)
	if out.Step == nil {
		out.Step = resource.NewQuantity(max(current.Value()/10, minGrowStep), resource.BinarySI)
	}
	if out.MaxSize == nil {
		out.MaxSize = resource.NewQuantity(twice(s.Size.Value()), resource.BinarySI)
	}
	return out
}

// EffectiveDeletionPolicy says what happens to the data when the Database is deleted.
func EffectiveDeletionPolicy(db *Database) DeletionPolicy {
	return or(db.Spec.Lifecycle.DeletionPolicy, DeletionRetain)
}

// Paused says whether the operator must change nothing.
func Paused(db *Database) bool { return db.Spec.Lifecycle.Paused }

// Hibernated says whether instances are stopped on purpose.
func Hibernated(db *Database) bool { return db.Spec.Lifecycle.Hibernated }

// HighAvailability is the failover section with every default filled in.
func HighAvailability(db *Database) HighAvailabilitySpec {
	in := HighAvailabilitySpec{}
	if db.Spec.HighAvailability != nil {
		in = *db.Spec.HighAvailability
	}
	lag := resource.NewQuantity(defaultMaxLag, resource.BinarySI)
	if in.MaxLag != nil {
		copied := in.MaxLag.DeepCopy()
		lag = &copied
	}
	return HighAvailabilitySpec{
		SynchronousReplicas: in.SynchronousReplicas,
		MaxLag:              lag,
		LeaseDuration:       &metav1.Duration{Duration: durationOr(in.LeaseDuration, DefaultLeaseDuration)},
		RenewDeadline:       &metav1.Duration{Duration: durationOr(in.RenewDeadline, DefaultRenewDeadline)},
		RenewPeriod:         &metav1.Duration{Duration: durationOr(in.RenewPeriod, DefaultRenewPeriod)},
		RetryPeriod:         &metav1.Duration{Duration: durationOr(in.RetryPeriod, DefaultRetryPeriod)},
	}
}

// AntiAffinityMode says how hard instances are kept apart.
type AntiAffinityMode string

// The ways to keep instances apart.
const (
	// AntiAffinityNone: they may share a node.
	AntiAffinityNone AntiAffinityMode = "None"
	// AntiAffinityPreferred: they share a node only if there is no other.
	AntiAffinityPreferred AntiAffinityMode = "Preferred"
	// AntiAffinityRequired: a pod waits rather than share a node.
	AntiAffinityRequired AntiAffinityMode = "Required"
)

// AntiAffinity says how hard instances are kept apart: what the user says, else by profile.
func AntiAffinity(db *Database) AntiAffinityMode {
	want := db.Spec.Topology.AntiAffinity
	switch {
	case want != nil && *want:
		return AntiAffinityRequired
	case want != nil:
		return AntiAffinityNone
	}
	switch EffectiveProfile(db) {
	case ProfileProd:
		return AntiAffinityRequired
	case ProfileDev:
		return AntiAffinityNone
	default:
		return AntiAffinityPreferred
	}
}

// Resources are the requests and limits of the database container. What the user says about a
// resource, be it request or limit, stands; the profile speaks only of resources that the user left out.
// Then the memory limit is made equal to the request, because an engine sizes its caches from the limit and must not be
// evicted for using them. CPU gets no limit, because throttling hurts more than sharing.
func Resources(db *Database) corev1.ResourceRequirements {
	out := corev1.ResourceRequirements{}
	if db.Spec.Resources != nil {
		out = *db.Spec.Resources.DeepCopy()
	}
	if out.Requests == nil {
		out.Requests = corev1.ResourceList{}
	}
	if out.Limits == nil {
		out.Limits = corev1.ResourceList{}
	}
	for name, limit := range out.Limits {
		if _, ok := out.Requests[name]; !ok {
			out.Requests[name] = limit.DeepCopy()
		}
	}
	for name, request := range profileRequests(EffectiveProfile(db)) {
		if _, ok := out.Requests[name]; !ok {
			out.Requests[name] = request
		}
	}
	if _, ok := out.Limits[corev1.ResourceMemory]; !ok {
		memory := out.Requests[corev1.ResourceMemory]
		out.Limits[corev1.ResourceMemory] = memory.DeepCopy()
	}
	return out
}

func profileRequests(profile Profile) corev1.ResourceList {
	cpu, memory := "250m", "512Mi"
	switch profile {
	case ProfileDev:
		cpu, memory = "100m", "256Mi"
	case ProfileProd:
		cpu, memory = "1", "2Gi"
	case ProfileStandard:
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	}
}

// twice doubles without wrapping around.
func twice(n int64) int64 {
	if n > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return 2 * n
}

// or is the value, or the default when the value is the zero one.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// durationOr is the duration, or the default when there is none. An explicit zero stands.
func durationOr(value *metav1.Duration, fallback time.Duration) time.Duration {
	if value == nil {
		return fallback
	}
	return value.Duration
}
