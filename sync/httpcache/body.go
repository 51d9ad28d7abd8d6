package httpcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// muchProgress is how much must arrive for a broken body to count as a new
// failure: a server that gives one byte a connection is given up in the end.
const muchProgress = 1 << 20

// open asks for a large object, and returns its body when the first bytes are
// there.
func (h *Reader) open(ctx context.Context, r request) (io.ReadCloser, layout.Info, error) {
	var resp *response
	err := h.retry(ctx, r, func() (err error) {
		resp, err = h.once(ctx, r)
		return err
	})
	if err != nil {
		return nil, layout.Info{}, err
	}
	info := resp.info()
	raw := &download{h: h, ctx: ctx, r: r, resp: resp, size: resp.ContentLength}
	raw.r.etag = strongETag(resp.header())
	out, err := decode(raw, resp.header())
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

// headed is a body whose first bytes were looked at.
type headed struct {
	io.Reader
	io.Closer
}

// A download reads an object across as many answers as it takes.
type download struct {
	h    *Reader
	ctx  context.Context
	r    request
	resp *response // nil after one that broke off
	size int64     // -1 if unknown
	off  int64     // bytes given out
	skip int64     // bytes of resp to pass over, as they were given out before

	failures int   // in a row
	mark     int64 // off at the last failure
	err      error // final
}

// Read fills p from the present answer, or from the next.
func (b *download) Read(p []byte) (int, error) {
	for b.err == nil {
		n, err := b.read(p)
		b.off += int64(n)
		switch {
		case err == io.EOF && (b.size < 0 || b.off == b.size):
			b.err = io.EOF
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
			fallthrough
		case err != nil:
			b.err = b.resume(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

func (b *download) read(p []byte) (int, error) {
	for b.skip > 0 {
		n, err := b.resp.Read(make([]byte, min(b.skip, 64<<10)))
		b.skip -= int64(n)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
	}
	return b.resp.Read(p)
}

// resume asks for the rest after err. It returns nil if there is an answer to
// go on with.
func (b *download) resume(err error) error {
	b.drop()
	err = b.r.error(&brokenBody{err})
	// Without a version to hold on to, two could be mixed. Only where the hash
	// of the whole is known does that come to light.
	if !b.r.checked && b.r.etag == "" {
		return err
	}
	if b.off-b.mark >= muchProgress {
		b.failures = 0
	}
	b.mark = b.off
	for {
		if b.ctx.Err() != nil {
			return b.r.error(context.Cause(b.ctx))
		}
		if !isTransient(err) {
			return err
		}
		if b.failures++; b.failures >= b.h.o.Attempts {
			return fmt.Errorf("%w (attempt %d of %d)", err, b.failures, b.h.o.Attempts)
		}
		if pauseErr := b.h.pause(b.ctx, b.failures, err); pauseErr != nil {
			return pauseErr
		}
		next := b.r
		next.offset = b.off
		var resp *response
		if resp, err = b.h.once(b.ctx, next); err == nil {
			return b.adopt(resp)
		}
	}
}

// adopt goes on with resp, if it is of the same version and size.
func (b *download) adopt(resp *response) error {
	b.resp, b.skip = resp, 0
	size := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		first, total, ok := parseContentRange(resp.header().Get("Content-Range"))
		if !ok || first != b.off {
			return b.r.error(fmt.Errorf("asked for the bytes from %d on and was given %.60q", b.off, resp.header().Get("Content-Range")))
		}
		size = total
	} else {
		b.skip = b.off // the server knows no ranges, or has another version
	}
	// The servers behind one name may disagree on the version of equal files:
	// where the hash is known it decides, later.
	etag := strongETag(resp.header())
	changed := etag != b.r.etag && !b.r.checked
	if changed || b.size >= 0 && size >= 0 && size != b.size {
		return b.r.error(errors.New("changed while it was read"))
	}
	b.r.etag = etag
	if b.size < 0 {
		b.size = size
	}
	return nil
}

func (b *download) drop() {
	if b.resp != nil {
		b.resp.Close() // it is broken; the reason is known already
		b.resp = nil
	}
}

// Close ends the download.
func (b *download) Close() error {
	b.drop()
	if b.err == nil {
		b.err = errors.New("read after close")
	}
	return nil
}

func rangeFrom(offset int64) string { return "bytes=" + strconv.FormatInt(offset, 10) + "-" }

// parseContentRange reads "bytes first-last/total"; a total of "*" is -1.
func parseContentRange(value string) (first, total int64, ok bool) {
	spec, isBytes := strings.CutPrefix(value, "bytes ")
	span, size, hasSize := strings.Cut(spec, "/")
	from, _, hasSpan := strings.Cut(span, "-")
	if !isBytes || !hasSize || !hasSpan {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 {
		return 0, 0, false
	}
	if size == "*" {
		return first, -1, true
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return first, total, err == nil && total > first
}
