// From a claim to a volume: what the CSI sidecar external-provisioner does elsewhere.

package csi

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// selectedNode is where the scheduler writes the node that it chose for the first Pod of a claim.
const selectedNode = "volume.kubernetes.io/selected-node"

// provisioner answers the claims for its node, by calls of the controller service.
//
// Every node runs one, and all see all claims. A claim belongs to the node that the scheduler selected; one that does not wait for
// a Pod belongs to the node that takes unselected claims, of which there is one. Likewise a volume is deleted by its own node.
type provisioner struct {
	node             string
	takesUnselected  bool
	controllerServer csi.ControllerServer
}

var (
	_ controller.Provisioner   = &provisioner{}
	_ controller.Qualifier     = &provisioner{}
	_ controller.DeletionGuard = &provisioner{}
)

// runProvisioner answers claims until the context ends.
func runProvisioner(ctx context.Context, client kubernetes.Interface, p *provisioner) {
	controller.NewProvisionController(ctx, client, DriverName, p,
		controller.LeaderElection(false), // one per node, by design
		controller.FailedProvisionThreshold(0),
		controller.FailedDeleteThreshold(0),
		controller.AddFinalizer(true),
		controller.Threadiness(4),
	).Run(ctx)
}

// ShouldProvision tells whether a claim is for this node.
func (p *provisioner) ShouldProvision(_ context.Context, claim *corev1.PersistentVolumeClaim) bool {
	node := claim.Annotations[selectedNode]
	return node == p.node || node == "" && p.takesUnselected
}

// ShouldDelete tells whether a volume is of this node.
func (p *provisioner) ShouldDelete(_ context.Context, volume *corev1.PersistentVolume) bool {
	return nodeOf(volume) == p.node
}

// Provision makes the volume of a claim.
func (p *provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	capabilities, err := capabilitiesOf(o.PVC)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	requested := o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	response, err := p.controllerServer.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name:               o.PVName,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: requested.Value()},
		VolumeCapabilities: capabilities,
		Parameters:         o.StorageClass.Parameters,
	})
	if err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("creating volume %s: %w", o.PVName, err)
	}
	return p.persistentVolume(o, response.GetVolume()), controller.ProvisioningFinished, nil
}

// Delete deletes the volume behind a PersistentVolume.
func (p *provisioner) Delete(ctx context.Context, volume *corev1.PersistentVolume) error {
	_, err := p.controllerServer.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: volume.Spec.CSI.VolumeHandle})
	return err
}

func (p *provisioner) persistentVolume(o controller.ProvisionOptions, volume *csi.Volume) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:      o.PVC.Spec.AccessModes,
			Capacity:         corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(volume.GetCapacityBytes(), resource.BinarySI)},
			MountOptions:     o.StorageClass.MountOptions,
			StorageClassName: o.StorageClass.Name,
			VolumeMode:       o.PVC.Spec.VolumeMode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver:           DriverName,
				VolumeHandle:     volume.GetVolumeId(),
				FSType:           fileSystem,
				VolumeAttributes: volume.GetVolumeContext(),
			}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node},
				}},
			}}}},
		},
	}
	if o.StorageClass.ReclaimPolicy != nil {
		pv.Spec.PersistentVolumeReclaimPolicy = *o.StorageClass.ReclaimPolicy
	}
	return pv
}

// capabilitiesOf says in terms of CSI what a claim asks for.
func capabilitiesOf(claim *corev1.PersistentVolumeClaim) ([]*csi.VolumeCapability, error) {
	if claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil {
		return nil, fmt.Errorf("claim %s/%s: volumes cannot be made from snapshots or other volumes", claim.Namespace, claim.Name)
	}
	modes := map[corev1.PersistentVolumeAccessMode]csi.VolumeCapability_AccessMode_Mode{
		corev1.ReadWriteOnce:    csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		corev1.ReadWriteOncePod: csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
		corev1.ReadOnlyMany:     csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		corev1.ReadWriteMany:    csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
	}
	var capabilities []*csi.VolumeCapability
	for _, mode := range claim.Spec.AccessModes {
		c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: modes[mode]}}
		if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock {
			c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		} else {
			c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fileSystem}}
		}
		capabilities = append(capabilities, c)
	}
	return capabilities, nil
}

// nodeOf returns the node of a volume that a provisioner made, else nothing.
func nodeOf(volume *corev1.PersistentVolume) string {
	affinity := volume.Spec.NodeAffinity
	if volume.Spec.CSI == nil || volume.Spec.CSI.Driver != DriverName || affinity == nil || affinity.Required == nil {
		return ""
	}
	for _, term := range affinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == TopologyKey && len(e.Values) == 1 {
				return e.Values[0]
			}
		}
	}
	return ""
}
