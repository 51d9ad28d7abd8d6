package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/webdav/metrics"
)

// A schedule says when a server prunes its tree: every so often, or once a day.
type schedule struct {
	every        time.Duration // 0: once a day
	hour, minute int
}

// parseSchedule reads a duration, or a time of day.
func parseSchedule(text string) (schedule, error) {
	if at, err := time.Parse("15:04", text); err == nil {
		return schedule{hour: at.Hour(), minute: at.Minute()}, nil
	}
	every, err := parseDuration(text)
	if err != nil || every < time.Minute {
		return schedule{}, fmt.Errorf("%q is neither a time of day such as 03:30 nor a duration of a minute or more", text)
	}
	return schedule{every: every}, nil
}

// next returns when to prune after a moment.
func (s schedule) next(now time.Time) time.Time {
	if s.every > 0 {
		return now.Add(s.every)
	}
	at := time.Date(now.Year(), now.Month(), now.Day(), s.hour, s.minute, 0, 0, now.Location())
	if !at.After(now) {
		at = time.Date(now.Year(), now.Month(), now.Day()+1, s.hour, s.minute, 0, 0, now.Location())
	}
	return at
}

// A pruning is what serve --gc does.
type pruning struct {
	schedule schedule
	options  gc.Options
	govern   func(context.Context, gc.Options) (gc.Options, error) // by the policy of that moment
	tree     layout.Tree
	metrics  *metrics.Metrics
	purge    *purger
	storeDir string
	log      *slog.Logger
}

// keptOf is what the metrics tell of a plan.
func keptOf(plan *gc.Plan, o gc.Options) metrics.Kept {
	k := metrics.Kept{Live: plan.Live.Bytes, ForUndo: plan.ForUndo, Only: map[string]int64{}}
	for _, r := range plan.Roots {
		k.Only[r.Kind] += r.Only.Bytes
		k.Roots = append(k.Roots, metrics.KeptRoot{Name: r.Name, Paths: r.All.Count, Bytes: r.All.Bytes, Only: r.Only.Bytes})
	}
	if o.Policy != nil {
		k.Max = o.Policy.MaxSize
	}
	return k
}

// readPruning reads what --gc asks for, nil if it was not given.
func readPruning(c *cli.Context, tree layout.Tree, location string, m *metrics.Metrics, log *slog.Logger) (*pruning, error) {
	if !c.IsSet("gc") {
		return nil, nil
	}
	if c.Bool("read-only") {
		return nil, usage("--gc and --read-only exclude each other")
	}
	p := &pruning{tree: tree, metrics: m, purge: purgerOf(c), log: log}
	p.govern = func(ctx context.Context, o gc.Options) (gc.Options, error) { return underPolicy(ctx, c, tree, o) }
	var err error
	if p.schedule, err = parseSchedule(c.String("gc")); err != nil {
		return nil, usage("--gc: %v", err)
	}
	if p.options, err = keepOptions(c); err != nil {
		return nil, err
	}
	p.options.Memory = cacheFile("gc", treeName(tree, location))
	// This server writes alone, by its own word, if the store keeps to no conditions.
	p.options.Alone = true
	p.options.NoPins = c.Bool("no-pins")
	return p, nil
}

// keepPruning prunes the tree until ctx ends.
func (p *pruning) keepPruning(ctx context.Context) {
	if p == nil {
		return
	}
	for layout.Sleep(ctx, time.Until(p.schedule.next(time.Now()))) == nil {
		var done gc.Run
		o, err := p.govern(ctx, p.options)
		if err == nil {
			done, err = gc.Collect(ctx, p.tree, p.purge.purging(o), func(plan *gc.Plan) error {
				p.metrics.Kept(keptOf(plan, o))
				if plan.Over != nil {
					p.log.Error("the cache stays larger than its policy says", "err", plan.Over)
				}
				return nil
			})
		}
		p.purge.tell(ctx, p.log)
		switch held := (*lock.HeldError)(nil); {
		case ctx.Err() != nil:
			return
		case errors.As(err, &held):
			p.log.Info("pruning waits for the next time", "because", err)
		case err != nil:
			p.log.Error("pruning stopped, and removed nothing more", "err", err)
		case done.Condemned > 0 && done.Epoch == 0:
			p.log.Info("dead objects are condemned", "objects", done.Condemned, "removed from", done.Ripe.Format(time.RFC3339))
		case done.Epoch > 0:
			if err := newPage(p.tree, p.storeDir).refresh(ctx, false); err != nil {
				p.log.Warn("the page for browsers could not be brought up to date", "err", err)
			}
			p.log.Info("pruned", "run", done.Epoch, "withdrawn", done.Withdrawn.Count, "removed", done.Reclaimed.Count, "bytes", done.Reclaimed.Bytes)
		}
		if done.Unfinished > 0 {
			p.log.Info("uploads in parts that had broken off are removed", "uploads", done.Unfinished)
		}
	}
}
