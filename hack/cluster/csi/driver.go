// The process of a driver: its sockets, its identity, and how the kubelet learns of it.

package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// version is what the driver reports.
const version = "v0.1.0"

// Config says where a driver runs.
type Config struct {
	Node       string
	Volumes    string // folder of the backing files
	KubeletDir string // root folder of the node's kubelet, in which it looks for plugins
	Kubeconfig string
	// TakesUnselected is set on one node of a cluster; see provisioner.
	TakesUnselected bool
}

// Run runs a driver until the context ends or a service fails.
func Run(ctx context.Context, config Config) error {
	volumes, err := NewVolumes(config.Volumes)
	if err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	if err != nil {
		return fmt.Errorf("loading the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	controllers := &controllerServer{node: config.Node, volumes: volumes}
	endpoint := filepath.Join(config.KubeletDir, "plugins", socketName)
	err = serve(ctx, fail, endpoint, func(s *grpc.Server) {
		csi.RegisterIdentityServer(s, &identityServer{})
		csi.RegisterControllerServer(s, controllers)
		csi.RegisterNodeServer(s, &nodeServer{node: config.Node, volumes: volumes})
	})
	if err != nil {
		return err
	}
	// The kubelet calls the endpoint as soon as it sees the registration's socket, so that comes second.
	err = serve(ctx, fail, filepath.Join(config.KubeletDir, "plugins_registry", socketName), func(s *grpc.Server) {
		registration.RegisterRegistrationServer(s, &registrar{endpoint: endpoint})
	})
	if err != nil {
		return err
	}
	go runResizer(ctx, client, &resizer{node: config.Node, controllerServer: controllers})
	runProvisioner(ctx, client, &provisioner{node: config.Node, takesUnselected: config.TakesUnselected, controllerServer: controllers})
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// socketName is short: the kernel takes no more than 107 bytes for the whole path.
const socketName = "csi.sock"

// serve serves on a unix socket in the background until the context ends; it calls fail if it ends otherwise.
func serve(ctx context.Context, fail func(error), socket string, register func(*grpc.Server)) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return fmt.Errorf("making the folder of a socket: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old socket: %w", err)
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(logFailures))
	register(server)
	go func() {
		if err := server.Serve(listener); err != nil {
			fail(fmt.Errorf("serving on %s: %w", socket, err))
		}
	}()
	context.AfterFunc(ctx, server.Stop)
	return nil
}

// logFailures logs every call that fails, in one place for all services.
func logFailures(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Call failed", "method", info.FullMethod, "request", request)
	}
	return response, err
}

// identityServer says what this is.
type identityServer struct {
	csi.UnimplementedIdentityServer
}

// GetPluginInfo returns the driver's name.
func (*identityServer) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: DriverName, VendorVersion: version}, nil
}

// GetPluginCapabilities says that volumes are made by the controller service, belong to nodes, and can be grown while they are in use.
func (*identityServer) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(t csi.PluginCapability_Service_Type) *csi.PluginCapability {
		return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}}}
	}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}}},
	}}, nil
}

// Probe says that the driver is ready: it is, as soon as it answers.
func (*identityServer) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

// registrar announces the driver to the kubelet, which finds its socket in the folder for that.
type registrar struct {
	registration.UnimplementedRegistrationServer
	endpoint string
}

// GetInfo says where the driver is to be called.
func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: DriverName, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus hears whether the kubelet accepted the driver. If not, it will try again.
func (r *registrar) NotifyRegistrationStatus(ctx context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !s.GetPluginRegistered() {
		return nil, status.Errorf(codes.Aborted, "the kubelet refused the driver: %s", s.GetError())
	}
	klog.FromContext(ctx).Info("Registered with the kubelet")
	return &registration.RegistrationStatusResponse{}, nil
}
