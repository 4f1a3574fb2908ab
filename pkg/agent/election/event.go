package election

import "time"

// Now is one reading of the clocks, as time since the machine was made.
type Now struct {
	// Mono is the monotonic clock: what others may do is timed with it. It may stand still while the
	// machine sleeps, and then errs on the side of waiting longer.
	Mono time.Duration
	// Fence is the larger of the boot-time clock and the wall clock: what this instance itself may go
	// on doing is timed with it. It errs on the side of stopping earlier. It never goes back, and
	// between two readings it grows by the larger of the two clocks' growth: when the wall clock is set
	// back, the boot-time clock still counts.
	Fence time.Duration
	// Wall is the wall clock, in microseconds since 1970. Nothing is timed with it: what is written bears it, for people.
	Wall int64
}

// Event is something that happened.
type Event interface{ event() }

type (
	// Tick says that time has passed; it comes several times a second.
	Tick struct{}

	// LeaseSeen is what the API said about the Lease: the answer to ReadLease, which is read from the
	// quorum and not from a cache, or a watch's news. They may come late, and out of order.
	LeaseSeen struct {
		// SentAt is when the request was sent (Now.Mono). A watch's news have a negative one: they do
		// not say when that still stood.
		SentAt time.Duration
		// Version is the resourceVersion; empty when there is no Lease.
		Version string
		Record  Record
	}

	// LeaseWritten is the outcome of WriteLease.
	LeaseWritten struct {
		ID      int64
		Outcome Outcome
		// Version is the new one, after Committed.
		Version string
	}

	// Asked is a question of a peer; Reply answers it.
	Asked struct {
		Question Question
		// Token says to the caller which request it is.
		Token int64
	}

	// Answered is a peer's answer to Ask.
	Answered struct {
		Question Question
		Answer   Answer
	}

	// EngineSeen is what the caller found, in the order in which it was found. An engine that ended by itself is only started again after
	// the facts that say so were given, and towards the Want that followed.
	EngineSeen struct{ Facts Facts }

	// SpecSeen is what the operator wants.
	SpecSeen struct{ Spec Spec }

	// DataMade says that a new, empty database was made, with this name.
	DataMade struct{ Name string }

	// DataLost says that the data is gone, and what was kept is not (a Redis that came back empty). It
	// comes before anything else is seen or done.
	DataLost struct{}
)

func (Tick) event()         {}
func (LeaseSeen) event()    {}
func (LeaseWritten) event() {}
func (Asked) event()        {}
func (Answered) event()     {}
func (EngineSeen) event()   {}
func (SpecSeen) event()     {}
func (DataMade) event()     {}
func (DataLost) event()     {}

// Outcome is how a write ended.
type Outcome string

// The outcomes of a write.
const (
	// Committed: it is there.
	Committed Outcome = "Committed"
	// Conflict: the Lease had another version. It says nothing about earlier writes.
	Conflict Outcome = "Conflict"
	// Unknown: no answer; it may still be committed.
	Unknown Outcome = "Unknown"
)

// Action is something to do.
type Action interface{ action() }

type (
	// Persist keeps what must outlive the process; the actions behind it, in this Step and in later
	// ones, wait for it. So does Want: until it is kept, the engine is led towards no newer Want than
	// that of the last Step that was kept as a whole. Only going down never waits.
	Persist struct{ Disk Disk }

	// ReadLease asks the API for the Lease.
	ReadLease struct{}

	// WriteLease writes it, on condition that it has that version still (empty: that there is none).
	WriteLease struct {
		ID     int64
		Base   string
		Record Record
	}

	// Ask asks a peer.
	Ask struct {
		Instance string
		Question Question
	}

	// Reply answers a question.
	Reply struct {
		Token  int64
		Answer Answer
	}
)

func (Persist) action()    {}
func (ReadLease) action()  {}
func (WriteLease) action() {}
func (Ask) action()        {}
func (Reply) action()      {}

// Kind is what a peer is asked.
type Kind string

// The questions.
const (
	// AskIdentity: whose data is there, and does it run as primary?
	AskIdentity Kind = "Identity"
	// AskPromise: do you promise not to claim, nor to help another to?
	AskPromise Kind = "Promise"
	// AskPosition: how far is your data, at this version of the Lease?
	AskPosition Kind = "Position"
	// AskEpoch: do you know a higher epoch?
	AskEpoch Kind = "Epoch"
	// AskContains: does your data contain this position, written under this epoch?
	AskContains Kind = "Contains"
)

// Question is what a peer is asked.
type Question struct {
	Kind Kind
	// Round tells the asker which of its rounds it is.
	Round int64
	// From is the asker's instance.
	From string
	// Holder, Epoch and Lease say whose promise is asked for, and for how long (AskPromise).
	Holder string
	Epoch  int64
	Lease  time.Duration
	// Version is that of the Lease (AskPosition).
	Version string
	// Position is what must be contained (AskContains, with Epoch).
	Position Position
}

// Answer is what a peer says. Every answer says what it knows of the Lease.
type Answer struct {
	// Instance and Name say who answers.
	Instance, Name string
	// Yes: it promises, has the position, contains it, or runs as primary. For AskEpoch it is true.
	Yes bool
	// Unable: it could not claim, so it would be no successor whatever it contains (AskContains); its source
	// lacks the log that its data needs next (AskIdentity).
	Unable bool
	// Record is the newest that it has seen, HighestEpoch the highest epoch; AskedEpoch is the highest
	// that it ever asked for.
	Record                   Record
	HighestEpoch, AskedEpoch int64
	// Chain, Position and Priority rank it (AskPosition).
	Chain    Chain
	Position Position
	Priority int32
}

