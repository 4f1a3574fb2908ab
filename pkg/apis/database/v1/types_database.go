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
// +kubebuilder:resource:path=databases,shortName=db,categories=dbs
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.topology.replicas,statuspath=.status.readyReplicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name="Engine",type=string,JSONPath=`.spec.engine`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.currentVersion`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.topology.mode`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Primary",type=string,JSONPath=`.status.currentPrimary`
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.status.endpoint`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && self.metadata.name >= 'a' && !self.metadata.name.contains('.')",message="metadata.name must be a DNS-1035 label of at most 40 characters (a-z, 0-9 and -, a letter first), because Services, pods and CronJobs are named after it; choose a shorter or plainer name"
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
	// ProfileProd is for production: larger requests, required anti-affinity,
	// and a condition that names what production should not lack.
	ProfileProd Profile = "prod"
)

// DatabaseSpec says what the user wants.
//
// +kubebuilder:validation:XValidation:rule="self.engine != 'Elasticsearch' || has(self.image) || self.version.matches('^[0-9]+[.][0-9]+[.][0-9]+$')",message=`spec.version must have three numbers for Elasticsearch, because its images have no shorter tags; write the whole version, as "8.15.3", or name an image in spec.image`
// +kubebuilder:validation:XValidation:rule="self.engine != 'PostgreSQL' || self.topology.mode in ['Standalone', 'Replicated']",message="spec.topology.mode must be Standalone or Replicated for PostgreSQL, because it has no other; use Replicated for replicas with failover"
// +kubebuilder:validation:XValidation:rule="self.engine != 'MongoDB' || self.topology.mode in ['Standalone', 'Replicated', 'Sharded']",message="spec.topology.mode must be Standalone, Replicated or Sharded for MongoDB, because it has no other; use Sharded to spread data over several replica sets"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Redis' || self.topology.mode in ['Standalone', 'Replicated', 'Cluster']",message="spec.topology.mode must be Standalone, Replicated or Cluster for Redis, because it has no other; use Cluster, for Redis Cluster, to spread data over several shards"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Elasticsearch' || self.topology.mode == 'Cluster'",message="spec.topology.mode must be Cluster for Elasticsearch, because it always runs as a cluster; set mode: Cluster and replicas: 3 or more"
// +kubebuilder:validation:XValidation:rule="self.engine != 'SQLite' || self.topology.mode == 'Standalone'",message="spec.topology.mode must be Standalone for SQLite, because its file has one server; use PostgreSQL where replicas are needed"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Elasticsearch' || self.topology.replicas >= 3",message="spec.topology.replicas must be 3 or more for Elasticsearch, because fewer nodes have no majority once one is lost; set it to 3"
// +kubebuilder:validation:XValidation:rule="self.engine != 'MongoDB' || self.topology.replicas > 7 || (self.topology.replicas % 2 == 1 && (self.topology.mode != 'Replicated' || self.topology.replicas >= 3))",message="spec.topology.replicas must be 3, 5, 7 or more for a replicated MongoDB (or 1 in a shard), because an even number of voters can split in halves; choose the next odd number"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Redis' || self.topology.mode != 'Cluster' || (has(self.topology.shards) && self.topology.shards >= 3)",message="spec.topology.shards must be 3 or more for Redis Cluster, because fewer masters cannot elect; set it to 3, or use mode: Replicated for data that fits one instance"
// +kubebuilder:validation:XValidation:rule="!has(self.topology.shards) || self.topology.shards == 0 || self.topology.mode == 'Sharded' || (self.engine == 'Redis' && self.topology.mode == 'Cluster')",message="spec.topology.shards must be 0 except in mode Cluster of Redis and Sharded of MongoDB, because nothing else has shards; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.highAvailability) || !has(self.highAvailability.synchronousReplicas) || self.highAvailability.synchronousReplicas < self.topology.replicas",message="spec.highAvailability.synchronousReplicas must be less than spec.topology.replicas, because the primary does not wait for itself; lower it, or add replicas"
// +kubebuilder:validation:XValidation:rule="has(self.storage) ? has(self.storage.size) : self.engine == 'Redis'",message=`spec.storage.size is required, because data needs a volume; set it, as "10Gi" (only a Redis that keeps nothing on disk may leave spec.storage out)`
// +kubebuilder:validation:XValidation:rule="has(self.storage) == has(oldSelf.storage)",message="spec.storage cannot be added or removed, because instances cannot change where their data is; back up, and restore into a new Database"
// +kubebuilder:validation:XValidation:rule="!has(self.resources) || !has(self.resources.claims) || size(self.resources.claims) <= (has(oldSelf.resources) && has(oldSelf.resources.claims) ? size(oldSelf.resources.claims) : 0)",message="spec.resources.claims must be left out, because the operator makes no claims of devices for its pods; ask for extended resources in spec.resources.limits, or choose nodes with spec.scheduling.nodeSelector"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Redis' || self.topology.mode != 'Cluster' || !has(self.networking) || !has(self.networking.port) || self.networking.port <= 55535",message="spec.networking.port must be at most 55535 for Redis Cluster, because its nodes talk on the port 10000 above; choose a lower one, or leave it out"
// +kubebuilder:validation:XValidation:rule="!has(self.backup) || !has(self.backup.enabled) || !self.backup.enabled || has(self.backup.destination) || (self.engine != 'Elasticsearch' && has(self.backup.method) && self.backup.method == 'Snapshot')",message="spec.backup.destination is required for this method, because only a volume snapshot can stay with the storage; name a bucket in s3, or a persistentVolumeClaim"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Elasticsearch' || !has(self.backup) || !has(self.backup.method) || self.backup.method in ['Snapshot', 'Incremental']",message="spec.backup.method must be Snapshot for Elasticsearch, because it has no Dump and no WAL; use Snapshot, which stores only what changed"
// +kubebuilder:validation:XValidation:rule="self.engine != 'PostgreSQL' || !has(self.backup) || !has(self.backup.method) || self.backup.method != 'Incremental' || self.version.matches('^(1[7-9]|[2-9][0-9]|[1-9][0-9][0-9]+)([.]|$)')",message="spec.backup.method Incremental needs PostgreSQL 17 or later, because older servers cannot tell what changed; use WAL, which also restores to any point in time"
// +kubebuilder:validation:XValidation:rule="self.engine == 'PostgreSQL' || !has(self.restore) || !(has(self.restore.lsn) || has(self.restore.transactionID) || has(self.restore.restorePoint))",message="spec.restore.lsn, transactionID and restorePoint are for PostgreSQL alone, because only its log has them; use pointInTime"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Elasticsearch' || !has(self.restore) || !has(self.restore.pointInTime)",message="spec.restore.pointInTime is not possible for Elasticsearch, because it has snapshots and no log; name the DatabaseBackup of the time that you want in backupName"
// +kubebuilder:validation:XValidation:rule="self.engine != 'PostgreSQL' || !has(self.auth) || !has(self.auth.username) || !(self.auth.username in ['postgres', 'public', 'none', 'replication', 'db_replication', 'walreceiver', 'monitoring', 'backup', 'operator'])",message="spec.auth.username must not be the name of an account that PostgreSQL or the operator has for itself; choose another, as app"
// +kubebuilder:validation:XValidation:rule="self.engine != 'PostgreSQL' || !has(self.auth) || ((!has(self.auth.username) || !self.auth.username.startsWith('pg_')) && (!has(self.auth.database) || !self.auth.database.startsWith('pg_')))",message="spec.auth.username and spec.auth.database must not begin with pg_, because PostgreSQL keeps those names for itself; choose another, as app"
// +kubebuilder:validation:XValidation:rule="self.engine != 'MongoDB' || !has(self.auth) || !has(self.auth.username) || !(self.auth.username in ['admin', 'root', 'replication', 'monitoring', 'backup', 'operator', '__system'])",message="spec.auth.username must not be the name of an account that MongoDB or the operator has for itself; choose another, as app"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Redis' || !has(self.auth) || !has(self.auth.username) || !(self.auth.username in ['default', 'replication', 'monitoring', 'backup', 'operator'])",message="spec.auth.username must not be the name of an account that Redis or the operator has for itself; choose another, as app"
// +kubebuilder:validation:XValidation:rule="self.engine != 'Elasticsearch' || !has(self.auth) || !has(self.auth.username) || !(self.auth.username in ['elastic', 'kibana', 'kibana_system', 'logstash_system', 'beats_system', 'apm_system', 'remote_monitoring_user', 'monitoring', 'backup', 'operator'])",message="spec.auth.username must not be the name of an account that Elasticsearch or the operator has for itself; choose another, as app"
// +kubebuilder:validation:XValidation:rule="self.engine != 'SQLite' || !has(self.auth) || !has(self.auth.username) || !(self.auth.username in ['monitoring', 'backup', 'operator'])",message="spec.auth.username must not be the name of an account that SQLite or the operator has for itself; choose another, as app"
// +kubebuilder:validation:XValidation:rule="self.engine != 'PostgreSQL' || !has(self.auth) || !has(self.auth.database) || !(self.auth.database in ['postgres', 'template0', 'template1'])",message="spec.auth.database must not be a database that PostgreSQL has for itself; choose another, or leave it out for the account's name"
// +kubebuilder:validation:XValidation:rule="self.engine != 'MongoDB' || !has(self.auth) || !has(self.auth.database) || !(self.auth.database in ['admin', 'local', 'config'])",message="spec.auth.database must not be a database that MongoDB has for itself; choose another, or leave it out for the account's name"
// +kubebuilder:validation:XValidation:rule="!has(self.auth) || !has(self.auth.username) || self.auth.username == (has(oldSelf.auth) && has(oldSelf.auth.username) ? oldSelf.auth.username : 'app')",message="spec.auth.username cannot be changed, because the account and what it owns keep their name; set it back or leave it out, or load a dump into a new Database"
// +kubebuilder:validation:XValidation:rule="self.engine in ['Redis', 'Elasticsearch'] || !has(self.auth) || !has(self.auth.database) || self.auth.database == (!has(oldSelf.auth) ? 'app' : has(oldSelf.auth.database) ? oldSelf.auth.database : has(oldSelf.auth.username) ? oldSelf.auth.username : 'app')",message="spec.auth.database cannot be changed, because clients would be sent to another, empty database; set it back or leave it out, or load a dump into a new Database"
type DatabaseSpec struct {
	// Database engine: PostgreSQL, MongoDB, Redis, Elasticsearch or SQLite. Required; it can
	// not be changed: back up, and restore into a new Database. This release runs PostgreSQL, and
	// Redis 6.2 to 8 as a single instance; with another engine nothing is made, and condition Provisioned says so.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.engine cannot be changed, because no engine can read another's data; dump the data, and load it into a new Database of the other engine"
	Engine Engine `json:"engine"`

	// Engine version, as "15", "15.4" or "7.0.14"; it picks the image tag. Quote it, or YAML
	// reads a number. Required; at most 32 characters. It never goes down: a version below
	// status.currentVersion is refused. Not in this release: another major version of a database that
	// exists; condition UpToDate says so.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,5}([.][0-9]{1,5}){0,2}$')",message=`spec.version must be one to three numbers with dots between them, because it picks the image tag; write it as "15", "15.4" or "7.0.14", and name any other image in spec.image`
	Version string `json:"version"`

	// Full reference of the engine's image, as "registry.example.com/postgres:15.4"; it replaces
	// the image that engine and version give. It must hold the engine of spec.version. Default:
	// the stock image. At most 512 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._:/@-]*$')",message=`spec.image must be the reference of an image, without spaces; write it as "registry.example.com/postgres:15.4", or leave it out for the stock image`
	Image string `json:"image,omitempty"`

	// Presets for what the spec leaves out (resources, anti-affinity): dev, standard or prod. Default:
	// standard. prod also warns, in a condition, of what production should not
	// lack: a backup, replicas, resource limits.
	// +optional
	// +kubebuilder:default=standard
	Profile Profile `json:"profile,omitempty"`

	// How many instances there are and what they are to each other. Default: one
	// standalone instance.
	// +optional
	// +kubebuilder:default={mode: Standalone, replicas: 1}
	Topology TopologySpec `json:"topology,omitempty"`

	// Volumes of the instances. Required, except for a Redis that keeps nothing on disk. Not in this
	// release: a Redis without one; nothing is made, and condition Provisioned says so.
	// +optional
	Storage *StorageSpec `json:"storage,omitempty"`

	// Requests and limits of the database container. Default: by profile (dev 100m CPU and 256Mi, standard
	// 250m and 512Mi, prod 1 CPU and 2Gi; memory limit equal to its request). Memory-related engine
	// settings are derived from the memory limit. Claims of devices are refused.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// How clients reach the database: Service type, port, TLS. Default: a ClusterIP Service
	// on the engine's port, without TLS.
	// +optional
	Networking *NetworkingSpec `json:"networking,omitempty"`

	// Backups: when they are taken, how, where they are stored, for how long they are kept, and how it
	// is proved that they can be restored. Every backup is a DatabaseBackup; one on demand is made by
	// creating such an object. Default: none. Not in this release: no backup is taken, and condition
	// BackupConfigured says so.
	// +optional
	Backup *BackupSpec `json:"backup,omitempty"`

	// The application account and its database, their publication in Consul and their
	// rotation. Default: an account called app, which owns a database of the same name.
	// +optional
	Auth *AuthSpec `json:"auth,omitempty"`

	// When disruptive steps may happen. Default: at any time.
	// +optional
	Maintenance *MaintenanceSpec `json:"maintenance,omitempty"`

	// Metrics, logs and traces of the instances. Default: metrics on, logs in JSON, no traces. See
	// below for what is built.
	// +optional
	Observability *ObservabilitySpec `json:"observability,omitempty"`

	// Pause, hibernation, and what happens to the data when the Database is deleted.
	// Default: running, and Retain.
	// +optional
	// +kubebuilder:default={deletionPolicy: Retain}
	Lifecycle LifecycleSpec `json:"lifecycle,omitempty"`

	// Durations and limits of failover, and the number of synchronous replicas. Default: asynchronous
	// replication, failover within about 20 seconds.
	// +optional
	HighAvailability *HighAvailabilitySpec `json:"highAvailability,omitempty"`

	// Engine settings by their own names, as max_connections: "200". A change is reloaded where the engine
	// can, else instances restart one by one. Names that the operator owns are refused by name. At most
	// 256 entries; a name has at most 128 characters, a value 1,024. Default: none; the operator derives
	// memory settings from resources.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 128 && k.matches('^[A-Za-z_][A-Za-z0-9_.$-]*$'))",message="spec.engineConfig must have names of settings as the engine spells them (letters, digits, _, ., $ and -, at most 128), because nothing else could be written to its file; write them as max_connections"
	EngineConfig map[string]ConfigValue `json:"engineConfig,omitempty"`

	// How this Database is first filled: from a backup, at a point in time. Ignored once it
	// has data. Default: empty. Not in this release: nothing is created, and condition Restored says so.
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
// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]')",message="a value of spec.engineConfig must be one line without control characters, because more would be another setting; remove the line break"
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
//
// +kubebuilder:validation:XValidation:rule="self.replicas >= 1 && self.replicas <= 50",message="spec.topology.replicas must be between 1 and 50, because without an instance there is no database, and more were never tried; set it in there, or delete the Database, which keeps its volumes unless spec.lifecycle.deletionPolicy is Delete"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Standalone' || self.replicas == 1",message="spec.topology.replicas must be 1 in mode Standalone, because that is one instance; set mode: Replicated, where the engine has it, for more"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Sharded' || (has(self.shards) && self.shards >= 1)",message="spec.topology.shards must be 1 or more in mode Sharded, because data lives in shards alone; set it to the number of replica sets"
// +kubebuilder:validation:XValidation:rule="self.mode == oldSelf.mode || (oldSelf.mode == 'Standalone' && self.mode == 'Replicated')",message="spec.topology.mode can change in place only from Standalone to Replicated, because other changes lay data out anew; back up, and restore into a new Database"
type TopologySpec struct {
	// What the instances are to each other. Standalone: one instance (every engine but
	// Elasticsearch). Replicated: a primary and its replicas, with failover (PostgreSQL, MongoDB,
	// Redis). Cluster: the engine's own cluster (Redis, Elasticsearch). Sharded: config servers, shards
	// and routers (MongoDB). Standalone can become Replicated; any other change needs a new Database.
	// Default: Standalone. Not in this release: modes other than Standalone of engines other than PostgreSQL;
	// nothing is made or changed, and condition UpToDate says so.
	// +optional
	// +kubebuilder:default=Standalone
	Mode TopologyMode `json:"mode,omitempty"`

	// Instances per replica set, the primary included. Standalone: exactly 1; MongoDB in mode
	// Replicated: 3, 5, 7 or more; Elasticsearch: the number of nodes, 3 or more. Default: 1; 1 to 50.
	// Lowering it keeps the volumes of the instances that go, unless lifecycle.deletionPolicy is Delete.
	// +optional
	// +kubebuilder:default=1
	Replicas int32 `json:"replicas,omitempty"`

	// Number of replica sets, in mode Cluster of Redis (3 or more) and Sharded of MongoDB
	// (1 or more); 0 in the others. Default: 0; at most 128.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Shards int32 `json:"shards,omitempty"`

	// Spread instances over nodes, and over zones where nodes are labelled with one: true
	// requires different nodes, false does not try. Default: by profile (dev does not try, standard
	// prefers, prod requires).
	// +optional
	AntiAffinity *bool `json:"antiAffinity,omitempty"`
}
