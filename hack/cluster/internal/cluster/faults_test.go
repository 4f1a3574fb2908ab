package cluster

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/platform-io/database-operator/hack/cluster/internal/paths"
)

func testNodes(count int) []node {
	c := &Cluster{cache: "/cache"}
	return c.nodes(count)
}

// packet is what the rules look at.
type packet struct{ source, destination, protocol, ports string }

// passes follows a packet through a table: it is there in the end, or it has vanished.
func passes(t *testing.T, table string, p packet) bool {
	t.Helper()
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if fields[0] != "-A" {
			continue
		}
		rule := map[string]string{}
		for option := range slices.Chunk(fields[2:], 2) {
			rule[option[0]] = option[1]
		}
		if !within(t, p.source, rule["-s"]) || rule["-d"] != "" && !within(t, p.destination, rule["-d"]) {
			continue
		}
		if rule["-p"] != "" && rule["-p"] != p.protocol {
			continue
		}
		if port := rule["--sport"]; port != "" && "--sport "+port != p.ports {
			continue
		}
		if port := rule["--dport"]; port != "" && "--dport "+port != p.ports {
			continue
		}
		return rule["-j"] == "ACCEPT"
	}
	return true
}

func within(t *testing.T, address, network string) bool {
	t.Helper()
	if !strings.Contains(network, "/") {
		network += "/32"
	}
	prefix, err := netip.ParsePrefix(network)
	if err != nil {
		t.Fatal(err)
	}
	return prefix.Contains(netip.MustParseAddr(address))
}

// For every fault, who still hears whom: of three nodes, each with a Pod, and the control plane.
func TestWhatVanishes(t *testing.T) {
	const toNode, fromNode, both = 1, 2, 3
	tests := map[string]struct {
		faults []fault
		// api and other are the directions cut between n1 and those places.
		api, other int
		dns        bool // still passes, both ways
	}{
		"nothing":                   {dns: true},
		"partition":                 {faults: []fault{{Kind: faultPartition, Target: "n1"}}, api: both, other: both},
		"partition, in":             {faults: []fault{{Kind: faultPartition, Target: "n1", OneWay: "in"}}, api: toNode, other: toNode},
		"partition, out":            {faults: []fault{{Kind: faultPartition, Target: "n1", OneWay: "out"}}, api: fromNode, other: fromNode},
		"from the API server":       {faults: []fault{{Kind: faultPartition, Target: "n1", From: "api"}}, api: both, dns: true},
		"from the API server, out":  {faults: []fault{{Kind: faultPartition, Target: "n1", From: "api", OneWay: "out"}}, api: fromNode, dns: true},
		"from another node":         {faults: []fault{{Kind: faultPartition, Target: "n1", From: "n2"}}, other: both, dns: true},
		"from this node":            {faults: []fault{{Kind: faultPartition, Target: "n2", From: "n1", OneWay: "in"}}, other: fromNode, dns: true},
		"two, of which one is more": {faults: []fault{{Kind: faultPartition, Target: "n1"}, {Kind: faultPartition, Target: "n1", From: "api"}}, api: both, other: both},
		"both, one by one": {
			faults: []fault{{Kind: faultPartition, Target: "n1", OneWay: "out"}, {Kind: faultPartition, Target: "n1", OneWay: "in"}},
			api:    both, other: both,
		},
		"freeze":                  {faults: []fault{{Kind: faultFreeze, Target: "n1"}}, api: both, other: both},
		"freeze with the network": {faults: []fault{{Kind: faultFreeze, Target: "n1", KeepNetwork: true}}, dns: true},
		"kill":                    {faults: []fault{{Kind: faultKill, Target: "n1"}}, api: both, other: both},
		"pause":                   {faults: []fault{{Kind: faultPause, Target: "etcd"}}, dns: true},
	}
	nodes := testNodes(3)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cuts := cuts(test.faults, nodes)
			check := func(what, to string, p packet, want bool) {
				t.Helper()
				// From node to node a packet comes by the fabric's bridge.
				got := passes(t, rawTable(fabric, cuts, nodes), p) && passes(t, rawTable(to, cuts, nodes), p)
				if got != want {
					t.Errorf("%s to %s, %v: passes is %v", what, to, p, got)
				}
			}
			const node1, pod1, pod2, pod3 = "10.199.0.11", "10.244.1.5", "10.244.2.7", "10.244.3.1"
			request, query := "--dport 6443", "--dport 53"
			check("request", fabric, packet{node1, fabricAddress, "tcp", request}, test.api&fromNode == 0)
			check("request of a Pod", fabric, packet{pod1, fabricAddress, "tcp", request}, test.api&fromNode == 0)
			check("answer", "n1", packet{fabricAddress, pod1, "tcp", "--sport 6443"}, test.api&toNode == 0)
			check("request", "n1", packet{fabricAddress, node1, "tcp", "--dport 10250"}, test.api&toNode == 0)
			if test.api != toNode { // then DNS is half cut, of which nothing is said
				check("query", fabric, packet{pod1, fabricAddress, "udp", query}, test.dns)
				check("query", fabric, packet{pod1, fabricAddress, "tcp", query}, test.dns)
			}
			if test.api != fromNode {
				check("answer to a query", "n1", packet{fabricAddress, pod1, "udp", "--sport 53"}, test.dns)
			}
			check("packet of another Pod", "n1", packet{pod2, pod1, "tcp", "--dport 5432"}, test.other&toNode == 0)
			check("answer to another Pod", "n2", packet{pod1, pod2, "tcp", "--sport 5432"}, test.other&fromNode == 0)
			check("packet to another node", "n2", packet{node1, "10.199.0.12", "icmp", ""}, test.other&fromNode == 0)
			check("request of a bystander", fabric, packet{pod3, fabricAddress, "tcp", request}, true)
			check("packet between others", "n2", packet{pod3, pod2, "tcp", "--dport 5432"}, true)
		})
	}
}

