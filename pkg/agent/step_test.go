package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/platform-io/database-operator/pkg/agent/election"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// settledInstance is an instance for which nothing is left to do, and what it must be.
func settledInstance() (*observed, *dbv1.DatabaseInstanceSpec) {
	account := dbv1.InstanceAccount{Username: "app", PasswordVersion: "1", State: dbv1.AccountPresent}
	o := &observed{
		now: now, fresh: true, engine: engineRunning,
		volume:   &Volume{State: VolumeReady, SystemID: "7"},
		config:   configFacts{mounted: "a", current: "a", good: "a"},
		report:   &Report{Role: dbv1.RolePrimary},
		labelled: dbv1.RolePrimary,
		accounts: map[string]accountFacts{"app": {asked: account, status: dbv1.InstanceAccountStatus{Username: "app", Applied: true, Verified: true}}},
		retryAt:  map[string]time.Time{},
	}
	return o, &dbv1.DatabaseInstanceSpec{
		Engine: dbv1.PostgreSQL, SystemID: "7", ConfigHash: "a", Accounts: []dbv1.InstanceAccount{account},
	}
}

// down makes a settled instance one whose engine is down.
func down(o *observed) {
	o.engine, o.report = engineDown, nil
}

func TestNextStep(t *testing.T) {
	type edit = func(*observed, *dbv1.DatabaseInstanceSpec)
	tests := map[string]struct {
		edit  edit
		kind  stepKind
		phase dbv1.InstancePhase
		words string
	}{
		"settled": {func(*observed, *dbv1.DatabaseInstanceSpec) {}, stepWait, dbv1.InstanceRunning, ""},
		"stopping, engine up": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) { o.stopping = true },
			stepStop, dbv1.InstanceStopping, "stopped",
		},
		"stopping, engine down": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) { o.stopping = true; down(o) },
			stepExit, dbv1.InstanceStopped, "",
		},
		"the wrong engine": {
			func(_ *observed, s *dbv1.DatabaseInstanceSpec) { s.Engine = dbv1.Redis },
			stepWait, dbv1.InstanceFailed, "Redis",
		},
		"fenced, engine up": {
			func(_ *observed, s *dbv1.DatabaseInstanceSpec) { s.Fenced = true },
			stepStop, dbv1.InstanceStopping, "fenced",
		},
		"fenced, engine down": {
			func(o *observed, s *dbv1.DatabaseInstanceSpec) { s.Fenced = true; down(o) },
			stepWait, dbv1.InstanceStopped, "fence",
		},
		"the first spec may still come": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o); o.awaitSpec = true },
			stepWait, dbv1.InstanceStarting, "Waiting",
		},
		"volume not looked at": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o); o.volume = nil },
			stepInspect, dbv1.InstanceStarting, "",
		},
		"volume looked at before the last start": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o); o.volumeStale = true },
			stepInspect, dbv1.InstanceStarting, "",
		},
		"empty, may bootstrap": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume, s.SystemID, s.Bootstrap = &Volume{State: VolumeEmpty}, "", true
		}, stepBootstrap, dbv1.InstanceInitializing, ""},
		"empty, may bootstrap, by a stored spec": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume, s.SystemID, s.Bootstrap, o.fresh = &Volume{State: VolumeEmpty}, "", true, false
		}, stepWait, dbv1.InstanceStarting, "API server"},
		"empty, bootstrap failed a moment ago": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume, s.SystemID, s.Bootstrap, o.lastError = &Volume{State: VolumeEmpty}, "", true, "no space left"
			o.retryAt["bootstrap/"] = now.Add(1)
		}, stepWait, dbv1.InstanceFailed, "no space left"},
		"empty, though data was recorded": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume, s.Bootstrap = &Volume{State: VolumeEmpty}, true
			o.retryAt["inspect/"] = now.Add(1)
		}, stepWait, dbv1.InstanceFailed, "restore from a backup"},
		"empty, though data was recorded, later": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume = &Volume{State: VolumeEmpty}
		}, stepInspect, dbv1.InstanceFailed, "restore from a backup"},
		"empty, may not bootstrap": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume, s.SystemID = &Volume{State: VolumeEmpty}, ""
			o.retryAt["inspect/"] = now.Add(1)
		}, stepWait, dbv1.InstanceStopped, "may not"},
		"unusable": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.volume = &Volume{State: VolumeUnusable, Reason: ReasonVersionMismatch, Message: "made by another version"}
			o.retryAt["inspect/"] = now.Add(1)
		}, stepWait, dbv1.InstanceFailed, "another version"},
		"foreign data": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			s.SystemID = "8"
			o.retryAt["inspect/"] = now.Add(1)
		}, stepWait, dbv1.InstanceFailed, "another database"},
		"foreign data under a running engine": {
			func(_ *observed, s *dbv1.DatabaseInstanceSpec) { s.SystemID = "8" },
			stepStop, dbv1.InstanceStopping, "another database",
		},
		"down": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) { down(o) }, stepStart, dbv1.InstanceStarting, ""},
		"down, just ended": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.restartAt, o.lastError = now.Add(1), "out of memory"
		}, stepWait, dbv1.InstanceFailed, "out of memory"},
		"down, new configuration mounted": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			s.ConfigHash, o.config.mounted = "b", "b"
		}, stepConfig, dbv1.InstanceStarting, ""},
		"down, new configuration not mounted": {
			func(o *observed, s *dbv1.DatabaseInstanceSpec) { down(o); s.ConfigHash = "b" },
			stepStart, dbv1.InstanceStarting, "",
		},
		"down, new configuration refused": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			s.ConfigHash, o.config.mounted, o.config.refused = "b", "b", "b"
		}, stepStart, dbv1.InstanceStarting, ""},
		"down, first configuration not mounted": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.config = configFacts{mounted: "z"}
		}, stepWait, dbv1.InstanceStarting, "mounted"},
		"down, first configuration refused": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.config = configFacts{mounted: "a", refused: "a", refusal: "no such setting"}
		}, stepWait, dbv1.InstanceFailed, "no such setting"},
		"no hash is asked for": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			s.ConfigHash, o.config = "", configFacts{mounted: "z"}
		}, stepConfig, dbv1.InstanceStarting, ""},
		"did not start with a new configuration": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.startFailed, o.restartAt = true, now.Add(time.Hour)
			s.ConfigHash, o.config.current = "b", "b"
		}, stepFallback, dbv1.InstanceStarting, ""},
		"did not start with the good configuration": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			down(o)
			o.startFailed, o.restartAt = true, now.Add(time.Hour)
		}, stepWait, dbv1.InstanceFailed, ""},
		"starting": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) { o.engine, o.report = engineStarting, nil },
			stepWait, dbv1.InstanceStarting, "",
		},
		"starting, with words": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
				o.engine, o.report, o.noAnswer = engineStarting, nil, "it loads its data"
			},
			stepWait, dbv1.InstanceStarting, "does not answer yet: it loads its data",
		},
		"silent after it answered": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
				o.engine, o.report, o.answered, o.noAnswer = engineStarting, nil, true, "too many clients"
			},
			stepWait, dbv1.InstanceStarting, "does not answer any more: too many clients",
		},
		"in trouble": {
			func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
				o.report = &Report{Role: o.report.Role, Trouble: "no writes"}
			},
			stepWait, dbv1.InstanceRunning, "no writes",
		},
		"new configuration": {
			func(o *observed, s *dbv1.DatabaseInstanceSpec) { s.ConfigHash, o.config.mounted = "b", "b" },
			stepConfig, dbv1.InstanceRunning, "",
		},
		"new configuration, not mounted": {
			func(_ *observed, s *dbv1.DatabaseInstanceSpec) { s.ConfigHash = "b" },
			stepWait, dbv1.InstanceRunning, "",
		},
		"system identifier not recorded": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			s.SystemID, o.labelled, o.accounts = "", "", nil
		}, stepWait, dbv1.InstanceRunning, "recorded"},
		"no label":              {func(o *observed, _ *dbv1.DatabaseInstanceSpec) { o.labelled = "" }, stepLabel, dbv1.InstanceRunning, ""},
		"label not seen lately": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) { o.labelDue = true }, stepLabel, dbv1.InstanceRunning, ""},
		"label failed, account missing": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			o.labelled, o.accounts = "", nil
			o.retryAt["label/"] = now.Add(1)
		}, stepAccount, dbv1.InstanceRunning, ""},
		"other password": {
			func(_ *observed, s *dbv1.DatabaseInstanceSpec) { s.Accounts[0].PasswordVersion = "2" },
			stepAccount, dbv1.InstanceRunning, "",
		},
		"no longer wanted": {
			func(_ *observed, s *dbv1.DatabaseInstanceSpec) { s.Accounts[0].State = dbv1.AccountAbsent },
			stepAccount, dbv1.InstanceRunning, "",
		},
		"account failed a moment ago": {func(o *observed, _ *dbv1.DatabaseInstanceSpec) {
			o.accounts, o.retryAt["account/app"] = nil, now.Add(1)
		}, stepWait, dbv1.InstanceRunning, ""},
		"restart asked for": {func(_ *observed, s *dbv1.DatabaseInstanceSpec) {
			s.Operation = &dbv1.InstanceOperation{ID: "x", Kind: dbv1.OperationRestart}
		}, stepBeginOperation, dbv1.InstanceRestarting, ""},
		"restart begun": {
			func(o *observed, s *dbv1.DatabaseInstanceSpec) { operation(o, s, dbv1.OperationRunning) },
			stepStop, dbv1.InstanceRestarting, "",
		},
		"restart begun, stopped": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			operation(o, s, dbv1.OperationRunning)
			down(o)
			o.operationDown = true
		}, stepStart, dbv1.InstanceRestarting, ""},
		"restart begun, started": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			operation(o, s, dbv1.OperationRunning)
			o.operationDown = true
		}, stepEndOperation, dbv1.InstanceRestarting, ""},
		"restart begun, does not start with a new configuration": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			operation(o, s, dbv1.OperationRunning)
			down(o)
			o.operationDown, o.startFailed, o.config.current = true, true, "b"
		}, stepFallback, dbv1.InstanceRestarting, ""},
		"restart begun, does not start at all": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			operation(o, s, dbv1.OperationRunning)
			down(o)
			o.operationDown, o.startFailed = true, true
		}, stepEndOperation, dbv1.InstanceRestarting, ""},
		"restart done": {
			func(o *observed, s *dbv1.DatabaseInstanceSpec) { operation(o, s, dbv1.OperationSucceeded) },
			stepWait, dbv1.InstanceRunning, "",
		},
		"next restart": {func(o *observed, s *dbv1.DatabaseInstanceSpec) {
			operation(o, s, dbv1.OperationSucceeded)
			s.Operation.ID = "y"
		}, stepBeginOperation, dbv1.InstanceRestarting, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o, spec := settledInstance()
			o.stopPreparedAt = o.now
			test.edit(o, spec)
			got := nextStep(o, dbv1.PostgreSQL, spec)
			if got.kind != test.kind || got.phase != test.phase || !strings.Contains(got.message, test.words) {
				t.Errorf("got %+v, want %s in phase %s with %q", got, test.kind, test.phase, test.words)
			}
			if got.reason == "" {
				t.Error("the step has no reason")
			}
			if got.phase == dbv1.InstanceFailed && got.message == "" {
				t.Error("a failure without a message")
			}
		})
	}
}

