package election

import (
	"testing"
	"time"
)

func TestRejoin(t *testing.T) {
	source := Chain{{Number: 1, Name: "a"}, {Number: 3, Name: "b", Begin: 100}, {Number: 4, Name: "c", Begin: 200}}
	for name, c := range map[string]struct {
		own  Chain
		end  Position
		want Way
	}{
		"nothing":                                {nil, 0, WayClone},
		"another database":                       {Chain{{Number: 1, Name: "x"}}, 50, WayClone},
		"an epoch that the source does not know": {Chain{source[0], {Number: 2, Name: "x", Begin: 90}}, 95, WayClone},
		"such an epoch, without a write":         {Chain{source[0], {Number: 2, Name: "x", Begin: 90}}, 90, WayFollow},
		"behind":                                 {source[:1], 60, WayFollow},
		"at the end of an epoch":                 {source[:1], 100, WayFollow},
		"beyond the end of an epoch":             {source[:1], 101, WayRewind},
		"beyond the end of a later epoch":        {source[:2], 250, WayRewind},
		"in the newest epoch":                    {source, 300, WayFollow},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Rejoin(c.own, c.end, source); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestLeaves(t *testing.T) {
	record := Chain{{Number: 1, Name: "a"}, {Number: 3, Name: "b", Begin: 100}}
	for name, c := range map[string]struct {
		own  Chain
		end  Position
		want Position
		ok   bool
	}{
		"another database":                {Chain{{Number: 1, Name: "x"}}, 50, 0, false},
		"behind":                          {record[:1], 60, 60, true},
		"forked":                          {Chain{record[0], {Number: 2, Name: "x", Begin: 80}}, 500, 80, true},
		"not there yet":                   {record[:1], 150, 100, true},
		"in the newest epoch":             {record, 150, 150, true},
		"beyond what is known":            {append(record[:2:2], Epoch{Number: 4, Name: "a", Begin: 120}), 150, 120, true},
		"older than the record remembers": {Chain{{Number: -1, Name: "z"}, record[0]}, 60, 60, true},
		"without the oldest epochs":       {record[1:], 150, 150, true},
		"older than all of the record":    {Chain{{Number: -1, Name: "z"}}, 60, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			place, ok := c.own.Leaves(c.end, record)
			if place != c.want || ok != c.ok {
				t.Errorf("got %d, %v, want %d, %v", place, ok, c.want, c.ok)
			}
		})
	}
}

func TestDurationsValid(t *testing.T) {
	if !DefaultDurations.Valid() {
		t.Error("the default is refused")
	}
	for name, change := range map[string]func(*Durations){
		"no retry":                      func(d *Durations) { d.RetryPeriod = 0 },
		"retries rarer than renewals":   func(d *Durations) { d.RetryPeriod = 6 * time.Second },
		"no time for a second try":      func(d *Durations) { d.RenewDeadline = 5 * time.Second },
		"a deadline beyond the Lease":   func(d *Durations) { d.RenewDeadline = 16 * time.Second },
		"less than a tenth for clocks":  func(d *Durations) { d.RenewDeadline = 12100 * time.Millisecond },
		"a Lease as long as a deadline": func(d *Durations) { d.Lease = d.RenewDeadline },
	} {
		t.Run(name, func(t *testing.T) {
			d := DefaultDurations
			change(&d)
			if d.Valid() {
				t.Errorf("%+v is taken", d)
			}
		})
	}
}
