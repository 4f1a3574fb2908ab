package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
	"github.com/platform-io/database-operator/hack/cluster/internal/pki"
)

func TestContainerdConfig(t *testing.T) {
	config := containerdConfig{Root: "/c/root", State: "/c/state", Socket: "/c/sock", CNIBin: "/usr/lib/cni", CNIConf: "/c/cni"}
	node, err := config.render()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`root = "/c/root"`, `address = "/c/sock"`, `bin_dir = "/usr/lib/cni"`, `sandbox_image = "docker.io/local/pause:1"`,
		"restrict_oom_score_adj = true", `Root = "/c/state/runc"`,
	} {
		if !strings.Contains(string(node), want) {
			t.Errorf("%s is missing", want)
		}
	}
	config.CNIBin = ""
	store, err := config.render()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(store), "sandbox_image") || !strings.Contains(string(store), `"io.containerd.grpc.v1.cri"`) {
		t.Error("a store of images does not run Pods")
	}
}

// Everything that a node's programs are told to write is in the node's folder.
func TestNodeStaysInItsFolder(t *testing.T) {
	n := newNode(paths.Cache("/cache"), 2)
	config := kubeletConfig(n, pki.Dir("/cache/cluster/pki"))
	for _, key := range []string{"podLogsDir", "volumePluginDir", "resolvConf"} {
		if dir := config[key].(string); !strings.HasPrefix(dir, "/cache/cluster/n2/") {
			t.Errorf("%s is %s", key, dir)
		}
	}
	if config["cgroupRoot"] != n.cgroup() || config["failCgroupV1"].(bool) {
		t.Errorf("control groups: %v, %v", config["cgroupRoot"], config["failCgroupV1"])
	}
	data, err := renderJSON(cniConfig(n))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "10.244.2.0/24") || !strings.Contains(string(data), "/cache/cluster/n2/ipam") {
		t.Errorf("%s", data)
	}
}

// No two nodes share an address, a range, a folder or a name.
func TestNodesDiffer(t *testing.T) {
	seen := map[string]bool{fabricAddress: true}
	for i := range MaxNodes {
		n := newNode(paths.Cache("/cache"), i+1)
		for _, value := range []string{n.name, n.dir, n.address(), n.podCIDR(), n.veth()} {
			if seen[value] {
				t.Errorf("%s twice", value)
			}
			seen[value] = true
		}
	}
}

func TestCorefile(t *testing.T) {
	got := string(corefile("/k"))
	for _, want := range []string{"cluster.local:53", "bind " + fabricAddress, "kubeconfig /k", "rcode NXDOMAIN"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "%!") {
		t.Errorf("badly formatted:\n%s", got)
	}
}

func TestManifests(t *testing.T) {
	paths := map[string]bool{}
	defaults := 0
	for _, r := range manifests() {
		if paths[r.path] {
			t.Errorf("%s twice", r.path)
		}
		paths[r.path] = true
		data, err := json.Marshal(r.object)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), `is-default-class":"true"`) {
			defaults++
		}
		name := r.object["metadata"].(object)["name"].(string)
		if !strings.HasSuffix(r.path, "/"+name) {
			t.Errorf("%s is the path of %s", r.path, name)
		}
	}
	if defaults != 1 {
		t.Errorf("%d default storage classes", defaults)
	}
}

const mountinfo = `22 27 0:21 / /proc rw - proc proc rw
30 27 7:0 / /cache/cluster/n1/a rw - ext4 /dev/loop0 rw
31 30 7:1 / /cache/cluster/n1/a/b\040c rw - ext4 /dev/loop1 rw
32 27 7:2 / /cache/cluster2/x rw - ext4 /dev/loop2 rw
33 27 7:3 / /cache/cluster/n1/a rw - ext4 /dev/loop3 rw
`

func TestParseMountsBelow(t *testing.T) {
	got := parseMountsBelow(mountinfo, "/cache/cluster")
	want := []string{"/cache/cluster/n1/a", "/cache/cluster/n1/a/b c", "/cache/cluster/n1/a"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := parseMountsBelow(mountinfo, "/nothing"); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// A copy of a store shares what never changes, and has databases of its own.
func TestCopyStore(t *testing.T) {
	dir := t.TempDir()
	store, root := filepath.Join(dir, "store"), filepath.Join(dir, "node", "root")
	files := map[string]bool{"content/blobs/x": true, "metadata/meta.db": false, "snapshotter/metadata.db": false, "snapshotter/snapshots/1/fs/a": true}
	for name := range files {
		if err := writeFile(filepath.Join(store, name), []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyStore(t.Context(), store, root); err != nil {
		t.Fatal(err)
	}
	for name, shared := range files {
		a, err := os.Stat(filepath.Join(store, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(a, b) != shared {
			t.Errorf("%s: shared is %v", name, !shared)
		}
		if data, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(data) != name {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "metadata", "meta.db"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyStore(t.Context(), store, root); err != nil { // it has one
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(root, "metadata", "meta.db")); err != nil || string(data) != "changed" {
		t.Errorf("a node's store was replaced: %q, %v", data, err)
	}
}

// A program that Down does not know would be killed without having been asked; containerd, which goes with its containers, may be.
func TestStopOrderKnowsAllPrograms(t *testing.T) {
	n := newNode("/cache", 1)
	for _, name := range append(n.programs(), fabricPrograms...) {
		known := slices.ContainsFunc(stopOrder, func(group []string) bool { return hasAnyPrefix(name, group) })
		if !known && name != n.process("containerd") {
			t.Errorf("%s is not in the order", name)
		}
	}
}

func TestACacheWithALongPathIsRefused(t *testing.T) {
	fits := paths.Cache("/" + strings.Repeat("x", 60))
	if err := fitsSockets(fits); err != nil {
		t.Error(err)
	}
	err := fitsSockets(fits + "y")
	if err == nil || !strings.Contains(err.Error(), "1 bytes too long") || !strings.Contains(err.Error(), "DATABASE_OPERATOR_CACHE") {
		t.Errorf("got %v", err)
	}
}
