package export

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// OpenCache opens the binary cache at location: an http:// or https:// URL, a
// file:// URL, or the path of a directory.
func OpenCache(ctx context.Context, location string, o CacheOptions) (*Cache, error) {
	scheme, _, isURL := strings.Cut(location, "://")
	switch {
	case isURL && (scheme == "http" || scheme == "https"):
		h, err := httpcache.Open(location, o.HTTP)
		if err != nil {
			return nil, err
		}
		return openCache(ctx, h, h.URL(), h.Close, o)
	case isURL && scheme != "file":
		return nil, fmt.Errorf("open cache %.300q: want https://…, http://…, file:///… or a directory", httpcache.RedactRef(location))
	}
	path := location
	if isURL {
		var err error
		if path, err = filePath(location); err != nil {
			return nil, err
		}
	}
	d, err := layout.OpenDir(path)
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", path, err)
	}
	return openCache(ctx, d, d.Path(), d.Close, o)
}

func openCache(ctx context.Context, r layout.Reader, name string, release func() error, o CacheOptions) (*Cache, error) {
	c, err := NewCache(ctx, r, o)
	if err != nil {
		release() // err says more
		return nil, fmt.Errorf("open cache %s: %w", name, err)
	}
	c.close = release
	return c, nil
}

// filePath returns the path of a file: URL. Its query holds settings of Nix.
func filePath(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", fmt.Errorf("open cache %.300q: %w", location, httpcache.InnerURLError(err))
	}
	if u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", fmt.Errorf("open cache %.300q: want file:// and an absolute path", location)
	}
	return u.Path, nil
}
