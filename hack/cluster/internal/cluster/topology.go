// Package cluster brings the local cluster up and takes it down again.
//
// The network is a namespace "fab" with a bridge, in which the control plane lives, and a namespace per node, each connected to that
// bridge. Nothing leads from there to the machine's own network or to the outside; the host reaches the API server through a
// forwarder, which listens on the loopback device outside and connects inside.
//
//	host            kdev-fab: etcd, kube-apiserver, controllers,         kdev-n1: containerd, kubelet, kube-proxy, CSI driver
//	127.0.0.1:port ──forwarder──► 10.199.0.1 (br0) ◄────────veth────────► 10.199.0.11 (eth0) ── Pods 10.244.1.0/24
//
// Every step of `up` finds out what is there and adds what is missing, so it can be repeated after it was interrupted anywhere.
// `down` relies on no memory of what `up` did: it looks for what could be there (records of processes, the tree of control
// groups, mounts and loop devices below our folder, namespaces of our names) and removes that.
package cluster

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

const (
	// MaxNodes is as many as the address plan has room for.
	MaxNodes = 9

	fabric        = "fab"
	fabricAddress = "10.199.0.1"
	fabricPrefix  = "24"
	apiPort       = 6443
	dnsService    = "10.96.0.10"
	clusterDomain = "cluster.local"
)

// fabricPrograms are the names of the processes in the fabric.
var fabricPrograms = []string{"etcd", "kube-apiserver", "forwarder", "kube-controller-manager", "kube-scheduler", "coredns"}

// internalServer is the API server as seen from inside.
var internalServer = fmt.Sprintf("https://%s:%d", fabricAddress, apiPort)

// node is one node, numbered from 1.
type node struct {
	instance string // the name of the cluster
	number   int
	name     string
	dir      string
}

func newNode(cache paths.Cache, number int) node {
	name := "n" + strconv.Itoa(number)
	return node{instance: cache.Instance(), number: number, name: name, dir: cache.Cluster(name)}
}

// cgroup is the control group of the node's Pods.
func (n node) cgroup() string { return "/" + n.instance + "/" + n.name }

func (n node) path(elem ...string) string { return filepath.Join(append([]string{n.dir}, elem...)...) }

func (n node) address() string               { return "10.199.0.1" + strconv.Itoa(n.number) }
func (n node) mac() string                   { return "02:00:0a:c7:00:0" + strconv.Itoa(n.number) }
func (n node) podCIDR() string               { return "10.244." + strconv.Itoa(n.number) + ".0/24" }
func (n node) veth() string                  { return "v" + n.name }
func (n node) socket() string                { return n.path("containerd.sock") }
func (n node) process(program string) string { return program + "-" + n.name }

// programs are the names of the processes that make the node.
func (n node) programs() []string {
	return []string{n.process("containerd"), n.process("kubelet"), n.process("kube-proxy"), n.process("csi")}
}

// The pieces of state below a node's folder.
func (n node) containerdRoot() string  { return n.path("containerd", "root") }
func (n node) containerdState() string { return n.path("containerd", "state") }
func (n node) kubeletDir() string      { return n.path("kubelet") }
func (n node) volumes() string         { return n.path("volumes") }
