package sync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// decide finds out what has to stay.
func (r *removal) decide(ctx context.Context) error {
	r.graph = newGraph(len(r.extraPaths))
	r.nars = make([]int32, len(r.extraPaths))
	if err := r.each(ctx, len(r.extraPaths), r.readExtra); err != nil {
		return err
	}
	if err := r.each(ctx, len(r.paths), r.readStaying); err != nil {
		return err
	}
	err := r.each(ctx, len(r.newPaths), func(ctx context.Context, i int) error {
		if r.newPaths[i].replace || r.pass.graph.state[i].Load() != nodePublished {
			return nil // among paths, or not there
		}
		return r.stays(ctx, r.newPaths[i].id, false)
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
		because := r.extraPaths[i].hash() + " stays"
		if nar := r.nars[i]; nar >= 0 {
			r.keepNAR(nar, because)
		}
		for _, ref := range r.graph.refs[i] {
			if r.keepPath(ref, because) {
				stack = append(stack, ref)
			}
		}
	}
	for i, why := range r.keptPaths {
		r.keep(r.extraPaths[i].narInfo(), why)
	}
	for i, why := range r.keptNARs {
		r.keep(r.extraNARs[i].key(), why)
	}
	return nil
}

// each does work for n things, side by side.
func (r *removal) each(ctx context.Context, n int, work func(context.Context, int) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(r.jobs)
	const stride = 16
	for first := 0; first < n && inGroup.Err() == nil; first += stride {
		group.Go(func() error {
			for i := first; i < min(first+stride, n); i++ {
				if err := work(inGroup, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// readExtra notes what a narinfo that is too much leads to.
func (r *removal) readExtra(ctx context.Context, i int) error {
	r.nars[i] = -1
	key := r.extraPaths[i].narInfo()
	if _, there, err := have(ctx, r.Source, key); err != nil {
		return err
	} else if there {
		r.keepPath(int32(i), "the source has it by now")
	}
	r.graph.state[i].Store(nodeReady)
	nar, refs, err := r.needs(ctx, r.Dest, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // someone else removed it
	}
	if err != nil {
		return err
	}
	r.nars[i] = nar
	r.graph.refs[i] = refs
	return nil
}

// readStaying keeps what a narinfo of the destination leads to, if it is to
// stay.
func (r *removal) readStaying(ctx context.Context, i int) error {
	if id := r.paths[i]; findPath(r.extraPaths, id) < 0 {
		return r.stays(ctx, id, true)
	}
	return nil
}

func (r *removal) stays(ctx context.Context, id pathID, equal bool) error {
	key := id.narInfo()
	// Of two equal narinfos the nearer one is read. One that was left out in
	// this run is not equal.
	_, local := r.Source.(*layout.Dir)
	var from layout.Reader = r.Dest
	if local && equal && !r.outOfDate(id) {
		from = r.Source
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
func (r *removal) outOfDate(id pathID) bool {
	i, changed := findCopy(r.newPaths, id)
	return changed && r.pass.graph.state[i].Load() != nodePublished
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
			nar = int32(findNAR(r.extraNARs, id))
		}
	}
	for _, ref := range n.References {
		if i := findPath(r.extraPaths, packPath(ref.Hash())); i >= 0 && ref != n.Path {
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
	r.report.event(MirrorEvent{Action: ActionKeep, Key: key, Err: errors.New(why)})
}
