package v1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// StorageSpec describes the volume of each instance.
//
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="spec.storage.storageClassName cannot be changed, because a volume cannot move to another class; back up, and restore into a new Database"
// +kubebuilder:validation:XValidation:rule="!has(self.size) || (type(self.size) == int ? self.size > 0 : self.size.matches('^[+]?[0-9.]*[1-9]'))",message=`spec.storage.size must be greater than zero, because data needs room; set it, as "10Gi"`
type StorageSpec struct {
	// Name of the StorageClass. Default: the cluster's default class. It cannot be changed: back
	// up, and restore into a new Database. At most 253 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`

	// Size of the volume of each instance, as "10Gi". Greater than zero. It can grow where the
	// class allows expansion; it never shrinks. Required with spec.storage.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`

	// Whether the class supports CSI snapshots, for backups. Default: false.
	// +optional
	Snapshots bool `json:"snapshots,omitempty"`

	// Grow the volumes before they fill. Default: off.
	// +optional
	AutoGrow *AutoGrowSpec `json:"autoGrow,omitempty"`
}

// AutoGrowSpec says when, by how much and up to what size volumes grow by themselves.
//
// +kubebuilder:validation:XValidation:rule="!has(self.step) || (type(self.step) == int ? self.step > 0 : self.step.matches('^[+]?[0-9.]*[1-9]'))",message=`spec.storage.autoGrow.step must be greater than zero, because growing by nothing never ends; set it, as "5Gi", or leave it out for a tenth of the size`
// +kubebuilder:validation:XValidation:rule="!has(self.maxSize) || (type(self.maxSize) == int ? self.maxSize > 0 : self.maxSize.matches('^[+]?[0-9.]*[1-9]'))",message=`spec.storage.autoGrow.maxSize must be greater than zero; set it, as "100Gi", or leave it out for twice the size`
type AutoGrowSpec struct {
	// Whether volumes grow by themselves. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// Used part of the volume, in percent, from which it grows. Default: 80; 10 to 95.
	// +optional
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=95
	ThresholdPercent int32 `json:"thresholdPercent,omitempty"`

	// How much is added at a time, as "5Gi". Greater than zero. Default: a tenth of the
	// current size, at least 1Gi.
	// +optional
	Step *resource.Quantity `json:"step,omitempty"`

	// The size that growing never exceeds, as "100Gi". Greater than zero. Default: twice
	// storage.size.
	// +optional
	MaxSize *resource.Quantity `json:"maxSize,omitempty"`
}

