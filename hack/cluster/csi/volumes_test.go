package csi

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const gigabyte = 1 << 30

// testVolumes are volumes without file systems and loop devices.
func testVolumes(t *testing.T) *Volumes {
	t.Helper()
	v, err := NewVolumes(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v.format = func(context.Context, string) error { return nil }
	v.attached = func(string) (bool, error) { return false, nil }
	return v
}

func TestSize(t *testing.T) {
	tests := map[string]struct {
		required, limit, want int64
		fails                 bool
	}{
		"exact":             {required: gigabyte, want: gigabyte},
		"rounded up":        {required: gigabyte + 1, want: gigabyte + blockSize},
		"never too small":   {required: 1, want: minSize},
		"nothing asked for": {want: minSize},
		"within the limit":  {required: gigabyte, limit: gigabyte, want: gigabyte},
		"above the limit":   {required: gigabyte + 1, limit: gigabyte + 1, fails: true},
		"limit too small":   {limit: minSize - 1, fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Size(test.required, test.limit)
			if (err != nil) != test.fails || got != test.want {
				t.Errorf("got %d, %v", got, err)
			}
			if err != nil && !errors.Is(err, ErrSizeTooSmall) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestVolumesLive(t *testing.T) {
	v := testVolumes(t)
	for range 2 { // the second time does nothing
		if err := v.Create(t.Context(), "pvc-1", gigabyte); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Create(t.Context(), "pvc-1", 2*gigabyte); !errors.Is(err, ErrSizeDiffers) {
		t.Errorf("another size: %v", err)
	}
	if size, err := v.Capacity("pvc-1"); err != nil || size != gigabyte {
		t.Errorf("capacity %d, %v", size, err)
	}
	for range 2 {
		if err := v.Delete("pvc-1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Capacity("pvc-1"); !errors.Is(err, ErrNoVolume) {
		t.Errorf("after deletion: %v", err)
	}
}

func TestVolumeInUseStays(t *testing.T) {
	v := testVolumes(t)
	if err := v.Create(t.Context(), "pvc-1", gigabyte); err != nil {
		t.Fatal(err)
	}
	v.attached = func(string) (bool, error) { return true, nil }
	if err := v.Delete("pvc-1"); !errors.Is(err, ErrStillInUse) {
		t.Errorf("deleting: %v", err)
	}
	if _, err := v.Capacity("pvc-1"); err != nil {
		t.Error(err)
	}
}

// What could not be formatted is no volume, and leaves nothing behind.
func TestFailedFormat(t *testing.T) {
	v := testVolumes(t)
	failure := errors.New("no")
	v.format = func(context.Context, string) error { return failure }
	if err := v.Create(t.Context(), "pvc-1", gigabyte); !errors.Is(err, failure) {
		t.Fatalf("error %v", err)
	}
	entries, err := os.ReadDir(v.Dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestIDsStayInTheFolder(t *testing.T) {
	v := testVolumes(t)
	for _, id := range []string{"", "..", "../x", "a/b", ".hidden", "a b", "a\n"} {
		if file, err := v.File(id); !errors.Is(err, ErrInvalidID) {
			t.Errorf("%q: %s, %v", id, file, err)
		}
	}
	if file, err := v.File("pvc-0a.b_c"); err != nil || filepath.Dir(file) != v.Dir {
		t.Errorf("%s, %v", file, err)
	}
}

func TestMkfs(t *testing.T) {
	if _, err := exec.LookPath("mkfs.xfs"); err != nil {
		t.Skip("mkfs.xfs is not installed")
	}
	v := testVolumes(t)
	v.format = makeFileSystem
	for id, size := range map[string]int64{"smallest": minSize, "large": 10 * gigabyte} {
		if err := v.Create(t.Context(), id, size); err != nil {
			t.Error(err)
		}
	}
}

func TestMountedAt(t *testing.T) {
	const mountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
30 27 7:0 / /var/lib/a/globalmount rw,relatime shared:1 - xfs /dev/loop0 rw
31 27 7:0 / /var/lib/b rw,relatime - xfs /dev/loop0 rw
32 31 7:1 / /var/lib/b rw,relatime - xfs /dev/loop1 rw
`
	for path, want := range map[string]string{
		"/var/lib/a/globalmount": "/dev/loop0", "/var/lib/a": "", "/": "", "/proc": "proc", "/var/lib/b": "/dev/loop1",
	} {
		if got := mountedAt(mountinfo, path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestVolumesGrow(t *testing.T) {
	s := &controllerServer{node: "n1", volumes: testVolumes(t)}
	if err := s.volumes.Create(t.Context(), "pvc-1", gigabyte); err != nil {
		t.Fatal(err)
	}
	// In this order; a call may be repeated, and may come late.
	for _, step := range []struct{ required, want int64 }{
		{2 * gigabyte, 2 * gigabyte}, {2 * gigabyte, 2 * gigabyte}, {gigabyte, 2 * gigabyte}, {3*gigabyte - 1, 3 * gigabyte},
	} {
		response, err := s.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
			VolumeId: "pvc-1", CapacityRange: &csi.CapacityRange{RequiredBytes: step.required},
		})
		if err != nil || response.GetCapacityBytes() != step.want || !response.GetNodeExpansionRequired() {
			t.Errorf("to %d: %v, %v", step.required, response, err)
		}
		if size, err := s.volumes.Capacity("pvc-1"); err != nil || size != step.want {
			t.Errorf("to %d: the file has %d, %v", step.required, size, err)
		}
	}
	_, err := s.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{VolumeId: "pvc-2"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("a volume that is not there: %v", err)
	}
}

func TestResizer(t *testing.T) {
	r := &resizer{node: "n2", controllerServer: &controllerServer{node: "n2", volumes: testVolumes(t)}}
	volume := func(node string) *corev1.PersistentVolume {
		p := &provisioner{node: node}
		return p.persistentVolume(controller.ProvisionOptions{PVName: "pvc-1", PVC: &corev1.PersistentVolumeClaim{}, StorageClass: &storagev1.StorageClass{}},
			&csi.Volume{VolumeId: "pvc-1", CapacityBytes: gigabyte})
	}
	if !r.CanSupport(volume("n2"), nil) || r.CanSupport(volume("n1"), nil) || r.CanSupport(&corev1.PersistentVolume{}, nil) {
		t.Error("a volume is grown by its own node and no other")
	}
	present, _, err := r.Resize(volume("n2"), resource.MustParse("2Gi"))
	if status.Code(err) != codes.NotFound || present.Value() != gigabyte {
		t.Errorf("a volume that is not there: %v, %v", present, err)
	}
	if err := r.controllerServer.(*controllerServer).volumes.Create(t.Context(), "pvc-1", gigabyte); err != nil {
		t.Fatal(err)
	}
	grown, onNode, err := r.Resize(volume("n2"), resource.MustParse("2Gi"))
	if err != nil || grown.String() != "2Gi" || !onNode {
		t.Errorf("%s, %v, %v", grown.String(), onNode, err)
	}
}

func TestCreateVolumeRefuses(t *testing.T) {
	s := &controllerServer{node: "n1", volumes: testVolumes(t)}
	mount := func(mode csi.VolumeCapability_AccessMode_Mode) []*csi.VolumeCapability {
		return []*csi.VolumeCapability{{
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		}}
	}
	writer := mount(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	block := []*csi.VolumeCapability{{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}}
	tests := map[string]struct {
		request *csi.CreateVolumeRequest
		want    codes.Code
	}{
		"accepted":        {&csi.CreateVolumeRequest{Name: "a", VolumeCapabilities: writer}, codes.OK},
		"again":           {&csi.CreateVolumeRequest{Name: "a", VolumeCapabilities: writer}, codes.OK},
		"no name":         {&csi.CreateVolumeRequest{VolumeCapabilities: writer}, codes.InvalidArgument},
		"bad name":        {&csi.CreateVolumeRequest{Name: "../a", VolumeCapabilities: writer}, codes.InvalidArgument},
		"no capabilities": {&csi.CreateVolumeRequest{Name: "b"}, codes.InvalidArgument},
		"block":           {&csi.CreateVolumeRequest{Name: "b", VolumeCapabilities: block}, codes.InvalidArgument},
		"shared": {
			&csi.CreateVolumeRequest{Name: "b", VolumeCapabilities: mount(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)},
			codes.InvalidArgument,
		},
		"impossible limit": {
			&csi.CreateVolumeRequest{Name: "b", VolumeCapabilities: writer, CapacityRange: &csi.CapacityRange{LimitBytes: 1}}, codes.OutOfRange,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := s.CreateVolume(t.Context(), test.request); status.Code(err) != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	p := &provisioner{node: "n2", controllerServer: &controllerServer{node: "n2", volumes: testVolumes(t)}}
	reclaim := corev1.PersistentVolumeReclaimDelete
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	options := controller.ProvisionOptions{
		PVName: "pvc-1", PVC: claim, SelectedNodeName: "n2",
		StorageClass: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "standard"}, ReclaimPolicy: &reclaim},
	}
	pv, state, err := p.Provision(t.Context(), options)
	if err != nil || state != controller.ProvisioningFinished {
		t.Fatalf("%v, %v", state, err)
	}
	if capacity := pv.Spec.Capacity[corev1.ResourceStorage]; capacity.String() != "1Gi" {
		t.Errorf("capacity %s", capacity.String())
	}
	if pv.Spec.StorageClassName != "standard" || pv.Spec.PersistentVolumeReclaimPolicy != reclaim || pv.Spec.CSI.VolumeHandle != "pvc-1" {
		t.Errorf("spec %+v", pv.Spec)
	}
	if !p.ShouldDelete(t.Context(), pv) || (&provisioner{node: "n1"}).ShouldDelete(t.Context(), pv) {
		t.Error("a volume is deleted by its own node and no other")
	}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	if _, _, err := p.Provision(t.Context(), options); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a shared volume: %v", err)
	}
}

func TestShouldProvision(t *testing.T) {
	claim := func(node string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{}
		if node != "" {
			c.Annotations = map[string]string{selectedNode: node}
		}
		return c
	}
	tests := map[string]struct {
		takesUnselected bool
		selected        string
		want            bool
	}{
		"ours":                              {selected: "n1", want: true},
		"another's":                         {selected: "n2"},
		"nobody's":                          {},
		"nobody's, for the one who takes":   {takesUnselected: true, want: true},
		"another's, for the one who takes ": {takesUnselected: true, selected: "n2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := &provisioner{node: "n1", takesUnselected: test.takesUnselected}
			if got := p.ShouldProvision(t.Context(), claim(test.selected)); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
