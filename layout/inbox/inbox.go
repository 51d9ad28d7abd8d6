package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
)

// An Inbox takes uploads for one tree. It is safe for concurrent use, and
// several of them, in several processes, may share a tree.
type Inbox struct {
	cfg    Config
	writer *layout.Writer // a copy, with our limit
	spool  layout.Spool
	known  signer.Trusted // the keys whose signatures are checked
	// trusted are those of them whose word is taken.
	trusted signer.Trusted
	log     *slog.Logger
	space   space
	locks   locks

	damaged damaged
	readers *share.Pool // of NARs in the tree
	stored  *share.Pool // memory for records in the tree
	lookups *share.Budget
	dear    bool // a lookup has a price

	mu       sync.Mutex
	receipts *recent[layout.Key, *receipt] // by the keys of NARs
	notes    *recent[sent, *note]
	links    map[sent]map[layout.Key]bool // by NAR, the keys of a client's early debug links

	held    map[layout.Key]*held   // by where they wait
	heldOf  map[layout.Key]heldSet // by where they are to appear
	heldBy  map[share.Client]heldSet
	needed  map[layout.Key]heldSet   // by key, what waits for it
	holding holding                  // how much waits
	holds   map[share.Client]holding // of that, what each client has
	queue   queue                    // what waits for nothing more
	pieces  *pieces
	now     func() time.Time

	work *sync.Cond // for those who publish in the background: busy, or ctx is over
	busy bool       // there is something for them to do
	// How many are at work, and for whom.
	atWork   int64
	worksFor map[share.Client]int64
	stop     func() // ends their ctx, and waits for them
}

// Open returns the inbox of a tree that has a nix-cache-info for the Writer's
// store directory, or none yet. Narinfos that an earlier inbox held are held on,
// and appear if nothing is missing any more: the first at once, the others in the
// background. Those that have waited for more than a day are dropped.
//
// For whom a Put, Get, Stat or List is done, its context says: see share.As.
func Open(ctx context.Context, c Config) (*Inbox, error) {
	have, err := layout.ReadCacheInfo(ctx, c.Writer.Tree)
	switch {
	case err == nil && have.StoreDir != c.Writer.StoreDir:
		return nil, fmt.Errorf("open inbox: the cache is for the store directory %s, not %s", have.StoreDir, c.Writer.StoreDir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	c.MaxNarSize = cmp.Or(c.MaxNarSize, 64<<30)
	c.MaxLog = cmp.Or(c.MaxLog, layout.KindLog.MaxBytes())
	c.Memory = cmp.Or(c.Memory, 64<<20)
	c.MaxFiles = cmp.Or(c.MaxFiles, 256)
	c.MaxHeld = cmp.Or(c.MaxHeld, 100_000)
	c.MaxHeldBytes = cmp.Or(c.MaxHeldBytes, 256<<20)
	c.MaxPieceBytes = cmp.Or(c.MaxPieceBytes, 128<<30)
	writer := *c.Writer
	writer.MaxNarSize = c.MaxNarSize
	if writer.Memory = c.Decoding; writer.Memory == nil {
		writer.Memory = share.NewPool(layout.DecoderMemory, decodingPatience)
	}
	if writer.Turns = c.Turns; writer.Turns == nil {
		writer.Turns = layout.NewTurns(decodingPatience)
	}
	b := &Inbox{
		cfg: c, writer: &writer, spool: writer.Spool, trusted: trustedKeys(c), log: c.Log,
		space: space{free: c.FreeSpace, floor: c.MinFree}, now: time.Now,
		links: map[sent]map[layout.Key]bool{}, held: map[layout.Key]*held{}, heldOf: map[layout.Key]heldSet{}, heldBy: map[share.Client]heldSet{},
		needed: map[layout.Key]heldSet{}, holds: map[share.Client]holding{}, worksFor: map[share.Client]int64{},
	}
	b.known = append(slices.Clip(b.trusted), c.Known...)
	b.readers = share.NewPool(maxReading, decodingPatience)
	b.stored = share.NewPool(storedMemory, decodingPatience)
	b.lookups = share.NewBudget(maxLookups, lookupStep)
	b.dear = !layout.TraitsOf(writer.Tree).Local
	b.work = sync.NewCond(&b.mu)
	b.receipts = newRecent(c.Memory/2, func(_ layout.Key, r *receipt) { r.release() })
	b.notes = newRecent(c.Memory/2, b.forgotNote)
	if b.spool == nil {
		b.spool = layout.SpoolFor(writer.Tree, "")
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.log = newLog(b.log)
	// Clients are told what is in the tree, and send none of it. A process that
	// was killed may have left names that the next power cut would take.
	err = layout.Flush(ctx, writer.Tree)
	if err == nil {
		err = b.meet(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	b.pieces = newPieces(context.WithoutCancel(ctx))
	b.start(context.WithoutCancel(ctx))
	b.finishAll(ctx)
	return b, nil
}

// start begins to publish in the background what is due.
func (b *Inbox) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { b.publishLater(ctx) })
	}
	b.stop = func() {
		b.mu.Lock()
		cancel()
		b.work.Broadcast()
		b.mu.Unlock()
		running.Wait()
	}
}

// Close ends what is done in the background, and forgets what is held in memory.
// Narinfos that are held stay in the tree for the next inbox. No Put may be
// running.
func (b *Inbox) Close() error {
	b.stop()
	b.pieces.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receipts.clear()
	b.notes.clear()
	return nil
}

// Waiting returns how many narinfos are held.
func (b *Inbox) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.held)
}

