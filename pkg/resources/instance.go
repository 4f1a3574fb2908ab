package resources

import (
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	dbv1ac "github.com/platform-io/database-operator/pkg/generated/applyconfiguration/database/v1"
)

// Instance is the object through which the operator tells an agent what to be.
func Instance(db *dbv1.Database, name string, spec *dbv1ac.DatabaseInstanceSpecApplyConfiguration) *dbv1ac.DatabaseInstanceApplyConfiguration {
	return dbv1ac.DatabaseInstance(name, db.Namespace).
		WithLabels(Labels(db)).WithAnnotations(madeFor(db)).WithOwnerReferences(ownerReference(db)).
		WithSpec(spec)
}
