package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A join is a NAR that is put together. Its outcome is there when done is closed.
type join struct {
	done    chan struct{}
	outcome Outcome
	err     error
}

// Join tells what is missing of a NAR that is sent in pieces. If nothing is, it puts
// the NAR together, and waits for the outcome for no longer than patience. The errors
// are those of Put.
func (b *Inbox) Join(ctx context.Context, nar layout.Key, total int64, patience time.Duration) (Joined, error) {
	if err := b.checkPieced(nar, total); err != nil {
		return Joined{}, err
	}
	ctx = as(ctx)
	prefix := piecesPrefix(ctx, nar, total)
	have, err := b.listPieces(ctx, prefix)
	if err != nil {
		return Joined{}, err
	}
	keys := make([]layout.Key, len(have))
	sizes := make(map[layout.Key]int64, len(have))
	for i, info := range have {
		keys[i], sizes[info.Key] = info.Key, info.Size
	}
	if info, err := b.ForNix().Stat(ctx, nar); err == nil && info.Size == total {
		return Joined{Outcome: Unchanged}, b.dropPieces(ctx, keys)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Joined{}, err
	}
	if j := b.joining(ctx, prefix); j != nil {
		return b.awaitJoin(ctx, prefix, j, patience)
	}
	var missing []int64
	for offset := int64(0); offset < total && len(missing) < maxMissing; offset += PieceSize {
		if sizes[pieceKey(prefix, offset)] != pieceLength(offset, total) {
			missing = append(missing, offset)
		}
	}
	if len(missing) > 0 {
		return Joined{Missing: missing}, nil
	}
	j, err := b.beginJoin(ctx, nar, prefix, total)
	if err != nil {
		return Joined{}, err
	}
	if j == nil {
		return Joined{Checking: true}, nil // its turn comes later
	}
	return b.awaitJoin(ctx, prefix, j, patience)
}

// joining returns the join that is under way or has ended a moment ago, nil for none.
func (b *Inbox) joining(ctx context.Context, prefix string) *join {
	p := b.pieces
	p.mu.Lock()
	defer p.mu.Unlock()
	if j := p.joins[prefix]; j != nil {
		return j
	}
	j, _, _ := p.joined.Get(share.From(ctx), prefix)
	return j
}

// beginJoin puts a NAR together in the background: the request of its client may end
// before that. It returns nil if too many are put together already.
func (b *Inbox) beginJoin(ctx context.Context, nar layout.Key, prefix string, total int64) (*join, error) {
	p := b.pieces
	place, err := p.places.Take(ctx, 1)
	if errors.Is(err, share.ErrBusy) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if j := p.joins[prefix]; j != nil { // another request was faster
		place.Release()
		return j, nil
	}
	if p.ctx.Err() != nil {
		place.Release()
		return nil, p.ctx.Err()
	}
	j := &join{done: make(chan struct{})}
	p.joins[prefix] = j
	ctx = share.As(p.ctx, share.From(ctx))
	p.work.Go(func() {
		defer place.Release()
		j.outcome, j.err = b.join(ctx, nar, prefix, total)
		p.mu.Lock()
		delete(p.joins, prefix)
		p.joined.Put(share.From(ctx), prefix, j)
		p.mu.Unlock()
		close(j.done)
	})
	return j, nil
}

// awaitJoin waits for the outcome, and forgets it once it was told.
func (b *Inbox) awaitJoin(ctx context.Context, prefix string, j *join, patience time.Duration) (Joined, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-j.done:
	case <-late.C:
		return Joined{Checking: true}, nil
	case <-ctx.Done():
		return Joined{}, context.Cause(ctx)
	}
	b.pieces.joined.Remove(share.From(ctx), prefix)
	return Joined{Outcome: j.outcome}, j.err
}

// join puts a NAR together.
//
// Dying on the way leaves the pieces, and perhaps the NAR; the next Join ends it.
func (b *Inbox) join(ctx context.Context, nar layout.Key, prefix string, total int64) (Outcome, error) {
	r := &pieceReader{ctx: ctx, tree: b.writer.Tree, prefix: prefix, total: total}
	defer r.close()
	room, err := b.space.reserve(share.From(ctx), total)
	if err != nil {
		return 0, err
	}
	defer room.done()
	u := &upload{ctx: ctx, r: r, kind: layout.KindNAR, size: total, limit: b.limit(layout.KindNAR), room: room}
	outcome, err := b.putNAR(ctx, nar, u, Options{})
	if r.err != nil {
		return 0, storage(r.err) // not the client's fault
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Reason != NoSpace:
	case err != nil:
		return 0, err
	}
	// The NAR is there, or the pieces are those of none.
	var keys []layout.Key
	for offset := int64(0); offset < total; offset += PieceSize {
		keys = append(keys, pieceKey(prefix, offset))
	}
	if dropped := b.dropPieces(ctx, keys); dropped != nil {
		b.log.WarnContext(ctx, "the pieces of a NAR cannot be removed", "key", nar, "error", dropped)
	}
	return outcome, err
}

// A pieceReader reads the pieces of a NAR one after the other.
type pieceReader struct {
	ctx    context.Context
	tree   layout.Reader
	prefix string
	total  int64
	offset int64
	piece  io.ReadCloser
	left   int64 // of the piece
	err    error // of the tree
}

func (r *pieceReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.piece == nil {
		if r.offset == r.total {
			return 0, io.EOF
		}
		var info layout.Info
		r.piece, info, r.err = r.tree.Get(r.ctx, pieceKey(r.prefix, r.offset))
		if r.left = pieceLength(r.offset, r.total); r.err == nil && info.Size != r.left {
			r.err = fmt.Errorf("read %s: %w", info.Key, layout.ErrChanged)
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n, err := r.piece.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.offset += int64(n)
	switch {
	case r.left == 0:
		r.close()
	case err == io.EOF:
		r.err = io.ErrUnexpectedEOF
	case err != nil:
		r.err = err
	}
	if r.err != nil {
		return 0, r.err
	}
	return n, nil
}

func (r *pieceReader) close() {
	if r.piece != nil {
		r.piece.Close()
		r.piece = nil
	}
}
