package httpcache

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

const (
	maxRetryDelay = time.Minute
	// A server may ask for a longer pause than we would make, but not for any.
	maxRetryAfter   = 5 * time.Minute
	throttledFactor = 20
)

// retry calls try until it succeeds, fails for good, or failed often enough.
func (h *Reader) retry(ctx context.Context, r request, try func() error) error {
	return h.again.Do(ctx, r.url.String(), func(int) error { return try() }, h.judge)
}

// judge is the judgement of the same name, for what the reader waits for.
func (h *Reader) judge(ctx context.Context, err error) netx.Verdict {
	v := judge(ctx, err)
	v.Again = v.Again && v.After <= h.o.Patience
	return v
}

// judge tells whether the same request may succeed when it is made again.
func judge(_ context.Context, err error) netx.Verdict {
	v := netx.Verdict{Again: isTransient(err)}
	var status *statusError
	if errors.As(err, &status) {
		if status.rateLimited() {
			v.Factor = throttledFactor
		}
		v.After = status.wait
	}
	return v
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
