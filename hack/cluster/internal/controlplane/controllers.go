// The controllers and the scheduler: their flags, and whom they are to the API server.

package controlplane

import (
	"path/filepath"

	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

// ClusterCIDR is the range of Pod addresses.
const ClusterCIDR = "10.244.0.0/16"

// The users as which the components of the control plane talk to the API server. RBAC knows them.
var (
	ControllerManagerUser = pki.Identity{Name: "controller-manager", User: "system:kube-controller-manager"}
	SchedulerUser         = pki.Identity{Name: "scheduler", User: "system:kube-scheduler"}
)

// ControllerManager describes a kube-controller-manager.
type ControllerManager struct {
	Kube       string // the multi-call program
	PKI        pki.Dir
	Kubeconfig string
}

// Args returns the command. Every controller acts as a service account of its own, as in production.
func (c ControllerManager) Args() []string {
	return []string{
		c.Kube, "kube-controller-manager",
		"--kubeconfig=" + c.Kubeconfig, "--authentication-kubeconfig=" + c.Kubeconfig, "--authorization-kubeconfig=" + c.Kubeconfig,
		"--service-account-private-key-file=" + c.PKI.ServiceAccountKey(), "--root-ca-file=" + c.PKI.CA(),
		"--cluster-signing-cert-file=" + c.PKI.CA(), "--cluster-signing-key-file=" + c.PKI.CAKey(),
		"--cluster-cidr=" + ClusterCIDR, "--allocate-node-cidrs=false",
		"--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1",
		// It makes this folder; the default one is outside ours.
		"--flex-volume-plugin-dir=" + filepath.Join(filepath.Dir(c.Kubeconfig), FlexVolumeDir),
	}
}

// FlexVolumeDir is the name of a folder that the controller manager makes beside its kubeconfig.
const FlexVolumeDir = "flex-volume-plugins"

// Scheduler describes a kube-scheduler.
type Scheduler struct {
	Kube       string // the multi-call program
	Kubeconfig string
}

// Args returns the command.
func (s Scheduler) Args() []string {
	return []string{
		s.Kube, "kube-scheduler",
		"--kubeconfig=" + s.Kubeconfig, "--authentication-kubeconfig=" + s.Kubeconfig, "--authorization-kubeconfig=" + s.Kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1",
	}
}
