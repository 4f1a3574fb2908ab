package election

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A mutation removes a rule, and the model must find that: in a theme of random schedules, or, where
// chance takes too long, in a script: a sequence of faults whose times are drawn.
type mutation struct {
	name string
	rule rule
	// shadow are rules that close the same schedules: these are found when all are removed, and not while
	// one of them is there.
	shadow []rule
	theme  string
	script *script
}

// script is a sequence of faults. Times are in milliseconds.
type script struct {
	nodes, w int
	faults   []step
}

// step is a fault at a time, give or take.
type step struct {
	at, spread int
	kind       faultKind
	node, arg  int
	length     int
}

// Rules that the caller of the machine keeps.
const (
	// Actions wait for the Persist that is before them.
	contractOrder = rules + iota
	// So does what the engine is led to.
	contractWant
	// An engine that ended by itself is started again after the machine was told.
	contractFacts
	// Before a primary is started the deadline is looked at again.
	contractDeadline
	contracts
)

var mutations = []mutation{
	{name: "Fence", rule: ruleFence, theme: "Network"},
	{name: "Union", rule: ruleUnion, script: lostJoin},
	{name: "UnionSetting", rule: ruleUnionSetting, script: lostLeave},
	{name: "KeepSent", rule: ruleKeepSent, theme: "Tampering"},
	{name: "ShorterDuration", rule: ruleShorter, script: lostDurations},
	{name: "Silence", rule: ruleSilence, theme: "Network"},
	{name: "TimedVersion", rule: ruleTimed, theme: "Network"},
	{name: "PeerSilence", rule: rulePeerSilence, theme: "Everything"},
	{name: "FreshAnswer", rule: ruleFresh, script: missingTwice},
	{name: "NoClaimUnderPromise", rule: ruleNoClaimUnderPromise, theme: "Network"},
	{name: "NoAnswerUnderPromise", rule: ruleNoAnswerUnderPromise, script: promisedByOne},
	{name: "UnknownClaim", rule: ruleUnknownClaim, shadow: []rule{ruleFencedPromise}, script: lateClaim},
	{name: "FencedPromise", rule: ruleFencedPromise, shadow: []rule{ruleUnknownClaim}, script: lateClaim},
	{name: "NewerPromise", rule: ruleNewerPromise, shadow: []rule{ruleTell}, script: backWithoutSuccessor},
	{name: "TellNewer", rule: ruleTell, shadow: []rule{ruleNewerPromise}, script: backWithoutSuccessor},
	{name: "PromisesOfAll", rule: rulePromiseOfAll, script: cutFromOne},
	{name: "AskOnStart", rule: ruleAskOnStart, script: rolledBackToAbsent},
	{name: "RenewOnStart", rule: ruleRenewOnStart, theme: "Network"},
	{name: "Quorum", rule: ruleQuorum, theme: "Everything"},
	{name: "Best", rule: ruleBest, script: bestIsHindered},
	{name: "Chain", rule: ruleChain, script: longerButForked},
	{name: "Settled", rule: ruleSettled, theme: "Network"},
	{name: "NewestRecord", rule: ruleNewestRecord, script: rolledBackRecord},
	{name: "OrderOfGrowing", rule: ruleGrow, theme: "Engines"},
	{name: "OrderOfShrinkingApplied", rule: ruleShrinkApplied, theme: "Writes"},
	{name: "OrderOfShrinkingFlushed", rule: ruleShrinkFlushed, theme: "Everything"},
	{name: "NeverBelowW", rule: ruleNeverBelow, shadow: []rule{ruleShrinkFlushed}, script: replicasGone},
	{name: "OnlyCandidates", rule: ruleCandidates, theme: "Everything"},
	{name: "DownBeforeRelease", rule: ruleDownFirst, theme: "Everything"},
	{name: "HandoverAlone", rule: ruleHandoverAlone, theme: "Switchovers"},
	{name: "Confirm", rule: ruleConfirm, theme: "Switchovers"},
	{name: "UnsettledRelease", rule: ruleUnsettledRelease, theme: "Switchovers"},
	{name: "MissingIsNotReleased", rule: ruleMissing, theme: "Tampering"},
	{name: "MissingAnew", rule: ruleMissingAnew, script: missingTwiceUnseen},
	{name: "LowerHolder", rule: ruleLower, script: rolledBackLater},
	{name: "AskedEpochs", rule: ruleAsked, script: claimPutBack},
	{name: "AskedEpochsOfPeers", rule: ruleToldAsked, script: claimPutBack},
	{name: "Stall", rule: ruleStall, theme: "Engines"},
	{name: "RestartOnce", rule: ruleRestartOnce, theme: "Engines"},
	{name: "RestartBound", rule: ruleRestartBound, script: brokenForLong},
	{name: "PodUID", rule: ruleIdentity, script: replacedPod},
	{name: "Deadline", rule: ruleDeadline, theme: "Network"},
	{name: "CountFromSending", rule: ruleFromSend, script: pausedAtWrite},
	{name: "Admission", rule: ruleAdmit, theme: "Engines"},
	{name: "Rejoin", rule: ruleRejoin, theme: "Network"},
	{name: "SourceEpoch", rule: ruleSourceEpoch, script: twoReigns},
	{name: "LostName", rule: ruleLostName, theme: "Data"},
	{name: "Foreign", rule: ruleForeign, theme: "Data"},

	{name: "CallerOrder", rule: contractOrder, script: claimPutBack},
	{name: "CallerWant", rule: contractWant, script: unkeptReign},
	{name: "CallerFacts", rule: contractFacts, theme: "Engines"},
	{name: "CallerDeadline", rule: contractDeadline, script: frozenAtStart},
}

