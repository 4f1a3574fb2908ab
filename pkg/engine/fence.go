package engine

import (
	"slices"
	"strings"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// FencedInstances are the instances whose engines a person wants to be down, by the annotation
// db.platform.io/fenced: names with commas between them. The agent of such an instance stops its
// engine, gives up the Lease, and is no candidate until the name is gone from there.
func FencedInstances(db *dbv1.Database) []string {
	var names []string
	for name := range strings.SplitSeq(db.Annotations[naming.AnnotationFenced], ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
