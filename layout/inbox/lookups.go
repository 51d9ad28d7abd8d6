package inbox

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A small request may have much looked up in the tree, or written to it: each reference of a narinfo, and
// each path of a question. In a bucket each of them is a request that has a price, so
// that clients have a budget for them: that of a closure of 50,000 paths at once.
const (
	maxLookups = 500_000
	lookupStep = 2 * time.Millisecond // in which there is one more
	// linkLookups is what a debug link counts as that is put, which is dear in a directory
	// too: a NAR of a megabyte may have thousands, and any number of paths.
	linkLookups = 4
	// madeBytes is how many bytes count as a lookup that are kept of an upload and were
	// not sent: those of a listing, or of a log that decodes to very much.
	madeBytes = 4 << 10
	// readBytes is how many bytes of a NAR count as a lookup that a client has read again
	// in a bucket, by a few bytes of its own.
	readBytes = 64 << 10
	// lookupPatience is how long a request waits for it. A Nix gives up after five minutes
	// without an answer.
	lookupPatience = 4 * time.Minute
)

// Afford takes n lookups from the budget of a client, and waits until there are so many.
// The error is share.ErrBusy if that takes too long.
func (b *Inbox) Afford(ctx context.Context, n int) error {
	if !b.dear {
		n = 0
	}
	return b.afford(as(ctx), n)
}

// afford is Afford within a Put. With 0 it waits until the client owes no lookups.
func (b *Inbox) afford(ctx context.Context, n int) error {
	_, err := b.lookups.Take(ctx, n, lookupPatience)
	return err
}

// Made counts bytes that are kept for a client, and that it did not send.
func (b *Inbox) Made(ctx context.Context, bytes int64) { b.made(as(ctx), bytes) }

// made is Made within a Put.
func (b *Inbox) made(ctx context.Context, bytes int64) {
	b.lookups.Charge(share.From(ctx), int(max(bytes, 0)/madeBytes))
}

// lookedUp counts lookups that cannot wait, as locks are held.
func (b *Inbox) lookedUp(ctx context.Context, n int) {
	if b.dear {
		b.lookups.Charge(share.From(ctx), n)
	}
}

// owes reports whether a client has had more looked up than it may.
func (b *Inbox) owes(c share.Client) bool { return b.lookups.Charge(c, 0) > 0 }
