package webdav

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// smallObject is the size in bytes up to which an object goes out in one write
// together with its header: nearly all narinfos, most listings.
const smallObject = 16 << 10

// fixedHeaders are the parts of a header that the kind of an object decides. As
// values of an http.Header they are shared by all answers and never changed.
type fixedHeaders struct{ cacheControl, privately []string }

// The headers at the read URL are those of the table of kinds. At the upload URL
// nothing is to be kept: what is there changes under its client's hands.
var readHeaders, uploadHeaders = func() (read, upload []fixedHeaders) {
	for kind := range layout.KindPrivate {
		public := kind.CacheControl()
		// An answer to a request with a password is for that client alone: our
		// "public" would allow any cache in between to give it to others.
		private := strings.Replace(public, "public", "private", 1)
		read = append(read, fixedHeaders{[]string{public}, []string{private}})
		upload = append(upload, fixedHeaders{noStore, noStore})
	}
	return read, upload
}()

var (
	noStore     = []string{"no-store"}
	nosniff     = []string{"nosniff"}
	acceptBytes = []string{"bytes"}
)

// contentTypes holds the one value that all keys of a kind have.
var contentTypes [layout.KindPrivate]atomic.Pointer[[]string]

func contentType(key layout.Key, kind layout.Kind) []string {
	if kind == layout.KindPage { // each has its own
		return []string{key.ContentType()}
	}
	value := contentTypes[kind].Load()
	if value == nil {
		value = &[]string{key.ContentType()}
		contentTypes[kind].Store(value)
	}
	return *value
}

// serveObject answers GET and HEAD of a target from a tree, as it is now, which is when the
// request came. known is what is remembered of that tree, nil for nothing. A failure is left
// to the caller to answer; nothing is written then.
func serveObject(w *response, r *http.Request, t *target, tree layout.Reader, headers []fixedHeaders, known *lately, now time.Time) *failure {
	key, kind := t.key, t.kind
	if t.root() {
		key, kind = "index.html", layout.KindPage
	}
	if key == "" || !kind.Public() {
		return absent()
	}
	fixed := &headers[kind]
	if kind.Immutable() && !key.Immutable() {
		fixed = &headers[layout.KindLog] // its name does not promise its bytes: see Key.CacheControl
	}
	if r.Method == http.MethodHead {
		return serveHead(w, r, key, kind, fixed, tree)
	}
	whole := unconditional(r.Header)
	if o := known.of(t, key); o != nil && whole {
		if !t.doubted && known.isFresh(o, now) {
			setHeaders(w, r, key, kind, fixed)
			known.send(w, o, now)
			return nil
		}
		info, err := tree.Stat(r.Context(), key)
		if err != nil {
			return unreadable(err)
		}
		if info.ETag == o.etag {
			known.look(o, now)
			setHeaders(w, r, key, kind, fixed)
			o.send(w)
			return nil
		}
	}
	if !whole && !layout.TraitsOf(tree).Local {
		info, err := tree.Stat(r.Context(), key)
		if err != nil {
			return unreadable(err)
		}
		if info.Size >= 0 {
			servePart(w, r, info, kind, fixed, tree)
			return nil
		}
		// It is read from its beginning, or it would have a size.
	}
	from, info, err := tree.Get(r.Context(), key)
	if err != nil {
		return unreadable(err)
	}
	defer from.Close()
	setHeaders(w, r, key, kind, fixed)
	if whole && info.Size >= 0 && info.Size <= smallObject {
		return sendSmall(w, from, info, known)
	}
	setETag(w, info)
	switch seeker, ok := from.(io.ReadSeeker); {
	case ok:
		http.ServeContent(w, r, "", info.ModTime, seeker)
	case info.Size >= 0:
		http.ServeContent(w, r, "", info.ModTime, &forward{from: from, size: info.Size})
	default:
		if _, err := io.Copy(w, from); err != nil {
			panic(http.ErrAbortHandler) // the client must not take the part for the whole
		}
	}
	return nil
}

