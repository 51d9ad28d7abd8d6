package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// others finds out whether a sweeper may remove what this run relies upon. In a
// directory the lock of runs keeps it out. In a bucket it does so too, but for what a
// sweeper condemned before and requests that are late: see layout.Fence.
func (r *run) others(ctx context.Context) error {
	if !layout.IsFenced(r.mirror.Dest) {
		return nil
	}
	plan, err := layout.ReadSweepPlan(ctx, r.mirror.Dest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.pruned = err == nil && !plan.Closed
	return err
}

// put puts objects. It tells sweepers before what they rest on.
func (p *pass) put(ctx context.Context, objects []layout.Object) error {
	dest := p.run.mirror.Dest
	var needs []need
	if p.run.pruned {
		for _, o := range objects {
			n, err := p.needsOf(o)
			if err != nil {
				return err
			}
			needs = append(needs, n...)
		}
	}
	if len(needs) == 0 {
		_, err := layout.PutBatch(ctx, dest, objects)
		return err
	}
	var keys []layout.Key
	for _, n := range needs {
		keys = append(keys, n.any...)
	}
	for {
		rely, err := layout.Rely(ctx, dest, p.seen, keys...)
		if err != nil {
			return err
		}
		if rely.Stale {
			err = p.stillThere(ctx, needs)
		}
		if err == nil {
			_, err = layout.PutBatch(rely.Context(ctx), dest, objects)
		}
		rely.Release()
		if !errors.Is(err, layout.ErrLate) || ctx.Err() != nil {
			return err
		}
	}
}

// A need is what an object rests on: one of some keys.
type need struct {
	any []layout.Key
	ref layout.StorePath // that an upstream may provide; "" for none
	own bool             // it is what is put, or goes with it
}

// needsOf returns what a narinfo, a realisation or a pin rests on. Other objects rest on
// nothing.
func (p *pass) needsOf(o layout.Object) (needs []need, err error) {
	kind := o.Key.Kind()
	if kind != layout.KindNarInfo && kind != layout.KindRealisation && kind != layout.KindPin {
		return nil, nil
	}
	text := make([]byte, o.Body.Size())
	if _, err := o.Body.ReadAt(text, 0); err != nil && len(text) > 0 {
		return nil, err
	}
	needs = append(needs, need{any: []layout.Key{o.Key}, own: true})
	switch kind {
	case layout.KindNarInfo:
		n, err := layout.ParseNarInfo(text, p.run.storeDir)
		if err != nil {
			return nil, err
		}
		nars, err := n.NARKeys()
		if err != nil {
			return nil, err
		}
		needs = append(needs, need{any: []layout.Key{layout.ListingKey(n.Path)}, own: true}, need{any: nars})
		for _, ref := range n.References {
			if ref != n.Path {
				needs = append(needs, need{any: []layout.Key{layout.NarInfoKey(ref)}, ref: ref})
			}
		}
	case layout.KindRealisation:
		r, err := layout.ParseRealisation(o.Key, text)
		if err != nil {
			return nil, nil // true or not, no path is led to
		}
		// Another cache may have the path.
		needs = append(needs, need{any: []layout.Key{layout.NarInfoKey(r.OutPath)}, own: true})
	}
	return needs, nil
}

// stillThere looks again at what was seen before something was removed. The error is
// layout.ErrRemoved if it has gone.
func (p *pass) stillThere(ctx context.Context, needs []need) error {
	for _, n := range needs {
		there := n.own
		for _, key := range n.any {
			if there {
				break
			}
			var err error
			if _, there, err = layout.Lookup(ctx, p.run.mirror.Dest, key); err != nil {
				return err
			}
		}
		if !there && n.ref != "" {
			var err error
			if there, err = p.provided(ctx, n.ref); err != nil {
				return err
			}
		}
		if !there {
			return fmt.Errorf("%s: %w", n.any[0], layout.ErrRemoved)
		}
	}
	return nil
}
