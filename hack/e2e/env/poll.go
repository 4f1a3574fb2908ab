package env

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// interval is how often a condition is looked at.
const interval = 250 * time.Millisecond

// Poll waits until the condition returns an empty state and no error. Errors are waited out, too: API servers restart. When the time is
// over, the error has the last state.
func Poll(ctx context.Context, timeout time.Duration, what string, condition func(context.Context) (state string, err error)) error {
	begun, last := time.Now(), "nothing was seen"
	err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(ctx context.Context) (bool, error) {
		state, err := condition(ctx)
		switch {
		case err == nil:
			last = state
		case !errors.Is(err, context.DeadlineExceeded):
			last = err.Error()
		}
		return err == nil && state == "", nil
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted after %s of waiting for %s: %s", time.Since(begun).Round(time.Second), what, last)
	case err != nil:
		return fmt.Errorf("waited %s for %s: %s", timeout, what, last)
	}
	return nil
}
