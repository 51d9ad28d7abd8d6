package upstream

import (
	"context"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/webdav"
)

// Any is several Upstreams in one. It has what one of them has. If none has a path and
// one cannot tell, it cannot tell either.
type Any []*Upstreams

var _ webdav.Upstream = Any(nil)

// Has returns the first record of a path.
func (a Any) Has(ctx context.Context, hash string) ([]byte, error) {
	unknown := error(fs.ErrNotExist)
	for _, u := range a {
		text, err := u.Has(ctx, hash)
		if err == nil {
			return text, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			unknown = err
		}
	}
	return nil, unknown
}

// Provided reports whether one of them provides a path, as Upstreams does.
func (a Any) Provided(ctx context.Context, path layout.StorePath) (bool, error) {
	var unknown error
	for _, u := range a {
		there, err := u.Provided(ctx, path)
		if there {
			return true, nil
		}
		if err != nil {
			unknown = err
		}
	}
	return false, unknown
}
