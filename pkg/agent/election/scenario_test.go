package election

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Scenarios: what must happen, and within which time, when one thing goes wrong. Each is gone through with
// many seeds. Times are the model's: durations are less than half of the default ones.

// scenario is a world in which a database has settled.
type scenario struct {
	*testing.T
	*world
}

// settled runs something on databases that have a primary, all candidates, and w.
func settled(t *testing.T, nodes, w int, do func(s *scenario)) {
	t.Helper()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("Seed%d", seed), func(t *testing.T) {
			t.Parallel()
			s := &scenario{T: t, world: newWorld(schedule{Seed: seed, Nodes: nodes, W: w}, 0, true)}
			s.calm = true
			s.until(9 * time.Second)
			if r := &s.api.record; len(r.Candidates) != nodes || r.W != w || s.truth.acknowledged == 0 {
				s.story("the database is not whole: %+v", r)
			}
			do(s)
			if s.violation != "" {
				s.story("an invariant is broken")
			}
		})
	}
}

// story fails with what happened.
func (s *scenario) story(format string, args ...any) {
	s.Helper()
	s.Fatalf("%s\n%s", s.world.story(), fmt.Sprintf(format, args...))
}

// strikes lets something go wrong now.
func (s *scenario) strikes(f fault) {
	s.after(0, func() { f.strike(s.world) })
	s.until(s.now)
}

// within waits for something, and fails when it takes too long.
func (s *scenario) within(limit time.Duration, what string, is func() bool) time.Duration {
	s.Helper()
	begin := s.now
	for !is() {
		if s.now-begin > limit || s.violation != "" {
			s.story("%s: not within %s", what, limit)
		}
		s.until(s.now + 50*time.Millisecond)
	}
	return s.now - begin
}

// primary: clients of another node than before are told of commits.
func (s *scenario) primaryOtherThan(before *node) func() bool {
	return func() bool { return s.reigning() != before && s.reigning().engine.canAcknowledge() }
}

// stays: the primary does not change, nor stop, and acknowledges.
func (s *scenario) stays(n *node, d time.Duration) {
	s.Helper()
	hold, acknowledged := n.machine.hold, s.truth.acknowledged
	s.until(s.now + d)
	if n.machine.hold != hold || s.reigning() != n || !n.engine.canAcknowledge() {
		s.story("%s did not stay the primary", n.instance)
	}
	if s.truth.acknowledged == acknowledged {
		s.story("%s acknowledges nothing", n.instance)
	}
}

// forEver is longer than any scenario.
const forEver = time.Hour

// The API server being away causes no restart, no demotion and no failover.
func TestScenarioAPIAway(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		s.strikes(fault{Kind: faultAPIDown, For: time.Minute})
		s.stays(s.reigning(), 2*time.Minute)
	})
}

// Nor does its being away for the holder alone.
func TestScenarioHolderCutOffFromAPI(t *testing.T) {
	t.Parallel()
	settled(t, 4, 0, func(s *scenario) {
		s.strikes(fault{Kind: faultFromAPI, Node: holder, For: time.Minute})
		s.stays(s.reigning(), 2*time.Minute)
	})
}

// A holder whose container restarts while the API is away is the primary again, by the promises of all.
func TestScenarioRestartWithoutAPI(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultAPIDown, For: forEver})
		s.until(s.now + 20*time.Second)
		s.strikes(fault{Kind: faultCrashAgent, Node: holder})
		s.within(6*time.Second, "the same primary", n.engine.canAcknowledge)
	})
}

// A single instance needs nobody, not even the API.
func TestScenarioSingle(t *testing.T) {
	t.Parallel()
	settled(t, 1, 0, func(s *scenario) {
		n, version := s.reigning(), s.api.version
		s.strikes(fault{Kind: faultAPIDown, For: forEver})
		s.stays(n, time.Minute)
		s.strikes(fault{Kind: faultCrashAgent})
		s.within(4*time.Second, "the same primary", n.engine.canAcknowledge)
		if s.api.version != version {
			s.story("a sole candidate renews")
		}
	})
}

