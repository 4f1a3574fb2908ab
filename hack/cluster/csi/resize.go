// From a larger claim to a larger volume: the CSI sidecar external-resizer, as a library.

package csi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	resizecontroller "github.com/kubernetes-csi/external-resizer/v2/pkg/controller"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
)

// resizer grows the volumes of its node, by calls of the controller service. Every node runs one.
type resizer struct {
	node             string
	controllerServer csi.ControllerServer
}

// resizeResync is how often claims are looked at again.
const resizeResync = 10 * time.Minute

// runResizer grows volumes until the context ends.
func runResizer(ctx context.Context, client kubernetes.Interface, r *resizer) {
	factory := informers.NewSharedInformerFactory(client, resizeResync)
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, time.Minute)
	c := resizecontroller.NewResizeController(DriverName, r, client, resizeResync, factory, limiter, false, time.Minute)
	factory.Start(ctx.Done())
	c.Run(1, ctx, &sync.WaitGroup{})
}

// Name is that of the driver.
func (r *resizer) Name() string { return DriverName }

// DriverSupportsControlPlaneExpansion says that there is a part of the work for the controller service.
func (r *resizer) DriverSupportsControlPlaneExpansion() bool { return true }

// CanSupport tells whether a volume is of this node.
func (r *resizer) CanSupport(volume *corev1.PersistentVolume, _ *corev1.PersistentVolumeClaim) bool {
	return nodeOf(volume) == r.node
}

// Resize grows the volume behind a PersistentVolume. The second result says that the kubelet has to let the file system follow.
func (r *resizer) Resize(volume *corev1.PersistentVolume, size resource.Quantity) (resource.Quantity, bool, error) {
	response, err := r.controllerServer.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{
		VolumeId: volume.Spec.CSI.VolumeHandle, CapacityRange: &csi.CapacityRange{RequiredBytes: size.Value()},
	})
	if err != nil {
		return volume.Spec.Capacity[corev1.ResourceStorage], false, fmt.Errorf("growing volume %s: %w", volume.Name, err)
	}
	return *resource.NewQuantity(response.GetCapacityBytes(), resource.BinarySI), response.GetNodeExpansionRequired(), nil
}
