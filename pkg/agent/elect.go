package agent

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/agent/elector"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
)

// The seam between the loop and the election.
//
//  1. The loop tells what the engine is (election.Facts), and what the operator wants (election.Spec).
//  2. The election tells what the engine must be (election.Want), each time with a number.
//  3. The loop brings the engine there with steps, one at a time. Facts carry the number of the Want
//     that was whole before they were looked at: what is older proves nothing.
//
// An engine that is to be killed is killed at once, beside whatever step is under way.

// Elector decides whether this instance is the primary (package elector).
type Elector interface {
	// Run elects until the context ends, and tells what the engine must be.
	Run(ctx context.Context) error
	// SeeEngine, SeeSpec and DataMade tell it what is.
	SeeEngine(facts election.Facts)
	SeeSpec(spec election.Spec, like metav1.ObjectMeta)
	DataMade(name string)
	DataLost()
	// Status is what it knows.
	Status() elector.Status
	// Expired says, by the clock, that no primary may run now. It is asked right before the engine is
	// started as one, or promoted: the process may have slept.
	Expired() bool
	// Fence is the clock that facts are timed with.
	Fence() time.Duration
}

// replication is what the loop knows of an engine that replicates.
type replication struct {
	elector.Status
	Want election.Want
	// told: the election has said something since this process started.
	told bool

	// done is what was carried out; nil or empty is not known.
	done carriedOut
	// whole is the number of the Want that the engine was last brought to.
	whole uint64

	seen    Replication
	seenFor uint64
	seenAt  time.Time
	// receivingAt is when the source last sent something.
	receivingAt time.Time
	heard       heard
	lost        lost

	crashes int
	// endOfLog is known after a clean stop.
	endOfLog *Position
	lastSpec *election.Spec
	named    string
}

// carriedOut is what the engine was last made to be.
type carriedOut struct {
	mode        StartMode
	source      *Source
	sourceSet   bool
	synchronous *Synchronous
	replicas    *[]string
	admit       *bool
	// rebuilt is the Want whose rewind or clone is done; cannotRewind the one whose rewind is impossible.
	rebuilt, cannotRewind uint64
}

// setWant is told by the elector what the engine must be.
func (a *Agent) setWant(want election.Want) {
	a.post(a.background, func(m *memory) { a.takeWant(m, want) })
}

func sameCandidate(a, b *election.Candidate) bool {
	return a != nil && b != nil && *a == *b
}

// openElection makes the elector, which reads what an earlier agent kept.
func (a *Agent) openElection(store *Store) error {
	engine, replicates := a.Driver.(Replicator)
	if a.NewElector == nil || !replicates {
		return nil
	}
	var err error
	if a.elector, err = a.NewElector(store.Election(), a.setWant); err != nil {
		return err
	}
	a.pulse = elector.NewPulse(a.elector.Fence, engine.TestStorage)
	return nil
}

// takeWant learns what the engine must be.
func (a *Agent) takeWant(m *memory, want election.Want) {
	r := m.repl
	before := r.Want
	r.Want, r.told = want, true
	// Another wish is a reason to try again at once.
	for key := range m.retryAt {
		if slices.Contains(replicationSteps, keyKind(key)) {
			delete(m.retryAt, key)
			delete(m.failures, key)
		}
	}
	m.restartAt = time.Time{}
	// A rewind that is cut short costs the data, and a clone all that was copied.
	rebuilding := m.busyWith == stepRewind || m.busyWith == stepClone
	goesOn := rebuilding && want.Mode == before.Mode && sameCandidate(want.Source, before.Source)
	if m.busy && m.busyWith != stepStop && m.busyWith != stepStart && !goesOn {
		// What is under way may be for a wish that is no more, and must not hold up this one.
		m.cancel()
	}
	if want.Kill && m.process != nil {
		m.stopAsked = true
		m.process.Stop(StopKill)
	}
}

// tellElection gives the election the facts and the spec.
func (a *Agent) tellElection(m *memory) {
	r := m.repl
	if r == nil {
		return
	}
	r.Status = a.elector.Status()
	if r.Disk.Name != "" {
		m.dataID = r.Disk.Name
	}
	if whole(&m.observed) {
		if r.whole != r.Want.Seq {
			r.whole = r.Want.Seq
			a.lookNow()
		}
		a.wholeSeq.Store(r.whole)
	}
	a.elector.SeeEngine(m.electionFacts())
	if spec := a.electionSpec(m); spec != nil && (r.lastSpec == nil || !reflect.DeepEqual(spec, r.lastSpec)) {
		r.lastSpec = spec
		a.elector.SeeSpec(*spec, leaseLike(m.instance))
	}
	a.nameData(m)
}

