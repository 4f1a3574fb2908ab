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
//  4. Rewind and Clone make data fit to follow a source. Both work while the engine is down.
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
}

// StartMode says how the engine starts next.
type StartMode string

// The ways to start.
const (
	// StartPrimary: it takes writes when its recovery is done.
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
	// Follow sets the source of a replica, running or down. With nil it takes the source away.
	Follow(ctx context.Context, source *Source) error
	// Promote ends recovery, and returns when writes are taken. It drops clients that came before.
	Promote(ctx context.Context) error
	// Rewind undoes what the data has beyond the point where its history leaves the source's, so
	// that it can follow. The engine is down, and stays down. An error that is ErrCannotRewind says
	// that only Clone helps.
	Rewind(ctx context.Context, source Source) error
	// Clone copies the source's data into the place of what is on the volume. What was there is set
	// aside on the same volume until the copy is whole, when there is room for both; else it is
	// removed first. Whenever it is killed, Inspect then says VolumeEmpty, or VolumeReady with one of
	// the two. The engine is down.
	Clone(ctx context.Context, source Source, progress func(message string)) error

	// SetSynchronous makes commits wait for replicas, and returns when every process that could
	// acknowledge one has applied it. While the engine is down it holds for the next start.
	SetSynchronous(ctx context.Context, wanted Synchronous) error
	// SetReplicas keeps what the log of a primary needs for these replicas (by data id), and no
	// longer for others.
	SetReplicas(ctx context.Context, dataIDs []string) error
	// AdmitClients lets clients in, or keeps them and their sessions out; replicas and the agent are
	// always let in. While the engine is down it holds for the next start.
	AdmitClients(ctx context.Context, admit bool) error

	// Replication says where the engine stands.
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
	// Settled: a replica has no source, has replayed all that it has, and waits for more. Then, and
	// only then, is Position what it has.
	Settled bool
	// Receiving: the source answers, and streams.
	Receiving bool
	// ReplayPaused: replay stands still on purpose or waits for a conflict to end.
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
	// RepliedAt is when it last said something.
	RepliedAt time.Time
}

// ErrCannotRewind says that the data can only be cloned again.
var ErrCannotRewind = errors.New("the data cannot be rewound")
