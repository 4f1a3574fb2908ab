// What can be done to a running cluster, for tests of what runs in it.
//
// A fault is in the cluster's state before it is in force, and stays there until it is no more; so `status` names every one, and a
// command that was interrupted can be repeated. `up` ends them all, and so does `down`. What they do to the network is in
// partition.go.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/platform-io/database-operator/hack/cluster/internal/controlplane"
)

// The kinds of faults, which are also the commands that cause them.
const (
	faultPartition = "partition"
	faultFreeze    = "freeze"
	faultKill      = "kill"
	faultPause     = "pause"
	faultStop      = "stop"
)

// fault is one that is in force.
type fault struct {
	Kind string `json:"kind"`
	// Target is the node that it befalls, or the program of the control plane.
	Target string `json:"target"`
	// From and OneWay are those of a partition, as in its command; empty for everything and both.
	From   string `json:"from,omitempty"`
	OneWay string `json:"oneWay,omitempty"`
	// KeepNetwork lets the kernel go on answering for a frozen node.
	KeepNetwork bool `json:"keepNetwork,omitempty"`
}

// String returns the command that causes the fault.
func (f fault) String() string {
	text := f.Kind + " " + f.Target
	if f.From != "" {
		text += " --from " + f.From
	}
	if f.OneWay != "" {
		text += " --one-way " + f.OneWay
	}
	if f.KeepNetwork {
		text += " --keep-network"
	}
	return text
}

// components maps what can be paused to the names of the programs.
var components = map[string]string{"etcd": "etcd", "apiserver": "kube-apiserver"}

// with returns the state with another fault.
func (s state) with(f fault) state {
	if !slices.Contains(s.Faults, f) {
		s.Faults = append(slices.Clone(s.Faults), f)
	}
	return s
}

// without returns the state without the faults of which that is true.
func (s state) without(ended func(fault) bool) state {
	s.Faults = slices.DeleteFunc(slices.Clone(s.Faults), ended)
	return s
}

// find returns a fault of that kind and target, or nil.
func (s state) find(kind, target string) *fault {
	for i, f := range s.Faults {
		if f.Kind == kind && f.Target == target {
			return &s.Faults[i]
		}
	}
	return nil
}

// standstill returns the fault because of which nothing happens on a node, or nil.
func (s state) standstill(node string) *fault {
	if f := s.find(faultFreeze, node); f != nil {
		return f
	}
	return s.find(faultKill, node)
}

// isFault selects faults of a kind, those of one target or, if that is empty, all.
func isFault(kind, target string) func(fault) bool {
	return func(f fault) bool { return f.Kind == kind && (target == "" || f.Target == target) }
}

// running returns the state of the cluster, if it is up and has that node; no name is that of every node.
func (c *Cluster) running(name string) (state, error) {
	s, err := c.loadState()
	if err != nil {
		return s, err
	}
	if s.Nodes == 0 {
		return s, errors.New("the cluster is not up")
	}
	if name == "" {
		return s, nil
	}
	if !slices.ContainsFunc(c.nodes(s.Nodes), func(n node) bool { return n.name == name }) {
		return s, fmt.Errorf("there is no node %q: there are n1 to n%d", name, s.Nodes)
	}
	return s, nil
}

// begin puts a fault of the network into force.
func (c *Cluster) begin(ctx context.Context, s state) error {
	if err := c.saveState(s); err != nil {
		return err
	}
	return c.cutNetwork(ctx, s)
}

// end saves a state in which a fault of the network is no more, once that is so.
func (c *Cluster) end(ctx context.Context, s state) error {
	if err := c.cutNetwork(ctx, s); err != nil {
		return err
	}
	return c.saveState(s)
}

// Freeze stops all processes of a node. A machine that stands still answers nothing either, whereas the kernel goes on acknowledging
// what processes have no time to read: unless the network is to be kept, nothing gets through.
func (c *Cluster) Freeze(ctx context.Context, node string, keepNetwork bool) error {
	s, err := c.running(node)
	if err != nil {
		return err
	}
	if s.find(faultKill, node) != nil {
		return fmt.Errorf("nothing runs on %s: start it first", node)
	}
	s = s.without(isFault(faultFreeze, node)).with(fault{Kind: faultFreeze, Target: node, KeepNetwork: keepNetwork})
	if err := c.begin(ctx, s); err != nil {
		return err
	}
	return c.tree.Freeze(node)
}

// Thaw continues a node, or all if none is named.
func (c *Cluster) Thaw(ctx context.Context, node string) error {
	s, err := c.running(node)
	if err != nil {
		return err
	}
	frozen := isFault(faultFreeze, node)
	for _, f := range s.Faults {
		if frozen(f) {
			c.tree.Thaw(f.Target)
		}
	}
	return c.end(ctx, s.without(frozen))
}

