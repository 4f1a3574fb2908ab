// Package controlplane knows how etcd and kube-apiserver are started, for the local cluster and for the API server alone, which
// is that of the integration tests.
package controlplane

import (
	"fmt"
	"strconv"

	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

const (
	// ServiceCIDR is the range of Service addresses, of which APIService is the first.
	ServiceCIDR = "10.96.0.0/16"
	// APIService is the address of the Service kubernetes.default.
	APIService = "10.96.0.1"
	// issuer is that of service account tokens.
	issuer = "https://kubernetes.default.svc"
)

// Etcd describes an etcd with one member. All addresses are on the loopback device.
type Etcd struct {
	Kube             string // the multi-call program
	DataDir          string
	ClientPort, Peer int
}

// URL is where clients reach etcd.
func (e Etcd) URL() string { return "http://127.0.0.1:" + strconv.Itoa(e.ClientPort) }

// Args returns the command. Data survives the process but not a power cut: syncing to disk is most of the time of a test.
func (e Etcd) Args() []string {
	peer := "http://127.0.0.1:" + strconv.Itoa(e.Peer)
	return []string{
		e.Kube, "etcd",
		"--name=local", "--data-dir=" + e.DataDir, "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + e.URL(), "--advertise-client-urls=" + e.URL(),
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=local=" + peer,
	}
}

// APIServer describes a kube-apiserver.
type APIServer struct {
	Kube      string // the multi-call program
	PKI       pki.Dir
	EtcdURL   string
	Bind      string
	Advertise string // must not be a loopback address
	Port      int
	// AuditLog is the file of the audit log, with AuditPolicy; empty for none.
	AuditLog, AuditPolicy string
	// Extra is appended, and so wins.
	Extra []string
}

const servingCert = "apiserver"

// kubeletClient is whom the API server is to the kubelets.
var kubeletClient = pki.Identity{Name: "apiserver-kubelet-client", User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}

// Issue makes the certificates.
func (a APIServer) Issue() error {
	if err := a.PKI.Init(); err != nil {
		return err
	}
	if err := a.PKI.Issue(kubeletClient); err != nil {
		return err
	}
	return a.PKI.Issue(pki.Identity{Name: servingCert, User: "kube-apiserver", Hosts: []string{
		"127.0.0.1", "localhost", a.Advertise, APIService,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}})
}

// Args returns the command.
func (a APIServer) Args() []string {
	args := []string{
		a.Kube, "kube-apiserver",
		"--etcd-servers=" + a.EtcdURL,
		"--bind-address=" + a.Bind, "--advertise-address=" + a.Advertise, fmt.Sprintf("--secure-port=%d", a.Port),
		"--tls-cert-file=" + a.PKI.Cert(servingCert), "--tls-private-key-file=" + a.PKI.Key(servingCert),
		"--client-ca-file=" + a.PKI.CA(),
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + a.PKI.ServiceAccountKey(), "--service-account-signing-key-file=" + a.PKI.ServiceAccountKey(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority=" + a.PKI.CA(),
		"--kubelet-client-certificate=" + a.PKI.Cert(kubeletClient.Name), "--kubelet-client-key=" + a.PKI.Key(kubeletClient.Name),
	}
	if a.AuditLog != "" {
		args = append(args, "--audit-log-path="+a.AuditLog, "--audit-policy-file="+a.AuditPolicy)
	}
	return append(args, a.Extra...)
}
