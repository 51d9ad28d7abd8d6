package inbox

import (
	"context"
	"slices"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A queue has the held narinfos that are due, those of each client in a line of
// their own. Workers take from the lines in turn.
type queue struct {
	lines map[share.Client][]*held
	turns []share.Client // those with a line, the next one first
}

// push adds a narinfo to the line of its client, unless it is there.
func (q *queue) push(h *held) {
	if h.due {
		return
	}
	h.due = true
	if q.lines == nil {
		q.lines = map[share.Client][]*held{}
	}
	if len(q.lines[h.client]) == 0 {
		q.turns = append(q.turns, h.client)
	}
	q.lines[h.client] = append(q.lines[h.client], h)
}

// pop returns the first narinfo of the client whose turn it is, nil if nothing is
// due.
func (q *queue) pop() *held {
	if len(q.turns) == 0 {
		return nil
	}
	client := q.turns[0]
	h := q.popOf(client)
	if len(q.lines[client]) > 0 {
		q.turns = append(q.turns[1:], client)
	}
	return h
}

// popOf returns the first narinfo of a client, nil if it has none that is due.
func (q *queue) popOf(client share.Client) *held {
	line := q.lines[client]
	if len(line) == 0 {
		return nil
	}
	h := line[0]
	h.due = false
	if q.lines[client] = line[1:]; len(line) == 1 {
		delete(q.lines, client)
		i := slices.Index(q.turns, client)
		q.turns = slices.Delete(q.turns, i, i+1)
	}
	return h
}

// maxOwn is how many narinfos a request publishes that waited for what it brought.
const maxOwn = 64

// finish publishes what is due after an upload. The request of a client publishes
// what the client itself had waiting, so that a program finds it published when
// its last upload is answered. The narinfos of others, and those that would take
// too long, are published in the background: no client's upload takes longer for
// them.
func (b *Inbox) finish(ctx context.Context) {
	client := share.From(ctx)
	for i := 0; i < maxOwn && ctx.Err() == nil; i++ {
		b.mu.Lock()
		h := b.queue.popOf(client)
		b.mu.Unlock()
		if h == nil {
			break
		}
		b.retry(ctx, h)
	}
	b.later()
}

// finishAll publishes the first of what is due, of whichever client, and leaves the
// rest to the background.
func (b *Inbox) finishAll(ctx context.Context) {
	for i := 0; i < maxOwn && ctx.Err() == nil; i++ {
		b.mu.Lock()
		h := b.queue.pop()
		b.mu.Unlock()
		if h == nil {
			return
		}
		b.retry(share.As(ctx, h.client), h)
	}
	b.later()
}

// later has published in the background what is due.
func (b *Inbox) later() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue.turns) > 0 {
		b.busy = true
		b.work.Broadcast()
	}
}

// drain publishes what is due, and what becomes due by that, in fair turns.
func (b *Inbox) drain(ctx context.Context) {
	for ctx.Err() == nil {
		b.mu.Lock()
		h := b.queue.pop()
		if h == nil {
			b.busy = false
		}
		b.mu.Unlock()
		if h == nil {
			return
		}
		b.retry(share.As(ctx, h.client), h)
	}
}

// workers is how many narinfos are published in the background at the same time.
const workers = 4

// publishLater drains whenever there is something to do, until ctx ends.
func (b *Inbox) publishLater(ctx context.Context) {
	for {
		b.mu.Lock()
		for !b.busy && ctx.Err() == nil {
			b.work.Wait()
		}
		b.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		b.drain(ctx)
	}
}
