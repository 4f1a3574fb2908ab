package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/plural"
)

// The marks of a good fact, a bad one, and one that is not known.
const (
	markGood    = "✓"
	markBad     = "✗"
	markUnknown = "?"
)

// Text is the report for a person: what it is, what is wrong, and then the parts.
func Text(report *Report, options Options) string {
	p := &page{Options: options}
	db := report.Database
	p.head(db)
	p.summary(db)
	p.operation(db)
	p.conditions(db)
	p.instances(report)
	p.storage(report)
	p.credentials(report)
	p.backups(report)
	p.plan(db)
	p.warnings(report)
	p.hints(report)
	return p.out.String()
}

func (p *page) head(db *dbv1.Database) {
	pieces := []cell{text("Database "), {db.Namespace + "/" + db.Name, bold}, text("  "), phase(db)}
	if db.Spec.Lifecycle.Paused && db.Status.Phase != dbv1.PhasePaused {
		pieces = append(pieces, text("  "), cell{"PAUSED", yellow})
	}
	p.line(pieces...)
}

// phase is the one word for the Database, coloured by how good it is.
func phase(db *dbv1.Database) cell {
	switch db.Status.Phase {
	case "":
		return cell{"not looked at yet", yellow}
	case dbv1.PhaseReady:
		return cell{string(db.Status.Phase), green}
	case dbv1.PhaseDegraded, dbv1.PhaseFailed:
		return cell{string(db.Status.Phase), red}
	default:
		return cell{string(db.Status.Phase), yellow}
	}
}

func (p *page) summary(db *dbv1.Database) {
	p.field("Engine", text(string(db.Spec.Engine)+" "+versions(db)))
	p.field("Topology", text(topology(db)))
	p.field("Age", text(p.age(&db.CreationTimestamp)))
	if primary := db.Status.Primary; primary != nil {
		p.field("Primary", p.primary(primary, db.Status.CurrentPrimary == primary.Name))
	}
	if db.Status.Endpoint != "" {
		p.field("Endpoint", text(db.Status.Endpoint+" (read and write)"))
	}
	if db.Status.ReadOnlyEndpoint != "" {
		p.field("", text(db.Status.ReadOnlyEndpoint+" (read only)"))
	}
	if health := db.Status.Health; health != nil && health.Status != "Healthy" {
		p.field("Health", cell{strings.TrimSuffix(health.Status+": "+health.Message, ": "), red})
	}
	if !db.DeletionTimestamp.IsZero() {
		p.field("Deleted", cell{p.ago(db.DeletionTimestamp) + ", policy " + string(db.Spec.Lifecycle.DeletionPolicy) +
			", waits for " + strings.Join(db.Finalizers, ", "), yellow})
	}
	if db.Spec.Lifecycle.Hibernated {
		p.field("Hibernated", cell{"asked for; see the conditions", yellow})
	}
}

// versions are the version wanted and the one running, when they differ.
func versions(db *dbv1.Database) string {
	switch running := db.Status.CurrentVersion; running {
	case "":
		return db.Spec.Version + " (not rolled out yet)"
	case db.Spec.Version:
		return running
	default:
		return db.Spec.Version + " wanted, " + running + " running"
	}
}

func topology(db *dbv1.Database) string {
	var b strings.Builder
	b.WriteString(string(dbv1.Mode(db)))
	if shards := dbv1.Shards(db); shards > 0 {
		b.WriteString(", " + plural.Of(shards, "shard"))
	}
	if ready := db.Status.Ready; ready != "" {
		b.WriteString(", " + ready + " ready")
	} else {
		b.WriteString(", " + plural.Of(dbv1.Replicas(db), "instance") + " wanted")
	}
	b.WriteString(", profile " + string(dbv1.EffectiveProfile(db)))
	return b.String()
}

// primary is the one that takes writes, or did last.
func (p *page) primary(primary *dbv1.PrimaryStatus, serves bool) cell {
	s := primary.Name
	if primary.Epoch > 0 {
		s += fmt.Sprintf(", epoch %d", primary.Epoch)
	}
	if !serves {
		return cell{"none is known to take writes; the last was " + s, red}
	}
	if primary.Since != nil {
		s += ", for " + p.age(primary.Since)
	}
	return text(s)
}

func (p *page) operation(db *dbv1.Database) {
	op := db.Status.Operation
	if op == nil {
		return
	}
	what := op.Kind
	if op.Target != "" {
		what += " " + op.Target
	}
	if op.FinishedAt != nil {
		p.ended(op, what)
		return
	}
	p.section("Under way")
	if op.Phase != "" {
		what += ", at " + op.Phase
	}
	p.line(text("  "), cell{what, yellow}, text(", begun "+p.ago(op.StartedAt)))
	if op.Deadline != nil {
		p.message(4, text("given up at "+p.when(op.Deadline)))
	}
	if op.Message != "" {
		p.message(4, text(op.Message))
	}
}

// remembered is how long the end of an operation is worth a part of the page.
const remembered = 24 * time.Hour

// ended says how the last operation ended.
func (p *page) ended(op *dbv1.OperationStatus, what string) {
	if p.Now.Sub(op.FinishedAt.Time) > remembered {
		return
	}
	p.section("Last operation")
	how := cell{op.Phase, green}
	if op.Phase != dbv1.OperationSucceeded {
		how.style = red
	}
	p.line(text("  "+what+", "), how, text(" "+p.ago(op.FinishedAt)))
	if op.Message != "" {
		p.message(4, text(op.Message))
	}
}