// operation lets the spec ask for an operation that got so far.
func operation(o *observed, s *dbv1.DatabaseInstanceSpec, phase string) {
	s.Operation = &dbv1.InstanceOperation{ID: "x", Kind: dbv1.OperationRestart}
	o.operation = &dbv1.InstanceOperationStatus{ID: "x", Phase: phase}
}

// A stop is prepared while the engine serves, but not where every moment counts, or nothing answers.
func TestAStopIsPrepared(t *testing.T) {
	lost := func(o *observed) {
		o.repl = &replication{Want: election.Want{Mode: election.ModeDown}, done: carriedOut{mode: StartPrimary}}
	}
	for name, test := range map[string]struct {
		edit func(*observed)
		kind stepKind
	}{
		"to be stopped":               {func(*observed) {}, stepPrepareStop},
		"prepared":                    {func(o *observed) { o.stopPreparedAt = o.now.Add(-time.Second) }, stepStop},
		"prepared long ago":           {func(o *observed) { o.stopPreparedAt = o.now.Add(-time.Hour) }, stepPrepareStop},
		"a primary that lost":         {lost, stepStop},
		"a primary that gives it up":  {func(o *observed) { lost(o); o.repl.Holding = true }, stepPrepareStop},
		"an engine that is starting":  {func(o *observed) { o.engine = engineStarting }, stepStop},
		"a replica that was promoted": {func(o *observed) { lost(o); o.repl.done.mode = StartReplica }, stepPrepareStop},
	} {
		o, spec := settledInstance()
		o.stopping = true
		test.edit(o)
		if got := nextStep(o, dbv1.PostgreSQL, spec); got.kind != test.kind {
			t.Errorf("%s: the step is %s, want %s", name, got.kind, test.kind)
		}
	}
}

func TestNextStepWithoutASpecWaits(t *testing.T) {
	o, _ := settledInstance()
	down(o)
	if got := nextStep(o, dbv1.PostgreSQL, nil); got.kind != stepWait {
		t.Errorf("got %+v", got)
	}
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	b := backoff{}
	var got []time.Duration
	for range 9 {
		got = append(got, b.fail(now).Sub(now)/time.Second)
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestStableEngineIsStartedAgainAtOnce(t *testing.T) {
	r := restartBackoff{}
	for range 5 {
		r.ended(now, time.Time{})
	}
	if got := r.ended(now, now.Add(-time.Second)); !got.After(now.Add(30 * time.Second)) {
		t.Errorf("one that was ready for a second is started again at %s", got)
	}
	if got := r.ended(now, now.Add(-stableAfter)); got != now {
		t.Errorf("a stable one is started again at %s", got)
	}
	if got := r.ended(now, time.Time{}); got != now.Add(time.Second) {
		t.Errorf("its next failure counts as the first, but it is started again at %s", got)
	}
}
