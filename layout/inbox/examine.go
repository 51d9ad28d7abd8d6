package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// Facts are what is true of the tree, as far as it matters to a record.
type facts struct {
	have  *layout.NarInfo // the narinfo that is there; nil if there is none that can be read
	room  *share.Part     // for that, and for one that is put in its place
	leads bool            // to a NAR that is there: readers see the path

	missing []need       // references that are neither there nor provided
	nar     presence     // of the record's own NAR
	known   *receipt     // what is in the NAR that readers are led to, or will be; nil if it is not known
	proof   layout.Proof // by that NAR, of the content address that the record claims

	sent   map[layout.Key]ahead // what came of the listing and the debug links
	relist bool                 // the listing that is there is not that of the NAR
}

// A presence is what is known of a NAR.
type presence int

const (
	narUnseen  presence = iota // it was not looked at
	narAbsent                  // there is none
	narDamaged                 // there is one, with other bytes than its name says
	narSound
)

// An ahead is a listing or debug link that came ahead of its narinfo.
type ahead struct {
	body  *kept
	ours  int64 // bytes of the one that is published in its place
	wrong error // a Refusal, nil if it says what is true
}

func (f *facts) release() {
	f.room.Release()
	if f.known != nil {
		f.known.release()
	}
	for _, a := range f.sent {
		a.body.release()
	}
}

// examine finds out what decides about a record, as the tree is since a moment, and changes
// nothing. The facts are to be released. The error is a Refusal if the record's NAR is not one. The
// locks of the narinfo and of its NAR are held.
//
// The NAR of a record that is waiting is not looked at before the references are
// there: it was looked at when the record came, to tell the client of errors.
func (b *Inbox) examine(ctx context.Context, r *record, since layout.Sight) (_ *facts, err error) {
	f := &facts{}
	defer func() {
		if err != nil {
			f.release()
		}
	}()
	if f.have, f.room, err = b.recordAt(ctx, r.key); err != nil {
		return nil, err
	}
	object := layout.Info{Key: r.nar}
	if f.have != nil {
		// A narinfo whose NAR is gone leads nowhere, so it does not stand in the
		// way of one that leads somewhere.
		if object, f.leads, err = b.leads(ctx, f.have); err != nil {
			return nil, err
		}
	}
	if f.leads {
		if !f.have.SameContent(&r.PathInfo) {
			return f, nil
		}
		f.known = b.receiptOf(object)
		if f.known == nil && b.anySent(ctx, r.Path, object.Key) {
			f.known, _, err = b.look(ctx, object.Key, b.anyNAR())
		}
	} else {
		object.Key = r.nar
		if f.missing, err = b.missingReferences(ctx, r, since); err != nil || len(f.missing) > 0 && r.waiting {
			return f, err
		}
		f.known, f.proof, err = b.look(ctx, r.nar, &r.PathInfo)
		if named, _ := r.nar.FileHash(); err == nil && named != f.known.fileHash {
			// It is called by the hash of the NAR in it. Readers take that, and no
			// record of ours relies on it.
			f.known.release()
			f.known, err = nil, errDamaged
		}
		switch {
		case err == nil:
			f.nar = narSound
		case errors.Is(err, errDamaged):
			f.nar, err = narDamaged, nil
		case errors.Is(err, errNoNAR):
			f.nar, err = narAbsent, nil
		}
	}
	if err != nil || f.known == nil || len(f.missing) > 0 {
		return f, err
	}
	if f.leads {
		same, err := layout.SameBytes(ctx, b.writer.Tree, layout.ListingKey(r.Path), f.known.listing)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f.relist = !same
	}
	f.sent, err = b.checkSent(ctx, r.Path, f.known)
	return f, err
}

// leads reports whether a record in the tree is sound, and its NAR is there and not known
// to be damaged.
func (b *Inbox) leads(ctx context.Context, n *layout.NarInfo) (layout.Info, bool, error) {
	info, err := layout.FindNAR(ctx, b.writer.Tree, n)
	if errors.Is(err, fs.ErrNotExist) {
		return layout.Info{}, false, nil
	}
	if err != nil {
		return info, false, err
	}
	return info, (n.FileSize == 0 || info.Size == n.FileSize) && !b.spoiled(n, info) && !b.damaged.has(info), nil
}

// statJobs is how many references are looked for at once: each costs a round
// trip, where the tree is far away.
const statJobs = 16

// missingReferences returns those that are neither in the tree nor provided: some
// of them, if there are many, and of a record that is waiting one is enough. The error is
// an *unlooked if there is more to look for than a few names in the tree.
func (b *Inbox) missingReferences(ctx context.Context, r *record, since layout.Sight) ([]need, error) {
	l := &lookedFor{of: r, since: since}
	if have := preparedOf(ctx); have == nil {
		err := l.look(ctx, b, len(r.References))
		return l.missing, err
	} else if have.refs != nil && have.refs.since == since && have.refs.of.key == r.key && slices.Equal(have.refs.of.References, r.References) {
		return have.refs.missing, nil
	}
	if b.cfg.Provided == nil {
		if err := l.look(ctx, b, statJobs); err != nil {
			return nil, err
		}
	}
	if !l.enough() {
		return nil, &unlooked{l}
	}
	return l.missing, nil
}

// A lookedFor is what is known of the references of a record, as the tree is since a
// moment.
type lookedFor struct {
	of      *record
	since   layout.Sight
	n       int // so many of its references were looked for
	missing []need
}

func (l *lookedFor) enough() bool {
	return l.n == len(l.of.References) || len(l.missing) >= maxNeeds || l.of.waiting && len(l.missing) > 0
}

// look looks for more of the references, and for no more than it takes.
func (l *lookedFor) look(ctx context.Context, b *Inbox, more int) error {
	for end := min(l.n+more, len(l.of.References)); l.n < end && !l.enough(); {
		refs := l.of.References[l.n:min(l.n+statJobs, end)]
		needs := map[layout.Key]need{}
		for _, ref := range refs {
			if ref != l.of.Path {
				n := need{key: layout.NarInfoKey(ref), path: ref}
				needs[n.key] = n
			}
		}
		b.lookedUp(ctx, len(needs))
		there, err := b.askFor(ctx, needs)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if n, ok := needs[layout.NarInfoKey(ref)]; ok && !there[n.key] {
				l.missing = append(l.missing, n)
			}
		}
		l.n += len(refs)
	}
	return nil
}

// An unlooked is the error of work whose references have to be looked for: each may cost
// a round trip, and a question to an upstream.
type unlooked struct{ refs *lookedFor }

func (u *unlooked) Error() string {
	return fmt.Sprintf("%d references have not been looked for yet", len(u.refs.of.References)-u.refs.n)
}

func (u *unlooked) get(ctx context.Context, b *Inbox, have *prepared) error {
	have.refs = u.refs
	return u.refs.look(ctx, b, len(u.refs.of.References))
}
