package doctor

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/sync/nixconf"
)

const (
	maxClosure = 50_000 // paths that are followed from one
	asking     = 16     // questions to one cache at a time
)

// A reference is a path that another one needs, and what became of the question.
type reference struct {
	path, of layout.StorePath
	record   *layout.NarInfo // of this cache, or of another one; nil for none
	here     bool
	damaged  error // the cache has it, and it cannot be read
	unsure   bool  // a cache did not answer
}

// checkReferences follows a path to all that it needs, at this cache and at the
// others of the list.
func checkReferences(ctx context.Context, p *patient) {
	if p.record == nil {
		return
	}
	var others []layout.Reader
	for _, url := range p.view.substituters {
		if nixconf.SameCache(url, p.URL) {
			continue
		}
		r, err := p.Open(ctx, url, p.view.netrc)
		if err != nil {
			p.unchecked("%s: %v", url, err)
			continue
		}
		if c, ok := r.(io.Closer); ok {
			defer c.Close()
		}
		others = append(others, r)
	}
	seen := map[layout.StorePath]bool{p.record.Path: true}
	level := newReferences(p.record, seen)
	unsure, judged := false, false
	for len(level) > 0 && ctx.Err() == nil {
		var next []reference
		for r := range parallel.Map(ctx, asking, slices.Values(level), func(ctx context.Context, r reference) reference { return p.lookFor(ctx, r, others) }) {
			switch {
			case r.damaged != nil:
				p.fail("narinfo-damaged", "upload the path again; nixstatic verify on the cache tells more", "the narinfo of %s, which %s refers to, cannot be read: %v", r.path, r.of, r.damaged)
			case r.unsure:
				unsure = true
			case r.record == nil:
				p.fail("reference-missing", "upload it too: nixstatic push, or nix copy --to the upload URL of the cache, "+r.path.Abs(p.StoreDir),
					"%s refers to %s, which neither this cache nor another substituter has", r.of, r.path)
			case r.here && !judged && !p.keysTold:
				judged = p.judge(r.record)
			}
			if r.record != nil {
				next = append(next, newReferences(r.record, seen)...)
			}
		}
		if len(seen) > maxClosure {
			p.unchecked("more than %d paths are needed: the rest was not looked at", maxClosure)
			return
		}
		level = next
	}
	if unsure {
		p.unchecked("a substituter did not answer, and may have references that this cache lacks")
	}
}

// newReferences returns what a record refers to and was not seen before.
func newReferences(n *layout.NarInfo, seen map[layout.StorePath]bool) []reference {
	var fresh []reference
	for _, ref := range n.References {
		if !seen[ref] {
			seen[ref] = true
			fresh = append(fresh, reference{path: ref, of: n.Path})
		}
	}
	return fresh
}

func (p *patient) lookFor(ctx context.Context, r reference, others []layout.Reader) reference {
	var err error
	r.record, err = p.read(ctx, p.reader, r.path)
	if r.here = err == nil; r.here {
		return r
	}
	if !errors.Is(err, fs.ErrNotExist) {
		r.damaged = err
		return r
	}
	for _, other := range others {
		if r.record, err = p.read(ctx, other, r.path); err == nil {
			r.unsure = false
			return r
		}
		r.record = nil
		r.unsure = r.unsure || !errors.Is(err, fs.ErrNotExist)
	}
	return r
}
