package webdav

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// readUploads answers GET and HEAD at the upload URL. A Nix is told of what
// readers see, and of what an upstream provides, so that it sends neither again;
// everyone else also of what is held.
func (h *Handler) readUploads(w *response, r *http.Request, t *target) *failure {
	c := clientOf(r)
	if note, ok := h.uploading.note(share.From(r.Context()), t.name); ok && !c.nix {
		return sendScratch(w, r, note)
	}
	f := serveObject(w, r, t, h.uploaded(c, r), uploadHeaders, nil, time.Time{})
	if f == nil || f.status != http.StatusNotFound || h.cfg.Upstream == nil || t.kind != layout.KindNarInfo {
		return f
	}
	text, err := h.cfg.Upstream.Has(r.Context(), t.key.PathHash())
	if err != nil {
		// If no upstream can tell, the client is to send the path: sending one that an
		// upstream has as well costs time and space, and is never wrong. A failure
		// would stop all uploads for as long as an upstream is down.
		if !isAbsent(err) && r.Context().Err() == nil {
			h.log.Debug("an upstream cannot be asked, the client sends the path", "key", t.name, "error", err)
		}
		return f
	}
	setHeaders(w, r, t.key, t.kind, &uploadHeaders[layout.KindNarInfo])
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	return nil
}

// uploaded is the tree as an uploading client has to see it, to know what it
// need not send.
func (h *Handler) uploaded(c client, r *http.Request) layout.Reader {
	if c.nix || strict(r) {
		return h.inbox.ForNix()
	}
	return h.inbox
}

// shown is the tree as a reader sees it. If readers and uploads share one URL, a Nix
// may be either. It asks for HEAD and for narinfos before it sends, and a reader loses
// nothing by the same answers: what is damaged is of no use.
//
// A Nix remembers a narinfo for a month. With a Through the URL that it remembers names the
// path, so that a NAR which was pruned by then can be fetched again.
func (h *Handler) shown(r *http.Request, t *target) (layout.Reader, *lately) {
	record := t.kind == layout.KindNarInfo
	sent := h.shared && (record || r.Method == http.MethodHead)
	refetched := h.cfg.Through != nil && record
	if !sent && !refetched || !clientOf(r).nix {
		return h.cfg.Tree, h.lately
	}
	var tree layout.Reader = h.cfg.Tree
	if sent {
		tree, t.doubted = h.inbox.ForNix(), true
	}
	if refetched {
		t.known = nil // it is of the other memory
		return named{tree}, h.named
	}
	return tree, h.lately
}

// put takes an object.
func (h *Handler) put(w *response, r *http.Request, t *target, in *body, start time.Time) *failure {
	if !t.upload {
		return h.misplaced(w)
	}
	if f, done := h.putScratch(w, r, t, in); done {
		return f
	}
	r = r.WithContext(share.Hurried(r.Context(), in.hurry))
	if t.kind == layout.KindNAR && r.Header.Get("Content-Range") != "" {
		f := h.putPart(w, r, t, in)
		if f != nil {
			h.logRefused(r, t, f)
		}
		return f
	}
	if t.kind == layout.KindPin {
		f := h.putPin(w, r, t, in)
		if f != nil {
			h.logRefused(r, t, f)
		} else {
			h.logUpload(r, t, slog.LevelInfo, "upload", "outcome", inbox.Created.String())
		}
		return f
	}
	outcome, n, f := h.receive(r, t, in)
	took := time.Since(start)
	if f != nil {
		if h.cfg.Metrics != nil {
			h.cfg.Metrics.Upload(f.result, t.kind, n, took)
		}
		h.logRefused(r, t, f)
		return f
	}
	if h.cfg.Metrics != nil {
		h.cfg.Metrics.Upload(outcome.String(), t.kind, n, took)
	}
	level := slog.LevelInfo
	switch t.kind {
	case layout.KindNAR, layout.KindListing, layout.KindDebugInfo, layout.KindCacheInfo:
		level = slog.LevelDebug // they belong to a path, whose narinfo comes as well
	}
	more, told := []any(nil), true
	if level == slog.LevelInfo && (outcome == inbox.Unchanged || outcome == inbox.Held) {
		more, told = h.tell(r, t) // a client may send the same again and again
	}
	if told {
		h.logUpload(r, t, level, "upload", append([]any{"outcome", outcome.String()}, more...)...)
	}
	return created(w, outcome)
}

