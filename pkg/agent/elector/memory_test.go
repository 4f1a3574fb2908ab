package elector

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// What is on volumes, and what agents of other releases say, must be understood by every later
// release: these texts are never changed, only added to.

const keptText = `{
  "Name": "d1", "Rebuilding": true, "HighestEpoch": 7, "AskedEpoch": 8, "OwnEpoch": 6, "Fence": "120", "Releasing": true,
  "Chain": [{"Number": 4, "Name": "d1", "Begin": 9223372036854775808}],
  "Record": {"Holder": "orders-1/u1", "Epoch": 4, "Name": "d1", "Chain": [{"Number": 3, "Name": "d0", "Begin": 0}],
    "Candidates": [{"Name": "d0", "Instance": "orders-0"}], "W": 1, "Handover": "d0",
    "Durations": {"Lease": 15000000000, "RenewDeadline": 10000000000, "RenewPeriod": 5000000000, "RetryPeriod": 1000000000}, "Stamp": 0},
  "Unsettled": [{"Base": "119", "Record": {"Holder": "", "Epoch": 4}}]
}`

func kept1() election.Disk {
	return election.Disk{
		Name: "d1", Rebuilding: true, HighestEpoch: 7, AskedEpoch: 8, OwnEpoch: 6, Fence: "120", Releasing: true,
		Chain: election.Chain{{Number: 4, Name: "d1", Begin: 1 << 63}},
		Record: election.Record{
			Holder: "orders-1/u1", Epoch: 4, Name: "d1", Chain: election.Chain{{Number: 3, Name: "d0"}},
			Candidates: []election.Candidate{{Name: "d0", Instance: "orders-0"}}, W: 1, Handover: "d0", Durations: election.DefaultDurations,
		},
		Unsettled: []election.Sent{{Base: "119", Record: election.Record{Epoch: 4}}},
	}
}

func TestWhatWasKeptIsUnderstood(t *testing.T) {
	got, err := loadDisk(&fakeMemory{content: []byte(keptText)})
	if err != nil || !cmp.Equal(got, kept1()) {
		t.Errorf("%v %s", err, cmp.Diff(kept1(), got))
	}
	memory, disk := &fakeMemory{}, kept1()
	if err := saveDisk(memory, &disk); err != nil {
		t.Fatal(err)
	}
	got, err = loadDisk(memory)
	if err != nil || !cmp.Equal(got, disk) {
		t.Errorf("%v %s", err, cmp.Diff(disk, got))
	}
}

func TestWhatCannotBeReadIsNotNothing(t *testing.T) {
	if _, err := loadDisk(&fakeMemory{content: []byte(`{"Name": "d1`)}); err == nil {
		t.Error("half a file is taken for a whole one")
	}
	if _, err := loadDisk(&fakeMemory{content: []byte{}}); err == nil {
		t.Error("an empty file is taken for none")
	}
	if disk, err := loadDisk(&fakeMemory{}); err != nil || !cmp.Equal(disk, election.Disk{}) {
		t.Errorf("no file: %+v, %v", disk, err)
	}
}

func TestWhatPeersSayIsUnderstood(t *testing.T) {
	question := election.Question{
		Kind: election.AskPosition, Round: 3, From: "orders-1", Holder: "orders-0/u", Epoch: 4, Lease: 15e9, Version: "120", Position: 5,
	}
	understood(t, `{"Kind": "Position", "Round": 3, "From": "orders-1", "Holder": "orders-0/u", "Epoch": 4, "Lease": 15000000000, "Version": "120", "Position": 5}`, question)
	answer := election.Answer{
		Instance: "orders-1", Name: "d1", Yes: true, Record: kept1().Record, HighestEpoch: 7, AskedEpoch: 8,
		Chain: kept1().Chain, Position: 5, Priority: -2,
	}
	said, err := json.Marshal(kept1().Record)
	if err != nil {
		t.Fatal(err)
	}
	understood(t, `{"Instance": "orders-1", "Name": "d1", "Yes": true, "Record": `+string(said)+`, "HighestEpoch": 7, "AskedEpoch": 8,
		"Chain": [{"Number": 4, "Name": "d1", "Begin": 9223372036854775808}], "Position": 5, "Priority": -2}`, answer)
}

func understood[T any](t *testing.T, text string, want T) {
	t.Helper()
	var got T
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
}
