package v1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaintenanceSpec says when disruptive steps may happen.
type MaintenanceSpec struct {
	// Windows in which disruptive steps (restarts, switchovers, upgrades) may happen. With none,
	// they may happen at any time. Default: none; at most 21.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=21
	Windows []MaintenanceWindow `json:"windows,omitempty"`

	// Take newer patch versions by itself, inside a window. Default: false. Not in this release: set
	// spec.version; condition MaintenanceReady says so.
	// +optional
	AutoUpgrade bool `json:"autoUpgrade,omitempty"`
}

// MaintenanceWindow is a weekly span of time.
//
// +kubebuilder:validation:XValidation:rule="duration(self.duration) >= duration('10m') && duration(self.duration) <= duration('24h')",message=`duration of a maintenance window must be between 10m and 24h, because a shorter one fits no restart and a longer one is no window; set it, as "4h"`
// +kubebuilder:validation:XValidation:rule="self.startTime.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",message=`startTime of a maintenance window must be HH:MM of 24 hours, because a window opens at a minute of the day; write it as "02:00" or "14:30"`
type MaintenanceWindow struct {
	// Day of the week: 0 is Sunday, 6 is Saturday. Required.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=6
	DayOfWeek int32 `json:"dayOfWeek"`

	// When the window opens, "HH:MM" of 24 hours, 5 characters. Required.
	// +required
	// +kubebuilder:validation:MaxLength=5
	StartTime string `json:"startTime"`

	// For how long the window stays open, as "4h". Required; 10 minutes to 24 hours.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	Duration metav1.Duration `json:"duration"`

	// Time zone of startTime, an IANA name as "Europe/Berlin". Default: UTC; at most 64
	// characters.
	// +optional
	// +kubebuilder:default=UTC
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`
}

// ObservabilitySpec describes metrics, logs and traces of the instances.
type ObservabilitySpec struct {
	// Prometheus metrics of the engine. Default: on. Not in this release: only the agent's own are
	// served, on port 8008, and condition MetricsReady says so to whoever sets this.
	// +optional
	Metrics *MetricsSpec `json:"metrics,omitempty"`

	// Logs of agent and engine. Default: level info, in JSON.
	// +optional
	Logging *LoggingSpec `json:"logging,omitempty"`

	// OpenTelemetry traces of the agent. Default: off. Not in this release: none are sent, and condition
	// MetricsReady says so.
	// +optional
	Tracing *TracingSpec `json:"tracing,omitempty"`
}

// MetricsSpec describes the metrics endpoint of the engine.
//
// +kubebuilder:validation:XValidation:rule="!has(self.port) || (self.port >= 1024 && self.port <= 65535)",message="spec.observability.metrics.port must be between 1024 and 65535, because nothing in the pod runs as root, and listens on none of the others; choose one there, or leave it out for the exporter's usual one"
// +kubebuilder:validation:XValidation:rule="!has(self.port) || !(self.port in [8008, 8009])",message="spec.observability.metrics.port must not be 8008 or 8009, because the agent listens there; choose another, or leave it out for the exporter's usual one"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceMonitor) || !self.serviceMonitor || !has(self.enabled) || self.enabled",message="spec.observability.metrics.serviceMonitor needs metrics, because there is nothing else to scrape; set enabled: true, or serviceMonitor: false"
type MetricsSpec struct {
	// Whether instances serve metrics of the engine. Default: true.
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`

	// Whether the operator makes a ServiceMonitor, where the cluster has that kind. Default:
	// false.
	// +optional
	ServiceMonitor bool `json:"serviceMonitor,omitempty"`

	// Port of the metrics endpoint. Default: that of the community exporter (PostgreSQL 9187,
	// MongoDB 9216, Redis 9121, Elasticsearch 9114, SQLite: the clients'); 1024 to 65535, and not one
	// of the agent's (8008, 8009).
	// +optional
	Port int32 `json:"port,omitempty"`
}

// LoggingSpec describes the logs of agent and engine.
type LoggingSpec struct {
	// Lowest level that is logged: debug, info, warning or error. Default: info.
	// +optional
	// +kubebuilder:default=info
	// +kubebuilder:validation:Enum=debug;info;warning;error
	Level string `json:"level,omitempty"`

	// Format of log lines: json or text. Default: json.
	// +optional
	// +kubebuilder:default=json
	// +kubebuilder:validation:Enum=json;text
	Format string `json:"format,omitempty"`
}

// TracingSpec says where traces are sent.
//
// +kubebuilder:validation:XValidation:rule="!has(self.enabled) || !self.enabled || (has(self.endpoint) && size(self.endpoint) > 0)",message=`spec.observability.tracing.endpoint is required when tracing is enabled, because traces have nowhere else to go; set it, as "otel-collector.monitoring:4317"`
type TracingSpec struct {
	// Whether the agent sends traces. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// Address of an OTLP collector over gRPC, as "otel-collector.monitoring:4317". Required when
	// enabled; at most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Endpoint string `json:"endpoint,omitempty"`

	// Of a million traces, how many are sampled. Default: 10000; 0 to 1000000.
	// +optional
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	SamplingRatePerMillion *int32 `json:"samplingRatePerMillion,omitempty"`
}

// DeletionPolicy says what happens to the data when the Database is deleted.
//
// +kubebuilder:validation:Enum=Retain;Snapshot;Delete
type DeletionPolicy string

