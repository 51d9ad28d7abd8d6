package webdav

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// ThroughQuery is how the query begins of the URL of a NAR that a tree may not have yet;
// the hash of the store path follows.
const ThroughQuery = "of="

// A Through fetches what a tree lacks from other caches when a reader asks for it. Its
// errors are fs.ErrNotExist only for what is known to be in none of them (I5).
type Through interface {
	// NarInfo returns the record of the path with this hash, with a URL that has
	// ThroughQuery. Without an error release is to be called when the text was sent:
	// clients share the memory for large ones.
	NarInfo(ctx context.Context, hash string) (text []byte, release func(), err error)
	// NAR opens what the record leads to.
	NAR(ctx context.Context, nar layout.Key, hash string) (Flow, error)
	// Settle is told that a reader got the NAR from the tree by such a URL. It must be
	// cheap.
	Settle(ctx context.Context, nar layout.Key, hash string)
}

// A Flow is a NAR on its way from another cache.
type Flow struct {
	Key  layout.Key        // where it stands in the tree already; "" if it does not
	Body io.ReadSeekCloser // otherwise; its end is there only if all of it was checked
	Size int64             // bytes of it
}

// pathOf returns the hash of the store path that the URL of a NAR is for, and the key of
// the NAR. It is "" where the URL names none.
func (t *target) pathOf(r *http.Request) (nar layout.Key, hash string) {
	hash, ok := strings.CutPrefix(r.URL.RawQuery, ThroughQuery)
	if !ok || t.kind != layout.KindNAR {
		return "", ""
	}
	if key := layout.NarInfoKeyOf(hash); key.Kind() != layout.KindNarInfo {
		return "", ""
	}
	name, _, _ := strings.Cut(string(t.key), "?")
	return layout.Key(name), strings.Clone(hash) // it is a part of the line of the request
}

// through answers a GET or HEAD that the tree answered with f, nil for success.
func (h *Handler) through(w *response, r *http.Request, t *target, f *failure) *failure {
	ctx := share.As(r.Context(), share.ClientOf(t.token, r.RemoteAddr))
	nar, hash := t.pathOf(r)
	ctx, loops := h.via(ctx, r)
	switch {
	case f == nil && hash != "":
		h.cfg.Through.Settle(ctx, nar, hash)
	case f == nil || f.status != http.StatusNotFound:
	case loops && (t.kind == layout.KindNarInfo || hash != ""):
		return &failure{status: http.StatusLoopDetected, text: "this server asked for that itself, of a cache that asks it"}
	case t.kind == layout.KindNarInfo:
		return h.throughNarInfo(ctx, w, r, t)
	case hash != "" && r.Method == http.MethodHead:
		_, release, err := h.cfg.Through.NarInfo(ctx, hash)
		if err != nil {
			return throughFailure(err)
		}
		release()
		setHeaders(w, r, nar, t.kind, &readHeaders[t.kind])
		w.WriteHeader(http.StatusOK)
		return nil
	case hash != "":
		return h.throughNAR(ctx, w, r, t, nar, hash)
	}
	return f
}

func (h *Handler) throughNarInfo(ctx context.Context, w *response, r *http.Request, t *target) *failure {
	text, release, err := h.cfg.Through.NarInfo(ctx, t.key.PathHash())
	if err != nil {
		return throughFailure(err)
	}
	defer release()
	setHeaders(w, r, t.key, t.kind, &readHeaders[t.kind])
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	return nil
}

func (h *Handler) throughNAR(ctx context.Context, w *response, r *http.Request, t *target, nar layout.Key, hash string) *failure {
	t.key = nar
	flow, err := h.cfg.Through.NAR(ctx, nar, hash)
	if err != nil {
		return throughFailure(err)
	}
	if flow.Key != "" {
		t.key = flow.Key
		return serveObject(w, r, t, h.cfg.Tree, readHeaders, nil, time.Time{})
	}
	defer flow.Body.Close()
	setHeaders(w, r, nar, t.kind, &readHeaders[t.kind])
	body := &patient{ReadSeeker: flow.Body, w: w}
	http.ServeContent(w, r, "", time.Time{}, body)
	if body.err != nil {
		panic(http.ErrAbortHandler) // the client must not take the part for the whole
	}
	return nil
}

// patient reads what comes as slowly as it comes. The time that a client has to take it
// begins when it is there.
type patient struct {
	io.ReadSeeker
	w   *response
	err error
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.ReadSeeker.Read(b)
	if err != nil && err != io.EOF {
		p.err = err
	}
	p.w.extend()
	return n, err
}

// throughFailure is the answer where other caches could not help.
func throughFailure(err error) *failure {
	var wait interface{ RetryAfter() time.Duration }
	switch {
	case isAbsent(err):
		return absent()
	case errors.As(err, &wait):
		return &failure{status: http.StatusTooManyRequests, text: err.Error(), retryAfter: wait.RetryAfter()}
	case errors.Is(err, share.ErrBusy):
		return &failure{status: http.StatusTooManyRequests, retryAfter: 10 * time.Second,
			text: "too much is being fetched from other caches, and no room for this was free for a while: try again later"}
	case errors.Is(err, ErrUpstream): // its log tells of that once, and not for each reader
		return &failure{status: http.StatusServiceUnavailable, retryAfter: 5 * time.Second,
			text: "the cache that this one fetches from does not answer, so that nobody can tell whether it has this: try again later"}
	}
	return &failure{status: http.StatusServiceUnavailable, cause: err, retryAfter: 5 * time.Second,
		text: "what was to be fetched from another cache could not be stored: try again later"}
}
