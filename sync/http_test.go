package sync

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/nixstatic/nixstatic/layout"
)

// TestHTTPStatus holds what each status means (I5), and how often it is met
// before it is believed.
func TestHTTPStatus(t *testing.T) {
	const slowDown = `<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`
	for _, test := range []struct {
		code     int
		body     string
		absent   bool
		requests int
		says     string
	}{
		{404, "no such key", true, 1, "404 Not Found: no such key"},
		{410, "", true, 1, "410 Gone"},
		{403, "<Error><Code>AccessDenied</Code></Error>", true, 1, "403 Forbidden: <Error>"},
		{403, slowDown, false, 5, "SlowDown"},
		{401, "", false, 1, "401 Unauthorized (neither the URL nor netrc has a user name and password for it)"},
		{407, "", false, 1, "407 Proxy Authentication Required"},
		{400, "bad\x1b[31m request\n\n  two lines", false, 1, "400 Bad Request: bad [31m request two lines"},
		{405, "", false, 1, "405 Method Not Allowed"},
		{408, "", false, 5, "408 Request Timeout"},
		{429, "", false, 5, "429 Too Many Requests"},
		{500, "<!DOCTYPE html><title>Oops</title>", false, 5, "500 Internal Server Error (attempt 5 of 5)"},
		{501, "", false, 1, "501 Not Implemented"},
		{502, "", false, 5, "502 Bad Gateway"},
		{503, "", false, 5, "503 Service Unavailable"},
		{511, "", false, 1, "511 Network Authentication Required"},
		{204, "", false, 1, "204 No Content"},
		{206, "x", false, 1, "206 Partial Content"},
		{304, "", false, 1, "304 Not Modified"},
		{500, strings.Repeat("long ", 10_000), false, 5, "long …"},
	} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			s := serve(t, status(test.code, test.body))
			h, _ := openHTTP(t, s.URL, HTTPOptions{})
			for _, key := range []layout.Key{testNarInfo, testNAR} {
				_, err := get(t.Context(), h, key)
				wantError(t, err, "GET "+s.URL+"/"+string(key)+": ", test.says)
				if got := errors.Is(err, fs.ErrNotExist); got != test.absent {
					t.Errorf("%s: absent is %v, want %v: %v", key, got, test.absent, err)
				}
				if len(err.Error()) > 600 {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
			}
			if got := len(s.asked()); got != 2*test.requests {
				t.Errorf("%d requests for two keys, want %d", got, 2*test.requests)
			}
		})
	}
}

func TestHTTPStat(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/"+string(testNAR) {
			w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 06:29:00 GMT")
			file([]byte("12345"), `"v1"`)(w, r)
			return
		}
		http.NotFound(w, r)
	})
	h, _ := openHTTP(t, s.URL, HTTPOptions{})
	info, err := h.Stat(t.Context(), testNAR)
	want := layout.Info{Key: testNAR, Size: 5, ETag: "v1", ModTime: time.Date(2026, 11, 23, 6, 29, 0, 0, time.UTC)}
	if err != nil || info != want {
		t.Errorf("Stat: %+v, %v, want %+v", info, err, want)
	}
	if _, err := h.Stat(t.Context(), testNarInfo); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of an absent key: %v", err)
	}
	for _, r := range s.asked() {
		if r.Method != http.MethodHead {
			t.Errorf("asked with %s", r.Method)
		}
	}
}

func TestHTTPHeaders(t *testing.T) {
	s := serve(t, file([]byte("a NAR"), `W/"weak"`))
	h, _ := openHTTP(t, s.URL+"/sub/dir///?priority=10&trusted=1", HTTPOptions{UserAgent: "nixstatic/1.2"})
	if got, want := h.URL(), s.URL+"/sub/dir/"; got != want {
		t.Errorf("URL %s, want %s", got, want)
	}
	body, info, err := h.Get(t.Context(), testNAR)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if info.ETag != "" || info.Size != 5 {
		t.Errorf("a weak ETag is no promise: %+v", info)
	}
	r := s.asked()[0]
	if r.URL.String() != "/sub/dir/"+string(testNAR) {
		t.Errorf("asked for %s", r.URL)
	}
	for name, want := range map[string]string{"User-Agent": "nixstatic/1.2", "Accept-Encoding": "identity", "Authorization": "", "Range": ""} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	h, _ = openHTTP(t, s.URL, HTTPOptions{})
	if !strings.HasPrefix(h.o.UserAgent, "nixstatic/") {
		t.Errorf("User-Agent %q", h.o.UserAgent)
	}
}