// conditions writes the problems first, each with what is wrong and what to do.
func (p *page) conditions(db *dbv1.Database) {
	if len(db.Status.Conditions) == 0 {
		return
	}
	all := slices.Clone(db.Status.Conditions)
	slices.SortStableFunc(all, func(a, b metav1.Condition) int {
		if d := urgency(a) - urgency(b); d != 0 {
			return d
		}
		return strings.Compare(a.Type, b.Type)
	})
	p.section("Conditions")
	width := 0
	for i := range all {
		width = max(width, len(all[i].Type))
	}
	said := map[string]string{}
	for i := range all {
		c := &all[i]
		if before := said[c.Message]; before != "" {
			c.Message = "the same as " + before
		} else if c.Message != "" {
			said[c.Message] = c.Type
		}
		p.condition(c, width)
	}
}

func (p *page) condition(c *metav1.Condition, width int) {
	mark := cell{markGood, green}
	switch c.Status {
	case metav1.ConditionFalse:
		mark = cell{markBad, red}
	case metav1.ConditionUnknown:
		mark = cell{markUnknown, yellow}
	case metav1.ConditionTrue:
	}
	pieces := []cell{text("  "), mark, text(fmt.Sprintf(" %-*s  ", width, c.Type)), text(c.Reason)}
	if !c.LastTransitionTime.IsZero() {
		pieces = append(pieces, cell{", for " + p.age(&c.LastTransitionTime), dim})
	}
	p.line(pieces...)
	if c.Status != metav1.ConditionTrue && c.Message != "" {
		p.message(6, text(c.Message))
	}
}

// urgency sorts conditions: False, Unknown, True; among the bad, Ready says it best.
func urgency(c metav1.Condition) int {
	switch {
	case c.Status == metav1.ConditionFalse && c.Type == dbv1.ConditionReady:
		return 0
	case c.Status == metav1.ConditionFalse:
		return 1
	case c.Status == metav1.ConditionTrue && c.Type == dbv1.ConditionReady:
		return 3
	case c.Status == metav1.ConditionTrue:
		return 4
	default:
		return 2
	}
}

// plan lists the disruptive steps that are wanted, and what holds them.
func (p *page) plan(db *dbv1.Database) {
	if len(db.Status.Plan) == 0 {
		return
	}
	p.section("Pending steps")
	for i := range db.Status.Plan {
		step := &db.Status.Plan[i]
		what := fmt.Sprintf("%d. %s %s", i+1, step.Kind, step.Target)
		held := ", next"
		if step.HeldBy != "" {
			held = ", held by " + step.HeldBy
		}
		if step.NotBefore != nil {
			held += " until " + p.when(step.NotBefore)
		}
		p.line(text("  "+strings.TrimSpace(what)), cell{held, yellow})
		if step.Reason != "" {
			p.message(5, text(step.Reason))
		}
	}
}

// shownWarnings is how many events are shown.
const shownWarnings = 5

func (p *page) warnings(report *Report) {
	events := report.Warnings
	if len(events) == 0 {
		return
	}
	p.section("Warnings")
	if hidden := len(events) - shownWarnings; hidden > 0 {
		events = events[hidden:]
		p.message(2, cell{"(" + plural.Of(hidden, "older warning") + " not shown)", dim})
	}
	for i := range events {
		event := &events[i]
		seen := metav1.NewTime(lastSeen(event).Time)
		times := ""
		if event.Series != nil && event.Series.Count > 1 {
			times = fmt.Sprintf(", %d times", event.Series.Count)
		}
		p.line(text("  "), cell{event.Reason, yellow},
			text(fmt.Sprintf(" of %s %s, %s%s", event.Regarding.Kind, event.Regarding.Name, p.ago(&seen), times)))
		if event.Note != "" {
			p.message(6, text(event.Note))
		}
	}
}

// lastSeen is when an event last happened. Older reporters leave the newer fields empty.
func lastSeen(event *eventsv1.Event) metav1.MicroTime {
	switch {
	case event.Series != nil && !event.Series.LastObservedTime.IsZero():
		return event.Series.LastObservedTime
	case !event.EventTime.IsZero():
		return event.EventTime
	case !event.DeprecatedLastTimestamp.IsZero():
		return metav1.NewMicroTime(event.DeprecatedLastTimestamp.Time)
	default:
		return metav1.NewMicroTime(event.CreationTimestamp.Time)
	}
}

// hints say what the reader may want to do next, and what he was not shown.
func (p *page) hints(report *Report) {
	db := report.Database
	var hints []string
	switch seen := db.Status.ObservedGeneration; {
	case db.Status.Phase == "":
		hints = append(hints, "The operator has not looked at this Database yet. Is it running, and does it watch this namespace?")
	case seen < db.Generation:
		hints = append(hints, fmt.Sprintf("The operator has not looked at the last change yet (generation %d, seen %d).", db.Generation, seen))
	}
	if db.Spec.Lifecycle.Paused {
		hints = append(hints, fmt.Sprintf("Paused: the operator changes nothing. To go on: kubectl database resume %s -n %s", db.Name, db.Namespace))
	}
	for _, unread := range report.Unread {
		hints = append(hints, "Not shown: "+unread.Part+", because "+unread.Reason+".")
	}
	if len(hints) == 0 {
		return
	}
	p.out.WriteByte('\n')
	for _, hint := range hints {
		p.message(0, cell{hint, yellow})
	}
}
