package through

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/webdav"
)

const (
	// shortRest is how many bytes of a NAR are fetched even if no reader waits for them any
	// more. The second half of every NAR is.
	shortRest = 16 << 20
	// abandonAfter is how long a fetch goes on otherwise: a reader whose connection broke
	// comes again.
	abandonAfter = 30 * time.Second
)

// errAbandoned ends a fetch that no reader waits for.
var errAbandoned = errors.New("no reader waits for the rest")

// A fetch is one NAR on its way from an upstream into the tree, and to any number of
// readers.
type fetch struct {
	filler *Filler
	key    layout.Key // as readers ask for it
	method compress.Method
	from   string // the URL of the upstream
	cancel context.CancelCauseFunc

	left chan struct{} // closed when another fetch of the NAR may begin

	records map[string]*layout.NarInfo // by hash, what leads to the NAR; under the filler's lock

	mu      sync.Mutex
	more    chan struct{} // closed, and another one made, when something changes
	file    layout.Lent   // nil before the first bytes
	users   int           // of file: this fetch and its readers
	readers int
	leave   *time.Timer // runs while there are no readers
	n       int64       // bytes in the file
	begun   bool        // it begins as such a file does
	size    int64       // that it is to have, -1 if that is not known yet
	proven  bool        // its bytes were checked, and n is all of them
	over    bool        // it does nothing more
	err     error       // why there will be no more
}

// NAR opens what the record leads to that NarInfo returned for the path with this hash.
// The error is fs.ErrNotExist only if no upstream has that.
func (f *Filler) NAR(ctx context.Context, nar layout.Key, hash string) (webdav.Flow, error) {
	for tried := map[string]bool{}; ; {
		if key, err := f.inTree(ctx, nar, hash); err != nil || key != "" {
			return webdav.Flow{Key: key}, err
		}
		ft, err := f.join(ctx, nar, hash)
		if err != nil {
			return webdav.Flow{}, err
		}
		if ft == nil {
			continue // one ended as we came, and the NAR is in the tree by now
		}
		flow, err := ft.open(ctx)
		if err == errAbandoned && ctx.Err() == nil {
			continue
		}
		// The reader has nothing yet: another upstream may do as well.
		if tried[ft.from] = true; err != nil && ctx.Err() == nil && f.elsewhere(ctx, nar, hash, tried) {
			continue
		}
		return flow, err
	}
}

// elsewhere reports whether the NAR may be had from an upstream that was not tried yet.
func (f *Filler) elsewhere(ctx context.Context, nar layout.Key, hash string, tried map[string]bool) bool {
	n, url, room, err := f.find(ctx, hash)
	room.Release()
	return err == nil && keyOf(n) == nar && !tried[url]
}

// otherNAR is the answer for a NAR that is not in the record of its path: absence, unless
// an upstream that is left alone may have had a record with that.
func (f *Filler) otherNAR(n *layout.NarInfo, nar layout.Key) error {
	for _, state := range f.cfg.Upstreams.States() {
		if state.Alone != nil {
			return fmt.Errorf("%w: %s is not the NAR of %s at other caches than %s: %w", webdav.ErrUpstream, nar, n.Path, state.URL, state.Alone)
		}
	}
	return fmt.Errorf("%s is not the NAR of %s: %w", nar, n.Path, fs.ErrNotExist)
}

// inTree looks for the NAR, under the name too that its file turned out to have, or that
// another server gave it: one of the same compression is as good.
func (f *Filler) inTree(ctx context.Context, nar layout.Key, hash string) (layout.Key, error) {
	if _, there, err := layout.Lookup(ctx, f.cfg.Tree, nar); there || err != nil {
		return nar, err
	}
	var room *share.Part
	text, _, err := layout.ReadInTurn(ctx, f.cfg.Tree, layout.NarInfoKeyOf(hash), f.turn(ctx, &room))
	defer func() { room.Release() }()
	if err != nil {
		if isAbsent(err) {
			err = nil
		}
		return "", err
	}
	n, err := layout.ParseNarInfo(text, f.cfg.StoreDir)
	if err != nil || !strings.HasSuffix(string(nar), ".nar"+n.Compression.Extension()) {
		return "", nil
	}
	info, err := layout.FindNAR(ctx, f.cfg.Tree, n)
	if isAbsent(err) {
		return "", nil
	}
	return info.Key, err
}