// nameData tells of data that was just made, or is from before there was an election.
func (a *Agent) nameData(m *memory) {
	r := m.repl
	if r.emptied(m) {
		// What comes in the place of what was there is other data.
		a.elector.DataLost()
		return
	}
	if !r.told || r.Disk.Name != "" || r.named != "" || !m.hasData() || m.foreign(m.spec) {
		return
	}
	if r.named = m.dataID; r.named == "" {
		r.named = newDataID()
	}
	a.elector.DataMade(r.named)
}

// emptied: somebody emptied the volume.
func (r *replication) emptied(m *memory) bool {
	return r.told && r.Disk.Name != "" && !r.Disk.Rebuilding && !m.volumeStale && m.volume != nil && m.volume.State == VolumeEmpty
}

// hasData says whether a whole database is on the volume, and what it must be is known.
func (m *memory) hasData() bool {
	return m.volume != nil && m.volume.State == VolumeReady && m.spec != nil
}

// leaseLike has what a Lease must carry that is made anew: what the operator gave the first one.
func leaseLike(instance *dbv1.DatabaseInstance) metav1.ObjectMeta {
	if instance == nil {
		return metav1.ObjectMeta{}
	}
	labels := maps.Clone(instance.Labels)
	delete(labels, naming.LabelGroup)
	return metav1.ObjectMeta{Labels: labels, OwnerReferences: instance.OwnerReferences}
}

// electionFacts is what the election must know of the engine.
func (m *memory) electionFacts() election.Facts {
	r := m.repl
	f := election.Facts{
		Seq: r.whole, Foreign: m.hasData() && m.foreign(m.spec),
		HealthyAt: m.healthyAt, Crashed: r.crashes, RewindFailed: r.done.cannotRewind == r.Want.Seq && r.Want.Seq != 0,
	}
	switch {
	case m.engine == engineDown && !m.between:
		f.Mode = election.ModeDown
		if r.endOfLog != nil {
			f.Settled, f.Position = true, election.Position(*r.endOfLog)
		}
	case m.process != nil && !m.stopAsked && !r.seenAt.IsZero():
		// An engine that lives and does not answer is what it was. HealthyAt says since when, and bounds it.
		r.runningFacts(&f)
	}
	return f
}

// runningFacts are those of an engine that answers, as they were looked at last.
func (r *replication) runningFacts(f *election.Facts) {
	f.Seq, f.Mode = r.seenFor, election.ModeReplica
	if r.seen.Primary {
		f.Mode = election.ModePrimary
	}
	f.Position, f.Settled = election.Position(r.seen.Position), r.seen.Settled
	f.Receiving, f.LogGone = r.seen.Receiving, r.seen.LogGone
	f.Applied = r.done.synchronous != nil && sameSynchronous(*r.done.synchronous, wantedSynchronous(r.Want))
	f.Standbys, f.Replayed = map[string]election.Position{}, map[string]election.Position{}
	for _, s := range r.seen.Standbys {
		if name, ok := knownBy(s.DataID, r.Want.Epoch); ok && s.Streaming {
			f.Standbys[name] = election.Position(s.Flushed)
			if s.Replayed > 0 {
				f.Replayed[name] = election.Position(s.Replayed)
			}
		}
	}
}

// electionSpec is what the operator wants, as far as the election is concerned.
func (a *Agent) electionSpec(m *memory) *election.Spec {
	spec := m.spec
	if spec == nil || spec.Replication == nil || m.volume == nil {
		return nil
	}
	want := spec.Replication
	s := &election.Spec{
		W: int(want.SynchronousReplicas), MaxLag: election.Position(want.MaxLag),
		Durations: election.Durations{
			Lease: want.LeaseDuration.Duration, RenewDeadline: want.RenewDeadline.Duration,
			RenewPeriod: want.RenewPeriod.Duration, RetryPeriod: want.RetryPeriod.Duration,
		},
		Gone:    m.gone,
		Stop:    m.stopping || spec.Fenced || m.volume.State == VolumeUnusable,
		Initial: m.isFirst(),
	}
	for _, member := range spec.Members {
		if member.Voter {
			s.Members = append(s.Members, member.Name)
		}
		if member.Name == a.Instance {
			s.Priority = member.Priority
		}
	}
	if op := m.operation; op != nil && op.Phase == dbv1.OperationRunning {
		askElection(s, op.ID, spec.Operation)
	}
	return s
}

