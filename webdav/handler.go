package webdav

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// uploads is what is asked of an *inbox.Inbox.
type uploads interface {
	layout.Lister
	Check(ctx context.Context, key layout.Key, o inbox.Options) error
	Put(ctx context.Context, key layout.Key, from io.Reader, o inbox.Options) (inbox.Outcome, error)
	ForNix() layout.Reader
	Stored(ctx context.Context, hashes []string) ([]bool, error)
	RoomForRecord(ctx context.Context, size int64) error
	Afford(ctx context.Context, n int) error
	Made(ctx context.Context, bytes int64)
	piecewise
}

// piecewise is the part of it that is about pieces of NARs.
type piecewise interface {
	CheckPiece(ctx context.Context, nar layout.Key, offset, size, total int64) error
	PutPiece(ctx context.Context, nar layout.Key, offset, size, total int64, from io.Reader) error
	Join(ctx context.Context, nar layout.Key, total int64, patience time.Duration) (inbox.Joined, error)
}

// A Handler serves a tree. It is safe for concurrent use, and has nothing to
// close.
type Handler struct {
	cfg    Config
	inbox  uploads // nil: read-only
	prefix string  // of the upload URL, with a slash at both ends
	shared bool    // readers and uploads share "/"
	log    *slog.Logger
	places places
	told   *share.Budget // lines of the log
	untold atomic.Int64  // those that were too many

	lately *lately // of the tree
	named  *lately // of its records as a named tree has them

	reading, uploading *view // what WebDAV clients see at either URL
	locks              *locks
}

// New returns a handler for a tree.
func New(c Config) *Handler {
	var up uploads
	if c.Inbox != nil { // a nil *Inbox in the interface would not be nil
		up = c.Inbox
	}
	return newHandler(c, up)
}

func newHandler(c Config, up uploads) *Handler {
	if c.BodyStall <= 0 {
		c.BodyStall = defaultStall
	}
	if c.MaxSmall <= 0 {
		c.MaxSmall = 16 << 20
	}
	if c.StoreDir == "" {
		c.StoreDir = layout.DefaultStoreDir
	}
	if c.Auth == nil {
		c.Auth = ReadOnly
	}
	if c.MaxUploads <= 0 {
		c.MaxUploads = 32
	}
	if c.UploadWait <= 0 {
		c.UploadWait = 4 * time.Minute // a Nix gives up after five without an answer
	}
	if c.Decoding == nil {
		c.Decoding = share.NewPool(layout.DecoderMemory, c.UploadWait)
	}
	if c.Turns == nil {
		c.Turns = layout.NewTurns(c.UploadWait)
	}
	h := &Handler{cfg: c, inbox: up, log: c.Log, told: share.NewBudget(maxTold, time.Second), lately: newLately(c.Fresh), named: newLately(c.Fresh), places: newPlaces(c.MaxUploads, c.UploadWait, c.BodyStall/3)}
	if h.log == nil {
		h.log = slog.Default()
	}
	if h.prefix = "/" + strings.Trim(c.UploadPrefix, "/") + "/"; h.prefix == "//" {
		h.prefix = "/"
	}
	if c.UploadPrefix == "" {
		h.prefix = "/upload/"
	}
	h.shared = up != nil && h.prefix == "/"
	// A client that waits longer than that for a listing may have given up.
	patience := c.BodyStall / 3
	h.reading = newView(c.Tree, "/", nil, patience)
	if up != nil {
		h.locks = newLocks(h.prefix)
		h.uploading = newView(up, h.prefix, up, patience)
		h.uploading.locks = h.locks
	}
	return h
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := responses.Get().(*response)
	*w = response{ResponseWriter: rw, stall: h.cfg.BodyStall, target: h.route(r)}
	t := &w.target
	in := newBody(rw, r, h.cfg.BodyStall)
	defer func() {
		in.leave()
		if h.cfg.Metrics != nil {
			h.cfg.Metrics.Request(methodWord(r.Method), requestClass(r.Method, t), w.status, in.n, w.n, time.Since(start))
		}
		*w = response{}
		responses.Put(w)
	}()

	f := h.serve(w, r, t, in, start)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.lately.touch()
		h.named.touch()
	}
	if f == nil && h.cfg.Uses != nil && r.Method == http.MethodGet && (!t.upload || h.shared && t.run == nil) {
		h.used(w, r, t)
	}
	if f != nil {
		if r.Method == http.MethodPut {
			f.soften(clientOf(r), sent(r, in, start))
		}
		if f.cause != nil && !errors.Is(f.cause, context.Canceled) {
			if more, ok := h.tell(r, t); ok {
				h.log.Error("request failed", append([]any{"method", methodWord(r.Method), "path", logged(r.URL.Path), "client", r.RemoteAddr, "token", t.token, "status", f.status, "error", f.cause}, more...)...)
			}
		}
		if f.status != http.StatusNotFound || !h.replyPage(w, r, t) {
			refuse(w, r, in, f)
		}
	}
	if h.log.Enabled(r.Context(), slog.LevelDebug) {
		h.log.Debug("request", "method", methodWord(r.Method), "path", logged(r.URL.Path), "client", r.RemoteAddr, "token", t.token, "status", w.status,
			"in", in.n, "out", w.n, "took", time.Since(start))
	}
}

