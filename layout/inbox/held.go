package inbox

import (
	"context"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// heldFor is how long a narinfo may wait for what it leads to.
const heldFor = 24 * time.Hour

// heldKey is where the narinfo of a path waits.
func heldKey(hash string) layout.Key { return layout.HeldPrefix + layout.NarInfoKeyOf(hash) }

// A held is a narinfo that waits in the tree. What it waits for is known here
// alone; it is found out again after a restart.
type held struct {
	info  layout.Info // with the key that it is to have
	needs map[layout.Key]bool
}

// hold keeps a narinfo until what it needs is there. The narinfo's lock is held.
//
// Dying before the Put leaves nothing; after it, a narinfo that the next inbox
// finds.
func (b *Inbox) hold(ctx context.Context, r *record, needs []need) (Outcome, error) {
	hash := r.key.PathHash()
	size := int64(len(r.text))
	b.mu.Lock()
	count, bytes := len(b.held), b.heldBytes
	if old := b.held[hash]; old != nil {
		count, bytes = count-1, bytes-old.info.Size
	}
	b.mu.Unlock()
	if count >= b.cfg.MaxHeld || bytes+size > b.cfg.MaxHeldBytes {
		return 0, refuse(TooManyHeld, "too many narinfos wait for their NARs and references here; send those first")
	}
	if err := b.putHeld(ctx, r); err != nil {
		return 0, storage(err)
	}
	b.dropNote(r.key)
	b.wait(ctx, layout.Info{Key: r.key, Size: size, ModTime: time.Now()}, needs)
	return Held, nil
}

// putHeld keeps a narinfo in the tree, with the signatures of one that is held
// there already and says the same: perhaps by another process.
func (b *Inbox) putHeld(ctx context.Context, r *record) error {
	return layout.Update(ctx, b.writer.Tree, heldKey(r.key.PathHash()), func(have []byte) ([]byte, error) {
		if theirs, err := layout.ParseNarInfo(have, b.writer.StoreDir); err == nil && theirs.SameContent(&r.PathInfo) {
			return b.signedBy(r, theirs.Sigs), nil
		}
		return r.text, nil
	})
}

// signedBy returns the text of a record with more signatures, as it was sent if
// it has them all, or has no room for more.
func (b *Inbox) signedBy(r *record, sigs []string) []byte {
	more, sent := *r.NarInfo, *r.NarInfo
	more.Sigs = b.addSigs(r.Sigs, sigs...)
	more.AddSigs() // in order
	sent.AddSigs()
	if slices.Equal(more.Sigs, sent.Sigs) {
		return r.text
	}
	if text := more.Marshal(b.writer.StoreDir); len(text) <= layout.MaxNarInfo {
		return text
	}
	return r.text
}

// wait files what a held narinfo needs, in the place of what it needed before.
func (b *Inbox) wait(ctx context.Context, info layout.Info, needs []need) {
	b.file(info, needs)
	// What it needs may have come between our look and this: nobody was told.
	for _, n := range needs {
		if there, err := b.exists(ctx, n.key); err == nil && there && !n.damaged {
			b.wake(n.key)
		}
	}
}

func (b *Inbox) file(info layout.Info, needs []need) {
	b.mu.Lock()
	defer b.mu.Unlock()
	hash := info.Key.PathHash()
	b.leave(hash)
	h := &held{info: info, needs: make(map[layout.Key]bool, len(needs))}
	b.held[hash] = h
	b.heldBytes += info.Size
	for _, n := range needs {
		h.needs[n.key] = true
		if b.needed[n.key] == nil {
			b.needed[n.key] = map[string]bool{}
		}
		b.needed[n.key][hash] = true
	}
}

// leave ends the waiting of a held narinfo. The mutex is held.
func (b *Inbox) leave(hash string) {
	h := b.held[hash]
	if h == nil {
		return
	}
	delete(b.held, hash)
	b.heldBytes -= h.info.Size
	for key := range h.needs {
		delete(b.needed[key], hash)
		if len(b.needed[key]) == 0 {
			delete(b.needed, key)
		}
	}
}

// wake is told that an object is there: the narinfos that needed nothing else
// are due.
func (b *Inbox) wake(key layout.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for hash := range b.needed[key] {
		h := b.held[hash]
		delete(h.needs, key)
		if len(h.needs) == 0 {
			b.due = append(b.due, hash)
		}
	}
	delete(b.needed, key)
}
