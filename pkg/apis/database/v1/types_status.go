package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DatabasePhase is the one word for how a Database is.
//
// +kubebuilder:validation:Enum=Pending;Provisioning;Restoring;Ready;Degraded;Scaling;Upgrading;Updating;Paused;Failed;Deleting
type DatabasePhase string

// The phases of a Database.
const (
	// PhasePending: nothing was made yet; a condition says what is waited for.
	PhasePending DatabasePhase = "Pending"
	// PhaseProvisioning: the first instances are being made.
	PhaseProvisioning DatabasePhase = "Provisioning"
	// PhaseRestoring: the Database is being filled from a backup.
	PhaseRestoring DatabasePhase = "Restoring"
	// PhaseReady: everything is as the spec says.
	PhaseReady DatabasePhase = "Ready"
	// PhaseDegraded: less is available than the spec asks for; a condition says what.
	PhaseDegraded DatabasePhase = "Degraded"
	// PhaseScaling: instances are being added or removed.
	PhaseScaling DatabasePhase = "Scaling"
	// PhaseUpgrading: the engine's version is being changed.
	PhaseUpgrading DatabasePhase = "Upgrading"
	// PhaseUpdating: settings, resources or the pod template are being changed.
	PhaseUpdating DatabasePhase = "Updating"
	// PhasePaused: spec.lifecycle.paused is true.
	PhasePaused DatabasePhase = "Paused"
	// PhaseFailed: it cannot be provisioned; a condition says why and what to do.
	PhaseFailed DatabasePhase = "Failed"
	// PhaseDeleting: the Database is being deleted.
	PhaseDeleting DatabasePhase = "Deleting"
)

// DatabaseStatus says how a Database is, as the operator last saw it.
type DatabaseStatus struct {
	// The one word for how it is: Pending, Provisioning, Restoring, Ready, Degraded, Scaling, Upgrading,
	// Updating, Paused, Failed or Deleting. Conditions say why.
	// +optional
	Phase DatabasePhase `json:"phase,omitempty"`

	// What is true of the Database, each with a reason and, when it is not as it should be, a
	// sentence that says what is wrong and what to do. True is always the good state. At most 32.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Host and port for reading and writing, as "db.namespace.svc:5432". At most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Endpoint string `json:"endpoint,omitempty"`

	// Host and port for reading only, as "db-ro.namespace.svc:5432". At most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	ReadOnlyEndpoint string `json:"readOnlyEndpoint,omitempty"`

	// Ready instances of those wanted, as "2/3". At most 16 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Ready string `json:"ready,omitempty"`

	// Number of ready instances.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`

	// Number of instances that exist.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`

	// Label selector of the pods, in the form that the scale subresource needs. At most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Selector string `json:"selector,omitempty"`

	// The spec.version that was last rolled out to every instance. Downgrades are judged against
	// it. At most 32 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	CurrentVersion string `json:"currentVersion,omitempty"`

	// The metadata.generation that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// The instance that accepts writes at this moment, absent while none is known to. At most 63
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	CurrentPrimary string `json:"currentPrimary,omitempty"`

	// The instance that accepts writes, or was the last one that did.
	// +optional
	Primary *PrimaryStatus `json:"primary,omitempty"`

	// The newest backup that succeeded.
	// +optional
	LastBackup *BackupReference `json:"lastBackup,omitempty"`

	// The newest backup that was restored and checked.
	// +optional
	LastVerifiedBackup *BackupReference `json:"lastVerifiedBackup,omitempty"`

	// The oldest time to which the Database can be restored.
	// +optional
	FirstRecoverablePoint *metav1.Time `json:"firstRecoverablePoint,omitempty"`

	// The health of the whole, in a word and a sentence.
	// +optional
	Health *HealthStatus `json:"health,omitempty"`

	// The rotation of the application account's password.
	// +optional
	RotationStatus *RotationStatus `json:"rotationStatus,omitempty"`

	// The long change that is under way, if any.
	// +optional
	Operation *OperationStatus `json:"operation,omitempty"`

	// The id of the request by annotation that was last taken up: each is taken up once. At most 64
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	LastRequest string `json:"lastRequest,omitempty"`

	// Disruptive steps that are wanted and have not begun, in order. At most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Plan []PlannedStep `json:"plan,omitempty"`

	// Name of the Secret with the application's credentials, in the form of servicebinding.io. At most
	// 253 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	CredentialsSecret string `json:"credentialsSecret,omitempty"`

	// Facts of the engine. Those that name the data (system identifier, cluster UUID) are written
	// before anything relies on them, and never change.
	// +optional
	EngineStatus *EngineStatus `json:"engineStatus,omitempty"`
}

