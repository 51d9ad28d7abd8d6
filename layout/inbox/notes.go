package inbox

import (
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

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

// anySent reports whether something of a path came ahead of its narinfo.
func (b *Inbox) anySent(p layout.StorePath, nar layout.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.notes.get(layout.ListingKey(p))
	return ok && n.why == early || len(b.links[nar]) > 0
}

// checkSent compares what came of a path ahead of its narinfo with its NAR. The
// bodies are to be released.
func (b *Inbox) checkSent(p layout.StorePath, known *receipt) (map[layout.Key]ahead, error) {
	listing, nar := layout.ListingKey(p), known.object.Key
	sent := map[layout.Key]ahead{}
	var err error
	if n := b.noteOn(listing); n != nil && n.why != early {
		n.body.release()
	} else if n != nil {
		a := ahead{body: n.body, ours: known.listing.Size(), wrong: known.checkListing(p, n.body)}
		if a.wrong != nil && ReasonOf(a.wrong) == "" {
			a.wrong, err = nil, a.wrong
		}
		sent[listing] = a
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.links[nar]) == 0 {
		return sent, err
	}
	has := make(map[layout.DebugLink]bool, len(known.debug))
	for _, link := range known.debug {
		has[link] = true
	}
	for key := range b.links[nar] {
		n, ok := b.notes.get(key)
		if !ok {
			continue
		}
		n.body.retain()
		a := ahead{body: n.body, ours: int64(len(n.link.Marshal(nar)))}
		if !has[n.link] {
			a.wrong = noSuchMember(key, nar)
		}
		sent[key] = a
	}
	return sent, err
}

// dropWrong forgets what came ahead of a narinfo and is not true.
func (b *Inbox) dropWrong(sent map[layout.Key]ahead) {
	for key, a := range sent {
		if a.wrong != nil {
			b.dropNote(key)
		}
	}
}
