package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// maxReading is how many NARs are read from the tree at the same time, of which a
// client may have half of what others leave. A few bytes can make a server read a
// large one: a narinfo with a content address that only the NAR can prove, or a
// listing that is not that of the NAR.
const maxReading = 4

// An unread is the error of work that needs to know what is in a NAR, and of a
// claim about it, before it can go on.
type unread struct {
	nar   layout.Key
	claim *layout.PathInfo
}

func (u *unread) Error() string { return fmt.Sprintf("%s has not been read yet", u.nar) }

type readKey struct{}

// reading does work that may need to know what is in NARs. Those are read in
// between, when their client has its turn, and the work begins anew: so no lock is
// held while a NAR is read, and no client waits for what another has read.
func (b *Inbox) reading(ctx context.Context, work func(context.Context) error) error {
	var read []*inspected
	defer func() {
		for _, found := range read {
			found.release()
		}
	}()
	for range 100 {
		err := work(context.WithValue(ctx, readKey{}, read))
		var next *unread
		if !errors.As(err, &next) {
			return err
		}
		found, err := b.readInTurn(ctx, next)
		switch {
		case err == nil:
			read = append(read, found)
		case !errors.Is(err, errNoNAR): // it is gone, or known to be damaged by now
			return err
		}
	}
	return fmt.Errorf("read a NAR: %w a hundred times in a row", layout.ErrChanged)
}

// readInTurn reads a NAR when its client has its turn.
func (b *Inbox) readInTurn(ctx context.Context, u *unread) (*inspected, error) {
	place, err := b.readers.Take(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	found, err := b.inspect(ctx, u.nar, u.claim)
	if err != nil || found.refused != nil {
		return found, err
	}
	// The process that put it may have died before it was sure to stay.
	if err := b.sync(ctx, u.nar); err != nil {
		found.release()
		return nil, err
	}
	if have := b.receiptOf(found.object); have != nil {
		have.release()
	} else {
		b.remember(ctx, &found.receipt)
	}
	return found, nil
}

// readFor returns what was read of an object for the work that is under way, and
// for a claim; nil if that was not read.
func readFor(ctx context.Context, object layout.Info, claim *layout.PathInfo) *inspected {
	read, _ := ctx.Value(readKey{}).([]*inspected)
	i := slices.IndexFunc(read, func(found *inspected) bool {
		return sameObject(found.object, object) && (claim.CA == "" || found.claim.SameContent(claim))
	})
	if i < 0 {
		return nil
	}
	return read[i]
}
