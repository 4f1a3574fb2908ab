package resources

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// ConfigMap has the engine's configuration files.
func ConfigMap(db *dbv1.Database, shape Shape) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(naming.Config(db.Name), db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
		WithData(shape.Config)
}

// PrimaryService leads to the instance that accepts writes.
func PrimaryService(db *dbv1.Database, shape Shape) *corev1ac.ServiceApplyConfiguration {
	return clientService(db, shape, naming.Service(db.Name), merged(naming.SelectorLabels(db.Name),
		map[string]string{naming.LabelRole: string(dbv1.RolePrimary)}))
}

// ReadOnlyService leads to the replicas, or to every instance while there is only one: reads
// then still have an address.
func ReadOnlyService(db *dbv1.Database, shape Shape) *corev1ac.ServiceApplyConfiguration {
	pods := naming.SelectorLabels(db.Name)
	if len(shape.InstanceNames()) > 1 {
		pods[naming.LabelRole] = string(dbv1.RoleReplica)
	}
	return clientService(db, shape, naming.ReadOnlyService(db.Name), pods)
}

func clientService(db *dbv1.Database, shape Shape, name string, pods map[string]string) *corev1ac.ServiceApplyConfiguration {
	serviceType := corev1.ServiceTypeClusterIP
	var annotations map[string]string
	if n := db.Spec.Networking; n != nil {
		annotations = n.Annotations
		if n.ServiceType != "" {
			serviceType = n.ServiceType
		}
	}
	return corev1ac.Service(name, db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(merged(annotations, madeFor(db))).WithOwnerReferences(ownerReference(db)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(serviceType).WithSelector(pods).
			WithPorts(servicePort(naming.PortNameDatabase, shape.ClientPort)))
}

// HeadlessService gives every instance a stable DNS name, ready or not: instances must find each
// other before they are ready.
func HeadlessService(db *dbv1.Database, shape Shape) *corev1ac.ServiceApplyConfiguration {
	spec := corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).WithClusterIP(corev1.ClusterIPNone).
		WithPublishNotReadyAddresses(true).WithSelector(naming.SelectorLabels(db.Name)).
		WithPorts(servicePort(naming.PortNameDatabase, shape.ClientPort), servicePort(naming.PortNameAgent, naming.PortAgent))
	if shape.Elects {
		spec.WithPorts(servicePort(naming.PortNamePeers, naming.PortPeers))
	}
	return corev1ac.Service(naming.HeadlessService(db.Name), db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).WithSpec(spec)
}

// servicePort targets the pod's port by name, so that a changed number needs no second Service.
func servicePort(name string, port int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().WithName(name).WithPort(port).
		WithProtocol(corev1.ProtocolTCP).WithTargetPort(intstr.FromString(name))
}
