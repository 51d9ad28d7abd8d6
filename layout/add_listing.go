package layout

import (
	"context"
	"errors"
	"io/fs"
)

// settle brings the record and the listing of a path together, where one of
// them was there before.
func (w *Writer) settle(ctx context.Context, n *NarInfo, item Item, taken map[Key]bool) error {
	won, other := true, false
	if taken[NarInfoKey(n.Path)] {
		var err error
		if won, other, err = w.merge(ctx, n, item.Replace); err != nil {
			return err
		}
	}
	key := ListingKey(n.Path)
	switch {
	case won && taken[key]:
		// A listing without a record, left by a crash or put by who lost.
		return w.Tree.Put(ctx, key, item.Packed.listing, PutOptions{})
	case other && !taken[key]:
		// Their path had no listing, and now has that of another build.
		return withdrawListing(ctx, w.Tree, key, item.Packed.listing)
	}
	return nil
}

// claimListing puts our listing in the place of another one that goes with no
// record, and reports whether it did. A crash left that one; if it is of another
// build, a record of ours beside it would be wrong, and dying before settle would
// leave it so.
func claimListing(ctx context.Context, t Tree, p StorePath, ours Body) (bool, error) {
	if _, there, err := Lookup(ctx, t, NarInfoKey(p)); err != nil || there {
		return false, err
	}
	key := ListingKey(p)
	info, there, err := Lookup(ctx, t, key)
	if err != nil || !there {
		return false, err
	}
	same, err := SameBytes(ctx, t, key, ours)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || same {
		return false, err
	}
	err = t.Put(ctx, key, ours, PutOptions{IfMatch: info.ETag})
	if errors.Is(err, ErrChanged) {
		return false, nil
	}
	return err == nil, err
}

// withdrawListing deletes a listing unless someone has changed it.
func withdrawListing(ctx context.Context, t Tree, key Key, ours Body) error {
	same, err := SameBytes(ctx, t, key, ours)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !same {
		return err
	}
	return t.Delete(ctx, key)
}
