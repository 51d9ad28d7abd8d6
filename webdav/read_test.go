package webdav

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// raw sends a request line that no client library would, and returns the
// status and whatever else came.
func raw(t *testing.T, r *rig, text string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// populated is a rig whose tree holds the example.
func populated(t *testing.T) (*rig, *treetest.Paths) {
	t.Helper()
	r := newRig(t, nil)
	paths := treetest.Populate(t, r.tree)
	return r, paths
}

func TestReadHeaders(t *testing.T) {
	r, paths := populated(t)
	page := filepath.Join(r.dir, "index.html")
	if err := os.WriteFile(page, []byte("<p>hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	app := paths.Named("app").Info.Path
	record := r.do(t, "GET", "/"+string(layout.NarInfoKey(app)), nil)
	parsed, err := layout.ParseNarInfo([]byte(record.Body), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ contentType, cacheControl, privately string }{
		"/nix-cache-info":                    {"text/x-nix-cache-info", "public, max-age=300", "private, max-age=300"},
		"/" + string(layout.NarInfoKey(app)): {"text/x-nix-narinfo", "public, max-age=300", "private, max-age=300"},
		"/" + string(layout.ListingKey(app)): {"application/json", "public, max-age=86400", "private, max-age=86400"},
		"/" + parsed.URL:                     {"application/x-nix-nar", "public, max-age=31536000, immutable", "private, max-age=31536000, immutable"},
		"/":                                  {"text/html; charset=utf-8", "public, max-age=300", "private, max-age=300"},
		"/index.html":                        {"text/html; charset=utf-8", "public, max-age=300", "private, max-age=300"},
	}
	for path, want := range tests {
		name := strings.TrimPrefix(path, "/")
		if name == "" {
			name = "index.html"
		}
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		// Twice: the second answer to a small object comes from memory.
		for range 2 {
			got := r.do(t, "GET", path, nil)
			if got.Status != 200 || got.Body != string(text) {
				t.Errorf("GET %s: %d, %d bytes, want %d", path, got.Status, len(got.Body), len(text))
			}
			if d := cmp.Diff([]string{want.contentType, want.cacheControl, "nosniff", "bytes"}, []string{got.Header.Get("Content-Type"),
				got.Header.Get("Cache-Control"), got.Header.Get("X-Content-Type-Options"), got.Header.Get("Accept-Ranges")}); d != "" {
				t.Errorf("GET %s: %s", path, d)
			}
			if policy := got.Header.Get("Content-Security-Policy"); strings.HasPrefix(policy, "default-src 'self';") != (name == "index.html") {
				t.Errorf("GET %s: the policy is %q", path, policy)
			}
			head := r.do(t, "HEAD", path, nil)
			got.Header.Del("Date")
			head.Header.Del("Date")
			if d := cmp.Diff(got.Header, head.Header); d != "" || head.Status != 200 || head.Body != "" {
				t.Errorf("HEAD %s is not GET without its body: %d %s", path, head.Status, d)
			}
			etag := got.Header.Get("ETag")
			for _, c := range []struct {
				header string
				want   int
			}{
				{"If-None-Match: " + etag, 304}, {`If-None-Match: "other"`, 200}, {"If-Match: " + etag, 200}, {`If-Match: "other"`, 412},
				{"If-Modified-Since: " + got.Header.Get("Last-Modified"), 304},
				{"Range: bytes=2-4", 206}, {"Range: bytes=-3", 206}, {"Range: bytes=999999999-", 416},
			} {
				part := r.do(t, "GET", path, nil, c.header)
				if part.Status != c.want {
					t.Errorf("GET %s with %s: %d, want %d", path, c.header, part.Status, c.want)
				}
				if c.header == "Range: bytes=2-4" && part.Body != string(text[2:5]) {
					t.Errorf("GET %s with %s: %q", path, c.header, part.Body)
				}
			}
			if got := r.do(t, "GET", path, nil, "Authorization: Basic eDp5").Header.Get("Cache-Control"); got != want.privately {
				t.Errorf("GET %s with a password: Cache-Control %q, want %q", path, got, want.privately)
			}
		}
	}
	r.whole(t)
}

// A path that is not a key byte for byte is answered as absent, however it is written,
// and never with a redirect.
func TestReadNothingElse(t *testing.T) {
	r, paths := populated(t)
	key := string(layout.NarInfoKey(paths.Named("app").Info.Path))
	outside := filepath.Join(filepath.Dir(r.dir), "secret")
	if err := os.WriteFile(outside, []byte("SECRET"), 0o644); err != nil {
		t.Fatal(err)
	}
	planted := strings.Repeat("0", 32) + ".narinfo"
	if err := os.Symlink("../secret", filepath.Join(r.dir, planted)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "README"), []byte("SECRET"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(r.dir, ".nixstatic"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, ".nixstatic", "token"), []byte("SECRET"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/./" + key, "//./" + key, "//../" + key, "//.nixstatic/token", "//upload//" + key, "/x/../" + key, "/%2e/" + key, "/nar/../" + key, "/nar/%2e%2e/" + key, "/nar%2F.." + "%2F" + key,
		"/../secret", "/%2e%2e/secret", "/..%2fsecret", "/%2e%2e%2fsecret", "/..%5csecret", `/..\secret`, "/%252e%252e/secret",
		"/..%c0%afsecret", "/nar/..;/secret", "/" + key + "/", "/" + key + "%00", "/" + key + "%0a", "/" + key + "%20", "/%2F" + key,
		"/nar", "/nar/", "/README", "/.nixstatic/token", "/.nixstatic", "/.nixstatic/", "/%2enixstatic/token", "/nar%2f", "//", "/upload//" + key, "/nar//", "//README",
		"/upload/../" + key, "/upload/.nixstatic/token", "/upload/%2e%2e/secret", "/" + strings.Repeat("a", 5000), "/log/" + strings.Repeat("0", 32) + "-..",
	} {
		for _, verb := range []string{"GET", "HEAD"} {
			status, body := raw(t, r, verb+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if status != 404 && status != 400 || strings.Contains(body, "SECRET") {
				t.Errorf("%s %.60s: %d %q", verb, path, status, body)
			}
		}
	}
	if got := r.do(t, "GET", "/"+planted, nil); got.Status != 503 && got.Status != 404 || strings.Contains(got.Body, "SECRET") {
		t.Errorf("a planted link: %d %q", got.Status, got.Body)
	}
	if got := r.do(t, "GET", "/"+strings.Repeat("1", 32)+".narinfo", nil); got.Status != 404 || got.Header.Get("Cache-Control") != "no-store" || got.Body != "not in this cache\n" {
		t.Errorf("an absent narinfo: %+v", got)
	}
	if status, _ := raw(t, r, "GET http://elsewhere/"+key+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); status != 200 {
		t.Errorf("the absolute form of a URL: %d", status)
	}
}

// TestReadSlashes: several slashes are one to a reader, as they are to nginx, and
// to no other request.
func TestReadSlashes(t *testing.T) {
	r, paths := populated(t)
	n := paths.Named("app").Info.Path
	want := r.do(t, "GET", "/"+string(layout.NarInfoKey(n)), nil)
	for _, path := range []string{"//" + string(layout.NarInfoKey(n)), "////" + string(layout.NarInfoKey(n))} {
		if got := r.do(t, "GET", path, nil); got.Status != 200 || got.Body != want.Body {
			t.Errorf("GET %s: %d %q", path, got.Status, got.Body)
		}
		if got := r.do(t, "HEAD", path, nil); got.Status != 200 {
			t.Errorf("HEAD %s: %d", path, got.Status)
		}
		if got := r.do(t, "PROPFIND", path, nil, "Depth", "0"); got.Status != 404 {
			t.Errorf("PROPFIND %s: %d", path, got.Status)
		}
	}
	record, err := layout.ReadAll(t.Context(), r.tree, layout.NarInfoKey(n))
	if err != nil {
		t.Fatal(err)
	}
	info, err := layout.ParseNarInfo(record, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", "//"+strings.Replace(info.URL, "/", "//", 1), nil); got.Status != 200 || int64(len(got.Body)) != info.FileSize {
		t.Errorf("a NAR: %d, %d bytes", got.Status, len(got.Body))
	}
}

// TestReadOtherNames: a NAR is read by whatever name other caches give it, and is
// kept for ever where the name promises its bytes.
func TestReadOtherNames(t *testing.T) {
	r, _ := populated(t)
	hash := strings.Repeat("0", 52)
	for name, forever := range map[string]bool{
		hash + ".nar.xz":                               true,
		strings.Repeat("0", 64) + ".nar":               true,
		strings.Repeat("1", 32) + "-" + hash + ".nar":  true,
		strings.Repeat("1", 32) + ".nar":               false,
		"f47ac10b-58cc-4372-a567-0e02b2c3d479.nar.zst": false,
	} {
		if err := os.WriteFile(filepath.Join(r.dir, "nar", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"GET", "HEAD"} {
			got := r.do(t, verb, "/nar/"+name+"?hash=x", nil)
			if got.Status != 200 || verb == "GET" && got.Body != name || got.Header.Get("Content-Type") != "application/x-nix-nar" ||
				strings.Contains(got.Header.Get("Cache-Control"), "immutable") != forever {
				t.Errorf("%s %s: %+v", verb, name, got)
			}
		}
	}
	// A copy may have the query in its names.
	if err := os.WriteFile(filepath.Join(r.dir, "nar", "q.nar?hash=x"), []byte("with"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/nar/q.nar?hash=x": 200, "/nar/q.nar%3Fhash=x": 200, "/nar/q.nar": 404, "/nar/q.nar?hash=y": 404, "/nar/q.nar?../../x": 404} {
		if got := r.do(t, "GET", path, nil); got.Status != want {
			t.Errorf("GET %s: %d, want %d", path, got.Status, want)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "nar", "q.nar"), []byte("without"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", "/nar/q.nar?hash=x", nil); got.Body != "without" {
		t.Errorf("where both are there: %q", got.Body)
	}
}

// Files that change, come and go behind the server's back are served as they
// are.
func TestReadFollowsTheTree(t *testing.T) {
	r, paths := populated(t)
	key := layout.NarInfoKey(paths.Named("app").Info.Path)
	first := r.do(t, "GET", "/"+string(key), nil)
	for i, change := range []func() error{
		func() error {
			return r.tree.Put(t.Context(), key, layout.Bytes([]byte("changed by a Put\n")), layout.PutOptions{})
		},
		func() error {
			return os.WriteFile(filepath.Join(r.dir, string(key)), []byte("changed by hand!\n"), 0o644)
		},
		func() error { return os.Remove(filepath.Join(r.dir, string(key))) },
		func() error { return os.WriteFile(filepath.Join(r.dir, string(key)), []byte(first.Body), 0o644) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(r.dir, string(key)))
		status := 200
		if errors.Is(err, os.ErrNotExist) {
			want, status = []byte("not in this cache\n"), 404
		}
		for range 3 {
			if got := r.do(t, "GET", "/"+string(key), nil); got.Status != status || got.Body != string(want) {
				t.Errorf("change %d: %d %q, want %q", i, got.Status, got.Body, want)
			}
		}
	}
}

// An object that the server cannot tell of is not absent (I5).
func TestReadTrouble(t *testing.T) {
	mem := treetest.NewMem(t)
	paths := treetest.Populate(t, mem)
	key := layout.NarInfoKey(paths.Named("app").Info.Path)
	for _, method := range []string{"GET", "HEAD"} {
		h := New(Config{Tree: &treetest.Faulty{Tree: mem, Fault: treetest.Fault{At: 1}}, Log: quiet})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/"+string(key), nil))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("ETag") != "" {
			t.Errorf("%s of a tree that fails: %d %v", method, w.Code, w.Header())
		}
	}
}

// A tree whose bodies only run forward is served just the same.
func TestReadForwardOnly(t *testing.T) {
	mem := treetest.NewMem(t)
	paths := treetest.Populate(t, mem)
	h := New(Config{Tree: mem, Log: quiet})
	var record *layout.NarInfo
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		h.ServeHTTP(w, r)
		return w
	}
	record, err := layout.ParseNarInfo(get("/"+string(layout.NarInfoKey(paths.Named("app").Info.Path))).Body.Bytes(), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	whole := get("/" + record.URL)
	if int64(whole.Body.Len()) != record.FileSize {
		t.Fatalf("the NAR has %d bytes, want %d", whole.Body.Len(), record.FileSize)
	}
	if got := get("/"+record.URL, "Range: bytes=1000-1999"); got.Code != 206 || !bytes.Equal(got.Body.Bytes(), whole.Body.Bytes()[1000:2000]) {
		t.Errorf("a range: %d, %d bytes", got.Code, got.Body.Len())
	}
	if got := get("/"+record.URL, "If-None-Match: "+whole.Header().Get("ETag")); got.Code != 304 {
		t.Errorf("If-None-Match: %d", got.Code)
	}
}

// A file reaches the connection as a file, so that sendfile can take it.
func TestReadFromReachesTheConnection(t *testing.T) {
	r, paths := populated(t)
	record, err := layout.ParseNarInfo([]byte(r.do(t, "GET", "/"+string(layout.NarInfoKey(paths.Named("app").Info.Path)), nil).Body), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	w := &connection{ResponseRecorder: httptest.NewRecorder()}
	New(Config{Tree: r.tree, Log: quiet}).ServeHTTP(w, httptest.NewRequest("GET", "/"+record.URL, nil))
	if !w.file || int64(w.Body.Len()) != record.FileSize {
		t.Errorf("through ReadFrom: %v, %d bytes of %d", w.file, w.Body.Len(), record.FileSize)
	}
}

// connection is a ResponseWriter such as that of HTTP/1 over TCP.
type connection struct {
	*httptest.ResponseRecorder
	file bool
}

func (c *connection) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		_, c.file = limited.R.(*os.File)
	}
	return io.Copy(c.ResponseRecorder, src)
}

func TestReadOnly(t *testing.T) {
	mem := treetest.NewMem(t)
	treetest.Populate(t, mem)
	h := New(Config{Tree: mem, Log: quiet})
	for _, path := range []string{"/nix-cache-info", "/upload/nix-cache-info"} {
		for _, method := range []string{"PUT", "POST", "DELETE", "MKCOL", "LOCK", "MOVE", "TRACE", "BREW"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != 405 || !strings.Contains(w.Header().Get("Allow"), "GET") {
				t.Errorf("%s %s: %d, Allow: %s", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	if w := httptest.NewRecorder(); true {
		h.ServeHTTP(w, httptest.NewRequest("GET", "/upload/nix-cache-info", nil))
		if w.Code != 404 {
			t.Errorf("GET at an upload URL that there is not: %d", w.Code)
		}
	}
}
