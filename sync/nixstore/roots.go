package nixstore

import (
	"context"
	"maps"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

func (s *Store) hold(p layout.StorePath) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[p] = true
}

func (s *Store) holds(p layout.StorePath) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[p]
}

// holdOn takes the root of a path that has one. The daemon may be another than the
// one that gave it, without anybody having noticed so far.
func (s *Store) holdOn(ctx context.Context, p layout.StorePath) error {
	return s.roots.use(ctx, func(_ context.Context, c *conn) error {
		c.request(opAddTempRoot, p.Abs(s.storeDir))
		if err := c.out.to.Flush(); err != nil {
			c.in.fail(err)
			return err
		}
		return c.readRoot()
	})
}

// holdAgain takes the roots anew that went with an earlier connection. A path
// that a garbage collector was quicker to delete does not count as an error
// here: its reader will find nothing.
func (s *Store) holdAgain(ctx context.Context, c *conn) error {
	s.mu.Lock()
	paths := slices.Collect(maps.Keys(s.held))
	s.mu.Unlock()
	if len(paths) == 0 {
		return nil
	}
	ask := func(p layout.StorePath) { c.request(opAddTempRoot, p.Abs(s.storeDir)) }
	err := c.pipeline(ctx, paths, ask, func(int) error { return c.readRoot() })
	if err != nil {
		c.Close()
	}
	return err
}
