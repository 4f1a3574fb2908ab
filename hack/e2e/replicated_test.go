//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platform-io/database-operator/hack/e2e/env"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// recoverTimeout is how long it may take until every instance is ready again after a fault, on a busy machine.
const recoverTimeout = 3 * time.Minute

// replicated is a PostgreSQL of three instances, each on a node of its own.
func replicated(name string, synchronousReplicas int32) *dbv1.Database {
	return standalone(name, func(db *dbv1.Database) {
		db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 3, AntiAffinity: new(true)}
		db.Spec.HighAvailability = &dbv1.HighAvailabilitySpec{SynchronousReplicas: synchronousReplicas}
	})
}

// group is how the instances of a replicated Database are. Of one that another made, only the pods and the primary are known.
type group struct {
	database  *dbv1.Database
	pods      map[string]*corev1.Pod
	instances map[string]*dbv1.DatabaseInstance
	lease     *coordinationv1.Lease
	record    record.Record
	// primary is the name of the one instance that says so of itself, holds the Lease and has the label; else empty.
	primary string
}

// replicas are the other instances, in the order of their names.
func (g *group) replicas() []string {
	var names []string
	for name := range g.pods {
		if name != g.primary {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// look reads how the instances are.
func (s *scope) look(name string) (*group, error) {
	g := &group{pods: map[string]*corev1.Pod{}, instances: map[string]*dbv1.DatabaseInstance{}}
	var err error
	if g.database, err = cluster.DB.DatabaseV1().Databases(s.namespace).Get(s.ctx, name, metav1.GetOptions{}); err != nil {
		return nil, err //nolint:wrapcheck // shown as the last state
	}
	selector := metav1.ListOptions{LabelSelector: naming.LabelDatabase + "=" + name}
	pods, err := cluster.Kube.CoreV1().Pods(s.namespace).List(s.ctx, selector)
	if err != nil {
		return nil, err //nolint:wrapcheck // shown as the last state
	}
	for i := range pods.Items {
		g.pods[pods.Items[i].Name] = &pods.Items[i]
	}
	instances, err := cluster.DB.DatabaseV1().DatabaseInstances(s.namespace).List(s.ctx, selector)
	if err != nil {
		return nil, err //nolint:wrapcheck // shown as the last state
	}
	for i := range instances.Items {
		g.instances[instances.Items[i].Name] = &instances.Items[i]
	}
	if g.lease, err = cluster.Kube.CoordinationV1().Leases(s.namespace).Get(s.ctx, naming.Lease(name), metav1.GetOptions{}); err != nil {
		return nil, err //nolint:wrapcheck // shown as the last state
	}
	g.record, err = record.Parse(g.lease.Annotations[naming.AnnotationRecord])
	g.findPrimary()
	return g, err //nolint:wrapcheck // shown as the last state
}

func (g *group) findPrimary() {
	for name, pod := range g.pods {
		holder := g.lease.Spec.HolderIdentity
		if pod.Labels[naming.LabelRole] == string(dbv1.RolePrimary) && holder != nil && *holder == (record.Identity{Pod: name, UID: string(pod.UID)}).String() {
			g.primary = name
		}
	}
}

// trouble says what is not as it should be when nothing is wrong: all instances are ready, one of them is the primary, and the others follow
// it and may take its place.
func (g *group) trouble(want int) string {
	if len(g.pods) != want || len(g.instances) != want {
		return fmt.Sprintf("there are %d pods and %d instances", len(g.pods), len(g.instances))
	}
	if g.primary == "" {
		return fmt.Sprintf("no pod has both the Lease (%v) and the label of the primary", g.lease.Spec.HolderIdentity)
	}
	for name, instance := range g.instances {
		pod, status := g.pods[name], &instance.Status
		wanted := dbv1.RoleReplica
		if name == g.primary {
			wanted = dbv1.RolePrimary
		}
		switch {
		case pod == nil || status.PodUID != string(pod.UID):
			return name + " is said to be something by another pod"
		case !status.Ready || status.Role != wanted || pod.Labels[naming.LabelRole] != string(wanted):
			return fmt.Sprintf("%s is no ready %s: role %s, label %s, phase %s, %s", name, wanted, status.Role, pod.Labels[naming.LabelRole], status.Phase, status.Message)
		case notReady(pod) != "":
			return name + ": " + notReady(pod)
		case int(instance.Spec.Replication.SynchronousReplicas) != g.record.W:
			return fmt.Sprintf("commits wait for %d replicas", g.record.W)
		case status.Epoch != int64(*g.lease.Spec.LeaseTransitions):
			return fmt.Sprintf("%s is in epoch %d, and the Lease in %d", name, status.Epoch, *g.lease.Spec.LeaseTransitions)
		case wanted == dbv1.RoleReplica && (status.Replication == nil || !status.Replication.Streaming || status.Replication.Source != g.primary):
			return name + " does not follow the primary"
		}
		if candidate, listed := g.record.Candidate(status.DataID); !listed || candidate.Instance != name {
			return fmt.Sprintf("%s (%s) is no candidate in %+v", name, status.DataID, g.record.Candidates)
		}
	}
	if len(g.record.Candidates) != want {
		return fmt.Sprintf("the candidates are %+v", g.record.Candidates)
	}
	return ""
}

// allReady waits until nothing is wrong with a replicated Database.
func (s *scope) allReady(name string, timeout time.Duration) *group {
	s.Helper()
	g, err := s.tryAllReady(name, timeout)
	s.ok(err)
	return g
}

// tryAllReady is the one place that says what a replicated Database looks like when all is well.
func (s *scope) tryAllReady(name string, timeout time.Duration) (*group, error) {
	return s.tryUntil(name, timeout, func(g *group) string {
		if trouble := g.trouble(int(dbv1.Replicas(g.database))); trouble != "" {
			return trouble
		}
		status := &g.database.Status
		if status.ObservedGeneration != g.database.Generation {
			return "the operator has not seen the change yet"
		}
		upToDate := meta.IsStatusConditionTrue(status.Conditions, dbv1.ConditionUpToDate)
		if status.Phase != dbv1.PhaseReady || !upToDate || status.Primary == nil || status.Primary.Name != g.primary {
			return fmt.Sprintf("the primary is %s, and in the status %+v; %s", g.primary, status.Primary, describe(g.database))
		}
		return ""
	})
}

// tryUntil waits until a condition on how the instances are returns an empty state.
func (s *scope) tryUntil(name string, timeout time.Duration, condition func(*group) string) (*group, error) {
	var g *group
	err := env.Poll(s.ctx, timeout, "all instances of "+name+" to be ready", func(context.Context) (string, error) {
		var err error
		if g, err = s.look(name); err != nil {
			return "", err
		}
		return condition(g), nil
	})
	return g, err //nolint:wrapcheck // it says what was waited for
}

// provisionReplicated makes the Database and waits until all its instances are ready.
func (s *scope) provisionReplicated(db *dbv1.Database) *group {
	s.Helper()
	return s.allReady(s.create(db).Name, provisionTimeout)
}

// claims returns the UIDs of the Database's claims, or without a name of all in the namespace.
func (s *scope) claims(name string) map[string]types.UID {
	s.Helper()
	options := metav1.ListOptions{}
	if name != "" {
		options.LabelSelector = naming.LabelDatabase + "=" + name
	}
	list, err := cluster.Kube.CoreV1().PersistentVolumeClaims(s.namespace).List(s.ctx, options)
	s.ok(err)
	claims := map[string]types.UID{}
	for _, claim := range list.Items {
		claims[claim.Name] = claim.UID
	}
	return claims
}

// behind returns the names of the pods that a Service leads to.
func (s *scope) behind(service string) []string {
	s.Helper()
	slices_, err := cluster.Kube.DiscoveryV1().EndpointSlices(s.namespace).List(s.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	s.ok(err)
	var names []string
	for _, slice := range slices_.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				names = append(names, endpoint.TargetRef.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestReplicatedProvision(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	g := s.provisionReplicated(replicated("ha", 1))

	nodes := map[string]bool{}
	for _, pod := range g.pods {
		nodes[pod.Spec.NodeName] = true
	}
	same(s, "the number of nodes with an instance", len(nodes), 3)
	same(s, "the number of claims", len(s.claims("ha")), 3)
	s.wait(changeTimeout, "the Services to lead to the right pods", func() (string, error) {
		primary, replicas := s.behind("ha"), s.behind("ha-ro")
		if !slices.Equal(primary, []string{g.primary}) || !slices.Equal(replicas, g.replicas()) {
			return fmt.Sprintf("ha leads to %v and ha-ro to %v", primary, replicas), nil
		}
		return "", nil
	})

	s.writeRow("ha", "hello")
	same(s, "recovery, through the Service", s.query("ha", "select pg_is_in_recovery();"), "f")
	readOnly, err := cluster.ReadOnlyURI(s.ctx, s.namespace, "ha")
	s.ok(err)
	read := func(sql string) string {
		rows, err := s.client.Query(s.ctx, readOnly, sql)
		s.ok(err)
		return rows
	}
	same(s, "recovery, through the read-only Service", read("select pg_is_in_recovery();"), "t")
	s.wait(changeTimeout, "the row to be on a replica", func() (string, error) {
		rows, err := s.client.Query(s.ctx, readOnly, "select said from kept;")
		if err == nil && rows != "hello" {
			return fmt.Sprintf("there is %q", rows), nil
		}
		return "", err //nolint:wrapcheck // shown as the last state
	})
	if _, err := s.client.Query(s.ctx, readOnly, "insert into kept values ('there');"); err == nil {
		t.Error("a replica took a write")
	}
}
