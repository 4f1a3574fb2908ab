// Package election decides which instance of a replica set is the primary. It is a pure state machine:
// it knows no Kubernetes, no engine, no disk and no clock. Its caller tells it what happened, as an
// Event with the time; it answers with Actions, and with what the engine must be (Want).
//
// The Lease of a Database is at once the gate to promotion, the fence, the failure detector and the
// record of who may be promoted. The rules, each of which closes a way to lose rows:
//
//   - The holder renews. When nothing was counted as a renewal for renewDeadline, its engine is
//     killed; others may claim only after leaseDuration of silence, on their own clocks.
//   - Without an answer of the API, promises of all recorded candidates count as a renewal. A
//     candidate that promised does not claim, and does not help another to claim, for leaseDuration.
//   - Who may claim stands in the record: the candidates. A commit of a synchronous primary waits for
//     w of them, and a claim needs the answers of so many that one of them has every such commit.
//   - Before an instance answers with its position, it takes its own source away (the fence), so that
//     what it acknowledges afterwards cannot be missing from its answer.
//   - Data has a name, and a chain: the epochs in which it was written, by whom, and from where on.
//     Positions are compared along the record's chain, and never across a fork.
//
// Actions of one Step are carried out in order, and those behind a Persist only after it is done.
// Nothing else is waited for: answers come back as events, in any order, late, twice or never.
package election
