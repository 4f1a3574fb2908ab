package agent

import "time"

// Waiting after failures: doubled each time, up to a limit. Time is an input.

const (
	backoffBase = time.Second
	backoffMax  = time.Minute
	// stableAfter is how long an engine must have answered for its earlier ends to be forgotten.
	stableAfter = time.Minute
	// lookAgain is the pause between looks at a volume that only a person can mend.
	lookAgain = 10 * time.Second
)

// backoff counts failures in a row.
type backoff struct {
	failures int
}

// fail counts one more, and returns when to try again.
func (b *backoff) fail(now time.Time) time.Time {
	delay := backoffMax
	if b.failures < 6 {
		delay = min(backoffBase<<b.failures, backoffMax)
	}
	b.failures++
	return now.Add(delay)
}

func (b *backoff) reset() { b.failures = 0 }

// restartBackoff is the backoff of an engine's starts. One that had been stable is started again at
// once.
type restartBackoff struct {
	backoff
}

// ended counts an end that nobody asked for; readyAt is when the engine first answered, or zero.
func (b *restartBackoff) ended(now, readyAt time.Time) time.Time {
	if !readyAt.IsZero() && now.Sub(readyAt) >= stableAfter {
		b.reset()
		return now
	}
	return b.fail(now)
}