// A single instance that was stopped in an orderly way while the API is away starts again without it, also when the API
// answered a moment before.
func TestScenarioSingleStoppedWithoutAPI(t *testing.T) {
	t.Parallel()
	settled(t, 1, 0, func(s *scenario) {
		n := s.reigning()
		n.machine.lease.answeredAt = n.machine.now.Mono
		s.strikes(fault{Kind: faultAPIDown, For: forEver})
		n.deleted = true
		n.tell()
		s.within(4*time.Second, "the stop", func() bool { return n.engine.mode == ModeDown && n.machine.hold == nil })
		n.deleted = false
		n.boot(false)
		s.within(4*time.Second, "the same primary", n.engine.canAcknowledge)
	})
}

// A switchover during which the API goes away is called off: released in vain, nobody would run.
func TestScenarioSwitchoverWithoutAPI(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		n := s.reigning()
		n.handover, n.handoverTo = "a", "*"
		n.tell()
		s.within(4*time.Second, "the stop", func() bool { return n.machine.hold.leaving != nil })
		s.strikes(fault{Kind: faultAPIDown, For: forEver})
		s.within(20*time.Second, "the same primary", func() bool { return n.machine.Handover().State == HandoverAborted && n.engine.canAcknowledge() })
	})
}

// A single instance whose pod is replaced does not let the next pod wait.
func TestScenarioSingleReplaced(t *testing.T) {
	t.Parallel()
	settled(t, 1, 0, func(s *scenario) {
		n := s.reigning()
		s.until(s.now + time.Minute)
		n.deleted = true
		n.tell()
		s.within(4*time.Second, "the release", func() bool { return s.api.record.Holder == "" })
		n.deleted = false
		n.boot(true)
		s.within(12*time.Second, "the next pod as primary", n.engine.canAcknowledge)
	})
}

// A holder that is frozen, or cut off, is followed by another after leaseDuration and a moment.
func TestScenarioFailover(t *testing.T) {
	t.Parallel()
	for _, kind := range []faultKind{faultFreeze, faultPartition} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			settled(t, 3, 1, func(s *scenario) {
				n := s.reigning()
				s.strikes(fault{Kind: kind, Node: holder, For: forEver})
				s.within(modelDurations.Lease+7*time.Second, "another primary", s.primaryOtherThan(n))
			})
		})
	}
}

// A holder that is stopped on purpose hands over.
func TestScenarioStop(t *testing.T) {
	t.Parallel()
	for _, kind := range []faultKind{faultDeletePod, faultFence} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			settled(t, 3, 1, func(s *scenario) {
				n := s.reigning()
				s.strikes(fault{Kind: kind, Node: holder, For: forEver})
				s.within(6*time.Second, "another primary", s.primaryOtherThan(n))
			})
		})
	}
}

// A switchover takes no longer because promises were given just before: the release ends them.
func TestScenarioSwitchoverAfterPromises(t *testing.T) {
	t.Parallel()
	settled(t, 3, 0, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultFromAPI, Node: holder, For: 6 * time.Second})
		s.until(s.now + 8*time.Second)
		s.strikes(fault{Kind: faultSwitchover})
		s.within(6*time.Second, "another primary", s.primaryOtherThan(n))
	})
}

// A holder whose engine is broken gives up, though its agent is well.
func TestScenarioBrokenEngine(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultBroken, Node: holder, For: forEver})
		s.within(modelLimits.restart+6*time.Second, "another primary", s.primaryOtherThan(n))
	})
}

// A holder that reaches neither the API nor everyone else does not keep those that it reaches from
// electing another, as long as that may last.
func TestScenarioPartlyCutOff(t *testing.T) {
	t.Parallel()
	settled(t, 4, 1, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultFromAPI, Node: holder, For: forEver})
		s.strikes(fault{Kind: faultPair, Node: holder, For: forEver})
		s.within(4*modelDurations.Lease, "another primary", s.primaryOtherThan(n))
	})
}

