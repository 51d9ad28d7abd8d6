package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// An Item is a store path ready to be published.
type Item struct {
	Info   PathInfo
	Packed *Packed
	// Replace rewrites a record that is there already, so that it leads to the
	// NAR given now. The NAR it led to stays until the garbage is collected:
	// clients remember records for 30 days.
	Replace bool
}

// Add publishes items, whose order must be such that references come first.
// References must be among the items or in the tree (I3); the caller sees to
// that, since it knows what it asked for. The caller discards the items if Add
// fails.
//
// NARs and listings appear first, then the debug links to them, then the
// narinfos one level of references after the other (I2, I3): a path that has a
// narinfo has all the rest, and nobody will look after it again. Where someone
// else published a path meanwhile, their record stays and gains our signatures.
func (w *Writer) Add(ctx context.Context, items []Item) error {
	var bulk, links []Object
	var levels [][]Object
	records := make([]*NarInfo, len(items))
	level := map[StorePath]int{}
	for i, item := range items {
		n, err := w.narInfo(item)
		if err != nil {
			return err
		}
		nar, err := n.NARKey()
		if err != nil {
			return err
		}
		// A NAR that is there already is left alone: it has this name because it
		// has these bytes (I4). A listing that is there may belong to a record of
		// another build, see settle. When replacing, both are written again, which
		// mends what was damaged.
		opts := PutOptions{IfAbsent: !item.Replace}
		bulk = append(bulk,
			Object{nar, item.Packed.file, opts},
			Object{ListingKey(n.Path), item.Packed.listing, opts})
		if w.DebugInfo {
			links = append(links, debugObjects(item.Packed.debug, nar)...)
		}
		depth := 0
		for _, ref := range n.References {
			if d, ok := level[ref]; ok && ref != n.Path {
				depth = max(depth, d+1)
			}
		}
		level[n.Path] = depth
		for len(levels) <= depth {
			levels = append(levels, nil)
		}
		records[i] = n
		levels[depth] = append(levels[depth], Object{NarInfoKey(n.Path), Bytes(n.Marshal(w.StoreDir)), PutOptions{IfAbsent: true}})
	}
	groups := [][]Object{firstOfEach(bulk)}
	if len(links) > 0 {
		groups = append(groups, firstOfEach(links))
	}
	groups = append(groups, levels...)
	keys, err := PutBatch(ctx, w.Tree, groups...)
	if err != nil {
		return err
	}
	taken := make(map[Key]bool, len(keys))
	for _, key := range keys {
		taken[key] = true
	}
	for i, item := range items {
		if err := w.settle(ctx, records[i], item, taken); err != nil {
			return err
		}
	}
	for _, item := range items {
		item.Packed.Discard()
	}
	return nil
}

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

// withdrawListing deletes a listing unless someone has changed it.
func withdrawListing(ctx context.Context, t Tree, key Key, ours Body) error {
	have, err := ReadAll(ctx, t, key, ours.Size())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	text := make([]byte, ours.Size())
	if _, err := ours.ReadAt(text, 0); err != nil && err != io.EOF {
		return err
	}
	if !bytes.Equal(have, text) {
		return nil
	}
	return t.Delete(ctx, key)
}

// firstOfEach drops the objects whose key came before: two paths with the same
// content share one NAR.
func firstOfEach(objects []Object) []Object {
	seen := make(map[Key]bool, len(objects))
	return slices.DeleteFunc(objects, func(o Object) bool {
		again := seen[o.Key]
		seen[o.Key] = true
		return again
	})
}

// merge settles a record that is there already with ours. Ours won if it is
// what stands there now; theirs is another if it stays and tells of a build that
// came out differently.
func (w *Writer) merge(ctx context.Context, ours *NarInfo, replace bool) (won, other bool, err error) {
	err = UpdateNarInfo(ctx, w.Tree, ours.Path, w.StoreDir, func(theirs *NarInfo) (*NarInfo, error) {
		won, other = true, false
		if theirs == nil {
			return ours, nil
		}
		same := theirs.SameContent(&ours.PathInfo)
		if replace {
			merged := *ours
			if same {
				merged.AddSigs(theirs.Sigs...)
			}
			return &merged, nil
		}
		won, other = false, !same
		if other {
			return nil, nil // the first build stays
		}
		merged := *theirs
		merged.AddSigs(ours.Sigs...)
		if slices.Equal(merged.Sigs, theirs.Sigs) {
			return nil, nil
		}
		return &merged, nil
	})
	return won, other, err
}

// UpdateNarInfo changes the record of p in one atomic step, however many do so
// at once: update is given the record, nil if there is none, and returns the
// new one, or nil to leave things as they are. It is called again if someone
// else was faster. A record that cannot be read counts as none.
func UpdateNarInfo(ctx context.Context, t Tree, p StorePath, storeDir string, update func(*NarInfo) (*NarInfo, error)) error {
	key := NarInfoKey(p)
	for range 100 {
		opts := PutOptions{IfAbsent: true}
		var have *NarInfo
		info, err := t.Stat(ctx, key)
		switch {
		case err == nil:
			opts = PutOptions{IfMatch: info.ETag}
			text, err := ReadAll(ctx, t, key, MaxNarInfo)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if have, err = ParseNarInfo(text, storeDir); err != nil || have.Path.Hash() != p.Hash() {
				have = nil
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		next, err := update(have)
		if err != nil || next == nil {
			return err
		}
		err = t.Put(ctx, key, Bytes(next.Marshal(storeDir)), opts)
		if errors.Is(err, ErrChanged) || errors.Is(err, fs.ErrExist) {
			continue
		}
		return err
	}
	return fmt.Errorf("update %s: %w a hundred times in a row", key, ErrChanged)
}
