package httpcache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// A request is what is asked for, however often it takes.
type request struct {
	method  string // "" is GET
	url     *url.URL
	accept  string // content codings
	offset  int64  // first byte wanted
	end     int64  // the byte after the last one wanted; 0 or less for all
	etag    string // of the version that offset counts in, as the server wrote it
	part    bool   // no more than a part is wanted
	checked bool   // the reader of the bytes knows their hash
	anyText bool   // a web page can be what was asked for
	depth   string // of a PROPFIND
}

func (r request) verb() string {
	if r.method == "" {
		return http.MethodGet
	}
	return r.method
}

// error puts what was asked for in front of err.
func (r request) error(err error) error {
	if _, named := errors.AsType[*requestError](err); named {
		return err
	}
	return &requestError{r.verb(), r.url.String(), err}
}

// A response is one answer to a request, good so far. Its Read gives up when
// the server sends nothing for too long.
type response struct {
	*http.Response
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

// once asks one time. Every answer but success is an error.
func (h *Reader) once(ctx context.Context, r request) (*response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var body io.Reader
	success := http.StatusOK
	if r.depth != "" {
		body, success = strings.NewReader(propfind), http.StatusMultiStatus
	}
	req, err := http.NewRequestWithContext(ctx, r.verb(), r.url.String(), body)
	if err != nil {
		cancel(nil)
		return nil, r.error(netx.WithoutURL(err))
	}
	// NewRequest parsed the URL anew, and may spell its path otherwise.
	u := *r.url
	req.URL = &u
	req.Header.Set("User-Agent", h.o.UserAgent)
	req.Header.Set("Accept", "*/*")
	if h.o.Via != nil {
		req.Header.Set("Via", h.o.Via(ctx))
	}
	req.Header.Set("Accept-Encoding", r.accept)
	if r.offset > 0 || r.end > 0 {
		req.Header.Set("Range", rangeOf(r.offset, r.end))
		if r.etag != "" {
			req.Header.Set("If-Range", r.etag)
		}
	}
	if r.depth != "" {
		req.Header.Set("Depth", r.depth)
		req.Header.Set("Content-Type", "application/xml; charset=utf-8")
	}
	h.authorize(req)
	resp, err := h.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, r.error(netx.WithoutURL(err))
	}
	answer := &response{Response: resp, ctx: ctx, cancel: cancel, stall: h.o.Stall}
	answer.timer = time.AfterFunc(h.o.Stall, func() { cancel(&stalled{h.o.Stall}) })
	answer.timer.Stop()
	part := resp.StatusCode == http.StatusPartialContent && resp.Header.Get("Content-Range") != ""
	if resp.StatusCode == success || part {
		return answer, nil
	}
	err = h.readStatus(answer)
	return nil, errors.Join(r.error(err), answer.Close())
}

func (r *response) header() http.Header { return r.Response.Header }

// answer is what a body is made of.
func (r *response) answer() *netx.Answer {
	return &netx.Answer{Body: r, Header: r.header(), Length: r.ContentLength}
}

// Read reads the body as it came.
func (r *response) Read(p []byte) (int, error) {
	r.timer.Reset(r.stall)
	n, err := r.Body.Read(p)
	r.timer.Stop()
	if err != nil {
		if s, ok := context.Cause(r.ctx).(*stalled); ok {
			err = s
		}
	}
	return n, err
}

// Close ends the request. The connection is used again if the body was read to
// its end.
func (r *response) Close() error {
	r.timer.Stop()
	err := r.Body.Close()
	r.cancel(nil)
	return err
}

// info tells what the headers do.
func (r *response) info() layout.Info {
	info := layout.Info{Size: r.ContentLength, ETag: netx.StrongETag(r.header())}
	if n := len(info.ETag); n > 0 {
		info.ETag = info.ETag[1 : n-1]
	}
	if len(netx.Codings(r.header())) > 0 {
		info.Size = -1
	}
	if t, err := http.ParseTime(r.header().Get("Last-Modified")); err == nil {
		info.ModTime = t
	}
	return info
}
