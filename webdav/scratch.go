package webdav

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout/inbox"
)

// scratch keeps the little files that desktops drop beside the real ones. A
// refusal of "._name" makes Finder give up on "name", and one of desktop.ini
// makes Explorer ask what to do; both want to read back what they wrote. So they
// are taken, shown to whoever asks for them by name, and forgotten after a while.
// No folder lists them and no tree sees them.
type scratch struct {
	mu    sync.Mutex
	notes map[string]note
}

type note struct {
	text []byte
	when time.Time
}

const (
	maxNotes    = 256
	maxNote     = 64 << 10 // bytes; what is longer is cut: nobody needs it whole
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

func newScratch() *scratch { return &scratch{notes: map[string]note{}} }

func (s *scratch) get(name string) (note, bool) {
	if !isScratch(name) {
		return note{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.notes[name]
	return found, ok && time.Since(found.when) < scratchTime
}

func (s *scratch) put(name string, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.notes) >= maxNotes {
		oldest := ""
		for name, n := range s.notes {
			if oldest == "" || n.when.Before(s.notes[oldest].when) {
				oldest = name
			}
		}
		delete(s.notes, oldest)
	}
	s.notes[name] = note{text, time.Now()}
}

func (s *scratch) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.notes, name)
}

// putScratch takes a file that is kept aside; done is whether this was one.
func (h *Handler) putScratch(w *response, t *target, in *body) (f *failure, done bool) {
	if t.bad || t.slash || !isScratch(t.name) || len(t.name) > 1024 {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(in, maxNote))
	if err == nil && !in.drain() {
		return &failure{status: http.StatusRequestEntityTooLarge, text: "too large for what its name says it is", hangUp: true}, true
	}
	if err != nil {
		return failureOf(&inbox.BodyError{Err: err}), true
	}
	h.uploading.scratch.put(t.name, text)
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
