//go:build integration

package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/platform-io/database-operator/pkg/testing/apiserver"
)

// A stopped leader ends its work, gives up its lease at once and exits with 0; the standby takes over.
func TestAStoppedLeaderHandsOver(t *testing.T) {
	config := apiserver.Start(t)
	namespace := apiserver.Namespace(t, config)
	leases := kubernetes.NewForConfigOrDie(config).CoordinationV1().Leases(namespace)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": {
			ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, ClientCertificate: config.CertFile, ClientKey: config.KeyFile, Token: config.BearerToken,
		}},
		Contexts: map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "database-operator")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), binary, "--kubeconfig", kubeconfig, "--namespace", namespace, "--agent-image", "agent:test",
			"--leader-election-namespace", namespace, "--metrics-bind-address=", "--health-probe-bind-address=")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	holder := func() string {
		lease, err := leases.Get(t.Context(), "database-operator", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return ""
		}
		return *lease.Spec.HolderIdentity
	}
	await := func(what string, done func() bool) {
		deadline := time.Now().Add(time.Minute)
		for !done() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: holder %q", what, holder())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	first := start()
	await("the first leads", func() bool { return holder() != "" })
	leader := holder()
	second := start()
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the leader did not end well: %v", err)
	}
	await("the second leads", func() bool { return holder() != "" && holder() != leader })
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second did not end well: %v", err)
	}
	if holder() != "" {
		t.Errorf("the lease is still held by %q", holder())
	}
}
