// Package elector lets the election (package election) take place: it reads and writes the Lease, asks
// and answers peers, keeps what must outlive the process, and tells the agent what the engine must be.
//
// One goroutine, the loop, owns the machine. It waits for nothing but its inputs: the tick, answers of
// the API and of peers, questions of peers, and what the agent sees. A step's actions leave the loop as
// a batch, through the executor: a second goroutine, which takes one batch after the other, and carries
// out what is behind a Persist only when the file is on the volume. Requests run in goroutines of their
// own. So neither a volume that hangs nor an API server that is away delays what the machine decides;
// two things in particular never wait for the volume:
//
//   - the deadline of the watchdog, which is set after every step;
//   - a Want that ends the engine, because ending is always safe.
package elector
