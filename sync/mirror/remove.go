package mirror

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A removal is what the destination has too much, and what of it has to stay.
type removal struct {
	*pass
	graph *refgraph.Graph // of extraPaths

	mu        sync.Mutex
	keptPaths map[int32]string // in extraPaths: why
	keptNARs  map[int32]string // in extraNARs: why
	nars      []int32          // of each of extraPaths: the one of extraNARs that it leads to, or -1
}

// removeAll removes what the source does not have: narinfos first, dependents
// before what they refer to, and NARs last (I2, I3). Whatever a narinfo that
// stays leads to stays as well, and so does what has come to the source since it
// was listed. Finding that out takes reading the narinfos of the whole tree, from
// the source if it is a local directory; only a run that removes paths or NARs
// does it.
func (p *pass) removeAll(ctx context.Context) error {
	r := &removal{pass: p, keptPaths: map[int32]string{}, keptNARs: map[int32]string{}}
	defer func() { r.graph.Close() }()
	if p.extraPaths.Len()+p.extraNARs.Len() > 0 {
		if err := r.decide(ctx); err != nil {
			return err
		}
	}
	steps := []func(context.Context) error{
		r.removeOthers(layout.KindRealisation),
		r.removePaths,
		r.removePages,
		r.removeListings,
		r.removeOthers(layout.KindDebugInfo),
		r.removeOthers(layout.KindLog),
		r.removeNARs,
		r.removeProvisions,
	}
	for _, step := range steps {
		err := step(ctx)
		if errors.Is(err, errBack) {
			r.report.note("%w", err)
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// errBack ends a removal. What went so far, nothing that stays leads to.
var errBack = errors.New("the source has a path again that was being removed: the rest is left to the next run")

// remove deletes keys side by side, but for those that the source has by now.
func (r *removal) remove(ctx context.Context, keys iter.Seq2[layout.Key, error]) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(r.jobs)
	var listing error
	for key, err := range keys {
		if err != nil || inGroup.Err() != nil {
			listing = err
			break
		}
		group.Go(func() error {
			if _, there, err := layout.Lookup(inGroup, r.Source, key); err != nil {
				return err
			} else if there && key.Kind() == layout.KindNarInfo {
				return errBack // with all that it needs
			} else if there {
				r.keep(key, "the source has it by now")
				return nil
			}
			if err := r.Dest.Delete(inGroup, key); err != nil {
				return fmt.Errorf("destination: %w", err)
			}
			r.progress.Deleted.Add(1)
			r.report.event(Event{Action: ActionDelete, Key: key})
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return listing
}

// removePaths withdraws narinfos, level by level from the top.
func (r *removal) removePaths(ctx context.Context) error {
	if r.graph == nil {
		return nil
	}
	for i := range r.keptPaths {
		r.graph.SetState(i, refgraph.Stays)
	}
	// What refers to itself in a circle, or leans on one, goes one by one.
	var circle []int32
	levels, err := r.graph.Arrange(func(node, because int32) { circle = append(circle, node) })
	if err != nil {
		return err
	}
	for _, node := range circle {
		levels = append(levels, []int32{node})
	}
	for _, nodes := range slices.Backward(levels) {
		err := r.remove(ctx, func(yield func(layout.Key, error) bool) {
			for _, i := range nodes {
				id, err := refgraph.PathAt(r.extraPaths, int(i))
				if !yield(id.NarInfoKey(), err) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeListings removes the listings of paths that are no more.
func (r *removal) removeListings(ctx context.Context) error {
	return r.remove(ctx, func(yield func(layout.Key, error) bool) {
		for record, err := range r.extraListings.All() {
			id := refgraph.PathID(record.Bytes)
			stays := false
			if err == nil {
				stays, err = r.hasPath(id)
			}
			if (err != nil || !stays) && !yield(id.ListingKey(), err) {
				return
			}
		}
	})
}

// hasPath reports whether the destination has, or is to have, a narinfo when
// all is removed that can be.
func (r *removal) hasPath(id refgraph.PathID) (bool, error) {
	at, err := r.paths.Find(id[:])
	if err != nil {
		return false, err
	}
	if at < 0 {
		i, err := r.newPaths.Find(id[:])
		return i >= 0, err
	}
	i, err := r.extraPaths.Find(id[:])
	_, kept := r.keptPaths[int32(i)]
	return i < 0 || kept, err
}

func (r *removal) removeNARs(ctx context.Context) error {
	return r.remove(ctx, func(yield func(layout.Key, error) bool) {
		for record, err := range r.extraNARs.All() {
			_, stays := r.keptNARs[int32(record.Number)]
			if (err != nil || !stays) && !yield(refgraph.NARID(record.Bytes).Key(), err) {
				return
			}
		}
	})
}

func (r *removal) removePages(ctx context.Context) error {
	return r.remove(ctx, func(yield func(layout.Key, error) bool) {
		for _, key := range r.extraPages {
			if !yield(key, nil) {
				return
			}
		}
	})
}

func (r *removal) removeOthers(kind layout.Kind) func(context.Context) error {
	return func(ctx context.Context) error {
		if r.extraOthers[kind] == 0 {
			return nil
		}
		return r.remove(ctx, func(yield func(layout.Key, error) bool) {
			for d, err := range r.again(ctx, kind) {
				if (err != nil || d.verdict == extra) && !yield(d.key, err) {
					return
				}
			}
		})
	}
}
