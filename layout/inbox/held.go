package inbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// heldFor is how long a narinfo may wait for what it leads to, and how long
	// the rest may wait that comes ahead of a narinfo.
	heldFor = 24 * time.Hour
	// maxNeeds is how many of the things that a narinfo waits for are known at a
	// time: each takes memory. When those have come, the narinfo is examined again.
	maxNeeds = 4
	// The pauses between two looks for what a narinfo waits for, which another
	// process may have brought. Each pause is twice as long as the one before.
	minPause, maxPause = time.Minute, time.Hour
)

// as returns a context for what is done for a client, with the name under which
// the client's things are kept.
func as(ctx context.Context) context.Context { return share.As(ctx, share.From(ctx).Pseudonym()) }

// heldKey is where the narinfo of a path waits that a client sent. Each client's
// has a place of its own, so that none takes that of another's.
func heldKey(hash string, client share.Client) layout.Key {
	if client != "" {
		hash += "." + string(client)
	}
	return layout.Key(layout.HeldPrefix + hash + ".narinfo")
}

// parseHeldKey returns the path and the client of a narinfo that waits.
func parseHeldKey(at layout.Key) (hash string, client share.Client, ok bool) {
	name, _ := strings.CutPrefix(string(at), layout.HeldPrefix)
	name, _ = strings.CutSuffix(name, ".narinfo")
	hash, id, _ := strings.Cut(name, ".")
	client = share.Client(id)
	return hash, client, layout.NarInfoKeyOf(hash).PathHash() == hash && at == heldKey(hash, client)
}

// A held is a narinfo that waits in the tree. The objects it waits for are known
// in memory alone, and are found out again after a restart. The Inbox's mutex
// guards it.
type held struct {
	at     layout.Key   // where it waits
	key    layout.Key   // where it is to appear
	client share.Client // who sent it
	info   layout.Info  // of the object that waits
	filed  time.Time

	needs []need    // some of what it waits for; none if that is not known
	due   bool      // it is in the queue
	next  time.Time // when to look for what it needs
	pause time.Duration
}

// hold keeps a narinfo until what it needs is there. The narinfo's lock is held.
//
// Dying before the Put leaves nothing; after it, a narinfo that the next inbox
// finds.
func (b *Inbox) hold(ctx context.Context, r *record, needs []need) (Outcome, error) {
	client := share.From(ctx)
	at := heldKey(r.key.PathHash(), client)
	size := int64(len(r.text))
	if !b.hasRoom(at, client, size) {
		return 0, refuse(TooManyHeld, "too many narinfos wait for their NARs and references here; send those first")
	}
	if err := b.putHeld(ctx, at, r); err != nil {
		return 0, storage(err)
	}
	b.dropNote(ctx, r.key)
	b.wait(ctx, layout.Info{Key: at, Size: size, ModTime: time.Now()}, needs)
	return Held, nil
}

// hasRoom reports whether a client may have one more narinfo wait. A client may
// have as much wait as it leaves free for others.
func (b *Inbox) hasRoom(at layout.Key, client share.Client, size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, mine, more := b.holding, b.holds[client], holding{1, size}
	if old := b.held[at]; old != nil { // whose place it takes
		more = more.less(old.info.Size)
	}
	return (more.count <= 0 || share.Fair(int64(b.cfg.MaxHeld), all.count, mine.count, more.count)) &&
		(more.bytes <= 0 || share.Fair(b.cfg.MaxHeldBytes, all.bytes, mine.bytes, more.bytes))
}

// A holding is how much waits.
type holding struct{ count, bytes int64 }

func (h holding) more(size int64) holding { return holding{h.count + 1, h.bytes + size} }
func (h holding) less(size int64) holding { return holding{h.count - 1, h.bytes - size} }

// putHeld keeps a narinfo in the tree, with the signatures of one that is held
// there already and says the same: perhaps by another process.
func (b *Inbox) putHeld(ctx context.Context, at layout.Key, r *record) error {
	return layout.Update(ctx, b.writer.Tree, at, func(have []byte) ([]byte, error) {
		if theirs, err := layout.ParseNarInfo(have, b.writer.StoreDir); err == nil && theirs.SameContent(&r.PathInfo) {
			return b.signedBy(r, theirs.Sigs), nil
		}
		return r.text, nil
	})
}

