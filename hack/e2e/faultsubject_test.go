//go:build e2e

package e2e

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/naming"
)

// ourDatabase is a subject: a Database of this operator.
type ourDatabase struct {
	synchronous int32
	// anywhere: its instances may share nodes.
	anywhere bool
}

func ourBed(synchronous int32) *bed {
	return &bed{subject: ourDatabase{synchronous: synchronous}, name: fmt.Sprintf("synchronousReplicas: %d", synchronous), synchronous: synchronous > 0}
}

func (o ourDatabase) provision(s *scope) *group {
	s.Helper()
	db := replicated("ha", o.synchronous)
	db.Spec.Topology.AntiAffinity = new(!o.anywhere)
	return s.provisionReplicated(db)
}

func (ourDatabase) tryAllReady(s *scope, timeout time.Duration) (*group, error) {
	return s.tryAllReady("ha", timeout)
}

func (ourDatabase) holder(s *scope) (string, error) {
	lease, err := cluster.Kube.CoordinationV1().Leases(s.namespace).Get(s.ctx, naming.Lease("ha"), metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err //nolint:wrapcheck // shown as the last state
	}
	return *lease.Spec.HolderIdentity, nil
}

func (ourDatabase) writeURI(s *scope, file string) error {
	return cluster.WriteURI(s.ctx, s.namespace, "ha", file) //nolint:wrapcheck // it says what it did
}

func (ourDatabase) switchOver(f *faulted) error {
	return cluster.Plugin(f.ctx, "switchover", "ha", "--namespace", f.namespace) //nolint:wrapcheck // it says what it did
}