// serve answers a request, or returns the failure to answer with.
func (h *Handler) serve(w *response, r *http.Request, t *target, in *body, start time.Time) *failure {
	if t.run != nil {
		r = r.WithContext(withRun(r.Context(), *t.run))
	}
	token, err := h.cfg.Auth.Authorize(r, h.scope(r.Method, t))
	if err != nil {
		return failureOf(err)
	}
	t.token = token
	if t.upload || r.Method != http.MethodGet && r.Method != http.MethodHead {
		ctx, done := share.UntilGone(share.As(r.Context(), share.ClientOf(token, r.RemoteAddr)))
		defer done()
		r = r.WithContext(ctx)
	}
	switch {
	case t.norun != nil && (h.scope(r.Method, t) > Read || !h.shared):
		return h.misnamed(t.norun)
	case t.run != nil:
		if f := h.note(r, t); f != nil {
			return f
		}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		r = fewRanges(r, maxRanges)
		if t.upload && (!h.shared || t.run != nil) {
			return h.readUploads(w, r, t)
		}
		if f := t.findNAR(r, h.cfg.Tree); f != nil {
			return f
		}
		if h.cfg.Redirect != nil && r.Method == http.MethodGet && t.kind == layout.KindNAR && !t.upload && !fromScript(r) && !h.coming(t) {
			return h.redirect(w, r, t)
		}
		tree, known := h.shown(r, t)
		f := serveObject(w, r, t, tree, readHeaders, known, start)
		if h.cfg.Through != nil {
			return h.through(w, r, t, f)
		}
		return f
	case http.MethodPut:
		return h.put(w, r, t, in, start)
	case http.MethodPost:
		if t.upload && t.root() && asksMissing(r) {
			return h.missing(w, r, t, in)
		}
	}
	return h.serveDAV(w, r, t, in)
}

// scope is what a request needs to be allowed. If readers and uploads share one URL,
// the method tells which of them a client is. A page says what it likes to people, at
// the cache's own origin, and nothing of it can be checked; a pin keeps what it likes
// for ever.
func (h *Handler) scope(method string, t *target) Scope {
	looks := method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions || method == "PROPFIND"
	switch {
	case h.cfg.Unlisted && looks && (method == "PROPFIND" || strings.HasPrefix(t.name+"/", layout.SearchFolder)):
		return Upload
	case !t.upload || h.shared && looks && t.run == nil:
		return Read
	case (t.kind == layout.KindPage || t.kind == layout.KindPin) && !looks:
		return Admin
	}
	return Upload
}

// sent reports whether the client may have sent some of its body: it has, if it
// was not told to wait, if we asked for it, or if it grew tired of waiting,
// which curl does after a second.
func sent(r *http.Request, in *body, start time.Time) bool {
	waits := r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
	return !waits || in.touched || time.Since(start) > 900*time.Millisecond
}

// A client may have the log told of so many requests that failed or were refused at
// once, and of one more each second: it could fill a disk with them.
const maxTold = 1000

// tell reports whether the log is told of what became of a request, and what it is to be
// told besides: of how many it was not.
func (h *Handler) tell(r *http.Request, t *target) (more []any, ok bool) {
	if _, err := h.told.Take(share.As(r.Context(), share.ClientOf(t.token, r.RemoteAddr)), 1, 0); err != nil {
		h.untold.Add(1)
		return nil, false
	}
	if n := h.untold.Swap(0); n > 0 {
		more = []any{"untold", n}
	}
	return more, true
}

// maxLogged bounds what the log tells of a name that a client made up: a key has no more bytes.
const maxLogged = 1024

// logged returns a name for the log.
func logged(name string) string {
	if len(name) <= maxLogged {
		return name
	}
	return strings.ToValidUTF8(name[:maxLogged], "") + "…"
}

// methodWord is the method, if it is one of ours: Recorder is promised a bounded
// set.
func methodWord(method string) string {
	switch method {
	case "GET", "HEAD", "PUT", "OPTIONS", "PROPFIND", "PROPPATCH", "MKCOL", "LOCK", "UNLOCK", "DELETE", "MOVE", "COPY", "POST":
		return method
	}
	return "other"
}

func requestClass(method string, t *target) string {
	switch method {
	case "GET", "HEAD", "PUT":
		return t.class()
	case "OPTIONS", "PROPFIND", "PROPPATCH", "MKCOL", "LOCK", "UNLOCK", "DELETE", "MOVE", "COPY":
		return "dav"
	}
	return "none"
}
