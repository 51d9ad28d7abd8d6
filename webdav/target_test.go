package webdav

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// No path, however written, names anything but a key of its own tree.
func FuzzRoute(f *testing.F) {
	for _, path := range []string{"/", "/upload", "/upload/", "/nix-cache-info", "//x", "/%2e%2e/x", "/nar%2Fx", "/upload/nar/..%2f", "/upload/log/00000000000000000000000000000000-a?b"} {
		f.Add(path)
	}
	h := newHandler(Config{Log: quiet}, fakeInbox{})
	base := &url.URL{Scheme: "http", Host: "x"}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := base.Parse(path)
		if err != nil {
			return
		}
		r := &http.Request{Method: "GET", URL: u}
		got := h.route(r)
		if got.key == "" {
			return
		}
		if _, err := layout.ParseKey(string(got.key)); err != nil || got.bad || got.slash || got.kind != got.key.Kind() {
			t.Errorf("%q: %+v, %v", path, got, err)
		}
		want := "/" + string(got.key)
		if got.upload {
			want = "/upload" + want
		}
		// A reader may write several slashes for one.
		for strings.Contains(r.URL.Path, "//") {
			r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
		}
		if r.URL.Path != want || strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
			t.Errorf("%q names %s", path, got.key)
		}
		got.withQuery(r, layout.KindLog)
	})
}
