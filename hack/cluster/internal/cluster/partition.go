// Partitions: which packets vanish.
//
// A packet is dropped where it arrives, before anything else looks at it: by iptables' table `raw`, which comes before the tracking
// of connections. So established connections are cut too, and those through a Service by where they really lead to and come from,
// however kube-proxy has translated them; and the sender notices nothing. Dropped at its own end, a datagram would give an error.
//
// Places are the nodes and the fabric, in which the control plane and the DNS server live. Every packet comes from an address of the
// node or of one of its Pods. Addresses on the wire can still be asked for: between real machines there would be a router.

package cluster

import (
	"context"
	"fmt"
	"strings"
)

// apiName is what `partition --from` calls the fabric.
const apiName = "api"

// way is the direction from one place to another.
type way struct{ from, to string }

// cuts are the ways on which packets vanish: all, if the value is true, else all but those of DNS.
func cuts(faults []fault, nodes []node) map[way]bool {
	cuts := map[way]bool{}
	for _, f := range faults {
		// The DNS server is beside the API server here, but not elsewhere: who loses the one keeps the other.
		all := f.From != apiName
		for _, peer := range f.cutFrom(nodes) {
			if f.OneWay != oneWayOut {
				cuts[way{peer, f.Target}] = cuts[way{peer, f.Target}] || all
			}
			if f.OneWay != oneWayIn {
				cuts[way{f.Target, peer}] = cuts[way{f.Target, peer}] || all
			}
		}
	}
	return cuts
}

// cutFrom lists the places from which the fault cuts its node off.
func (f fault) cutFrom(nodes []node) []string {
	switch {
	case f.Kind == faultFreeze && !f.KeepNetwork, f.Kind == faultKill, f.Kind == faultPartition && f.From == "":
		peers := []string{fabric}
		for _, n := range nodes {
			if n.name != f.Target {
				peers = append(peers, n.name)
			}
		}
		return peers
	case f.Kind == faultPartition && f.From == apiName:
		return []string{fabric}
	case f.Kind == faultPartition:
		return []string{f.From}
	}
	return nil
}

// cutsControlPlane tells whether a node cannot talk with the control plane.
func (s state) cutsControlPlane(node string) bool {
	remaining := cuts(s.without(isFault(faultKill, node)).Faults, nil)
	_, out := remaining[way{node, fabric}]
	_, in := remaining[way{fabric, node}]
	return in || out
}

// rawTable returns the table that drops what arrives at a place on those ways, as iptables-restore reads it.
func rawTable(place string, cuts map[way]bool, nodes []node) string {
	sources := map[string][]string{fabric: {fabricAddress}}
	origins := []string{fabric}
	for _, n := range nodes {
		sources[n.name] = []string{n.address(), n.podCIDR()}
		origins = append(origins, n.name)
	}
	dnsPort, to := "--sport", ""
	if place == fabric {
		// Where the kernel shows iptables what a bridge passes on, packets from one node to another come by here too.
		dnsPort, to = "--dport", " -d "+fabricAddress
	}
	var table strings.Builder
	table.WriteString("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n")
	for _, from := range origins {
		all, cut := cuts[way{from, place}]
		if !cut {
			continue
		}
		for _, source := range sources[from] {
			if !all {
				for _, protocol := range []string{"udp", "tcp"} {
					fmt.Fprintf(&table, "-A PREROUTING -s %s%s -p %s %s 53 -j ACCEPT\n", source, to, protocol, dnsPort)
				}
			}
			fmt.Fprintf(&table, "-A PREROUTING -s %s%s -j DROP\n", source, to)
		}
	}
	table.WriteString("COMMIT\n")
	return table.String()
}

// cutNetwork lets those packets vanish that shall according to the state, and no others.
func (c *Cluster) cutNetwork(ctx context.Context, s state) error {
	nodes := c.nodes(s.Nodes)
	cuts := cuts(s.Faults, nodes)
	places := []string{fabric}
	for _, n := range nodes {
		places = append(places, n.name)
	}
	for _, place := range places {
		if err := c.net.setRawTable(ctx, place, rawTable(place, cuts, nodes)); err != nil {
			return err
		}
	}
	return nil
}

// The directions of `partition --one-way`, as seen by the node.
const (
	oneWayIn  = "in"
	oneWayOut = "out"
)

// PartitionOptions say what a node is cut off from, and how.
type PartitionOptions struct {
	// From is another node, or `api`; empty for everything.
	From string
	// OneWay is the only direction in which packets vanish, `in` or `out`; empty for both.
	OneWay string
}

// Partition cuts a node off.
func (c *Cluster) Partition(ctx context.Context, node string, options PartitionOptions) error {
	s, err := c.running(node)
	if err != nil {
		return err
	}
	if options.From == node {
		return fmt.Errorf("%s cannot be cut off from itself", node)
	}
	if options.From != apiName {
		if _, err := c.running(options.From); err != nil {
			return err
		}
	}
	if options.OneWay != "" && options.OneWay != oneWayIn && options.OneWay != oneWayOut {
		return fmt.Errorf("--one-way is %s or %s, not %q", oneWayIn, oneWayOut, options.OneWay)
	}
	return c.begin(ctx, s.with(fault{Kind: faultPartition, Target: node, From: options.From, OneWay: options.OneWay}))
}

// Heal ends the partitions of a node, also those that were caused from the other side, or all if no node is named.
func (c *Cluster) Heal(ctx context.Context, node string) error {
	s, err := c.running(node)
	if err != nil {
		return err
	}
	return c.end(ctx, s.without(partitionOf(node)))
}

// partitionOf selects the partitions that concern a node, or all if none is named.
func partitionOf(node string) func(fault) bool {
	return func(f fault) bool {
		return f.Kind == faultPartition && (node == "" || f.Target == node || f.From == node)
	}
}
