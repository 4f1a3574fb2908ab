package election

import (
	"strconv"
	"time"
)

// api is the Lease.
type api struct {
	up      bool
	exists  bool
	version int
	record  Record
	history []Record
	// last is what was last written by an instance, and not by hand.
	last Record
	// since is when the Lease became what it is; tampered: by hand.
	since    time.Duration
	tampered bool
	// deletions: a create that is late by more than one of them is not executed.
	deletions int
	// unseen: nobody is told.
	unseen bool
}

func (a *api) shown() (string, Record) {
	if !a.exists {
		return "", Record{}
	}
	return strconv.Itoa(a.version), a.record
}

// read is a GET of a node.
func (w *world) read(n *node) {
	life, sent := n.life, n.clock().Mono
	w.send(n.index, len(w.nodes), func() {
		if !w.api.up {
			return
		}
		version, record := w.api.shown()
		w.send(len(w.nodes), n.index, func() { n.receive(life, LeaseSeen{SentAt: sent, Version: version, Record: record}) })
	})
}

// apiTimeout is how long a client waits for the answer to a write.
const apiTimeout = 900 * time.Millisecond

// writeLease is an update, or a create, of a node.
func (w *world) writeLease(n *node, a WriteLease) {
	w.checkSent(n, &a)
	life := n.life
	answered := false
	deletions, booted := w.api.deletions, n.bootedAt
	answer := func(outcome Outcome, version string) {
		if !answered {
			answered = true
			n.receive(life, LeaseWritten{ID: a.ID, Outcome: outcome, Version: version})
		}
	}
	arrive := func() {
		if !w.api.up || a.Base == "" && deletions != w.api.deletions {
			return
		}
		outcome, version := w.commit(n, &a, booted)
		w.send(len(w.nodes), n.index, func() { answer(outcome, version) })
	}
	if !w.strikeArmed(n, &a, arrive) {
		w.send(n.index, len(w.nodes), arrive)
	}
	w.after(apiTimeout, func() { answer(Unknown, "") })
}

func (w *world) commit(n *node, a *WriteLease, booted time.Duration) (Outcome, string) {
	version, before := w.api.shown()
	if version != a.Base {
		return Conflict, ""
	}
	if !a.Record.sameContent(&before) {
		w.log("API: holder %s epoch %d name %s chain %v candidates %v w %d handover %q", a.Record.Holder, a.Record.Epoch, a.Record.Name,
			a.Record.Chain, a.Record.Candidates, a.Record.W, a.Record.Handover)
	}
	w.checkCommit(n, &before, &a.Record, booted)
	w.api.version++
	w.api.exists, w.api.record, w.api.since = true, a.Record, w.now
	for _, other := range w.nodes {
		other.leastW = min(other.leastW, a.Record.W)
	}
	if n == w.truth.reign {
		w.api.last, w.api.tampered = a.Record, false
	}
	if n := len(w.api.history); n == 0 || !w.api.history[n-1].sameContent(&a.Record) {
		w.api.history = append(w.api.history, a.Record)
	}
	w.api.notify(w)
	return Committed, strconv.Itoa(w.api.version)
}

// notify is a watch: it may tell every node of a new version.
func (a *api) notify(w *world) {
	if a.unseen {
		return
	}
	version, record := a.shown()
	for _, n := range w.nodes {
		life := n.life
		w.send(len(w.nodes), n.index, func() {
			if a.up {
				n.receive(life, LeaseSeen{SentAt: -1, Version: version, Record: record})
			}
		})
	}
}
