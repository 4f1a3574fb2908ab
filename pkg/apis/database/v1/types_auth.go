package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AuthSpec describes the application account.
type AuthSpec struct {
	// Name of the application account. Default: app; at most 63 characters: a letter or _, then
	// letters, digits, _ or -. Names of the engine's own accounts are refused.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_-]*$`
	Username string `json:"username,omitempty"`

	// Name of the database that the account owns. Default: the account's name; at most 63
	// characters: a letter or _, then letters, digits, _ or -. Redis and Elasticsearch ignore it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_-]*$`
	Database string `json:"database,omitempty"`

	// Publication of the credentials in Consul KV. Default: none.
	// +optional
	Consul *ConsulSpec `json:"consul,omitempty"`

	// Regular change of the application account's password. Default: none.
	// +optional
	RotationPolicy *RotationPolicy `json:"rotationPolicy,omitempty"`
}

// ConsulSpec says where in Consul KV the credentials are published.
type ConsulSpec struct {
	// Whether credentials are published in Consul. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// Address of Consul, as "consul.example.com:8500" or with a scheme. Default: the operator's
	// --consul-address; at most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`

	// Scheme of the address: http or https. Default: the one in the address, else http.
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme string `json:"scheme,omitempty"`

	// Key of the credential document; it must be below a prefix that the operator allows to this
	// namespace. Default: database/credentials/<namespace>/<name>; at most 512 characters, without a leading or trailing slash.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`

	// Consul datacenter. Default: the agent's own; at most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Datacenter string `json:"datacenter,omitempty"`

	// The Secret's key that holds the ACL token. Default: the anonymous token.
	// +optional
	TokenSecretRef *SecretKeyReference `json:"tokenSecretRef,omitempty"`

	// The Secret's key that holds the PEM certificates of the authority that signed Consul's
	// certificate. Default: the system's authorities.
	// +optional
	CASecretRef *SecretKeyReference `json:"caSecretRef,omitempty"`
}

// RotationStrategy names a way to change a password.
//
// +kubebuilder:validation:Enum=TwoPhase
type RotationStrategy string

// RotationTwoPhase creates the new login beside the old one, publishes it, and revokes the old
// one after a grace period: no client is ever locked out.
const RotationTwoPhase RotationStrategy = "TwoPhase"

// RotationPolicy says when and how the application account's password is changed.
type RotationPolicy struct {
	// Whether the password is changed on schedule. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// When a rotation begins: a cron expression of five fields ("0 3 1 * *") or a macro
	// ("@monthly"). Required when enabled; at most 128 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Schedule string `json:"schedule,omitempty"`

	// Time zone of the schedule, an IANA name. Default: UTC; at most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// How the password is changed: TwoPhase. Default: TwoPhase.
	// +optional
	// +kubebuilder:default=TwoPhase
	Strategy RotationStrategy `json:"strategy,omitempty"`

	// For how long the old login stays valid after the new one is published, as "1h". Default:
	// 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`

	// For how long revocation waits for sessions that still use the old login, after
	// gracePeriod, as "24h". Default: 24h.
	// +optional
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	MaxDrain *metav1.Duration `json:"maxDrain,omitempty"`
}
