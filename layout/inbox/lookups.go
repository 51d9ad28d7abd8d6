package inbox

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A small request may have much looked up in the tree: each reference of a narinfo, and
// each path of a question. In a bucket each of them is a request that has a price, so
// that clients have a budget for them: that of a closure of 50,000 paths at once.
const (
	maxLookups = 500_000
	lookupStep = 2 * time.Millisecond // in which there is one more
	// linkLookups is what a debug link counts as that is put, which is dear in a directory
	// too: a NAR of a megabyte may have thousands, and any number of paths.
	linkLookups = 4
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

// lookedUp counts lookups that cannot wait, as locks are held.
func (b *Inbox) lookedUp(ctx context.Context, n int) {
	if b.dear {
		b.lookups.Charge(share.From(ctx), n)
	}
}

// owes reports whether a client has had more looked up than it may.
func (b *Inbox) owes(c share.Client) bool { return b.lookups.Charge(c, 0) > 0 }
