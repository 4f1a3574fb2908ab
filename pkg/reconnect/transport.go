// Package reconnect lets watches find an API server soon after it was away.
//
// A reflector of client-go whose watch fails waits longer each time, up to a minute, which is right for an API
// server that refuses. When nobody answers at all, nothing is spared by it, and what people ask for right after an outage
// (a switchover, of all things) would be heard of late.
package reconnect

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// pause is the least time between two tries; on average it is half as long again, so that not everybody comes at once.
const pause = time.Second

// Transport tries watches again for as long as nobody answers and their context lasts. Whatever answer there is, is passed
// on, and so are other requests and their errors.
func Transport(next http.RoundTripper) http.RoundTripper { return &transport{next: next} }

type transport struct{ next http.RoundTripper }

// WrappedRoundTripper lets client-go find the transport below.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if request.Method != http.MethodGet || request.URL.Query().Get("watch") != "true" {
		return response, err
	}
	for err != nil {
		timer := time.NewTimer(pause + rand.N(pause)) //nolint:gosec // it spreads tries, and keeps no secret
		select {
		case <-timer.C:
		case <-request.Context().Done():
			timer.Stop()
			return nil, err
		}
		response, err = t.next.RoundTrip(request)
	}
	return response, nil
}
