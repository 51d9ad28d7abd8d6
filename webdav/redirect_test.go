package webdav

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestRedirect: NARs at the read URL are read elsewhere, and nothing else is.
func TestRedirect(t *testing.T) {
	var fail error
	r := newRig(t, func(c *Config, _ *inbox.Config) {
		c.Redirect = func(_ context.Context, key layout.Key) (string, error) {
			return "https://cdn.example.org/" + string(key) + "?signed", fail
		}
	})
	paths := treetest.Populate(t, r.tree)
	record := layout.NarInfoKey(paths.Named("app").Info.Path)
	n, err := layout.ParseNarInfo([]byte(r.do(t, "GET", "/"+string(record), nil).Body), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	absent := "nar/0000000000000000000000000000000000000000000000000000.nar.zst"
	for _, path := range []string{n.URL, absent} {
		got := r.do(t, "GET", "/"+path, nil)
		if got.Status != 302 || got.Header.Get("Location") != "https://cdn.example.org/"+path+"?signed" ||
			got.Header.Get("Cache-Control") != "no-store" || got.Body != "" {
			t.Errorf("GET %s: %+v", path, got)
		}
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"HEAD", n.URL, 200}, {"HEAD", absent, 404}, {"GET", string(record), 200}, {"GET", "nix-cache-info", 200}, {"GET", "nar/", 404}, {"GET", "nar/x", 404},
		{"GET", "upload/" + n.URL, 200}, {"HEAD", "upload/" + n.URL, 200}, {"GET", "upload/" + absent, 404}, {"PUT", n.URL, 405},
	} {
		if got := r.do(t, c.method, "/"+c.path, nil); got.Status != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got.Status, c.want)
		}
	}
	fail = errors.New("no credentials")
	if got := r.do(t, "GET", "/"+n.URL, nil); got.Status != 503 || got.Header.Get("Location") != "" {
		t.Errorf("when nothing can be signed: %+v", got)
	}
	// A URL that readers and uploads share never redirects.
	mem := treetest.NewMem(t)
	path, text := aNAR(t, mem)
	h := newHandler(Config{Tree: mem, Auth: AllowAll, UploadPrefix: "/", Log: quiet, Redirect: func(context.Context, layout.Key) (string, error) { return "x", nil }}, fakeInbox{Lister: mem})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), text) {
		t.Errorf("where readers and uploads share one URL: %d", w.Code)
	}
}

// used counts what is read.
type used map[layout.Key]int

func (u used) Read(key layout.Key)       { u[key]++ }
func (u used) Known(key layout.Key) bool { return u[key] > 0 }

// A reader that is sent elsewhere for a NAR that is not there leaves no trace of it: the
// memory of what is read has room for so much. A NAR that is there is looked for once.
func TestRedirectsOfMadeUpNames(t *testing.T) {
	mem, read := treetest.NewMem(t), used{}
	path, _ := aNAR(t, mem)
	h := New(Config{Tree: mem, Auth: AllowAll, Log: quiet, Uses: read, Redirect: func(context.Context, layout.Key) (string, error) { return "https://x/", nil }})
	mem.Counts()
	for range 3 {
		for _, at := range []string{path, "/nar/0000000000000000000000000000000000000000000000000000.nar.zst"} {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, httptest.NewRequest("GET", at, nil)); w.Code != 302 {
				t.Errorf("GET %s: %d", at, w.Code)
			}
		}
	}
	if diff := cmp.Diff(used{layout.Key(path[1:]): 1}, read); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
	if n := mem.Counts(); n.Stat != 1+3 {
		t.Errorf("the tree was asked %+v", n)
	}
}
