package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DatabaseInstance is the protocol between the operator and the agent of one pod, and has the
// pod's name: the operator writes in spec what the instance must be, the agent in status what it is.
// Users read it (kubectl get dbi) and do not write it.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=databaseinstances,shortName=dbi,categories=dbs
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Database",type=string,JSONPath=`.spec.databaseName`
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.status.role`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=boolean,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Epoch",type=integer,JSONPath=`.status.epoch`
// +kubebuilder:printcolumn:name="Lag",type=integer,JSONPath=`.status.lagBytes`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.serverVersion`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DatabaseInstance struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is that of the pod.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the instance must be. Only the operator writes it, and as one: whatever somebody else adds or
	// changes is taken back.
	// +required
	// +structType=atomic
	Spec DatabaseInstanceSpec `json:"spec"`

	// What the instance is. Only its agent writes it.
	// +optional
	Status DatabaseInstanceStatus `json:"status,omitempty"`
}

// DatabaseInstanceList is a list of DatabaseInstances.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type DatabaseInstanceList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// The instances.
	Items []DatabaseInstance `json:"items"`
}

// DatabaseInstanceSpec says what an instance must be.
type DatabaseInstanceSpec struct {
	// Name of the Database. At most 40 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	DatabaseName string `json:"databaseName"`

	// The database engine: PostgreSQL, MongoDB, Redis, Elasticsearch or SQLite. The agent refuses to run
	// another than its own.
	// +required
	Engine Engine `json:"engine"`

	// Name of the group (the StatefulSet) of the instance. Empty when the Database has just one.
	// At most 40 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Group string `json:"group,omitempty"`

	// Number of the instance in its group, from 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Ordinal int32 `json:"ordinal,omitempty"`

	// Whether the agent may make a new database when its volume is empty. Set only while no
	// system identifier is recorded.
	// +optional
	Bootstrap bool `json:"bootstrap,omitempty"`

	// The identity of the data (PostgreSQL: system identifier), once recorded. Clients are let in
	// only when the data has it. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SystemID string `json:"systemID,omitempty"`

	// All instances of the group. At most 64.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Members []InstanceMember `json:"members,omitempty"`

	// Hash of the configuration that the instance must run with; it is the one of the mounted
	// files of the same hash. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ConfigHash string `json:"configHash,omitempty"`

	// Accounts that the engine must have, or must not have. At most 32.
	// +optional
	// +listType=map
	// +listMapKey=username
	// +kubebuilder:validation:MaxItems=32
	Accounts []InstanceAccount `json:"accounts,omitempty"`

	// How the primary is elected, and what it waits for. Set only for engines that elect through
	// a Lease.
	// +optional
	Replication *InstanceReplication `json:"replication,omitempty"`

	// Whether a person stopped the engine of this instance on purpose.
	// +optional
	Fenced bool `json:"fenced,omitempty"`

	// The change that the agent is asked to carry out, once for each id.
	// +optional
	Operation *InstanceOperation `json:"operation,omitempty"`
}

// InstanceMember is one instance of the group.
type InstanceMember struct {
	// Name of the instance. At most 63 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Its stable DNS name. At most 253 characters.
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host"`

	// Whether it counts in elections.
	// +optional
	Voter bool `json:"voter,omitempty"`

	// Preference in elections among equals; the higher wins.
	// +optional
	Priority int32 `json:"priority,omitempty"`
}

// AccountState says whether an account must exist.
//
// +kubebuilder:validation:Enum=Present;Absent
type AccountState string

// The states of an account.
const (
	AccountPresent AccountState = "Present"
	AccountAbsent  AccountState = "Absent"
)

// InstanceAccount is an account that the engine must have, or must not have.
type InstanceAccount struct {
	// Name of the account in the engine. At most 63 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Username string `json:"username"`

	// The Secret's key that holds the password.
	// +optional
	PasswordRef *SecretKeyReference `json:"passwordRef,omitempty"`

	// Identifies the password without telling it: another value means that another password must
	// be set. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PasswordVersion string `json:"passwordVersion,omitempty"`

	// What the account is for: application, superuser, replication, monitoring or backup. At most 8.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=63
	Roles []string `json:"roles,omitempty"`

	// The database that the account owns. At most 63 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Database string `json:"database,omitempty"`

	// Whether the account must exist: Present or Absent. Default: Present.
	// +optional
	// +kubebuilder:default=Present
	State AccountState `json:"state,omitempty"`
}

