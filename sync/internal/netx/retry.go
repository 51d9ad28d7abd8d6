package netx

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// A Retry says how often a request is made, and with what pauses.
type Retry struct {
	Attempts int           // the first one included
	Delay    time.Duration // before the second attempt; each further one is twice as long
	Most     time.Duration // that a pause takes which no server asked for
	Log      *slog.Logger
	Sleep    func(context.Context, time.Duration) error // nil for the clock's
}

// A Verdict says whether a request that failed may succeed when it is made again.
type Verdict struct {
	Again  bool
	Factor int           // by which the pause is longer; 0 is 1
	After  time.Duration // the server asked for this pause; 0 for none
}

// Do calls try, with the number of the attempt, until it succeeds, fails for good
// or failed often enough. Nothing below makes a request twice: only what counts
// attempts knows that an earlier one may have happened.
func (r *Retry) Do(ctx context.Context, what string, try func(n int) error, judge func(context.Context, error) Verdict) error {
	for n := 1; ; n++ {
		err := try(n)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		verdict := judge(ctx, err)
		if !verdict.Again {
			return err
		}
		if n >= r.Attempts {
			return r.GaveUp(err, n)
		}
		if err := r.Pause(ctx, what, n, verdict, err); err != nil {
			return err
		}
	}
}

// GaveUp adds to an error how often there was one.
func (r *Retry) GaveUp(err error, n int) error {
	return fmt.Errorf("%w (attempt %d of %d)", err, n, r.Attempts)
}

// Pause waits before attempt n+1.
func (r *Retry) Pause(ctx context.Context, what string, n int, v Verdict, cause error) error {
	wait := r.Delay << min(n-1, 20) * time.Duration(max(1, v.Factor))
	wait = min(wait, r.Most)
	// Clients that failed together are not to come back together.
	wait = wait/2 + rand.N(wait/2+1)
	if v.After > 0 {
		wait = v.After + rand.N(r.Delay+1)
	}
	r.Log.Warn("retry", "request", what, "error", cause, "attempt", n+1, "wait", wait)
	if r.Sleep != nil {
		return r.Sleep(ctx, wait)
	}
	return Sleep(ctx, wait)
}

// Sleep waits, or returns the cause of the context's end.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
