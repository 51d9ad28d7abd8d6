package webdav

import "net/http"

// redirect answers a read of a NAR with where its bytes are: they need not pass
// through here. Whether it is there is for that place to say, which knows best.
//
// HEAD is not redirected: there are no bytes to be spared, and a URL that is
// signed is signed for GET. Neither is anything else: narinfos are small, asked
// for by the hundred, and a round trip more would cost more than their bytes.
//
// Every Nix follows 302 and 307 alike on GET, and so does curl; 302 is what
// every cache and proxy in between knows.
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
