package mirror

import (
	"context"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A pass is one look at both trees and what came of it. Lists that may have
// millions of entries are on shelves, in the order of keys.
type pass struct {
	run        *run
	seen       layout.Sight // from when on the destination was looked at
	there      view
	todo       copies
	surplus    surplus
	fate       fates
	provisions provisions
}

// A view is what the destination has.
type view struct {
	paths *refgraph.Shelf    // PathIDs, of narinfos
	nars  *refgraph.NARShelf // those that equal the source's
}

// copies are what the destination lacks.
type copies struct {
	nars     *refgraph.NARShelf // narCopies
	listings *refgraph.Shelf    // pathCopies
	paths    *refgraph.Shelf    // pathCopies
	pages    []Change
	info     *Change                       // nix-cache-info
	others   [layout.KindForeign + 1]int64 // logs and the like, found again by their prefix
}

// A surplus is what the destination has too much.
type surplus struct {
	paths    *refgraph.Shelf // PathIDs
	listings *refgraph.Shelf // PathIDs
	nars     *refgraph.NARShelf
	pages    []layout.Key
	others   [layout.KindForeign + 1]int64
}

// fates are what became of the copies.
type fates struct {
	mu       sync.Mutex
	unlisted map[refgraph.PathID]error // listings that were to be copied and were not
	nars     []narFate
	held     []uint64        // of a NAR that records proved: what NAR it holds
	wrong    map[int]error   // why a NAR could not be proved
	graph    *refgraph.Graph // of the paths
}

// A narFate says what became of a NAR to copy.
type narFate uint8

const (
	narMissing narFate = iota
	narThere
	narBad      // its bytes are wrong
	narUnproved // its name does not say what it holds
)

func newPass(r *run) *pass {
	paths := func(record int) *refgraph.Shelf {
		return refgraph.NewShelf(r.mirror.TempDir, record, len(refgraph.PathID{}))
	}
	nars := func(more int) *refgraph.NARShelf { return refgraph.NewNARShelf(r.mirror.TempDir, more) }
	const path = len(refgraph.PathID{})
	return &pass{
		run:     r,
		there:   view{paths: paths(path), nars: nars(0)},
		todo:    copies{nars: nars(narCopyBytes), listings: paths(pathCopyBytes), paths: paths(pathCopyBytes)},
		surplus: surplus{paths: paths(path), listings: paths(path), nars: nars(0)},
		fate:    fates{unlisted: map[refgraph.PathID]error{}, wrong: map[int]error{}},
	}
}

type shelf interface {
	Seal() error
	Close()
}

func (p *pass) shelves() []shelf {
	return []shelf{p.there.paths, p.there.nars, p.todo.nars, p.todo.listings, p.todo.paths, p.surplus.paths, p.surplus.listings, p.surplus.nars}
}

// close gives the room back that the pass takes outside of memory.
func (p *pass) close() {
	for _, s := range p.shelves() {
		s.Close()
	}
	p.fate.graph.Close()
}

// scan compares the trees.
func (p *pass) scan(ctx context.Context) error {
	name := ""
	if p.run.keys == nil {
		name = p.run.mirror.State
	}
	remembered := openLedger(name)
	defer remembered.discard()
	p.run.progress.Listed.Store(0)
	p.run.progress.Withheld.Store(0)
	p.run.progress.Objects.Store(p.run.progress.ObjectsDone.Load())
	p.run.progress.Bytes.Store(p.run.progress.BytesDone.Load())
	var listed refgraph.PathID // the last listing of the source
	for d, err := range p.run.judged(ctx, p.run.pairs(ctx, ""), remembered) {
		if err != nil {
			return err
		}
		if d.key.Kind() == layout.KindListing && d.inSrc {
			listed = refgraph.PackPath(d.key.PathHash())
		}
		if isProvision(d.key) {
			p.sortProvision(d)
		} else {
			p.sort(d, listed)
		}
	}
	for _, s := range p.shelves() {
		if err := s.Seal(); err != nil {
			return err
		}
	}
	p.run.remember(remembered)
	p.count()
	return nil
}

// sort puts a decision where it belongs. Objects that are not to be mirrored
// count nevertheless: others may need them.
func (p *pass) sort(d decision, listed refgraph.PathID) {
	wanted := p.run.mirror.wants(d.key)
	put := wanted && (d.verdict == absent || d.verdict == differ)
	tooMuch := wanted && d.verdict == extra
	switch kind := d.key.Kind(); kind {
	case layout.KindNAR:
		if d.inDst && d.verdict != differ {
			p.there.nars.Add(d.key, nil)
		}
		if put {
			p.todo.nars.Add(d.key, narCopy{d.key, d.inDst, d.src.Size}.pack())
		} else if tooMuch {
			p.surplus.nars.Add(d.key, nil)
		}
	case layout.KindNarInfo:
		id := refgraph.PackPath(d.key.PathHash())
		if d.inDst {
			p.there.paths.Add(id[:])
		}
		if put {
			p.todo.paths.Add(pathCopy{id, d.inDst, listed == id}.pack())
		} else if tooMuch {
			p.surplus.paths.Add(id[:])
		}
	case layout.KindListing:
		id := refgraph.PackPath(d.key.PathHash())
		if put {
			p.todo.listings.Add(pathCopy{id, d.inDst, false}.pack())
		} else if tooMuch {
			p.surplus.listings.Add(id[:])
		}
	case layout.KindPage:
		if put {
			p.todo.pages = append(p.todo.pages, d.change())
		} else if tooMuch {
			p.surplus.pages = append(p.surplus.pages, d.key)
		}
	case layout.KindCacheInfo:
		if put {
			c := d.change()
			p.todo.info = &c
		}
	default:
		if put {
			p.todo.others[kind]++
		} else if tooMuch {
			p.surplus.others[kind]++
		}
	}
	if put {
		p.run.progress.Objects.Add(1)
		p.run.progress.Bytes.Add(max(0, d.src.Size))
	}
}

// count tells how much there is to remove.
func (p *pass) count() {
	n := len(p.provisions.extra) + p.surplus.paths.Len() + p.surplus.listings.Len() + p.surplus.nars.Len() + len(p.surplus.pages)
	for _, more := range p.surplus.others {
		n += int(more)
	}
	if p.run.mirror.Delete {
		p.run.progress.Extra.Store(int64(n))
	}
}

// withhold leaves an object out.
func (p *pass) withhold(key layout.Key, err error) {
	p.run.problems.add(key, err)
	p.run.progress.Withheld.Add(1)
	p.run.report.event(Event{Action: ActionWithhold, Key: key, Why: err.Error()})
}

// copyAll copies what is to be copied, kind after kind. Dying anywhere leaves
// objects that nothing leads to yet, or narinfos with all they need.
func (p *pass) copyAll(ctx context.Context) error {
	steps := []func(context.Context) error{
		p.flush,
		p.copyNARs,
		p.proveNARs,
		p.others(layout.KindLog),
		p.others(layout.KindDebugInfo), // they lead to NARs
		p.copyListings,
		p.copyPages,
		p.copyProvisions,
		p.copyPaths,
		p.others(layout.KindRealisation), // they lead to paths
		p.copyPins,
		p.copyCacheInfo,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// flush makes what the listing found at the destination durable, before anything
// new rests on it: a run that was killed may have put it. A run of named keys finds
// what it needs one by one, and flushes that.
func (p *pass) flush(ctx context.Context) error {
	if p.run.keys != nil {
		return nil
	}
	if err := layout.Flush(ctx, p.run.mirror.Dest); err != nil {
		return &destError{err}
	}
	return nil
}

// found reports whether the destination has an object that a new one is to rest
// on, and flushes it.
func (p *pass) found(ctx context.Context, key layout.Key) (bool, error) {
	_, there, err := layout.Lookup(ctx, p.run.mirror.Dest, key)
	if err == nil && there {
		err = layout.Flush(ctx, p.run.mirror.Dest, key)
	}
	return there, err
}
