// The configuration files of the programs, as functions of what they depend on.

package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"text/template"

	"github.com/platform-io/database-operator/hack/cluster/internal/controlplane"
	"github.com/platform-io/database-operator/hack/cluster/internal/image"
	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

// containerdTemplate configures containerd: nothing outside the node's folder, and no plugins that would want to.
//
// restrict_oom_score_adj is for machines without CAP_SYS_RESOURCE, where runc would die with "can't get final child's PID from
// pipe"; elsewhere it changes nothing.
var containerdTemplate = template.Must(template.New("containerd").Parse(`version = 2
root = "{{.Root}}"
state = "{{.State}}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
  {{- if not .CNIBin}} "io.containerd.grpc.v1.cri", {{- end}}
]
[grpc]
  address = "{{.Socket}}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{{.State}}/opt"
{{- if .CNIBin}}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Sandbox}}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.CNIBin}}"
    conf_dir = "{{.CNIConf}}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{{.State}}/runc"
{{- end}}
`))

// containerdConfig holds the values of containerdTemplate. Without CNIBin it is only a store of images.
type containerdConfig struct{ Root, State, Socket, Sandbox, CNIBin, CNIConf string }

func (c containerdConfig) render() ([]byte, error) {
	c.Sandbox = image.PauseName
	var out bytes.Buffer
	if err := containerdTemplate.Execute(&out, c); err != nil {
		return nil, fmt.Errorf("rendering the configuration of containerd: %w", err)
	}
	return out.Bytes(), nil
}

// object is any JSON object.
type object = map[string]any

// cniConfig connects Pods. Each has a link of its own to the node, which routes: on a bridge, the answer of a Pod to its neighbour
// that called it through a Service would bypass the address translation.
func cniConfig(n node) object {
	return object{
		"cniVersion": "0.4.0",
		"name":       n.instance,
		"plugins": []object{
			{
				"type":   "ptp",
				"ipMasq": false,
				"ipam": object{
					"type":    "host-local",
					"dataDir": n.path("ipam"),
					"ranges":  [][]object{{{"subnet": n.podCIDR()}}},
					"routes":  []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

// kubeletConfig configures a kubelet. The eviction thresholds are low, and images are never removed: the machine is not the cluster's.
func kubeletConfig(n node, certs pki.Dir) object {
	return object{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"failCgroupV1":             false,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               n.cgroup(),
		"containerRuntimeEndpoint": "unix://" + n.socket(),
		"address":                  n.address(),
		"tlsCertFile":              certs.Cert(n.process("kubelet")),
		"tlsPrivateKeyFile":        certs.Key(n.process("kubelet")),
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": certs.CA()},
		},
		"authorization":               object{"mode": "Webhook"},
		"clusterDNS":                  []string{dnsService},
		"clusterDomain":               clusterDomain,
		"resolvConf":                  n.path("resolv.conf"),
		"failSwapOn":                  false,
		"evictionHard":                object{"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"},
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
		"podLogsDir":                  n.path("pod-logs"),
		"volumePluginDir":             n.path("volume-plugins"),
		"serializeImagePulls":         false,
	}
}

// proxyConfig configures a kube-proxy. It leaves the limits of connection tracking alone, which are the machine's.
func proxyConfig(n node) object {
	return object{
		"apiVersion":         "kubeproxy.config.k8s.io/v1alpha1",
		"kind":               "KubeProxyConfiguration",
		"clientConnection":   object{"kubeconfig": n.path("kube-proxy.kubeconfig")},
		"mode":               "iptables",
		"hostnameOverride":   n.name,
		"clusterCIDR":        controlplane.ClusterCIDR,
		"bindAddress":        n.address(),
		"healthzBindAddress": "127.0.0.1:10256",
		"metricsBindAddress": "127.0.0.1:10249",
		"conntrack":          object{"maxPerCore": 0, "min": 0},
	}
}

// corefile configures CoreDNS for the cluster's names as kubeadm does; other names do not exist, since there is no way to them.
func corefile(kubeconfig string) []byte {
	return fmt.Appendf(nil, `%[1]s:53 in-addr.arpa:53 ip6.arpa:53 {
    bind %[2]s
    errors
    kubernetes %[1]s in-addr.arpa ip6.arpa {
        kubeconfig %[3]s
        pods insecure
        ttl 30
    }
    cache 30 {
        disable success %[1]s
        disable denial %[1]s
    }
    loadbalance
}
.:53 {
    bind %[2]s
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
`, clusterDomain, fabricAddress, kubeconfig)
}

func renderJSON(o object) ([]byte, error) {
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding a configuration: %w", err)
	}
	return append(data, '\n'), nil
}