// InstanceOperation is a change that the agent is asked to carry out once.
type InstanceOperation struct {
	// Identifies the request. The agent carries out each id once, and reports it. At most 64
	// characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id"`

	// What to do: Restart (the engine, in place), Switchover (asked of the primary: hand over to
	// target) or Failover (asked of the target: become the primary, and accept the loss of data). At
	// most 32 characters.
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`

	// Name of the instance that is to be the primary afterwards. A switchover without one is to
	// the best replica. At most 63 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Target string `json:"target,omitempty"`
}

// InstanceRole is the role of an instance.
//
// +kubebuilder:validation:Enum=primary;replica;none
type InstanceRole string

// The roles, also the values of the label db.platform.io/role.
const (
	RolePrimary InstanceRole = "primary"
	RoleReplica InstanceRole = "replica"
	RoleNone    InstanceRole = "none"
)

// InstancePhase is the one word for what an instance is doing.
//
// +kubebuilder:validation:Enum=Starting;Initializing;Cloning;Running;Restarting;Stopping;Stopped;Failed
type InstancePhase string

// The phases of an instance.
const (
	// InstanceStarting: the agent is up, the engine not yet.
	InstanceStarting InstancePhase = "Starting"
	// InstanceInitializing: a new database is being made on an empty volume.
	InstanceInitializing InstancePhase = "Initializing"
	// InstanceCloning: the data is being copied from another instance.
	InstanceCloning InstancePhase = "Cloning"
	// InstanceRunning: the engine answers.
	InstanceRunning InstancePhase = "Running"
	// InstanceRestarting: the engine is being stopped and started.
	InstanceRestarting InstancePhase = "Restarting"
	// InstanceStopping: the engine is being stopped.
	InstanceStopping InstancePhase = "Stopping"
	// InstanceStopped: the engine is down on purpose.
	InstanceStopped InstancePhase = "Stopped"
	// InstanceFailed: the engine does not start; the message says why.
	InstanceFailed InstancePhase = "Failed"
)

// DatabaseInstanceStatus says what an instance is. It is written when something changed that
// someone acts on, and at most once a second.
type DatabaseInstanceStatus struct {
	// Role of the instance: primary, replica or none.
	// +optional
	Role InstanceRole `json:"role,omitempty"`

	// What the instance is doing: Starting, Initializing, Cloning, Running, Restarting, Stopping,
	// Stopped or Failed.
	// +optional
	Phase InstancePhase `json:"phase,omitempty"`

	// Whether the engine answers and its role is settled.
	// +optional
	Ready bool `json:"ready,omitempty"`

	// What it waits for, or what is wrong, in a sentence. At most 4,096 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`

	// UID of the pod that wrote this. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PodUID string `json:"podUID,omitempty"`

	// UID of the ServiceAccount that the agent's token is of. A token is worth nothing once its
	// ServiceAccount was deleted, even if there is one of the same name again: then this is the last that
	// the agent could say. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ServiceAccountUID string `json:"serviceAccountUID,omitempty"`

	// The epoch in which the instance acquired the right to write, or that it follows.
	// +optional
	Epoch int64 `json:"epoch,omitempty"`

	// Random id of the data directory, made with it. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	DataID string `json:"dataID,omitempty"`

	// The timeline that PostgreSQL is on; it changes with every promotion.
	// +optional
	Timeline int64 `json:"timeline,omitempty"`

	// Position in the engine's log. At most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Position string `json:"position,omitempty"`

	// How far the instance is behind its primary, in bytes, in coarse steps; absent on a primary, and
	// while it is not known.
	// +optional
	LagBytes *int64 `json:"lagBytes,omitempty"`

	// Where the instance stands in replication. Only of engines that elect through a Lease.
	// +optional
	Replication *InstanceReplicationStatus `json:"replication,omitempty"`

	// The identity of the data (PostgreSQL: system identifier from pg_control; Redis: a random id
	// that was made with it). At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SystemID string `json:"systemID,omitempty"`

	// Version that the engine says it is. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ServerVersion string `json:"serverVersion,omitempty"`

	// Version of the agent. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AgentVersion string `json:"agentVersion,omitempty"`

	// Hash of the configuration that the engine has read, whole. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AppliedConfigHash string `json:"appliedConfigHash,omitempty"`

	// Hash of the wanted configuration, while the engine refuses it. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RefusedConfigHash string `json:"refusedConfigHash,omitempty"`

	// Settings that take effect only with a restart. At most 256.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=128
	PendingRestart []string `json:"pendingRestart,omitempty"`

	// Number of times that this pod's agent started the engine.
	// +optional
	EngineStarts int64 `json:"engineStarts,omitempty"`

	// Accounts as the engine has them. At most 32.
	// +optional
	// +listType=map
	// +listMapKey=username
	// +kubebuilder:validation:MaxItems=32
	Accounts []InstanceAccountStatus `json:"accounts,omitempty"`

	// The archive of the engine's log.
	// +optional
	Archive *InstanceArchiveStatus `json:"archive,omitempty"`

	// How full the volume is.
	// +optional
	Storage *InstanceStorageStatus `json:"storage,omitempty"`

	// The operation that was last asked for.
	// +optional
	Operation *InstanceOperationStatus `json:"operation,omitempty"`

	// Facts of the engine; only the field of the instance's engine is set.
	// +optional
	Engine *InstanceEngineStatus `json:"engine,omitempty"`

	// When the agent wrote this.
	// +optional
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`

	// The metadata.generation that the agent has acted on.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// What is true of the instance, each with a reason and a sentence. At most 16.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// InstanceAccountStatus is one account as the engine has it.
type InstanceAccountStatus struct {
	// Name of the account. At most 63 characters.
	// +kubebuilder:validation:MaxLength=63
	Username string `json:"username"`

	// The passwordVersion that was set. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PasswordVersion string `json:"passwordVersion,omitempty"`

	// Whether the engine has the account, with that password and its rights.
	// +optional
	Applied bool `json:"applied,omitempty"`

	// Whether the agent logged in as that account, over TCP, with that password.
	// +optional
	Verified bool `json:"verified,omitempty"`

	// What went wrong, in a sentence. At most 1,024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// InstanceArchiveStatus says how the archive of the engine's log goes.
type InstanceArchiveStatus struct {
	// The newest segment that is stored. At most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	LastArchived string `json:"lastArchived,omitempty"`

	// Since when nothing could be stored.
	// +optional
	FailingSince *metav1.Time `json:"failingSince,omitempty"`

	// Segments that wait to be stored. Always written: an apply that leaves an object without fields
	// is refused.
	// +optional
	Backlog int64 `json:"backlog"`
}

// InstanceStorageStatus says how full the volume is, in steps of one percent.
type InstanceStorageStatus struct {
	// Bytes that are used on the volume.
	// +optional
	UsedBytes int64 `json:"usedBytes,omitempty"`

	// Size of the volume's file system, in bytes.
	// +optional
	CapacityBytes int64 `json:"capacityBytes,omitempty"`
}

// InstanceOperationStatus says how an operation went.
type InstanceOperationStatus struct {
	// The id that was asked for. At most 64 characters.
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id"`

	// Running, Succeeded or Failed.
	// +kubebuilder:validation:Enum=Running;Succeeded;Failed
	Phase string `json:"phase"`

	// What went wrong, in a sentence. At most 1,024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// The phases of an InstanceOperationStatus.
const (
	OperationRunning   = "Running"
	OperationSucceeded = "Succeeded"
	OperationFailed    = "Failed"
)

// InstanceEngineStatus holds facts of the engine.
type InstanceEngineStatus struct {
	// Facts of a PostgreSQL instance.
	// +optional
	PostgreSQL *PostgreSQLInstanceStatus `json:"postgresql,omitempty"`

	// Facts of a Redis instance.
	// +optional
	Redis *RedisInstanceStatus `json:"redis,omitempty"`
}

// PostgreSQLInstanceStatus holds facts of a PostgreSQL instance.
type PostgreSQLInstanceStatus struct {
	// Whether the server is in recovery, that is, not writable. Always written: an apply that
	// leaves an object without fields is refused.
	// +optional
	InRecovery bool `json:"inRecovery"`

	// The running values of the settings that a replica must not have lower than its primary
	// (max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions,
	// max_locks_per_transaction). At most 8.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	HotStandby map[string]int64 `json:"hotStandby,omitempty"`
}

// RedisInstanceStatus holds facts of a Redis instance.
type RedisInstanceStatus struct {
	// Bytes of memory that the server uses (used_memory of INFO), in steps of some percent of maxmemory.
	// Always written: an apply that leaves an object without fields is refused.
	// +optional
	UsedMemoryBytes int64 `json:"usedMemoryBytes"`
}
