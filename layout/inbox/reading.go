package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// maxReading is how many NARs are read from the tree at the same time, of which a
// client may have half of what others leave. A few bytes can make a server read a
// large one: a narinfo with a content address that only the NAR can prove, or a
// listing that is not that of the NAR.
const maxReading = 4

// A pending is the error of work that holds locks, and needs something first that may take
// its time: a NAR to be read, room in memory, many references to be looked up. It gets
// that when the locks are free.
type pending interface {
	error
	get(ctx context.Context, b *Inbox, have *prepared) error
}

// prepared is what was got for work that begins anew.
type prepared struct {
	read  []*inspected
	rooms map[*share.Pool]*share.Part // until the work takes them
	refs  *lookedFor
}

func (p *prepared) release() {
	for _, found := range p.read {
		found.release()
	}
	p.giveBack()
}

// giveBack gives back the room that the work did not take.
func (p *prepared) giveBack() {
	for pool, room := range p.rooms {
		room.Release()
		delete(p.rooms, pool)
	}
}

type preparedKey struct{}

func preparedOf(ctx context.Context) *prepared {
	have, _ := ctx.Value(preparedKey{}).(*prepared)
	return have
}

// reading does work that may have to wait. It waits in between, when its client has its
// turn, and the work begins anew: so no lock is held meanwhile, and no client waits for
// what another has read, or for room that another has used up.
func (b *Inbox) reading(ctx context.Context, work func(context.Context) error) error {
	have := &prepared{rooms: map[*share.Pool]*share.Part{}}
	defer have.release()
	ctx = context.WithValue(ctx, preparedKey{}, have)
	for range 100 {
		err := work(ctx)
		var next pending
		if !errors.As(err, &next) {
			return err
		}
		have.giveBack() // no request waits for itself
		if err := next.get(ctx, b, have); err != nil {
			return err
		}
	}
	return fmt.Errorf("read a NAR: %w a hundred times in a row", layout.ErrChanged)
}

// An unread is the error of work that needs to know what is in a NAR, and of a
// claim about it, before it can go on.
type unread struct {
	nar   layout.Key
	claim *layout.PathInfo
}

func (u *unread) Error() string { return fmt.Sprintf("%s has not been read yet", u.nar) }

func (u *unread) get(ctx context.Context, b *Inbox, have *prepared) error {
	found, err := b.readInTurn(ctx, u)
	switch {
	case err == nil:
		have.read = append(have.read, found)
	case !errors.Is(err, errNoNAR): // it is gone, or known to be damaged by now
		return err
	}
	return nil
}

// An unroomed is the error of work that needs more of a pool than is free.
type unroomed struct {
	pool *share.Pool
	size int64
}

func (u *unroomed) Error() string { return fmt.Sprintf("room for %d bytes is not free", u.size) }

func (u *unroomed) get(ctx context.Context, _ *Inbox, have *prepared) error {
	room, err := u.pool.Take(ctx, u.size)
	if err == nil {
		have.rooms[u.pool] = room
	}
	return err
}

// roomIn returns a part of a pool for work that holds locks.
func roomIn(ctx context.Context, pool *share.Pool, size int64) (*share.Part, error) {
	have := preparedOf(ctx)
	if have == nil {
		return pool.Take(ctx, size)
	}
	if room := have.rooms[pool]; room != nil {
		delete(have.rooms, pool)
		if room.Size() >= size {
			return room, nil
		}
		room.Release()
	}
	room, err := pool.Try(ctx, size)
	if errors.Is(err, share.ErrBusy) {
		err = &unroomed{pool, size}
	}
	return room, err
}

// readInTurn reads a NAR when its client has its turn.
func (b *Inbox) readInTurn(ctx context.Context, u *unread) (*inspected, error) {
	if err := b.afford(ctx, 0); err != nil {
		return nil, err
	}
	place, err := b.readers.Take(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	found, err := b.inspect(ctx, u.nar, u.claim)
	if err == nil {
		b.lookedUp(ctx, int(1+found.object.Size/readBytes))
	}
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
	have := preparedOf(ctx)
	if have == nil {
		return nil
	}
	read := have.read
	i := slices.IndexFunc(read, func(found *inspected) bool {
		return sameObject(found.object, object) && (claim.CA == "" || found.claim.SameContent(claim))
	})
	if i < 0 {
		return nil
	}
	return read[i]
}
