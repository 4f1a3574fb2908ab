package resources

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// Lease is the one by which the agents elect the primary, as it is before anyone held it. Once it
// exists only agents write it, so it is no apply configuration.
func Lease(db *dbv1.Database) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: naming.Lease(db.Name), Namespace: db.Namespace, Labels: Labels(db),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(db, dbv1.SchemeGroupVersion.WithKind("Database"))},
	}}
}

// DisruptionBudgets keep evictions from taking the primary, and from taking more than one replica
// at a time. Each pod has one role, and so one budget: with two, every eviction of it would fail. A
// pod that changes its role changes its budget with it.
func DisruptionBudgets(db *dbv1.Database, shape Shape) []*policyv1ac.PodDisruptionBudgetApplyConfiguration {
	instances := len(shape.InstanceNames())
	if !shape.Elects || instances < 2 {
		return nil
	}
	budget := func(role dbv1.InstanceRole, available int) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
		pods := merged(naming.SelectorLabels(db.Name), map[string]string{naming.LabelRole: string(role)})
		return policyv1ac.PodDisruptionBudget(naming.Disruption(db.Name, string(role)), db.Namespace).
			WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
			WithSpec(policyv1ac.PodDisruptionBudgetSpec().
				WithMinAvailable(intstr.FromInt(available)).
				WithSelector(metav1ac.LabelSelector().WithMatchLabels(pods)))
	}
	budgets := []*policyv1ac.PodDisruptionBudgetApplyConfiguration{budget(dbv1.RolePrimary, 1)}
	if instances > 2 {
		budgets = append(budgets, budget(dbv1.RoleReplica, instances-2))
	}
	return budgets
}