// isFirst: this instance claims a Lease that was never held. Its data was made for that, or is what a single instance had.
func (m *memory) isFirst() bool {
	spec := m.spec
	return spec.Ordinal == 0 && m.hasData() && (spec.Bootstrap || spec.SystemID != "" && spec.SystemID == m.volume.SystemID)
}

// askElection adds an operation that the election carries out, while it runs.
func askElection(s *election.Spec, running string, asked *dbv1.InstanceOperation) {
	if asked == nil || asked.ID != running {
		return
	}
	switch asked.Kind {
	case dbv1.OperationSwitchover:
		s.HandoverID, s.Handover = running, cmp.Or(asked.Target, "*")
	case dbv1.OperationFailover:
		s.Force = running
	}
}

// sourceOf is a candidate as the driver knows it. One that the spec does not list, because it is about to leave or the
// spec is an old one, has the name that every instance of the Database has.
func (a *Agent) sourceOf(w *election.Want, spec *dbv1.DatabaseInstanceSpec) *Source {
	c := w.Source
	if c == nil {
		return nil
	}
	host := naming.InstanceHost(c.Instance, a.Database, a.Namespace)
	if spec != nil {
		for _, member := range spec.Members {
			if member.Name == c.Instance {
				host = member.Host
			}
		}
	}
	return &Source{Instance: c.Instance, Host: host, Port: a.Port, DataID: c.Name, As: standbyName(w.Name, w.Epoch)}
}

// standbyName is how a replica introduces itself: a primary waits only for those that know its epoch.
func standbyName(dataID string, epoch int64) string {
	return dataID + "." + strconv.FormatInt(epoch, 10)
}

// knownBy is the data id of a replica that knows that epoch.
func knownBy(name string, epoch int64) (dataID string, ok bool) {
	return strings.CutSuffix(name, standbyName("", epoch))
}

func wantedSynchronous(w election.Want) Synchronous {
	s := Synchronous{Quorum: w.Synchronous.W}
	for _, name := range w.Synchronous.Names {
		s.Names = append(s.Names, standbyName(name, w.Epoch))
	}
	return s
}

func sameSynchronous(a, b Synchronous) bool {
	return a.Quorum == b.Quorum && slices.Equal(a.Names, b.Names)
}

// whole says whether the engine is all that it was last wanted to be.
func whole(o *observed) bool {
	r := o.repl
	w, done := r.Want, r.done
	isDown, isRunning := o.engine == engineDown && !o.between, o.engine == engineRunning
	switch w.Mode {
	case election.ModeDown:
		return isDown && o.volume != nil
	case election.ModeReplica:
		return isRunning && done.replica(&w)
	case election.ModePrimary:
		return isRunning && done.primary(&w)
	case election.ModeRewind, election.ModeClone:
		return isDown && (done.rebuilt == w.Seq || done.cannotRewind == w.Seq)
	case election.ModeUnknown:
	}
	return false
}

// replica says whether all that a replica is wanted to be was done.
func (d *carriedOut) replica(w *election.Want) bool {
	return d.mode == StartReplica && d.sourceSet && sameSource(d.source, w)
}

// primary says whether all that a primary is wanted to be was done. For whom it keeps its log is no part
// of that: what is kept for one that leaves can only go when that one is gone, and another may leave first.
func (d *carriedOut) primary(w *election.Want) bool {
	return d.mode == StartPrimary && d.synchronous != nil && sameSynchronous(*d.synchronous, wantedSynchronous(*w)) &&
		d.admit != nil && *d.admit == w.Admit
}

func sameSource(done *Source, w *election.Want) bool {
	if done == nil || w.Source == nil {
		return done == nil && w.Source == nil
	}
	return done.Instance == w.Source.Instance && done.DataID == w.Source.Name && done.As == standbyName(w.Name, w.Epoch)
}
