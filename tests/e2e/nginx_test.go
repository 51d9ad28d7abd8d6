//go:build real

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// request asks without decoding anything, as Nix would see the answer.
func request(t testing.TB, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// treeForBrowsers is a tree with a file of every kind.
func treeForBrowsers(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(someTree(t).Dir)); err != nil {
		t.Fatal(err)
	}
	hash, drv := strings.Repeat("0", 64), strings.Repeat("0", 32)+"-x.drv"
	for name, text := range map[string]string{
		"realisations/sha256:" + hash + "!out.doi": "{}",
		"build-trace-v2/" + drv + "/out.doi":       "{}",
		"index.html":                               "<!doctype html>",
		"style.css":                                "body {}",
		"favicon.ico":                              "icon",
		"favicon.svg":                              "<svg/>",
		"robots.txt":                               "User-agent: *",
		"404.html":                                 "<!doctype html><title>404</title>",
		"path.html":                                "<!doctype html>",
		"page.js":                                  "1",
		"path.js":                                  "2",
		"zstd.js":                                  "3",
		"public-keys":                              "a:b",
		"stats.json":                               "{}",
		"search/names.json":                        "{}",
		"search/0123456789abcdfg.txt":              "line",
		"pins/hosts/a":                             "/nix/store/" + strings.Repeat("0", 32) + "-x\n",
		"secret.key":                               "not for the world",
		// The names of other caches promise their bytes, or do not.
		"nar/" + hash + ".nar.xz":                                                 "1",
		"nar/" + strings.Repeat("0", 52) + ".nar.gz":                              "2",
		"nar/" + strings.Repeat("0", 32) + "-" + hash + ".nar":                    "3",
		"nar/" + strings.Repeat("z", 52) + ".nar":                                 "4",
		"nar/" + strings.Repeat("0", 32) + ".nar.zst":                             "5",
		"nar/f47ac10b-58cc-4372-a567-0e02b2c3d479.nar.zst":                        "6",
		"nar/" + strings.Repeat("A", 64) + ".nar":                                 "7",
		"nar/x" + strings.Repeat("0", 52) + ".nar":                                "8",
		"nar/" + strings.Repeat("0", 32) + "_" + strings.Repeat("1", 52) + ".nar": "9",
		".nixstatic/spool/x":                                                      "unfinished",
		"nar/.nixstatic-staging/1/x":                                              "unfinished",
		"nix-cache-info.bak":                                                      "old",
		"nar/README":                                                              "somebody's notes",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// nginx, as the example configures it, says of every file what the tree's own
// table of kinds says.
func TestNginxHeaders(t *testing.T) {
	dir := treeForBrowsers(t)
	server := nixtest.ServeNginx(t, dir)
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	seen := map[layout.Kind]bool{}
	for info, err := range tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		kind := info.Key.Kind()
		if !kind.Public() {
			continue
		}
		seen[kind] = true
		// Such a name never reaches a server whole; there is a second one for it.
		if strings.Contains(string(info.Key), "?") {
			continue
		}
		want, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(string(info.Key))))
		if err != nil {
			t.Fatal(err)
		}
		r, body := request(t, http.MethodGet, server.URL+"/"+string(info.Key))
		if r.StatusCode != http.StatusOK || !bytes.Equal(body, want) || r.ContentLength != int64(len(want)) {
			t.Errorf("%s: status %s, %d bytes (announced %d), want %d", info.Key, r.Status, len(body), r.ContentLength, len(want))
		}
		checkHeader(t, info.Key, r, "Content-Type", info.Key.ContentType())
		checkHeader(t, info.Key, r, "Cache-Control", info.Key.CacheControl())
		checkHeader(t, info.Key, r, "Content-Security-Policy", kind.SecurityPolicy())
		checkHeader(t, info.Key, r, "Content-Encoding", "")
		h, body := request(t, http.MethodHead, server.URL+"/"+string(info.Key))
		if h.StatusCode != http.StatusOK || len(body) != 0 || h.ContentLength != int64(len(want)) {
			t.Errorf("HEAD %s: status %s, length %d, want %d", info.Key, h.Status, h.ContentLength, len(want))
		}
	}
	for kind := layout.KindNAR; kind.Public(); kind++ {
		if !seen[kind] {
			t.Errorf("the tree has nothing of the kind %v", kind)
		}
	}
	if r, body := request(t, http.MethodGet, server.URL+"/"); string(body) != "<!doctype html>" {
		t.Errorf("/ is not index.html: status %s, %q", r.Status, body)
	} else {
		checkHeader(t, "/", r, "Content-Type", "text/html; charset=utf-8")
	}
}

