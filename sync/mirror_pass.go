package sync

import (
	"context"
	"fmt"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// A pass is one look at both trees and what came of it. What there may be
// millions of is on shelves, in the order of keys.
type pass struct {
	*run

	// What the destination has.
	paths *shelf // pathIDs, of narinfos
	nars  *shelf // narIDs, of those of the right size

	// What is to be copied.
	newNARs     *shelf // narCopies
	newListings *shelf // pathCopies
	newPaths    *shelf // pathCopies
	newPages    []Change
	newInfo     *Change                       // nix-cache-info
	newOthers   [layout.KindForeign + 1]int64 // logs and the like, found again by their prefix

	// What the destination has too much.
	extraPaths    *shelf // pathIDs
	extraListings *shelf // pathIDs
	extraNARs     *shelf // narIDs
	extraPages    []layout.Key
	extraOthers   [layout.KindForeign + 1]int64

	provisions provisions

	mu       sync.Mutex
	unlisted map[pathID]error // listings that were to be copied and were not
	fate     []narFate        // of newNARs
	graph    *graph           // of newPaths
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
		paths:         newShelf(dir, len(pathID{}), len(pathID{})),
		nars:          newShelf(dir, len(narID{}), len(narID{})),
		newNARs:       newShelf(dir, narCopyBytes, len(narID{})),
		newListings:   newShelf(dir, pathCopyBytes, len(pathID{})),
		newPaths:      newShelf(dir, pathCopyBytes, len(pathID{})),
		extraPaths:    newShelf(dir, len(pathID{}), len(pathID{})),
		extraListings: newShelf(dir, len(pathID{}), len(pathID{})),
		extraNARs:     newShelf(dir, len(narID{}), len(narID{})),
		unlisted:      map[pathID]error{},
	}
}

func (p *pass) shelves() []*shelf {
	return []*shelf{p.paths, p.nars, p.newNARs, p.newListings, p.newPaths, p.extraPaths, p.extraListings, p.extraNARs}
}

// close gives the room back that the pass takes outside of memory.
func (p *pass) close() {
	for _, s := range p.shelves() {
		s.close()
	}
	p.graph.close()
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
	var listed pathID // the last listing of the source
	for d, err := range p.judged(ctx, p.pairs(ctx, ""), remembered) {
		if err != nil {
			return err
		}
		if d.key.Kind() == layout.KindListing && d.inSrc {
			listed = packPath(d.key.PathHash())
		}
		if isProvision(d.key) {
			p.sortProvision(d)
		} else {
			p.sort(d, listed)
		}
	}
	for _, s := range p.shelves() {
		if err := s.seal(); err != nil {
			return err
		}
	}
	p.remember(remembered)
	p.count()
	return nil
}

// sort puts a decision where it belongs. What is not to be mirrored counts
// nevertheless, as what others need.
func (p *pass) sort(d decision, listed pathID) {
	wanted := p.wants(d.key)
	put := wanted && (d.verdict == absent || d.verdict == differ)
	tooMuch := wanted && d.verdict == extra
	switch kind := d.key.Kind(); kind {
	case layout.KindNAR:
		id, ok := packNAR(d.key)
		if !ok {
			if put {
				p.withhold(d.key, fmt.Errorf("its name holds no hash to check it against"))
			}
			return
		}
		if d.inDst && d.verdict != differ {
			p.nars.add(id[:])
		}
		if put {
			p.newNARs.add(narCopy{id, d.inDst, d.src.Size}.pack())
		} else if tooMuch {
			p.extraNARs.add(id[:])
		}
	case layout.KindNarInfo:
		id := packPath(d.key.PathHash())
		if d.inDst {
			p.paths.add(id[:])
		}
		if put {
			p.newPaths.add(pathCopy{id, d.inDst, listed == id}.pack())
		} else if tooMuch {
			p.extraPaths.add(id[:])
		}
	case layout.KindListing:
		id := packPath(d.key.PathHash())
		if put {
			p.newListings.add(pathCopy{id, d.inDst, false}.pack())
		} else if tooMuch {
			p.extraListings.add(id[:])
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
	n := len(p.provisions.extra) + p.extraPaths.len() + p.extraListings.len() + p.extraNARs.len() + len(p.extraPages)
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
	p.report.event(MirrorEvent{Action: ActionWithhold, Key: key, Err: err})
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
