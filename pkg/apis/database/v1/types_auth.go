package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AuthSpec describes the application account.
//
// +kubebuilder:validation:XValidation:rule="!has(self.username) || self.username.matches('^[A-Za-z_][A-Za-z0-9_-]*$')",message="spec.auth.username must be a letter or _, then letters, digits, _ or -, because it stands in URIs and files unquoted; write it as order_service, or leave it out for app"
// +kubebuilder:validation:XValidation:rule="!has(self.database) || self.database.matches('^[A-Za-z_][A-Za-z0-9_-]*$')",message="spec.auth.database must be a letter or _, then letters, digits, _ or -, because it stands in the URI that clients get; write it as orders, or leave it out for the account's name"
type AuthSpec struct {
	// Name of the application account. Default: app; at most 61 characters (a rotation adds two): a letter
	// or _, then letters, digits, _ or -. Names of the engine's own accounts are refused. It cannot be
	// changed, and must be that of Secret <name>-credentials when the Secret was there before.
	// +optional
	// +kubebuilder:validation:MaxLength=61
	Username string `json:"username,omitempty"`

	// Name of the database that the account owns. Default: the account's name; at most 63
	// characters: a letter or _, then letters, digits, _ or -. It cannot be changed. Redis and
	// Elasticsearch ignore it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Database string `json:"database,omitempty"`

	// Publication of the credentials in Consul KV. Default: none. Not in this release: they are in their
	// Secret alone, and condition ConsulSynced says so.
	// +optional
	Consul *ConsulSpec `json:"consul,omitempty"`

	// Regular change of the application account's password. Default: none. Not in this release: the
	// password stays, and condition RotationReady says so.
	// +optional
	RotationPolicy *RotationPolicy `json:"rotationPolicy,omitempty"`
}

// ConsulSpec says where in Consul KV the credentials are published.
//
// +kubebuilder:validation:XValidation:rule="!has(self.path) || size(self.path) == 0 || (self.path.matches('^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$') && !self.path.matches('(^|/)[.]{1,2}(/|$)'))",message="spec.auth.consul.path must be a Consul key (letters, digits, _, . and -, with single slashes between them, none at the ends, and no . or .. alone); write it as database/credentials/my-database"
// +kubebuilder:validation:XValidation:rule="!has(self.address) || size(self.address) == 0 || self.address.matches('^(https?://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?$')",message=`spec.auth.consul.address must be a host with an optional scheme and port, as "consul.example.com:8500" or "https://consul.example.com"; put the key into spec.auth.consul.path`
// +kubebuilder:validation:XValidation:rule="!has(self.scheme) || !has(self.address) || !self.address.startsWith('http') || !self.address.contains('://') || self.address.startsWith(self.scheme + '://')",message="spec.auth.consul.scheme must be that of spec.auth.consul.address when both have one, because only one can be used; keep one of the two"
type ConsulSpec struct {
	// Whether credentials are published in Consul. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// Address of Consul, as "consul.example.com:8500" or with a scheme. Default: none; at most 512
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`

	// Scheme of the address: http or https. Default: the one in the address, else http.
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme string `json:"scheme,omitempty"`

	// Key of the credential document; it must be below a prefix that the operator allows to this
	// namespace. Default: database/credentials/<namespace>/<name>; at most 512 characters, without a
	// leading or trailing slash.
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
//
// +kubebuilder:validation:XValidation:rule="!has(self.enabled) || !self.enabled || (has(self.schedule) && size(self.schedule) > 0)",message=`spec.auth.rotationPolicy.schedule is required when rotation is enabled, because nothing else says when the password changes; set it, as "0 3 1 * *" for every month`
// +kubebuilder:validation:XValidation:rule="(!has(self.gracePeriod) || duration(self.gracePeriod) <= duration('720h')) && (!has(self.maxDrain) || duration(self.maxDrain) <= duration('720h'))",message="spec.auth.rotationPolicy.gracePeriod and maxDrain must be at most 720h, because an old password must end; shorten the longer one"
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
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`

	// For how long revocation waits for sessions that still use the old login, after
	// gracePeriod, as "24h". Default: 24h.
	// +optional
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=44
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h)){1,4}$`
	MaxDrain *metav1.Duration `json:"maxDrain,omitempty"`
}
