package webdav

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// A target is what the URL of a request names.
type target struct {
	upload bool   // at the upload URL
	name   string // relative to the URL's root, decoded, without a slash at its end
	slash  bool   // it had one: a collection is meant
	bad    bool   // not a name at all: "..", "//", an encoded slash, control characters
	key    layout.Key
	kind   layout.Kind   // KindForeign if there is no key
	run    *layout.RunID // that the URL names; nil for none
	norun  error         // why the URL of a run names none

	known *remembered // what is remembered of the key in the tree as it is; nil for nothing
	// doubted: the reader is to be told of less than the tree has, so that it does not
	// matter that the object was there a moment before.
	doubted bool
	token   string           // name of the token that the client showed, "" for none
	path    layout.StorePath // of a narinfo that was read
}

// root reports whether the target is the root of its URL.
func (t *target) root() bool { return t.name == "" && !t.bad }

// spareURI is how much longer than its name the URI of a request may be that is kept with
// the name.
const spareURI = 64

// route finds out what a request is about. The path was decoded once by
// net/http; nothing is decoded or cleaned again.
func (h *Handler) route(r *http.Request) target {
	path := r.URL.Path
	if len(r.RequestURI) > len(path)+spareURI {
		// The path is a part of the line of the request, which a client may make as long as
		// it likes. A server that remembers the path is not to keep the rest of that line.
		path = strings.Clone(path)
	}
	name, rooted := strings.CutPrefix(path, "/")
	t := target{upload: h.shared, kind: layout.KindForeign}
	if h.inbox != nil && !h.shared {
		if path == h.prefix[:len(h.prefix)-1] {
			name, t.upload, t.slash = "", true, true
		} else if rest, ok := strings.CutPrefix(path, h.prefix); ok {
			name, t.upload = rest, true
		}
	}
	reads := (r.Method == http.MethodGet || r.Method == http.MethodHead) && (h.shared || !t.upload)
	if reads {
		// nginx takes several slashes for one, and URLs are written so: Nix joins the
		// URL of a cache that ends in slashes to the name of an object.
		for strings.HasPrefix(name, "/") || strings.Contains(name, "//") {
			name = strings.ReplaceAll("/"+name, "//", "/")[1:]
		}
	}
	if reads && !t.upload && rooted && r.URL.RawPath == "" {
		if o, ok := h.lately.Get(layout.Key(name)); ok {
			t.name, t.key, t.kind, t.known = name, o.key, o.kind, o // as below
			return t
		}
	}
	if trimmed, ok := strings.CutSuffix(name, "/"); ok {
		name, t.slash = trimmed, true
	}
	if t.upload && h.cfg.Roots != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPut) {
		name = t.cutRun(name)
	} else if t.upload && h.cfg.Roots != nil && asksMissing(r) {
		name = t.cutRunRoot(name)
	}
	t.name = name
	if name == "" {
		// "/upload//" is not the root: it would stand for any number of slashes.
		t.bad = !rooted || !reads && strings.HasSuffix(r.URL.Path, "//") || encodedSlash(r.URL.RawPath)
		t.slash = true
		return t
	}
	key, err := layout.ParseKey(name)
	if t.bad = err != nil || !rooted || encodedSlash(r.URL.RawPath); t.bad {
		return t
	}
	if !t.slash {
		t.key, t.kind = key, key.Kind()
	}
	return t
}

// encodedSlash reports whether a path has a slash that is not a separator. RawPath is
// empty unless a path is encoded in an unusual way, as such a one is.
func encodedSlash(raw string) bool {
	return raw != "" && (strings.Contains(raw, "%2F") || strings.Contains(raw, "%2f"))
}

// withQuery returns the key of an object of this kind whose name has a question
// mark. Nix before 2.32 sends that of a log as it is, and every Nix what the URL
// of a narinfo has, so that the rest of the name arrives as a query.
func (t *target) withQuery(r *http.Request, kind layout.Kind) layout.Key {
	if t.kind != kind || r.URL.RawQuery == "" {
		return t.key
	}
	rest, err := url.PathUnescape(r.URL.RawQuery)
	if err != nil {
		return t.key
	}
	key, err := layout.ParseKey(t.name + "?" + rest)
	if err != nil || key.Kind() != kind {
		return t.key
	}
	return key
}

// class is the word of a target for Recorder.Request.
func (t *target) class() string {
	switch {
	case t.kind >= layout.KindPrivate:
		return "none"
	case t.upload:
		return uploadClass[t.kind]
	}
	return readClass[t.kind]
}

var readClass, uploadClass = classes("", layout.KindPrivate), classes("upload:", layout.KindPrivate)

func classes(prefix string, end layout.Kind) []string {
	words := make([]string, end)
	for kind := range end {
		words[kind] = prefix + kind.String()
	}
	return words
}
