//go:build e2e

package e2e

import (
	"syscall"
	"time"
)

// processFaults befall the processes and the pod of the primary.
var processFaults = []fault{
	{name: "postmaster killed", gap: processGap, cause: func(f *faulted) {
		f.signal(f.postmaster(f.primaryPod().UID), syscall.SIGKILL)
		f.lasts(5 * time.Second)
	}},
	{name: "engine killed", gap: processGap, cause: func(f *faulted) {
		f.kill(f.primaryPod().UID, "postgres")
		f.lasts(5 * time.Second)
	}},
	{name: "agent killed", gap: nodeGap, cause: func(f *faulted) {
		f.signal(f.agent(f.primaryPod().UID), syscall.SIGKILL)
		f.lasts(5 * time.Second)
	}},
	{name: "agent stopped", gap: nodeGap, after: anotherPrimary, cause: func(f *faulted) {
		agent := f.agent(f.primaryPod().UID)
		f.signal(agent, syscall.SIGSTOP)
		f.untilAnother()
		f.lasts(5 * time.Second)
		f.signal(agent, syscall.SIGCONT)
	}},
	{name: "pod deleted", gap: processGap, cause: func(f *faulted) {
		f.deletePod(f.primary)
		f.lasts(5 * time.Second)
	}},
	{name: "switchover", planned: true, gap: plannedGap, after: anotherPrimary, terms: 2, cause: func(f *faulted) {
		f.ok(f.bed.switchOver(f))
		f.lasts(2 * time.Second)
	}},
}
