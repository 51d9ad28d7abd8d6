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
// due. Clients that may not have one now are passed over.
func (q *queue) pop(may func(share.Client) bool) *held {
	i := slices.IndexFunc(q.turns, may)
	if i < 0 {
		return nil
	}
	client := q.turns[i]
	h := q.popOf(client)
	if len(q.lines[client]) > 0 {
		q.turns = append(slices.Delete(q.turns, i, i+1), client)
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
		h := b.queue.pop(anyone)
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

func anyone(share.Client) bool { return true }

// drain publishes what is due, and what becomes due by that, in fair turns. It
// leaves what a client has more to those who are at work for that client already.
func (b *Inbox) drain(ctx context.Context) {
	for ctx.Err() == nil {
		b.mu.Lock()
		h := b.queue.pop(func(c share.Client) bool { return share.Fair(workers, b.atWork, b.worksFor[c], 1) })
		if h == nil {
			b.busy = false
			b.mu.Unlock()
			return
		}
		b.works(h.client, 1)
		b.mu.Unlock()
		b.retry(share.As(ctx, h.client), h)
		b.mu.Lock()
		b.works(h.client, -1)
		b.mu.Unlock()
	}
}

// works counts those who publish for a client in the background. The mutex is held.
func (b *Inbox) works(c share.Client, n int64) {
	b.atWork += n
	if b.worksFor[c] += n; b.worksFor[c] == 0 {
		delete(b.worksFor, c)
	}
}

// workers is how many narinfos are published in the background at the same time. A
// client has half of what others leave: some may wait for a NAR to be read.
const workers = 8

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
