package reconnect

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// server answers once it is there.
type server struct {
	there time.Time
	asked int
}

func (s *server) RoundTrip(*http.Request) (*http.Response, error) {
	s.asked++
	if time.Now().Before(s.there) {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusTooManyRequests}, nil
}

func request(t *testing.T, ctx context.Context, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAWatchFindsAServerSoonAfterItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := 10 * time.Minute
		s := &server{there: time.Now().Add(away)}
		begin := time.Now()
		response, err := Transport(s).RoundTrip(request(t, t.Context(), "https://api/pods?watch=true"))
		if err != nil || response.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("got %v, %v: an answer is passed on", response, err)
		}
		if late := time.Since(begin) - away; late > 2*pause {
			t.Errorf("it was found %s after it was back", late)
		}
		if most := int(away/pause) + 1; s.asked > most {
			t.Errorf("it was tried %d times in %s", s.asked, away)
		}
	})
}

func TestOnlyWatchesAreTriedAgainAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{there: time.Now().Add(time.Hour)}
		if _, err := Transport(s).RoundTrip(request(t, t.Context(), "https://api/pods")); err == nil || s.asked != 1 {
			t.Errorf("another request was tried %d times: %v", s.asked, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := Transport(s).RoundTrip(request(t, ctx, "https://api/pods?watch=true")); err == nil || time.Since(begin) != 5*time.Second {
			t.Errorf("it ended after %s: %v", time.Since(begin), err)
		}
	})
}
