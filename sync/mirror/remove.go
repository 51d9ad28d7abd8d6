package mirror

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A removal takes from the destination what it has too much.
type removal struct {
	pass *pass
	gc   *gc.Withdrawal
}

// removeAll removes what the source does not have: narinfos first, dependents
// before what they refer to, and NARs last (I2, I3). The objects that a narinfo
// which stays leads to stay as well, and so do those that have come to the
// source since it was listed. Finding that out takes reading the narinfos of the
// whole tree, from the source if it is a local directory; only a run that
// removes paths or NARs does it.
func (p *pass) removeAll(ctx context.Context) error {
	r := &removal{pass: p}
	r.gc = &gc.Withdrawal{
		Tree: p.run.mirror.Dest, Jobs: p.run.jobs, TempDir: p.run.mirror.TempDir,
		Paths: p.surplus.paths, NARs: p.surplus.nars, StoreDir: p.run.storeDir,
		Back: func(ctx context.Context, key layout.Key) (bool, error) {
			_, there, err := layout.Lookup(ctx, p.run.mirror.Source, key)
			return there, err
		},
		Deleted: func(key layout.Key) {
			p.run.progress.Deleted.Add(1)
			p.run.report.event(Event{Action: ActionDelete, Key: key})
		},
		Kept: func(key layout.Key, why string) {
			p.run.kept.Add(1)
			p.run.report.event(Event{Action: ActionKeep, Key: key, Why: why})
		},
	}
	defer r.gc.Close()
	if p.surplus.paths.Len()+p.surplus.nars.Len() > 0 {
		if err := r.gc.Decide(ctx, r.staying); err != nil {
			return err
		}
	}
	steps := []func(context.Context) error{
		r.removeOthers(layout.KindPin),
		r.removeOthers(layout.KindRealisation),
		r.gc.RemovePaths,
		r.removeKeys(p.surplus.pages),
		r.removeListings,
		r.removeOthers(layout.KindDebugInfo),
		r.removeOthers(layout.KindLog),
		r.gc.RemoveNARs,
		r.removeProvisions,
	}
	for _, step := range steps {
		err := step(ctx)
		if errors.Is(err, gc.ErrBack) {
			p.run.report.note(err.Error())
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

// staying yields the narinfos that the destination keeps. Those that equal the
// source's are read there if it is nearer.
func (r *removal) staying(yield func(gc.Staying, error) bool) {
	p := r.pass
	var near layout.Reader
	if layout.TraitsOf(p.run.mirror.Source).Local {
		near = p.run.mirror.Source
	}
	for record, err := range p.there.paths.All() {
		id := refgraph.PathID(record.Bytes)
		too, findErr := p.surplus.paths.Find(record.Bytes)
		if err = errors.Join(err, findErr); err == nil && too >= 0 {
			continue
		}
		// A narinfo that was left out in this run is not equal.
		from := near
		if i, findErr := p.todo.paths.Find(id[:]); findErr != nil {
			err = errors.Join(err, findErr)
		} else if i >= 0 && p.fate.graph.StateOf(int32(i)) != refgraph.Published {
			from = nil
		}
		if !yield(gc.Staying{ID: id, From: from}, err) || err != nil {
			return
		}
	}
	for record, err := range p.todo.paths.All() {
		c := unpackPathCopy(record.Bytes)
		if err == nil && (c.replace || p.fate.graph.StateOf(int32(record.Number)) != refgraph.Published) {
			continue // seen above, or not there
		}
		if !yield(gc.Staying{ID: c.id}, err) {
			return
		}
	}
}

// removeListings removes the listings of paths that have gone.
func (r *removal) removeListings(ctx context.Context) error {
	return r.gc.Remove(ctx, func(yield func(layout.Key, error) bool) {
		for record, err := range r.pass.surplus.listings.All() {
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
	p := r.pass
	at, err := p.there.paths.Find(id[:])
	if err != nil {
		return false, err
	}
	if at < 0 {
		i, err := p.todo.paths.Find(id[:])
		return i >= 0, err
	}
	i, err := p.surplus.paths.Find(id[:])
	return i < 0 || r.gc.Keeps(i), err
}

func (r *removal) removeKeys(keys []layout.Key) func(context.Context) error {
	return func(ctx context.Context) error { return r.gc.Remove(ctx, faultless(slices.Values(keys))) }
}

func faultless(keys iter.Seq[layout.Key]) iter.Seq2[layout.Key, error] {
	return func(yield func(layout.Key, error) bool) {
		for key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (r *removal) removeOthers(kind layout.Kind) func(context.Context) error {
	return func(ctx context.Context) error {
		if r.pass.surplus.others[kind] == 0 {
			return nil
		}
		return r.gc.Remove(ctx, func(yield func(layout.Key, error) bool) {
			for d, err := range r.pass.again(ctx, kind) {
				if (err != nil || d.verdict == extra) && !yield(d.key, err) {
					return
				}
			}
		})
	}
}
