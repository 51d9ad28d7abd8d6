package mirror

import (
	"context"
	"fmt"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A pass is one look at both trees and what came of it. What there may be
// millions of is on shelves, in the order of keys.
type pass struct {
	*run

	// What the destination has.
	paths *refgraph.Shelf // pathIDs, of narinfos
	nars  *refgraph.Shelf // narIDs, of those of the right size

	// What is to be copied.
	newNARs     *refgraph.Shelf // narCopies
	newListings *refgraph.Shelf // pathCopies
	newPaths    *refgraph.Shelf // pathCopies
	newPages    []Change
	newInfo     *Change                       // nix-cache-info
	newOthers   [layout.KindForeign + 1]int64 // logs and the like, found again by their prefix

	// What the destination has too much.
	extraPaths    *refgraph.Shelf // pathIDs
	extraListings *refgraph.Shelf // pathIDs
	extraNARs     *refgraph.Shelf // narIDs
	extraPages    []layout.Key
	extraOthers   [layout.KindForeign + 1]int64

	provisions provisions

	mu       sync.Mutex
	unlisted map[refgraph.PathID]error // listings that were to be copied and were not
	fate     []narFate                 // of newNARs
	graph    *refgraph.Graph           // of newPaths
}

// A narFate says what became of a NAR to copy.
type narFate uint8

const (
	narMissing narFate = iota
	narThere
	narBad // its bytes are wrong
)

func newPass(r *run) *pass {
	dir := r.TempDir
	return &pass{
		run:           r,
		paths:         refgraph.NewShelf(dir, len(refgraph.PathID{}), len(refgraph.PathID{})),
		nars:          refgraph.NewShelf(dir, len(refgraph.NARID{}), len(refgraph.NARID{})),
		newNARs:       refgraph.NewShelf(dir, narCopyBytes, len(refgraph.NARID{})),
		newListings:   refgraph.NewShelf(dir, pathCopyBytes, len(refgraph.PathID{})),
		newPaths:      refgraph.NewShelf(dir, pathCopyBytes, len(refgraph.PathID{})),
		extraPaths:    refgraph.NewShelf(dir, len(refgraph.PathID{}), len(refgraph.PathID{})),
		extraListings: refgraph.NewShelf(dir, len(refgraph.PathID{}), len(refgraph.PathID{})),
		extraNARs:     refgraph.NewShelf(dir, len(refgraph.NARID{}), len(refgraph.NARID{})),
		unlisted:      map[refgraph.PathID]error{},
	}
}

func (p *pass) shelves() []*refgraph.Shelf {
	return []*refgraph.Shelf{p.paths, p.nars, p.newNARs, p.newListings, p.newPaths, p.extraPaths, p.extraListings, p.extraNARs}
}

// close gives the room back that the pass takes outside of memory.
func (p *pass) close() {
	for _, s := range p.shelves() {
		s.Close()
	}
	p.graph.Close()
}

// othersPrefixes are where the kinds are that may be many and have long names:
// they are counted in a pass, and listed again when their turn comes.
var othersPrefixes = map[layout.Kind][]string{
	layout.KindLog:         {"log/"},
	layout.KindDebugInfo:   {"debuginfo/"},
	layout.KindRealisation: {"build-trace-v2/", "realisations/"},
}

// scan compares the trees.
func (p *pass) scan(ctx context.Context) error {
	name := ""
	if p.keys == nil {
		name = p.State
	}
	remembered := openLedger(name)
	defer remembered.discard()
	p.progress.Listed.Store(0)
	p.progress.Withheld.Store(0)
	p.progress.Objects.Store(p.progress.ObjectsDone.Load())
	p.progress.Bytes.Store(p.progress.BytesDone.Load())
	var listed refgraph.PathID // the last listing of the source
	for d, err := range p.judged(ctx, p.pairs(ctx, ""), remembered) {
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
	p.remember(remembered)
	p.count()
	return nil
}

// sort puts a decision where it belongs. What is not to be mirrored counts
// nevertheless, as what others need.
func (p *pass) sort(d decision, listed refgraph.PathID) {
	wanted := p.wants(d.key)
	put := wanted && (d.verdict == absent || d.verdict == differ)
	tooMuch := wanted && d.verdict == extra
	switch kind := d.key.Kind(); kind {
	case layout.KindNAR:
		id, ok := refgraph.PackNAR(d.key)
		if !ok {
			if put {
				p.withhold(d.key, fmt.Errorf("its name holds no hash to check it against"))
			}
			return
		}
		if d.inDst && d.verdict != differ {
			p.nars.Add(id[:])
		}
		if put {
			p.newNARs.Add(narCopy{id, d.inDst, d.src.Size}.pack())
		} else if tooMuch {
			p.extraNARs.Add(id[:])
		}
	case layout.KindNarInfo:
		id := refgraph.PackPath(d.key.PathHash())
		if d.inDst {
			p.paths.Add(id[:])
		}
		if put {
			p.newPaths.Add(pathCopy{id, d.inDst, listed == id}.pack())
		} else if tooMuch {
			p.extraPaths.Add(id[:])
		}
	case layout.KindListing:
		id := refgraph.PackPath(d.key.PathHash())
		if put {
			p.newListings.Add(pathCopy{id, d.inDst, false}.pack())
		} else if tooMuch {
			p.extraListings.Add(id[:])
		}
	case layout.KindPage:
		if put {
			p.newPages = append(p.newPages, d.change())
		} else if tooMuch {
			p.extraPages = append(p.extraPages, d.key)
		}
	case layout.KindCacheInfo:
		if put {
			c := d.change()
			p.newInfo = &c
		}
	default:
		if put {
			p.newOthers[kind]++
		} else if tooMuch {
			p.extraOthers[kind]++
		}
	}
	if put {
		p.progress.Objects.Add(1)
		p.progress.Bytes.Add(max(0, d.src.Size))
	}
}

// count tells how much there is to remove.
func (p *pass) count() {
	n := len(p.provisions.extra) + p.extraPaths.Len() + p.extraListings.Len() + p.extraNARs.Len() + len(p.extraPages)
	for _, more := range p.extraOthers {
		n += int(more)
	}
	if p.Delete {
		p.progress.Extra.Store(int64(n))
	}
}

// withhold leaves an object out.
func (p *pass) withhold(key layout.Key, err error) {
	p.problems.add(key, err)
	p.progress.Withheld.Add(1)
	p.report.event(Event{Action: ActionWithhold, Key: key, Err: err})
}

// copyAll copies what is to be copied, kind after kind. Dying anywhere leaves
// objects that nothing leads to yet, or narinfos with all they need.
func (p *pass) copyAll(ctx context.Context) error {
	steps := []func(context.Context) error{
		p.copyNARs,
		p.others(layout.KindLog),
		p.others(layout.KindDebugInfo), // they lead to NARs
		p.copyListings,
		p.copyPages,
		p.copyProvisions,
		p.copyPaths,
		p.others(layout.KindRealisation), // they lead to paths
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
