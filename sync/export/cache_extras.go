package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// Log opens the build log of a derivation.
func (c *Cache) Log(ctx context.Context, drv layout.StorePath) (io.ReadCloser, error) {
	var body io.ReadCloser
	var err error
	for _, key := range layout.LogKeys(drv) {
		if body, _, err = c.r.Get(ctx, key); !isAbsent(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", drv, err)
	}
	return body, nil
}

// outputs knows which derivation outputs a path realises. The cache is asked
// by derivation, so that this takes reading all it has, once.
type outputs struct {
	mu     sync.Mutex
	byPath map[layout.StorePath][]layout.Realisation
}

// Realisations returns what the cache knows of the derivation outputs that
// info's path realises. A web server cannot be asked that: there are none.
func (c *Cache) Realisations(ctx context.Context, info layout.PathInfo) ([]layout.Realisation, error) {
	c.outputs.mu.Lock()
	defer c.outputs.mu.Unlock()
	if c.outputs.byPath == nil {
		all, err := c.readRealisations(ctx)
		if errors.Is(err, layout.ErrNotListable) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		c.outputs.byPath = all
	}
	return c.outputs.byPath[info.Path], nil
}

func (c *Cache) readRealisations(ctx context.Context) (map[layout.StorePath][]layout.Realisation, error) {
	all := map[layout.StorePath][]layout.Realisation{}
	for _, folder := range layout.KindRealisation.Folders() {
		for info, err := range layout.List(ctx, c.r, folder) {
			if err != nil {
				return nil, fmt.Errorf("list realisations: %w", err)
			}
			if info.Key.Kind() != layout.KindRealisation {
				continue
			}
			text, err := layout.ReadAll(ctx, c.r, info.Key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // went while we listed
			}
			if err != nil {
				return nil, err
			}
			// An unreadable realisation does not stop the others.
			if r, err := layout.ParseRealisation(info.Key, text); err == nil {
				all[r.OutPath] = append(all[r.OutPath], r)
			}
		}
	}
	return all, nil
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
