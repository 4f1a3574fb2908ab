package resources

import (
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// ServiceAccount is the identity of the Database's agents.
func ServiceAccount(db *dbv1.Database) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(naming.Agent(db.Name), db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
		WithAutomountServiceAccountToken(false)
}

// Role is all that the Database's agents may do, as narrow as RBAC can say it: every rule names
// its objects. The operator holds each of these verbs itself, or it could not grant them.
func Role(db *dbv1.Database, shape Shape) *rbacv1ac.RoleApplyConfiguration {
	instances := shape.InstanceNames()
	role := rbacv1ac.Role(naming.Agent(db.Name), db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
		WithRules(
			rule(dbv1.GroupName, "databaseinstances", instances, "get", "list", "watch"),
			rule(dbv1.GroupName, "databaseinstances/status", instances, "patch"),
			rule("", "pods", instances, "get", "patch"),
			rule("", "secrets", []string{naming.Accounts(db.Name), naming.Credentials(db.Name), naming.AgentTLS(db.Name)}, "get"),
		)
	if shape.Elects {
		// A POST to the collection has no name and is refused. But a Lease may be created by PUT, of an
		// object without resourceVersion, and that is authorized as "create" of this name: so an agent can
		// put its own Lease back when somebody deleted it, and make no other.
		role.WithRules(rule("coordination.k8s.io", "leases", []string{naming.Lease(db.Name)}, "get", "watch", "update", "create"))
	}
	return role
}

func rule(group, resource string, names []string, verbs ...string) *rbacv1ac.PolicyRuleApplyConfiguration {
	return rbacv1ac.PolicyRule().WithAPIGroups(group).WithResources(resource).WithResourceNames(names...).WithVerbs(verbs...)
}

// RoleBinding gives the Role to the ServiceAccount.
func RoleBinding(db *dbv1.Database) *rbacv1ac.RoleBindingApplyConfiguration {
	name := naming.Agent(db.Name)
	return rbacv1ac.RoleBinding(name, db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("Role").WithName(name)).
		WithSubjects(rbacv1ac.Subject().WithKind("ServiceAccount").WithName(name).WithNamespace(db.Namespace))
}