func TestCutsControlPlane(t *testing.T) {
	tests := map[string]struct {
		fault fault
		want  bool
	}{
		"cut off":              {fault{Kind: faultPartition, Target: "n1"}, true},
		"one way":              {fault{Kind: faultPartition, Target: "n1", OneWay: "in"}, true},
		"from the API server":  {fault{Kind: faultPartition, Target: "n1", From: "api"}, true},
		"from a node":          {fault{Kind: faultPartition, Target: "n1", From: "n2"}, false},
		"another is":           {fault{Kind: faultPartition, Target: "n2"}, false},
		"it was only killed":   {fault{Kind: faultKill, Target: "n1"}, false},
		"the API server waits": {fault{Kind: faultPause, Target: "apiserver"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := (state{Faults: []fault{test.fault}}).cutsControlPlane("n1"); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A fault is named by the command that causes it.
func TestFaultString(t *testing.T) {
	tests := map[string]fault{
		"partition n1":                          {Kind: faultPartition, Target: "n1"},
		"partition n1 --from api --one-way out": {Kind: faultPartition, Target: "n1", From: "api", OneWay: "out"},
		"freeze n2 --keep-network":              {Kind: faultFreeze, Target: "n2", KeepNetwork: true},
		"pause etcd":                            {Kind: faultPause, Target: "etcd"},
	}
	for want, f := range tests {
		if got := f.String(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// The state a command leaves is the same when the command is repeated, and no state shares its list with another.
func TestStateWithFaults(t *testing.T) {
	partition, freeze := fault{Kind: faultPartition, Target: "n1"}, fault{Kind: faultFreeze, Target: "n1"}
	one := state{}.with(partition).with(partition)
	if !slices.Equal(one.Faults, []fault{partition}) {
		t.Errorf("twice the same: %v", one.Faults)
	}
	two := one.with(freeze)
	if two.find(faultFreeze, "n1") == nil || two.find(faultFreeze, "n2") != nil || two.standstill("n1") == nil || one.standstill("n1") != nil {
		t.Errorf("not found: %v", two.Faults)
	}
	if left := two.without(isFault(faultPartition, "")); !slices.Equal(left.Faults, []fault{freeze}) || len(two.Faults) != 2 {
		t.Errorf("left: %v of %v", left.Faults, two.Faults)
	}
	if left := two.without(isFault(faultPartition, "n2")); len(left.Faults) != 2 {
		t.Errorf("another node's: %v", left.Faults)
	}
}

func TestHealConcerns(t *testing.T) {
	tests := map[fault]bool{
		{Kind: faultPartition, Target: "n1"}:               true,
		{Kind: faultPartition, Target: "n2", From: "n1"}:   true,
		{Kind: faultPartition, Target: "n2"}:               false,
		{Kind: faultPartition, Target: "n2", From: "n3"}:   false,
		{Kind: faultFreeze, Target: "n1"}:                  false,
		{Kind: faultPartition, Target: "n1", From: "api"}:  true,
		{Kind: faultPartition, Target: "n1", OneWay: "in"}: true,
	}
	for f, want := range tests {
		if got := partitionOf("n1")(f); got != want {
			t.Errorf("%s: %v", f, got)
		}
		if partitionOf("")(f) != (f.Kind == faultPartition) {
			t.Errorf("all of them: %s", f)
		}
	}
}

func TestRunning(t *testing.T) {
	c := &Cluster{cache: paths.Cache(t.TempDir())}
	if _, err := c.running(""); err == nil {
		t.Error("a cluster that is down")
	}
	if err := c.saveState(state{Nodes: 3}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"": true, "n1": true, "n3": true, "n4": false, "n0": false, "n01": false, "fab": false, "x": false} {
		if _, err := c.running(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, bad := range []PartitionOptions{{From: "n1"}, {From: "n4"}, {OneWay: "up"}} {
		if err := c.Partition(t.Context(), "n1", bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if data, err := os.ReadFile(c.cache.Cluster("state.json")); err != nil || strings.Contains(string(data), "faults") {
		t.Errorf("what was refused is in the state: %s, %v", data, err)
	}
}