// db-3 becomes a candidate again in a write whose answer is lost; the holder lives by promises.
var lostJoin = &script{nodes: 4, faults: []step{
	{at: 6500, kind: faultMembers, node: 3, length: 5000},
	{at: 9500, kind: faultAtWrite, node: holder, arg: atWriteCutOff, length: 14000},
	{at: 11000, kind: faultFromAPI, node: replica1, length: 14000},
	{at: 11000, kind: faultFromAPI, node: replica2, length: 14000},
}}

// A replica goes in a write whose answer is lost, and is back before that is settled.
var lostLeave = &script{nodes: 3, w: 1, faults: []step{
	{at: 7000, kind: faultFreeze, node: replica2, length: 7500, spread: 500},
	{at: 9000, kind: faultFromAPI, node: replica1, length: 16000},
	{at: 9000, kind: faultFromAPI, node: replica2, length: 16000},
	{at: 9000, kind: faultAtWrite, node: holder, arg: atWriteCutOff, length: 9000},
}}

// The durations become shorter in a write whose answer is lost.
var lostDurations = &script{nodes: 3, faults: []step{
	{at: 7000, kind: faultDurations, arg: 2},
	{at: 12000, kind: faultAtWrite, node: holder, arg: atWriteLostReply},
	{at: 12500, kind: faultDurations, arg: 1},
	{at: 12560, spread: 20, kind: faultPartition, node: holder, length: 12000},
}}

// A replica sees the Lease missing, is cut off while the holder makes it anew, and is back when it is
// deleted again.
var missingTwice = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultLeaseDeleted},
	{at: 5990, kind: faultFromAPI, node: holder, length: 7000},
	{at: 12900, kind: faultPartition, node: replica1, length: 13100, spread: 50},
	{at: 26000, spread: 400, kind: faultLeaseDeleted, arg: 100},
}}

var missingTwiceUnseen = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultLeaseDeleted},
	{at: 5990, kind: faultFromAPI, node: holder, length: 7000},
	{at: 12900, kind: faultPartition, node: replica1, length: 13100, spread: 50},
	{at: 25800, kind: faultFromAPI, node: holder, length: 3000},
	{at: 25900, kind: faultLeaseDeleted, arg: 100},
}}

