package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"

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
	log    *slog.Logger
	space  space
	locks  locks

	damaged damaged

	mu       sync.Mutex
	receipts *recent[*receipt]                  // by the keys of NARs
	notes    *recent[*note]                     // by the keys that they are sent to
	links    map[layout.Key]map[layout.Key]bool // by NAR, the keys of its early debug links

	held      map[string]*held // by the hash of the path
	heldBytes int64
	needed    map[layout.Key]map[string]bool // by key, who waits for it
	due       []string                       // who waits for nothing more
}

// Open returns the inbox of a tree that has a nix-cache-info for the Writer's
// store directory, or none yet. Narinfos that an earlier inbox held are held
// on, and appear at once if nothing is missing any more; those that have
// waited for more than a day are dropped.
func Open(ctx context.Context, c Config) (*Inbox, error) {
	have, err := layout.ReadCacheInfo(ctx, c.Writer.Tree)
	switch {
	case err == nil && have.StoreDir != c.Writer.StoreDir:
		return nil, fmt.Errorf("open inbox: the tree is for the store directory %s, not %s", have.StoreDir, c.Writer.StoreDir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	c.MaxNarSize = cmp.Or(c.MaxNarSize, 64<<30)
	c.MaxLog = cmp.Or(c.MaxLog, layout.KindLog.MaxBytes())
	c.Memory = cmp.Or(c.Memory, 64<<20)
	c.MaxHeld = cmp.Or(c.MaxHeld, 100_000)
	c.MaxHeldBytes = cmp.Or(c.MaxHeldBytes, 256<<20)
	writer := *c.Writer
	writer.MaxNarSize = c.MaxNarSize
	if writer.Memory = c.Decoding; writer.Memory == nil {
		writer.Memory = share.NewPool(layout.DecoderMemory, decodingPatience)
	}
	b := &Inbox{
		cfg: c, writer: &writer, spool: writer.Spool, known: knownKeys(c), log: c.Log,
		space: space{free: c.FreeSpace, floor: c.MinFree},
		links: map[layout.Key]map[layout.Key]bool{},
		held:  map[string]*held{}, needed: map[layout.Key]map[string]bool{},
	}
	b.receipts = newRecent(c.Memory/2, func(_ layout.Key, r *receipt) { r.release() })
	b.notes = newRecent(c.Memory/2, b.forgotNote)
	if b.spool == nil {
		b.spool = layout.SpoolFor(writer.Tree, "")
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	// Clients are told what is in the tree, and send none of it. A process that
	// was killed may have left names that the next power cut would take.
	err = layout.Flush(ctx, writer.Tree)
	if err == nil {
		err = b.Settle(ctx)
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	return b, nil
}

// Close forgets what is held in memory. Narinfos that are held stay in the
// tree for the next inbox. No Put may be running.
func (b *Inbox) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receipts.clear()
	b.notes.clear()
	return nil
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
		return b.space.check(max(o.Size, 0))
	}
	return nil
}

func (b *Inbox) check(key layout.Key, o Options) error {
	kind := key.Kind()
	if !kind.Public() {
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

// bulky reports whether objects of that kind fill disks. Records do not, and
// complete what is there.
func bulky(kind layout.Kind) bool { return kind == layout.KindNAR || kind == layout.KindLog }

// errEmpty says that an upload had no bytes.
var errEmpty = errors.New("no bytes")

// Put takes one object. The error is a *Refusal, or a *BodyError; every other
// error is trouble of ours, and the client may try again. In all three cases
// readers see what they saw before. Without an error what Outcome says is
// durable, but for what is held in memory.
//
// Where the body is refused before its end, the rest is left unread.
//
// An empty body that is not a log makes a placeholder, which some WebDAV
// clients create before they send the bytes: only Get, Stat and List show it.
func (b *Inbox) Put(ctx context.Context, key layout.Key, body io.Reader, o Options) (Outcome, error) {
	if err := b.check(key, o); err != nil {
		return 0, err
	}
	kind := key.Kind()
	u := &upload{ctx: ctx, r: body, kind: kind, size: o.Size, limit: b.limit(kind)}
	if bulky(kind) {
		room, err := b.space.reserve(o.Size)
		if err != nil {
			return 0, err
		}
		defer room.done()
		u.room = room
	}
	outcome, err := b.put(ctx, key, u, o)
	if errors.Is(err, errEmpty) {
		if o.Strict {
			return 0, refuse(Empty, "empty: %s has no bytes", key)
		}
		b.setNote(key, &note{why: placeholder, body: keepBytes(nil)})
		return Held, nil
	}
	return outcome, err
}

func (b *Inbox) put(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	switch u.kind {
	case layout.KindNAR:
		return b.putNAR(ctx, key, u)
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
