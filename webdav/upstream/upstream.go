package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/webdav"
)

// A Cache is a binary cache whose paths need not be uploaded.
type Cache struct {
	URL    string         // for messages and the tree's own record: without credentials
	Keys   signer.Trusted // one of them has to have signed a record
	Reader layout.Reader
	// Only reports whether a path of the cache counts; nil: all do.
	Only func(layout.StorePath) bool
}

// A Config says which upstreams there are. All but Caches may be zero.
type Config struct {
	Tree     layout.Tree // remembers what it depends on; nil if that is not to be remembered
	StoreDir string      // of the tree and all caches; "" for layout.DefaultStoreDir
	Caches   []Cache     // asked in this order
	// Timeout bounds the question to one cache; 0 for 5 seconds. A cache that
	// fails three times in a row is left alone for half a minute.
	Timeout time.Duration
	// AbsentFor is how long it is remembered that no cache has a path; 0 for 5
	// minutes.
	AbsentFor time.Duration
	Log       *slog.Logger // nil for slog.Default()
}

// Upstreams is an Upstream of one or several caches.
//
// A record counts if one of the keys of the cache that it came from has signed
// it, and is remembered then; that no cache has a path is remembered for
// minutes. A cache that cannot tell is an error, and never taken for absence (I5).
//
// When a path is published that refers to an upstream's, the upstream's signed
// record of that is kept in the tree: see layout.Provision. It counts only as long as
// the cache is still configured.
type Upstreams struct {
	cfg     Config
	keys    signer.Trusted // of all caches
	caches  []*askedCache
	asking  *share.Pool // a place in it is the right to ask
	flights singleflight.Group
	known   *answers // by hash
	leaned  *answers // by hash: what is in the tree
	doubted *answers // by hash and URL: records that led to nothing of use
	avoided *answers // the same: records whose NARs could not be had
	now     func() time.Time
}

var _ webdav.Upstream = (*Upstreams)(nil)

const (
	// maxAsking is how many questions are under way at once. Clients share them: one alone
	// has half, which are as many as Nix asks.
	maxAsking = 50
	// askPatience is how long a question waits for its place. A Nix gives up after five
	// minutes without an answer.
	askPatience = 4 * time.Minute
	// maxQueued is how many questions of one client wait: the references of a few hundred
	// narinfos at once.
	maxQueued = 4096
)

