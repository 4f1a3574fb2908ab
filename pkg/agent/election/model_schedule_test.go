package election

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// theme is what schedules are drawn from: some things go wrong more often together.
type theme struct {
	name string
	// nodes are the fewest and the most; w what the user may ask for at first.
	nodes  [2]int
	w      []int
	faults []faultKind
	// most is how many faults there are at most.
	most int
}

var (
	network = []faultKind{faultPartition, faultOneWay, faultPair, faultFromAPI, faultAPIDown}
	pauses  = []faultKind{faultFreeze, faultPauseAgent, faultSleep, faultClockStep}
	crashes = []faultKind{faultCrashAgent, faultCrashBetween, faultCrashEngine, faultReplacePod, faultAtWrite}
	ruins   = []faultKind{faultEmptyVolume, faultForeignVolume, faultLoseData}
	tampers = []faultKind{faultLeaseDeleted, faultLeaseRolledBack}
	wishes  = []faultKind{faultSwitchover, faultChangeW, faultDurations, faultMembers, faultDeletePod, faultFence}
	logs    = []faultKind{faultLogGone, faultPair}
	engines = []faultKind{faultCrashEngine, faultBroken, faultStall, faultSlowDisk}
)

var themes = []theme{
	{name: "Everything", nodes: [2]int{3, 5}, w: []int{0, 1, 2}, most: 8, faults: slices.Concat(network, pauses, crashes, ruins, tampers, wishes, engines, logs)},
	{name: "Network", nodes: [2]int{3, 6}, w: []int{0, 1, 2}, most: 6, faults: slices.Concat(network, pauses, []faultKind{faultCrashAgent, faultReplacePod, faultAtWrite})},
	{name: "Writes", nodes: [2]int{3, 4}, w: []int{0, 1}, most: 5, faults: []faultKind{
		faultAtWrite, faultAtWrite, faultChangeW, faultDurations, faultMembers, faultFromAPI, faultCrashBetween, faultReplacePod, faultEmptyVolume,
	}},
	{name: "Tampering", nodes: [2]int{3, 4}, w: []int{0, 1, 2}, most: 5, faults: slices.Concat(tampers, tampers, network, crashes, []faultKind{faultSwitchover, faultChangeW, faultFreeze})},
	{name: "Switchovers", nodes: [2]int{3, 4}, w: []int{0, 1}, most: 5, faults: slices.Concat(wishes, crashes, []faultKind{faultSwitchover, faultSwitchover, faultPair, faultFreeze, faultReader, faultReader})},
	{name: "Data", nodes: [2]int{3, 5}, w: []int{0, 1, 2}, most: 6, faults: slices.Concat(ruins, ruins, crashes, wishes, logs, logs, []faultKind{faultPartition, faultFreeze})},
	{name: "Engines", nodes: [2]int{3, 4}, w: []int{0, 1, 2}, most: 5, faults: slices.Concat(engines, engines, crashes, []faultKind{faultChangeW, faultPauseAgent, faultPartition})},
	{name: "Clocks", nodes: [2]int{3, 5}, w: []int{1, 2}, most: 5, faults: slices.Concat(
		[]faultKind{faultFastClock, faultFastClock, faultClockStep, faultSleep, faultFreeze, faultPauseAgent, faultCrashAgent, faultReplacePod, faultDurations}, network,
	)},
}

// draw draws a schedule. Between draws a number between two; the first is the simplest.
func (t *theme) draw(between func(what string, low, high int) int) schedule {
	s := schedule{
		Seed:  uint64(between("seed", 0, 1<<30)),
		Nodes: between("nodes", t.nodes[0], t.nodes[1]),
		W:     t.w[between("w", 0, len(t.w)-1)],
		Lossy: between("lossy", 0, 2) == 1, Settle: between("settle", 0, 7) == 1,
	}
	// The times are drawn coarsely, and made finer by the seed: so they shrink well.
	fine := rand.New(rand.NewPCG(s.Seed, 11))
	moment := func(coarse int) time.Duration {
		return time.Duration(coarse)*500*time.Millisecond + time.Duration(fine.IntN(500))*time.Millisecond
	}
	for range between("faults", 0, t.most) {
		f := fault{
			At:   4*time.Second + moment(between("at", 0, 23)),
			Kind: t.faults[between("kind", 0, len(t.faults)-1)],
			Node: between("node", replica2, s.Nodes-1),
			Arg:  between("arg", 0, 9),
			For:  moment(between("for", 0, 17)),
		}
		if f.Kind == faultStall || f.Kind == faultBroken {
			f.For *= 2
		}
		s.Faults = append(s.Faults, f)
	}
	return s
}

// String implements fmt.Stringer.
func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d instances, w %d, seed %d, lossy %v, settle %v", s.Nodes, s.W, s.Seed, s.Lossy, s.Settle)
	for _, f := range s.Faults {
		fmt.Fprintf(&b, "\n  %s", f)
	}
	return b.String()
}