// A claim is on its way for long, while the holder, who was frozen, is back and reaches only its peers.
var lateClaim = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultFreeze, node: holder, length: 9000},
	{at: 6000, kind: faultFromAPI, node: holder, length: 20000},
	{at: 10500, kind: faultFromAPI, node: replica2, length: 20000},
	{at: 7000, kind: faultAtWrite, arg: atWriteLateAndCutOff, length: 10000},
}}

// A holder that does not know of its successor is back while the successor is not.
var backWithoutSuccessor = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultFreeze, node: holder, length: 9500},
	{at: 6000, kind: faultFromAPI, node: holder, length: 20000},
	{at: 14500, spread: 500, kind: faultReplacePod, node: holder},
}}

// A holder is cut off from the API and from one of two replicas.
var cutFromOne = &script{nodes: 3, faults: []step{
	{at: 6000, spread: 500, kind: faultFromAPI, node: holder, length: 15000},
	{at: 6000, spread: 500, kind: faultPair, node: holder, length: 15000},
}}

// A holder that is cut off from the API loses one of two replicas, too: the other promises to the last.
var promisedByOne = &script{nodes: 3, w: 1, faults: []step{
	{at: 6000, spread: 500, kind: faultFromAPI, node: holder, length: 20000},
	{at: 9000, spread: 500, kind: faultPair, node: holder, length: 20000},
}}

// The Lease is rolled back to a holder that was away and does not know of its successor.
var rolledBackToAbsent = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultPartition, length: 10000},
	{at: 15500, kind: faultFromAPI, node: holder, length: 2500},
	{at: 16000, spread: 100, kind: faultLeaseRolledBack, arg: 101},
}}

// A replica that lags is elected with one that does not, and whose claim is lost.
var bestIsHindered = &script{nodes: 3, w: 1, faults: []step{
	{at: 7000, kind: faultPair, node: holder, arg: 1, length: 2500},
	{at: 9400, kind: faultFreeze, node: holder, length: 30000},
	{at: 9500, kind: faultAtWrite, arg: atWriteLost},
}}

// A primary that was cut off has written much that nobody has; its successor dies before it rejoins.
var longerButForked = &script{nodes: 3, w: 1, faults: []step{
	{at: 6000, kind: faultPartition, length: 9500},
	{at: 15000, spread: 1000, kind: faultFreeze, node: holder, length: 15000},
}}

// The Lease is rolled back to before a replica became a candidate, and the holder dies.
var rolledBackRecord = &script{nodes: 3, w: 1, faults: []step{
	{at: 10000, kind: faultPair, node: holder, length: 1900},
	{at: 11500, spread: 300, kind: faultLeaseRolledBack, arg: 1},
	{at: 12000, spread: 200, kind: faultFreeze, node: holder, length: 20000},
}}

// Both replicas are gone for long.
var replicasGone = &script{nodes: 3, w: 1, faults: []step{
	{at: 7000, kind: faultFreeze, node: replica1, length: 16000},
	{at: 7000, kind: faultFreeze, node: replica2, length: 16000},
}}

// Long after a switchover the Lease is rolled back to before it.
var rolledBackLater = &script{nodes: 3, faults: []step{
	{at: 5500, kind: faultSwitchover, node: 1},
	{at: 26000, kind: faultLeaseRolledBack, arg: 3},
}}

// A claim is committed, and the Lease is put back before anyone sees that.
var claimPutBack = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultFreeze, node: holder, length: 20000},
	{at: 7000, kind: faultAtWrite, arg: atWriteRestored},
}}

// A pod is replaced while the old one runs still, unreachable.
var replacedPod = &script{nodes: 3, faults: []step{{at: 7000, spread: 1000, kind: faultReplacePod}}}

// A write is committed just before its sender pauses.
var pausedAtWrite = &script{nodes: 3, faults: []step{
	{at: 7000, kind: faultAtWrite, node: holder, arg: atWritePause, length: 3500},
	{at: 8000, kind: faultDurations, arg: 3},
	{at: 11000, kind: faultPartition, node: holder, length: 12000},
}}

