// The controller service: a volume is made, grown and deleted on the node where it is to live.

package csi

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controllerServer makes, grows and deletes volumes of its node.
type controllerServer struct {
	csi.UnimplementedControllerServer
	node    string
	volumes *Volumes
}

// ControllerGetCapabilities says what of the service there is.
func (s *controllerServer) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	capability := func(t csi.ControllerServiceCapability_RPC_Type) *csi.ControllerServiceCapability {
		return &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}}}
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		capability(csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME),
		capability(csi.ControllerServiceCapability_RPC_EXPAND_VOLUME),
		capability(csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER),
	}}, nil
}

// CreateVolume makes a volume; its id is its name.
func (s *controllerServer) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume needs a name")
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	if r.GetVolumeContentSource() != nil {
		return nil, status.Error(codes.InvalidArgument, "volumes cannot be made from snapshots or other volumes")
	}
	size, err := Size(r.GetCapacityRange().GetRequiredBytes(), r.GetCapacityRange().GetLimitBytes())
	if err != nil {
		return nil, toStatus(err)
	}
	if err := s.volumes.Create(ctx, r.GetName(), size); err != nil {
		return nil, toStatus(err)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           r.GetName(),
		CapacityBytes:      size,
		VolumeContext:      r.GetParameters(),
		AccessibleTopology: []*csi.Topology{topology(s.node)},
	}}, nil
}

// DeleteVolume deletes a volume, if it exists.
func (s *controllerServer) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if err := s.volumes.Delete(r.GetVolumeId()); err != nil && !errors.Is(err, ErrInvalidID) {
		return nil, toStatus(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ControllerExpandVolume makes the file of a volume longer; the node lets the file system follow. One that is larger stays so.
func (s *controllerServer) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	size, err := Size(r.GetCapacityRange().GetRequiredBytes(), r.GetCapacityRange().GetLimitBytes())
	if err != nil {
		return nil, toStatus(err)
	}
	capacity, err := s.volumes.Grow(r.GetVolumeId(), size)
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: capacity, NodeExpansionRequired: true}, nil
}

// ValidateVolumeCapabilities confirms what CreateVolume would accept.
func (s *controllerServer) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := s.volumes.Capacity(r.GetVolumeId()); err != nil {
		return nil, toStatus(err)
	}
	if refusal := checkCapabilities(r.GetVolumeCapabilities()); refusal != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: refusal.Error()}, nil //nolint:nilerr // the refusal is the answer
	}
	confirmed := &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.GetVolumeCapabilities()}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: confirmed}, nil
}

// checkCapabilities refuses what a file on one node cannot be: a raw device, or shared between nodes.
func checkCapabilities(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return status.Error(codes.InvalidArgument, "a volume needs capabilities")
	}
	for _, c := range capabilities {
		if c.GetBlock() != nil {
			return status.Error(codes.InvalidArgument, "raw block volumes are not supported")
		}
		switch mode := c.GetAccessMode().GetMode(); mode {
		case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		default:
			return status.Errorf(codes.InvalidArgument, "a volume lives on one node: access mode %s is not supported", mode)
		}
	}
	return nil
}

func topology(node string) *csi.Topology {
	return &csi.Topology{Segments: map[string]string{TopologyKey: node}}
}

// toStatus gives an error the code by which the caller knows whether to try again.
func toStatus(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, ErrInvalidID):
		code = codes.InvalidArgument
	case errors.Is(err, ErrSizeDiffers):
		code = codes.AlreadyExists
	case errors.Is(err, ErrNoVolume):
		code = codes.NotFound
	case errors.Is(err, ErrStillInUse):
		code = codes.FailedPrecondition
	case errors.Is(err, ErrSizeTooSmall):
		code = codes.OutOfRange
	}
	return status.Error(code, err.Error())
}
