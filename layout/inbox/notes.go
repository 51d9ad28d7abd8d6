package inbox

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A note is about an object that a client sent and that is not in the tree, or
// not with those bytes. No other client sees it.
type note struct {
	why  noteKind
	body *kept
	at   time.Time

	object layout.Info // of an echo: what it stands for
	link   layout.DebugLink
	nar    layout.Key // of an early debug link: where it leads
}

type noteKind int

const (
	// early: a listing or debug link whose narinfo is not there yet. It is
	// compared with the NAR, and published, when that comes.
	early noteKind = iota
	// echo: a record that was sent with other bytes than the tree has by now,
	// where it has gained signatures. Programs that copy files look for the size
	// of what they sent, and take another for a broken copy.
	echo
	// placeholder: an empty object, made before the bytes are sent.
	placeholder
)

// A sent is a key as one client sees it.
type sent struct {
	client share.Client
	key    layout.Key
}

func sentBy(ctx context.Context, key layout.Key) sent { return sent{share.From(ctx), key} }

// setNote files a note and takes over the caller's use of its body. A
// placeholder does not push out anything better.
func (b *Inbox) setNote(ctx context.Context, key layout.Key, n *note) {
	n.at = time.Now()
	s, nar := sentBy(ctx, key), sentBy(ctx, n.nar)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.notes.get(s); ok && n.why == placeholder {
		n.body.release()
		return
	}
	b.notes.put(s.client, s, n, n.body.cost) // forgets the old one first
	if n.nar == "" {
		return
	}
	if _, ok := b.notes.get(s); !ok {
		return // it was too large to stay
	}
	if b.links[nar] == nil {
		b.links[nar] = map[layout.Key]bool{}
	}
	b.links[nar][key] = true
}

// dropNote forgets a client's note on an object that is in the tree now, or refused.
func (b *Inbox) dropNote(ctx context.Context, key layout.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes.remove(sentBy(ctx, key))
}

// forgotNote is told of each note that goes. The mutex is held.
func (b *Inbox) forgotNote(s sent, n *note) {
	n.body.release()
	if n.nar != "" {
		nar := sent{s.client, n.nar}
		if delete(b.links[nar], s.key); len(b.links[nar]) == 0 {
			delete(b.links, nar)
		}
	}
}

// noteOn returns a client's note on an object, nil if there is none. The caller
// must release its body.
func (b *Inbox) noteOn(ctx context.Context, key layout.Key) *note {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.notes.get(sentBy(ctx, key))
	if !ok {
		return nil
	}
	n.body.retain()
	return n
}

// anySent reports whether the client sent something of a path ahead of its
// narinfo.
func (b *Inbox) anySent(ctx context.Context, p layout.StorePath, nar layout.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.notes.get(sentBy(ctx, layout.ListingKey(p)))
	return ok && n.why == early || len(b.links[sentBy(ctx, nar)]) > 0
}

// checkSent compares what the client sent of a path ahead of its narinfo with the
// NAR. Objects that other clients sent matter to those clients alone. The caller
// must release the bodies.
func (b *Inbox) checkSent(ctx context.Context, p layout.StorePath, known *receipt) (map[layout.Key]ahead, error) {
	listing, nar := layout.ListingKey(p), known.object.Key
	found := map[layout.Key]ahead{}
	var err error
	if n := b.noteOn(ctx, listing); n != nil && n.why != early {
		n.body.release()
	} else if n != nil {
		a := ahead{body: n.body, ours: known.listing.Size(), wrong: known.checkListing(p, n.body)}
		if a.wrong != nil && reasonOf(a.wrong) == "" {
			a.wrong, err = nil, a.wrong
		}
		found[listing] = a
	}
	sent := b.linksAhead(ctx, nar)
	if len(sent) == 0 {
		return found, err
	}
	has := make(map[layout.DebugLink]bool, len(known.debug))
	for _, link := range known.debug {
		has[link] = true
	}
	for key, n := range sent {
		a := ahead{body: n.body, ours: int64(len(n.link.Marshal(nar)))}
		if !has[n.link] {
			a.wrong = noSuchMember(key, nar)
		}
		found[key] = a
	}
	return found, err
}

// linksAhead returns the debug links into a NAR that the client sent ahead of its narinfo. The
// caller must release their bodies.
func (b *Inbox) linksAhead(ctx context.Context, nar layout.Key) map[layout.Key]*note {
	sent := map[layout.Key]*note{}
	b.mu.Lock()
	defer b.mu.Unlock()
	for key := range b.links[sentBy(ctx, nar)] {
		if n, ok := b.notes.get(sentBy(ctx, key)); ok {
			n.body.retain()
			sent[key] = n
		}
	}
	return sent
}

// dropWrong forgets what came ahead of a narinfo and is not true.
func (b *Inbox) dropWrong(ctx context.Context, found map[layout.Key]ahead) {
	for key, a := range found {
		if a.wrong != nil {
			b.dropNote(ctx, key)
		}
	}
}
