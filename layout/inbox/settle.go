package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// retry publishes a held narinfo if that can be done. A narinfo that turns out
// wrong is dropped: its client was told that it waits, and the log tells the
// rest. After an error it stays where it is, and Settle comes back to it.
func (b *Inbox) retry(ctx context.Context, h *held) {
	if b.owes(h.client) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.postpone(h)
		return
	}
	err := b.reading(ctx, func(ctx context.Context) error {
		unlock, err := b.locks.lock(ctx, h.key)
		if err != nil {
			return err
		}
		defer unlock()
		for again, tries := true, 0; err == nil && again; tries++ {
			if again, err = b.try(ctx, h); tries == 100 {
				err = fmt.Errorf("publish %s: %w a hundred times in a row", h.key, layout.ErrChanged)
			}
		}
		return err
	})
	if err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		b.queue.push(h) // for the next worker
		return
	}
	b.postpone(h)
	b.log.ErrorContext(ctx, "a held narinfo cannot be published", "key", h.at, "error", err)
}

// try is one attempt of retry. It is to be made again if another process has
// replaced what is held meanwhile: what came with that is not to be dropped
// unread. The narinfo's lock is held.
func (b *Inbox) try(ctx context.Context, h *held) (again bool, err error) {
	body, info, err := b.writer.Tree.Get(ctx, h.at)
	if errors.Is(err, fs.ErrNotExist) {
		b.forget(h)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	text, err := (&upload{ctx: ctx, r: body, kind: layout.KindNarInfo, size: -1, limit: layout.MaxNarInfo}).readAll()
	body.Close()
	if err != nil && reasonOf(err) == "" {
		return false, fmt.Errorf("read %s: %w", h.at, err)
	}
	var r *record
	if err == nil {
		r, err = b.read(h.key, text, nil)
	}
	if err == nil {
		var needs []need
		r.waiting, r.echoed = true, true
		if _, needs, err = b.place(ctx, r); err == nil && len(needs) > 0 {
			b.wait(ctx, info, needs)
			return false, nil
		}
	}
	switch {
	case err == nil:
		b.log.InfoContext(ctx, "a narinfo that waited is published", "key", h.key, "path", r.Path.Abs(b.writer.StoreDir))
	case reasonOf(err) == "":
		return false, err
	case reasonOf(err) == NoSpace:
		// The narinfo is not at fault: it stays, and Settle comes back to it.
		b.log.WarnContext(ctx, "a held narinfo has to wait for room on the disk", "key", h.key, "error", err)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.postpone(h)
		return false, nil
	default:
		b.log.WarnContext(ctx, "a held narinfo is wrong and was dropped", "key", h.key, "reason", reasonOf(err), "error", err)
	}
	now, there, err := layout.Lookup(ctx, b.writer.Tree, h.at)
	if err != nil || there && now.ETag != info.ETag {
		return err == nil, err
	}
	return false, b.drop(ctx, h)
}

// postpone has Settle come back to a narinfo: when it is called next, and later
// after pauses that grow. The mutex is held.
func (b *Inbox) postpone(h *held) {
	h.next = b.now().Add(h.pause)
	h.pause = min(max(2*h.pause, minPause), maxPause)
}

// unhold sees to the narinfos that are held of a path that has been published:
// they may have signatures that were not in what was published. The narinfo's lock
// is held, and the caller finishes.
func (b *Inbox) unhold(key layout.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for h := range b.heldOf[key].all {
		b.queue.push(h)
	}
}

// drop removes a held narinfo. Its lock is held.
func (b *Inbox) drop(ctx context.Context, h *held) error {
	b.forget(h)
	return b.writer.Tree.Delete(ctx, h.at)
}

func (b *Inbox) forget(h *held) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.held[h.at]; now != nil {
		b.leave(now)
	}
}

// Settle looks for what narinfos wait for: it may have come behind our back, by
// another process. It drops what has waited for more than a day. A server calls it
// now and then, say every minute.
//
// It costs one listing of what is held. For each narinfo it asks for one object
// that the narinfo waits for, and once for an object that several wait for; the
// pause before the next time grows.
func (b *Inbox) Settle(ctx context.Context) error {
	err := b.meet(ctx)
	if err == nil {
		err = b.ask(ctx)
	}
	b.drain(ctx)
	return err
}