func checkHeader(t testing.TB, key layout.Key, r *http.Response, name, want string) {
	t.Helper()
	if got := r.Header.Values(name); strings.Join(got, "\n") != want {
		t.Errorf("%s: %s %q, want %q", key, name, got, want)
	}
}

// A name outside the cache is absent, and no cache in between remembers that it
// was.
func TestNginxAbsent(t *testing.T) {
	server := nixtest.ServeNginx(t, treeForBrowsers(t))
	for _, path := range []string{
		"/00000000000000000000000000000000.narinfo", "/nar/absent.nar.xz", "/log/absent.drv",
		"/nar", "/nar/", "/log/", "/debuginfo", "/realisations/", "/build-trace-v2",
		"/.nixstatic/spool/x", "/.nixstatic/", "/nar/.nixstatic-staging/1/x", "//.nixstatic/spool/x", "/%2enixstatic/spool/x", "/secret.key", "/nix-cache-info.bak", "/nix-cache-info/",
		"/nar/../secret.key", "/%2e%2e/etc/passwd", "/nar/%2e%2e/secret.key", "/absent/absent",
	} {
		r, body := request(t, http.MethodGet, server.URL+path)
		if r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %s, want 404", path, r.Status)
		}
		if r.StatusCode == http.StatusNotFound {
			checkHeader(t, layout.Key(path), r, "Cache-Control", "no-store")
		}
		if bytes.Contains(body, []byte("not for the world")) || bytes.Contains(body, []byte("unfinished")) {
			t.Errorf("%s: %q", path, body)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
		if r, _ := request(t, method, server.URL+"/nix-cache-info"); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %s, want 405", method, r.Status)
		}
	}
}

// A NAR can be had in parts, is never compressed on the way, and is not sent
// again to those who have it.
func TestNginxNARs(t *testing.T) {
	tree := someTree(t)
	server := nixtest.ServeNginx(t, tree.Dir)
	for name, content := range snap(t, tree.Dir) {
		url := server.URL + "/" + name
		switch {
		case strings.HasPrefix(name, "nar/"):
			r, body := request(t, http.MethodGet, url, "Accept-Encoding", "gzip, br, zstd")
			if r.Header.Get("Content-Encoding") != "" || string(body) != content {
				t.Errorf("%s: Content-Encoding %q, %d bytes, want %d", name, r.Header.Get("Content-Encoding"), len(body), len(content))
			}
			checkHeader(t, layout.Key(name), r, "Accept-Ranges", "bytes")
			half := len(content) / 2
			p, part := request(t, http.MethodGet, url, "Range", fmt.Sprintf("bytes=%d-", half))
			if p.StatusCode != http.StatusPartialContent || string(part) != content[half:] {
				t.Errorf("%s from %d: status %s, %d bytes, want %d", name, half, p.Status, len(part), len(content)-half)
			}
			fallthrough
		case strings.HasSuffix(name, ".narinfo"):
			r, _ := request(t, http.MethodGet, url)
			again, body := request(t, http.MethodGet, url, "If-None-Match", r.Header.Get("Etag"))
			if again.StatusCode != http.StatusNotModified || len(body) != 0 {
				t.Errorf("%s again: status %s, want 304", name, again.Status)
			}
			checkHeader(t, layout.Key(name), again, "Cache-Control", r.Header.Get("Cache-Control"))
		}
	}
}
