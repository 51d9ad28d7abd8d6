package webdav

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// An object that is remembered is found by the names by which it is found when it is not,
// and by no others.
func TestRememberedNames(t *testing.T) {
	dir := t.TempDir()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	key := "/" + string(layout.NarInfoKeyOf(rememberedHash))
	for _, name := range []string{key, "index.html"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"/upload/", "/"} {
		server := func() *Handler {
			return newHandler(Config{Tree: tree, Auth: AllowAll, UploadPrefix: prefix, Fresh: time.Hour, Log: quiet}, fakeInbox{Lister: tree})
		}
		answer := func(h *Handler, method, uri string) string {
			req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + uri + " HTTP/1.1\r\nHost: x\r\n\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			w.Header().Del("Date")
			return fmt.Sprint(w.Code, w.Header(), w.Body.Len())
		}
		old := server()
		for _, uri := range []string{key, "/index.html"} {
			answer(old, "GET", uri)
			answer(old, "GET", uri)
		}
		for _, uri := range []string{key, "/" + key, "//" + key, key + "/", key + "//", key + "?a=b", "/." + key, "/x/.." + key, "/%2e" + key, "/%2F" + key[1:], "http://y" + key,
			"/upload" + key, "/upload/" + key, "/upload" + key + "/", strings.Replace(key, ".narinfo", "%2enarinfo", 1), "/", "/index.html", "/index.html/", "/index.html?x"} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "DELETE", "POST"} {
				if diff := cmp.Diff(answer(server(), method, uri), answer(old, method, uri)); diff != "" {
					t.Errorf("uploads at %s: %s %s is answered otherwise if %s is remembered (-not +remembered):\n%s", prefix, method, uri, key, diff)
				}
			}
		}
	}
}

// A Nix that uploads is not told of a path that it has to send, though another reader was
// told a moment before.
func TestRememberedForOthers(t *testing.T) {
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.UploadPrefix, c.Fresh = "/", time.Hour })
	paths := treetest.Populate(t, r.tree)
	narinfo := "/" + string(layout.NarInfoKey(paths.Named("app").Info.Path))
	var last reaction
	for range 3 {
		last = r.do(t, "GET", narinfo, nil)
	}
	n, err := layout.ParseNarInfo([]byte(last.Body), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.dir, n.URL)); err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", narinfo, nil, newNix).Status; got != http.StatusNotFound {
		t.Errorf("a Nix that uploads is told of a path without its NAR: %d", got)
	}
}

const rememberedHash = "7rjj86a15146cq1d3qy068lml7n8ykzm"

// memory is what a server does not give back, in bytes.
func memory() int64 {
	runtime.GC()
	runtime.GC() // what the first one found in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A remembered object takes no more memory because its reader asked for it with a long
// query, or by a URL with a long host.
func TestRememberedIsSmall(t *testing.T) {
	dir := t.TempDir()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	h := New(Config{Tree: tree, Log: quiet})
	const objects, junk = 300, 30 << 10
	before := memory()
	for i := range objects {
		key := layout.NarInfoKeyOf(strings.Repeat("0", 29) + fmt.Sprintf("%03d", i))
		if err := os.WriteFile(filepath.Join(dir, string(key)), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, uri := range []string{"/" + string(key) + "?" + strings.Repeat("q", junk), "http://" + strings.Repeat("h", junk) + "/" + string(key)} {
			req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + uri + " HTTP/1.1\r\nHost: x\r\n\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, req); w.Body.String() != "text" {
				t.Fatalf("%.60s: status %d", uri, w.Code)
			}
		}
	}
	if grown := memory() - before; grown > objects*junk/4 {
		t.Errorf("%d objects are remembered in %d bytes", objects, grown)
	}
	runtime.KeepAlive(h)
}

// A sameHeader takes answers. Its header is used again, as no header of net/http is.
type sameHeader struct {
	header http.Header
	bytes  int
}

func (w *sameHeader) Header() http.Header         { return w.header }
func (w *sameHeader) WriteHeader(int)             {}
func (w *sameHeader) Write(p []byte) (int, error) { w.bytes += len(p); return len(p), nil }

// A narinfo that was read a moment ago is sent without a look at the tree and without
// garbage: readers ask for tens of thousands a second.
func TestRememberedCostsNothing(t *testing.T) {
	dir := t.TempDir()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	key := layout.NarInfoKeyOf(rememberedHash)
	if err := os.WriteFile(filepath.Join(dir, string(key)), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := New(Config{Tree: tree, Fresh: time.Hour, Log: quiet})
	req := httptest.NewRequest("GET", "/"+string(key), http.NoBody)
	w := &sameHeader{header: http.Header{}}
	allocs := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		h.ServeHTTP(w, req)
	})
	if allocs != 0 || w.bytes < 1000*len("text") {
		t.Errorf("%v allocations for a request, %d bytes were sent", allocs, w.bytes)
	}
}
