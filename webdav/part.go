package webdav

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// servePart answers a GET that may need only a part of an object, or none of it,
// from a tree where every byte that is asked for costs: it asks for what is wanted
// of the version that was found.
func servePart(w *response, r *http.Request, info layout.Info, kind layout.Kind, fixed *fixedHeaders, tree layout.Reader) {
	r = fewRanges(r, 1) // each would be a request to the store
	setHeaders(w, r, info.Key, kind, fixed)
	setETag(w, info)
	p := &part{ctx: r.Context(), tree: tree, info: info, likely: lastWanted(r.Header.Get("Range"), info.Size)}
	defer p.Close()
	http.ServeContent(w, r, "", info.ModTime, p)
	if p.err != nil {
		panic(http.ErrAbortHandler) // the client must not take what came for all
	}
}

// maxRanges is how many parts of a file are sent in one answer. Each costs a seek, and a
// header of its own that is longer than what asks for it.
const maxRanges = 16

// fewRanges makes a request for too many ranges one for the whole, which is an answer
// that is allowed (RFC 9110, 14.2). No client of a cache asks for several.
func fewRanges(r *http.Request, most int) *http.Request {
	if strings.Count(r.Header.Get("Range"), ",") < most {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	return r
}

// lastWanted returns the offset behind the last byte that a Range header asks
// for, as far as that is plain; otherwise that of the end.
func lastWanted(header string, size int64) int64 {
	first, last, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	if !ok || first == "" {
		return size
	}
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n < 0 || n >= size {
		return size
	}
	return n + 1
}

// A part reads one version of an object from wherever it is asked to.
type part struct {
	ctx    context.Context
	tree   layout.Reader
	info   layout.Info
	likely int64 // where reading is likely to end

	at   int64
	body io.ReadCloser // nil, or the bytes from at to to
	to   int64
	err  error // of the tree
}

// Seek moves to an offset. It costs nothing before the next Read.
func (p *part) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.at
	case io.SeekEnd:
		offset += p.info.Size
	}
	if offset != p.at {
		p.Close()
		p.at = offset
	}
	return offset, nil
}

// Read asks for the bytes up to the likely end; who reads on after that gets
// the rest.
func (p *part) Read(b []byte) (int, error) {
	for p.at < p.info.Size {
		if p.body == nil {
			if p.to = p.likely; p.at >= p.to {
				p.to = p.info.Size
			}
			if p.body, p.err = layout.OpenRange(p.ctx, p.tree, p.info, p.at, p.to); p.err != nil {
				p.body = nil
				return 0, p.err
			}
		}
		n, err := p.body.Read(b)
		p.at += int64(n)
		switch {
		case err == io.EOF && p.at == p.to:
			p.Close()
		case err == io.EOF:
			p.err = io.ErrUnexpectedEOF
			return n, p.err
		case err != nil:
			p.err = err
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// Close ends the request that is under way.
func (p *part) Close() error {
	if p.body == nil {
		return nil
	}
	err := p.body.Close()
	p.body = nil
	return err
}