// A replica is cut off from the API, and follows a holder through two of its reigns.
var twoReigns = &script{nodes: 3, w: 1, faults: []step{
	{at: 6000, kind: faultFromAPI, node: replica1, length: 13500},
	{at: 6000, kind: faultFreeze, node: replica2, length: 13500},
	{at: 7000, spread: 500, kind: faultReplacePod},
	{at: 19000, kind: faultFreeze, length: 20000},
}}

// A replica that lags is elected, writes, and is replaced before its volume has kept the new epoch; one that
// did not lag is elected then.
var unkeptReign = &script{nodes: 3, faults: []step{
	{at: 6000, kind: faultPair, node: holder, length: 3500},
	{at: 9200, kind: faultPartition, node: 2, length: 9800},
	{at: 9300, kind: faultFreeze, node: holder, length: 30000},
	{at: 13500, kind: faultSlowDisk, node: 1, length: 8000},
	{at: 18000, spread: 800, kind: faultReplacePod, node: 1},
	{at: 18200, kind: faultFromAPI, node: 1, length: 10000},
}}

// An engine does not come back.
var brokenForLong = &script{nodes: 3, w: 1, faults: []step{{at: 7000, spread: 1000, kind: faultBroken, node: holder, length: 25000}}}

// A holder that starts again is frozen, and cut off, right before its engine starts.
var frozenAtStart = &script{nodes: 3, faults: []step{
	{at: 7000, kind: faultCrashAgent},
	{at: 7600, spread: 500, kind: faultFreeze, length: 9000},
	{at: 7600, spread: 500, kind: faultPartition, length: 12000},
}}

func (s *script) draw(rng *rand.Rand) schedule {
	drawn := schedule{Seed: rng.Uint64(), Nodes: s.nodes, W: s.w}
	for _, f := range s.faults {
		at := f.at + rng.IntN(2*f.spread+1) - f.spread
		drawn.Faults = append(drawn.Faults, fault{
			At: time.Duration(at) * time.Millisecond, Kind: f.kind, Node: f.node, Arg: f.arg, For: time.Duration(f.length) * time.Millisecond,
		})
	}
	return drawn
}

// draw is a schedule in which the mutation may be found.
func (m *mutation) draw(number uint64) schedule {
	rng := rand.New(rand.NewPCG(number, 3))
	if m.script != nil {
		return m.script.draw(rng)
	}
	for i := range themes {
		if themes[i].name == m.theme {
			return themes[i].draw(func(_ string, low, high int) int { return low + rng.IntN(high-low+1) })
		}
	}
	panic("no theme " + m.theme)
}

// find is the first schedule that breaks an invariant.
func (m *mutation) find(tries uint64) (schedule, uint64, string) {
	without := setOf(append(m.shadow, m.rule)...)
	for i := range tries {
		s := m.draw(i)
		if w := s.run(without, false); w.violation != "" {
			return s, i + 1, w.violation
		}
	}
	return schedule{}, tries, ""
}

// TestMutation removes each rule once.
func TestMutation(t *testing.T) {
	t.Parallel()
	covered := map[rule]bool{}
	for _, m := range mutations {
		covered[m.rule] = true
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s, number, violation := m.find(5000)
			if violation == "" {
				t.Fatal("nothing finds that this rule is missing: the model is too weak")
			}
			if w := s.run(0, true); w.violation != "" {
				t.Fatalf("this schedule breaks an invariant with all rules in place\n%s\n%s", s.String(), w.story())
			}
			for _, alone := range append(m.shadow, m.rule) {
				if w := s.run(setOf(alone), false); len(m.shadow) > 0 && w.violation != "" {
					t.Errorf("this schedule needs only one mutation, and not two: %s", w.violation)
				}
			}
			invariant, what, _ := strings.Cut(violation, ": ")
			t.Logf("schedule %d: %s: %s", number, invariant, what)
			report.found(m.name, invariant, number)
		})
	}
	for r := range contracts {
		if !covered[r] && r != rules {
			t.Errorf("rule %d has no mutation", r)
		}
	}
}
