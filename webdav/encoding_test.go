package webdav

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// Everything that Nix can be told to compress arrives, within limits.
func TestContentEncoding(t *testing.T) {
	dir, paths := example(t)
	drv := strings.Repeat("0", 32) + "-x.drv"
	pool := compress.NewPool(1)
	defer pool.Close()
	packed := func(m compress.Method, text []byte) *bytes.Buffer {
		var b bytes.Buffer
		w, err := pool.NewWriter(t.Context(), &b, m, 0)
		if err == nil {
			_, err = w.Write(text)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return &b
	}
	for encoding, method := range encodings {
		r := newRig(t, func(c *Config, _ *inbox.Config) { c.MaxSmall = 1 << 20 })
		listing := layout.ListingKey(paths.Named("app").Info.Path)
		text, err := os.ReadFile(filepath.Join(dir, string(listing)))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.do(t, "PUT", "/upload/"+string(listing), packed(method, text), newNix, "Content-Encoding: "+encoding); got.Status != 201 {
			t.Errorf("%s: %d %s", encoding, got.Status, got.Body)
		}
		log := bytes.Repeat([]byte("a line of a log\n"), 1<<10)
		if got := r.do(t, "PUT", "/upload/log/"+drv, packed(method, log), newNix, "Content-Encoding: "+encoding); got.Status != 201 {
			t.Errorf("%s: %d %s", encoding, got.Status, got.Body)
		}
		if got := r.do(t, "GET", "/log/"+drv, nil); got.Body != string(log) || got.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: a log of %d bytes came back with %d", encoding, len(log), len(got.Body))
		}
		if method == compress.None {
			continue
		}
		whole := packed(method, log).Bytes()
		cut := r.do(t, "PUT", "/upload/nix-cache-info", bytes.NewReader(whole[:len(whole)-3]), "Content-Encoding: "+encoding)
		if cut.Status != 400 || r.recorded.last() != ResultEncoding+" nix-cache-info" {
			t.Errorf("%s that is cut off: %d %s, %s", encoding, cut.Status, cut.Body, r.recorded.last())
		}
		bomb := packed(method, make([]byte, 2<<20))
		if got := r.do(t, "PUT", "/upload/"+string(listing), bomb, "Content-Encoding: "+encoding); got.Status != 413 || r.recorded.last() != "too-large ls" {
			t.Errorf("%s of 2 MiB: %d %s, %s", encoding, got.Status, got.Body, r.recorded.last())
		}
	}
}

// The bytes that a small body becomes count for its client, unless they are no more than usual.
func TestDecodedBytesCost(t *testing.T) {
	dir := treetest.OpenDir(t, t.TempDir())
	var made int64
	spent := 0
	h := newHandler(Config{Tree: dir, Auth: AllowAll, Log: quiet}, fakeInbox{Lister: dir, made: &made, spent: &spent,
		check: func(layout.Key) error { return nil },
		take: func(_ layout.Key, from io.Reader) (inbox.Outcome, error) {
			_, err := io.Copy(io.Discard, from)
			return inbox.Created, err
		}})
	put := func(text string) int {
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		io.WriteString(z, text)
		z.Close()
		r := httptest.NewRequest("PUT", "/upload/log/"+strings.Repeat("0", 32)+"-x.drv", &body)
		r.Header.Set("Content-Encoding", "gzip")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if code := put("building\nunpacking\n" + strings.Repeat("a line of a log\n", 10)); code != 201 || made != 0 {
		t.Errorf("a log: %d, %d bytes were made of it", code, made)
	}
	if code := put(strings.Repeat("x", 16<<20)); code != 201 || made < 8<<20 {
		t.Errorf("a bomb: %d, %d bytes were made of it", code, made)
	}
	spent = -1
	if code := put("x"); code != 429 {
		t.Errorf("of a client that owes: %d", code)
	}
}