// signedBy returns the text of a record with more signatures, as it was sent if
// it has them all, or has no room for more.
func (b *Inbox) signedBy(r *record, sigs []string) []byte {
	more, sent := *r.NarInfo, *r.NarInfo
	more.Sigs = b.addSigs(r.Sigs, sigs...)
	more.AddSigs() // in order
	sent.AddSigs()
	if slices.Equal(more.Sigs, sent.Sigs) {
		return r.text
	}
	if text := more.Marshal(b.writer.StoreDir); len(text) <= layout.MaxNarInfo {
		return text
	}
	return r.text
}

// wait files what a held narinfo needs, in the place of what it needed before.
func (b *Inbox) wait(ctx context.Context, info layout.Info, needs []need) {
	needs = needs[:min(len(needs), maxNeeds)]
	b.file(info, needs)
	// An object it needs may have come between our look and this, which woke
	// nothing.
	for _, n := range needs {
		if there, err := b.has(ctx, n); err == nil && there {
			b.wake(n.key)
		}
	}
}

// has reports whether what a narinfo needs is there.
func (b *Inbox) has(ctx context.Context, n need) (bool, error) {
	info, there, err := layout.Lookup(ctx, b.writer.Tree, n.key)
	switch {
	case err != nil || there:
		return there && !b.damaged.has(info), err
	case n.path == "" || b.cfg.Provided == nil:
		return false, nil
	}
	there, err = b.cfg.Provided(ctx, n.path)
	if err != nil {
		err = fmt.Errorf("cannot tell whether %s is provided: %w", n.path, err)
	}
	return there, err
}

// file notes that a narinfo waits in the tree, in the place of what was known of
// it. It returns nil for an object that no inbox has put there.
func (b *Inbox) file(info layout.Info, needs []need) *held {
	hash, client, ok := parseHeldKey(info.Key)
	if !ok {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &held{at: info.Key, key: layout.NarInfoKeyOf(hash), client: client, info: info, filed: time.Now()}
	if old := b.held[h.at]; old != nil {
		h.next, h.pause = old.next, old.pause
		b.leave(old)
	}
	b.held[h.at] = h
	addTo(b.heldOf, h.key, h)
	addTo(b.heldBy, h.client, h)
	b.holding, b.holds[client] = b.holding.more(info.Size), b.holds[client].more(info.Size)
	for _, n := range needs[:min(len(needs), maxNeeds)] {
		// The names are parts of the narinfo's text, which is not to stay in memory.
		n.key, n.path = layout.Key(strings.Clone(string(n.key))), layout.StorePath(strings.Clone(string(n.path)))
		h.needs = append(h.needs, n)
		addTo(b.needed, n.key, h)
	}
	return h
}

// leave ends the waiting of a held narinfo. The mutex is held.
func (b *Inbox) leave(h *held) {
	if b.held[h.at] != h {
		return
	}
	delete(b.held, h.at)
	deleteFrom(b.heldOf, h.key, h)
	deleteFrom(b.heldBy, h.client, h)
	for _, n := range h.needs {
		deleteFrom(b.needed, n.key, h)
	}
	b.holding = b.holding.less(h.info.Size)
	if b.holds[h.client] = b.holds[h.client].less(h.info.Size); b.holds[h.client].count == 0 {
		delete(b.holds, h.client)
	}
}

// A heldSet is a set of held narinfos. Most have one, and there may be very many sets.
type heldSet struct {
	one  *held
	more map[*held]bool // nil, or all of them
}

// all yields the members.
func (s heldSet) all(yield func(*held) bool) {
	if s.more == nil && s.one != nil {
		yield(s.one)
	}
	for h := range s.more {
		if !yield(h) {
			return
		}
	}
}

func addTo[K comparable](sets map[K]heldSet, key K, h *held) {
	s := sets[key]
	switch {
	case s.more != nil:
		s.more[h] = true
		return
	case s.one == nil || s.one == h:
		s.one = h
	default:
		s.more = map[*held]bool{s.one: true, h: true}
	}
	sets[key] = s
}

func deleteFrom[K comparable](sets map[K]heldSet, key K, h *held) {
	s := sets[key]
	delete(s.more, h)
	if len(s.more) == 0 && (s.more != nil || s.one == h) {
		delete(sets, key)
	}
}

// wake is told that an object is there: the narinfos that are known to need
// nothing else are due.
func (b *Inbox) wake(key layout.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for h := range b.needed[key].all {
		h.pause, h.next = 0, time.Time{}
		if h.needs = slices.DeleteFunc(h.needs, func(n need) bool { return n.key == key }); len(h.needs) == 0 {
			b.queue.push(h)
		}
	}
	delete(b.needed, key)
}
