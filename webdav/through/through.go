// Package through fills a tree from other caches as readers ask for what it lacks.
//
// A reader gets the record of an upstream as soon as it is known and a key of that
// upstream has signed it, and the NAR while it is fetched. The NAR goes through the
// inbox like an upload: it stands in the tree when its bytes are checked (I1), and its
// record after that (I2), when its references are in the tree or an upstream is known to
// have them (I3). A reader gets the last byte of a NAR when all of it was checked, so
// that no reader takes other bytes for a whole NAR.
//
// The URL of a NAR that is not in the tree yet names the path that it is for,
// nar/<filehash>.nar.xz?of=<hash>. So nothing has to be remembered between the two
// requests of a reader: a server that was started anew, or another one for the same
// tree, finds the record again. A web server for files passes over what follows the
// question mark.
package through

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

// A Config says what is fetched from where. All but the first four may be zero.
type Config struct {
	Upstreams *upstream.Upstreams      // finds records
	NARs      map[string]layout.Reader // by the URL of an upstream, what reads its NARs
	Inbox     *inbox.Inbox             // of the tree, takes what is fetched
	Tree      layout.Tree

	StoreDir string             // "" for layout.DefaultStoreDir
	Keys     []signer.SecretKey // what the inbox signs with: a record has their signatures from the first answer on
	// Vouched are the keys of the upstreams, whose word the inbox takes for what was fetched.
	Vouched signer.Trusted

	// Timeout is how long a fetch may bring less than 64 KiB; 0 for half a minute.
	// The upstream is then left alone for a while.
	Timeout time.Duration
	// Fetches is how many NARs are fetched at the same time, which clients share; 0 for
	// 64. Those beyond wait for a minute.
	Fetches int

	Metrics Recorder     // nil: none
	Log     *slog.Logger // nil for slog.Default()
}

// A Recorder counts what was done. Its methods must be cheap and safe for concurrent
// use.
type Recorder interface {
	// PulledThrough is told of each question for a record and of each fetch. Result is
	// one of Results; bytes are what came of a NAR.
	PulledThrough(result string, bytes int64)
}

// The results that Recorder.PulledThrough is told.
const (
	Found     = "found"     // an upstream has the path
	Absent    = "absent"    // no upstream has it
	Unknown   = "unknown"   // no upstream could tell, or the client asks for too much
	Fetched   = "fetched"   // the NAR is in the tree
	Wrong     = "wrong"     // the NAR is not what its record says
	Failed    = "failed"    // the NAR could not be fetched or stored
	Abandoned = "abandoned" // no reader waited for the rest of the NAR
	Published = "published" // the path is in the tree
	Withheld  = "withheld"  // its NAR is in the tree, and the path could not be published
)

// Results lists the words of Recorder.PulledThrough.
func Results() []string {
	return []string{Found, Absent, Unknown, Fetched, Wrong, Failed, Abandoned, Published, Withheld}
}

// A Filler fills a tree. It is safe for concurrent use.
type Filler struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context // of all fetches
	stop    func()
	running sync.WaitGroup

	asks    *share.Pool // places for questions
	places  *share.Pool // for fetches
	texts   *share.Pool // bytes of memory for large records
	waits   *share.Pool // for paths whose NARs were fetched and that are not published yet
	puts    *share.Pool // for those that the inbox is given
	settles *share.Pool // for those whose NARs were in the tree already
	budget  *share.Budget

	mu      sync.Mutex
	closed  bool
	fetches map[layout.Key]*fetch // by the key of the NAR
	pending map[string]*arrival   // by hash, of paths on their way into the tree
}

var _ webdav.Through = (*Filler)(nil)

const (
	// maxAsks is how many requests wait for upstreams: a client alone has half of them,
	// as many as Nix opens.
	maxAsks = 50
	// askPatience is how long a request waits for a place, or for its client's budget.
	askPatience = 10 * time.Second
	// fetchPatience is how long a request waits for a place to fetch.
	fetchPatience = time.Minute
	// textMemory is for records that readers ask for. Each byte of a large one costs
	// textCost, as text, parsed, and put together anew.
	textMemory = 48 << 20
	textCost   = 3
	smallText  = 64 << 10 // costs little more than the request
	// maxWaits is how many paths wait to be published, most of them for their references; a
	// fetch keeps its place for as long as waitsPatience until its path is one of them. A
	// path that finds no place is published when a reader has its NAR again.
	maxWaits      = 256
	waitsPatience = 10 * time.Second
	// maxPuts is how many the inbox is given at the same time: it brings each to disk.
	maxPuts = 16
	// maxSettles is how many paths are published for NARs that are in the tree already.
	maxSettles = 8
)

