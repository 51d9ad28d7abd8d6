package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A client may send a NAR in pieces, each with a request of its own: what has
// arrived is not lost with a connection, and a proxy that limits the size of a
// body lets it pass. The pieces wait in the tree, so that a restart keeps them and
// several servers of one tree may get them. When all are there, the NAR is put
// together and goes through the checks of every other upload.

// PieceSize is how many bytes each piece of a NAR has, but the last.
const PieceSize = 32 << 20

// maxPieces bounds the pieces of one NAR.
const maxPieces = 10_000

const (
	// joinsAtOnce is how many NARs are put together at the same time.
	joinsAtOnce = 4
	// joinedFor is how long the outcome is remembered for a client that asks again.
	joinedFor = 10 * time.Minute
	// piecesSeen is how long a listing of the pieces is believed.
	piecesSeen = time.Minute
)

// A Joined says how far a NAR is that is sent in pieces.
type Joined struct {
	// Missing are the first bytes of the pieces that are to be sent. If there are
	// some, the rest means nothing.
	Missing []int64
	// Checking says that the NAR is put together and checked at this moment.
	Checking bool
	Outcome  Outcome // of the whole, otherwise
}

// pieces are the parts of NARs that wait.
type pieces struct {
	places *share.Pool // for those that are put together

	mu     sync.Mutex
	seen   time.Time // when they were listed
	known  map[layout.Key]layout.Info
	holds  map[share.Client]int64 // bytes of each client
	all    int64
	joins  map[string]*join // by prefix of the pieces
	work   sync.WaitGroup
	ctx    context.Context // of what is done in the background
	cancel context.CancelFunc
}

// A join is a NAR that is put together. Its outcome is there when done is closed.
type join struct {
	done    chan struct{}
	ended   time.Time
	outcome Outcome
	err     error
}