func (h *Handler) logRefused(r *http.Request, t *target, f *failure) {
	level := slog.LevelInfo
	if f.result == ResultBroken {
		level = slog.LevelDebug // clients go away
	}
	if more, ok := h.tell(r, t); ok {
		h.logUpload(r, t, level, "upload refused", append([]any{"reason", f.result, "message", f.text}, more...)...)
	}
}

// created answers a PUT that was not refused.
func created(w *response, outcome inbox.Outcome) *failure {
	w.Header()["Cache-Control"] = noStore
	switch outcome {
	case inbox.Created, inbox.Held: // not 202 for Held: Nix takes that for failure
		w.Header()["Content-Length"] = zero
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// logUpload tells who sent what: the client with the name of its token, the path of
// a narinfo, and the root that the upload URL names.
func (h *Handler) logUpload(r *http.Request, t *target, level slog.Level, msg string, more ...any) {
	if !h.log.Enabled(r.Context(), level) {
		return
	}
	args := []any{"key", logged(t.name)}
	if t.path != "" {
		args = append(args, "path", t.path.Abs(h.cfg.StoreDir))
	}
	if t.run != nil {
		args = append(args, "root", t.run.String())
	}
	args = append(args, more...)
	if t.token != "" {
		args = append(args, "token", t.token)
	}
	h.log.Log(r.Context(), level, msg, append(args, "client", r.RemoteAddr)...)
}

var zero = []string{"0"}

// misplaced answers a change at the read URL.
func (h *Handler) misplaced(w *response) *failure {
	w.Header().Set("Allow", "GET, HEAD, OPTIONS, PROPFIND")
	f := &failure{status: http.StatusMethodNotAllowed, text: "nothing can be uploaded to this cache"}
	if h.inbox != nil {
		f.text = "this URL is for reading, uploads go to " + h.prefix + ": nix copy --to https://…" + strings.TrimSuffix(h.prefix, "/")
	}
	return f
}

// usualRatio is how many bytes a byte of a compressed body may become: a log hardly ever
// has more.
const usualRatio = 64

// receive takes an object from its body, and returns how many bytes were read of
// it, decoded.
func (h *Handler) receive(r *http.Request, t *target, in *body) (inbox.Outcome, int64, *failure) {
	c := clientOf(r)
	switch {
	case t.bad:
		return 0, 0, &failure{status: http.StatusBadRequest, result: string(inbox.ForeignKey),
			text: "this is no name in a binary cache: check the upload URL, it takes no more than one slash at its end"}
	case t.slash:
		return 0, 0, &failure{status: http.StatusMethodNotAllowed, result: string(inbox.ForeignKey), text: "a folder cannot be uploaded"}
	case r.Header.Get("Content-Range") != "":
		return 0, 0, &failure{status: http.StatusBadRequest, result: ResultHeader, text: "an object is uploaded whole: Content-Range is not understood here"}
	}
	t.key = t.withQuery(r, layout.KindLog)
	opts := inbox.Options{Strict: c.nix || strict(r), Size: r.ContentLength, Path: &t.path}
	encoding, f := encodingOf(r.Header, t.kind)
	if f != nil {
		return 0, 0, f
	}
	if encoding != compress.None {
		opts.Size = -1
	}
	if f := h.preconditions(r, t, c); f != nil {
		return 0, 0, f
	}
	if err := h.inbox.Check(r.Context(), t.key, opts); err != nil {
		return 0, 0, failureOf(err)
	}
	place, f := h.place(r, t.kind, encoding != compress.None)
	if f != nil {
		return 0, 0, f
	}
	defer place.Release()
	from, release, f := h.decode(r.Context(), encoding, t.kind, in)
	if f != nil {
		return 0, 0, f
	}
	defer release()
	counted := &counter{from: from}
	if encoding != compress.None {
		if err := h.inbox.Afford(r.Context(), 0); err != nil {
			return 0, 0, failureOf(err)
		}
		defer func() { h.inbox.Made(r.Context(), counted.n-usualRatio*in.n) }()
	}
	outcome, err := h.inbox.Put(r.Context(), t.key, counted, opts)
	switch {
	case err == nil:
		return outcome, counted.n, nil
	case errors.Is(err, errTooLarge):
		return 0, counted.n, &failure{status: http.StatusRequestEntityTooLarge, result: string(inbox.TooLarge), text: errTooLarge.Error()}
	}
	return 0, counted.n, failureOf(err)
}

// strict reports whether a client wants to be refused, as a Nix is, what would wait for
// what it leads to (RFC 7240).
func strict(r *http.Request) bool { return r.Header.Get("Prefer") == "handling=strict" }

type counter struct {
	from io.Reader
	n    int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}