// PrimaryStatus names the instance that accepts writes, or did last.
type PrimaryStatus struct {
	// Name of the instance and of its pod. At most 63 characters.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Number of times that the right to write was acquired; it grows with every failover.
	// +optional
	Epoch int64 `json:"epoch,omitempty"`

	// Since when this instance has been the primary.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`

	// How many bytes of its predecessor's log it lacked when it took over; absent while that is not
	// known, and after a switchover.
	// +optional
	LostBytes *int64 `json:"lostBytes,omitempty"`
}

// BackupReference names a backup.
type BackupReference struct {
	// Name of the DatabaseBackup. At most 253 characters.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// When it was completed; for a verified backup, when it was verified.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// HealthStatus is the health of the whole.
type HealthStatus struct {
	// Healthy, Degraded, Unhealthy or Unknown.
	// +kubebuilder:validation:Enum=Healthy;Degraded;Unhealthy;Unknown
	Status string `json:"status"`

	// What is wrong, in a sentence; empty when healthy. At most 1,024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// When this was last found to be different from before.
	// +optional
	LastChecked *metav1.Time `json:"lastChecked,omitempty"`
}

// RotationStatus says how the rotation of the password goes.
type RotationStatus struct {
	// Step of the rotation: Idle, Preparing, Overlap, Promoting, Draining, Revoking, RolledBack
	// or Blocked.
	// +kubebuilder:validation:Enum=Idle;Preparing;Overlap;Promoting;Draining;Revoking;RolledBack;Blocked
	Phase string `json:"phase"`

	// Identifies this rotation. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// The login that is published. At most 63 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	ActiveUser string `json:"activeUser,omitempty"`

	// When the last rotation was completed.
	// +optional
	LastRotation *metav1.Time `json:"lastRotation,omitempty"`

	// When the next rotation begins.
	// +optional
	NextRotation *metav1.Time `json:"nextRotation,omitempty"`

	// Until when the previous login is valid.
	// +optional
	PreviousValidUntil *metav1.Time `json:"previousValidUntil,omitempty"`
}

// OperationStatus is a long change with a start, steps, a deadline and an end. It holds only
// what cannot be seen again.
type OperationStatus struct {
	// Identifies the operation. At most 64 characters.
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id"`

	// What kind of change: Restart, Switchover, Failover, Upgrade, Scale, Restore or Rotation. At most
	// 32 characters.
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`

	// Step that it is at: Pending (written down, and not begun), Running, or one of its ends:
	// Succeeded, Aborted (all is as it was before) or Failed. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Phase string `json:"phase,omitempty"`

	// The instance or version that it is about. At most 253 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Target string `json:"target,omitempty"`

	// When it began.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// When it is given up.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// When it ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// How it goes, in a sentence. At most 1,024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// The phases of an OperationStatus, beside OperationRunning, OperationSucceeded and OperationFailed.
const (
	// OperationPending: the intent is written down, and nothing was done yet.
	OperationPending = "Pending"
	// OperationAborted: it was given up before anything that cannot be undone.
	OperationAborted = "Aborted"
)

// PlannedStep is a disruptive step that is wanted and has not begun.
type PlannedStep struct {
	// What will be done: RestartEngine, RestartPod, Switchover, Upgrade or Scale. At most 32
	// characters.
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`

	// The instance that it is about. At most 253 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Target string `json:"target,omitempty"`

	// Why it is wanted, in a sentence. At most 1,024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`

	// The guard that holds it back, as MaintenanceWindow or Paused; empty when it is next. At most 64
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	HeldBy string `json:"heldBy,omitempty"`

	// When it may begin at the earliest.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
}

// EngineStatus holds facts of the engine; only the field of spec.engine is set.
type EngineStatus struct {
	// Facts of a PostgreSQL.
	// +optional
	PostgreSQL *PostgreSQLStatus `json:"postgresql,omitempty"`

	// Facts of a Redis.
	// +optional
	Redis *RedisStatus `json:"redis,omitempty"`
}

// PostgreSQLStatus holds facts of a PostgreSQL.
type PostgreSQLStatus struct {
	// The system identifier of the data, from pg_control. Once recorded, nothing is ever
	// initialised again, and only data with this identifier is run. At most 20 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=20
	SystemID string `json:"systemID,omitempty"`
}

// RedisStatus holds facts of a Redis.
type RedisStatus struct {
	// The identity of the data, which was made with it. Once recorded, nothing is ever initialised
	// again, and only data with this identity is run. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SystemID string `json:"systemID,omitempty"`
}
