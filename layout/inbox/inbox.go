package inbox

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// Config says where uploads go and what is taken. All but Writer may be zero.
type Config struct {
	// Writer holds the tree, its store directory, and the keys whose signatures
	// every path and realisation gains. Its compression is not used: NARs stay as
	// they come.
	Writer *layout.Writer

	// Trusted are the keys whose word is taken.
	Trusted signer.Trusted
	// RequireSignature refuses a path that no trusted key has signed, unless its
	// bytes prove its content address; and realisations likewise, which can prove
	// nothing.
	RequireSignature bool
	// Provided reports whether a named upstream provides a path that is referred
	// to and not in the tree (I3). An error means that it could not tell (I5):
	// the upload then fails without being refused. Nil: none is.
	Provided func(context.Context, layout.StorePath) (bool, error)

	MaxFile    int64 // bytes of a NAR file; 0 for no bound but the disk's
	MaxNarSize int64 // bytes that a NAR may decompress to; 0 for 64 GiB
	MaxLog     int64 // bytes of a build log; 0 for 1 GiB

	// FreeSpace returns the bytes that are free where the tree is. Uploads that
	// would leave fewer than MinFree are refused, those that turn out so while
	// they stream in as well. Nil: not looked at.
	FreeSpace func() (uint64, error)
	MinFree   int64

	// Memory bounds what is kept in memory between the objects of one upload:
	// notes of the NARs that came by get half of it, what clients sent ahead of
	// its narinfo the rest. In bytes; 0 for 64 MiB.
	Memory int64
	// MaxHeld and MaxHeldBytes bound the narinfos that wait in the tree for what
	// they lead to. 0 for 100,000, and for 256 MiB.
	MaxHeld      int
	MaxHeldBytes int64

	Log *slog.Logger // nil for slog.Default()
}

// Options say how an object comes.
type Options struct {
	// Strict refuses what comes out of order, and what is empty. For clients that
	// are Nix: they never do that, and take an object that is held for one that
	// is there.
	Strict bool
	// Size is the announced number of bytes, -1 if none was announced. A body that
	// has another number is a BodyError.
	Size int64
}

// An Inbox takes uploads for one tree. It is safe for concurrent use, and
// several of them, in several processes, may share a tree.
type Inbox struct {
	cfg Config
}

// Open returns the inbox of a tree that has a nix-cache-info for the Writer's
// store directory, or none yet. Narinfos that an earlier inbox held are held
// on, and appear at once if nothing is missing any more; those that have
// waited for more than a day are dropped.
func Open(ctx context.Context, c Config) (*Inbox, error) { return nil, errNotYet }

// Close forgets what is held in memory. Narinfos that are held stay in the
// tree for the next inbox. No Put may be running.
func (b *Inbox) Close() error { return errNotYet }

// Check refuses what can be refused before the body is read. Put checks the
// same again: Check is for an answer before the body is sent.
func (b *Inbox) Check(ctx context.Context, key layout.Key, o Options) error { return errNotYet }

// Put takes one object. The error is a *Refusal, or a *BodyError; every other
// error is trouble of ours, and the client may try again. In all three cases
// the tree is as before. Without an error what Outcome says is durable, but
// for what is held in memory.
//
// Where the body is refused before its end, the rest is left unread.
//
// An empty body that is not a log makes a placeholder, which some WebDAV
// clients create before they send the bytes: only the methods below show it.
func (b *Inbox) Put(ctx context.Context, key layout.Key, body io.Reader, o Options) (Outcome, error) {
	return 0, errNotYet
}

// Settle looks again at every narinfo that is held: what it waits for may have
// come behind our back, by another process. It drops those that have waited for
// more than a day. A server calls it now and then, say every minute.
func (b *Inbox) Settle(ctx context.Context) error { return errNotYet }

// Get, Stat and List show the tree as whoever uploads by WebDAV expects it:
// with what is held, and with records of the size that they were sent with
// where the tree's own differ by signatures. They are for the upload URL and
// for clients that are no Nix: to those, and to readers, the tree itself tells
// what there is. Nothing private is shown.
func (b *Inbox) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	return nil, layout.Info{}, errNotYet
}

// Stat describes what Get returns.
func (b *Inbox) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	return layout.Info{}, errNotYet
}

// List yields what Get knows, as layout.Tree's List does.
func (b *Inbox) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) { yield(layout.Info{}, errNotYet) }
}

var errNotYet = errors.New("not built yet")
