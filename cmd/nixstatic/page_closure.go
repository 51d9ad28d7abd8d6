package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/pages"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

const (
	// mostWalked bounds the paths of a closure that a page adds up.
	mostWalked = 500_000
	// mostDrawn bounds those of a closure whose references a browser is given.
	mostDrawn = 50_000
	// closureJobs is how many narinfos are read at once.
	closureJobs = 16
)

// A closure is what some paths lead to in a tree.
type closure struct {
	paths   []layout.StorePath
	sizes   []pages.Size
	refs    [][]int32
	number  map[layout.StorePath]int32
	partial bool
}

// walkClosure reads the narinfos of a closure, level by level. Paths that are not
// in the tree are those of other caches, and not counted.
func walkClosure(ctx context.Context, r layout.Reader, storeDir string, roots []layout.StorePath) (*closure, error) {
	c := &closure{number: map[layout.StorePath]int32{}}
	seen := map[layout.StorePath]bool{}
	type found struct {
		n   *layout.NarInfo
		err error
	}
	refs := map[layout.StorePath][]layout.StorePath{}
	level := fresh(seen, roots)
	for len(level) > 0 {
		var next []layout.StorePath
		at := 0
		for f := range parallel.Map(ctx, closureJobs, slices.Values(level), func(ctx context.Context, p layout.StorePath) found {
			text, err := layout.ReadAll(ctx, r, layout.NarInfoKey(p))
			if err != nil {
				return found{nil, err}
			}
			n, err := layout.ParseNarInfo(text, storeDir)
			if err != nil || n.Path != p {
				return found{nil, nil}
			}
			return found{n, nil}
		}) {
			p := level[at]
			at++
			switch {
			case errors.Is(f.err, fs.ErrNotExist):
				continue
			case f.err != nil && !errors.Is(f.err, layout.ErrTooLarge):
				return nil, f.err
			case f.n == nil || len(c.paths) == mostWalked:
				c.partial = true
				continue
			}
			c.number[p] = int32(len(c.paths))
			record := pages.RecordOf(f.n, time.Time{})
			c.paths = append(c.paths, p)
			c.sizes = append(c.sizes, pages.Size{Paths: 1, NarBytes: record.NarSize, FileBytes: record.FileSize})
			refs[p] = f.n.References
			next = append(next, fresh(seen, f.n.References)...)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		level = next
	}
	for i, p := range c.paths {
		row := []int32{}
		for _, ref := range refs[p] {
			if n, ok := c.number[ref]; ok && n != int32(i) {
				row = append(row, n)
			}
		}
		c.refs = append(c.refs, row)
	}
	return c, nil
}

// fresh returns the paths that were not seen, and marks them.
func fresh(seen map[layout.StorePath]bool, paths []layout.StorePath) (news []layout.StorePath) {
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			news = append(news, p)
		}
	}
	return news
}

// size adds up what one path leads to.
func (c *closure) size(root layout.StorePath) (s pages.Size) {
	start, ok := c.number[root]
	if !ok {
		return s
	}
	seen := make([]bool, len(c.paths))
	seen[start] = true
	for todo := []int32{start}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s = s.Plus(c.sizes[i])
		for _, ref := range c.refs[i] {
			if !seen[ref] {
				seen[ref] = true
				todo = append(todo, ref)
			}
		}
	}
	return s
}

// fill tells a pin what it keeps.
func (c *closure) fill(pin *pages.Pin, roots []layout.StorePath) {
	for _, s := range c.sizes {
		pin.Size = pin.Size.Plus(s)
	}
	pin.Partial = c.partial
	pin.Roots = []pages.Root{}
	for _, root := range roots[:min(len(roots), pages.MaxRoots)] {
		pin.Roots = append(pin.Roots, pages.Root{Path: root, Size: c.size(root)})
	}
}

// graph returns what a browser finds referrers by, nil if it is too large.
func (c *closure) graph(pin string) *pages.Graph {
	if len(c.paths) > mostDrawn {
		return nil
	}
	return &pages.Graph{Version: pages.GraphVersion, Pin: pin, Paths: append([]layout.StorePath{}, c.paths...), Refs: append([][]int32{}, c.refs...)}
}