// meet lists what is held. A narinfo that is new here, or has other bytes, is
// due. A narinfo that is gone was published by another process, most likely:
// those that wait for it are looked at at once.
func (b *Inbox) meet(ctx context.Context) error {
	start, seen := time.Now(), map[layout.Key]bool{}
	for info, err := range b.writer.Tree.List(ctx, layout.HeldPrefix) {
		if err != nil {
			return fmt.Errorf("list held narinfos: %w", err)
		}
		if !strings.HasSuffix(string(info.Key), ".narinfo") {
			continue
		}
		seen[info.Key] = true
		b.mu.Lock()
		h := b.held[info.Key]
		known := h != nil && h.info.Size == info.Size && (h.info.ETag == "" || info.ETag == "" || h.info.ETag == info.ETag)
		if known && info.ETag != "" {
			h.info.ETag = info.ETag
		}
		b.mu.Unlock()
		if !known {
			h = b.file(info, nil)
		}
		switch {
		case h == nil:
		case time.Since(info.ModTime) > heldFor:
			if err := b.expire(ctx, h); err != nil {
				return err
			}
		case !known:
			b.mu.Lock()
			b.queue.push(h)
			b.mu.Unlock()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, h := range b.held {
		if seen[at] || !h.filed.Before(start) {
			continue
		}
		b.leave(h)
		for waiting := range b.needed[h.key].all {
			waiting.pause, waiting.next = 0, time.Time{}
		}
	}
	b.notes.expire(func(n *note) bool { return start.Sub(n.at) > heldFor })
	return nil
}

// expire drops a held narinfo that has waited for too long.
func (b *Inbox) expire(ctx context.Context, h *held) error {
	unlock, err := b.locks.lock(ctx, h.key)
	if err != nil {
		return err
	}
	defer unlock()
	b.log.WarnContext(share.As(ctx, h.client), "a narinfo whose NAR or references never came was dropped", "key", h.key)
	return b.drop(ctx, h)
}

// maxAsked is how many narinfos Settle looks after at a time.
const maxAsked = 1000

// ask looks for what narinfos wait for whose pause is over.
func (b *Inbox) ask(ctx context.Context) error {
	absent := map[layout.Key]bool{}
	ready := b.ready()
	for len(ready) > 0 && ctx.Err() == nil {
		asked := map[layout.Key]need{}
		b.mu.Lock()
		ready = slices.DeleteFunc(ready, func(h *held) bool {
			if b.held[h.at] != h || h.due {
				return true
			}
			if len(h.needs) == 0 { // it failed, or is not known yet
				b.postpone(h)
				b.queue.push(h)
				return true
			}
			var first need
			for _, n := range h.needs {
				if absent[n.key] {
					b.postpone(h)
					return true
				}
				if first.key == "" || asked[n.key].key != "" {
					first = n
				}
			}
			asked[first.key] = first
			return false
		})
		b.mu.Unlock()
		there, err := b.askFor(ctx, asked)
		if err != nil {
			return err
		}
		for key := range asked {
			if there[key] {
				b.wake(key)
			} else {
				absent[key] = true
			}
		}
	}
	return ctx.Err()
}

// ready returns the held narinfos whose pause is over, in fair turns.
func (b *Inbox) ready() []*held {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, of := b.now(), map[share.Client][]*held{}
	for _, h := range b.held {
		if !h.due && !h.next.After(now) {
			of[h.client] = append(of[h.client], h)
		}
	}
	var ready []*held
	for i := 0; len(of) > 0 && len(ready) < maxAsked; i++ {
		for client, all := range of {
			if i == len(all) {
				delete(of, client)
				continue
			}
			ready = append(ready, all[i])
		}
	}
	return ready
}

// askFor reports which of some objects are there.
func (b *Inbox) askFor(ctx context.Context, needs map[layout.Key]need) (map[layout.Key]bool, error) {
	found := make(chan layout.Key, len(needs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statJobs)
	for _, n := range needs {
		group.Go(func() error {
			there, err := b.has(ctx, n)
			if there {
				found <- n.key
			}
			return err
		})
	}
	err := group.Wait()
	close(found)
	there := map[layout.Key]bool{}
	for key := range found {
		there[key] = true
	}
	return there, err
}
