package webdav

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A note is one of the little files that desktops drop beside the real ones. A refusal
// of "._name" makes Finder give up on "name", and one of desktop.ini makes Explorer ask
// what to do; both want to read back what they wrote. So they are taken, shown to the
// client that sent them if it asks for them by name, and forgotten after a while. No
// folder lists them, no tree and no other client sees them: a desktop.ini tells a
// reader's Explorer what to load.
type note struct {
	text []byte
	when time.Time
}

const (
	maxNotes    = 256
	maxNote     = 64 << 10 // bytes; a longer note is cut: no desktop needs it whole
	scratchTime = 10 * time.Minute
)

// isScratch reports whether a name is one of those that macOS (AppleDouble, the
// positions of icons) and Windows (pictures, views) make up.
func isScratch(name string) bool {
	base := path.Base(name)
	switch strings.ToLower(base) {
	case ".ds_store", "desktop.ini", "thumbs.db", "ehthumbs.db", ".metadata_never_index":
		return true
	}
	return strings.HasPrefix(base, "._")
}

// note returns the note that a client left under a name.
func (v *view) note(c share.Client, name string) (note, bool) {
	text, when, ok := v.scratch.Get(c, name)
	return note{text, when}, ok
}

// putScratch takes a file that is kept aside; done is whether this was one.
func (h *Handler) putScratch(w *response, r *http.Request, t *target, in *body) (f *failure, done bool) {
	if t.bad || t.slash || !isScratch(t.name) || len(t.name) > 1024 {
		return nil, false
	}
	release, f := h.aside(r, in)
	if f != nil {
		return f, true
	}
	defer release()
	text, err := io.ReadAll(io.LimitReader(in, maxNote))
	if err == nil && !in.drain() {
		return &failure{status: http.StatusRequestEntityTooLarge, text: "too large for what its name says it is", hangUp: true}, true
	}
	if err != nil {
		return failureOf(&inbox.BodyError{Err: err}), true
	}
	h.uploading.scratch.Put(share.From(r.Context()), t.name, text)
	w.Header()["Content-Length"] = zero
	w.WriteHeader(http.StatusCreated)
	return nil, true
}

// sendScratch reads it back.
func sendScratch(w *response, r *http.Request, n note) *failure {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	http.ServeContent(w, r, "", n.when, bytes.NewReader(n.text))
	return nil
}
