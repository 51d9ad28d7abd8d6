package export

import (
	"context"
	"fmt"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// Resolve returns the store path that a user means by arg: an absolute store
// path, a path inside one, a base name, or the hash alone, whose name the cache
// then tells (fs.ErrNotExist if it does not have the path). Only the last asks
// the cache anything.
func (c *Cache) Resolve(ctx context.Context, arg string) (layout.StorePath, error) {
	base := arg
	if strings.HasPrefix(arg, "/") {
		inside, ok := strings.CutPrefix(arg, c.info.StoreDir+"/")
		if !ok {
			return "", fmt.Errorf("resolve %.300q: the cache is for the store directory %s", arg, c.info.StoreDir)
		}
		base, _, _ = strings.Cut(inside, "/")
	}
	if p, err := layout.ParseStorePath(base); err == nil {
		return p, nil
	}
	// A key takes no name, only the hash: any name will do to ask.
	p, err := layout.ParseStorePath(base + "-x")
	if err != nil || p.Name() != "x" {
		return "", fmt.Errorf("resolve %.300q: want %s/<hash>-<name>, a path inside one, <hash>-<name>, or the 32 characters of a <hash>", arg, c.info.StoreDir)
	}
	n, err := c.lookUp(ctx, p)
	if isAbsent(err) {
		return "", fmt.Errorf("resolve %s: the cache has no path of this hash: %w", arg, err)
	}
	if err != nil {
		return "", err
	}
	return n.Path, nil
}
