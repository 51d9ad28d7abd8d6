package layout

import (
	"context"
	"errors"
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
	// Seen is when the caller looked whether the references are in the tree.
	Seen Sight
}

// Add publishes items, whose order must be such that references come first.
// References must be among the items or in the tree (I3); the caller sees to
// that, since it knows what it asked for. If references were removed since the
// caller looked, nothing is published, and the error is ErrRemoved. The caller
// discards the items if Add fails.
//
// NARs and listings appear first, then the debug links to them, then the narinfos
// one level of references after the other (I2, I3): a path that has a narinfo has
// all the rest, and no later run looks after it. If another process published a
// path meanwhile, its record stays and gains our signatures.
func (w *Writer) Add(ctx context.Context, items []Item) error {
	var seen Sight
	for i, item := range items {
		if i > 0 && item.Seen != seen {
			seen = Sight{} // then all are looked at again
			break
		}
		seen = item.Seen
	}
	keys := w.reliedUpon(items)
	for {
		err := w.addOnce(ctx, items, seen, keys)
		if !errors.Is(err, ErrLate) {
			return err
		}
	}
}

// addOnce is Add, unless it takes too long: then some of the items may be there,
// and the error is ErrLate.
func (w *Writer) addOnce(ctx context.Context, items []Item, seen Sight, keys []Key) error {
	rely, err := Rely(ctx, w.Tree, seen, keys...)
	if err != nil {
		return err
	}
	defer rely.Release()
	if rely.Stale {
		if err := w.lookAgain(ctx, items); err != nil {
			return err
		}
	}
	return w.publish(ctx, rely.Context(ctx), items)
}

// reliedUpon returns all that is not put because it is there, or that is put in the
// place of what may be about to go.
func (w *Writer) reliedUpon(items []Item) (keys []Key) {
	for _, item := range items {
		p := item.Info.Path
		nar := NARKey(item.Packed.FileHash, item.Packed.Method.Extension())
		keys = append(keys, nar, NarInfoKey(p), ListingKey(p))
		for _, ref := range item.Info.References {
			if ref != p {
				keys = append(keys, NarInfoKey(ref), ProvisionKey(ref))
			}
		}
		if w.DebugInfo {
			for _, o := range debugObjects(item.Packed.debug, nar) {
				keys = append(keys, o.Key)
			}
		}
	}
	return keys
}

// lookAgain finds out whether what the items need and do not bring along is still
// there.
func (w *Writer) lookAgain(ctx context.Context, items []Item) error {
	known := map[Key]bool{}
	for _, item := range items {
		known[NarInfoKey(item.Info.Path)] = true
	}
	var provision *Provision
	still := func(path StorePath, key Key) error {
		if known[key] {
			return nil
		}
		known[key] = true
		_, there, err := Lookup(ctx, w.Tree, key)
		if err == nil && !there && path != "" {
			if provision == nil {
				provision, err = ReadProvision(ctx, w.Tree, w.StoreDir)
			}
			if err == nil {
				there, err = provision.Provides(ctx, path)
			}
		}
		if err == nil && !there {
			err = keyError("rely on", key, ErrRemoved)
		}
		return err
	}
	for _, item := range items {
		for _, ref := range item.Info.References {
			if err := still(ref, NarInfoKey(ref)); err != nil {
				return err
			}
		}
		if item.Packed.stored {
			if err := still("", NARKey(item.Packed.FileHash, item.Packed.Method.Extension())); err != nil {
				return err
			}
		}
	}
	return nil
}

// publish makes items visible. Nothing is removed meanwhile that they rely on. The
// second context is that of the narinfos; to put the rest may take longer.
func (w *Writer) publish(ctx, timed context.Context, items []Item) error {
	p, err := w.objectsOf(items)
	if err != nil {
		return err
	}
	taken := map[Key]bool{}
	put := func(ctx context.Context, groups ...[]Object) error {
		keys, err := PutBatch(ctx, w.Tree, groups...)
		for _, key := range keys {
			taken[key] = true
		}
		return err
	}
	groups := [][]Object{firstOfEach(p.bulk)}
	if len(p.links) > 0 {
		groups = append(groups, firstOfEach(p.links))
	}
	if err := put(ctx, groups...); err != nil {
		return err
	}
	for i, item := range items {
		if key := ListingKey(p.records[i].Path); taken[key] {
			ours, err := claimListing(timed, w.Tree, p.records[i].Path, item.Packed.listing)
			if err != nil {
				return err
			}
			taken[key] = !ours
		}
	}
	if err := put(timed, p.levels...); err != nil {
		return err
	}
	for i, item := range items {
		if err := w.settle(timed, p.records[i], item, taken); err != nil {
			return err
		}
	}
	for i, item := range items {
		item.Packed.Discard()
		if w.Published != nil && (item.Replace || !taken[NarInfoKey(p.records[i].Path)]) {
			w.Published(p.records[i])
		}
	}
	return nil
}

// A publication is what items become.
type publication struct {
	records     []*NarInfo // one for each item
	bulk, links []Object
	levels      [][]Object // narinfos, those before that others refer to
}

// objectsOf makes the objects that publish puts.
func (w *Writer) objectsOf(items []Item) (*publication, error) {
	lists := TraitsOf(w.Tree).Lists
	p := &publication{records: make([]*NarInfo, len(items))}
	level := map[StorePath]int{}
	for i, item := range items {
		n, err := w.narInfo(item)
		if err != nil {
			return nil, err
		}
		nar, err := n.NARKey()
		if err != nil {
			return nil, err
		}
		// A NAR that is there already is left alone: it has this name because it
		// has these bytes (I4). A listing that is there may belong to a record of
		// another build, see settle. When replacing, both are written again, which
		// mends what was damaged.
		// Those that the tree makes by itself are put then, too.
		opts, lists := PutOptions{IfAbsent: !item.Replace}, lists && !item.Replace
		if !item.Packed.stored {
			p.bulk = append(p.bulk, Object{nar, item.Packed.file, opts})
		}
		if !lists {
			p.bulk = append(p.bulk, Object{ListingKey(n.Path), item.Packed.listing, opts})
		}
		if w.DebugInfo && !lists {
			p.links = append(p.links, debugObjects(item.Packed.debug, nar)...)
		}
		depth := 0
		for _, ref := range n.References {
			if d, ok := level[ref]; ok && ref != n.Path {
				depth = max(depth, d+1)
			}
		}
		level[n.Path] = depth
		for len(p.levels) <= depth {
			p.levels = append(p.levels, nil)
		}
		p.records[i] = n
		p.levels[depth] = append(p.levels[depth], Object{NarInfoKey(n.Path), Bytes(n.Marshal(w.StoreDir)), PutOptions{IfAbsent: true}})
	}
	return p, nil
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
				merged.Absorb(theirs)
			}
			return &merged, nil
		}
		won, other = false, !same
		if other {
			return nil, nil // the first build stays
		}
		merged := *theirs
		merged.Absorb(ours)
		if slices.Equal(merged.Sigs, theirs.Sigs) && slices.Equal(merged.Extra, theirs.Extra) {
			return nil, nil
		}
		return &merged, nil
	})
	return won, other, err
}
