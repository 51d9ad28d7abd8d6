package export

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/recent"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// CacheOptions change how a cache is asked. The zero value is the default.
type CacheOptions struct {
	// Requests is how many records are asked for at once. 0 is 25, Nix's
	// http-connections.
	Requests int
}

// maxRecords bounds the narinfos that a Cache remembers, in bytes: room for 30,000
// ordinary ones at least. Forgotten ones are read again.
const maxRecords = 96 << 20

// A Cache is a binary cache as a source of store paths. It holds what it reads
// to the bounds of its own records and to the names that were asked for; that
// the bytes are right is for the layout.Writer to find out, and who vouches for
// the records is for the Import.
//
// It is safe for concurrent use.
type Cache struct {
	r        layout.Reader
	info     layout.CacheInfo
	requests int
	records  recent.Table[string, *layout.NarInfo] // by hash, between the question for a path and that for its NAR
	outputs  outputs
}

var (
	_ FileSource        = (*Cache)(nil)
	_ LogSource         = (*Cache)(nil)
	_ RealisationSource = (*Cache)(nil)
)

// NewCache makes a source of r, which must have a nix-cache-info.
func NewCache(ctx context.Context, r layout.Reader, o CacheOptions) (*Cache, error) {
	info, err := layout.ReadCacheInfo(ctx, r)
	if err != nil {
		return nil, err
	}
	if o.Requests <= 0 {
		o.Requests = httpcache.OpenConnections
	}
	return &Cache{r: r, info: info, requests: o.Requests,
		records: recent.Table[string, *layout.NarInfo]{Limit: maxRecords}}, nil
}

// StoreDir is the store directory that the cache is for.
func (c *Cache) StoreDir() string { return c.info.StoreDir }

// CacheInfo returns what the cache says of itself.
func (c *Cache) CacheInfo() layout.CacheInfo { return c.info }

// Infos returns the records of paths, in the same order, and stops at the first
// that cannot be had.
func (c *Cache) Infos(ctx context.Context, paths []layout.StorePath) ([]layout.PathInfo, error) {
	infos := make([]layout.PathInfo, len(paths))
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(c.requests)
	for i, p := range paths {
		if inGroup.Err() != nil {
			break
		}
		group.Go(func() error {
			n, err := c.record(inGroup, p)
			if err == nil {
				infos[i] = n.PathInfo
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // the loop may have ended before anything could fail
		return nil, context.Cause(ctx)
	}
	return infos, nil
}

// record returns the record of p, which must be of p and no other path.
func (c *Cache) record(ctx context.Context, p layout.StorePath) (*layout.NarInfo, error) {
	n, err := c.lookUp(ctx, p)
	if err != nil {
		return nil, err
	}
	if n.Path != p {
		return nil, fmt.Errorf("read narinfo of %s: it is the narinfo of %s", p.Abs(c.info.StoreDir), n.Path.Name())
	}
	return n, nil
}

// lookUp returns the record at p's hash. It is not changed by anyone.
func (c *Cache) lookUp(ctx context.Context, p layout.StorePath) (*layout.NarInfo, error) {
	if n, ok := c.records.Get(p.Hash()); ok {
		return n, nil
	}
	text, err := layout.ReadAll(ctx, c.r, layout.NarInfoKey(p))
	if err != nil {
		return nil, fmt.Errorf("read narinfo of %s: %w", p.Abs(c.info.StoreDir), err)
	}
	n, err := layout.ParseNarInfo(text, c.info.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("read narinfo of %s: %s: %w", p.Abs(c.info.StoreDir), layout.NarInfoKey(p), err)
	}
	// Some clients miss this check (I3 would rest on a stranger's references).
	if n.Path.Hash() != p.Hash() {
		return nil, fmt.Errorf("read narinfo of %s: it is the narinfo of %s", p.Abs(c.info.StoreDir), n.Path)
	}
	n.TakeMisformedSigs()
	c.records.Put(strings.Clone(p.Hash()), n, int64(len(text))) // it may be a part of another record
	return n, nil
}
