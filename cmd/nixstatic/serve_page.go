package main

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout/pages"
)

// A server brings the page up to date some seconds after an upload, with what came
// by then, and writes what it counted now and then.
const (
	pageDelay  = 5 * time.Second
	countEvery = 10 * time.Minute
	pageTime   = 30 * time.Second // for the last time, when the server is stopped
)

// keepCurrent keeps the page of a served tree current until ctx ends.
func (p *page) keepCurrent(ctx context.Context, s *service) {
	if p == nil {
		return
	}
	shown := false // there was a page at the last look
	update := func(ctx context.Context, count bool) {
		change := pages.Change{Came: p.take(), Keys: p.keys}
		p.uploads += int64(len(change.Came))
		if count {
			if reads, in, out := s.metrics.Served(); reads+p.uploads > 0 {
				change.Served = &pages.Served{Since: p.since, Reads: reads, BytesIn: in, BytesOut: out, Uploads: p.uploads}
				p.uploads = 0
			}
		}
		there, err := pages.Exists(ctx, p.tree)
		if shown = there || err != nil; !shown {
			return
		}
		if err := p.show(ctx, change); err != nil && ctx.Err() == nil {
			s.log.Warn("the page for browsers could not be brought up to date; it is tried again with the next upload", "err", err)
		}
	}
	p.since = time.Now().UTC().Truncate(time.Second)
	count := time.NewTicker(countEvery)
	defer count.Stop()
	if behind, err := p.keeper.Behind(ctx); err != nil || behind {
		p.due = true // a server was killed
	}
	update(ctx, false) // keys may be new
	for {
		select {
		case <-p.more:
			// Until then a server that is killed leaves the page without these paths. A page that
			// another process makes meanwhile has them.
			if shown {
				if err := p.begin(ctx); err != nil && ctx.Err() == nil {
					s.log.Warn("it could not be noted that the page for browsers is behind", "err", err)
				}
			}
			select {
			case <-time.After(pageDelay):
				update(ctx, false)
				continue
			case <-ctx.Done():
			}
		case <-count.C:
			update(ctx, true)
			continue
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), pageTime)
		update(last, true)
		cancel()
		return
	}
}
