package httpcache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// open asks for a large object, and returns its body when the first bytes are
// there.
func (h *Reader) open(ctx context.Context, r request) (io.ReadCloser, layout.Info, error) {
	var raw *netx.Body
	var resp *response
	err := h.retry(ctx, r, func() (err error) {
		if resp, err = h.once(ctx, r); err != nil {
			return err
		}
		if raw, err = netx.Whole(ctx, h.source(r, netx.StrongETag(resp.header())), resp.answer()); err != nil {
			return errors.Join(r.error(err), resp.Close())
		}
		return nil
	})
	if err != nil {
		return nil, layout.Info{}, err
	}
	info := resp.info()
	out, err := netx.Decode(raw, resp.header())
	if err != nil {
		return nil, info, errors.Join(r.error(err), raw.Close())
	}
	if r.anyText {
		return out, info, nil
	}
	head := make([]byte, 512)
	n, err := io.ReadAtLeast(out, head, 64)
	head = head[:n]
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, info, errors.Join(r.error(err), out.Close())
	case isWebPage(head):
		return nil, info, errors.Join(r.error(errWebPage), out.Close())
	}
	return &headed{io.MultiReader(bytes.NewReader(head), out), out}, info, nil
}

// source tells how a body is asked for in parts, or gone on with that broke off. The
// version is that of an ETag, "" where none is known.
func (h *Reader) source(r request, etag string) netx.Source {
	return netx.Source{
		Checked: r.checked, Retry: &h.again, Judge: h.judge, What: r.url.String(), Name: r.error,
		Ask: func(ctx context.Context, from, to int64) (*netx.Answer, error) {
			next := r
			if from > 0 || from == 0 && r.part {
				next.offset, next.etag = from, etag
			}
			if from >= 0 && r.part {
				next.end = to
			}
			resp, err := h.once(ctx, next)
			switch {
			case isStatus(err, http.StatusRequestedRangeNotSatisfiable, http.StatusPartialContent):
				return nil, netx.NotUsable(err)
			case err != nil:
				return nil, err
			}
			return resp.answer(), nil
		},
	}
}

// headed is a body whose first bytes were looked at.
type headed struct {
	io.Reader
	io.Closer
}

// rangeOf asks for the bytes [from, to), or for all from there on if to is 0 or less.
func rangeOf(from, to int64) string {
	r := "bytes=" + strconv.FormatInt(from, 10) + "-"
	if to > 0 {
		r += strconv.FormatInt(to-1, 10)
	}
	return r
}
