package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// InstanceReplication says how the instances of an engine without consensus of its own agree on the
// primary: through a Lease that their agents hold. One instance holds it, too.
type InstanceReplication struct {
	// Name of the Lease, in the instance's namespace. At most 63 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	LeaseName string `json:"leaseName"`

	// How many other instances must have flushed a transaction before its client is told that it
	// committed. 0 is asynchronous. At most 8.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=8
	SynchronousReplicas int32 `json:"synchronousReplicas,omitempty"`

	// How far a replica may be behind and still be ready, in bytes. At least 1.
	// +kubebuilder:validation:Minimum=1
	MaxLag int64 `json:"maxLag"`

	// For how long a primary holds the Lease without renewing it, as "15s".
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,9})?(us|ms|s|m|h)){1,4}$`
	LeaseDuration metav1.Duration `json:"leaseDuration"`

	// After how long without a renewal a primary stops itself, as "10s".
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,9})?(us|ms|s|m|h)){1,4}$`
	RenewDeadline metav1.Duration `json:"renewDeadline"`

	// How often a primary renews the Lease, as "5s".
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,9})?(us|ms|s|m|h)){1,4}$`
	RenewPeriod metav1.Duration `json:"renewPeriod"`

	// How soon a failed renewal is tried again, as "1s".
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,9})?(us|ms|s|m|h)){1,4}$`
	RetryPeriod metav1.Duration `json:"retryPeriod"`
}

// InstanceReplicationStatus says where an instance stands in replication. Its flags are always written: an
// object that loses its last field by an apply would become null, which its schema refuses.
type InstanceReplicationStatus struct {
	// Name of the instance that is followed; empty on a primary, and while there is no source. At most
	// 63 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Source string `json:"source,omitempty"`

	// Whether the source answers, and sends what is new as it comes. Always written: an apply that
	// leaves an object without fields is refused.
	// +optional
	Streaming bool `json:"streaming"`

	// Whether commits of the source wait for this instance: it is one of the names that the
	// primary waits for. On a primary, whether it has as many such names streaming as it waits for.
	// +optional
	Synchronous bool `json:"synchronous"`

	// On a primary that took over without waiting for its predecessor: how many bytes of the
	// predecessor's log it lacked. Absent while that is not known. At least 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	LostBytes *int64 `json:"lostBytes,omitempty"`
}

// What the operator asks agents to do.
const (
	// OperationRestart asks the agent to restart the engine in place.
	OperationRestart = "Restart"
	// OperationSwitchover asks the primary to hand over to its target, or to the best replica when
	// no target is named. It ends well when another instance is the primary, and fails, with the
	// primary as it was, when that was not possible in time.
	OperationSwitchover = "Switchover"
	// OperationFailover asks its target, which is the instance itself, to become the primary although
	// too few of the recorded candidates answer. It accepts the loss of what only they have.
	OperationFailover = "Failover"
)
