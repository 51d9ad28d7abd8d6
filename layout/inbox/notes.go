package inbox

import (
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
)

// A receipt is what is remembered of a NAR that came by: all that narinfos can
// claim of it, so that they need not read it again. It is believed as long as
// the tree shows the object that it was made for.
type receipt struct {
	shared
	object   layout.Info // the NAR file in the tree
	method   compress.Method
	narHash  layout.Hash
	narSize  int64
	listing  layout.Body
	debug    []layout.DebugLink
	prove    func(*layout.PathInfo, string) (layout.Proof, bool) // as Packed.Prove
	accepted bool                                                // a narinfo that leads here is published; guarded by Inbox.mu
}

func (r *receipt) cost() int64 {
	cost := r.listing.Size()
	if cost > 64<<10 { // the Writer keeps no larger one in memory
		cost = spooledCost
	}
	for _, link := range r.debug {
		cost += int64(len(link.ID)+len(link.Member)) + 32
	}
	return cost
}

// sameObject reports whether two descriptions are of one version of an object.
func sameObject(x, y layout.Info) bool {
	same := x.Key == y.Key && x.Size == y.Size && x.ETag == y.ETag
	if y.ETag == "" {
		same = same && x.ModTime.Equal(y.ModTime)
	}
	return same
}

// receiptOf returns the receipt of the NAR that info describes, nil if there is
// none. Whoever gets one releases it.
func (b *Inbox) receiptOf(info layout.Info) *receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.receipts.get(info.Key)
	if !ok {
		return nil
	}
	if !sameObject(r.object, info) {
		b.receipts.remove(info.Key)
		return nil
	}
	r.retain()
	return r
}

// remember files a receipt. The caller's use of it ends with its own release.
func (b *Inbox) remember(r *receipt) {
	r.retain()
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.receipts.get(r.object.Key); ok {
		r.accepted = r.accepted || old.accepted // the same bytes once more (I4)
	}
	b.receipts.put(r.object.Key, r, r.cost())
}

// A note is about an object that someone sent and that is not in the tree, or
// not with those bytes. Only the one who uploads sees it.
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

// setNote files a note and takes over the caller's use of its body. A
// placeholder does not push out anything better.
func (b *Inbox) setNote(key layout.Key, n *note) {
	n.at = time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.notes.get(key); ok && n.why == placeholder {
		n.body.release()
		return
	}
	b.notes.put(key, n, n.body.memory) // forgets the old one first
	if n.nar == "" {
		return
	}
	if _, ok := b.notes.get(key); !ok {
		return // it was too large to stay
	}
	if b.links[n.nar] == nil {
		b.links[n.nar] = map[layout.Key]bool{}
	}
	b.links[n.nar][key] = true
}

// dropNote forgets the note on an object that is in the tree now, or refused.
func (b *Inbox) dropNote(key layout.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes.remove(key)
}

// forgotNote is told of each note that goes. The mutex is held.
func (b *Inbox) forgotNote(key layout.Key, n *note) {
	n.body.release()
	if n.nar != "" {
		delete(b.links[n.nar], key)
		if len(b.links[n.nar]) == 0 {
			delete(b.links, n.nar)
		}
	}
}

// noteOn returns the note on an object, nil if there is none. Whoever gets one
// releases its body.
func (b *Inbox) noteOn(key layout.Key) *note {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.notes.get(key)
	if !ok {
		return nil
	}
	n.body.retain()
	return n
}

// earlyLinks returns the debug links that came before the NAR they lead to, by
// their keys. Whoever gets them releases their bodies.
func (b *Inbox) earlyLinks(nar layout.Key) map[layout.Key]*note {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := make(map[layout.Key]*note, len(b.links[nar]))
	for key := range b.links[nar] {
		if n, ok := b.notes.get(key); ok {
			n.body.retain()
			found[key] = n
		}
	}
	return found
}
