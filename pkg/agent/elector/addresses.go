package elector

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// resolveLimit is what DNS may take of an answer's time.
	resolveLimit = 150 * time.Millisecond
	// lookPeriod is the pause between two looks at the addresses of hosts that have none, and refreshPeriod at those of all.
	lookPeriod    = time.Second
	refreshPeriod = 15 * time.Second
	// lookupLimit is what DNS may take of one such look.
	lookupLimit = 3 * time.Second
)

// Addresses finds instances by their DNS names. What DNS said last is remembered: it is asked now and then,
// so that an instance that was moved is also found when DNS and the API go away together.
type Addresses struct {
	resolve func(ctx context.Context, host string) ([]string, error)

	mu sync.Mutex
	// known has every host that was asked for; the address is empty while none is known.
	known map[string]string
}

// NewAddresses asks the machine's own DNS.
func NewAddresses() *Addresses {
	return &Addresses{resolve: net.DefaultResolver.LookupHost, known: map[string]string{}}
}

// Of is what DNS says of a host or, if it says nothing in time, the address that worked last, or that it has asked from since,
// or that DNS said since.
func (a *Addresses) Of(ctx context.Context, host string) []string {
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	addresses, err := a.resolve(ctx, host)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil && len(addresses) > 0:
		if a.known[host] == "" {
			a.known[host] = addresses[0]
		}
		return addresses
	case a.known[host] == "":
		return nil
	}
	return []string{a.known[host]}
}

// meet has a host looked up from now on.
func (a *Addresses) meet(host string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, met := a.known[host]; !met {
		a.known[host] = ""
	}
}

// heard says where a host that is known has asked from. Who is about to lead asks, and is looked for next.
func (a *Addresses) heard(host, address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, met := a.known[host]; met && address != "" {
		a.known[host] = address
	}
}

// found says which address led to a host; empty forgets.
func (a *Addresses) found(host, address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[host] = address
}

// watch looks hosts up until the context ends: one that is in nobody's memory every second, and all of them now and then.
func (a *Addresses) watch(ctx context.Context) {
	for turn := 0; pause(ctx, lookPeriod); turn++ {
		a.refresh(ctx, turn%int(refreshPeriod/lookPeriod) == 0)
	}
}

// refresh looks all hosts up, or those without an address.
func (a *Addresses) refresh(ctx context.Context, all bool) {
	a.mu.Lock()
	var hosts []string
	for host, address := range a.known {
		if all || address == "" {
			hosts = append(hosts, host)
		}
	}
	a.mu.Unlock()
	for _, host := range hosts {
		ctx, cancel := context.WithTimeout(ctx, lookupLimit)
		if addresses, err := a.resolve(ctx, host); err == nil && len(addresses) > 0 {
			a.found(host, addresses[0])
		}
		cancel()
	}
}
