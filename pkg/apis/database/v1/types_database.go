package v1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Database is a database that the operator runs: PostgreSQL, MongoDB, Redis,
// Elasticsearch or SQLite. Its spec says what the user wants, its status how it is going.
//
// The name is a DNS-1035 label of at most 40 characters: it is the stem of the
// names of Services, CronJobs and StatefulSet revisions, which leave no more.
//
// +genclient
// +genclient:method=GetScale,verb=get,subresource=scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=UpdateScale,verb=update,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=databases,shortName=db,categories=databases
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.topology.replicas,statuspath=.status.readyReplicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name="Engine",type=string,JSONPath=`.spec.engine`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.topology.mode`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Primary",type=string,JSONPath=`.status.primary.name`
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.status.endpoint`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Database struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is at most 40 characters, a DNS-1035 label.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the user wants. The operator never writes it.
	// +required
	Spec DatabaseSpec `json:"spec"`

	// How it is going, as the operator last saw it. Only the operator writes it.
	// +optional
	Status DatabaseStatus `json:"status,omitempty"`
}

// DatabaseList is a list of Databases.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type DatabaseList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// The Databases.
	Items []Database `json:"items"`
}

// Engine names a database engine.
//
// +kubebuilder:validation:Enum=PostgreSQL;MongoDB;Redis;Elasticsearch;SQLite
type Engine string

// The engines.
const (
	PostgreSQL    Engine = "PostgreSQL"
	MongoDB       Engine = "MongoDB"
	Redis         Engine = "Redis"
	Elasticsearch Engine = "Elasticsearch"
	SQLite        Engine = "SQLite"
)

// Profile names a set of presets for what the user left out.
//
// +kubebuilder:validation:Enum=dev;standard;prod
type Profile string

// The profiles.
const (
	// ProfileDev is small and forgiving: low requests, no anti-affinity.
	ProfileDev Profile = "dev"
	// ProfileStandard suits most databases: moderate requests, preferred anti-affinity.
	ProfileStandard Profile = "standard"
	// ProfileProd is for production: guaranteed resources, required anti-affinity,
	// and a condition that names what production should not lack.
	ProfileProd Profile = "prod"
)

