package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	heldPrefix = layout.PrivatePrefix + "held/"
	// heldFor is how long a narinfo may wait for what it leads to.
	heldFor = 24 * time.Hour
)

// heldKey is where the narinfo of a path waits.
func heldKey(hash string) layout.Key { return layout.Key(heldPrefix + hash + ".narinfo") }

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
	key := heldKey(r.key.PathHash())
	for range 100 {
		text, opts := r.text, layout.PutOptions{IfAbsent: true}
		there, info, err := b.small(ctx, key, layout.MaxNarInfo)
		switch {
		case err == nil:
			opts = layout.PutOptions{IfMatch: info.ETag}
			if theirs, err := layout.ParseNarInfo(there, b.writer.StoreDir); err == nil && theirs.SameContent(&r.PathInfo) {
				text = r.signedBy(theirs.Sigs, b.writer.StoreDir)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		err = b.writer.Tree.Put(ctx, key, layout.Bytes(text), opts)
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, layout.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("hold %s: %w a hundred times in a row", r.key, layout.ErrChanged)
}

// signedBy returns the text of a record with more signatures, as it was sent if
// it has them all, or has no room for more.
func (r *record) signedBy(sigs []string, storeDir string) []byte {
	more, sent := *r.NarInfo, *r.NarInfo
	more.AddSigs(sigs...)
	sent.AddSigs() // in order
	if slices.Equal(more.Sigs, sent.Sigs) {
		return r.text
	}
	if text := more.Marshal(storeDir); len(text) <= layout.MaxNarInfo {
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

// drain publishes what is due, and what becomes due by that. What the end of
// ctx leaves over is for the next upload, or for Settle.
func (b *Inbox) drain(ctx context.Context) {
	for ctx.Err() == nil {
		b.mu.Lock()
		if len(b.due) == 0 {
			b.mu.Unlock()
			return
		}
		hash := b.due[0]
		b.due = b.due[1:]
		b.mu.Unlock()
		if err := b.retry(ctx, hash); err != nil {
			if ctx.Err() != nil {
				b.mu.Lock()
				b.due = append(b.due, hash)
				b.mu.Unlock()
				return
			}
			// It stays where it is, and Settle tries again.
			b.log.ErrorContext(ctx, "a held narinfo cannot be published", "key", heldKey(hash), "error", err)
		}
	}
}

// retry publishes a held narinfo if it can be. One that turns out wrong is
// dropped: whoever sent it was told that it waits, and the log tells the rest.
func (b *Inbox) retry(ctx context.Context, hash string) error {
	key := layout.Key(hash + ".narinfo")
	unlock, err := b.locks.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	for range 100 {
		again, err := b.try(ctx, key)
		if err != nil || !again {
			return err
		}
	}
	return fmt.Errorf("publish %s: %w a hundred times in a row", key, layout.ErrChanged)
}

// try is one attempt of retry. It is to be made again if another process has
// replaced what is held meanwhile: what came with that is not to be dropped
// unread. The narinfo's lock is held.
func (b *Inbox) try(ctx context.Context, key layout.Key) (again bool, err error) {
	hash := key.PathHash()
	body, info, err := b.writer.Tree.Get(ctx, heldKey(hash))
	if errors.Is(err, fs.ErrNotExist) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.leave(hash)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	text, err := (&upload{ctx: ctx, r: body, kind: layout.KindNarInfo, size: -1, limit: layout.MaxNarInfo}).readAll()
	body.Close()
	if err != nil && ReasonOf(err) == "" {
		return false, fmt.Errorf("read %s: %w", heldKey(hash), err)
	}
	var r *record
	if err == nil {
		r, err = b.read(key, text)
	}
	if err == nil {
		var needs []need
		if _, needs, err = b.place(ctx, r, false, true); err == nil && len(needs) > 0 {
			info.Key = key
			b.wait(ctx, info, needs)
			return false, nil
		}
	}
	switch {
	case err == nil:
	case ReasonOf(err) == "":
		return false, err
	case ReasonOf(err) == NoSpace:
		// That is no fault of its own: it stays, and Settle tries again.
		b.log.WarnContext(ctx, "a held narinfo has to wait for room on the disk", "key", key, "error", err)
		return false, nil
	default:
		b.log.WarnContext(ctx, "a held narinfo is wrong and was dropped", "key", key, "reason", ReasonOf(err), "error", err)
	}
	now, err := b.writer.Tree.Stat(ctx, heldKey(hash))
	if err == nil && now.ETag != info.ETag {
		return true, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return false, b.drop(ctx, hash)
}

// unhold sees to a narinfo that is held of a path that has been published: it
// may have signatures that were not in what was published. The narinfo's lock is
// held, and the caller drains.
func (b *Inbox) unhold(hash string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[hash] != nil {
		b.due = append(b.due, hash)
	}
}

// drop removes a held narinfo. Its lock is held.
func (b *Inbox) drop(ctx context.Context, hash string) error {
	b.mu.Lock()
	b.leave(hash)
	b.mu.Unlock()
	return b.writer.Tree.Delete(ctx, heldKey(hash))
}

// Settle looks again at every narinfo that is held: what it waits for may have
// come behind our back, by another process. It drops those that have waited for
// more than a day. A server calls it now and then, say every minute.
func (b *Inbox) Settle(ctx context.Context) error {
	var hashes []string
	for info, err := range b.writer.Tree.List(ctx, heldPrefix) {
		if err != nil {
			return fmt.Errorf("list held narinfos: %w", err)
		}
		hash := layout.Key(strings.TrimPrefix(string(info.Key), heldPrefix)).PathHash()
		if hash == "" || info.Key != heldKey(hash) {
			continue
		}
		if time.Since(info.ModTime) > heldFor {
			if err := b.expire(ctx, hash); err != nil {
				return err
			}
			continue
		}
		info.Key = layout.Key(hash + ".narinfo")
		b.meet(info)
		hashes = append(hashes, hash)
	}
	var errs []error
	for _, hash := range hashes {
		if err := b.retry(ctx, hash); err != nil {
			errs = append(errs, err)
		}
	}
	b.drain(ctx)
	return errors.Join(errs...)
}

// meet files a held narinfo that another inbox left, or still has.
func (b *Inbox) meet(info layout.Info) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if hash := info.Key.PathHash(); b.held[hash] == nil {
		b.held[hash] = &held{info: info}
		b.heldBytes += info.Size
	}
}

// expire drops a held narinfo that has waited for too long.
func (b *Inbox) expire(ctx context.Context, hash string) error {
	unlock, err := b.locks.lock(ctx, layout.Key(hash+".narinfo"))
	if err != nil {
		return err
	}
	defer unlock()
	b.log.WarnContext(ctx, "a narinfo whose NAR or references never came was dropped", "key", hash+".narinfo")
	return b.drop(ctx, hash)
}
