package gc

import (
	"context"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// Remove deletes objects side by side, but for those that are wanted again. It
// returns ErrBack if one of them is a narinfo. Nothing in the tree may lead to
// them but for objects that went before.
func (w *Withdrawal) Remove(ctx context.Context, keys iter.Seq2[layout.Key, error]) error {
	return parallel.Each(ctx, w.Jobs, keys, func(ctx context.Context, key layout.Key) error {
		back, err := w.Back(ctx, key)
		switch {
		case err != nil:
			return err
		case back && key.Kind() == layout.KindNarInfo:
			return ErrBack
		case back:
			w.Kept(key, wantedAgain)
			return nil
		}
		if err := w.Tree.Delete(ctx, key); err != nil {
			return err
		}
		w.Deleted(key)
		return nil
	})
}

// RemovePaths withdraws the narinfos that Decide did not keep, level by level
// from the top: a reader never meets one whose references are gone.
func (w *Withdrawal) RemovePaths(ctx context.Context) error {
	if w.graph == nil {
		return nil
	}
	for i := range w.keptPaths {
		w.graph.SetState(i, refgraph.Stays)
	}
	// Those that refer to themselves in a circle, or to such ones, go one by one.
	var circle []int32
	levels, err := w.graph.Arrange(func(node, because int32) { circle = append(circle, node) })
	if err != nil {
		return err
	}
	for _, node := range circle {
		levels = append(levels, []int32{node})
	}
	for _, nodes := range slices.Backward(levels) {
		err := w.Remove(ctx, func(yield func(layout.Key, error) bool) {
			for _, i := range nodes {
				id, err := refgraph.PathAt(w.Paths, int(i))
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

// RemoveNARs removes the NARs that Decide did not keep. RemovePaths comes before.
func (w *Withdrawal) RemoveNARs(ctx context.Context) error {
	return w.Remove(ctx, func(yield func(layout.Key, error) bool) {
		for record, err := range w.NARs.All() {
			_, stays := w.keptNARs[int32(record.Number)]
			if (err != nil || !stays) && !yield(record.Key, err) {
				return
			}
		}
	})
}