// DatabaseSpec says what the user wants.
type DatabaseSpec struct {
	// Database engine: PostgreSQL, MongoDB, Redis, Elasticsearch or SQLite. Required; it can
	// not be changed: back up, and restore into a new Database.
	// +required
	Engine Engine `json:"engine"`

	// Engine version, as "15", "15.4" or "7.0.14"; it picks the image tag. Quote it, or YAML
	// reads a number. Required; at most 32 characters. It never goes down: a version below
	// status.currentVersion is refused.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version"`

	// Full reference of the engine's image, as "registry.example.com/postgres:15.4"; it replaces
	// the image that engine and version give. It must hold the engine of spec.version. Default:
	// the stock image. At most 512 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// Presets for what the spec leaves out (resources, anti-affinity, disruption budget,
	// durability): dev, standard or prod. Default: standard. prod also warns, in a condition, of what production
	// should not lack: a backup, replicas, resource limits.
	// +optional
	// +kubebuilder:default=standard
	Profile Profile `json:"profile,omitempty"`

	// How many instances there are and what they are to each other. Default: one
	// standalone instance.
	// +optional
	// +kubebuilder:default={mode: Standalone, replicas: 1}
	Topology TopologySpec `json:"topology,omitempty"`

	// Volumes of the instances. Required, except for a Redis that keeps nothing on disk.
	// +optional
	Storage *StorageSpec `json:"storage,omitempty"`

	// Requests and limits of the database container. Default: by profile (dev 100m CPU and
	// 256Mi, standard 250m and 512Mi, prod 1 CPU and 2Gi; memory limit equal to its request). Memory-related engine settings are derived
	// from the memory limit.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// How clients reach the database: Service type, port, TLS. Default: a ClusterIP Service
	// on the engine's port, without TLS.
	// +optional
	Networking *NetworkingSpec `json:"networking,omitempty"`

	// Scheduled backups: when, how, where to, and for how long they are kept. Default: none.
	// +optional
	Backup *BackupSpec `json:"backup,omitempty"`

	// The application account and its database, their publication in Consul and their
	// rotation. Default: an account and a database with names derived from the engine ("app").
	// +optional
	Auth *AuthSpec `json:"auth,omitempty"`

	// When disruptive steps may happen. Default: at any time.
	// +optional
	Maintenance *MaintenanceSpec `json:"maintenance,omitempty"`

	// Metrics, logs and traces of the instances. Default: metrics on, logs in JSON, no traces.
	// +optional
	Observability *ObservabilitySpec `json:"observability,omitempty"`

	// Pause, hibernation, and what happens to the data when the Database is deleted.
	// Default: running, and Retain.
	// +optional
	// +kubebuilder:default={deletionPolicy: Retain}
	Lifecycle LifecycleSpec `json:"lifecycle,omitempty"`

	// Durations and limits of failover, and the number of synchronous replicas. Default: asynchronous replication, failover within about 20 seconds.
	// +optional
	HighAvailability *HighAvailabilitySpec `json:"highAvailability,omitempty"`

	// Engine settings by their own names, as max_connections: "200". A change is reloaded where
	// the engine can, else instances restart one by one. Names that the operator owns are refused
	// by name. At most 256 entries; a name has at most 128 characters, a value 1,024. Default: none; the operator
	// derives memory settings from resources.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	EngineConfig map[string]ConfigValue `json:"engineConfig,omitempty"`

	// How this Database is first filled: from a backup, at a point in time. Ignored once it
	// has data. Default: empty.
	// +optional
	Restore *RestoreSpec `json:"restore,omitempty"`

	// Where pods may run, and their security context. Default: anywhere, restricted.
	// +optional
	Scheduling *SchedulingSpec `json:"scheduling,omitempty"`

	// Labels and annotations added to every pod. Default: none.
	// +optional
	PodMetadata *PodMetadata `json:"podMetadata,omitempty"`
}

// ConfigValue is the value of one engine setting, as the engine would read it from its file.
//
// +kubebuilder:validation:MaxLength=1024
type ConfigValue string

// TopologyMode says what the instances are to each other.
//
// +kubebuilder:validation:Enum=Standalone;Replicated;Cluster;Sharded
type TopologyMode string

// The topology modes.
const (
	// Standalone is one instance.
	Standalone TopologyMode = "Standalone"
	// Replicated is one primary and its replicas, with failover.
	Replicated TopologyMode = "Replicated"
	// Cluster is the engine's own cluster (Redis Cluster, Elasticsearch).
	Cluster TopologyMode = "Cluster"
	// Sharded is a sharded MongoDB: config servers, shards and routers.
	Sharded TopologyMode = "Sharded"
)

// TopologySpec says how many instances there are and what they are to each other.
type TopologySpec struct {
	// What the instances are to each other: Standalone, Replicated, Cluster or Sharded; which ones
	// an engine can do is in the README. Default: Standalone.
	// +optional
	// +kubebuilder:default=Standalone
	Mode TopologyMode `json:"mode,omitempty"`

	// Instances per replica set, the primary included. Standalone: exactly 1; Elasticsearch: the
	// number of nodes, 3 or more. Default: 1; 1 to 50.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	Replicas int32 `json:"replicas,omitempty"`

	// Number of replica sets, in mode Cluster of Redis (3 or more) and Sharded of MongoDB
	// (1 or more); 0 in the others. Default: 0; at most 128.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Shards int32 `json:"shards,omitempty"`

	// Spread instances over nodes, and over zones where nodes are labelled with one: true
	// requires it, false does not try. Default: preferred, and required with profile prod.
	// +optional
	AntiAffinity *bool `json:"antiAffinity,omitempty"`
}
