package resources

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// ReplicationPasswordKey is the key of the master copy of accounts that pods mount.
const ReplicationPasswordKey = "replication.password"

// restricted is what the Pod Security Standard "restricted" asks of a container, and a read-only
// root file system.
func restricted() *corev1ac.SecurityContextApplyConfiguration {
	return corev1ac.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
}

// podSecurityContext is non-root with the engine's own user, overridden field by field by what
// the user said.
func podSecurityContext(db *dbv1.Database, user int64) *corev1ac.PodSecurityContextApplyConfiguration {
	context := corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: new(user), RunAsGroup: new(user), FSGroup: new(user),
		FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if s := db.Spec.Scheduling; s != nil && s.PodSecurityContext != nil {
		overlay(s.PodSecurityContext, &context)
	}
	return convert[corev1ac.PodSecurityContextApplyConfiguration](context)
}

func mount(volume, path string) *corev1ac.VolumeMountApplyConfiguration {
	return corev1ac.VolumeMount().WithName(volume).WithMountPath(path)
}

func containerPort(name string, port int32) *corev1ac.ContainerPortApplyConfiguration {
	return corev1ac.ContainerPort().WithName(name).WithContainerPort(port).WithProtocol(corev1.ProtocolTCP)
}

func fieldEnv(name, path string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).WithValueFrom(
		corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(path)))
}

// probe asks the agent, which answers from memory: a short timeout costs nothing.
func probe(path string, period, failures int32) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(naming.PortNameAgent)).WithScheme(corev1.URISchemeHTTP)).
		WithPeriodSeconds(period).WithTimeoutSeconds(5).WithFailureThreshold(failures).WithSuccessThreshold(1)
}

func volumes(db *dbv1.Database, shape Shape) []*corev1ac.VolumeApplyConfiguration {
	// The files are named one by one: what somebody adds to the ConfigMap is not mounted.
	config := corev1ac.ConfigMapVolumeSource().WithName(naming.Config(db.Name)).WithDefaultMode(0o440)
	for _, file := range slices.Sorted(maps.Keys(shape.Config)) {
		config.WithItems(corev1ac.KeyToPath().WithKey(file).WithPath(file))
	}
	all := []*corev1ac.VolumeApplyConfiguration{
		emptyDir("agent"), emptyDir("run"), emptyDir("tmp"),
		corev1ac.Volume().WithName("shm").WithEmptyDir(corev1ac.EmptyDirVolumeSource().WithMedium(corev1.StorageMediumMemory)),
		corev1ac.Volume().WithName("config").WithConfigMap(config),
	}
	if shape.Elects {
		all = append(all, secretFiles("agent-tls", naming.AgentTLS(db.Name), map[string]string{"tls.crt": "tls.crt", "tls.key": "tls.key", "ca.crt": "ca.crt"}),
			secretFiles("replication", naming.Accounts(db.Name), map[string]string{ReplicationPasswordKey: naming.KeyReplication}))
	}
	if db.Spec.Storage == nil || db.Spec.Storage.Size == nil {
		all = append(all, emptyDir(naming.ClaimTemplate))
	}
	return all
}

// secretFiles has keys of a Secret as files. A pod starts without them, too, and sees them when they
// come: that somebody deleted a Secret must not keep a database down while the operator is away.
func secretFiles(volume, secret string, files map[string]string) *corev1ac.VolumeApplyConfiguration {
	source := corev1ac.SecretVolumeSource().WithSecretName(secret).WithDefaultMode(0o440).WithOptional(true)
	for _, key := range slices.Sorted(maps.Keys(files)) {
		source.WithItems(corev1ac.KeyToPath().WithKey(key).WithPath(files[key]))
	}
	return corev1ac.Volume().WithName(volume).WithSecret(source)
}

// schedule says where the pod may run.
func schedule(spec *corev1ac.PodSpecApplyConfiguration, db *dbv1.Database, group string) {
	var user dbv1.SchedulingSpec
	if db.Spec.Scheduling != nil {
		user = *db.Spec.Scheduling
	}
	spec.WithNodeSelector(user.NodeSelector)
	for i := range user.Tolerations {
		spec.WithTolerations(convert[corev1ac.TolerationApplyConfiguration](user.Tolerations[i]))
	}
	for i := range user.TopologySpreadConstraints {
		spec.WithTopologySpreadConstraints(convert[corev1ac.TopologySpreadConstraintApplyConfiguration](user.TopologySpreadConstraints[i]))
	}
	if user.PriorityClassName != "" {
		spec.WithPriorityClassName(user.PriorityClassName)
	}
	affinity := corev1.Affinity{}
	if user.Affinity != nil {
		affinity = *user.Affinity.DeepCopy()
	}
	spread(&affinity, db, group)
	if affinity != (corev1.Affinity{}) {
		spec.WithAffinity(convert[corev1ac.AffinityApplyConfiguration](affinity))
	}
}

// spread keeps instances of a group on different nodes, and prefers different zones. Only nodes
// can be required: a cluster of one zone is common.
func spread(affinity *corev1.Affinity, db *dbv1.Database, group string) {
	want := dbv1.AntiAffinity(db)
	if want == dbv1.AntiAffinityNone {
		return
	}
	if affinity.PodAntiAffinity == nil {
		affinity.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	anti := affinity.PodAntiAffinity
	term := func(key string) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: Selector(db, group)}}
	}
	prefer := func(weight int32, key string) {
		anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: weight, PodAffinityTerm: term(key)})
	}
	prefer(50, corev1.LabelTopologyZone)
	if want == dbv1.AntiAffinityRequired {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution, term(corev1.LabelHostname))
		return
	}
	prefer(100, corev1.LabelHostname)
}

func quantities(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func memoryOnly(memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
}
