package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

func noSuchMember(key, nar layout.Key) *Refusal {
	return refuse(BadDebugInfo, "bad debug link: %s has no file for %s", nar, key)
}

// errEarly says that a debug link leads to a NAR of which no narinfo is there.
var errEarly = errors.New("no narinfo leads to the NAR of the debug link")

// putDebugInfo takes a link to debug symbols. It is published with the narinfo
// of the NAR that it leads to; if that is there already, at once. A link that is
// there and leads somewhere stays.
func (b *Inbox) putDebugInfo(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	link, nar, err := layout.ParseDebugLink(key, text)
	if err == nil && link != layout.NewDebugLink(link.ID) {
		err = fmt.Errorf("the member %.200q is not the debug file of %s", link.Member, link.ID)
	}
	if err != nil {
		return 0, refuse(BadDebugInfo, "bad debug link: %v", err).because(err)
	}
	sent := keepBytes(text)
	defer sent.release()
	var outcome Outcome
	err = b.reading(ctx, func(ctx context.Context) (err error) {
		outcome, err = b.placeLink(ctx, key, link, nar)
		return err
	})
	switch {
	case err == nil:
		b.published(ctx, key, sent, -1, !o.Strict)
		return outcome, nil
	case errors.Is(err, errEarly):
		sent.retain()
		b.setNote(ctx, key, &note{why: early, body: sent, link: link, nar: nar})
		return Held, nil
	}
	return 0, storage(err)
}

// placeLink publishes a debug link that is true, unless another is there that
// leads somewhere. The error is that of checkLink if it is not true, or early.
func (b *Inbox) placeLink(ctx context.Context, key layout.Key, link layout.DebugLink, nar layout.Key) (outcome Outcome, err error) {
	unlock, err := b.locks.lock(ctx, nar)
	if err != nil {
		return 0, err
	}
	defer unlock()
	err = b.relying(ctx, func() error {
		return layout.Update(ctx, b.writer.Tree, key, func(have []byte) ([]byte, error) {
			outcome = Created
			if have != nil {
				outcome = Replaced
				there, to, err := layout.ParseDebugLink(key, have)
				if err == nil && there == link && to == nar {
					outcome = Unchanged
					return nil, nil
				}
				leads, err := b.linkLeads(ctx, key, have)
				if err != nil {
					return nil, err
				}
				if leads {
					return nil, refuse(Conflict, "conflict: %s leads to another NAR in this cache, and stays", key)
				}
			}
			if err := b.checkLink(ctx, key, link, nar); err != nil {
				return nil, err
			}
			return link.Marshal(nar), nil
		})
	}, key, nar)
	return outcome, err
}

// checkLink refuses a debug link that is not true. The error is errEarly if its
// NAR is not there, or not accepted.
func (b *Inbox) checkLink(ctx context.Context, key layout.Key, link layout.DebugLink, nar layout.Key) error {
	accepted, err := b.accepted(ctx, nar)
	if err != nil {
		return err
	}
	if !accepted {
		return errEarly
	}
	known, _, err := b.look(ctx, nar, b.anyNAR())
	if errors.Is(err, errNoNAR) {
		return errEarly
	}
	if err != nil {
		return err
	}
	defer known.release()
	if !slices.Contains(known.debug, link) {
		return noSuchMember(key, nar)
	}
	return nil
}

// accepted reports whether links into the NAR may be published. If signatures are
// required, a narinfo that was found good must lead to the NAR: a debugger that
// follows a build ID checks no signature. Otherwise the NAR is enough.
func (b *Inbox) accepted(ctx context.Context, nar layout.Key) (bool, error) {
	info, there, err := layout.Lookup(ctx, b.writer.Tree, nar)
	if err != nil || !there || !b.cfg.RequireSignature {
		return there, err
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

// accept tells that a narinfo that leads to a NAR is published.
func (b *Inbox) accept(known *receipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known.accepted = true
}

// links returns the debug links that are put around a record: all of its NAR, or for a
// record that is merged those that its client sent ahead of it. Else a client could have
// thousands of them put again by a few bytes.
func (f *facts) links(merge bool) []layout.DebugLink {
	switch {
	case f.known == nil || merge && len(f.sent) == 0:
		return nil
	case !merge:
		return f.known.debug
	}
	var sent []layout.DebugLink
	for _, link := range f.known.debug {
		keys := link.Keys()
		if slices.ContainsFunc(keys[:], func(key layout.Key) bool { _, ok := f.sent[key]; return ok }) {
			sent = append(sent, link)
		}
	}
	return sent
}

// linkObjects returns debug links into a NAR in both spellings. A build ID may
// be in two NARs: the link that is there stays.
func linkObjects(links []layout.DebugLink, nar layout.Key) []layout.Object {
	var objects []layout.Object
	for _, link := range links {
		for _, key := range link.Keys() {
			objects = append(objects, layout.Object{Key: key, Body: layout.Bytes(link.Marshal(nar)), Opts: layout.PutOptions{IfAbsent: true}})
		}
	}
	return objects
}

// mendLinks replaces the debug links among the keys that were there already and
// lead nowhere.
func (b *Inbox) mendLinks(ctx context.Context, links []layout.DebugLink, nar layout.Key, there []layout.Key) error {
	if len(there) == 0 {
		return nil
	}
	taken := make(map[layout.Key]bool, len(there))
	for _, key := range there {
		taken[key] = true
	}
	for _, link := range links {
		for _, key := range link.Keys() {
			if !taken[key] {
				continue
			}
			err := layout.Update(ctx, b.writer.Tree, key, func(have []byte) ([]byte, error) {
				if leads, err := b.linkLeads(ctx, key, have); err != nil || leads {
					return nil, err
				}
				return link.Marshal(nar), nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// linkLeads reports whether a debug link leads to where a NAR that is there has such a
// file.
func (b *Inbox) linkLeads(ctx context.Context, key layout.Key, text []byte) (bool, error) {
	link, nar, err := layout.ParseDebugLink(key, text)
	if err != nil || link != layout.NewDebugLink(link.ID) {
		return false, nil
	}
	return b.exists(ctx, nar)
}
