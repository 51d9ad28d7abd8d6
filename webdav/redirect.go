package webdav

import (
	"net/http"
	"strings"
)

// redirect answers a read of a NAR with where its bytes are: they need not pass
// through here. Whether it is there is for that place to say, which knows best.
//
// HEAD is not redirected: there are no bytes to be spared, and a URL that is
// signed is signed for GET. Neither is anything else: narinfos are small, asked
// for by the hundred, and a round trip more would cost more than their bytes.
//
// Nix 2.8, 2.26 and 2.34 follow 301, 302, 303, 307 and 308 alike, on GET and on
// HEAD, and send the password they have for us nowhere else. 302 is what every
// cache and proxy in between knows not to keep.
func (h *Handler) redirect(w *response, r *http.Request, t *target) *failure {
	url, err := h.cfg.Redirect(r.Context(), t.key)
	if err != nil {
		return failureOf(err)
	}
	header := w.Header()
	// A signed URL is for this client, and not for long.
	header["Cache-Control"] = noStore
	header["Content-Length"] = zero
	header["Location"] = []string{url}
	w.WriteHeader(http.StatusFound)
	return nil
}

// fromScript reports whether a script of a page asks, which may ask for nothing of another
// origin: it gets the bytes here.
func fromScript(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Dest") == "empty" && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// coming reports whether the tree has not got the NAR yet: its name has its query still.
func (h *Handler) coming(t *target) bool {
	return h.cfg.Through != nil && strings.Contains(string(t.key), "?"+ThroughQuery)
}
