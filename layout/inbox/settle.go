package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

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
	key := layout.NarInfoKeyOf(hash)
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
		r.waiting, r.echoed = true, true
		if _, needs, err = b.place(ctx, r); err == nil && len(needs) > 0 {
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
	for info, err := range b.writer.Tree.List(ctx, layout.HeldPrefix) {
		if err != nil {
			return fmt.Errorf("list held narinfos: %w", err)
		}
		hash := layout.Key(strings.TrimPrefix(string(info.Key), layout.HeldPrefix)).PathHash()
		if hash == "" || info.Key != heldKey(hash) {
			continue
		}
		if time.Since(info.ModTime) > heldFor {
			if err := b.expire(ctx, hash); err != nil {
				return err
			}
			continue
		}
		info.Key = layout.NarInfoKeyOf(hash)
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
	unlock, err := b.locks.lock(ctx, layout.NarInfoKeyOf(hash))
	if err != nil {
		return err
	}
	defer unlock()
	b.log.WarnContext(ctx, "a narinfo whose NAR or references never came was dropped", "key", layout.NarInfoKeyOf(hash))
	return b.drop(ctx, hash)
}
