package election

import (
	"fmt"
	"slices"
	"time"
)

// fault is something that goes wrong at a time.
type fault struct {
	At   time.Duration
	Kind faultKind
	// Node is whom it strikes, by number, or one of the roles below.
	Node int
	Arg  int
	// For is how long it lasts.
	For time.Duration
}

// Roles of nodes at the time of a fault.
const (
	// holder is who won the Lease last, replica1 and replica2 the first and the second of the others.
	holder   = -1
	replica1 = -2
	replica2 = -3
)

// String implements fmt.Stringer.
func (f fault) String() string {
	node := fmt.Sprintf("db-%d", f.Node)
	if f.Node < 0 {
		node = [...]string{"the holder", "a replica", "another replica"}[-f.Node-1]
	}
	return fmt.Sprintf("%s: %s of %s (%d) for %s", f.At, f.Kind, node, f.Arg, f.For)
}

type faultKind int

const (
	faultPartition faultKind = iota
	faultOneWay
	faultPair
	faultFromAPI
	faultFreeze
	faultPauseAgent
	faultSleep
	faultClockStep
	faultFastClock
	faultCrashAgent
	faultCrashBetween
	faultCrashEngine
	faultBroken
	faultReplacePod
	faultDeletePod
	faultFence
	faultAPIDown
	faultLeaseDeleted
	faultLeaseRolledBack
	faultAtWrite
	faultEmptyVolume
	faultForeignVolume
	faultLoseData
	faultSwitchover
	faultChangeW
	faultDurations
	faultMembers
	faultStall
	faultSlowDisk
	faultLogGone
	faultReader
	faultKinds
)

var faultNames = [...]string{
	"partition", "one-way partition", "cut between two", "cut off from the API", "freeze", "pause of the agent", "sleep",
	"step of the wall clock", "clock out of order", "crash of the agent", "crash between two actions", "crash of the engine",
	"broken engine", "replaced pod", "deleted pod", "fence by a person", "API down", "Lease deleted", "Lease rolled back",
	"trouble at the next write", "emptied volume", "foreign volume", "lost data", "switchover", "change of w",
	"change of durations", "change of members", "stall", "slow disk", "removal of the log", "query that holds up replay",
}

// String implements fmt.Stringer.
func (k faultKind) String() string { return faultNames[k] }

// harmless are faults in spite of which nobody stops.
var harmless = setOfKinds(faultFromAPI, faultAPIDown, faultLeaseDeleted, faultLeaseRolledBack, faultChangeW, faultDurations)

// distant are faults during which a node may not be heard.
var distant = setOfKinds(faultPartition, faultOneWay, faultPair, faultFreeze, faultPauseAgent, faultSleep, faultStall, faultSlowDisk)

func setOfKinds(kinds ...faultKind) (set uint64) {
	for _, k := range kinds {
		set |= 1 << k
	}
	return set
}

// who is the node that a fault strikes.
func (w *world) who(number int) *node {
	first := 0
	if r := w.reigning(); r != nil {
		first = r.index
	}
	if number < 0 {
		number = first - 1 - number
	}
	return w.nodes[number%len(w.nodes)]
}