// Open makes an Upstream, and writes into the tree which caches it
// leans on. No cache is asked yet.
func Open(ctx context.Context, c Config) (*Upstreams, error) {
	if c.StoreDir == "" {
		c.StoreDir = layout.DefaultStoreDir
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.AbsentFor <= 0 {
		c.AbsentFor = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	u := &Upstreams{cfg: c, asking: share.NewPool(maxAsking, askPatience).WithQueue(maxQueued), known: newAnswers(), leaned: newAnswers(), doubted: newAnswers(), avoided: newAnswers(), now: time.Now}
	var record []layout.RecordedUpstream
	for _, cache := range c.Caches {
		if len(cache.Keys) == 0 {
			return nil, fmt.Errorf("upstream %s: no public key", cache.URL)
		}
		r := layout.RecordedUpstream{URL: cache.URL}
		for _, key := range cache.Keys {
			r.Keys = append(r.Keys, key.String())
		}
		record = append(record, r)
		u.keys = append(u.keys, cache.Keys...)
		u.caches = append(u.caches, &askedCache{Cache: cache, log: c.Log})
	}
	if c.Tree == nil {
		return u, nil
	}
	if err := layout.RecordUpstreams(ctx, c.Tree, record); err != nil {
		return nil, fmt.Errorf("write down upstreams: %w", err)
	}
	return u, nil
}

// Has returns the first cache's record of a path.
func (u *Upstreams) Has(ctx context.Context, hash string) ([]byte, error) {
	a, err := u.answer(ctx, hash)
	return a.text, err
}

// Find returns the first cache's record of a path, and the URL of the cache that it is
// from. It calls turn with the size of the record before that is parsed; if turn fails,
// that is the error.
func (u *Upstreams) Find(ctx context.Context, hash string, turn func(size int64) error) (n *layout.NarInfo, url string, err error) {
	a, err := u.answer(ctx, hash)
	if err == nil {
		err = turn(int64(len(a.text)))
	}
	if err != nil {
		return nil, "", err
	}
	if n, err = layout.ParseNarInfo(a.text, u.cfg.StoreDir); err != nil {
		return nil, "", err
	}
	return n, a.from, nil
}

// Remembers reports whether Find would answer without asking a cache.
func (u *Upstreams) Remembers(hash string) bool {
	_, ok := u.remembered(hash)
	return ok
}

// Provided reports whether a cache has the path, and keeps the record in the
// tree if so: it is to be asked of what is about to be leaned on.
func (u *Upstreams) Provided(ctx context.Context, path layout.StorePath) (bool, error) {
	hash, key := path.Hash(), layout.ProvisionKey(path)
	if u.cfg.Tree == nil {
		a, err := u.recordOf(ctx, path)
		return a.text != nil, err
	}
	// A record in the tree counts while it is there: files may go behind our
	// back.
	if info, err := u.cfg.Tree.Stat(ctx, key); err == nil {
		if a, ok := u.leaned.get(hash, u.now()); ok && string(a.text) == info.ETag+" "+string(path) {
			return true, nil
		}
		text, version, err := layout.ReadVersion(ctx, u.cfg.Tree, key)
		if err == nil {
			if n, err := layout.VerifyNarInfo(text, hash, u.cfg.StoreDir, u.keys); err == nil && n.Path == path {
				// A process that was killed may have put it, and not flushed it.
				if err := layout.Flush(ctx, u.cfg.Tree, key); err != nil {
					return false, err
				}
				u.leaned.put(hash, answer{text: []byte(version.ETag + " " + string(path))}, u.now(), 24*time.Hour)
				return true, nil
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	a, err := u.recordOf(ctx, path)
	if a.text == nil {
		return false, err
	}
	if err := u.cfg.Tree.Put(ctx, key, layout.Bytes(a.text), layout.PutOptions{}); err != nil {
		return false, fmt.Errorf("keep the upstream's narinfo: %w", err)
	}
	return true, nil
}

// recordOf returns a cache's record of a path, with no text if none has it.
func (u *Upstreams) recordOf(ctx context.Context, path layout.StorePath) (answer, error) {
	a, err := u.answer(ctx, path.Hash())
	if errors.Is(err, fs.ErrNotExist) {
		return answer{}, nil
	}
	if err != nil {
		return answer{}, err
	}
	n, err := layout.ParseNarInfo(a.text, u.cfg.StoreDir)
	if err != nil || n.Path != path { // another name with the same hash is another path
		return answer{}, err
	}
	return a, nil
}

// answer returns a verified record. Questions for one path that come at once are
// one question. Each of them has a place of its own client: none waits for the turn of
// another one.
func (u *Upstreams) answer(ctx context.Context, hash string) (answer, error) {
	if a, known := u.remembered(hash); known {
		return a, a.err()
	}
	place, err := u.asking.Take(ctx, 1)
	if err != nil {
		return answer{}, fmt.Errorf("ask upstreams: %w", err)
	}
	if a, known := u.remembered(hash); known {
		place.Release()
		return a, a.err()
	}
	// A question that another server asks is one of its own: ours may wait for that server.
	flight := u.flights.DoChan(hash+" "+webdav.Via(ctx), func() (any, error) {
		// The first request may end; the others still wait for the answer.
		return u.ask(context.WithoutCancel(ctx), hash)
	})
	select {
	case <-ctx.Done():
		go func() { // a client that goes leaves its question, and so its place
			<-flight
			place.Release()
		}()
		return answer{}, context.Cause(ctx)
	case r := <-flight:
		place.Release()
		a, _ := r.Val.(answer)
		return a, r.Err
	}
}

func (u *Upstreams) remembered(hash string) (answer, bool) {
	a, known := u.known.get(hash, u.now())
	return a, known && !u.avoids(hash, a.from)
}

// inTurn returns the caches in the order in which they are asked for a path.
func (u *Upstreams) inTurn(hash string) []*askedCache {
	var first, last []*askedCache
	for _, cache := range u.caches {
		if u.avoids(hash, cache.URL) {
			last = append(last, cache)
		} else {
			first = append(first, cache)
		}
	}
	return append(first, last...)
}

// ask asks one cache after the other. A cache that has the path settles it;
// that none has it is known only if all said so.
func (u *Upstreams) ask(ctx context.Context, hash string) (answer, error) {
	var unknown []error
	var round bool
	for _, cache := range u.inTurn(hash) {
		if _, bad := u.doubted.get(hash+" "+cache.URL, u.now()); bad {
			continue
		}
		text, err := cache.ask(ctx, hash, u.cfg.StoreDir, u.cfg.Timeout, u.now)
		switch {
		case err == nil:
			a := answer{text: text, from: cache.URL}
			u.known.put(hash, a, u.now(), time.Hour)
			return a, nil
		case err == errRound:
			round = true
		case !errors.Is(err, fs.ErrNotExist):
			unknown = append(unknown, fmt.Errorf("upstream %s: %w", cache.URL, err))
		}
	}
	if len(unknown) > 0 {
		if a, known := u.known.get(hash, u.now()); known && a.text != nil {
			return a, nil // of a cache that is avoided, and there is no better one
		}
		return answer{}, fmt.Errorf("%w: %w", webdav.ErrUpstream, errors.Join(unknown...))
	}
	if !round { // a cache that asked for this itself may get the path from another one
		u.known.put(hash, answer{}, u.now(), u.cfg.AbsentFor)
	}
	return answer{}, fs.ErrNotExist
}