// serveHead answers HEAD. Nix asks for HEAD before each NAR that it sends, and browsers never
// do: no file is opened for it.
func serveHead(w *response, r *http.Request, key layout.Key, kind layout.Kind, fixed *fixedHeaders, tree layout.Reader) *failure {
	info, err := tree.Stat(r.Context(), key)
	if err != nil {
		return unreadable(err)
	}
	setHeaders(w, r, key, kind, fixed)
	setETag(w, info)
	if info.Size < 0 {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	http.ServeContent(w, r, "", info.ModTime, &forward{size: info.Size})
	return nil
}

// used tells of an object that a reader got, or has still. A reader that was sent
// elsewhere may have made its name up: many of those would crowd out what is read.
func (h *Handler) used(w *response, r *http.Request, t *target) {
	if t.kind != layout.KindNAR && t.kind != layout.KindNarInfo || h.cfg.Uses.Known(t.key) {
		return
	}
	switch w.status {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
		h.cfg.Uses.Read(t.key)
	case http.StatusFound:
		http.NewResponseController(w).Flush() // the reader need not wait
		if _, err := h.cfg.Tree.Stat(r.Context(), t.key); !isAbsent(err) {
			h.cfg.Uses.Read(t.key)
		}
	}
}

// findNAR looks for a NAR whose name has the query in it, as in a tree that was
// copied with the names of its URLs, if there is none without.
func (t *target) findNAR(r *http.Request, tree layout.Reader) *failure {
	whole := t.withQuery(r, layout.KindNAR)
	if whole == t.key {
		return nil
	}
	_, there, err := layout.Lookup(r.Context(), tree, t.key)
	if err != nil {
		return unreadable(err)
	}
	if !there {
		t.key = whole
	}
	return nil
}

func setHeaders(w *response, r *http.Request, key layout.Key, kind layout.Kind, fixed *fixedHeaders) {
	h := w.Header()
	h["Content-Type"] = contentType(key, kind)
	h["X-Content-Type-Options"] = nosniff
	if policy := kind.SecurityPolicy(); policy != "" {
		h.Set("Content-Security-Policy", policy)
	}
	h["Cache-Control"] = fixed.cacheControl
	if _, ok := r.Header["Authorization"]; ok {
		h["Cache-Control"] = fixed.privately
	}
}

func setETag(w *response, info layout.Info) {
	if info.ETag != "" {
		w.Header()["Etag"] = []string{`"` + info.ETag + `"`}
	}
}

// unconditional reports whether a request asks for the whole object, whatever
// the client has of it.
func unconditional(h http.Header) bool {
	for _, name := range [...]string{"Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since"} {
		if _, ok := h[name]; ok {
			return false
		}
	}
	return true
}

// sendSmall sends an object that fits into one write, and remembers it.
func sendSmall(w *response, from io.Reader, info layout.Info, known *lately) *failure {
	text := make([]byte, info.Size)
	if _, err := io.ReadFull(from, text); err != nil {
		clear(w.Header())
		return unreadable(err)
	}
	o := newRemembered(info, text)
	if known != nil && info.ETag != "" {
		known.Put(info.Key, o, info.Size)
	}
	o.send(w)
	return nil
}

// unreadable makes the answer for an object that could not be opened or read.
// Only one that is known to be absent is 404: clients remember that for an hour,
// and take it for an answer (I5). After 503 every Nix tries again.
func unreadable(err error) *failure {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent()
	case errors.Is(err, share.ErrBusy):
		return failureOf(err)
	}
	return &failure{status: http.StatusServiceUnavailable, text: "the object cannot be read just now, try again later",
		cause: err, retryAfter: 5 * time.Second}
}

// A forward makes what http.ServeContent wants of a body that can only be read
// from its beginning to its end, and of none for HEAD. To seek forward is to
// read and forget; backward, which only the odd multipart range does, fails.
type forward struct {
	from     io.Reader
	size     int64
	at, want int64
}

// Seek notes where the next Read is to begin.
func (f *forward) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.want
	case io.SeekEnd:
		offset += f.size
	}
	f.want = offset
	return offset, nil
}

// Read goes to where Seek pointed, and reads.
func (f *forward) Read(p []byte) (int, error) {
	if f.from == nil || f.want < f.at {
		return 0, errors.New("the object cannot be read backwards")
	}
	if f.want > f.at {
		n, err := io.CopyN(io.Discard, f.from, f.want-f.at)
		f.at += n
		if err != nil {
			return 0, err
		}
	}
	n, err := f.from.Read(p)
	f.at += int64(n)
	f.want = f.at
	return n, err
}
