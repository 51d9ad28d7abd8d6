package httpcache

import (
	"errors"
	"fmt"
	"net/http"
)

const maxRedirects = 10

// OpenConnections are kept for the next request, as many as Nix opens.
const OpenConnections = 25

// redirect decides on following the server to another place.
func (h *Reader) redirect(req *http.Request, via []*http.Request) error {
	last := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return errors.New("redirected to a URL that is not http or https")
	case last.Scheme == "https" && req.URL.Scheme == "http":
		return errors.New("redirected from https to http://" + req.URL.Host)
	}
	// net/http keeps Authorization for another port, for subdomains and for
	// plain http, and tells the next host where we come from.
	req.URL.User = nil
	req.Header.Del("Referer")
	h.authorize(req)
	return nil
}

func (h *Reader) authorize(req *http.Request) {
	req.Header.Del("Authorization")
	if !sameOrigin(req.URL, h.base) {
		return
	}
	auth := h.auth
	if h.o.Password != nil {
		auth = basic(h.o.Password(req.Context()))
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
}
