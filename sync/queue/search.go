package queue

import (
	"context"
	"time"
)

// Searches are so far apart; where one failed or something was missed, less.
const (
	searching      = 10 * time.Minute
	searchingAgain = 10 * time.Second
)

// search looks for what was not added.
func (d *Drainer) search(ctx context.Context) {
	now := time.Now()
	since, missed := d.Queue.Missed()
	lastMissed := d.Queue.missedLast()
	if d.Search == nil || now.Before(d.searchNext) && !(missed && !now.Before(d.searchMissed)) {
		return
	}
	if d.Looked == nil && (!missed || d.status.Looked.Before(since)) {
		since = d.status.Looked
	} else if !missed {
		return
	}
	d.searchNext, d.searchMissed = now.Add(searching), now.Add(searchingAgain)
	err := d.Search(ctx, since)
	if err == nil {
		err = d.Queue.foundAll(now, lastMissed)
	}
	if err != nil {
		d.searchNext = d.searchMissed
		if ctx.Err() == nil {
			d.log("builds that are not in the queue cannot be looked for: %v", err)
		}
		return
	}
	// The store knows of seconds alone.
	d.status.Looked = now.Add(-2 * time.Second)
}