// Mode is what the engine does.
type Mode string

// The modes.
const (
	// ModeUnknown: it is between two of the others.
	ModeUnknown Mode = ""
	// ModeDown: nothing of it is left that could write or acknowledge.
	ModeDown Mode = "Down"
	// ModeReplica: it takes no writes.
	ModeReplica Mode = "Replica"
	// ModePrimary: it takes writes.
	ModePrimary Mode = "Primary"
	// ModeRewind and ModeClone: its data is being made fit to follow (only in Want).
	ModeRewind Mode = "Rewind"
	ModeClone  Mode = "Clone"
)

// Want is what the engine must be. It is level-based: the caller works towards the newest. Right before it
// starts or promotes a primary it looks at Machine.Deadline once more: it may have slept. Its slices
// are not to be changed.
type Want struct {
	// Seq grows with every change; Facts say for which one they hold.
	Seq  uint64
	Mode Mode
	// Name is the data id: of the data that is there, or, in ModeClone, of the copy.
	Name string
	// Kill: going down must not wait for anything.
	Kill bool
	// Source is the candidate to follow, or to copy from; nil for none.
	Source *Candidate
	// Epoch is the last epoch of the chain, of the source's or of the primary's own. A replica introduces
	// itself with it. A primary knows as Standbys, and waits for, only those that say its own: one that
	// does not know of the epoch yet takes what it receives for a part of an earlier one, and would
	// throw it away when it learns better.
	Epoch int64
	// Synchronous is whom commits of a primary wait for. It is in place before promotion.
	Synchronous Synchronous
	// Admit lets clients in.
	Admit bool
	// Replicas are the names that the primary keeps its log for.
	Replicas []string
}

// Synchronous is whom a commit waits for.
type Synchronous struct {
	Names []string
	W     int
}

// Facts are what is known of the engine and its data.
type Facts struct {
	// Seq is the Want that was whole when the rest was looked at: an engine on its way to it, or still
	// as an earlier one wanted it, has the earlier one's.
	Seq  uint64
	Mode Mode
	// Position is the end of what was flushed (primary), of what was replayed (replica), or of the log
	// (down, after a clean stop).
	Position Position
	// Settled: a replica without source has replayed all that it has; a stopped engine ended cleanly.
	Settled bool
	// Receiving: the source streams to it.
	Receiving bool
	// LogGone: the source, which has the data that is to be followed and is a primary, said that it lacks the
	// log that comes next. False is not known.
	LogGone bool
	// Standbys are the names that stream from it, with the end of what they flushed.
	Standbys map[string]Position
	// Replayed is the end of what they have replayed, where that is known.
	Replayed map[string]Position
	// Applied: every process that acknowledges commits has the Synchronous of that Want. Position was
	// read after that was seen, so that nothing behind it was acknowledged by an older setting.
	Applied bool
	// HealthyAt is when a write with fsync on the volume, and a query where the engine runs, last
	// returned (Now.Fence); negative before the first.
	HealthyAt time.Duration
	// RewindFailed: the data cannot be rewound, only cloned.
	RewindFailed bool
	// Inconsistent: the data was rewound, and is not whole before it got as far as its source was then.
	Inconsistent bool
	// Foreign: the data is of another system. Nothing is done with it.
	Foreign bool
	// Crashed counts how often the engine ended by itself.
	Crashed int
}

// Spec is what the operator wants.
type Spec struct {
	// Members are the instances that may be candidates: those that are to exist, but none that a person
	// fenced.
	Members []string
	// W is how many replicas must have every acknowledged commit.
	W         int
	Durations Durations
	// MaxLag is how far a replica may be behind to become a candidate, in bytes.
	MaxLag Position
	// Priority prefers this instance among equals.
	Priority int32
	// Initial: this instance may claim a Lease that was never held.
	Initial bool
	// Gone are the members that the API shows without a pod, or with one that is not ready.
	Gone map[string]bool
	// Stop: the instance must hand over and stop (its pod is being deleted, or a person fenced it).
	Stop bool
	// Handover asks the holder to give the Lease to that instance, or to the best when it is "*"; once
	// for each HandoverID.
	Handover   string
	HandoverID string
	// Force makes this instance claim without the answers that it needs, and though it is no candidate:
	// a person accepts the loss. Each text does so once. It does not shorten the silence.
	Force string
}

// Disk is what must outlive the process. Its slices are never changed in place.
type Disk struct {
	// Name is the data id, empty without data. Chain is its history.
	Name  string
	Chain Chain
	// Rebuilding: the data is being rewound or cloned, and is not whole.
	Rebuilding bool
	// Record is the newest that was seen, HighestEpoch the highest epoch seen anywhere.
	Record       Record
	HighestEpoch int64
	// AskedEpoch is the highest epoch that this instance ever asked for; OwnEpoch the last in which it
	// was the holder.
	AskedEpoch, OwnEpoch int64
	// Fence is the version of the Lease at which the source was taken away.
	Fence string
	// Handover is how the handover that was last asked for went, Forced the last Force that was used.
	Handover HandoverOutcome
	Forced   string
	// Unsettled are records that were sent, and may have been committed or may yet be.
	Unsettled []Sent
	// Releasing: the newest of them gives the Lease away.
	Releasing bool
}

// Sent is a record that was sent on condition of a version.
type Sent struct {
	Base   string
	Record Record
}