// New returns a Filler. No upstream is asked yet.
func New(c Config) *Filler {
	if c.StoreDir == "" {
		c.StoreDir = layout.DefaultStoreDir
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Fetches <= 0 {
		c.Fetches = 64
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	f := &Filler{cfg: c, log: c.Log, fetches: map[layout.Key]*fetch{}, pending: map[string]*arrival{},
		budget: share.NewBudget(wholeBudget, budgetStep), asks: share.NewPool(maxAsks, askPatience), places: share.NewPool(int64(c.Fetches), fetchPatience),
		texts: share.NewPool(textMemory, askPatience), settles: share.NewPool(maxSettles, 0),
		waits: share.NewPool(maxWaits, waitsPatience), puts: share.NewPool(maxPuts, publishPatience).WithQueue(maxWaits)}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Close ends all fetches, and waits until the paths whose NARs are in the tree are
// published. No request may be under way.
func (f *Filler) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.running.Wait()
}

// NarInfo returns the record of the path with this hash as a reader gets it that is to
// ask here for the NAR. The error is fs.ErrNotExist only if no upstream has the path (I5).
func (f *Filler) NarInfo(ctx context.Context, hash string) (text []byte, release func(), err error) {
	n, _, room, err := f.find(ctx, hash)
	if err != nil {
		return nil, nil, err
	}
	answer := *n
	answer.URL = string(keyOf(n)) + "?" + webdav.ThroughQuery + hash
	if err := answer.Sign(f.cfg.StoreDir, f.cfg.Keys); err != nil {
		room.Release()
		return nil, nil, err
	}
	return answer.Marshal(f.cfg.StoreDir), room.Release, nil
}

// turn takes memory for a record in time.
func (f *Filler) turn(ctx context.Context, room **share.Part) func(size int64) error {
	return func(size int64) (err error) {
		if size > smallText {
			*room, err = f.texts.Take(ctx, textCost*size)
		}
		return err
	}
}

// find asks the upstreams for a record, within the budget of the client. The room for it
// is to be released.
func (f *Filler) find(ctx context.Context, hash string) (n *layout.NarInfo, url string, room *share.Part, err error) {
	known := f.cfg.Upstreams.Remembers(hash)
	if !known {
		place, err := f.asks.Take(ctx, 1)
		if err != nil {
			f.count(Unknown, 0)
			return nil, "", nil, err
		}
		defer place.Release()
		if err := f.afford(ctx); err != nil {
			f.count(Unknown, 0)
			return nil, "", nil, err
		}
	}
	n, url, err = f.cfg.Upstreams.Find(ctx, hash, f.turn(ctx, &room))
	switch {
	case err == nil && !readable(n):
		err = fmt.Errorf("a NAR compressed as %q cannot be checked: %w", n.Compression, fs.ErrNotExist)
	case err == nil:
		complete(n)
	}
	if !known {
		if isAbsent(err) {
			f.budget.Charge(share.From(ctx), costOfAbsence)
		}
		f.count(resultOf(err), 0)
	}
	if err != nil {
		room.Release()
		return nil, "", nil, err
	}
	return n, url, room, nil
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return Found
	case isAbsent(err):
		return Absent
	}
	return Unknown
}

// readable reports whether the NAR of a record can be looked into.
func readable(n *layout.NarInfo) bool {
	_, err := compress.Parse(string(n.Compression))
	return err == nil
}

// complete adds what follows from the rest of a record, and takes out what a record
// of ours must not have: a later Nix cannot read it.
func complete(n *layout.NarInfo) {
	if n.Compression == compress.None {
		n.FileHash, n.FileSize = n.NarHash, n.NarSize
	}
	if n.FileSize > mostFile(n) { // not so, and no room is to be kept for it
		n.FileSize = 0
	}
	n.TakeMisformedSigs()
}

// keyOf returns the key of the NAR that a record leads to, as a reader is to ask for it. A
// record that does not tell the hash of the file leaves it open what the file will be
// called: the hash of the NAR stands for it then.
func keyOf(n *layout.NarInfo) layout.Key {
	named := n.FileHash
	if named.IsZero() {
		named = n.NarHash
	}
	return layout.NARKey(named, n.Compression.Extension())
}

func (f *Filler) count(result string, bytes int64) {
	if f.cfg.Metrics != nil {
		f.cfg.Metrics.PulledThrough(result, bytes)
	}
}
