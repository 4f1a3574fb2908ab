package election

import "time"

// fault is something that goes wrong at a time.
type fault struct {
	At   time.Duration
	Kind faultKind
	Node int
	Arg  int
	// For is how long it lasts.
	For time.Duration
}

type faultKind int

const (
	faultPartition faultKind = iota
	faultOneWay
	faultFromAPI
	faultFreeze
	faultPauseAgent
	faultSleep
	faultCrashAgent
	faultCrashEngine
	faultReplacePod
	faultDeletePod
	faultAPIDown
	faultLeaseDeleted
	faultLeaseRolledBack
	faultEmptyVolume
	faultSwitchover
	faultChangeW
	faultMembers
	faultStall
	faultKinds
)

var faultNames = [...]string{
	"partition", "one-way partition", "cut off from the API", "freeze", "pause the agent", "sleep", "crash of the agent",
	"crash of the engine", "replaced pod", "deleted pod", "API down", "Lease deleted", "Lease rolled back", "emptied volume",
	"switchover", "change of w", "change of members", "stall",
}

// String implements fmt.Stringer.
func (k faultKind) String() string { return faultNames[k] }

// strike makes it happen, and lets it end.
func (f fault) strike(w *world) {
	n := w.nodes[f.Node%len(w.nodes)]
	w.log("FAULT %s of %s (%d) for %s", f.Kind, n.instance, f.Arg, f.For)
	end := func(do func()) { w.after(f.For, func() { w.log("END %s of %s", f.Kind, n.instance); do() }) }
	switch f.Kind {
	case faultPartition, faultOneWay, faultFromAPI:
		f.partition(w, n, end)
	case faultFreeze:
		n.frozen = true
		end(func() { n.thaw() })
	case faultPauseAgent:
		n.paused = true
		end(func() { n.paused = false })
	case faultSleep:
		n.frozen = true
		begin, life := w.now, n.life
		end(func() {
			if n.life == life {
				n.slept += time.Duration(float64(w.now-begin) * n.rate)
			}
			n.thaw()
		})
	case faultCrashAgent:
		n.boot(false)
	case faultCrashEngine:
		n.engine.crash()
	case faultReplacePod:
		n.engine.stop(false)
		n.frozen = false
		n.boot(true)
	case faultDeletePod:
		n.deletePod(f.For)
	case faultAPIDown:
		w.api.up = false
		end(func() { w.api.up = true })
	case faultLeaseDeleted, faultLeaseRolledBack:
		f.tamper(w)
	case faultEmptyVolume:
		n.empty()
	case faultSwitchover:
		n.switchover(f)
	case faultChangeW:
		w.w = f.Arg % 3
	case faultMembers:
		w.changeMembers(n, f.For)
	case faultStall:
		n.stalled = true
		end(func() { n.stalled = false })
	}
}

func (f fault) partition(w *world, n *node, end func(func())) {
	api := len(w.nodes)
	set := func(cut bool) {
		for other := range w.cut {
			if other == n.index || f.Kind == faultFromAPI && other != api {
				continue
			}
			if f.Kind != faultOneWay || f.Arg%2 == 0 {
				w.cut[n.index][other] = cut
			}
			if f.Kind != faultOneWay || f.Arg%2 == 1 {
				w.cut[other][n.index] = cut
			}
		}
	}
	set(true)
	end(func() { set(false) })
}

// thaw lets everything run again: the watchdog first.
func (n *node) thaw() {
	n.frozen = false
	n.watchdog()
}

// crash ends the server; a busy backend may outlive it.
func (e *engine) crash() {
	if e.mode == ModeDown {
		return
	}
	e.crashes++
	if e.mode == ModePrimary {
		e.orphan = true
		for _, s := range e.senders {
			s.connected = false
		}
		return
	}
	e.stop(false)
}

// deletePod stops the instance in an orderly way; then another pod comes.
func (n *node) deletePod(grace time.Duration) {
	n.deleted = true
	n.tell()
	life := n.life
	n.w.after(max(grace, time.Second), func() {
		if n.life == life {
			n.boot(true)
		}
		n.deleted = false
		n.tell()
	})
}

// tamper changes the Lease by hand. What the guarantee leaves out is left out: an asynchronous database
// whose primary is not there, or cannot be heard.
func (f fault) tamper(w *world) {
	a := &w.api
	if !a.exists || len(a.history) == 0 || w.partitioned() {
		return
	}
	w.undurable()
	a.deletions++
	a.version++
	if f.Kind == faultLeaseDeleted {
		a.exists = false
	} else {
		a.record = a.history[f.Arg%len(a.history)]
		a.record.Stamp = 0
	}
	w.log("API: exists %v version %d holder %s epoch %d", a.exists, a.version, a.record.Holder, a.record.Epoch)
	a.notify(w)
}

// undurable: rows that were acknowledged without a replica may be lost from now on; they are anyway.
func (w *world) undurable() { w.durable = false }

// partitioned: somebody cannot be heard.
func (w *world) partitioned() bool {
	for _, row := range w.cut {
		for _, cut := range row {
			if cut {
				return true
			}
		}
	}
	for _, n := range w.nodes {
		if n.frozen || n.paused || n.deleted {
			return true
		}
	}
	return false
}

// empty takes a volume away, unless that is a second failure before the first was recovered from.
func (n *node) empty() {
	w := n.w
	if n.disk.Name == "" || !w.mayEmpty(n) {
		return
	}
	w.emptied[n.disk.Name] = true
	n.engine.stop(false)
	n.engine = engine{mode: ModeDown}
	n.disk = Disk{}
	n.boot(true)
}

func (w *world) mayEmpty(n *node) bool {
	records := []Record{w.api.record}
	for _, other := range w.nodes {
		for _, s := range other.disk.Unsettled {
			records = append(records, s.Record)
		}
		records = append(records, other.disk.Record)
	}
	whole := 0
	for _, other := range w.nodes {
		if other != n && other.disk.Name != "" && !other.disk.Rebuilding && w.api.record.Has(other.disk.Name) {
			whole++
		}
	}
	for _, r := range records {
		for _, c := range r.Candidates {
			if w.emptied[c.Name] {
				return false
			}
		}
		// A record of which the data is the only copy, or whose w is about to grow.
		if r.W == 0 && r.Has(n.disk.Name) && len(r.Candidates) < 2 {
			return false
		}
	}
	return whole > 0
}

func (n *node) switchover(f fault) {
	w := n.w
	for _, holder := range w.nodes {
		if holder.machine.hold != nil {
			holder.handover, holder.handoverTo = f.At.String(), n.instance
			if f.Arg%2 == 0 {
				holder.handoverTo = "*"
			}
			if !holder.frozen && !holder.paused {
				holder.tell()
			}
		}
	}
}

func (w *world) changeMembers(n *node, back time.Duration) {
	if len(w.members) != len(w.nodes) || n.index == 0 {
		return
	}
	var left []string
	for _, m := range w.members {
		if m != n.instance {
			left = append(left, m)
		}
	}
	w.members = left
	w.after(back, func() {
		w.members = nil
		for _, n := range w.nodes {
			w.members = append(w.members, n.instance)
		}
	})
}
