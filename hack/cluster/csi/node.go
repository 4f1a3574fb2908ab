// The node service: what a kubelet calls to bring a volume into a Pod.

package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// nodeServer mounts volumes: once per node for all (stage), and into every Pod that uses it (publish).
type nodeServer struct {
	csi.UnimplementedNodeServer
	node    string
	volumes *Volumes
}

// NodeGetInfo says where this node is; the kubelet makes it a label of the node.
func (s *nodeServer) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: s.node, AccessibleTopology: topology(s.node)}, nil
}

// NodeGetCapabilities says what of the service there is.
func (s *nodeServer) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	capability := func(t csi.NodeServiceCapability_RPC_Type) *csi.NodeServiceCapability {
		return &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}}
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{
		capability(csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME),
		capability(csi.NodeServiceCapability_RPC_EXPAND_VOLUME),
		capability(csi.NodeServiceCapability_RPC_GET_VOLUME_STATS),
		capability(csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER),
	}}, nil
}

// NodeStageVolume mounts the file system of a volume.
func (s *nodeServer) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if err := checkCapabilities([]*csi.VolumeCapability{r.GetVolumeCapability()}); err != nil {
		return nil, err
	}
	if _, err := s.volumes.Capacity(r.GetVolumeId()); err != nil {
		return nil, toStatus(err)
	}
	file, err := s.volumes.File(r.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	if done, err := prepareTarget(r.GetStagingTargetPath()); err != nil || done {
		return &csi.NodeStageVolumeResponse{}, err
	}
	if err := mountVolume(file, r.GetStagingTargetPath(), r.GetVolumeCapability().GetMount().GetMountFlags()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// NodeUnstageVolume undoes NodeStageVolume.
func (s *nodeServer) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := unmount(r.GetStagingTargetPath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// NodePublishVolume mounts a staged volume into a Pod's folder.
func (s *nodeServer) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	staged, err := isMounted(r.GetStagingTargetPath())
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if !staged {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not staged", r.GetVolumeId())
	}
	if done, err := prepareTarget(r.GetTargetPath()); err != nil || done {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := bindMount(r.GetStagingTargetPath(), r.GetTargetPath(), r.GetReadonly()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume undoes NodePublishVolume.
func (s *nodeServer) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unmount(r.GetTargetPath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := os.Remove(r.GetTargetPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume lets a mounted file system follow its file, which the controller service has made longer.
func (s *nodeServer) NodeExpandVolume(ctx context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	capacity, err := s.volumes.Capacity(r.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	device, err := mountedDevice(r.GetVolumePath())
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if device == "" {
		return nil, status.Errorf(codes.NotFound, "no volume is mounted at %s", r.GetVolumePath())
	}
	if err := growMounted(ctx, device, r.GetVolumePath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: capacity}, nil
}

// NodeGetVolumeStats tells how full a volume is; the kubelet makes metrics of it.
func (s *nodeServer) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(r.GetVolumePath(), &stat); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, status.Errorf(codes.NotFound, "no volume at %s", r.GetVolumePath())
		}
		return nil, status.Error(codes.Internal, fmt.Errorf("looking at %s: %w", r.GetVolumePath(), err).Error())
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: usage(&stat)}, nil
}

func usage(stat *unix.Statfs_t) []*csi.VolumeUsage {
	bytes := func(blocks uint64) int64 { return int64(blocks) * stat.Bsize }
	inodes := func(n uint64) int64 { return int64(n) }
	return []*csi.VolumeUsage{
		{
			Unit:  csi.VolumeUsage_BYTES,
			Total: bytes(stat.Blocks), Used: bytes(stat.Blocks - stat.Bfree), Available: bytes(stat.Bavail),
		},
		{
			Unit:  csi.VolumeUsage_INODES,
			Total: inodes(stat.Files), Used: inodes(stat.Files - stat.Ffree), Available: inodes(stat.Ffree),
		},
	}
}

// prepareTarget makes a folder to mount at; done says that something is mounted there already, as when a call is repeated.
func prepareTarget(path string) (done bool, err error) {
	if path == "" {
		return false, status.Error(codes.InvalidArgument, "no path to mount at")
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return false, status.Error(codes.Internal, err.Error())
	}
	mounted, err := isMounted(path)
	if err != nil {
		return false, status.Error(codes.Internal, err.Error())
	}
	return mounted, nil
}