// limit returns how many bytes an object of a kind may have, 0 for any number.
func (b *Inbox) limit(kind layout.Kind) int64 {
	switch kind {
	case layout.KindNAR:
		return b.cfg.MaxFile
	case layout.KindLog:
		return b.cfg.MaxLog
	}
	return kind.MaxBytes()
}

// Check refuses what can be refused before the body is read. Put checks the
// same again: Check is for an answer before the body is sent.
func (b *Inbox) Check(ctx context.Context, key layout.Key, o Options) error {
	if err := b.check(key, o); err != nil {
		return err
	}
	if bulky(key.Kind()) {
		return b.space.check(share.From(as(ctx)), max(o.Size, 0))
	}
	return nil
}

func (b *Inbox) check(key layout.Key, o Options) error {
	kind := key.Kind()
	if !kind.Public() || kind == layout.KindPin {
		return foreign(key)
	}
	if kind == layout.KindNAR {
		if _, err := key.FileHash(); err != nil {
			return foreign(key)
		}
		if ext, ok := unreadable(key); ok {
			return unknownExtension(ext)
		}
	}
	if limit := b.limit(kind); limit > 0 && o.Size > limit {
		return tooLarge(kind, limit)
	}
	if o.Strict && o.Size == 0 && kind != layout.KindLog {
		return refuse(Empty, "empty: %s has no bytes", key)
	}
	return nil
}

// RoomForRecord refuses a record of so many bytes that is about to be kept for a client
// beside what Put takes, where the disk is too full for it.
func (b *Inbox) RoomForRecord(ctx context.Context, size int64) error {
	return b.space.checkRecords(share.From(as(ctx)), 1, size)
}

// bulky reports whether objects of that kind fill disks. Narinfos and the like
// complete what is there.
func bulky(kind layout.Kind) bool {
	return kind == layout.KindNAR || kind == layout.KindLog || kind == layout.KindListing
}

// errEmpty says that an upload had no bytes.
var errEmpty = errors.New("no bytes")

// Put takes one object. The error is a *Refusal, or a *BodyError; every other
// error is trouble of ours, and the client may try again. In all three cases
// readers see what they saw before. Without an error what Outcome says is
// durable, but for what is held in memory.
//
// If the body is refused before its end, the rest is left unread.
//
// An empty body that is not a log makes a placeholder, which some WebDAV
// clients create before they send the bytes: only Get, Stat and List show it.
func (b *Inbox) Put(ctx context.Context, key layout.Key, body io.Reader, o Options) (Outcome, error) {
	if err := b.check(key, o); err != nil {
		return 0, err
	}
	ctx = as(ctx)
	kind := key.Kind()
	u := &upload{ctx: ctx, r: body, kind: kind, size: o.Size, limit: b.limit(kind)}
	if bulky(kind) {
		room, err := b.space.reserve(share.From(ctx), o.Size)
		if err != nil {
			return 0, err
		}
		defer room.done()
		u.room = room
	} else if err := b.space.checkRecords(share.From(ctx), 1, max(o.Size, 0)); err != nil {
		return 0, err
	}
	outcome, err := b.put(ctx, key, u, o)
	if errors.Is(err, errEmpty) {
		if o.Strict {
			return 0, refuse(Empty, "empty: %s has no bytes", key)
		}
		b.setNote(ctx, key, &note{why: placeholder, body: keepBytes(nil)})
		return Held, nil
	}
	return outcome, err
}

func (b *Inbox) put(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	switch u.kind {
	case layout.KindNAR:
		return b.putNAR(ctx, key, u, o)
	case layout.KindNarInfo:
		return b.putNarInfo(ctx, key, u, o)
	case layout.KindListing:
		return b.putListing(ctx, key, u, o)
	case layout.KindDebugInfo:
		return b.putDebugInfo(ctx, key, u, o)
	case layout.KindLog:
		return b.putLog(ctx, key, u)
	case layout.KindRealisation:
		return b.putRealisation(ctx, key, u, o)
	case layout.KindCacheInfo:
		return b.putCacheInfo(ctx, key, u, o)
	case layout.KindPage:
		return b.putPage(ctx, key, u)
	}
	return 0, foreign(key)
}
