package sync

import (
	"context"
	"fmt"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// A pass is one look at both trees and what came of it. All ids are sorted.
type pass struct {
	*run

	// What the destination has.
	paths []pathID // narinfos
	nars  []narID  // of the right size

	// What is to be copied.
	newNARs     []narCopy
	newListings []pathCopy
	newPaths    []pathCopy
	newPages    []Change
	newInfo     *Change                       // nix-cache-info
	newOthers   [layout.KindForeign + 1]int64 // logs and the like, found again by their prefix

	// What the destination has too much.
	extraPaths    []pathID
	extraListings []pathID
	extraNARs     []narID
	extraPages    []layout.Key
	extraOthers   [layout.KindForeign + 1]int64

	mu       sync.Mutex
	unlisted map[pathID]error // listings that were to be copied and were not
	graph    graph            // of newPaths
}

// A narCopy is a NAR to copy.
type narCopy struct {
	id      narID
	replace bool // the one at the destination has another size
	done    bool // it is there
	bad     bool // it cannot be
	size    int64
}

// A pathCopy is a narinfo or a listing to copy.
type pathCopy struct {
	id      pathID
	replace bool
	listed  bool // of a narinfo: the source has a listing beside it
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
	p.unlisted = map[pathID]error{}
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
		p.sort(d, listed)
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
			p.nars = append(p.nars, id)
		}
		if put {
			p.newNARs = append(p.newNARs, narCopy{id: id, replace: d.inDst, size: d.src.Size})
		} else if tooMuch {
			p.extraNARs = append(p.extraNARs, id)
		}
	case layout.KindNarInfo:
		id := packPath(d.key.PathHash())
		if d.inDst {
			p.paths = append(p.paths, id)
		}
		if put {
			p.newPaths = append(p.newPaths, pathCopy{id, d.inDst, listed == id})
		} else if tooMuch {
			p.extraPaths = append(p.extraPaths, id)
		}
	case layout.KindListing:
		id := packPath(d.key.PathHash())
		if put {
			p.newListings = append(p.newListings, pathCopy{id: id, replace: d.inDst})
		} else if tooMuch {
			p.extraListings = append(p.extraListings, id)
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
	n := len(p.extraPaths) + len(p.extraListings) + len(p.extraNARs) + len(p.extraPages)
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
		p.others(layout.KindRealisation),
		p.copyPaths,
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
