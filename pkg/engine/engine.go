// Package engine decides. From one immutable Observation of a Database it makes a Plan: the
// objects that must exist, the actions to carry out, and the status to report.
//
// The package and the engines below it are pure: no client, no clock, no randomness. What every
// engine shares is here (objects, identity of the data, restarts, guards, conditions); an engine
// says only what is particular to it, through the Engine interface.
package engine

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/resources"
)

// Engine is what is particular to one database engine. Implementations are stateless.
type Engine interface {
	// OwnedSettings are the names in spec.engineConfig that the operator decides, each with the
	// way to get what it is for.
	OwnedSettings() map[string]string

	// ValidateConfig judges spec.engineConfig beyond the rules of every engine (its owned settings, and what could
	// break out of a file), also by what else the spec says.
	ValidateConfig(db *dbv1.Database) field.ErrorList

	// Gaps are the features that the spec asks for and this release cannot do yet.
	Gaps(db *dbv1.Database) []Gap

	// Shape is what the Database's pods are made of.
	Shape(db *dbv1.Database) resources.Shape

	// Binding is the content of the credentials Secret, in the form of servicebinding.io.
	Binding(db *dbv1.Database, login Login) map[string]string

	// PrimaryFirst is true when the spec's settings may only take effect on the primary, whose report is
	// given, before they do on replicas. It is asked only while some wait for a restart.
	PrimaryFirst(db *dbv1.Database, primary *dbv1.DatabaseInstanceStatus) bool

	// MemoryNeeded is the memory, in bytes, without which an instance that reported would not come up again with
	// its data, 0 when there is no such bound, or it is not known.
	MemoryNeeded(report *dbv1.DatabaseInstanceStatus) int64

	// Identity is the recorded identity of the data in a status, "" when none is.
	Identity(status *dbv1.EngineStatus) string

	// Record is a status with the identity of the data in it.
	Record(identity string) *dbv1.EngineStatus
}

// Gap is a feature that a spec asks for and this release cannot do yet.
type Gap struct {
	// Condition is the type of the condition that says so.
	Condition string
	// Message begins with "not supported yet: " and says what happens instead.
	Message string
	// Blocking is true when nothing sensible can run without the feature.
	Blocking bool
}

// Login is a user name with its password, and the database that it is for.
type Login struct {
	Username string
	Password string
	Database string
}
