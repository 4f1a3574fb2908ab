package resources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// StatefulSet runs one group. Pods are all made at once and replaced only when the planner
// deletes them (OnDelete): the order of a rollout is the planner's. live is the StatefulSet as it
// is, nil when there is none: its claim templates cannot change, and stay.
func StatefulSet(db *dbv1.Database, shape Shape, group Group, agentImage string, live *appsv1.StatefulSet) *appsv1ac.StatefulSetApplyConfiguration {
	template := podTemplate(db, shape, group.Name, agentImage)
	spec := appsv1ac.StatefulSetSpec().
		WithReplicas(group.Replicas).
		WithServiceName(naming.HeadlessService(db.Name)).
		WithPodManagementPolicy(appsv1.ParallelPodManagement).
		WithUpdateStrategy(appsv1ac.StatefulSetUpdateStrategy().WithType(appsv1.OnDeleteStatefulSetStrategyType)).
		WithRevisionHistoryLimit(2).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(db, group.Name))).
		WithTemplate(template)
	switch {
	case live != nil:
		for i := range live.Spec.VolumeClaimTemplates {
			spec.WithVolumeClaimTemplates(convert[corev1ac.PersistentVolumeClaimApplyConfiguration](live.Spec.VolumeClaimTemplates[i]))
		}
	case dbv1.StorageSize(db) != nil:
		spec.WithVolumeClaimTemplates(claimTemplate(db, shape, group.Name))
	}
	return appsv1ac.StatefulSet(group.Name, db.Namespace).
		WithLabels(PodLabels(db, group.Name)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
		WithSpec(spec)
}

// claimTemplate carries the identity of the Database in annotations: the claim outlives it.
func claimTemplate(db *dbv1.Database, shape Shape, group string) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	facts := merged(shape.Recorded, madeFor(db))
	storage, size := db.Spec.Storage, shape.VolumeSize
	if size == nil {
		size = storage.Size
	}
	spec := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).
		WithVolumeMode(corev1.PersistentVolumeFilesystem).
		WithResources(corev1ac.VolumeResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceStorage: *size}))
	if storage.StorageClassName != nil {
		spec.WithStorageClassName(*storage.StorageClassName)
	}
	claim := corev1ac.PersistentVolumeClaim(naming.ClaimTemplate, "").
		WithLabels(PodLabels(db, group)).WithAnnotations(facts).WithSpec(spec)
	claim.Namespace = nil
	return claim
}

// podTemplate is the pod of one instance. It is hashed twice: whole, and by the spec's fields
// that shape it.
func podTemplate(db *dbv1.Database, shape Shape, group, agentImage string) *corev1ac.PodTemplateSpecApplyConfiguration {
	spec := podSpec(db, shape, group, agentImage)
	labels, annotations := PodLabels(db, group), madeFor(db)
	if extra := db.Spec.PodMetadata; extra != nil {
		for k, v := range extra.Labels {
			if _, ours := labels[k]; !ours {
				labels[k] = string(v)
			}
		}
		for k, v := range extra.Annotations {
			annotations[k] = string(v)
		}
	}
	template := corev1ac.PodTemplateSpec().WithLabels(labels).WithAnnotations(annotations).WithSpec(spec)
	return template.WithAnnotations(map[string]string{
		naming.AnnotationTemplateHash: Hash(template),
		naming.AnnotationSpecHash:     specHash(db, shape),
	})
}

// Hashes identify a pod template: whole, and by the spec's fields that shape it.
type Hashes struct {
	Template string
	Spec     string
}

// PodHashes are those of the template that StatefulSet renders for a group.
func PodHashes(db *dbv1.Database, shape Shape, group Group, agentImage string) Hashes {
	annotations := podTemplate(db, shape, group.Name, agentImage).Annotations
	return Hashes{Template: annotations[naming.AnnotationTemplateHash], Spec: annotations[naming.AnnotationSpecHash]}
}

