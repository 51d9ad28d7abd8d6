package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	attempts       = 8
	retryDelay     = 200 * time.Millisecond
	maxRetryDelay  = 20 * time.Second
	throttleFactor = 5
	stall          = 5 * time.Minute
)

// retry calls try, with the number of the attempt, until it succeeds, fails for
// good or failed often enough. The client below retries nothing: only who
// counts attempts knows that an earlier one may have happened.
func (b *Bucket) retry(ctx context.Context, what string, try func(n int) error) error {
	for n := 1; ; n++ {
		used := b.present()
		err := try(n)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		again, throttled := transient(err)
		if errors.Is(err, ErrCredentials) {
			again = b.renew(ctx, used)
		}
		if !again {
			return b.explain(err)
		}
		if n >= b.loc.Attempts {
			return fmt.Errorf("%w (attempt %d of %d)", err, n, b.loc.Attempts)
		}
		if err := b.pause(ctx, what, n, throttled, err); err != nil {
			return err
		}
	}
}

// pause waits before attempt n+1.
func (b *Bucket) pause(ctx context.Context, what string, n int, throttled bool, cause error) error {
	wait := b.loc.RetryDelay << min(n-1, 20)
	if throttled {
		wait *= throttleFactor
	}
	wait = min(wait, maxRetryDelay)
	// Writers that failed together are not to come back together.
	wait = wait/2 + rand.N(wait/2+1)
	b.log.Warn("retry", "request", what, "error", cause, "attempt", n+1, "wait", wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
