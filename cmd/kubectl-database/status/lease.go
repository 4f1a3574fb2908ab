package status

import (
	"fmt"
	"slices"
	"strings"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/record"
)

// What the Lease of the primary says.

// election is the Lease, read; the zero one says nothing.
type election struct {
	known  bool
	holder record.Identity
	record record.Record
}

func readLease(report *Report) election {
	lease := report.Lease
	if lease == nil || lease.Annotations[naming.AnnotationRecord] == "" {
		return election{}
	}
	r, err := record.Parse(lease.Annotations[naming.AnnotationRecord])
	if err != nil {
		return election{}
	}
	e := election{known: true, record: r}
	if id := lease.Spec.HolderIdentity; id != nil {
		e.holder, _ = record.ParseIdentity(*id)
	}
	return e
}

// candidate says whether the data of an instance may become the primary's.
func (e election) candidate(instance *dbv1.DatabaseInstance) cell {
	if !e.known || instance.Status.DataID == "" {
		return text("")
	}
	if _, ok := e.record.Candidate(instance.Status.DataID); ok {
		return cell{markGood, green}
	}
	return cell{markBad, yellow}
}

// remarks are about candidates that are not to be seen in the table, and a Lease that nobody holds.
func (e election) remarks(report *Report) []string {
	if !e.known {
		return nil
	}
	var all, missing []string
	if e.holder == (record.Identity{}) {
		all = append(all, "nobody holds the Lease "+report.Lease.Name)
	}
	for _, c := range e.record.Candidates {
		if !slices.ContainsFunc(report.Instances, func(i dbv1.DatabaseInstance) bool { return i.Status.DataID == c.Name }) {
			missing = append(missing, c.Instance)
		}
	}
	if len(missing) > 0 {
		all = append(all, "candidates whose data is not there: "+strings.Join(missing, ", "))
	}
	if e.record.W > 0 {
		all = append(all, fmt.Sprintf("each write reaches %d of %d other candidates before it is acknowledged", e.record.W, len(e.record.Synchronous())))
	}
	return all
}
