package sync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// decide finds out what has to stay.
func (r *removal) decide(ctx context.Context) error {
	if err := r.readExtras(ctx); err != nil {
		return err
	}
	err := r.each(ctx, r.paths, func(ctx context.Context, _ int, record []byte) error {
		id := pathID(record)
		if i, err := r.extraPaths.find(record); err != nil || i >= 0 {
			return err
		}
		return r.stays(ctx, id, true)
	})
	if err != nil {
		return err
	}
	err = r.each(ctx, r.newPaths, func(ctx context.Context, i int, record []byte) error {
		c := unpackPathCopy(record)
		if c.replace || r.pass.graph.stateOf(int32(i)) != nodePublished {
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
		id, err := pathAt(r.extraPaths, int(i))
		if err != nil {
			return err
		}
		because := id.hash() + " stays"
		if nar := r.nars[i]; nar >= 0 {
			r.keepNAR(nar, because)
		}
		refs, err := r.graph.refs(i, nil)
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
		id, err := pathAt(r.extraPaths, int(i))
		if err != nil {
			return err
		}
		r.keep(id.narInfo(), why)
	}
	for i, why := range r.keptNARs {
		var id narID
		if err := r.extraNARs.at(int(i), id[:]); err != nil {
			return err
		}
		r.keep(id.key(), why)
	}
	return nil
}

// each does work for all records of a shelf, side by side.
func (r *removal) each(ctx context.Context, s *shelf, work func(ctx context.Context, i int, record []byte) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(r.jobs)
	var reading error
	for record, err := range s.all() {
		if err != nil || inGroup.Err() != nil {
			reading = err
			break
		}
		bytes := slices.Clone(record.bytes)
		group.Go(func() error { return work(inGroup, record.i, bytes) })
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
	r.graph = newGraph(r.extraPaths.len(), r.TempDir)
	r.nars = make([]int32, 0, r.extraPaths.len())
	type lead struct {
		nar  int32
		refs []int32
	}
	leads := inOrder(ctx, r.jobs, numbered(r.extraPaths),
		func(placed) (lead, bool) { return lead{}, false },
		func(ctx context.Context, record placed) (lead, error) {
			key := pathID(record.bytes).narInfo()
			if _, there, err := have(ctx, r.Source, key); err != nil {
				return lead{}, err
			} else if there {
				r.keepPath(int32(record.i), "the source has it by now")
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
		r.graph.add(nodeReady, lead.refs, nil)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.graph.seal()
}

func (r *removal) stays(ctx context.Context, id pathID, equal bool) error {
	key := id.narInfo()
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
	because := id.hash() + " leads to it"
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
func (r *removal) outOfDate(id pathID) (bool, error) {
	i, err := r.newPaths.find(id[:])
	return i >= 0 && r.pass.graph.stateOf(int32(i)) != nodePublished, err
}

// needs returns what of the superfluous a narinfo leads to. One that cannot be
// understood leads nowhere, for a client neither.
func (r *removal) needs(ctx context.Context, t layout.Reader, key layout.Key) (nar int32, refs []int32, err error) {
	text, err := layout.ReadAll(ctx, t, key, layout.MaxNarInfo)
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
		if id, ok := packNAR(key); ok {
			i, err := r.extraNARs.find(id[:])
			if err != nil {
				return -1, nil, err
			}
			nar = int32(i)
		}
	}
	for _, ref := range n.References {
		id := packPath(ref.Hash())
		i, err := r.extraPaths.find(id[:])
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
	r.report.event(MirrorEvent{Action: ActionKeep, Key: key, Err: errors.New(why)})
}
