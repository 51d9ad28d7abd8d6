package httpcache

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

func TestHTTPContentEncoding(t *testing.T) {
	text := []byte("StorePath: /nix/store/x\n")
	gzipped := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	var br bytes.Buffer
	bw := brotli.NewWriter(&br)
	bw.Write(text)
	bw.Close()
	zst := zstdBytes(t, text)
	for _, test := range []struct {
		coding string
		body   []byte
		fails  string
	}{
		{"gzip", gzipped(text), ""},
		{"x-gzip", gzipped(text), ""},
		{"br", br.Bytes(), ""},
		{"zstd", zst, ""},
		{"identity", text, ""},
		{"zstd, GZIP", gzipped(zst), ""},
		{"deflate", text, `content-encoding "deflate": not a compression that Nix knows`},
		{"gzip", text, "content-encoding: decompress gzip: corrupt"},
		{"gzip", gzipped(text)[:20], "corrupt"},
		{"gzip", gzipped(bytes.Repeat([]byte{'a'}, layout.MaxNarInfo+1)), "more than 4194304 bytes"},
		{"gzip,gzip,gzip,gzip", text, "4 layers"},
	} {
		t.Run(test.coding, func(t *testing.T) {
			s := webtest.Serve(t, webtest.Status(200, string(test.body), "Content-Encoding", test.coding, "ETag", `"x"`))
			h, _ := openHTTP(t, s.URL, Options{})
			body, info, err := h.Get(t.Context(), testNarInfo)
			if test.fails != "" {
				webtest.WantError(t, err, test.fails, s.URL)
				if len(s.Asked()) > 1 {
					t.Error("asked again for what will not change")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, text) || info.Size != int64(len(text)) {
				t.Errorf("narinfo: %q, %v, size %d", got, err, info.Size)
			}
			// A NAR is decoded as well: Nix does so whether it asked or not.
			if got, err := webtest.Get(t.Context(), h, testNAR); err != nil || !bytes.Equal(got, text) {
				t.Errorf("NAR: %q, %v", got, err)
			}
		})
	}
}

func TestHTTPWebPage(t *testing.T) {
	for _, page := range []string{"<!DOCTYPE html>\n<html>Log in, please", "\xef\xbb\xbf \n<HTML><body>"} {
		s := webtest.Serve(t, webtest.Status(200, page, "Content-Type", "text/html"))
		h, _ := openHTTP(t, s.URL, Options{})
		for _, key := range []layout.Key{layout.CacheInfoKey, testNarInfo, testNAR} {
			_, err := webtest.Get(t.Context(), h, key)
			webtest.WantError(t, err, "answered with a web page", s.URL+"/"+string(key))
		}
		if got, err := webtest.Get(t.Context(), h, "index.html"); err != nil || string(got) != page {
			t.Errorf("a page is a page: %q, %v", got, err)
		}
	}
}

func TestHTTPEndlessNarInfo(t *testing.T) {
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		line := []byte(strings.Repeat("Unknown: x\n", 10_000))
		for r.Context().Err() == nil {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	h, _ := openHTTP(t, s.URL, Options{})
	_, err := webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "more than 4194304 bytes")
}
