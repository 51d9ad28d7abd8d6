package httpcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

var _ layout.RangeReader = (*Reader)(nil)

// OpenRange opens the bytes [from, to) of the version that a Stat described. From a
// server that gives no parts it reads all bytes up to there.
func (h *Reader) OpenRange(ctx context.Context, version layout.Info, from, to int64) (io.ReadCloser, error) {
	etag := ""
	if version.ETag != "" {
		etag = `"` + version.ETag + `"`
	}
	return h.openRange(ctx, h.keyURL(version.Key), etag, version.Key.Immutable(), version.Size, from, to)
}

// OpenURLRange opens the bytes [from, to) of what the URL field of a narinfo leads
// to, which has that size. The bytes are named by their hash: they are those of
// one version, whichever server gives them.
func (h *Reader) OpenURLRange(ctx context.Context, ref string, size, from, to int64) (io.ReadCloser, error) {
	u, err := resolveURL(h.base, ref)
	if err != nil {
		return nil, err
	}
	return h.openRange(ctx, u, "", true, size, from, to)
}

func (h *Reader) openRange(ctx context.Context, u *url.URL, etag string, checked bool, size, from, to int64) (io.ReadCloser, error) {
	r := request{url: u, accept: "identity", checked: checked, part: true}
	if from < 0 || from > to || to > size {
		return nil, r.error(fmt.Errorf("no bytes %d to %d in %d", from, to, size))
	}
	if from == to {
		return http.NoBody, nil // no range is empty
	}
	s := h.source(r, etag)
	s.Name = func(err error) error {
		if errors.Is(err, netx.ErrChanged) {
			err = layout.ErrChanged
		}
		return r.error(err)
	}
	body := netx.Range(ctx, s, size, etag, from, to)
	if err := body.Open(); err != nil {
		return nil, err
	}
	return body, nil
}