func newPieces(ctx context.Context) *pieces {
	p := &pieces{places: share.NewPool(joinsAtOnce, 0), known: map[layout.Key]layout.Info{},
		holds: map[share.Client]int64{}, joins: map[string]*join{}}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// stop ends what is done in the background, and waits for it.
func (p *pieces) stop() {
	p.cancel()
	p.work.Wait()
}

// piecesPrefix begins the keys of a client's pieces of a NAR.
func piecesPrefix(ctx context.Context, nar layout.Key, total int64) string {
	return fmt.Sprintf("%s%s~%d~%s~", layout.PiecesPrefix, strings.TrimPrefix(string(nar), "nar/"), total, share.From(ctx))
}

func pieceKey(prefix string, offset int64) layout.Key {
	return layout.Key(prefix + strconv.FormatInt(offset, 10))
}

// pieceClient returns whose piece is at a key.
func pieceClient(key layout.Key) share.Client {
	parts := strings.Split(string(key), "~")
	if len(parts) != 4 {
		return ""
	}
	return share.Client(parts[2])
}

// pieceCost is what a piece counts as, in bytes: small ones cost a file or an object.
func pieceCost(size int64) int64 { return max(size, 1<<20) }

func pieceLength(offset, total int64) int64 { return min(PieceSize, total-offset) }

// checkPieced refuses a NAR that cannot be sent in pieces.
func (b *Inbox) checkPieced(nar layout.Key, total int64) error {
	if nar.Kind() != layout.KindNAR {
		return refuse(ForeignKey, "only a NAR is sent in pieces, not %s", nar)
	}
	if total <= 0 || total > maxPieces*PieceSize {
		return refuse(TooLarge, "too large: a NAR is sent in at most %d pieces of %d bytes", maxPieces, PieceSize)
	}
	return b.check(nar, Options{Size: total})
}

// CheckPiece refuses a piece that can be refused before its body is read.
func (b *Inbox) CheckPiece(ctx context.Context, nar layout.Key, offset, size, total int64) error {
	if err := b.checkPieced(nar, total); err != nil {
		return err
	}
	if offset < 0 || offset >= total || offset%PieceSize != 0 || size != pieceLength(offset, total) {
		return refuse(BadPiece, "bad piece: they begin at multiples of %d bytes, and have as many bytes, but for the last", PieceSize)
	}
	if err := b.space.check(share.From(as(ctx)), size); err != nil {
		return err
	}
	return b.pieceFits(as(ctx), pieceKey(piecesPrefix(as(ctx), nar, total), offset), size)
}

// PutPiece keeps the bytes of a NAR from offset on. The errors are those of Put.
func (b *Inbox) PutPiece(ctx context.Context, nar layout.Key, offset, size, total int64, body io.Reader) error {
	if err := b.CheckPiece(ctx, nar, offset, size, total); err != nil {
		return err
	}
	ctx = as(ctx)
	key := pieceKey(piecesPrefix(ctx, nar, total), offset)
	room, err := b.space.reserve(share.From(ctx), size)
	if err != nil {
		return err
	}
	defer room.done()
	u := &upload{ctx: ctx, r: body, kind: layout.KindNAR, size: size, limit: size, room: room}
	file, err := b.spool.Create()
	if err != nil {
		return storage(err)
	}
	defer file.Discard() // after a Put it does nothing
	if _, err := io.Copy(file, u); err != nil {
		if failed := u.failed(); failed != nil {
			return failed
		}
		return storage(err)
	}
	if err := file.Done(); err != nil {
		return storage(err)
	}
	// Others may have come meanwhile.
	if err := b.pieceFits(ctx, key, size); err != nil {
		return err
	}
	if err := b.writer.Tree.Put(ctx, key, file, layout.PutOptions{}); err != nil {
		return storage(err)
	}
	p := b.pieces
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(key)
	p.note(layout.Info{Key: key, Size: size, ModTime: b.now()})
	return nil
}

// note counts a piece. The mutex is held.
func (p *pieces) note(info layout.Info) {
	p.known[info.Key] = info
	p.holds[pieceClient(info.Key)] += pieceCost(info.Size)
	p.all += pieceCost(info.Size)
}

// forget counts a piece no more. The mutex is held.
func (p *pieces) forget(key layout.Key) {
	info, ok := p.known[key]
	if !ok {
		return
	}
	delete(p.known, key)
	p.all -= pieceCost(info.Size)
	client := pieceClient(key)
	if p.holds[client] -= pieceCost(info.Size); p.holds[client] <= 0 {
		delete(p.holds, client)
	}
}

// pieceFits refuses a piece that would make a client's pieces too many. A client may
// have as many bytes wait as it leaves free for others.
func (b *Inbox) pieceFits(ctx context.Context, key layout.Key, size int64) error {
	if err := b.seePieces(ctx); err != nil {
		return err
	}
	p, client := b.pieces, share.From(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	more := pieceCost(size)
	if old, ok := p.known[key]; ok {
		more -= pieceCost(old.Size)
	}
	if more > 0 && !share.Fair(b.cfg.MaxPieceBytes, p.all, p.holds[client], more) {
		return refuse(TooManyHeld, "too many pieces of NARs wait here: send the rest of those first, or wait a day")
	}
	return nil
}

// seePieces lists the pieces that wait, at most once a minute, and drops those that
// have waited for too long.
func (b *Inbox) seePieces(ctx context.Context) error {
	p := b.pieces
	p.mu.Lock()
	fresh := !p.seen.IsZero() && b.now().Sub(p.seen) < piecesSeen
	if !fresh {
		p.seen = b.now() // others need not list as well
	}
	p.mu.Unlock()
	if fresh {
		return nil
	}
	found, err := b.listPieces(ctx, layout.PiecesPrefix)
	if err != nil {
		p.mu.Lock()
		p.seen = time.Time{}
		p.mu.Unlock()
		return err
	}
	var old []layout.Key
	p.mu.Lock()
	for key := range p.known {
		p.forget(key)
	}
	for _, info := range found {
		if b.now().Sub(info.ModTime) > heldFor {
			old = append(old, info.Key)
		} else {
			p.note(info)
		}
	}
	p.mu.Unlock()
	return b.dropPieces(ctx, old)
}

func (b *Inbox) listPieces(ctx context.Context, prefix string) (found []layout.Info, err error) {
	for info, err := range b.writer.Tree.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		found = append(found, info)
	}
	return found, nil
}

// dropPieces removes pieces that are not needed any more.
func (b *Inbox) dropPieces(ctx context.Context, keys []layout.Key) error {
	if len(keys) == 0 {
		return nil
	}
	err := layout.DeleteBatch(ctx, b.writer.Tree, keys)
	b.pieces.mu.Lock()
	defer b.pieces.mu.Unlock()
	for _, key := range keys {
		b.pieces.forget(key)
	}
	return err
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
	if j := b.joining(prefix); j != nil {
		return b.awaitJoin(ctx, prefix, j, patience)
	}
	var missing []int64
	for offset := int64(0); offset < total; offset += PieceSize {
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
func (b *Inbox) joining(prefix string) *join {
	p := b.pieces
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, j := range p.joins {
		if !j.ended.IsZero() && b.now().Sub(j.ended) > joinedFor {
			delete(p.joins, at)
		}
	}
	return p.joins[prefix]
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
		j.ended = b.now()
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
	p := b.pieces
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.joins[prefix] == j {
		delete(p.joins, prefix)
	}
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
	outcome, err := b.putNAR(ctx, nar, u)
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