// The deletion policies.
const (
	// DeletionRetain keeps volumes, credentials and backups; a Database of the same name takes them over.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionSnapshot takes a last backup before anything is removed.
	DeletionSnapshot DeletionPolicy = "Snapshot"
	// DeletionDelete removes volumes and credentials as well, and before that the volumes of instances that go.
	DeletionDelete DeletionPolicy = "Delete"
)

// LifecycleSpec says whether the Database runs, and what becomes of its data in the end.
type LifecycleSpec struct {
	// While true the operator changes nothing about this Database and still reports; failover
	// goes on, and the certificates that it needs are renewed. Default: false.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// While true the instances are stopped and the volumes are kept. Default: false. Not in this
	// release: the database runs on, and condition MaintenanceReady says so.
	// +optional
	Hibernated bool `json:"hibernated,omitempty"`

	// What happens to the data when the Database is deleted: Retain keeps volumes, credentials
	// and backups; Snapshot takes a last backup first; Delete removes volumes and credentials. Delete
	// also removes the volumes of instances that go while the Database lives, when topology.replicas is lowered.
	// Default: Retain. Not in this release: backups, so that with Snapshot the deletion waits; condition
	// BackupConfigured says so before.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// HighAvailabilitySpec describes failover.
//
// +kubebuilder:validation:XValidation:rule="!has(self.leaseDuration) || (duration(self.leaseDuration) >= duration('6s') && duration(self.leaseDuration) <= duration('5m'))",message=`spec.highAvailability.leaseDuration must be between 6s and 5m, because a shorter one fails over for a slow network and a longer one hardly at all; set it, as "15s"`
// +kubebuilder:validation:XValidation:rule="!has(self.renewPeriod) || duration(self.renewPeriod) >= duration('1s')",message=`spec.highAvailability.renewPeriod must be at least 1s, because every renewal is a write to the API server; set it, as "5s"`
// +kubebuilder:validation:XValidation:rule="!has(self.retryPeriod) || duration(self.retryPeriod) >= duration('200ms')",message=`spec.highAvailability.retryPeriod must be at least 200ms, because a struggling API server must not be hammered; set it, as "1s"`
// +kubebuilder:validation:XValidation:rule="!has(self.renewDeadline) || !has(self.renewPeriod) || !has(self.retryPeriod) || duration(self.renewPeriod) + duration(self.retryPeriod) <= duration(self.renewDeadline)",message="spec.highAvailability.renewDeadline must be at least renewPeriod and retryPeriod together, because a failed renewal must be tried again before the primary stops; raise renewDeadline or lower the periods"
// +kubebuilder:validation:XValidation:rule="!has(self.renewDeadline) || !has(self.leaseDuration) || duration(self.renewDeadline) < duration(self.leaseDuration)",message="spec.highAvailability.renewDeadline must be less than leaseDuration, because a primary must have stopped before another may start; lower it to two thirds of leaseDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.renewDeadline) || !has(self.leaseDuration) || duration(self.leaseDuration) > duration('5m') || duration(self.renewDeadline) >= duration(self.leaseDuration) || 11 * int(duration(self.renewDeadline)) <= 9 * int(duration(self.leaseDuration))",message="spec.highAvailability.renewDeadline must leave room for clocks that differ by 10 %, because an old primary could still write while a new one starts; lower it to two thirds of leaseDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.maxLag) || (type(self.maxLag) == int ? self.maxLag >= 65536 : self.maxLag.matches('^[+]?(0*[1-9][0-9]{4,}([.][0-9]*)?|0*[1-9][0-9]{7,}([.][0-9]*)?[num]|0*[1-9][0-9]+([.][0-9]*)?(k|Ki)|[0-9.]*[1-9][0-9.]*([MGTPE]i?|[eE][+]?[0-9]+))$'))",message=`spec.highAvailability.maxLag must be at least 64Ki, because a replica is always a little behind; set it, as "16Mi" (a number without a unit is bytes, and m is a thousandth)`
type HighAvailabilitySpec struct {
	// How many replicas must have flushed a transaction before its client is told that it
	// committed. Default: 0, asynchronous; less than topology.replicas, at most 8.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=8
	SynchronousReplicas int32 `json:"synchronousReplicas,omitempty"`

	// How far a replica may be behind and still be ready, in bytes, as "16Mi". Default: 16Mi; at least
	// 64Ki.
	// +optional
	// +kubebuilder:default="16Mi"
	MaxLag *resource.Quantity `json:"maxLag,omitempty"`

	// For how long a primary holds its lease without renewing it: the time to failover after a
	// node is lost. Default: 15s; 6s to 5m, and more than renewDeadline.
	// +optional
	// +kubebuilder:default="15s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	LeaseDuration *metav1.Duration `json:"leaseDuration,omitempty"`

	// After how long without a renewal a primary stops itself. Default: 10s; more than
	// renewPeriod, and short enough to leave a margin of a tenth of leaseDuration for clocks that differ.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	RenewDeadline *metav1.Duration `json:"renewDeadline,omitempty"`

	// How often a primary renews its lease. Default: 5s; at least 1s.
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	RenewPeriod *metav1.Duration `json:"renewPeriod,omitempty"`

	// How soon a failed renewal is tried again. Default: 1s; at least 200ms.
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	RetryPeriod *metav1.Duration `json:"retryPeriod,omitempty"`
}
