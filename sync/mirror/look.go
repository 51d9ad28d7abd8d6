package mirror

import (
	"context"
	"errors"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// errDiffers ends a look at the first difference.
var errDiffers = errors.New("there is something to do")

// look reports whether there is anything to do. It takes no lock, so that a run
// with nothing to do costs the listings and nothing else.
func (r *run) look(ctx context.Context) (differs bool, err error) {
	if r.blind && r.mirror.Delete {
		return false, errBlindDelete
	}
	if r.blind {
		return true, nil // to look twice would cost more than to do nothing under no lock
	}
	remembered := openLedger(r.mirror.State)
	defer remembered.discard()
	known := false
	group, inGroup := errgroup.WithContext(ctx)
	rest, nars := r.halves(inGroup)
	group.Go(func() (err error) {
		known, err = r.lookAt(inGroup, rest, remembered)
		return err
	})
	if nars != nil {
		group.Go(func() error {
			_, err := r.lookAt(inGroup, nars, openLedger("")) // their names suffice
			return err
		})
	}
	err = group.Wait()
	switch {
	case errors.Is(err, errDiffers):
		return true, nil
	case err != nil:
		return false, err
	case !known:
		return false, ErrNoSource
	}
	r.remember(remembered)
	return false, nil
}

// lookAt compares pairs up to the first one that differs. It reports whether the
// source was seen to be a binary cache.
func (r *run) lookAt(ctx context.Context, pairs iter.Seq2[pair, error], remembered *ledger) (known bool, err error) {
	for d, err := range r.judged(ctx, pairs, remembered) {
		if err != nil {
			return known, err
		}
		known = known || d.key == layout.CacheInfoKey && d.inSrc
		if r.toDo(d) {
			return known, errDiffers
		}
	}
	return known, nil
}

// halves are the pairs of all keys, parted so that they can be listed side by
// side: an object store lists page after page, and each page takes its time.
// The NARs are a third of a tree, and the one large part that stands in a folder.
// nars is nil if parting them is not cheaper.
func (r *run) halves(ctx context.Context) (rest, nars iter.Seq2[pair, error]) {
	if !layout.TraitsOf(r.mirror.Source).Folders || !layout.TraitsOf(r.mirror.Dest).Folders {
		return r.pairs(ctx, ""), nil
	}
	rest = concat(r.provisionPairs(ctx), diff(besideNARs(ctx, r.mirror.Source), besideNARs(ctx, r.mirror.Dest)))
	return rest, diff(r.mirror.Source.List(ctx, layout.NARFolder), r.mirror.Dest.List(ctx, layout.NARFolder))
}

// besideNARs lists the objects that may be public, except NARs, in the order of
// keys.
func besideNARs(ctx context.Context, t layout.Lister) listing {
	return func(yield func(layout.Info, error) bool) {
		for entry, err := range layout.ListTop(ctx, t) {
			if err == nil && entry.Folder != "" {
				if entry.Folder == layout.NARFolder || !layout.IsPublicFolder(entry.Folder) {
					continue
				}
				for info, err := range t.List(ctx, entry.Folder) {
					if !yield(info, err) {
						return
					}
				}
				continue
			}
			if !yield(entry.Info, err) {
				return
			}
		}
	}
}

// concat yields one part after the other.
func concat[T any](parts ...iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, part := range parts {
			for item, err := range part {
				if !yield(item, err) {
					return
				}
			}
		}
	}
}
