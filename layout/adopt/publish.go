package adopt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// A change is what a path gains.
type change struct {
	claim
	next        *layout.NarInfo // the record as it is to be
	nar         layout.Info     // to which that leads
	old         layout.Key      // of the NAR to which the record led
	listing     layout.Body     // nil if it is right
	listingSize int64
	newLinks    []layout.Object
	done        func() // the listing is needed no more
}

func (c *change) release() {
	if c.done != nil {
		c.done()
		c.done = nil
	}
}

// record returns the bytes of the new record, nil if it stays as it is.
func (c *change) record(storeDir string) []byte {
	n, next := c.n, c.next
	if n.URL == next.URL && n.Compression == next.Compression && n.FileHash == next.FileHash && n.FileSize == next.FileSize &&
		slices.Equal(n.Sigs, next.Sigs) {
		return nil
	}
	return next.Marshal(storeDir)
}

// ownName puts a NAR at the name that is the hash of its file. It stays at the old one
// as well, for the clients that remember the old record.
func (a *adoption) ownName(ctx context.Context, f *narFile, r *reading) (layout.Info, error) {
	key := f.info.Key
	if r.packed != nil {
		own := layout.NARKey(r.packed.FileHash, r.packed.Method.Extension())
		info := layout.Info{Key: own, Size: r.packed.FileSize}
		a.count(&a.out.Recompressed, 1)
		if err := a.writer.Store(ctx, r.packed, false); err != nil {
			return info, err
		}
		if name, promised := key.NameHash(); promised && name != r.fileHash && name != r.narHash {
			// A file whose name is not true is told from damage by its own name.
			err := layout.Copy(ctx, a.tree, f.info, layout.NARKey(r.fileHash, r.from.Extension()))
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return info, err
			}
		}
		return a.tree.Stat(ctx, own)
	}
	if named, err := key.FileHash(); err == nil && named == r.fileHash {
		return f.info, nil
	}
	own := layout.NARKey(r.fileHash, r.method.Extension())
	a.count(&a.out.Moved, 1)
	if a.o.Dry {
		return layout.Info{Key: own, Size: f.info.Size}, nil
	}
	err := layout.Copy(ctx, a.tree, f.info, own)
	if errors.Is(err, fs.ErrExist) {
		err = a.sameOrReplaced(ctx, f.info, own)
	}
	if err != nil {
		return layout.Info{}, err
	}
	// A file with a second name has another version.
	if f.info, err = a.tree.Stat(ctx, key); err != nil {
		return layout.Info{}, err
	}
	return a.tree.Stat(ctx, own)
}