// With two instances, data that was lost is made anew, though it is the only one that commits wait for.
func TestScenarioOnlyReplicaEmptied(t *testing.T) {
	t.Parallel()
	settled(t, 2, 1, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultEmptyVolume, Node: replica1})
		s.within(15*time.Second, "a whole database", func() bool {
			r := &s.api.record
			return n.engine.canAcknowledge() && len(r.Candidates) == 2 && !s.truth.gone[r.Candidates[1].Name]
		})
	})
}

// All but one of the old names are gone at once, and come back as new ones.
func TestScenarioCrashOfAll(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		for i := range s.nodes {
			s.strikes(fault{Kind: faultReplacePod, Node: i})
		}
		s.within(modelDurations.Lease+8*time.Second, "a primary", func() bool { return s.reigning().engine.canAcknowledge() })
	})
}

// A handover to one who does not get everything is taken back in time, and is not tried again.
func TestScenarioHandoverAborted(t *testing.T) {
	t.Parallel()
	settled(t, 3, 0, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultSwitchover, Node: 1, Arg: 1})
		s.strikes(fault{Kind: faultFreeze, Node: 1, For: 15 * time.Second})
		s.within(modelLimits.handover+6*time.Second, "the same primary", func() bool {
			return n.machine.Handover().State == HandoverAborted && n.engine.canAcknowledge()
		})
		s.stays(n, 20*time.Second)
		s.strikes(fault{Kind: faultCrashAgent, Node: holder})
		s.within(6*time.Second, "the same primary", n.engine.canAcknowledge)
		s.stays(n, 20*time.Second)
		if o := n.machine.Handover(); o.State != HandoverAborted || o.Message == "" {
			s.story("the handover is told as %+v", o)
		}
	})
}

// Who has just given its engine up leaves the Lease to others, but not when it is handed over to it: there are no others then.
func TestScenarioHandoverAfterGivingUp(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		first := s.reigning()
		for range 2 {
			s.strikes(fault{Kind: faultCrashEngine, Node: holder})
			s.until(s.now + 200*time.Millisecond)
			s.within(modelDurations.Lease+8*time.Second, "a primary", func() bool { return s.reigning().engine.canAcknowledge() })
		}
		n := s.reigning()
		if n == first {
			s.story("%s was not given up", first.instance)
		}
		s.within(8*time.Second, "all streaming", func() bool { return n.engine.streams(first) && len(n.machine.facts.Standbys) == 2 })
		s.strikes(fault{Kind: faultDeletePod, Node: holder, For: forEver})
		s.within(8*time.Second, "the release", func() bool { return s.api.record.Holder == "" })
		s.within(modelDurations.Lease-time.Second, "another holder", func() bool { return s.api.record.Holder != "" })
	})
}

// The next is asked when one says that it is unable; one that does not have everything yet is asked again.
func TestWhoIsUnableIsPassedOver(t *testing.T) {
	l := leaving{successors: []Candidate{{Name: "a"}, {Name: "b"}}, round: 7}
	l.hears(&Answer{})
	if len(l.successors) != 2 || l.confirmed {
		t.Errorf("it is %+v", l)
	}
	l.hears(&Answer{Unable: true})
	if len(l.successors) != 1 || l.successors[0].Name != "b" || l.round != 0 {
		t.Errorf("it is %+v", l)
	}
	if l.hears(&Answer{Yes: true}); !l.confirmed {
		t.Error("it is not confirmed")
	}
}

// A person lets one claim without the answers that are needed; without that nobody does.
func TestScenarioForce(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		n := s.reigning()
		s.strikes(fault{Kind: faultPartition, Node: holder, For: forEver})
		s.strikes(fault{Kind: faultFreeze, Node: replica1, For: forEver})
		s.until(s.now + time.Minute)
		if s.reigning() != n {
			s.story("%s claimed without enough answers", s.reigning().instance)
		}
		last := s.nodes[2]
		if missing := last.machine.Missing(); !slices.Equal(missing, []string{"db-0", "db-1"}) {
			s.story("%v are told as missing", missing)
		}
		s.truth.forced = true
		last.force = "accepted"
		last.tell()
		s.within(4*time.Second, "another primary", func() bool { return s.reigning() == last })
		s.until(s.now + 5*time.Second)
		if last.disk.Forced != "accepted" {
			s.story("what was forced is not kept: it would be done again")
		}
	})
}