// strike makes it happen, and lets it end.
func (f fault) strike(w *world) {
	n := w.who(f.Node)
	w.log("FAULT %s of %s (%d) for %s", f.Kind, n.instance, f.Arg, f.For)
	if harmless&(1<<f.Kind) == 0 {
		w.truth.disturbedAt = max(w.truth.disturbedAt, w.now+f.For)
	}
	if distant&(1<<f.Kind) != 0 {
		for _, other := range w.nodes {
			if other == n || f.Kind == faultPair {
				other.awayUntil = max(other.awayUntil, w.now+f.For)
			}
		}
	}
	end := func(do func()) { w.after(f.For, func() { w.log("END %s of %s", f.Kind, n.instance); do() }) }
	switch f.Kind {
	case faultPartition, faultOneWay, faultPair, faultFromAPI:
		f.partition(n, end)
	case faultFreeze, faultPauseAgent, faultSleep, faultClockStep, faultFastClock, faultStall, faultSlowDisk, faultBroken:
		f.hold(n, end)
	case faultCrashAgent, faultCrashBetween, faultCrashEngine, faultReplacePod, faultDeletePod, faultFence:
		f.crash(n, end)
	case faultAPIDown:
		w.api.up = false
		end(func() { w.api.up = true })
	case faultLeaseDeleted, faultLeaseRolledBack:
		f.tamper(w)
	case faultAtWrite:
		w.armed = append(w.armed, f)
	case faultEmptyVolume, faultForeignVolume, faultLoseData:
		n.ruin(f.Kind)
	case faultSwitchover, faultChangeW, faultDurations, faultMembers:
		f.ask(n, end)
	case faultLogGone:
		n.engine.kept = int(n.engine.tip.position())
	case faultReader:
		n.engine.heldUntil = w.now + f.For
	case faultKinds:
	}
}

