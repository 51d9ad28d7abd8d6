package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/pages"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/signer"
)

// A page is the page of a tree for browsers, and what it does not show yet.
type page struct {
	keeper   *pages.Keeper
	tree     layout.Tree
	storeDir string

	read    atomic.Int64 // narinfos, while reconciling
	skipped atomic.Int64 // those that make no sense

	mark *pages.Mark // of this process, nil while there is none
	due  bool        // the page has to be compared with the tree
	torn bool        // paths may have come that were not told of

	// The fields below are for a server.
	keys    []string // that it signs with
	since   time.Time
	uploads int64 // not told of yet

	mu   sync.Mutex
	came []pages.Record
	more chan struct{} // has a value once something came
}

func newPage(tree layout.Tree, storeDir string) *page {
	return &page{keeper: &pages.Keeper{Tree: tree}, tree: tree, storeDir: storeDir, more: make(chan struct{}, 1)}
}

// followPage has the page of the Writer's tree learn what the Writer publishes. It
// returns nil for a tree without a page, which is fine to use.
func followPage(ctx context.Context, w *layout.Writer) (*page, error) {
	there, err := pages.Exists(ctx, w.Tree)
	if err != nil || !there {
		return nil, err
	}
	p := newPage(w.Tree, w.StoreDir)
	w.Published = p.published
	p.due, err = p.keeper.Behind(ctx)
	return p, err
}

// begin notes in the tree that paths are about to come which the page does not show, in
// case the process dies.
func (p *page) begin(ctx context.Context) error {
	if p == nil || p.mark != nil {
		return nil
	}
	m, err := p.keeper.Begin(ctx)
	if err == nil {
		p.mark = &m
	}
	return err
}

// end takes the note back, since the page shows all.
func (p *page) end(ctx context.Context) error {
	if p.mark == nil || p.torn { // the next writer compares
		return nil
	}
	err := p.keeper.End(ctx, *p.mark)
	if err == nil {
		p.mark = nil
	}
	return err
}

