package webdav

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
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
