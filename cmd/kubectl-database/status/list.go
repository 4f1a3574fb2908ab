package status

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/plural"
)

// Table is a line for each Database, with its problems. It expects them sorted.
func Table(databases []dbv1.Database, withNamespace bool, options Options) string {
	p := &page{Options: options}
	var rows [][]cell
	for i := range databases {
		db := &databases[i]
		namespace := ""
		if withNamespace {
			namespace = db.Namespace
		}
		row := []cell{
			text(namespace), text(db.Name), text(string(db.Spec.Engine)), text(rowVersion(db)), phase(db), text(db.Status.Ready),
			text(db.Status.CurrentPrimary), text(p.age(&db.CreationTimestamp)), problems(db),
		}
		rows = append(rows, row)
	}
	p.table([]string{"NAMESPACE", "NAME", "ENGINE", "VERSION", "PHASE", "READY", "PRIMARY", "AGE", "PROBLEMS"}, rows)
	return unindent(p.out.String())
}

// rowVersion is the version that runs, and the one that is wanted when it is another.
func rowVersion(db *dbv1.Database) string {
	if running := db.Status.CurrentVersion; running != "" && running != db.Spec.Version {
		return running + "→" + db.Spec.Version
	}
	return db.Spec.Version
}

// problems names the conditions that are not True, and whatever else a person must know of.
func problems(db *dbv1.Database) cell {
	var bad, unclear []string
	for i := range db.Status.Conditions {
		c := &db.Status.Conditions[i]
		switch c.Status {
		case metav1.ConditionFalse:
			bad = append(bad, c.Type+" ("+c.Reason+")")
		case metav1.ConditionUnknown:
			unclear = append(unclear, c.Type)
		case metav1.ConditionTrue:
		}
	}
	var parts []string
	look := plain
	if len(unclear) > 0 {
		look = yellow
		parts = append(parts, markUnknown+" "+strings.Join(unclear, ", "))
	}
	if len(bad) > 0 {
		look = red
		parts = append([]string{markBad + " " + strings.Join(bad, ", ")}, parts...)
	}
	if db.Spec.Lifecycle.Paused && db.Status.Phase != dbv1.PhasePaused {
		parts = append(parts, "paused")
	}
	if n := len(db.Status.Plan); n > 0 {
		parts = append(parts, plural.Of(n, "pending step"))
	}
	return cell{strings.Join(parts, "; "), look}
}

// unindent takes away the indentation that tables have inside a page.
func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
