package mirror

import (
	"context"
	"iter"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// pairs yields what the trees have at the keys that begin with prefix, as the
// run can find it out: from two listings, by asking a destination that cannot
// be listed for each object of the source, or for the keys of the run alone.
func (r *run) pairs(ctx context.Context, prefix string) iter.Seq2[pair, error] {
	switch {
	case r.keys != nil:
		return r.askBoth(ctx)
	case r.blind:
		return r.askDest(ctx, prefix)
	}
	all := diff(r.mirror.Source.List(ctx, prefix), r.mirror.Dest.List(ctx, prefix))
	if prefix != "" {
		return all
	}
	return concat(r.provisionPairs(ctx), all) // provisions are the first in the order of keys
}

// askDest goes through the source and asks the destination for each object.
func (r *run) askDest(ctx context.Context, prefix string) iter.Seq2[pair, error] {
	none := func(func(layout.Info, error) bool) {}
	return parallel.InOrder(ctx, r.jobs, diff(r.mirror.Source.List(ctx, prefix), none),
		func(p pair) (pair, bool) { return p, !r.mirror.wants(p.key) && p.key.Kind() != layout.KindNAR },
		func(ctx context.Context, p pair) (pair, error) {
			var err error
			p.dst, p.inDst, err = layout.Lookup(ctx, r.mirror.Dest, p.key)
			return p, err
		})
}

// askBoth asks both trees for the keys of the run.
func (r *run) askBoth(ctx context.Context) iter.Seq2[pair, error] {
	keys := func(yield func(layout.Key, error) bool) {
		for _, key := range r.keys {
			if key.Kind().Public() && !yield(key, nil) {
				return
			}
		}
	}
	both := parallel.InOrder(ctx, r.jobs, keys, nil,
		func(ctx context.Context, key layout.Key) (p pair, err error) {
			p.key = key
			if p.src, p.inSrc, err = layout.Lookup(ctx, r.mirror.Source, key); err != nil || !p.inSrc {
				return p, err
			}
			p.dst, p.inDst, err = layout.Lookup(ctx, r.mirror.Dest, key)
			return p, err
		})
	return func(yield func(pair, error) bool) {
		for p, err := range both {
			if (err != nil || p.inSrc) && !yield(p, err) {
				return
			}
		}
	}
}
