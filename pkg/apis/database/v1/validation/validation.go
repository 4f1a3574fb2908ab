// Package validation is the list of rules that a Database must obey.
//
//  1. A rule stands in two places where it can: as a CEL expression in the CRD, so that an API server refuses at once, and
//     as a Go function here, which the operator runs in every sync. The Go function is for what CEL cannot say, and
//     for objects that were admitted before a rule existed.
//  2. Rules holds both, with one message for both. A message is one sentence: the field, the reason, the way that works.
//     A test asserts that the CRDs hold exactly the expressions and messages of this list.
//  3. CEL rules compile in Kubernetes 1.25, cost less than a tenth of the limit, and never read status: they run on
//     writes of status and finalizers, too, and must not block them.
//  4. Rules about a change (immutable fields, transitions) are CEL's, because only the API server knows the old object; Go
//     runs them when Context.Old is set.
//  5. Everything is pure: no clock, no client. The time zone database is linked in, so that the verdict does not depend
//     on the image.
package validation

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// EngineRules are what an engine knows about its settings.
type EngineRules interface {
	// OwnedSettings are the names that the operator decides, each with the way to get what it is for. Names that
	// end in * are prefixes.
	OwnedSettings() map[string]string
	// ValidateConfig judges spec.engineConfig beyond the rules of every engine (its owned settings, and what could
	// break out of a file), also by what else the spec says.
	ValidateConfig(db *dbv1.Database) field.ErrorList
}

// Context is what a verdict depends on beside the Database. Every field is optional; without it, the rules that
// need it hold.
type Context struct {
	// CurrentVersion is status.currentVersion: the version that was last rolled out to every instance.
	CurrentVersion string
	// CurrentStorageSize is the requested size of the largest volume.
	CurrentStorageSize *resource.Quantity
	// Username and DatabaseName are those that the application's account was made with.
	Username, DatabaseName string
	// Engine judges spec.engineConfig.
	Engine EngineRules
	// ConsulPrefixes are where this operator allows credentials to be published; {namespace} stands for the Database's.
	ConsulPrefixes []string
	// Old is the Database before a change.
	Old *dbv1.Database
}

// Rule is one thing that must be true of an object.
type Rule struct {
	// ID names the rule, for tests and for people.
	ID string
	// Kind of the objects; empty for Database.
	Kind string
	// Paths are where the CEL rule stands in the schema, as "spec.storage"; items of a list are "[]", values of a map "{}".
	Paths []string
	// CEL is the expression; empty when only Go can say it.
	CEL string
	// Message is the sentence that users read.
	Message string
	// Check refuses a Database that breaks the rule; nil when only the API server can say it.
	Check func(s *subject)
}

// Rules are all rules, by topic.
var Rules = slices.Concat(identityRules, topologyRules, storageRules, networkingRules, backupRules, restoreRules, authRules, operationRules, schedulingRules, configRules)

// ValidateDatabase is every violation of a Database, ordered by field. It takes any Database, however empty.
func ValidateDatabase(db *dbv1.Database, context Context) field.ErrorList {
	s := &subject{db: db, spec: &db.Spec, Context: context}
	for i := range Rules {
		if s.rule = &Rules[i]; s.rule.Check != nil {
			s.rule.Check(s)
		}
	}
	slices.SortStableFunc(s.errs, func(a, b *field.Error) int { return cmp.Compare(a.Field, b.Field) })
	return s.errs
}

// subject is the Database that is judged, the rule that judges, and what it found.
type subject struct {
	Context
	db   *dbv1.Database
	spec *dbv1.DatabaseSpec
	rule *Rule
	errs field.ErrorList
}

// refuse records a violation when bad, with the rule's message.
func (s *subject) refuse(bad bool, path string, value any) {
	if bad {
		s.errs = append(s.errs, field.Invalid(at(path), value, s.rule.Message))
	}
}

// refuseWith records a violation with a detail that the rule's message cannot know.
func (s *subject) refuseWith(path string, value any, detail string) {
	s.errs = append(s.errs, field.Invalid(at(path), value, detail))
}

// refused says whether something was found at the path.
func (s *subject) refused(path string) bool {
	return slices.ContainsFunc(s.errs, func(e *field.Error) bool { return e.Field == path })
}

// at is a path as text, which is how it is shown.
func at(path string) *field.Path { return field.NewPath(path) }

// key is the path of one entry of a map.
func key(path, name string) string { return field.NewPath(path).Key(name).String() }
