package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// decide finds out what has to stay.
func (r *removal) decide(ctx context.Context) error {
	if err := r.readExtras(ctx); err != nil {
		return err
	}
	err := r.each(ctx, r.paths, func(ctx context.Context, _ int, record []byte) error {
		id := refgraph.PathID(record)
		if i, err := r.extraPaths.Find(record); err != nil || i >= 0 {
			return err
		}
		return r.stays(ctx, id, true)
	})
	if err != nil {
		return err
	}
	err = r.each(ctx, r.newPaths, func(ctx context.Context, i int, record []byte) error {
		c := unpackPathCopy(record)
		if c.replace || r.pass.graph.StateOf(int32(i)) != refgraph.Published {
			return nil // among paths, or not there
		}
		return r.stays(ctx, c.id, false)
	})
	if err != nil {
		return err
	}
	// What stays keeps what it needs, all the way down.
	var stack []int32
	for i := range r.keptPaths {
		stack = append(stack, i)
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		id, err := refgraph.PathAt(r.extraPaths, int(i))
		if err != nil {
			return err
		}
		because := id.Hash() + " stays"
		if nar := r.nars[i]; nar >= 0 {
			r.keepNAR(nar, because)
		}
		refs, err := r.graph.Refs(i, nil)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if r.keepPath(ref, because) {
				stack = append(stack, ref)
			}
		}
	}
	for i, why := range r.keptPaths {
		id, err := refgraph.PathAt(r.extraPaths, int(i))
		if err != nil {
			return err
		}
		r.keep(id.NarInfoKey(), why)
	}
	for i, why := range r.keptNARs {
		var id refgraph.NARID
		if err := r.extraNARs.At(int(i), id[:]); err != nil {
			return err
		}
		r.keep(id.Key(), why)
	}
	return nil
}

// each does work for all records of a shelf, side by side.
func (r *removal) each(ctx context.Context, s *refgraph.Shelf, work func(ctx context.Context, i int, record []byte) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(r.jobs)
	var reading error
	for record, err := range s.All() {
		if err != nil || inGroup.Err() != nil {
			reading = err
			break
		}
		bytes := slices.Clone(record.Bytes)
		group.Go(func() error { return work(inGroup, record.Number, bytes) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return reading
}

// readExtras notes what the narinfos that are too much lead to.
func (r *removal) readExtras(ctx context.Context) error {
	r.graph = refgraph.NewGraph(r.extraPaths.Len(), r.TempDir)
	r.nars = make([]int32, 0, r.extraPaths.Len())
	type lead struct {
		nar  int32
		refs []int32
	}
	leads := inOrder(ctx, r.jobs, refgraph.Numbered(r.extraPaths),
		func(refgraph.Record) (lead, bool) { return lead{}, false },
		func(ctx context.Context, record refgraph.Record) (lead, error) {
			key := refgraph.PathID(record.Bytes).NarInfoKey()
			if _, there, err := layout.Lookup(ctx, r.Source, key); err != nil {
				return lead{}, err
			} else if there {
				r.keepPath(int32(record.Number), "the source has it by now")
			}
			nar, refs, err := r.needs(ctx, r.Dest, key)
			if errors.Is(err, fs.ErrNotExist) {
				return lead{nar: -1}, nil // someone else removed it
			}
			return lead{nar, refs}, err
		})
	for lead, err := range leads {
		if err != nil {
			return err
		}
		r.nars = append(r.nars, lead.nar)
		r.graph.Add(refgraph.Ready, lead.refs, nil)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.graph.Seal()
}

func (r *removal) stays(ctx context.Context, id refgraph.PathID, equal bool) error {
	key := id.NarInfoKey()
	// Of two equal narinfos the nearer one is read. One that was left out in
	// this run is not equal.
	local := layout.TraitsOf(r.Source).Local
	var from layout.Reader = r.Dest
	if local && equal {
		old, err := r.outOfDate(id)
		if err != nil {
			return err
		}
		if !old {
			from = r.Source
		}
	}
	nar, refs, err := r.needs(ctx, from, key)
	if errors.Is(err, fs.ErrNotExist) && from != layout.Reader(r.Dest) {
		// Withdrawn a moment ago: it still stands at the destination.
		nar, refs, err = r.needs(ctx, r.Dest, key)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	because := id.Hash() + " leads to it"
	if nar >= 0 {
		r.keepNAR(nar, because)
	}
	for _, ref := range refs {
		r.keepPath(ref, because)
	}
	return nil
}

// outOfDate reports whether the destination's narinfo may differ from the
// source's after this pass.
func (r *removal) outOfDate(id refgraph.PathID) (bool, error) {
	i, err := r.newPaths.Find(id[:])
	return i >= 0 && r.pass.graph.StateOf(int32(i)) != refgraph.Published, err
}

// needs returns what of the superfluous a narinfo leads to. One that cannot be
// understood leads nowhere, for a client neither.
func (r *removal) needs(ctx context.Context, t layout.Reader, key layout.Key) (nar int32, refs []int32, err error) {
	text, err := layout.ReadAll(ctx, t, key)
	if errors.Is(err, layout.ErrTooLarge) {
		return -1, nil, nil
	}
	if err != nil {
		return -1, nil, fmt.Errorf("find out what is still needed: %w", err)
	}
	n, err := layout.ParseNarInfo(text, "")
	if err != nil {
		return -1, nil, nil
	}
	nar = -1
	if key, err := layout.ParseKey(n.URL); err == nil {
		if id, ok := refgraph.PackNAR(key); ok {
			i, err := r.extraNARs.Find(id[:])
			if err != nil {
				return -1, nil, err
			}
			nar = int32(i)
		}
	}
	for _, ref := range n.References {
		id := refgraph.PackPath(ref.Hash())
		i, err := r.extraPaths.Find(id[:])
		if err != nil {
			return -1, nil, err
		}
		if i >= 0 && ref != n.Path {
			refs = append(refs, int32(i))
		}
	}
	return nar, refs, nil
}

func (r *removal) keepPath(i int32, why string) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.keptPaths[i]; known {
		return false
	}
	r.keptPaths[i] = why
	return true
}

func (r *removal) keepNAR(i int32, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keptNARs[i] = why
}

func (r *removal) keep(key layout.Key, why string) {
	r.kept.Add(1)
	r.report.event(Event{Action: ActionKeep, Key: key, Err: errors.New(why)})
}
