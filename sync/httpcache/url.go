package httpcache

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// parseBase splits the URL of a cache into where it is and who asks.
func parseBase(raw string) (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error of net/url repeats what it stumbled on: part of a password.
		return nil, nil, errors.New("cache URL: not a URL; what is special in a user name or password must be percent-encoded")
	}
	user := u.User
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, fmt.Errorf("cache URL of scheme %q: want http or https", u.Scheme)
	}
	if u.Opaque != "" || u.Hostname() == "" {
		return nil, nil, errors.New("cache URL: has no host")
	}
	// Nix drops every slash at the end since 2.22, and puts one back to resolve
	// against.
	path := strings.TrimRight(u.EscapedPath(), "/") + "/"
	base := &url.URL{Scheme: u.Scheme, Host: u.Host}
	if base.Path, err = url.PathUnescape(path); err != nil {
		return nil, nil, fmt.Errorf("cache URL: %w", err)
	}
	base.RawPath = path
	return base, user, nil
}

// resolveURL returns where the URL field of a narinfo leads, seen from the
// root of its cache: RFC 3986, as Nix does since 2.32. Another host is fine,
// since the NAR's hash is known; what is not HTTP is refused.
func resolveURL(base *url.URL, ref string) (*url.URL, error) {
	r, err := url.Parse(ref)
	if err != nil {
		return nil, fmt.Errorf("resolve URL %.200q: %w", RedactRef(ref), netx.WithoutURL(err))
	}
	u := base.ResolveReference(r)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("resolve URL %.200q: scheme %q is not http or https", RedactRef(ref), u.Scheme)
	case u.Opaque != "" || u.Hostname() == "":
		return nil, fmt.Errorf("resolve URL %.200q: has no host", RedactRef(ref))
	}
	u.User = nil
	u.Fragment, u.RawFragment = "", ""
	// net/url takes some hosts from a relative reference that it takes from no
	// whole URL.
	if _, err := url.Parse(u.String()); err != nil {
		return nil, fmt.Errorf("resolve URL %.200q: %w", RedactRef(ref), netx.WithoutURL(err))
	}
	return u, nil
}

// keyURL returns where key is. Every byte that could mean something in a URL
// is escaped: build logs have names with a question mark, and some object
// stores take a plus for a blank.
func (h *Reader) keyURL(key layout.Key) *url.URL {
	const hex = "0123456789ABCDEF"
	name := string(key)
	if h.o.Name != nil {
		name = h.o.Name(key)
	}
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	u := *h.base
	u.Path += name
	u.RawPath = h.base.EscapedPath() + b.String()
	return &u
}

// sameOrigin reports whether credentials for b may go to a.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// redactRef removes what may be a user name and a password from a URL that
// could not be parsed or is not to be followed.
func RedactRef(ref string) string {
	scheme, rest, ok := strings.Cut(ref, "//")
	if !ok {
		return ref
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
		rest = rest[at+1:]
	}
	return scheme + "//" + rest
}