// join returns the fetch of a NAR, which begins if it is not under way, and nil if one
// has ended meanwhile. The caller counts as a reader of it.
func (f *Filler) join(ctx context.Context, nar layout.Key, hash string) (*fetch, error) {
	f.mu.Lock()
	if ft := f.fetches[nar]; ft != nil && ft.records[hash] != nil && ft.enter() {
		f.mu.Unlock()
		return ft, nil
	}
	f.mu.Unlock()
	n, url, room, err := f.find(ctx, hash)
	if err != nil {
		return nil, err
	}
	room.Release() // the places of fetches bound those that stay
	if err := f.cfg.Upstreams.MayAsk(url); err != nil {
		// The record was remembered. Another upstream may have the path as well.
		f.cfg.Upstreams.Avoid(hash, url)
		if !f.elsewhere(ctx, nar, hash, map[string]bool{url: true}) {
			return nil, err
		}
		if n, url, room, err = f.find(ctx, hash); err != nil {
			return nil, err
		}
		room.Release()
	}
	if keyOf(n) != nar {
		return nil, f.otherNAR(n, nar)
	}
	// On a full disk no upstream is asked for what could not be stored.
	if err := f.cfg.Inbox.Check(ctx, nar, inbox.Options{Size: n.FileSize}); err != nil {
		return nil, err
	}
	for place := (*share.Part)(nil); ; {
		f.mu.Lock()
		ft := f.fetches[nar]
		switch {
		case f.closed:
			f.mu.Unlock()
			place.Release()
			return nil, context.Canceled
		case ft != nil && ft.enter():
			if ft.records[hash] == nil {
				ft.records[hash] = n
				f.expect(hash)
			}
			f.mu.Unlock()
			place.Release()
			return ft, nil
		case ft == nil && place != nil:
			ft = f.begin(ctx, nar, n, url, place)
			f.mu.Unlock()
			return ft, nil
		}
		f.mu.Unlock()
		if ft != nil { // it ends at this moment
			place.Release()
			return nil, ft.gone(ctx)
		}
		if place, err = f.places.Take(ctx, 1); err != nil {
			return nil, err
		}
	}
}

// begin starts a fetch with one reader. The filler's lock is held.
func (f *Filler) begin(ctx context.Context, nar layout.Key, n *layout.NarInfo, url string, place *share.Part) *fetch {
	ft := &fetch{filler: f, key: nar, method: n.Compression, from: url, records: map[string]*layout.NarInfo{n.Path.Hash(): n},
		left: make(chan struct{}), more: make(chan struct{}), users: 2, readers: 1, size: -1}
	if n.FileSize > 0 {
		ft.size = n.FileSize
	}
	f.fetches[nar] = ft
	f.expect(n.Path.Hash())
	fetching, cancel := context.WithCancelCause(webdav.WithVia(share.As(f.ctx, share.From(ctx)), ctx))
	ft.cancel = cancel
	f.running.Go(func() {
		defer cancel(nil)
		stored, err := ft.run(fetching, n)
		ft.end(err)
		f.mu.Lock()
		delete(f.fetches, nar) // the NAR is in the tree by now
		records := ft.records
		f.mu.Unlock()
		close(ft.left)
		ctx := share.As(context.WithoutCancel(f.ctx), share.From(ctx))
		var turn *share.Part
		if err == nil {
			// The place is kept meanwhile, so that no more is fetched than is published.
			if turn, err = f.waits.Take(ctx, 1); err != nil {
				f.withheld(n, errCrowded)
			}
		}
		place.Release()
		defer turn.Release()
		for hash, n := range records {
			if err == nil {
				f.publish(ctx, n, stored)
			}
			f.arrived(hash)
		}
	})
	return ft
}

// run fetches the NAR and stores it. It returns where.
func (ft *fetch) run(ctx context.Context, n *layout.NarInfo) (layout.Key, error) {
	f := ft.filler
	body, size, err := f.openNAR(ctx, ft.from, n)
	source := &source{r: body, timeout: f.cfg.Timeout, most: mostFile(n)}
	var stored layout.Key
	if err != nil {
		source.err = err
	} else {
		defer body.Close()
		// The record is not signed for the size of the file, and Nix does not ask for it.
		if size >= 0 && size <= source.most {
			ft.wake(func() { ft.size = size })
		}
		stored, err = ft.put(ctx, n, source)
	}
	return stored, ft.judge(ctx, n, source, err)
}

// put stores the NAR, after it turned out to be that of the record, and returns where.
func (ft *fetch) put(ctx context.Context, n *layout.NarInfo, from io.Reader) (layout.Key, error) {
	stored := ft.key
	o := inbox.Options{Strict: true, Size: ft.size, NarSize: n.NarSize, Spooled: ft.spooled}
	if n.FileHash.IsZero() {
		o.Name = &stored
	}
	o.Passed = func(sum layout.Hash, size int64) error {
		if sum != n.NarHash || size != n.NarSize {
			return &inbox.Refusal{Reason: inbox.NARDiffers, Msg: fmt.Sprintf("the NAR of %s has %d bytes and the hash %s, its narinfo says %d and %s",
				n.Path, size, sum, n.NarSize, n.NarHash)}
		}
		ft.wake(func() { ft.proven, ft.size = true, ft.n })
		return nil
	}
	_, err := ft.filler.cfg.Inbox.Put(ctx, ft.key, from, o)
	return stored, err
}

