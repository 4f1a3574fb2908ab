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
	// deletions: a create that is late by more than one of them is not executed.
	deletions int
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
	life := n.life
	answered := false
	deletions := w.api.deletions
	answer := func(outcome Outcome, version string) {
		if !answered {
			answered = true
			n.receive(life, LeaseWritten{ID: a.ID, Outcome: outcome, Version: version})
		}
	}
	w.send(n.index, len(w.nodes), func() {
		if !w.api.up || a.Base == "" && deletions != w.api.deletions {
			return
		}
		outcome, version := w.commit(n, a)
		w.send(len(w.nodes), n.index, func() { answer(outcome, version) })
	})
	w.after(apiTimeout, func() { answer(Unknown, "") })
}

func (w *world) commit(n *node, a WriteLease) (Outcome, string) {
	version, before := w.api.shown()
	if version != a.Base {
		return Conflict, ""
	}
	w.checkCommit(n, &before, &a.Record)
	w.api.exists = true
	w.api.version++
	w.api.record, w.api.last, w.recordedW = a.Record, a.Record, a.Record.W
	for id, quorum := range w.acked {
		// Who lowers w asks for less.
		w.acked[id] = min(quorum, a.Record.W)
	}
	w.api.history = append(w.api.history, a.Record)
	w.log("API: version %d: holder %s epoch %d name %s candidates %v w %d handover %q", w.api.version, a.Record.Holder, a.Record.Epoch,
		a.Record.Name, a.Record.Candidates, a.Record.W, a.Record.Handover)
	w.api.notify(w)
	return Committed, strconv.Itoa(w.api.version)
}

// notify is a watch: it may tell every node of a new version.
func (a *api) notify(w *world) {
	version, record := a.shown()
	number := a.version
	for _, n := range w.nodes {
		life := n.life
		w.send(len(w.nodes), n.index, func() {
			if a.up && n.life == life && number > n.watched {
				n.watched = number
				n.receive(life, LeaseSeen{SentAt: -1, Version: version, Record: record})
			}
		})
	}
}

// checkCommit looks at what is about to stand on the Lease.
func (w *world) checkCommit(n *node, before, after *Record) {
	switch {
	case after.Holder == "":
		if e := &n.engine; e.mode != ModeDown && before.Holder == n.identity() && e.epoch == after.Epoch && e.mode == ModePrimary {
			w.fail("%s released epoch %d while its engine runs", n.instance, after.Epoch)
		}
		w.released[before.Holder] = after.Epoch
		return
	case after.Epoch == before.Epoch && after.Holder == before.Holder:
		return
	}
	w.reigns++
	if who, again := w.used[after.Epoch]; again {
		w.fail("epoch %d of %s is used again by %s", after.Epoch, who, after.Holder)
	}
	w.used[after.Epoch] = after.Holder
	if len(w.api.last.Candidates) > 0 && !w.api.last.Has(after.Name) {
		w.fail("%s claimed with data %s, which was no candidate", n.instance, after.Name)
	}
	for _, other := range w.nodes {
		if other == n || other.frozen || !other.engine.takesWrites() {
			continue
		}
		if other.engine.quorum() == 0 {
			w.fail("%s claimed epoch %d while %s takes writes", n.instance, after.Epoch, other.instance)
		}
	}
	if n.promisedUntil > w.now && n.promisedTo != after.Holder && w.released[n.promisedTo] < n.promisedEpoch {
		w.fail("%s claimed under its promise to %s", n.instance, n.promisedTo)
	}
}