// published notes a path that came.
func (p *page) published(n *layout.NarInfo) {
	r := pages.RecordOf(n, time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.came = append(p.came, r)
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// take returns what came since the last call.
func (p *page) take() []pages.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	came := p.came
	p.came = nil
	return came
}

// finish brings the page up to date at the end of a command. The command has done
// its work: a page that lags behind is told of, and no failure.
func (p *page) finish(c *cli.Context, keys []signer.SecretKey) {
	if p == nil {
		return
	}
	// A command that was interrupted has published what it has published.
	p.tell(c, p.show(context.WithoutCancel(c.Context), pages.Change{Came: p.take(), Keys: pages.KeysOf(keys)}))
}

// show applies a change, and brings what an earlier process left undone. The note in the
// tree stays until that has been done.
func (p *page) show(ctx context.Context, change pages.Change) error {
	err := p.apply(ctx, change)
	if err == nil && p.due {
		err = p.reconcile(ctx)
	}
	if err != nil {
		p.due = true
		return err
	}
	p.due = false
	return p.end(ctx)
}

// tear notes that a write has failed: some of its paths may be there all the same.
func (p *page) tear() {
	if p != nil {
		p.torn = true
	}
}

func (p *page) tell(c *cli.Context, err error) {
	if err != nil {
		say(c, "note: the page for browsers could not be brought up to date: %v; nixstatic page mends it", err)
	}
}

// apply changes the page. A damaged search index is made anew.
func (p *page) apply(ctx context.Context, change pages.Change) error {
	err := p.keeper.Apply(ctx, change)
	if errors.As(err, new(*pages.DamagedError)) {
		if err = p.keeper.Forget(ctx); err == nil {
			err = p.reconcile(ctx)
		}
	}
	return err
}

// refreshPage looks for all that changed in a tree, if it has a page, after a
// command that removes paths or changes pins.
func refreshPage(c *cli.Context, tree layout.Tree, storeDir string, pinsAlone bool) {
	p := newPage(tree, storeDir)
	p.tell(c, p.refresh(context.WithoutCancel(c.Context), pinsAlone))
}

func (p *page) refresh(ctx context.Context, pinsAlone bool) error {
	there, err := pages.Exists(ctx, p.tree)
	if err != nil || !there {
		return err
	}
	if !pinsAlone {
		return p.reconcile(ctx)
	}
	change := pages.Change{}
	if err := p.pins(ctx, &change); err != nil {
		return err
	}
	return p.apply(ctx, change)
}

// reconcile compares the search index with the tree, and reads what is new.
func (p *page) reconcile(ctx context.Context) error {
	// The note of a process that died becomes ours, and goes in the end.
	behind, err := p.keeper.Behind(ctx)
	if err == nil && behind {
		err = p.begin(ctx)
	}
	if err != nil {
		return err
	}
	change, err := p.differences(ctx)
	if errors.As(err, new(*pages.DamagedError)) {
		if err = p.keeper.Forget(ctx); err == nil {
			change, err = p.differences(ctx)
		}
	}
	if err == nil {
		err = p.pins(ctx, &change)
	}
	if err == nil {
		err = p.keeper.Apply(ctx, change)
	}
	if err != nil {
		return err
	}
	return p.end(ctx)
}

// An arrival is a narinfo that the search index does not know.
type arrival struct {
	key  layout.Key
	came time.Time
}

// differences lists the tree beside the search index; both are in order.
func (p *page) differences(ctx context.Context) (change pages.Change, err error) {
	var known []layout.StorePath
	err = p.keeper.Known(ctx, func(r pages.Record) error { known = append(known, r.Path); return nil })
	if err != nil {
		return change, err
	}
	news := func(yield func(arrival, error) bool) {
		var listing layout.Info
		for entry, err := range layout.ListTop(ctx, p.tree) {
			if err != nil {
				yield(arrival{}, fmt.Errorf("list the cache: %w", err))
				return
			}
			hash := entry.Key.PathHash()
			if hash == "" {
				continue
			}
			if entry.Key.Kind() == layout.KindListing {
				listing = entry.Info
				continue
			}
			for len(known) > 0 && known[0].Hash() < hash {
				change.Gone = append(change.Gone, known[0])
				known = known[1:]
			}
			if len(known) > 0 && known[0].Hash() == hash {
				known = known[1:]
				continue
			}
			came := entry.ModTime // signing changes that of a narinfo
			if listing.Key.PathHash() == hash && listing.ModTime.Before(came) {
				came = listing.ModTime
			}
			if !yield(arrival{entry.Key, came}, nil) {
				return
			}
		}
		change.Gone = append(change.Gone, known...)
	}
	records := parallel.InOrder(ctx, closureJobs, news, nil,
		func(ctx context.Context, a arrival) (*pages.Record, error) {
			text, err := layout.ReadAll(ctx, p.tree, a.key)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil // removed since it was listed
			}
			if err != nil && !errors.Is(err, layout.ErrTooLarge) {
				return nil, err
			}
			p.read.Add(1)
			n, err := layout.ParseNarInfo(text, p.storeDir)
			if err != nil || layout.NarInfoKey(n.Path) != a.key {
				p.skipped.Add(1)
				return nil, nil
			}
			r := pages.RecordOf(n, a.came)
			return &r, nil
		})
	for r, err := range records {
		if err != nil {
			return change, err
		}
		if r != nil {
			change.Came = append(change.Came, *r)
		}
	}
	return change, ctx.Err()
}

// pins finds out what pins keep, where it is not known yet.
func (p *page) pins(ctx context.Context, change *pages.Change) error {
	all, err := gc.ReadPins(ctx, p.tree)
	if err != nil {
		return err
	}
	have, err := pages.ReadStats(ctx, p.tree)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	change.SetPins, change.Pins = true, []pages.Pin{}
	for _, pin := range all {
		kept := pin.Kept(time.Now())
		if len(kept) == 0 {
			continue
		}
		newest := kept[0]
		next := pages.Pin{Name: pin.Name, Generation: newest.Number, Time: newest.Time, Until: newest.Until, Note: newest.Note}
		if old := pinOf(have.Pins, pin.Name); old != nil && old.Generation == newest.Number && old.Time.Equal(newest.Time) && !old.Partial && (old.Graph != "" || old.Paths > mostDrawn) {
			next = *old // the closure of a path never changes
		} else {
			c, err := walkClosure(ctx, p.tree, p.storeDir, newest.Paths)
			if err != nil {
				return err
			}
			c.fill(&next, newest.Paths)
			if graph := c.graph(pin.Name); graph != nil {
				next.Graph = pages.GraphKey(pin.Name)
				change.Graphs = append(change.Graphs, *graph)
			}
		}
		change.Pins = append(change.Pins, next)
	}
	return nil
}

func pinOf(pins []pages.Pin, name string) *pages.Pin {
	for i := range pins {
		if pins[i].Name == name {
			return &pins[i]
		}
	}
	return nil
}

// firstPage makes the page of a new tree. An index.html that is there stays.
func firstPage(ctx context.Context, tree layout.Tree, storeDir string) error {
	p := newPage(tree, storeDir)
	err := p.keeper.Set(ctx, false, func(*pages.Settings) error { return nil })
	if errors.Is(err, pages.ErrForeign) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.reconcile(ctx)
}
