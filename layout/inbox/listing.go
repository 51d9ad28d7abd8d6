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

// putListing takes a listing. It is compared with that of the NAR, which is
// published with the narinfo. Before the NAR is known no more is read of it than
// how it begins.
func (b *Inbox) putListing(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	sent, err := b.keep(u)
	if err != nil {
		return 0, err
	}
	defer sent.release()
	if sent.Size() == 0 {
		return 0, errEmpty
	}
	var first [1]byte
	if _, err := sent.ReadAt(first[:], 0); err != nil && err != io.EOF {
		return 0, fmt.Errorf("read listing: %w", err)
	}
	if first[0] != '{' {
		return 0, refuse(BadListing, "bad listing: %s is not JSON", key)
	}
	var outcome Outcome
	err = b.reading(ctx, func(ctx context.Context) (err error) {
		outcome, err = b.placeListing(ctx, key, sent, o)
		return err
	})
	return outcome, err
}

// placeListing settles a listing with that of the path, or keeps it for later.
func (b *Inbox) placeListing(ctx context.Context, key layout.Key, sent *kept, o Options) (Outcome, error) {
	record := layout.NarInfoKeyOf(key.PathHash())
	unlock, err := b.locks.lock(ctx, record)
	if err != nil {
		return 0, err
	}
	defer unlock()
	have, room, err := b.recordAt(ctx, record)
	if err != nil {
		return 0, err
	}
	defer room.Release()
	if have != nil {
		var outcome Outcome
		err := b.relying(ctx, func() (err error) {
			outcome, err = b.fitListing(ctx, key, have, sent)
			return err
		}, record, key)
		if err == nil {
			b.published(ctx, key, sent, -1, !o.Strict)
		}
		if !errors.Is(err, errNoNAR) {
			return outcome, storage(err)
		}
		// Its NAR is gone: the listing waits for the one that mends it.
	}
	sent.retain()
	b.setNote(ctx, key, &note{why: early, body: sent})
	return Held, nil
}

// fitListing sees to the listing of a path that is there, if the one that was
// sent says what is true. The error is errNoNAR if the path's NAR is gone.
func (b *Inbox) fitListing(ctx context.Context, key layout.Key, have *layout.NarInfo, sent *kept) (Outcome, error) {
	body, info, err := b.writer.Tree.Get(ctx, key)
	outcome := Replaced
	switch {
	case err == nil:
		err = compareListing(have.Path, sent, body, info.Size, have.FileHash)
		body.Close()
		if err == nil {
			return Unchanged, b.sync(ctx, key)
		}
		if reason := reasonOf(err); reason == "" || reason == BadListing {
			return 0, err
		}
	case errors.Is(err, fs.ErrNotExist):
		outcome = Created
	default:
		return 0, err
	}
	nar, err := layout.FindNAR(ctx, b.writer.Tree, have)
	if err != nil {
		return 0, noNAR(err)
	}
	known, _, err := b.look(ctx, nar.Key, b.anyNAR())
	if err != nil {
		return 0, err
	}
	defer known.release()
	if err := known.checkListing(have.Path, sent); err != nil {
		return 0, err
	}
	return outcome, b.writer.Tree.Put(ctx, key, copied(known.listing), layout.PutOptions{})
}

// checkListing refuses a listing that does not say what is in the NAR.
func (r *receipt) checkListing(p layout.StorePath, sent *kept) error {
	return compareListing(p, sent, io.NewSectionReader(r.listing, 0, r.listing.Size()), r.listing.Size(), r.fileHash)
}

// looser is how many times as long as ours a listing of the same NAR may be. The
// forms that a Nix has ever written differ by less than two.
const looser = 8

// compareListing refuses a listing that does not say what ours says, which has
// that size and is about that file.
func compareListing(p layout.StorePath, sent *kept, ours io.Reader, size int64, file layout.Hash) error {
	same, err := false, error(nil)
	if size < 0 || sent.Size() <= looser*size {
		same, err = nar.SameListing(io.NewSectionReader(sent, 0, sent.Size()), ours, file.String())
	}
	switch bad := (*nar.BadListing)(nil); {
	case errors.As(err, &bad):
		return refuse(BadListing, "bad listing: %v", err).because(err)
	case err != nil:
		return fmt.Errorf("read listing: %w", err)
	case !same:
		return refuse(ListingDiffers, "listing differs: the one of %.100s does not say what is in its NAR; copy the path again", p)
	}
	return nil
}
