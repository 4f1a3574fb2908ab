package v1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DatabaseBackup is one backup of a Database, on demand or scheduled; together they are the
// catalogue. Deleting one deletes what it stored. Not in this release: nobody takes backups yet.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=databasebackups,shortName=dbb,categories=dbs
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Database",type=string,JSONPath=`.spec.databaseName`
// +kubebuilder:printcolumn:name="Method",type=string,JSONPath=`.spec.method`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.storedSize`
// +kubebuilder:printcolumn:name="Completed",type=date,JSONPath=`.status.completionTime`
// +kubebuilder:printcolumn:name="Location",type=string,JSONPath=`.status.location`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DatabaseBackup struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Which database, and how.
	// +required
	Spec DatabaseBackupSpec `json:"spec"`

	// How the backup went.
	// +optional
	Status DatabaseBackupStatus `json:"status,omitempty"`
}

// DatabaseBackupList is a list of DatabaseBackups.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type DatabaseBackupList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// The backups.
	Items []DatabaseBackup `json:"items"`
}

// DatabaseBackupSpec says which database is backed up, and how.
//
// +kubebuilder:validation:XValidation:rule="has(self.method) == has(oldSelf.method) && (!has(self.method) || self.method == oldSelf.method)",message="spec.method cannot be changed, because the backup was taken that way; make a new DatabaseBackup"
type DatabaseBackupSpec struct {
	// Name of the Database, in the same namespace. Required; at most 40 characters. It cannot be changed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.databaseName cannot be changed, because the backup was taken of that Database; make a new DatabaseBackup"
	DatabaseName string `json:"databaseName"`

	// How the backup is taken: Snapshot, Dump, WAL or Incremental. Default: the Database's
	// spec.backup.method. It cannot be changed.
	// +optional
	Method BackupMethod `json:"method,omitempty"`

	// Whether the backup is kept past the Database's retention. Default: false.
	// +optional
	Retain bool `json:"retain,omitempty"`
}

// BackupPhase is the one word for how a backup is.
//
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Deleting
type BackupPhase string

// The phases of a DatabaseBackup.
const (
	BackupPending   BackupPhase = "Pending"
	BackupRunning   BackupPhase = "Running"
	BackupSucceeded BackupPhase = "Succeeded"
	BackupFailed    BackupPhase = "Failed"
	BackupDeleting  BackupPhase = "Deleting"
)

// DatabaseBackupStatus says how a backup went.
type DatabaseBackupStatus struct {
	// The one word for how it is: Pending, Running, Succeeded, Failed or Deleting.
	// +optional
	Phase BackupPhase `json:"phase,omitempty"`

	// When it began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// When it ended, well or not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// Size of the data that was backed up, in bytes.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`

	// Size of what was stored, compressed, in bytes.
	// +optional
	StoredSize *resource.Quantity `json:"storedSize,omitempty"`

	// Where it is stored, as a URL without credentials. At most 1,024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Location string `json:"location,omitempty"`

	// Version of the engine that was backed up. At most 32 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	EngineVersion string `json:"engineVersion,omitempty"`

	// Position of the engine's log where the backup begins. At most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	BeginPosition string `json:"beginPosition,omitempty"`

	// Position of the engine's log from which the backup is consistent. At most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	EndPosition string `json:"endPosition,omitempty"`

	// The oldest time to which it can be restored.
	// +optional
	RecoverableFrom *metav1.Time `json:"recoverableFrom,omitempty"`

	// The newest time to which it can be restored.
	// +optional
	RecoverableTo *metav1.Time `json:"recoverableTo,omitempty"`

	// The last proof that it can be restored.
	// +optional
	Verified *BackupVerificationResult `json:"verified,omitempty"`

	// What went wrong, or what is under way, in a sentence. At most 4,096 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`

	// What is true of the backup, each with a reason and a sentence. At most 16.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// The metadata.generation that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// BackupVerificationResult is the outcome of restoring a backup to a throw-away pod.
type BackupVerificationResult struct {
	// When it was checked.
	Time metav1.Time `json:"time"`

	// Passed or Failed.
	// +kubebuilder:validation:Enum=Passed;Failed
	Result string `json:"result"`
}
