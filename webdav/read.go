package webdav

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// Files serves the public objects of a tree to Nix clients and browsers, and
// nothing else: a Handler without uploads, WebDAV and accounts.
type Files struct{ Tree layout.Reader }

// ServeHTTP answers GET and HEAD.
func (f Files) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, stall: defaultStall}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		reply(w, r, &failure{status: http.StatusMethodNotAllowed, text: "this cache is read-only"})
		return
	}
	t := (&Handler{}).route(r)
	if f := serveObject(w, r, &t, f.Tree, readHeaders); f != nil {
		reply(w, r, f)
	}
}

// smallObject is the size up to which an object goes out in one write together
// with its header: most narinfos and listings.
const smallObject = 16 << 10

// fixedHeaders are the parts of a header that the kind of an object decides. As
// values of an http.Header they are shared by all answers and never changed.
type fixedHeaders struct{ contentType, cacheControl, privately []string }

// The headers at the read URL are those of the table of kinds. At the upload URL
// nothing is to be kept: what is there changes under its client's hands.
var readHeaders, uploadHeaders = func() (read, upload []fixedHeaders) {
	for kind := range layout.KindPrivate {
		public := kind.CacheControl()
		// An answer to a request with a password is for that client alone: our
		// "public" would allow any cache in between to give it to others.
		private := strings.Replace(public, "public", "private", 1)
		read = append(read, fixedHeaders{cacheControl: []string{public}, privately: []string{private}})
		upload = append(upload, fixedHeaders{cacheControl: noStore, privately: noStore})
	}
	return read, upload
}()

var (
	noStore     = []string{"no-store"}
	nosniff     = []string{"nosniff"}
	acceptBytes = []string{"bytes"}
)

// contentTypes holds the values of headers by type, so that none is made per
// answer.
var contentTypes sync.Map // string → []string

func contentType(key layout.Key) []string {
	name := key.ContentType()
	if value, ok := contentTypes.Load(name); ok {
		return value.([]string)
	}
	value := []string{name}
	contentTypes.Store(name, value)
	return value
}

// serveObject answers GET and HEAD of a target from a tree, as it is now. A
// failure is left to the caller to answer; nothing is written then.
func serveObject(w *response, r *http.Request, t *target, tree layout.Reader, headers []fixedHeaders) *failure {
	key := t.key
	if t.root() {
		key = "index.html"
	}
	if key == "" || !key.Kind().Public() {
		return absent()
	}
	fixed := &headers[key.Kind()]
	if r.Method == http.MethodHead {
		// Nix asks for HEAD before each NAR that it sends, and browsers never do:
		// no file is opened for it.
		info, err := tree.Stat(r.Context(), key)
		if err != nil {
			return unreadable(err)
		}
		setHeaders(w, r, key, info, fixed)
		if info.Size < 0 {
			w.WriteHeader(http.StatusOK)
			return nil
		}
		http.ServeContent(w, r, "", info.ModTime, &forward{size: info.Size})
		return nil
	}
	from, info, err := tree.Get(r.Context(), key)
	if err != nil {
		return unreadable(err)
	}
	defer from.Close()
	setHeaders(w, r, key, info, fixed)
	switch seeker, ok := from.(io.ReadSeeker); {
	case info.Size >= 0 && info.Size <= smallObject && unconditional(r.Header):
		return sendSmall(w, from, info)
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

func setHeaders(w *response, r *http.Request, key layout.Key, info layout.Info, fixed *fixedHeaders) {
	h := w.Header()
	h["Content-Type"] = contentType(key)
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = fixed.cacheControl
	if _, ok := r.Header["Authorization"]; ok {
		h["Cache-Control"] = fixed.privately
	}
	if info.ETag != "" {
		h["Etag"] = []string{`"` + info.ETag + `"`}
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

// sendSmall sends an object that fits into one write.
func sendSmall(w *response, from io.Reader, info layout.Info) *failure {
	buf := smallBuffers.Get().(*[smallObject]byte)
	defer smallBuffers.Put(buf)
	if _, err := io.ReadFull(from, buf[:info.Size]); err != nil {
		clear(w.Header())
		return unreadable(err)
	}
	h := w.Header()
	h["Accept-Ranges"] = acceptBytes
	h["Content-Length"] = []string{strconv.FormatInt(info.Size, 10)}
	if !info.ModTime.IsZero() {
		h["Last-Modified"] = []string{info.ModTime.UTC().Format(http.TimeFormat)}
	}
	w.Write(buf[:info.Size])
	return nil
}

var smallBuffers = sync.Pool{New: func() any { return new([smallObject]byte) }}

// unreadable makes the answer for an object that could not be opened or read.
// Only one that is known to be absent is 404: clients remember that for an hour,
// and take it for an answer (I5).
func unreadable(err error) *failure {
	if errors.Is(err, fs.ErrNotExist) {
		return absent()
	}
	return &failure{status: http.StatusInternalServerError, text: "the object cannot be read just now", cause: err}
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
