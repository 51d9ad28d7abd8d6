package webdav

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// absentKey is the page that browsers get for what is not there.
const absentKey layout.Key = "404.html"

// replyPage answers a browser that asked for what is not there with a page that
// leads back, if the tree has one. It reports false for every other client, and has
// written nothing then.
func (h *Handler) replyPage(w *response, r *http.Request, t *target) bool {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !reads || t.upload && !h.shared || !wantsHTML(r) {
		return false
	}
	text, err := layout.ReadAll(r.Context(), h.cfg.Tree, absentKey)
	if err != nil {
		return false
	}
	setHeaders(w, r, absentKey, layout.KindPage, &uploadHeaders[layout.KindPage])
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.WriteHeader(http.StatusNotFound)
	if r.Method == http.MethodGet {
		w.Write(text)
	}
	return true
}

// wantsHTML reports whether a client names HTML among what it takes, as browsers do
// for what they show, and no Nix does.
func wantsHTML(r *http.Request) bool {
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}
