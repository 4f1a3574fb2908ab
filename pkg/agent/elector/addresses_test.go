package elector

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// DNS may go away soon after an instance was met, and an instance may move.
func TestAHostIsLookedUpSoonAfterItWasMetAndThenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dns := &dns{addresses: map[string]string{}}
		a := dns.finder()
		done := make(chan struct{})
		go func() { defer close(done); a.watch(ctx) }()
		began := time.Now()
		remembered := func(want ...string) {
			t.Helper()
			dns.set(func() { dns.away = true })
			if got := a.Of(ctx, "orders-1"); !slices.Equal(got, want) {
				t.Errorf("after %s: got %q, want %q", time.Since(began), got, want)
			}
			dns.set(func() { dns.away = false })
		}
		time.Sleep(20*time.Second + time.Millisecond)
		a.meet("orders-1")
		time.Sleep(lookPeriod)
		remembered()
		dns.set(func() { dns.addresses["orders-1"] = "10.0.0.1" })
		time.Sleep(lookPeriod)
		remembered("10.0.0.1")
		dns.set(func() { dns.addresses["orders-1"] = "10.0.0.2" })
		time.Sleep(refreshPeriod)
		remembered("10.0.0.2")
		cancel()
		<-done
	})
}
