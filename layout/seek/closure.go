package seek

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// A Closure is a store path with all that it refers to, as far as a cache has it.
type Closure struct {
	Paths   []*Sizes           // sorted by path
	Missing []layout.StorePath // referred to, and not in the cache
}

// Sizes are those of one path.
type Sizes struct {
	Path     layout.StorePath
	NarSize  int64 // bytes
	FileSize int64 // bytes; 0 where the record does not tell
}

// MaxClosure bounds the paths of a closure: a cache that makes up references would be
// asked for ever.
const MaxClosure = 1_000_000

// ErrEndless says that a closure has more paths than that.
var ErrEndless = errors.New("the closure has no end in sight")

// WalkClosure reads the records of a closure, jobs of them at once. Seen counts the
// paths meanwhile; it may be nil.
func WalkClosure(ctx context.Context, r layout.Reader, record *layout.NarInfo, storeDir string, jobs int, seen *atomic.Int64) (*Closure, error) {
	if seen == nil {
		seen = new(atomic.Int64)
	}
	c := &Closure{}
	known := map[layout.StorePath]bool{record.Path: true}
	level := []*layout.NarInfo{record}
	for len(level) > 0 {
		var next []layout.StorePath
		for _, n := range level {
			c.Paths = append(c.Paths, &Sizes{n.Path, n.NarSize, n.FileSize})
			for _, ref := range n.References {
				if !known[ref] {
					known[ref] = true
					next = append(next, ref)
				}
			}
		}
		if len(known) > MaxClosure {
			return nil, ErrEndless
		}
		seen.Store(int64(len(c.Paths)))
		level = level[:0:0]
		var mu sync.Mutex
		group, inGroup := errgroup.WithContext(ctx)
		group.SetLimit(max(1, jobs))
		for _, p := range next {
			if inGroup.Err() != nil {
				break
			}
			group.Go(func() error {
				n, err := Record(inGroup, r, p.Hash(), storeDir)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, fs.ErrNotExist):
					c.Missing = append(c.Missing, p)
				case err != nil:
					return err
				default:
					level = append(level, n)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	slices.SortFunc(c.Paths, func(a, b *Sizes) int { return strings.Compare(string(a.Path), string(b.Path)) })
	slices.Sort(c.Missing)
	return c, nil
}
