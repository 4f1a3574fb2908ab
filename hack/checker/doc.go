// Command checker is the client that judges a database while faults happen. It writes numbered rows, records what was acknowledged, and
// afterwards proves that every acknowledged row is there, that at no time two primaries acknowledged, how long nobody could write, and
// how many requests failed.
//
//	checker write --credentials-dir /credentials --workers 4 --interval 20ms --duration 5m --log service.log
//	checker write --credentials-dir /credentials --target 10.1.0.7:5432 --log isolated.log
//	checker hold --credentials-dir /credentials --sessions 10 --duration 5m --log sessions.log
//	checker verify --credentials-dir /credentials --log service.log --log isolated.log --json report.json
//
// # Who reaches what
//
// The credentials are a Secret in the form of servicebinding.io, mounted as a folder: the file "uri" is read for every connection, and
// its scheme chooses the engine. "write" goes through the Service, as an application does. With --target it goes to one instance,
// whatever the Service says: run it beside the other one to see whether an isolated primary still acknowledges. --readers read through
// the read-only Service at the same time (the file "readonly-uri"). "hold" opens sessions and leaves them idle until the end, when it asks
// each whether it still answers.
//
// # What a write is
//
// Its identity (run, worker, sequence) is sent once and never tried again. It is a transaction of its own, and its row names the server
// that wrote it: instance, address, start and epoch (PostgreSQL's timeline), together a term. Its outcome is one of three:
//
//   - acknowledged: the server confirmed the commit without reservation. The row must be there for ever.
//   - failed: certainly not committed. There was no connection, or the server refused, or the connection was lost before the request to
//     commit was sent. There must be no row.
//   - unknown: the connection was lost, or the time was up, after the request to commit was sent and before its answer; or the server
//     confirmed with a warning, as PostgreSQL does when the wait for synchronous standbys is cancelled. Both a row and none are right.
//
// # What is a failure
//
// "verify" reads the rows back from the present primary. It exits with 1 when
//
//   - an acknowledged write is lost;
//   - a write is there twice, or is there although it failed, or as written by another term than the one that acknowledged it;
//   - two primaries acknowledged: a write acknowledged by one term was asked to commit after a write acknowledged by a newer term was
//     already confirmed. What only overlaps is shown and is no proof;
//   - nothing was acknowledged through the Service: then nothing is proved;
//   - with --strict-reads, a row that a reader saw is gone (with asynchronous replicas it may be).
//
// It exits with 2 when it cannot judge: no primary answers, a log cannot be read. With asynchronous replication lost writes are expected
// after a failover, and "verify" says how many; what is tolerable is the caller's affair, who reads the JSON (history.Report).
//
// # Times
//
// A log has wall clock and monotonic times. Logs from one boot of one machine, its containers included, are compared by the monotonic
// clock, so a clock that is stepped harms nothing. Logs from several machines are compared by their wall clocks, and the report says so.
// The write gap is the longest time between two successive acknowledgements, over all workers. An outage is what a client notices: from
// the begin of the first request that was not acknowledged to the end of the next one that was. A time in which the checker itself did
// not run is recorded as a stall, so that it is not taken for the database's.
//
// Every outcome is a line of the log as soon as it is known, written without a buffer. When a checker is killed, what is missing are the
// requests in flight; rows that they left are counted as unrecorded.
package main