// Hash identifies a value by its JSON form, which sorts maps.
func Hash(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		// Only types that JSON cannot hold fail here, and builders make none.
		return "unhashable"
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// specHash identifies what the user said that pods are made from. What an operator release
// changes by itself does not enter.
func specHash(db *dbv1.Database, shape Shape) string {
	return Hash([]any{
		shape.Image, shape.ClientPort, dbv1.Resources(db), dbv1.AntiAffinity(db),
		db.Spec.Scheduling, db.Spec.PodMetadata, dbv1.Logging(db),
	})
}

func podSpec(db *dbv1.Database, shape Shape, group, agentImage string) *corev1ac.PodSpecApplyConfiguration {
	spec := corev1ac.PodSpec().
		WithServiceAccountName(naming.Agent(db.Name)).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(int64(shape.GracePeriod.Seconds())).
		WithSecurityContext(podSecurityContext(db, shape.User)).
		WithInitContainers(installContainer(agentImage)).
		WithContainers(databaseContainer(db, shape)).
		WithVolumes(volumes(db, shape)...)
	schedule(spec, db, group)
	return spec
}

// installContainer copies the agent next to the stock image.
func installContainer(agentImage string) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().
		WithName(naming.ContainerInstall).WithImage(agentImage).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand(naming.PathAgentInImage, "install", naming.PathAgent).
		WithSecurityContext(restricted()).
		WithResources(corev1ac.ResourceRequirements().
			WithRequests(quantities("10m", "32Mi")).WithLimits(memoryOnly("64Mi"))).
		WithVolumeMounts(mount("agent", naming.PathAgent))
}

func databaseContainer(db *dbv1.Database, shape Shape) *corev1ac.ContainerApplyConfiguration {
	resources := dbv1.Resources(db)
	ports := []*corev1ac.ContainerPortApplyConfiguration{
		containerPort(naming.PortNameDatabase, shape.ClientPort), containerPort(naming.PortNameAgent, naming.PortAgent),
	}
	mounts := []*corev1ac.VolumeMountApplyConfiguration{
		mount("agent", naming.PathAgent).WithReadOnly(true),
		mount("config", naming.PathConfig).WithReadOnly(true),
		mount(naming.ClaimTemplate, naming.PathVolume),
		mount("run", naming.PathRun), mount("tmp", "/tmp"), mount("shm", "/dev/shm"),
	}
	if shape.Elects {
		ports = append(ports, containerPort(naming.PortNamePeers, naming.PortPeers))
		mounts = append(mounts,
			mount("agent-tls", naming.PathAgentTLS).WithReadOnly(true), mount("replication", naming.PathReplication).WithReadOnly(true))
	}
	return corev1ac.Container().
		WithName(naming.ContainerDatabase).WithImage(shape.Image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand(naming.PathAgent+"/database-agent", "run").
		WithArgs(agentArgs(db, shape)...).
		WithEnv(fieldEnv("POD_NAME", "metadata.name"), fieldEnv("POD_NAMESPACE", "metadata.namespace"), fieldEnv("POD_UID", "metadata.uid")).
		WithPorts(ports...).
		WithSecurityContext(restricted()).
		WithResources(corev1ac.ResourceRequirements().WithRequests(resources.Requests).WithLimits(resources.Limits)).
		WithVolumeMounts(mounts...).
		WithStartupProbe(probe("/startupz", 1, 60)).
		WithLivenessProbe(probe("/livez", 10, 6)).
		WithReadinessProbe(probe("/readyz", 2, 2))
}

// agentArgs tell the agent who it is. Kubernetes expands $(NAME).
func agentArgs(db *dbv1.Database, shape Shape) []string {
	logging := dbv1.Logging(db)
	return []string{
		"--engine=" + string(db.Spec.Engine),
		"--database=" + db.Name,
		"--instance=$(POD_NAME)",
		"--namespace=$(POD_NAMESPACE)",
		"--pod-uid=$(POD_UID)",
		"--port=" + strconv.Itoa(int(shape.ClientPort)),
		"--data-dir=" + naming.PathVolume,
		"--config-dir=" + naming.PathConfig,
		"--run-dir=" + naming.PathRun,
		"--grace-period=" + shape.GracePeriod.String(),
		"--listen=:" + strconv.Itoa(naming.PortAgent),
		"--log-level=" + logging.Level,
		"--log-format=" + logging.Format,
	}
}
