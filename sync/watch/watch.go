// Package watch keeps one tree equal to another while others write to it.
package watch

import (
	"context"
	"fmt"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// A Watch keeps a destination equal to a source that others write to.
//
// Changes of a directory are told by the operating system, gathered until there
// are no more for a moment, and mirrored together. The system forgets some when
// there are many at once, or the directory is on a network, and a bucket tells
// nothing: so from time to time all is compared, which is also how removals are
// mirrored.
//
// A destination that cannot be reached is tried again and again, with pauses
// that grow; nothing is lost meanwhile.
type Watch struct {
	Mirror *mirror.Mirror

	// Settle is how long an object must be left alone before it is read: not
	// everyone writes beside the final name first. 0 is 2 seconds.
	Settle time.Duration
	// Delay is how long changes may wait for there to be no more. 0 is 30 seconds.
	Delay time.Duration
	// Rescan is how often all is compared. 0 is 10 minutes.
	Rescan time.Duration
	// Drain is how long an end may take: what has changed by then is still
	// mirrored. 0 is 30 seconds.
	Drain time.Duration

	Report func(Outcome) // is told of each attempt, one at a time; may be nil
}

// A WatchOutcome tells how an attempt to mirror ended.
type Outcome struct {
	Keys  int // that had changed; -1 if all was compared
	Took  time.Duration
	Err   error         // nil if the destination is current
	Retry time.Duration // until the next attempt, if Err is not about the source
}

const (
	defaultSettle = 2 * time.Second
	defaultDelay  = 30 * time.Second
	defaultRescan = 10 * time.Minute
	defaultDrain  = 30 * time.Second
	firstRetry    = time.Second
	lastRetry     = 5 * time.Minute
	// maxDirty is how many changed keys are told apart: beyond, all is compared.
	maxDirty = 16384
)

// Run watches until ctx ends, then mirrors what has changed by then and
// returns nil, or an error if that could not be done within Drain.
func (w *Watch) Run(ctx context.Context) error {
	s := &watching{Watch: w, all: true, dirty: map[layout.Key]time.Time{}, retry: firstRetry}
	s.mirror = *w.Mirror
	s.mirror.Busy = s.isBusy
	s.settle, s.delay = or(w.Settle, defaultSettle), or(w.Delay, defaultDelay)
	s.rescan, s.drain = or(w.Rescan, defaultRescan), or(w.Drain, defaultDrain)
	if dir := layout.TraitsOf(w.Mirror.Source).Path; dir != "" {
		if err := s.open(dir); err != nil {
			// There may be too many watchers on the machine already.
			s.tell(Outcome{Keys: -1, Err: fmt.Errorf("changes are not told (%w): all is compared every %v", err, s.rescan)})
		}
	}
	defer s.close()
	return s.loop(ctx)
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
