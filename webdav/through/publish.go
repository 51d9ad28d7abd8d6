package through

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// publishPatience is how long a path may take to appear after its NAR.
	publishPatience = 5 * time.Minute
	// referencePatience is how long it waits for references that are on their way
	// themselves. After that an upstream's word for them does.
	referencePatience = time.Minute
)

// publishPauses are between the attempts to publish a path of which no upstream can
// tell whether it has the references.
var publishPauses = []time.Duration{2 * time.Second, 15 * time.Second}

// An arrival is of a path that is on its way into the tree, maybe by more than one way: where
// a fetch failed, the next one begins before the first is told of as ended.
type arrival struct {
	ways int
	done chan struct{} // closed when none is left
}

// expect notes that a path is on its way into the tree. The lock is held.
func (f *Filler) expect(hash string) {
	a := f.pending[hash]
	if a == nil {
		a = &arrival{done: make(chan struct{})}
		f.pending[hash] = a
	}
	a.ways++
}

// arrived notes that it is not any more, by one way.
func (f *Filler) arrived(hash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.pending[hash]
	if a.ways--; a.ways == 0 {
		close(a.done)
		delete(f.pending, hash)
	}
}

// publish has the record of a path appear whose NAR is in the tree.
func (f *Filler) publish(ctx context.Context, n *layout.NarInfo, nar layout.Key) {
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	f.awaitReferences(ctx, n)
	record := *n
	record.URL = string(nar)
	record.FileHash, record.FileSize = layout.Hash{}, 0 // the inbox knows them from the file
	text := record.Marshal(f.cfg.StoreDir)
	var err error
	for _, pause := range append([]time.Duration{0}, publishPauses...) {
		select {
		case <-time.After(pause):
		case <-f.ctx.Done():
			if pause > 0 {
				return
			}
		}
		err = f.put(ctx, layout.NarInfoKey(n.Path), text)
		if refusal := (*inbox.Refusal)(nil); err == nil || errors.As(err, &refusal) {
			break
		}
	}
	if err != nil {
		f.withheld(n, err)
		return
	}
	f.count(Published, 0)
}

// put gives a record to the inbox, in the turn of its client.
func (f *Filler) put(ctx context.Context, key layout.Key, text []byte) error {
	turn, err := f.puts.Take(ctx, 1)
	if err != nil {
		return err
	}
	defer turn.Release()
	_, err = f.cfg.Inbox.Put(ctx, key, bytes.NewReader(text), inbox.Options{Strict: true, Size: int64(len(text)), Vouched: f.cfg.Vouched})
	return err
}

// errCrowded is why a path is not published for which there was no place to wait.
var errCrowded = errors.New("too many paths wait to be published")

func (f *Filler) withheld(n *layout.NarInfo, err error) {
	f.count(Withheld, 0)
	f.log.Warn("a path that was fetched could not be published; its next reader has that tried again", "path", n.Path.Abs(f.cfg.StoreDir), "err", err)
}

// awaitReferences waits for the references of a path that are on their way into the tree.
func (f *Filler) awaitReferences(ctx context.Context, n *layout.NarInfo) {
	timer := time.NewTimer(referencePatience)
	defer timer.Stop()
	for _, ref := range n.References {
		f.mu.Lock()
		coming := f.pending[ref.Hash()]
		f.mu.Unlock()
		if coming == nil || ref == n.Path {
			continue
		}
		select {
		case <-coming.done:
		case <-timer.C:
			return
		case <-f.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// Settle is told that a reader got a NAR from the tree, by the URL that the tree had no
// record for once. If it has none still, because a server was killed or the references
// were not to be found, the path is published in the background.
func (f *Filler) Settle(ctx context.Context, nar layout.Key, hash string) {
	// The reader has its NAR, and may be gone: the end of its request ends nothing here.
	ctx = share.As(f.ctx, share.From(ctx))
	if _, err := f.cfg.Tree.Stat(ctx, layout.NarInfoKeyOf(hash)); !isAbsent(err) {
		return
	}
	place, err := f.settles.Take(ctx, 1)
	if err != nil {
		return // the next reader will do
	}
	f.mu.Lock()
	if f.closed || f.pending[hash] != nil {
		f.mu.Unlock()
		place.Release()
		return
	}
	f.expect(hash)
	f.running.Add(1)
	f.mu.Unlock()
	go func() {
		defer f.running.Done()
		defer place.Release()
		defer f.arrived(hash)
		n, _, room, err := f.find(ctx, hash)
		room.Release()
		if err == nil && keyOf(n) == nar {
			f.publish(context.WithoutCancel(ctx), n, nar)
		}
	}()
}
