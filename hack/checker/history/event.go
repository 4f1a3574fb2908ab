// Package history is what a checker saw: the log that it writes while it works, and the judgement of that log against the rows that
// are there afterwards. It knows no engine and talks to no server.
//
//  1. Every outcome is one line of JSON (Event), written at once: a killed checker loses at most the requests in flight.
//  2. Load reads logs and places their events on one time axis (see Instant).
//  3. Analyze compares them with the rows that a database returned and makes the Report.
package history

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Outcome is what is known of a write.
type Outcome string

const (
	// Acknowledged means that the server confirmed the commit without reservation: the row must be there for ever.
	Acknowledged Outcome = "acknowledged"
	// Failed means that the write was certainly not committed: the request to commit was never sent, or was refused.
	Failed Outcome = "failed"
	// Unknown means that nobody told: the connection was lost while the commit was in flight, or the server committed without the
	// replicas that it should have waited for. The row may be there or not.
	Unknown Outcome = "unknown"
)

// Stage is how far a request came.
type Stage string

const (
	// StageConnect means that there was no connection.
	StageConnect Stage = "connect"
	// StageWrite means that the write was sent, and not yet the request to commit it.
	StageWrite Stage = "write"
	// StageCommit means that the request to commit was sent.
	StageCommit Stage = "commit"
)

// Instant is a time in nanoseconds. In a log it is the machine's monotonic clock, which no clock step moves. Load shifts it to Unix
// time: by one amount for all runs of one boot of one machine, so that they stay comparable to the nanosecond, and otherwise by what
// the wall clock of each said at its start.
type Instant int64

// Time is the wall clock's time, after Load.
func (i Instant) Time() time.Time { return time.Unix(0, int64(i)).UTC() }

// Sub is the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// ID is the identity of a write. It is sent once and never tried again, so it has one row or none.
type ID struct {
	Run      string `json:"run"`
	Worker   int    `json:"worker"`
	Sequence int64  `json:"sequence"`
}

// Term is a time of one server process as primary. Epochs alone do not tell terms apart: two promotions can pick the same one.
type Term struct {
	// Instance is the instance's name, as far as the server knows it.
	Instance string `json:"instance,omitempty"`
	// Address is where the server itself says that it was reached, behind any Service.
	Address string `json:"address,omitempty"`
	// Started tells the starts of one instance apart.
	Started string `json:"started,omitempty"`
	// Epoch grows with every promotion: PostgreSQL's timeline. 0: unknown.
	Epoch int64 `json:"epoch"`
}

func (t Term) String() string {
	return fmt.Sprintf("%s %s, start %s, epoch %d", t.Instance, t.Address, t.Started, t.Epoch)
}

// Server is what answered a request.
type Server struct {
	Term
	// Process is the server's process for the session.
	Process int64 `json:"process,omitempty"`
	// Position is where the server's log of changes stood: PostgreSQL's LSN.
	Position string `json:"position,omitempty"`
}

// Attempt is what became of a write.
type Attempt struct {
	Outcome Outcome `json:"outcome"`
	Stage   Stage   `json:"stage"`
	Server  *Server `json:"server,omitempty"`
	// Reason sorts errors: PostgreSQL's SQLSTATE, or a word like "refused".
	Reason string `json:"reason,omitempty"`
	// Error is set when the session must not be used again.
	Error string `json:"error,omitempty"`
	// Warning is the reservation under which the server confirmed.
	Warning string `json:"warning,omitempty"`
}

// Write is a request to write a row.
type Write struct {
	Worker   int   `json:"worker"`
	Sequence int64 `json:"sequence"`
	Attempt
	// Connected: a connection was opened for it.
	Connected bool `json:"connected,omitempty"`
	// Begin is when the request began, with its connection.
	Begin Instant `json:"begin"`
	// Sent is when the request to commit was sent, or zero. What was acknowledged was committed between Sent and End.
	Sent Instant `json:"sent,omitempty"`
	End  Instant `json:"-"`
}

// Read is a request for the newest row of every worker.
type Read struct {
	Reader  int     `json:"reader"`
	Outcome Outcome `json:"outcome"`
	Server  *Server `json:"server,omitempty"`
	// Newest has the sequence of each worker; zero: none.
	Newest    []int64 `json:"newest,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	Error     string  `json:"error,omitempty"`
	Connected bool    `json:"connected,omitempty"`
	Begin     Instant `json:"begin"`
	End       Instant `json:"-"`
}

// SessionState is what happened to a session that is held open.
type SessionState string

const (
	// SessionOpened means that it was opened.
	SessionOpened SessionState = "opened"
	// SessionRefused means that it could not be opened.
	SessionRefused SessionState = "refused"
	// SessionEnded means that it was ended by the other side while it was idle.
	SessionEnded SessionState = "ended"
	// SessionAnswers means that it still answered at the end.
	SessionAnswers SessionState = "answers"
	// SessionDead means that nobody had ended it, but it did not answer at the end.
	SessionDead SessionState = "dead"
)

// Session is an event of a session that is held open.
type Session struct {
	Number int          `json:"number"`
	State  SessionState `json:"state"`
	Server *Server      `json:"server,omitempty"`
	Error  string       `json:"error,omitempty"`
	At     Instant      `json:"-"`
}

// Start is the first event of a run.
type Start struct {
	// Target is the address of the one instance that was used in place of the Service.
	Target  string `json:"target,omitempty"`
	Workers int    `json:"workers,omitempty"`
	// Clock names the monotonic clock: equal names, comparable times.
	Clock string `json:"clock,omitempty"`
}

// Stall is a time in which the checker itself did not run: what it then measured is not the database's.
type Stall struct {
	Begin Instant `json:"begin"`
	End   Instant `json:"-"`
}

// End is the last event of a run that was not killed.
type End struct{}

// Event is a line of the log: one of its pointers is set.
type Event struct {
	Run string `json:"run"`
	// Wall and At are when the event ended, by the two clocks.
	Wall time.Time `json:"wall"`
	At   Instant   `json:"at"`

	Start   *Start   `json:"start,omitempty"`
	Write   *Write   `json:"write,omitempty"`
	Read    *Read    `json:"read,omitempty"`
	Session *Session `json:"session,omitempty"`
	Stall   *Stall   `json:"stall,omitempty"`
	End     *End     `json:"end,omitempty"`
}

// Duration is written to JSON in seconds.
type Duration struct{ time.Duration }

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, d.Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(content []byte) error {
	var seconds float64
	if err := json.Unmarshal(content, &seconds); err != nil {
		return fmt.Errorf("a duration in seconds: %w", err)
	}
	d.Duration = time.Duration(seconds * float64(time.Second)).Round(time.Microsecond)
	return nil
}