// spooled is told how much of the file there is.
func (ft *fetch) spooled(file layout.SpoolFile, n int64) {
	ft.wake(func() {
		if ft.file == nil && ft.err == nil {
			if ft.file, ft.err = layout.Lend(file); ft.err != nil {
				ft.cancel(ft.err)
			}
		}
		if !ft.begun && ft.n < headBytes && ft.err == nil {
			ft.begun = begins(ft.file, n, ft.method)
		}
		ft.n = n
	})
}

// openNAR opens the NAR of a record at its upstream in the time that a fetch may take for a
// little, and tells its size, -1 if the upstream does not.
func (f *Filler) openNAR(ctx context.Context, url string, n *layout.NarInfo) (io.ReadCloser, int64, error) {
	r := f.cfg.NARs[url]
	if r == nil {
		return nil, 0, fmt.Errorf("no reader for the NARs of %s", url)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(f.cfg.Timeout, func() { cancel(&slowError{0, f.cfg.Timeout}) })
	body, info, err := layout.OpenNAR(ctx, r, n)
	if timer.Stop(); err == nil && context.Cause(ctx) == nil {
		return &opened{body, cancel}, info.Size, nil
	}
	if err == nil {
		body.Close()
	}
	if _, slow := context.Cause(ctx).(*slowError); slow {
		err = context.Cause(ctx)
	}
	cancel(nil)
	if err == nil {
		err = context.Cause(ctx)
	}
	return nil, 0, err
}

// opened is a body that ends its context.
type opened struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (o *opened) Close() error {
	defer o.cancel(nil)
	return o.ReadCloser.Close()
}

// judge finds out who is to blame for a fetch that failed, has the upstream asked less,
// and returns the error as readers are to have it.
func (ft *fetch) judge(ctx context.Context, n *layout.NarInfo, s *source, err error) error {
	f := ft.filler
	var refusal *inbox.Refusal
	var cut *inbox.BodyError
	about := []any{"path", n.Path.Abs(f.cfg.StoreDir), "upstream", ft.from}
	switch {
	case err == nil:
		f.cfg.Upstreams.Answered(ft.from)
		f.count(Fetched, s.n)
		f.log.Info("fetched", append(about, "bytes", s.n)...)
		return nil
	case ctx.Err() != nil:
		if err = context.Cause(ctx); err == errAbandoned {
			f.count(Abandoned, s.n)
			f.log.Info("a fetch was given up: no reader waited for the rest", append(about, "bytes", s.n)...)
		}
		return err
	case isAbsent(s.err):
		f.cfg.Upstreams.Doubt(n.Path.Hash(), ft.from)
		f.count(Wrong, s.n)
		f.log.Warn("an upstream has a narinfo, and not the NAR that it leads to", append(about, "err", s.err)...)
		return fmt.Errorf("fetch the NAR of %s: %w", n.Path, s.err)
	case s.err != nil:
		_, slow := s.err.(*slowError)
		f.cfg.Upstreams.Failed(ft.from, s.err, slow)
		f.cfg.Upstreams.Avoid(n.Path.Hash(), ft.from)
		f.count(Failed, s.n)
		f.log.Warn("a NAR could not be fetched", append(about, "bytes", s.n, "err", s.err)...)
		return fmt.Errorf("%w: fetch the NAR of %s from %s: %w", webdav.ErrUpstream, n.Path, ft.from, s.err)
	case errors.As(err, &refusal) && (refusal.Reason == inbox.NoSpace || refusal.Reason == inbox.ClosedTree), errors.Is(err, share.ErrBusy):
		f.count(Failed, s.n)
		f.log.Error("a NAR could not be stored", append(about, "err", err)...)
		return err
	case refusal != nil, errors.As(err, &cut):
		f.cfg.Upstreams.Doubt(n.Path.Hash(), ft.from)
		f.count(Wrong, s.n)
		f.log.Warn("an upstream sent a NAR that is not what its narinfo says, and nobody gets it", append(about, "err", err)...)
		return fmt.Errorf("fetch the NAR of %s: %w: %w", n.Path, fs.ErrNotExist, err)
	}
	f.count(Failed, s.n)
	f.log.Error("a NAR could not be stored", append(about, "err", err)...)
	return err
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