// Kill ends everything on a node at once, as when its power fails. Its disk stays: images, what the kubelet knows, volumes.
func (c *Cluster) Kill(ctx context.Context, node string) error {
	s, err := c.running(node)
	if err != nil {
		return err
	}
	// First the network: the kernel ends the connections of dead processes, of which a machine without power says nothing.
	s = s.without(isFault(faultFreeze, node)).with(fault{Kind: faultKill, Target: node})
	if err := c.begin(ctx, s); err != nil {
		return err
	}
	// What is frozen is killed in one moment, so that no process acts on the end of another.
	if err := c.tree.Freeze(node); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.tree.Kill(node); err != nil {
		return err
	}
	return c.forgetNode(c.node(node))
}

// forgetNode removes what a machine loses with its power, but for the network, which has to stay silent until it is started again.
func (c *Cluster) forgetNode(n node) error {
	for _, name := range n.programs() {
		if err := c.table.Stop(name, 0); err != nil {
			return err
		}
	}
	steps := []func() error{
		func() error { return c.removeShimSockets(n.name) },
		func() error { return unmountBelow(n.dir) },
		func() error { return detachBelow(n.dir) },
		func() error { return removeTree(n.containerdState()) },
		func() error { return c.tree.Remove(n.name) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// StartNode starts what does not run of a node, as when its power is back, and waits until it is ready.
func (c *Cluster) StartNode(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upLimit, errors.New("gave up after "+upLimit.String()))
	defer cancel()
	s, err := c.running(name)
	if err != nil {
		return err
	}
	if s.find(faultFreeze, name) != nil {
		return fmt.Errorf("%s is frozen: thaw it first", name)
	}
	store, err := c.imageStore(ctx)
	if err != nil {
		return err
	}
	n := c.node(name)
	if err := c.powerOn(ctx, s, n); err != nil {
		return err
	}
	if err := c.startNode(ctx, n, store); err != nil {
		return fmt.Errorf("starting node %s: %w", name, err)
	}
	if s.cutsControlPlane(name) {
		return c.startProxy(ctx, n) // nobody will hear of it
	}
	client, err := c.api(s)
	if err != nil {
		return err
	}
	return c.awaitNode(ctx, client, n)
}

// powerOn gives a killed node a network again.
func (c *Cluster) powerOn(ctx context.Context, s state, n node) error {
	if s.find(faultKill, n.name) == nil {
		return nil
	}
	if err := c.net.disconnect(ctx, n); err != nil {
		return err
	}
	if err := c.net.create(ctx, c.nodes(s.Nodes)); err != nil {
		return err
	}
	return c.end(ctx, s.without(isFault(faultKill, n.name)))
}

// endFaults ends all faults, and makes what is missing of the network. Programs that were killed or stopped are for the caller.
func (c *Cluster) endFaults(ctx context.Context, s state) error {
	for _, f := range s.Faults {
		switch f.Kind {
		case faultKill:
			if err := c.net.disconnect(ctx, c.node(f.Target)); err != nil {
				return err
			}
		case faultFreeze:
			c.tree.Thaw(f.Target)
		case faultPause:
			if err := c.signal(f.Target, syscall.SIGCONT); err != nil {
				return err
			}
		}
	}
	if err := c.net.create(ctx, c.nodes(s.Nodes)); err != nil {
		return err
	}
	s.Faults = nil
	return c.end(ctx, s)
}

// Pause stops a program of the control plane without ending it: connections to it stay open, and new ones are accepted by the kernel.
func (c *Cluster) Pause(component string) error {
	s, err := c.running("")
	if err != nil {
		return err
	}
	if s.find(faultStop, component) != nil {
		return fmt.Errorf("%s does not run: start it first", component)
	}
	if err := c.saveState(s.with(fault{Kind: faultPause, Target: component})); err != nil {
		return err
	}
	return c.signal(component, syscall.SIGSTOP)
}

// Resume continues a program of the control plane, or all if none is named.
func (c *Cluster) Resume(component string) error {
	s, err := c.running("")
	if err != nil {
		return err
	}
	paused := isFault(faultPause, component)
	for _, f := range s.Faults {
		if !paused(f) {
			continue
		}
		if err := c.signal(f.Target, syscall.SIGCONT); err != nil {
			return err
		}
	}
	return c.saveState(s.without(paused))
}

func (c *Cluster) signal(component string, signal syscall.Signal) error {
	r, err := c.table.Record(components[component])
	if err != nil {
		return err
	}
	return r.Signal(signal)
}

// StopAPIServer ends the API server: connections to it are refused. The host's go through the forwarder, which closes them.
func (c *Cluster) StopAPIServer() error {
	const component = "apiserver"
	s, err := c.running("")
	if err != nil {
		return err
	}
	if err := c.saveState(s.without(isFault(faultPause, component)).with(fault{Kind: faultStop, Target: component})); err != nil {
		return err
	}
	return c.table.Stop(components[component], stopGrace)
}

// StartAPIServer starts the API server again, and waits until it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("gave up after a minute"))
	defer cancel()
	s, err := c.running("")
	if err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, s); err != nil {
		return err
	}
	if err := c.saveState(s.without(isFault(faultStop, "apiserver"))); err != nil {
		return err
	}
	client, err := c.api(s)
	if err != nil {
		return err
	}
	return controlplane.WaitReady(ctx, client.client, client.server)
}