// sameOrReplaced sees to it that what is at the name of a NAR is the NAR: an earlier
// run may have put it there, or it is damaged.
func (a *adoption) sameOrReplaced(ctx context.Context, from layout.Info, own layout.Key) error {
	body, _, err := a.tree.Get(ctx, from.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	have, info, err := a.tree.Get(ctx, own)
	if err != nil {
		return err
	}
	defer have.Close()
	if info.Size == from.Size {
		if same, err := layout.EqualBytes(body, have); same || err != nil {
			return err
		}
	}
	again, _, err := a.tree.Get(ctx, from.Key)
	if err != nil {
		return err
	}
	defer again.Close()
	file, err := layout.SpoolFor(a.tree, "").Create()
	if err != nil {
		return err
	}
	defer file.Discard()
	if _, err := io.Copy(file, again); err != nil {
		return fmt.Errorf("read %s: %w", from.Key, err)
	}
	if err := file.Done(); err != nil {
		return err
	}
	return a.tree.Put(ctx, own, file, layout.PutOptions{})
}

// sign adds our signatures to a record that is right, if it may have them.
func (a *adoption) sign(c *change, proved bool) error {
	if len(a.o.Keys) == 0 {
		return nil
	}
	if len(a.o.Trusted) > 0 && !proved {
		if good, _ := a.o.Trusted.Check(c.n.Sigs, c.n.Fingerprint(a.info.StoreDir)); !good {
			a.count(&a.out.Unsigned, 1)
			return nil
		}
	}
	signed := *c.next
	if err := signed.Sign(a.info.StoreDir, a.o.Keys); err != nil {
		return err
	}
	if len(signed.Marshal(a.info.StoreDir)) > layout.MaxNarInfo {
		a.unknown(fmt.Errorf("sign %s: %w", c.info.Key, layout.ErrTooLarge))
		return nil
	}
	if !slices.Equal(signed.Sigs, c.next.Sigs) {
		a.count(&a.out.Signed, 1)
		c.next = &signed
	}
	return nil
}

// needsListing finds out whether the listing that is there is the one of the NAR.
func (a *adoption) needsListing(ctx context.Context, c *change) error {
	if _, there := a.scan.listings[c.hash]; !there {
		return nil
	}
	same, err := layout.SameBytes(ctx, a.tree, layout.ListingKey(c.n.Path), c.listing)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if same {
		c.listing = nil
	}
	return nil
}

// queue publishes a change, alone or with others.
func (a *adoption) queue(ctx context.Context, c change) error {
	if a.o.Dry {
		a.counted([]change{c})
		c.release()
		return nil
	}
	some := []change{c}
	if a.batches {
		const batch = 64
		a.mu.Lock()
		a.wait = append(a.wait, c)
		some = nil
		if len(a.wait) >= batch {
			some, a.wait = a.wait, nil
		}
		a.mu.Unlock()
	}
	return a.publish(ctx, some)
}

// flush publishes what is left.
func (a *adoption) flush(ctx context.Context) error {
	a.mu.Lock()
	some := a.wait
	a.wait = nil
	a.mu.Unlock()
	return a.publish(ctx, some)
}

// discard drops what is left.
func (a *adoption) discard() {
	for _, c := range a.wait {
		c.release()
	}
	a.wait = nil
}

func (a *adoption) publish(ctx context.Context, some []change) error {
	if len(some) == 0 {
		return nil
	}
	defer func() {
		for _, c := range some {
			c.release()
		}
	}()
	for {
		err := a.publishOnce(ctx, some)
		if err == nil {
			break
		}
		if !errors.Is(err, layout.ErrLate) {
			return err
		}
	}
	a.counted(some)
	var sums []string
	for _, c := range some {
		text := c.record(a.info.StoreDir)
		if text == nil {
			text = c.text
		}
		sums = append(sums, a.memory.sum(text, layout.Info{Size: c.listingSize}, c.nar))
	}
	a.memory.add(sums...)
	return nil
}

// publishOnce puts listings and links, and then the records. Dying in between leaves
// a listing of the right NAR beside the old record.
func (a *adoption) publishOnce(ctx context.Context, some []change) error {
	var keys, nars []layout.Key
	var bulk, records []layout.Object
	for _, c := range some {
		listing := layout.ListingKey(c.n.Path)
		if c.listing != nil {
			bulk = append(bulk, layout.Object{Key: listing, Body: whole{c.listing}})
		}
		bulk = append(bulk, c.newLinks...)
		if text := c.record(a.info.StoreDir); text != nil {
			records = append(records, layout.Object{Key: c.info.Key, Body: layout.Bytes(text), Opts: layout.PutOptions{IfMatch: c.info.ETag}})
			nars = append(nars, c.nar.Key)
		}
		keys = append(keys, c.nar.Key, c.info.Key, listing)
	}
	if len(bulk)+len(records) == 0 {
		return nil
	}
	rely, err := layout.Rely(ctx, a.tree, a.sight(), keys...)
	if err != nil {
		return err
	}
	defer rely.Release()
	if rely.Stale {
		for _, key := range nars {
			if _, there, err := layout.Lookup(ctx, a.tree, key); err != nil {
				return err
			} else if !there {
				return fmt.Errorf("rely on %s: %w", key, layout.ErrRemoved)
			}
		}
		a.setSight(rely.Sight())
	}
	// The program that wrote a NAR may have died before it was on the disk.
	if err := layout.Flush(ctx, a.tree, nars...); err != nil {
		return err
	}
	ctx = rely.Context(ctx)
	_, err = layout.PutBatch(ctx, a.tree, bulk, records)
	if !errors.Is(err, layout.ErrChanged) {
		return err
	}
	for _, c := range some {
		if err := a.update(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// update changes the record of a path that another program changes at the same time.
func (a *adoption) update(ctx context.Context, c change) error {
	return layout.UpdateNarInfo(ctx, a.tree, c.n.Path, a.info.StoreDir, func(now *layout.NarInfo) (*layout.NarInfo, error) {
		if now == nil || !now.SameContent(&c.n.PathInfo) || now.URL != c.n.URL && now.URL != c.next.URL {
			return nil, nil // withdrawn, or another NAR by now: the next run looks at it
		}
		next := *now
		next.URL, next.Compression, next.FileHash, next.FileSize = c.next.URL, c.next.Compression, c.next.FileHash, c.next.FileSize
		next.AddSigs(c.next.Sigs...)
		return &next, nil
	})
}

// whole keeps a Put from moving a body that others still need.
type whole struct{ layout.Body }

func (a *adoption) sight() layout.Sight {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen
}

func (a *adoption) setSight(s layout.Sight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = s
}

func (a *adoption) count(n *int64, by int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*n += by
}

func (a *adoption) counted(some []change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range some {
		changed := c.record(a.info.StoreDir) != nil
		if changed {
			a.out.Records++
		}
		if c.listing != nil {
			a.out.Listings++
		}
		a.out.Links += int64(len(c.newLinks))
		if !changed && c.listing == nil && len(c.newLinks) == 0 {
			a.out.Unchanged++
		}
	}
}
