// Package record is what the Lease of a primary says beside its own fields: the record. Agents write
// it, the operator reads it, and both understand it here. The package is pure, and knows no
// Kubernetes.
//
// Of the Lease itself, holderIdentity is an Identity, leaseTransitions the epoch, and
// leaseDurationSeconds for how long the holder may write without a renewal. The annotation
// db.platform.io/record holds a Record as JSON. Names in it are data ids: an emptied volume is a new name.
//
// What a later release adds survives an earlier one that writes the record: unknown fields are kept,
// and written again as they were.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Record is the state of an election that must not be lost with its holder.
type Record struct {
	// Name is the holder's.
	Name string
	// Chain is the history of the holder's data, oldest first.
	Chain []Epoch
	// Candidates are those who may be promoted, the holder included. The synchronous names are the
	// candidates less the holder.
	Candidates []Candidate
	// W is how many of the synchronous names a commit waits for; 0 is asynchronous.
	W int
	// Handover names who alone may claim a released Lease at once; empty for everyone.
	Handover string
	// The durations that everyone goes by, with leaseDurationSeconds of the Lease.
	RenewDeadline, RenewPeriod, RetryPeriod time.Duration
	// Unknown are the fields of later releases.
	Unknown Fields
}

// Epoch is one term of one primary.
type Epoch struct {
	// Number grows at every acquisition of the Lease.
	Number int64
	// Name is the primary's.
	Name string
	// Begin is the position in the log where the epoch begins.
	Begin uint64
	// Unknown are the fields of later releases.
	Unknown Fields
}

// Candidate is a name that may be promoted.
type Candidate struct {
	// Name is the data id.
	Name string
	// Instance is the pod that had this data when it was last seen.
	Instance string
	// Unknown are the fields of later releases.
	Unknown Fields
}

// Fields is a JSON object, "" for an empty one, in one certain form: equal ones are equal strings.
type Fields string

// Synchronous are the names that a commit may wait for.
func (r *Record) Synchronous() []string {
	var names []string
	for _, c := range r.Candidates {
		if c.Name != r.Name {
			names = append(names, c.Name)
		}
	}
	return names
}

// Candidate is the candidate of a name.
func (r *Record) Candidate(name string) (Candidate, bool) {
	for _, c := range r.Candidates {
		if c.Name == name {
			return c, true
		}
	}
	return Candidate{}, false
}

// Lists says whether some candidate was last seen on this instance.
func (r *Record) Lists(instance string) bool {
	for _, c := range r.Candidates {
		if c.Instance == instance {
			return true
		}
	}
	return false
}

// Parse reads a record; an empty text is the record of a Lease that nobody ever held.
func Parse(text string) (Record, error) {
	var r Record
	if text == "" {
		return r, nil
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Record{}, fmt.Errorf("read the record of the Lease: %w", err)
	}
	return r, nil
}

// Render writes a record. The same record gives the same text.
func (r Record) Render() (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("write the record of the Lease: %w", err)
	}
	return string(data), nil
}

// Identity is who holds the Lease: the pod's UID tells a pod from a later one of its name.
type Identity struct {
	Pod, UID string
}

// String is the form of holderIdentity.
func (i Identity) String() string {
	if i == (Identity{}) {
		return ""
	}
	return i.Pod + "/" + i.UID
}

// ParseIdentity reads a holderIdentity. An empty one is nobody; false says that it is none of ours.
func ParseIdentity(text string) (Identity, bool) {
	if text == "" {
		return Identity{}, true
	}
	pod, uid, ok := strings.Cut(text, "/")
	if !ok || pod == "" || uid == "" {
		return Identity{}, false
	}
	return Identity{Pod: pod, UID: uid}, true
}

// The forms in JSON. Each keeps what it does not know.

type recordJSON struct {
	Name          string      `json:"name"`
	Chain         []Epoch     `json:"chain,omitempty"`
	Candidates    []Candidate `json:"candidates,omitempty"`
	W             int         `json:"w"`
	Handover      string      `json:"handover,omitempty"`
	RenewDeadline duration    `json:"renewDeadline,omitempty"`
	RenewPeriod   duration    `json:"renewPeriod,omitempty"`
	RetryPeriod   duration    `json:"retryPeriod,omitempty"`
}

type epochJSON struct {
	Number int64  `json:"number"`
	Name   string `json:"name"`
	Begin  uint64 `json:"begin"`
}

type candidateJSON struct {
	Name     string `json:"name"`
	Instance string `json:"instance,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (r Record) MarshalJSON() ([]byte, error) {
	return join(recordJSON{
		Name: r.Name, Chain: r.Chain, Candidates: r.Candidates, W: r.W, Handover: r.Handover,
		RenewDeadline: duration(r.RenewDeadline), RenewPeriod: duration(r.RenewPeriod), RetryPeriod: duration(r.RetryPeriod),
	}, r.Unknown)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Record) UnmarshalJSON(data []byte) error {
	var known recordJSON
	unknown, err := split(data, &known)
	if err != nil {
		return err
	}
	*r = Record{
		Name: known.Name, Chain: known.Chain, Candidates: known.Candidates, W: known.W, Handover: known.Handover,
		RenewDeadline: time.Duration(known.RenewDeadline), RenewPeriod: time.Duration(known.RenewPeriod), RetryPeriod: time.Duration(known.RetryPeriod),
		Unknown: unknown,
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (e Epoch) MarshalJSON() ([]byte, error) {
	return join(epochJSON{Number: e.Number, Name: e.Name, Begin: e.Begin}, e.Unknown)
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Epoch) UnmarshalJSON(data []byte) error {
	var known epochJSON
	unknown, err := split(data, &known)
	*e = Epoch{Number: known.Number, Name: known.Name, Begin: known.Begin, Unknown: unknown}
	return err
}

// MarshalJSON implements json.Marshaler.
func (c Candidate) MarshalJSON() ([]byte, error) {
	return join(candidateJSON{Name: c.Name, Instance: c.Instance}, c.Unknown)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Candidate) UnmarshalJSON(data []byte) error {
	var known candidateJSON
	unknown, err := split(data, &known)
	*c = Candidate{Name: known.Name, Instance: known.Instance, Unknown: unknown}
	return err
}

// split reads the known fields of an object, and returns the others.
func split(data []byte, known any) (Fields, error) {
	if err := json.Unmarshal(data, known); err != nil {
		return "", err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return "", err
	}
	form := reflect.TypeOf(known).Elem()
	for field := range form.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		delete(all, name)
	}
	if len(all) == 0 {
		return "", nil
	}
	rest, err := json.Marshal(all)
	return Fields(rest), err
}

// join writes the known fields of an object, and the others after them.
func join(known any, unknown Fields) ([]byte, error) {
	data, err := json.Marshal(known)
	if err != nil || unknown == "" {
		return data, err
	}
	return append(append(bytes.TrimSuffix(data, []byte("}")), ','), bytes.TrimPrefix([]byte(unknown), []byte("{"))...), nil
}

// duration is written as "10s".
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}