// TestHTTPKeys checks that every key reaches the server as it is.
func TestHTTPKeys(t *testing.T) {
	const odd layout.Key = "log/00000000000000000000000000000000-we?ird=x+1 0%41#é.drv"
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path+"|"+r.URL.RawQuery) })
	h, _ := openHTTP(t, s.URL+"/a%2Fb", HTTPOptions{})
	got, err := get(t.Context(), h, odd)
	if err != nil || string(got) != "/a/b/"+string(odd)+"|" {
		t.Errorf("the server saw %q, %v", got, err)
	}
	if uri := s.asked()[0].RequestURI; !strings.HasPrefix(uri, "/a%2Fb/log/") || strings.ContainsAny(uri, "?+ #!") {
		t.Errorf("request line has %s", uri)
	}
}

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
		{"deflate", text, `content-encoding "deflate": not gzip, br or zstd`},
		{"gzip", text, "content-encoding: decompress gzip: corrupt"},
		{"gzip", gzipped(text)[:20], "corrupt"},
		{"gzip", gzipped(bytes.Repeat([]byte{'a'}, layout.MaxNarInfo+1)), "more than 4194304 bytes"},
		{"gzip,gzip,gzip,gzip", text, "4 layers"},
	} {
		t.Run(test.coding, func(t *testing.T) {
			s := serve(t, status(200, string(test.body), "Content-Encoding", test.coding, "ETag", `"x"`))
			h, _ := openHTTP(t, s.URL, HTTPOptions{})
			body, info, err := h.Get(t.Context(), testNarInfo)
			if test.fails != "" {
				wantError(t, err, test.fails, s.URL)
				if len(s.asked()) > 1 {
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
			if got, err := get(t.Context(), h, testNAR); err != nil || !bytes.Equal(got, text) {
				t.Errorf("NAR: %q, %v", got, err)
			}
		})
	}
}

func TestHTTPWebPage(t *testing.T) {
	for _, page := range []string{"<!DOCTYPE html>\n<html>Log in, please", "\xef\xbb\xbf \n<HTML><body>"} {
		s := serve(t, status(200, page, "Content-Type", "text/html"))
		h, _ := openHTTP(t, s.URL, HTTPOptions{})
		for _, key := range []layout.Key{layout.CacheInfoKey, testNarInfo, testNAR} {
			_, err := get(t.Context(), h, key)
			wantError(t, err, "answered with a web page", s.URL+"/"+string(key))
		}
		if got, err := get(t.Context(), h, "index.html"); err != nil || string(got) != page {
			t.Errorf("a page is a page: %q, %v", got, err)
		}
	}
}

func TestHTTPEndlessNarInfo(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		line := []byte(strings.Repeat("Unknown: x\n", 10_000))
		for r.Context().Err() == nil {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	h, _ := openHTTP(t, s.URL, HTTPOptions{})
	_, err := get(t.Context(), h, testNarInfo)
	wantError(t, err, "more than 4194304 bytes")
}

func TestHTTPRetries(t *testing.T) {
	text := "all is well\n"
	for _, test := range []struct {
		name   string
		faults []http.HandlerFunc
	}{
		{"503 then ok", []http.HandlerFunc{status(503, "")}},
		{"four faults then ok", []http.HandlerFunc{status(500, ""), status(429, ""), status(408, ""), status(502, "")}},
		{"no answer", []http.HandlerFunc{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}},
		{"narinfo breaks off", []http.HandlerFunc{cutOff(3, status(200, text, "Content-Length", "12"))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, inTurn(append(test.faults, status(200, text))...))
			h, pauses := openHTTP(t, s.URL, HTTPOptions{})
			got, err := get(t.Context(), h, testNarInfo)
			if err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
			if len(*pauses) != len(test.faults) || len(s.asked()) != len(test.faults)+1 {
				t.Errorf("%d pauses and %d requests after %d faults", len(*pauses), len(s.asked()), len(test.faults))
			}
		})
	}
}

func TestHTTPBackOff(t *testing.T) {
	for _, test := range []struct {
		name     string
		handler  http.HandlerFunc
		from, to []time.Duration
	}{
		{"doubles", status(500, ""),
			[]time.Duration{125e6, 250e6, 500e6, 1e9}, []time.Duration{250e6, 500e6, 1e9, 2e9}},
		{"longer when asked too much", status(503, ""),
			[]time.Duration{2.5e9, 5e9, 10e9, 20e9}, []time.Duration{5e9, 10e9, 20e9, 40e9}},
		{"as the server says", status(429, "", "Retry-After", "7"),
			[]time.Duration{7e9, 7e9, 7e9, 7e9}, []time.Duration{7.25e9, 7.25e9, 7.25e9, 7.25e9}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, test.handler)
			h, pauses := openHTTP(t, s.URL, HTTPOptions{})
			_, err := get(t.Context(), h, testNarInfo)
			wantError(t, err, "(attempt 5 of 5)")
			if len(*pauses) != len(test.from) {
				t.Fatalf("pauses %v", *pauses)
			}
			for i, p := range *pauses {
				if p < test.from[i] || p > test.to[i] {
					t.Errorf("pause %d is %v, want %v to %v", i+1, p, test.from[i], test.to[i])
				}
			}
		})
	}
	t.Run("not for an hour", func(t *testing.T) {
		s := serve(t, status(503, "", "Retry-After", "3600"))
		h, pauses := openHTTP(t, s.URL, HTTPOptions{})
		_, err := get(t.Context(), h, testNarInfo)
		wantError(t, err, "asked again after 1h0m0s")
		if len(*pauses) != 0 {
			t.Errorf("paused %v", *pauses)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		" 120 ":                         2 * time.Minute,
		"-5":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", value, got, want)
		}
	}
}

