package inbox

import (
	"context"
	"fmt"
	"io"
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
	// joinedFor is how long the outcome is remembered for a client that asks again, and
	// maxJoined bounds how many are. A client that asks for one that was forgotten is told
	// what is missing, or that the NAR is there.
	joinedFor = 10 * time.Minute
	maxJoined = 1000
	// maxMissing is how many pieces a client is told of at once that it is to send: a few
	// bytes ask, and the answer waits in memory for as long as its client takes it. All that
	// a NAR has are told in five answers; our client asks nine times.
	maxMissing = 2000
	// piecesSeen is how long a listing of the pieces is believed.
	piecesSeen = time.Minute
)

// A Joined says how far a NAR is that is sent in pieces.
type Joined struct {
	// Missing are the first bytes of the pieces that are to be sent, or of the first of
	// them, where they are very many. If there are some, the rest means nothing.
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
	joins  map[string]*join // those under way, by prefix of the pieces
	joined *share.Shelf[*join]
	work   sync.WaitGroup
	ctx    context.Context // of what is done in the background
	cancel context.CancelFunc
}

func newPieces(ctx context.Context) *pieces {
	p := &pieces{places: share.NewPool(joinsAtOnce, 0), known: map[layout.Key]layout.Info{},
		holds: map[share.Client]int64{}, joins: map[string]*join{}, joined: share.NewShelf[*join](maxJoined, joinedFor)}
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
	return fmt.Sprintf("%s%s~%d~%s~", layout.PiecesPrefix, strings.TrimPrefix(string(nar), layout.NARFolder), total, share.From(ctx))
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

// pieceCost is what each piece counts as, in bytes. The last one of a NAR may be small,
// but its name is listed as often as any other.
const pieceCost = PieceSize

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
	return b.pieceFits(as(ctx), pieceKey(piecesPrefix(as(ctx), nar, total), offset))
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
	if err := b.pieceFits(ctx, key); err != nil {
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
	p.holds[pieceClient(info.Key)] += pieceCost
	p.all += pieceCost
}

// forget counts a piece no more. The mutex is held.
func (p *pieces) forget(key layout.Key) {
	if _, ok := p.known[key]; !ok {
		return
	}
	delete(p.known, key)
	p.all -= pieceCost
	client := pieceClient(key)
	if p.holds[client] -= pieceCost; p.holds[client] <= 0 {
		delete(p.holds, client)
	}
}

// pieceFits refuses a piece that would make a client's pieces too many. A client may
// have as many bytes wait as it leaves free for others.
func (b *Inbox) pieceFits(ctx context.Context, key layout.Key) error {
	if err := b.seePieces(ctx); err != nil {
		return err
	}
	p, client := b.pieces, share.From(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, again := p.known[key]
	if !again && !share.Fair(b.cfg.MaxPieceBytes, p.all, p.holds[client], pieceCost) {
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
