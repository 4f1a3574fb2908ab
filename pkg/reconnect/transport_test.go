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
	return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody}, nil
}

// try returns the status of the answer.
func try(ctx context.Context, s *server, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := Transport(s).RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

func TestAWatchFindsAServerSoonAfterItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := 10 * time.Minute
		begin := time.Now()
		s := &server{there: begin.Add(away)}
		status, err := try(t.Context(), s, "https://api/pods?watch=true")
		if err != nil || status != http.StatusTooManyRequests {
			t.Fatalf("got %d, %v: an answer is passed on", status, err)
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
		begin := time.Now()
		s := &server{there: begin.Add(time.Hour)}
		if _, err := try(t.Context(), s, "https://api/pods"); err == nil || s.asked != 1 {
			t.Errorf("another request was tried %d times: %v", s.asked, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := try(ctx, s, "https://api/pods?watch=true"); err == nil || time.Since(begin) != 5*time.Second {
			t.Errorf("it ended after %s: %v", time.Since(begin), err)
		}
	})
}