func (f fault) partition(n *node, end func(func())) {
	w, api := n.w, len(n.w.nodes)
	set := func(cut bool) {
		for other := range w.cut {
			switch {
			case other == n.index, f.Kind == faultFromAPI && other != api, f.Kind == faultPair && other != (n.index+1+f.Arg)%len(w.nodes):
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

// hold stops something for a while.
func (f fault) hold(n *node, end func(func())) {
	switch f.Kind {
	case faultFreeze, faultSleep:
		n.frozen, n.leastW = true, min(n.engine.sync.W, n.machine.newest().W, n.w.api.last.W)
		n.setClock(n.rate, f.Kind == faultSleep)
		end(n.thaw)
	case faultPauseAgent:
		n.paused = true
		end(func() {
			n.paused = false
			n.wake()
		})
	case faultClockStep:
		n.set.Fence += f.For / 2
	case faultFastClock:
		if n.w.api.last.W == 0 {
			// Without synchronous replicas the clocks are all that there is.
			return
		}
		n.setClock(4, n.asleep)
		n.fast = true
		end(func() { n.setClock(n.ownRate, n.asleep) })
	case faultStall:
		n.stalled = true
		end(func() { n.stalled = false })
	case faultSlowDisk:
		n.slow = true
		end(func() { n.slow = false })
	case faultBroken:
		n.broken = true
		n.engine.crash()
		end(func() { n.broken = false })
	default:
	}
}

// thaw lets everything run again: the watchdog first, where commits wait for nobody, or a claim did not meanwhile
// wait for those whom they wait for; else those others must do.
func (n *node) thaw() {
	n.setClock(n.rate, false)
	if n.frozen && n.leastW > 0 {
		n.watchdogAt = n.w.now + n.w.between(100, 1500)
	}
	n.frozen = false
	n.wake()
}

// crash ends processes, and lets others come.
func (f fault) crash(n *node, end func(func())) {
	switch f.Kind {
	case faultCrashAgent:
		n.boot(false)
	case faultCrashBetween:
		n.crashIn = 1 + f.Arg
	case faultCrashEngine:
		n.engine.crash()
	case faultReplacePod:
		if n.limited && n.engine.sync.W == 0 && n.engine.canAcknowledge() {
			n.ghostUntil = n.w.now + time.Duration(float64(n.deadline-n.clock().Fence)/n.rate)
		}
		n.frozen = false
		n.setClock(n.rate, false)
		n.boot(true)
	case faultDeletePod:
		// It is stopped in an orderly way; then another pod comes.
		n.deleted = true
		n.later(n.life, n.tell)
		life := n.life
		end(func() {
			n.deleted = false
			if n.life == life {
				n.boot(true)
			}
			n.later(n.life, n.tell)
		})
	case faultFence:
		n.fenced = true
		n.later(n.life, n.tell)
		end(func() {
			n.fenced = false
			n.later(n.life, n.tell)
		})
	default:
	}
}

// tamper changes the Lease by hand. What the guarantee leaves out is left out: that some do not know yet
// what stood there (unless Arg is 100 or more).
func (f fault) tamper(w *world) {
	a := &w.api
	if !a.exists || len(a.history) == 0 {
		return
	}
	for _, n := range w.nodes {
		if r := n.machine.newest(); f.Arg < 100 && (n.frozen || n.paused || n.disk.HighestEpoch < a.last.Epoch || !r.sameContent(&a.last) && r.Epoch > 0) {
			return
		}
	}
	a.deletions++
	a.version++
	a.since = w.now
	if f.Kind == faultLeaseDeleted {
		a.exists, a.record = false, Record{}
	} else {
		a.record = a.history[len(a.history)-1-f.Arg%100%len(a.history)]
	}
	a.tampered = !a.exists || !a.record.sameContent(&a.last)
	w.log("API: exists %v holder %s epoch %d w %d candidates %v", a.exists, a.record.Holder, a.record.Epoch, a.record.W, a.record.Candidates)
	a.notify(w)
}

// Troubles of a write of the Lease, by Arg.
const (
	atWriteLostReply = iota
	atWriteLost
	atWriteLate
	atWriteCutOff
	atWriteCrash
	atWriteFreeze
	atWriteLateAndCrash
	atWriteLateAndCutOff
	atWritePause
	atWriteRestored
	atWrites
)

// strikeArmed lets something go wrong with a write that says something new; false when nothing does.
func (w *world) strikeArmed(n *node, a *WriteLease, arrive func()) bool {
	if len(w.armed) == 0 || a.Record.sameContent(&w.api.record) {
		return false
	}
	at := slices.IndexFunc(w.armed, func(f fault) bool { return w.who(f.Node) == n || f.Node >= 0 })
	if at < 0 {
		return false
	}
	f := w.armed[at]
	w.armed = slices.Delete(slices.Clone(w.armed), at, at+1)
	w.log("TROUBLE %d of %s at its write for %s", f.Arg%atWrites, n.instance, f.For)
	w.truth.disturbedAt = max(w.truth.disturbedAt, w.now+f.For)
	life := n.life
	quiet := func() {
		// What comes back is lost.
		api := len(w.nodes)
		was := w.cut[api][n.index]
		w.cut[api][n.index] = true
		arrive()
		w.cut[api][n.index] = was
	}
	switch f.Arg % atWrites {
	case atWriteLostReply:
		w.after(w.between(1, 30), quiet)
	case atWriteLost:
	case atWriteLate:
		w.after(f.For, quiet)
	case atWriteLateAndCutOff:
		w.after(f.For, quiet)
		cut := fault{Kind: faultFromAPI, Node: n.index, For: f.For + 5*time.Second}
		w.after(0, func() { cut.strike(w) })
	case atWriteCutOff:
		w.after(w.between(1, 30), quiet)
		cut := fault{Kind: faultFromAPI, Node: n.index, For: f.For}
		w.after(0, func() { cut.strike(w) })
	case atWriteCrash, atWriteLateAndCrash:
		late := w.between(1, 30)
		if f.Arg%atWrites == atWriteLateAndCrash {
			late = f.For
		}
		w.after(late, quiet)
		w.after(0, func() {
			if n.life == life {
				n.boot(f.For%2 == 0)
			}
		})
	case atWriteFreeze:
		w.after(w.between(1, 30), quiet)
		freeze := fault{Kind: faultFreeze, Node: n.index, For: f.For}
		w.after(0, func() { freeze.strike(w) })
	case atWritePause:
		// What comes back waits for the process.
		w.after(w.between(1, 30), arrive)
		pause := fault{Kind: faultPauseAgent, Node: n.index, For: f.For}
		w.after(0, func() { pause.strike(w) })
	case atWriteRestored:
		w.after(w.between(1, 30), func() { w.restored(quiet) })
		w.after(0, func() {
			if n.life == life {
				n.boot(false)
			}
		})
	}
	return true
}

// restored commits a write, and puts the Lease back to what it was before anyone sees.
func (w *world) restored(write func()) {
	before, reign := w.api, w.truth.reign
	w.api.unseen = true
	write()
	w.api.unseen = false
	if w.api.record.Epoch == before.record.Epoch || w.api.version == before.version {
		w.api.notify(w)
		return
	}
	w.log("API: the Lease is put back")
	w.truth.putBack[w.api.record.Epoch] = claimPut{w.truth.reign, w.now}
	before.version = w.api.version + 1
	if before.exists {
		// One that is missing again looks as if it had been missing all the time.
		before.since = w.now
	}
	w.api, w.truth.reign = before, reign
}

// ruin takes the data away, unless that is a second failure before the first was recovered from.
func (n *node) ruin(kind faultKind) {
	w := n.w
	spoilt := slices.ContainsFunc(w.nodes, func(other *node) bool { return other.engine.foreign })
	if n.disk.Name == "" || n.engine.foreign || !w.mayRuin(n) || kind == faultForeignVolume && (spoilt || len(w.nodes) < 4) {
		return
	}
	w.truth.gone[n.engine.name] = true
	w.truth.gone[n.disk.Name] = true
	switch kind {
	case faultEmptyVolume:
		n.engine.kill()
		n.engine.name, n.engine.tip, n.engine.consistent, n.engine.clean = "", nil, 0, false
		n.disk = Disk{}
		n.boot(true)
	case faultForeignVolume:
		n.engine.kill()
		n.engine.tip, n.engine.foreign = w.newRow(nil, 0), true
		n.boot(true)
	default:
		n.engine.kill()
		n.engine.ended()
		n.engine.name, n.engine.tip, n.engine.consistent, n.engine.clean, n.engine.lost = "", nil, 0, false, true
	}
}

func (w *world) mayRuin(n *node) bool {
	records := []Record{w.api.record, w.api.last}
	for _, other := range w.nodes {
		if other != n && other.machine.disk.Rebuilding && w.api.last.Has(other.machine.disk.Name) {
			return false
		}
		records = append(records, other.disk.Record)
		for _, s := range other.disk.Unsettled {
			records = append(records, s.Record)
		}
	}
	for _, r := range records {
		for _, c := range r.Candidates {
			if w.truth.gone[c.Name] {
				return false
			}
		}
		// A record of which the data is the only copy.
		if r.Has(n.disk.Name) && len(r.Candidates) < 2 {
			return false
		}
	}
	return slices.ContainsFunc(w.nodes, func(other *node) bool {
		return other != n && other.disk.Name != "" && !other.disk.Rebuilding && !other.engine.foreign && w.api.last.Has(other.disk.Name)
	})
}

// ask is something that the user or the operator wants.
func (f fault) ask(n *node, end func(func())) {
	w := n.w
	switch f.Kind {
	case faultSwitchover:
		h := w.reigning()
		if h == nil {
			return
		}
		h.handover, h.handoverTo = f.At.String(), n.instance
		if f.Arg%2 == 0 {
			h.handoverTo = "*"
		}
		h.later(h.life, h.tell)
		return
	case faultChangeW:
		w.w = f.Arg % 3
	case faultDurations:
		w.durations = otherDurations[f.Arg%len(otherDurations)]
	case faultMembers:
		if len(w.members) == len(w.nodes) && n != w.reigning() {
			w.members = slices.DeleteFunc(slices.Clone(w.members), func(m string) bool { return m == n.instance })
			end(func() { w.members = instanceNames[:len(w.nodes)] })
		}
	default:
	}
	for _, n := range w.nodes {
		n.later(n.life, n.tell)
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.log("HEAL")
	w.api.up, w.armed, w.lossy = true, nil, false
	w.members = instanceNames[:len(w.nodes)]
	for i := range w.cut {
		clear(w.cut[i])
	}
	for _, n := range w.nodes {
		n.stalled, n.slow, n.broken, n.crashIn, n.fenced, n.paused = false, false, false, 0, false, false
		if n.deleted {
			n.deleted = false
			n.boot(true)
		}
		n.thaw()
		n.later(n.life, n.tell)
	}
}