func TestHTTPCancel(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	h, _ := openHTTP(t, s.URL, HTTPOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := get(ctx, h, testNarInfo); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if len(s.asked()) > 1 {
		t.Error("asked again after the end")
	}
}

func TestHTTPConnectionErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	h, pauses := openHTTP(t, "http://"+address, HTTPOptions{})
	_, err = get(t.Context(), h, testNarInfo)
	wantError(t, err, "GET http://"+address, "connection refused", "(attempt 5 of 5)")
	if errors.Is(err, fs.ErrNotExist) || len(*pauses) != 4 {
		t.Errorf("a closed port: %v after %v", err, *pauses)
	}

	// What will not change is not tried again.
	plain := serve(t, status(200, ""))
	h, pauses = openHTTP(t, strings.Replace(plain.URL, "http:", "https:", 1), HTTPOptions{})
	_, err = get(t.Context(), h, testNarInfo)
	wantError(t, err, "https://")
	if len(*pauses) != 0 {
		t.Errorf("plain HTTP behind https: %d pauses", len(*pauses))
	}
}

// TestHTTP2 also shows that credentials come without being asked for, and that
// a certificate counts only if its authority is known.
func TestHTTP2(t *testing.T) {
	s := &webServer{}
	s.Server = httptest.NewUnstartedServer(s.record(file([]byte("x"), "")))
	s.Config.ErrorLog = nil
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	h, _ := openHTTP(t, strings.Replace(s.URL, "https://", "https://me:s3cret@", 1), HTTPOptions{CAFile: ca})
	if _, err := get(t.Context(), h, testNarInfo); err != nil {
		t.Fatal(err)
	}
	r := s.asked()[0]
	if user, password, _ := r.BasicAuth(); r.ProtoMajor != 2 || user != "me" || password != "s3cret" {
		t.Errorf("%s with user %q", r.Proto, user)
	}
	h, pauses := openHTTP(t, s.URL, HTTPOptions{})
	_, err := get(t.Context(), h, testNarInfo)
	wantError(t, err, "certificate")
	if len(*pauses) != 0 {
		t.Errorf("an unknown authority: %d pauses", len(*pauses))
	}
	if _, err := OpenHTTP(s.URL, HTTPOptions{CAFile: noCredentials(t)}); err == nil {
		t.Error("a file without certificates was taken")
	}
}
