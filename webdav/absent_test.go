package webdav

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestAbsentPage checks that browsers, and no other clients, get a page for what is
// not there, with the status that all get.
func TestAbsentPage(t *testing.T) {
	tree := treetest.NewMem(t)
	const browser, nix = "text/html,application/xhtml+xml,*/*;q=0.8", ""
	h := New(Config{Tree: tree})
	get := func(method, path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const plain = "not in this cache\n"
	if w := get("GET", "/none", browser); w.Code != 404 || w.Body.String() != plain {
		t.Errorf("without a page a browser gets %d %q", w.Code, w.Body)
	}
	const page = "<!doctype html><title>404</title>"
	if err := tree.Put(t.Context(), absentKey, layout.Bytes([]byte(page)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ method, path, accept, want string }{
		{"GET", "/none", browser, page},
		{"GET", "/" + strings.Repeat("0", 32) + ".narinfo", browser, page},
		{"GET", "/nar/", browser, page},
		{"GET", "/.nixstatic/page", browser, page},
		{"GET", "/../etc/passwd", browser, page},
		{"HEAD", "/none", browser, ""},
		{"GET", "/none", nix, plain},
		{"GET", "/none", "*/*", plain},
		{"GET", "/" + strings.Repeat("0", 32) + ".narinfo", nix, plain},
	} {
		w := get(test.method, test.path, test.accept)
		if w.Code != http.StatusNotFound || w.Body.String() != test.want || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s for %q: %d %q %v", test.method, test.path, test.accept, w.Code, w.Body, w.Header())
		}
		if html := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"); html != (test.accept == browser) {
			t.Errorf("%s %s for %q: %v", test.method, test.path, test.accept, w.Header())
		} else if html && !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'self'") {
			t.Errorf("%s %s: %v", test.method, test.path, w.Header())
		}
	}
}

// TestUnlisted checks who may list a tree whose listing is switched off.
func TestUnlisted(t *testing.T) {
	tree := treetest.NewMem(t)
	for _, key := range []layout.Key{"search/names.json", "index.html"} {
		if err := tree.Put(t.Context(), key, layout.Bytes([]byte("{}")), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, unlisted := range []bool{false, true} {
		h := New(Config{Tree: tree, Unlisted: unlisted})
		for _, test := range []struct {
			method, path string
			lists        bool
		}{{"PROPFIND", "/", true}, {"PROPFIND", "/search/", true}, {"GET", "/search/names.json", true}, {"GET", "//search//names.json", true}, {"HEAD", "/search/names.json", true}, {"GET", "/index.html", false}} {
			r := httptest.NewRequest(test.method, "http://cache"+test.path, nil)
			r.Header.Set("Depth", "1")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if refused := w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized; refused != (unlisted && test.lists) {
				t.Errorf("unlisted %v: %s %s: %d", unlisted, test.method, test.path, w.Code)
			}
		}
	}
}
