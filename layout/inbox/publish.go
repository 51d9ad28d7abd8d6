package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// apply does what was decided about a record that is right: the listing and the
// debug links of its NAR first, the narinfo last (I2). The listing and the debug
// links are published in our form; those that the client sent were compared with
// it. Dying in between leaves a listing and links that lead to a NAR that is
// there. The locks of the narinfo and of the NAR are held.
func (b *Inbox) apply(ctx context.Context, r *record, f *facts, d *decision) (Outcome, error) {
	n := &d.narInfo
	if d.vouch {
		if err := n.Sign(b.writer.StoreDir, b.writer.Keys); err != nil {
			return 0, err
		}
	}
	text := n.Marshal(b.writer.StoreDir)
	if len(text) > layout.MaxNarInfo {
		return 0, tooLarge(layout.KindNarInfo, layout.MaxNarInfo)
	}
	var around, last []layout.Object
	if !d.merge || f.relist {
		around = append(around, layout.Object{Key: layout.ListingKey(r.Path), Body: copied(f.known.listing)})
	}
	links := f.links(d.merge)
	if len(links) > 0 {
		around = append(around, linkObjects(links, f.known.object.Key)...)
	}
	if f.have == nil {
		last = append(last, layout.Object{Key: r.key, Body: layout.Bytes(text), Opts: layout.PutOptions{IfAbsent: true}})
	}
	there, err := layout.PutBatch(ctx, b.writer.Tree, around, last)
	if err == nil && len(links) > 0 {
		err = b.mendLinks(ctx, links, f.known.object.Key, there)
	}
	if err != nil {
		return 0, storage(err)
	}
	outcome := Created
	if f.have != nil || slices.Contains(there, r.key) {
		if outcome, err = b.update(ctx, r, d); err != nil {
			if reasonOf(err) == Conflict {
				b.relist(ctx, r) // someone was faster, with other content
			}
			return 0, err
		}
	}
	if !d.merge {
		b.accept(f.known)
		b.dropNote(ctx, layout.ListingKey(r.Path))
	}
	for key, s := range f.sent {
		b.published(ctx, key, s.body, s.ours, r.echoed)
	}
	ours := int64(len(text))
	if outcome != Created {
		ours = -1 // it has signatures of others, perhaps
	}
	b.published(ctx, r.key, keepBytes(r.text), ours, r.echoed)
	if b.writer.Published != nil && (outcome == Created || outcome == Replaced) {
		b.writer.Published(n)
	}
	return outcome, nil
}

// roomAround sees to room for what is published around a narinfo, which may be much
// more than what came: on the disk, and in memory for as long as it takes. Nothing
// could be removed from the tree if it waited for that behind Rely.
func (b *Inbox) roomAround(ctx context.Context, f *facts, d *decision) (done func(), err error) {
	if d.merge && !f.relist && len(f.sent) == 0 {
		return func() {}, b.space.checkRecords(share.From(ctx), 1, 0)
	}
	links := 2 * len(f.links(d.merge))
	b.lookups.Charge(share.From(ctx), linkLookups*links)
	b.made(ctx, f.known.listing.Size())
	if err := b.space.checkRecords(share.From(ctx), 2+links, f.known.listing.Size()); err != nil {
		return nil, err
	}
	part, err := roomIn(ctx, b.writer.Memory, int64(links)*linkMemory)
	if err != nil {
		return nil, err
	}
	return part.Release, nil
}

// linkMemory is what a debug link takes in memory while it is published.
const linkMemory = 1 << 10

// published ends the note on an object and wakes what waited for it. If the tree
// has as many bytes as the client sent, the client sees those.
func (b *Inbox) published(ctx context.Context, key layout.Key, sent *kept, ours int64, echoed bool) {
	b.dropNote(ctx, key)
	if echoed && sent.Size() != ours {
		b.echo(ctx, key, sent)
	}
	b.wake(key)
}

// echo keeps what was sent for the one who sent it, if the tree has a record of
// another size.
func (b *Inbox) echo(ctx context.Context, key layout.Key, body *kept) {
	info, err := b.writer.Tree.Stat(ctx, key)
	if err == nil && info.Size != body.Size() {
		body.retain()
		b.setNote(ctx, key, &note{why: echo, object: info, body: body})
	}
}

// update settles a record with the one that is there, in one step however many
// do so at once.
func (b *Inbox) update(ctx context.Context, r *record, d *decision) (outcome Outcome, err error) {
	err = layout.UpdateNarInfo(ctx, b.writer.Tree, r.Path, b.writer.StoreDir, func(theirs *layout.NarInfo) (*layout.NarInfo, error) {
		present := false
		if theirs != nil {
			var err error
			if _, present, err = b.leads(ctx, theirs); err != nil {
				return nil, err
			}
		}
		same := theirs != nil && theirs.SameContent(&r.PathInfo)
		switch {
		case present && !same:
			return nil, conflict(r)
		case !present && d.merge: // and so not compared with a NAR
			return nil, fmt.Errorf("update %s: %w", r.key, layout.ErrChanged)
		}
		merged := d.narInfo
		outcome = Replaced
		if present {
			merged, outcome = *theirs, Merged
			merged.Sigs = b.addSigs(b.sound(theirs), d.narInfo.Sigs...)
			merged.AddSigs() // in order
		} else if same {
			absorbed := *theirs
			absorbed.Sigs = b.sound(theirs)
			merged.Absorb(&absorbed)
		}
		if present && slices.Equal(merged.Sigs, theirs.Sigs) {
			outcome = Unchanged
			return nil, nil
		}
		return &merged, nil
	})
	if errors.Is(err, layout.ErrTooLarge) {
		return 0, tooLarge(layout.KindNarInfo, layout.MaxNarInfo)
	}
	return outcome, storage(err)
}

// relist gives a path its own listing back, which one of other content took the
// place of, for a moment.
func (b *Inbox) relist(ctx context.Context, r *record) {
	text, err := layout.ReadAll(ctx, b.writer.Tree, r.key) // in the room of the facts
	if err != nil {
		return
	}
	have := b.parseRecord(r.key, text)
	if have == nil {
		return
	}
	nar, err := layout.FindNAR(ctx, b.writer.Tree, have)
	if err != nil {
		return
	}
	known, _, err := b.look(ctx, nar.Key, b.anyNAR())
	if next := (*unread)(nil); errors.As(err, &next) { // at this moment, and only here, under locks
		var found *inspected
		if found, err = b.readInTurn(ctx, next); err == nil {
			known, err = &found.receipt, found.refused
		}
	}
	if err == nil {
		err = b.writer.Tree.Put(ctx, layout.ListingKey(have.Path), copied(known.listing), layout.PutOptions{})
		known.release()
	}
	if err != nil {
		b.log.WarnContext(ctx, "a listing is that of other content", "path", have.Path, "error", err)
	}
}
