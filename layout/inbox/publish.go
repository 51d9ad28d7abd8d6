package inbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

func conflict(r *record) error {
	return refuse(Conflict, "conflict: this cache has %.100s with other content, which stays; the build may not be reproducible", r.Path)
}

// publish makes a path visible whose record was found right: its listing and
// debug links first, the narinfo last (I2). Dying in between leaves a listing
// and links that lead to a NAR that is there. The locks of the narinfo and of
// the NAR are held.
func (b *Inbox) publish(ctx context.Context, r *record, known *receipt, taken, echoed bool) (Outcome, error) {
	listing, err := b.listingFor(r, known)
	if err != nil {
		return 0, err
	}
	defer listing.release()
	links, err := b.linksFor(r.nar, known)
	if err != nil {
		return 0, err
	}
	defer links.release()
	if err := r.Sign(b.writer.StoreDir, b.writer.Keys); err != nil {
		return 0, err
	}

	around := append(links.objects, layout.Object{Key: layout.ListingKey(r.Path), Body: copied(listing.Body)})
	groups := [][]layout.Object{around}
	text := r.Marshal(b.writer.StoreDir)
	if len(text) > layout.MaxNarInfo {
		return 0, tooLarge(layout.KindNarInfo, layout.MaxNarInfo)
	}
	if !taken {
		groups = append(groups, []layout.Object{{Key: r.key, Body: layout.Bytes(text), Opts: layout.PutOptions{IfAbsent: true}}})
	}
	there, err := layout.PutBatch(ctx, b.writer.Tree, groups...)
	if err != nil {
		return 0, storage(err)
	}
	if err := b.mendLinks(ctx, r.nar, known, there); err != nil {
		return 0, err
	}
	outcome := Created
	if taken || slices.Contains(there, r.key) {
		if outcome, err = b.update(ctx, r); err != nil {
			if ReasonOf(err) == Conflict {
				b.relist(ctx, r) // someone was faster, with other content
			}
			return 0, err
		}
	}
	b.mu.Lock()
	known.accepted = true
	b.mu.Unlock()
	b.dropNote(layout.ListingKey(r.Path))
	for key := range links.sent {
		b.dropNote(key)
	}
	b.published(ctx, r, outcome != Created || len(text) != len(r.text), echoed)
	return outcome, nil
}

// published ends the note on a narinfo and wakes what waited for it.
func (b *Inbox) published(ctx context.Context, r *record, differs, echoed bool) {
	b.dropNote(r.key)
	if differs && echoed {
		b.echo(ctx, r.key, keepBytes(r.text))
	}
	b.wake(r.key)
}

// echo keeps what was sent for the one who sent it, if the tree has a record of
// another size.
func (b *Inbox) echo(ctx context.Context, key layout.Key, body *kept) {
	info, err := b.writer.Tree.Stat(ctx, key)
	if err == nil && info.Size != body.Size() {
		body.retain()
		b.setNote(key, &note{why: echo, object: info, body: body})
	}
}

// merge adds the signatures of a record to the one that is there with the same
// content. What was sent ahead of it has to fit nevertheless. Ours are added
// only if the bytes came by: to sign is to vouch.
func (b *Inbox) merge(ctx context.Context, r *record, have *layout.NarInfo, echoed bool) (Outcome, error) {
	nar, err := have.NARKey()
	if err != nil {
		return 0, err
	}
	if sent := b.noteOn(layout.ListingKey(r.Path)); sent != nil {
		defer sent.body.release()
		if sent.why == early {
			_, err := b.fitListing(ctx, have, sent.body)
			b.dropNote(layout.ListingKey(r.Path))
			if err != nil {
				return 0, err
			}
		}
	}
	if err := b.publishEarly(ctx, nar); err != nil {
		return 0, err
	}
	info, err := b.writer.Tree.Stat(ctx, nar)
	if err != nil {
		return 0, err
	}
	if known := b.receiptOf(info); known != nil {
		defer known.release()
		if known.narHash == r.NarHash && known.narSize == r.NarSize {
			if err := r.Sign(b.writer.StoreDir, b.writer.Keys); err != nil {
				return 0, err
			}
		}
	}
	outcome, err := b.update(ctx, r)
	if err == nil {
		b.published(ctx, r, true, echoed)
	}
	return outcome, err
}

// update settles a record with the one that is there, in one step however many
// do so at once.
func (b *Inbox) update(ctx context.Context, r *record) (outcome Outcome, err error) {
	err = layout.UpdateNarInfo(ctx, b.writer.Tree, r.Path, b.writer.StoreDir, func(theirs *layout.NarInfo) (*layout.NarInfo, error) {
		outcome = Replaced
		if theirs == nil {
			return r.instead()
		}
		present, err := b.leads(ctx, theirs)
		if err != nil {
			return nil, err
		}
		same := theirs.SameContent(&r.PathInfo)
		switch {
		case !present:
			ours, err := r.instead()
			if err == nil && same {
				merged := *ours
				merged.Absorb(theirs)
				ours = &merged
			}
			return ours, err
		case !same:
			return nil, conflict(r)
		}
		merged := *theirs
		merged.AddSigs(r.Sigs...)
		if slices.Equal(merged.Sigs, theirs.Sigs) {
			outcome = Unchanged
			return nil, nil
		}
		if len(merged.Marshal(b.writer.StoreDir)) > layout.MaxNarInfo {
			return nil, tooLarge(layout.KindNarInfo, layout.MaxNarInfo) // no one could read it any more
		}
		outcome = Merged
		return &merged, nil
	})
	if err == nil && outcome == Unchanged {
		err = b.sync(ctx, r.key)
	}
	return outcome, storage(err)
}

// instead returns the record that takes the place of a broken one. One that is
// only being merged was not compared with a NAR.
func (r *record) instead() (*layout.NarInfo, error) {
	if !r.compared {
		return nil, fmt.Errorf("update %s: %w", r.key, layout.ErrChanged)
	}
	return r.NarInfo, nil
}

// relist gives a path its own listing back, which one of other content took the
// place of, for a moment.
func (b *Inbox) relist(ctx context.Context, r *record) {
	have, err := b.recordAt(ctx, r.key)
	if err != nil || have == nil {
		return
	}
	nar, err := have.NARKey()
	if err != nil {
		return
	}
	known, _, err := b.facts(ctx, nar, &have.PathInfo)
	if err == nil {
		err = b.writer.Tree.Put(ctx, layout.ListingKey(have.Path), copied(known.listing), layout.PutOptions{})
		known.release()
	}
	if err != nil {
		b.log.WarnContext(ctx, "a listing is that of other content", "path", have.Path, "error", err)
	}
}