// NetworkingSpec says how clients reach the database.
//
// +kubebuilder:validation:XValidation:rule="!has(self.port) || (self.port >= 1024 && self.port <= 65535)",message="spec.networking.port must be between 1024 and 65535, because the engine does not run as root, and listens on none of the others; choose one there, or leave it out for the engine's own"
// +kubebuilder:validation:XValidation:rule="!has(self.port) || !(self.port in [8008, 8009])",message="spec.networking.port must not be 8008 or 8009, because the agent listens there; choose another, or leave it out for the engine's own"
// +kubebuilder:validation:XValidation:rule="!has(self.annotations) || self.annotations.all(k, !k.startsWith('db.platform.io/'))",message="spec.networking.annotations must not begin with db.platform.io/, because the operator reads those as its own; choose another prefix"
type NetworkingSpec struct {
	// Type of the client Services: ClusterIP, NodePort or LoadBalancer. Default: ClusterIP.
	// +optional
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	ServiceType corev1.ServiceType `json:"serviceType,omitempty"`

	// Port that clients connect to. Default: the engine's own (PostgreSQL 5432, MongoDB 27017, Redis 6379,
	// Elasticsearch 9200, SQLite 8080); 1024 to 65535, and not one of the agent's (8008, 8009).
	// +optional
	Port int32 `json:"port,omitempty"`

	// Encryption of client connections. Default: off. Not in this release: connections are not
	// encrypted, and condition TLSReady says so.
	// +optional
	TLS *TLSSpec `json:"tls,omitempty"`

	// Annotations of the client Services, as cloud load balancers read them. Default: none; at
	// most 64.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// TLSSpec says where the server certificate comes from.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.certManager) && self.certManager && has(self.secretName) && size(self.secretName) > 0)",message="spec.networking.tls.secretName must not be set with certManager: true, because cert-manager makes that Secret; keep one of the two"
// +kubebuilder:validation:XValidation:rule="!has(self.enabled) || !self.enabled || (has(self.certManager) && self.certManager) || (has(self.secretName) && size(self.secretName) > 0)",message="spec.networking.tls needs a certificate when enabled; set certManager: true, or secretName to a Secret of type kubernetes.io/tls"
// +kubebuilder:validation:XValidation:rule="!has(self.issuerRef) || (has(self.certManager) && self.certManager)",message="spec.networking.tls.issuerRef is for cert-manager alone; set certManager: true, or remove issuerRef"
type TLSSpec struct {
	// Whether clients may (and, with an engine that can enforce it, must) use TLS. Default: false.
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// Let cert-manager issue and renew the certificate. Default: false. Without issuerRef the
	// operator makes a self-signed Issuer called <database>-ca.
	// +optional
	CertManager bool `json:"certManager,omitempty"`

	// The cert-manager issuer to use. Default: one that the operator makes. Only with
	// certManager: true.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`

	// Name of a Secret of type kubernetes.io/tls that the user provides, in the same namespace. Renewals
	// are picked up without a restart. Default: none; at most 253 characters. Not together with
	// certManager: true.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
}

// IssuerReference names a cert-manager issuer.
type IssuerReference struct {
	// Name of the issuer. Required; at most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Kind of the issuer: Issuer or ClusterIssuer. Default: Issuer.
	// +optional
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:Enum=Issuer;ClusterIssuer
	Kind string `json:"kind,omitempty"`

	// API group of the issuer. Default: cert-manager.io. At most 253 characters.
	// +optional
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// SecretReference names a Secret in the same namespace.
type SecretReference struct {
	// Name of the Secret, in the namespace of this object. Required; at most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SecretKeyReference names one key of a Secret in the same namespace.
type SecretKeyReference struct {
	// Name of the Secret, in the namespace of this object. Required; at most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Key in the Secret. Required; at most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// SchedulingSpec says where pods may run.
type SchedulingSpec struct {
	// Labels that a node must have. Default: none; at most 64.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Taints that the pods tolerate. Default: none; at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Affinity of the pods, added to the anti-affinity that topology.antiAffinity gives. Default:
	// none.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// How pods spread over zones, nodes or other domains. Default: none; at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// Name of the PriorityClass of the pods. Default: the cluster's default; at most 253
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// Overrides of the pod security context, field by field. Default: non-root with the engine's
	// own user and group (999; Elasticsearch 1000), seccomp RuntimeDefault.
	// +optional
	PodSecurityContext *corev1.PodSecurityContext `json:"podSecurityContext,omitempty"`
}

// PodMetadata is what users add to the metadata of every pod.
//
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('db.platform.io/') && !k.startsWith('statefulset.kubernetes.io/') && !k.startsWith('apps.kubernetes.io/'))",message="spec.podMetadata.labels must not begin with app.kubernetes.io/, db.platform.io/, apps.kubernetes.io/ or statefulset.kubernetes.io/, because pods are found by those; choose another prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.annotations) || self.annotations.all(k, !k.startsWith('db.platform.io/'))",message="spec.podMetadata.annotations must not begin with db.platform.io/, because the operator reads those as its own; choose another prefix"
type PodMetadata struct {
	// Labels added to every pod. Those of the operator (app.kubernetes.io/*, db.platform.io/*) are
	// refused. Default: none; at most 64.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// Annotations added to every pod. Those of the operator (db.platform.io/*) are refused. Default: none;
	// at most 64, of 4,096 characters each.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`
}

// LabelValue is the value of a label: at most 63 characters.
//
// +kubebuilder:validation:XValidation:rule="self.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",message="a value of spec.podMetadata.labels must be letters, digits, -, _ and ., with a letter or digit at both ends, because no pod could have another label; put other text into spec.podMetadata.annotations"
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// AnnotationValue is the value of an annotation: at most 4,096 characters.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string
