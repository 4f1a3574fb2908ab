package agent

import (
	"context"
	"errors"
	"time"
)

// The seam between the agent and an engine that has one primary and replicas, and does not elect by
// itself: who is the primary is decided through the Lease (package election), and done here.
//
//  1. Data that exists is first started as a replica without a source, unless the table of starts
//     says "primary". It replays what it has, and its position is then known.
//  2. Follow gives it a source, or takes the source away for good: when Follow(nil) has returned,
//     nothing more is received or acknowledged, whatever replay does, also after a restart.
//  3. Promote makes a primary of a running replica. Whether it may, its caller has settled.
//  4. Rewind and Clone make data fit to follow a source. Both work while the engine is down. What they
//     made may not answer before it got more from its source, so Follow comes before the start.
//
// What these calls configure lies on the volume, in files of the driver's own, and holds for the
// next start. They return within their context, and are idempotent.

// Position is a place in the engine's log, in bytes from its beginning (PostgreSQL: an LSN, Redis: a
// replication offset). Positions of different logs do not compare; those of one chain do.
type Position uint64

// Source is an instance that is followed or copied.
type Source struct {
	// Instance is its name, and Host its stable DNS name.
	Instance, Host string
	Port           int
	// DataID is the name of the data that is expected there.
	DataID string
	// As is the name under which a replica introduces itself there: its data id and the epoch that it
	// knows of. Empty is the data id alone.
	As string
}

// StartMode says how the engine starts next.
type StartMode string

// The ways to start.
const (
	// StartPrimary: it takes writes when its recovery is done. But data of a replica whose promotion
	// never ended starts as a replica without a source all the same; Promote ends it.
	StartPrimary StartMode = "Primary"
	// StartReplica: it replays what it has, and takes no writes. Its source is the one of Follow.
	StartReplica StartMode = "Replica"
)

// Synchronous is whom a commit waits for: Quorum of the names, which are data ids.
type Synchronous struct {
	Names  []string
	Quorum int
}

// Replicator is a Driver whose engine replicates.
type Replicator interface {
	Driver

	// PrepareStart writes down how the engine starts next, and under which name (the data id) it
	// introduces itself to its source. The engine is down.
	PrepareStart(ctx context.Context, mode StartMode, dataID string) error
	// Follow sets the source of a replica, running or down. With nil it takes the source away; an
	// error means that it may still receive, and the call is repeated. A source that is away is
	// followed all the same, one that has other data is not.
	Follow(ctx context.Context, source *Source) error
	// Promote ends recovery, and returns when writes are taken. It drops clients that came before.
	Promote(ctx context.Context) error
	// Rewind undoes what the data has beyond the point where its history leaves the source's, so
	// that it can follow. The engine is down, and stays down. It waits until the source, which was
	// promoted, has made a Checkpoint. An error that is ErrCannotRewind says that only Clone helps.
	// Whenever it is killed, Inspect then says VolumeReady, or VolumeEmpty when half is rewound.
	Rewind(ctx context.Context, source Source) error
	// Clone copies the source's data into the place of what is on the volume. What was there is set
	// aside on the same volume until the copy is whole, when there is room for both; else it is
	// removed first. Whenever it is killed, Inspect then says VolumeEmpty, or VolumeReady with one of
	// the two. The engine is down.
	Clone(ctx context.Context, source Source, progress func(message string)) error

	// SetSynchronous makes commits wait for replicas, and returns when every process that could
	// acknowledge one has applied it. While the engine is down it holds for the next start. After an
	// error either rule may be in force, or none that lets commits end; the call is repeated. A
	// commit that ended by the old rule is before the position that Replication tells afterwards.
	SetSynchronous(ctx context.Context, wanted Synchronous) error
	// SetReplicas keeps what the log of a primary needs for these replicas (by data id), and no
	// longer for others. An error may say that another one is still connected. On a replica it only
	// lets go: one that follows is given none.
	SetReplicas(ctx context.Context, dataIDs []string) error
	// AdmitClients lets clients in, or keeps them and their sessions out; replicas and the agent are
	// always let in. A primary lets them in only once commits are known to wait for whom they must.
	// While the engine is down it holds for the next start.
	AdmitClients(ctx context.Context, admit bool) error

	// Replication says where the engine stands. It is called several times a second, and also does
	// what cannot wait: without a source nothing may hold replay up, clients that are kept out but
	// came in are dropped, and a source of which nothing comes is asked again what it keeps for us.
	Replication(ctx context.Context) (Replication, error)
	// Checkpoint writes dirty pages, so that a stop, or a rewind from here, is short.
	Checkpoint(ctx context.Context) error
	// EndOfLog is where the log of an engine that was stopped cleanly ends. The engine is down.
	EndOfLog(ctx context.Context) (Position, error)
	// TestStorage writes and syncs a little on the volume, and asks the running engine, when there
	// is one, something that needs its shared memory. It returns an error when either hangs or fails.
	TestStorage(ctx context.Context) error
}

// Replication is where a running engine stands in replication.
type Replication struct {
	// Primary: it takes writes.
	Primary bool
	// Position is the end of what was flushed (primary) or replayed (replica).
	Position Position
	// SourcePosition is the end of the source's log as it last said; zero when it is not known.
	SourcePosition Position
	// Received is the end of what a replica has received; zero when it is not known. The last part may be a piece
	// that cannot be replayed.
	Received Position
	// Settled: a replica has no source, has replayed all that it has, and waits for more. Then, and
	// only then, is Position what it has.
	Settled bool
	// Receiving: the source answers, and streams.
	Receiving bool
	// LogGone: the source was asked, has the data that is expected there, is a primary, and lacks the log that
	// comes next. False is not known.
	LogGone bool
	// ReplayPaused: replay stands still on purpose or waits for a conflict to end. One that lasts while
	// there is a source may be settings that are too low since the primary's were raised: a restart
	// raises them.
	ReplayPaused bool
	// Timeline is PostgreSQL's; zero elsewhere.
	Timeline int64
	// Standbys are the replicas that are connected to it.
	Standbys []Standby
	// Synchronous is what it was told to wait for.
	Synchronous Synchronous
}

// Standby is a replica that is connected to its source.
type Standby struct {
	// DataID is the name that it introduced itself with.
	DataID string
	// Streaming: it has caught up with the past, and gets what is new.
	Streaming bool
	// Flushed is the end of what is on its volume, as it said.
	Flushed Position
	// Replayed is the end of what it has replayed, as it said; zero where that is not known.
	Replayed Position
	// RepliedAt is when it last said something, by our own clock.
	RepliedAt time.Time
}

// ErrCannotRewind says that the data can only be cloned again. It may be lost already.
var ErrCannotRewind = errors.New("the data cannot be rewound")
