package httpcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxRetryDelay = time.Minute
	// A server may ask for a longer pause than we would make, but not for any.
	maxRetryAfter   = 5 * time.Minute
	throttledFactor = 20
)

// retry calls try until it succeeds, fails for good, or failed often enough.
func (h *Reader) retry(ctx context.Context, r request, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || ctx.Err() != nil || !isTransient(err) {
			return err
		}
		if n >= h.o.Attempts {
			return fmt.Errorf("%w (attempt %d of %d)", err, n, h.o.Attempts)
		}
		if pauseErr := h.pause(ctx, n, err); pauseErr != nil {
			return pauseErr
		}
	}
}

// pause waits before attempt n+1. It returns an error, the one given or ctx's,
// if there is not to be one.
func (h *Reader) pause(ctx context.Context, n int, err error) error {
	wait := h.o.RetryDelay << min(n-1, 20)
	var status *statusError
	if errors.As(err, &status) {
		if status.rateLimited() {
			wait *= throttledFactor
		}
		if status.wait > maxRetryAfter {
			return fmt.Errorf("%w: the server wants to be asked again after %v", err, status.wait)
		}
	}
	wait = min(wait, maxRetryDelay)
	// Clients that failed together are not to come back together.
	wait = wait/2 + rand.N(wait/2+1)
	if status != nil && status.wait > 0 {
		wait = status.wait + rand.N(h.o.RetryDelay)
	}
	h.o.Log.Warn("retry", "error", err, "attempt", n+1, "wait", wait)
	return h.sleep(ctx, wait)
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

func sleepContext(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