// Durations that leave too little reserve are not taken.
func TestScenarioDurationsRefused(t *testing.T) {
	t.Parallel()
	settled(t, 3, 1, func(s *scenario) {
		s.strikes(fault{Kind: faultDurations, Arg: 4})
		s.until(s.now + 5*time.Second)
		if s.api.record.Durations != modelDurations {
			s.story("the record says %+v", s.api.record.Durations)
		}
		s.strikes(fault{Kind: faultDurations, Arg: 1})
		s.within(3*time.Second, "other durations", func() bool { return s.api.record.Durations == otherDurations[1] })
	})
}

// The Lease that somebody deleted, or rolled back, is put back at once, and nobody stops.
func TestScenarioTampering(t *testing.T) {
	t.Parallel()
	for _, kind := range []faultKind{faultLeaseDeleted, faultLeaseRolledBack} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			settled(t, 3, 1, func(s *scenario) {
				n := s.reigning()
				s.strikes(fault{Kind: kind, Arg: 2})
				s.within(2*time.Second, "the Lease as it was", func() bool {
					return s.api.exists && s.api.record.Holder == n.identity() && len(s.api.record.Candidates) == 3
				})
				s.stays(n, 20*time.Second)
			})
		})
	}
}

// A replica whose log the primary has dropped is copied anew; where enough others are left, after it is no candidate.
func TestScenarioLogGone(t *testing.T) {
	t.Parallel()
	for nodes := 2; nodes <= 3; nodes++ {
		t.Run(fmt.Sprintf("Nodes%d", nodes), func(t *testing.T) {
			t.Parallel()
			settled(t, nodes, 1, func(s *scenario) {
				n := s.reigning()
				replica := s.nodes[(n.index+1)%nodes]
				name := replica.engine.name
				s.strikes(fault{Kind: faultPair, Node: holder, For: 5 * time.Second})
				s.until(s.now + 4*time.Second)
				n.engine.tip = s.newRow(n.engine.tip, n.engine.epoch)
				s.strikes(fault{Kind: faultLogGone, Node: holder})
				counted := false
				s.within(10*time.Second, "the clone", func() bool {
					counted = counted || replica.disk.Rebuilding && s.api.record.Has(name)
					return replica.engine.name != name && n.engine.streams(replica)
				})
				if counted != (nodes == 2) {
					s.story("its data was given up while it counted: %v", counted)
				}
				s.within(10*time.Second, "a candidate again", func() bool { return s.api.record.Has(replica.engine.name) })
				s.stays(n, 20*time.Second)
			})
		})
	}
}

// A query on the successor that holds its replay up does not hold up a switchover; one that has held it up for long
// keeps the primary from stopping for nothing.
func TestScenarioSwitchoverWithReader(t *testing.T) {
	t.Parallel()
	for _, long := range []bool{false, true} {
		t.Run(fmt.Sprintf("Long%v", long), func(t *testing.T) {
			t.Parallel()
			settled(t, 3, 1, func(s *scenario) {
				n := s.reigning()
				s.strikes(fault{Kind: faultReader, Node: replica1, For: forEver})
				lag := func() int { return int(n.engine.tip.position()) - s.who(replica1).engine.replayed }
				want := func() bool { return lag() > 1 }
				if long {
					want = func() bool { return lag() > 10 }
				}
				s.within(20*time.Second, "replay to be behind", want)
				s.strikes(fault{Kind: faultSwitchover, Node: replica1, Arg: 1})
				if long {
					s.stays(n, 20*time.Second)
					return
				}
				s.within(modelLimits.handover, "another primary", s.primaryOtherThan(n))
			})
		})
	}
}
