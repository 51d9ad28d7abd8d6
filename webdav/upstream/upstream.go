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
	asking  chan struct{} // a place in it is the right to ask
	flights singleflight.Group
	known   *answers // by hash
	leaned  *answers // by hash: what is in the tree
	doubted *answers // by hash and URL: records that led to nothing of use
	now     func() time.Time
}

var _ webdav.Upstream = (*Upstreams)(nil)

// maxAsking is how many questions are under way at once, as many as Nix asks.
const maxAsking = 25

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
	u := &Upstreams{cfg: c, asking: make(chan struct{}, maxAsking), known: newAnswers(), leaned: newAnswers(), doubted: newAnswers(), now: time.Now}
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
		return nil, fmt.Errorf("record upstreams: %w", err)
	}
	return u, nil
}

// Has returns the first cache's record of a path.
func (u *Upstreams) Has(ctx context.Context, hash string) (*layout.NarInfo, error) {
	n, _, err := u.Find(ctx, hash)
	return n, err
}

// Find returns the first cache's record of a path, as Has does, and the URL of the
// cache that it is from.
func (u *Upstreams) Find(ctx context.Context, hash string) (n *layout.NarInfo, url string, err error) {
	a, err := u.answer(ctx, hash)
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
	_, ok := u.known.get(hash, u.now())
	return ok
}

// Provided reports whether a cache has the path, and keeps the record in the
// tree if so: it is to be asked of what is about to be leaned on.
func (u *Upstreams) Provided(ctx context.Context, path layout.StorePath) (bool, error) {
	hash, key := path.Hash(), layout.ProvisionKey(path)
	if u.cfg.Tree == nil {
		n, err := u.Has(ctx, hash)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && n.Path == path, err
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
	a, err := u.answer(ctx, hash)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := layout.ParseNarInfo(a.text, u.cfg.StoreDir)
	if err != nil {
		return false, err
	}
	if n.Path != path {
		return false, nil // another name with the same hash is another path
	}
	if err := u.cfg.Tree.Put(ctx, key, layout.Bytes(a.text), layout.PutOptions{}); err != nil {
		return false, fmt.Errorf("keep the upstream's narinfo: %w", err)
	}
	return true, nil
}

// answer returns a verified record. Questions for one path that come at once are
// one question.
func (u *Upstreams) answer(ctx context.Context, hash string) (answer, error) {
	if a, ok := u.known.get(hash, u.now()); ok {
		if a.text == nil {
			return a, fs.ErrNotExist
		}
		return a, nil
	}
	flight := u.flights.DoChan(hash, func() (any, error) {
		// The first request may end; the others still wait for the answer.
		return u.ask(context.WithoutCancel(ctx), hash)
	})
	select {
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	case r := <-flight:
		a, _ := r.Val.(answer)
		return a, r.Err
	}
}

// ask asks one cache after the other. A cache that has the path settles it;
// that none has it is known only if all said so.
func (u *Upstreams) ask(ctx context.Context, hash string) (answer, error) {
	u.asking <- struct{}{}
	defer func() { <-u.asking }()
	var unknown []error
	for _, cache := range u.caches {
		if _, bad := u.doubted.get(hash+" "+cache.URL, u.now()); bad {
			continue
		}
		text, err := cache.ask(ctx, hash, u.cfg.StoreDir, u.cfg.Timeout, u.now)
		switch {
		case err == nil:
			a := answer{text: text, from: cache.URL}
			u.known.put(hash, a, u.now(), time.Hour)
			return a, nil
		case !errors.Is(err, fs.ErrNotExist):
			unknown = append(unknown, fmt.Errorf("upstream %s: %w", cache.URL, err))
		}
	}
	if len(unknown) > 0 {
		return answer{}, fmt.Errorf("%w: %w", webdav.ErrUpstream, errors.Join(unknown...))
	}
	u.known.put(hash, answer{}, u.now(), u.cfg.AbsentFor)
	return answer{}, fs.ErrNotExist
}
