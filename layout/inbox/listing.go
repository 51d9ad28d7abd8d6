package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// largeListing is the size from which listings are parsed one at a time: each
// takes a multiple of that in memory.
const largeListing = 4 << 20

// putListing takes a listing. It is published with its narinfo, or compared
// with what is there if that has come already.
func (b *Inbox) putListing(ctx context.Context, key layout.Key, u *upload) (Outcome, error) {
	body, err := b.keep(u)
	if err != nil {
		return 0, err
	}
	defer body.release()
	if body.Size() == 0 {
		return 0, errEmpty
	}
	if _, err := b.parseListing(body); err != nil {
		return 0, err
	}
	record := layout.NarInfoKeyOf(key.PathHash())
	unlock, err := b.locks.lock(ctx, record)
	if err != nil {
		return 0, err
	}
	defer unlock()
	have, err := b.recordAt(ctx, record)
	if err != nil {
		return 0, err
	}
	if have != nil {
		outcome, err := b.fitListing(ctx, have, body)
		if err == nil {
			b.dropNote(key)
		}
		if !errors.Is(err, errNoNAR) {
			return outcome, err
		}
		// Its NAR is gone: the listing waits for the one that mends it.
	}
	body.retain()
	b.setNote(key, &note{why: early, body: body})
	return Held, nil
}

// fitListing publishes a listing of a path that is there, if it says what is
// true. The error is errNoNAR if the path's NAR is gone.
func (b *Inbox) fitListing(ctx context.Context, have *layout.NarInfo, sent *kept) (Outcome, error) {
	key := layout.ListingKey(have.Path)
	outcome := Replaced
	there, err := b.listingAt(ctx, key)
	switch {
	case err == nil:
		defer there.release()
		if equalBytes(there, sent) {
			return Unchanged, b.sync(ctx, key)
		}
	case errors.Is(err, fs.ErrNotExist):
		outcome = Created
	default:
		return 0, err
	}
	same := false
	if there != nil {
		// One that cannot be parsed is as good as none.
		same, err = b.sameListing(there, sent)
		if err != nil && ReasonOf(err) == "" {
			return 0, err
		}
	}
	if !same {
		nar, err := have.NARKey()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errNoNAR, err)
		}
		known, _, err := b.facts(ctx, nar, b.anyNAR())
		if err != nil {
			return 0, err
		}
		defer known.release()
		if same, err = b.sameListing(known.listing, sent); err != nil {
			return 0, err
		}
	}
	if !same {
		return 0, listingDiffers(have.Path)
	}
	if err := b.writer.Tree.Put(ctx, key, copied(sent.Body), layout.PutOptions{}); err != nil {
		return 0, storage(err)
	}
	return outcome, nil
}

func listingDiffers(p layout.StorePath) *Refusal {
	return refuse(ListingDiffers, "listing differs: the one of %.100s does not say what is in its NAR; copy the path again", p)
}

// lent is a body for a while.
type lent struct {
	layout.Body
	release func()
}

// listingFor returns the listing to publish with a record: the client's own, so
// that its size is the one that it was sent with, or else ours. One that is not
// true is refused, and forgotten.
func (b *Inbox) listingFor(r *record, known *receipt) (lent, error) {
	ours := lent{known.listing, func() {}}
	key := layout.ListingKey(r.Path)
	sent := b.noteOn(key)
	if sent == nil {
		return ours, nil
	}
	if sent.why != early {
		sent.body.release()
		return ours, nil
	}
	same, err := b.sameListing(known.listing, sent.body)
	if err != nil || !same {
		sent.body.release()
		if err != nil {
			return ours, err
		}
		b.dropNote(key)
		return ours, listingDiffers(r.Path)
	}
	return lent{sent.body.Body, sent.body.release}, nil
}

// listingAt returns the listing in the tree, read to its end: of one that is
// too large, what is enough to see that.
func (b *Inbox) listingAt(ctx context.Context, key layout.Key) (*kept, error) {
	body, _, err := b.writer.Tree.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	u := &upload{ctx: ctx, r: io.LimitReader(body, layout.KindListing.MaxBytes()+1), size: -1}
	k, err := b.keep(u)
	if broken := (*BodyError)(nil); errors.As(err, &broken) {
		err = fmt.Errorf("read %s: %w", key, broken.Err)
	}
	return k, err
}

// sameListing reports whether two listings say the same. An error that is a
// Refusal says that one of them makes no sense.
func (b *Inbox) sameListing(x, y layout.Body) (bool, error) {
	if equalBytes(x, y) {
		return true, nil // they were written by the same code
	}
	if x.Size() > largeListing || y.Size() > largeListing {
		b.large.Lock()
		defer b.large.Unlock()
	}
	p, err := parse(x)
	if err != nil {
		return false, err
	}
	q, err := parse(y)
	if err != nil {
		return false, err
	}
	return nar.EqualListing(p, q), nil
}

func (b *Inbox) parseListing(body layout.Body) (*nar.Node, error) {
	if body.Size() > largeListing {
		b.large.Lock()
		defer b.large.Unlock()
	}
	return parse(body)
}

// parse returns a Refusal if the bytes make no sense, and another error if they
// cannot be read.
func parse(body layout.Body) (*nar.Node, error) {
	source := &faithful{r: io.NewSectionReader(body, 0, body.Size())}
	node, err := nar.ParseListing(source, layout.KindListing.MaxBytes())
	if source.err != nil {
		return nil, fmt.Errorf("read listing: %w", source.err)
	}
	if err != nil {
		return nil, refuse(BadListing, "bad listing: %v", err).because(err)
	}
	return node, nil
}

// faithful remembers the error of a reader, to tell it from what a parser makes
// of the bytes.
type faithful struct {
	r   io.Reader
	err error
}

func (f *faithful) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// equalBytes reports whether two bodies are the same; one that cannot be read is
// not, and whoever parses it next learns why.
func equalBytes(x, y layout.Body) bool {
	same, err := layout.EqualBytes(io.NewSectionReader(x, 0, x.Size()), io.NewSectionReader(y, 0, y.Size()))
	return same && err == nil
}
