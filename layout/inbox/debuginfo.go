package inbox

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

func noSuchMember(key, nar layout.Key) *Refusal {
	return refuse(BadDebugInfo, "bad debug link: %s has no file for %s", nar, key)
}

// putDebugInfo takes a link to debug symbols. It is published with the narinfo
// of the NAR that it leads to; if that is there already, at once.
func (b *Inbox) putDebugInfo(ctx context.Context, key layout.Key, u *upload) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	link, nar, err := layout.ParseDebugLink(key, text)
	if err != nil {
		return 0, refuse(BadDebugInfo, "bad debug link: %v", err).because(err)
	}
	unlock, err := b.locks.lock(ctx, nar)
	if err != nil {
		return 0, err
	}
	defer unlock()
	have, err := layout.ReadAll(ctx, b.writer.Tree, key)
	switch {
	case err == nil && string(have) == string(text):
		b.dropNote(key)
		return Unchanged, b.sync(ctx, key)
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, layout.ErrTooLarge):
		return 0, err
	}
	absent := errors.Is(err, fs.ErrNotExist)

	accepted, err := b.accepted(ctx, nar)
	if err != nil {
		return 0, err
	}
	if accepted {
		known, _, err := b.facts(ctx, nar, b.anyNAR())
		if err == nil {
			defer known.release()
			if !slices.Contains(known.debug, link) {
				return 0, noSuchMember(key, nar)
			}
			if err := b.writer.Tree.Put(ctx, key, layout.Bytes(text), layout.PutOptions{}); err != nil {
				return 0, storage(err)
			}
			b.dropNote(key)
			if absent {
				return Created, nil
			}
			return Replaced, nil
		}
		if !errors.Is(err, errNoNAR) {
			return 0, err
		}
	}
	b.setNote(key, &note{why: early, body: keepBytes(text), link: link, nar: nar})
	return Held, nil
}

// publishEarly publishes the debug links that came before the NAR of a path that
// is there already.
func (b *Inbox) publishEarly(ctx context.Context, nar layout.Key) error {
	b.mu.Lock()
	none := len(b.links[nar]) == 0
	b.mu.Unlock()
	if none {
		return nil
	}
	known, _, err := b.facts(ctx, nar, b.anyNAR())
	if err != nil {
		return err
	}
	defer known.release()
	links, err := b.linksFor(nar, known)
	if err != nil {
		return err
	}
	defer links.release()
	for key, n := range links.sent {
		if err := b.writer.Tree.Put(ctx, key, copied(n.body.Body), layout.PutOptions{}); err != nil {
			return storage(err)
		}
		b.dropNote(key)
	}
	return nil
}

// accepted reports whether links into the NAR may be published. Where
// signatures are required that takes a narinfo that was found good: whoever
// follows a build ID asks for no signature. Otherwise the NAR is enough.
func (b *Inbox) accepted(ctx context.Context, nar layout.Key) (bool, error) {
	info, err := b.writer.Tree.Stat(ctx, nar)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !b.cfg.RequireSignature {
		return err == nil, err
	}
	r := b.receiptOf(info)
	if r == nil {
		return false, nil
	}
	defer r.release()
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.accepted, nil
}

// sentLinks are the debug links to publish with a NAR.
type sentLinks struct {
	objects []layout.Object
	sent    map[layout.Key]*note
}

func (l *sentLinks) release() {
	for _, n := range l.sent {
		n.body.release()
	}
}

// linksFor returns the debug links of a NAR in both spellings, those that the
// client sent as it sent them. One that is not true is refused, and forgotten.
func (b *Inbox) linksFor(nar layout.Key, known *receipt) (*sentLinks, error) {
	l := &sentLinks{sent: b.earlyLinks(nar)}
	has := make(map[layout.DebugLink]bool, len(known.debug))
	for _, link := range known.debug {
		has[link] = true
	}
	for key, n := range l.sent {
		if !has[n.link] {
			b.dropNote(key)
			l.release()
			return nil, noSuchMember(key, nar)
		}
	}
	for _, link := range known.debug {
		for _, key := range link.Keys() {
			// A build ID may be in two NARs. What is there stays, unless the client
			// says otherwise.
			o := layout.Object{Key: key, Body: layout.Bytes(link.Marshal(nar)), Opts: layout.PutOptions{IfAbsent: true}}
			if n := l.sent[key]; n != nil {
				o.Body, o.Opts = copied(n.body.Body), layout.PutOptions{}
			}
			l.objects = append(l.objects, o)
		}
	}
	return l, nil
}

// mendLinks replaces the debug links among the keys that were there already and
// lead nowhere.
func (b *Inbox) mendLinks(ctx context.Context, nar layout.Key, known *receipt, there []layout.Key) error {
	if len(there) == 0 {
		return nil
	}
	taken := make(map[layout.Key]bool, len(there))
	for _, key := range there {
		taken[key] = true
	}
	for _, link := range known.debug {
		for _, key := range link.Keys() {
			if !taken[key] {
				continue
			}
			good, err := b.linkLeads(ctx, key)
			if err == nil && !good {
				err = b.writer.Tree.Put(ctx, key, layout.Bytes(link.Marshal(nar)), layout.PutOptions{})
			}
			if err != nil {
				return storage(err)
			}
		}
	}
	return nil
}

// linkLeads reports whether the debug link in the tree leads to a NAR that is
// there.
func (b *Inbox) linkLeads(ctx context.Context, key layout.Key) (bool, error) {
	text, err := layout.ReadAll(ctx, b.writer.Tree, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, nar, err := layout.ParseDebugLink(key, text)
	if err != nil {
		return false, nil
	}
	return b.exists(ctx, nar)
}
