package s3

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrClock says that the store refuses what this machine signs because the two
// clocks are too far apart: stores allow a quarter of an hour.
var ErrClock = errors.New("the clocks are apart")

// A clock knows how far ahead of the store's this machine's is, by the Date of
// the last refusal.
type clock struct{ ahead atomic.Int64 }

// dated notes the store's time from refusals, which are few.
type dated struct {
	http.RoundTripper
	clock *clock
}

func (d *dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusForbidden {
		if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			d.clock.ahead.Store(int64(time.Since(theirs)))
		}
	}
	return resp, err
}

// explain adds to a refusal over the time how far the clocks are apart.
func (c *clock) explain(err error) error {
	if !errors.Is(err, ErrClock) {
		return err
	}
	ahead, which := time.Duration(c.ahead.Load()).Round(time.Second), "ahead of"
	if ahead < 0 {
		ahead, which = -ahead, "behind"
	}
	return fmt.Errorf("%w (this machine's clock is %v %s the store's)", err, ahead, which)
}
