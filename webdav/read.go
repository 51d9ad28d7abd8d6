package webdav

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// Files serves the public objects of a tree to Nix clients and browsers.
//
// The path of the URL is decoded exactly once and never cleaned or redirected:
// what is not a key byte for byte does not exist.
type Files struct{ Tree layout.Reader }

func (f Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this cache is read-only", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	key, err := layout.ParseKey(name)
	if err != nil || !key.Kind().Public() {
		notFound(w)
		return
	}
	body, info, err := f.Tree.Get(r.Context(), key)
	if errors.Is(err, fs.ErrNotExist) {
		notFound(w)
		return
	}
	if err != nil {
		// Not a 404: clients remember those, and this may pass (I5).
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "the object cannot be read", http.StatusInternalServerError)
		return
	}
	defer body.Close()
	h := w.Header()
	h.Set("Content-Type", key.ContentType())
	h.Set("Cache-Control", key.Kind().CacheControl())
	h.Set("X-Content-Type-Options", "nosniff")
	if info.ETag != "" {
		h.Set("ETag", `"`+info.ETag+`"`)
	}
	seeker, ok := body.(io.ReadSeeker)
	if !ok {
		http.Error(w, "the object cannot be read", http.StatusInternalServerError)
		return
	}
	http.ServeContent(w, r, "", info.ModTime, seeker)
}

func notFound(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "not in this cache", http.StatusNotFound)
}
