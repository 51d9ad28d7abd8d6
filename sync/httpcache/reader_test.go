package httpcache

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/webtest"
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
		{403, "<Error><Code>AccessDenied</Code><Message>No &amp; no.</Message></Error>", true, 1, "403 Forbidden: AccessDenied: No & no."},
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
			s := webtest.Serve(t, webtest.Status(test.code, test.body))
			h, _ := openHTTP(t, s.URL, Options{})
			for _, key := range []layout.Key{testNarInfo, testNAR} {
				_, err := webtest.Get(t.Context(), h, key)
				webtest.WantError(t, err, "GET "+s.URL+"/"+string(key)+": ", test.says)
				if got := errors.Is(err, fs.ErrNotExist); got != test.absent {
					t.Errorf("%s: absent is %v, want %v: %v", key, got, test.absent, err)
				}
				if len(err.Error()) > 600 {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
			}
			if got := len(s.Asked()); got != 2*test.requests {
				t.Errorf("%d requests for two keys, want %d", got, 2*test.requests)
			}
		})
	}
}

func TestHTTPStat(t *testing.T) {
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/"+string(testNAR) {
			w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 06:29:00 GMT")
			webtest.File([]byte("12345"), `"v1"`)(w, r)
			return
		}
		http.NotFound(w, r)
	})
	h, _ := openHTTP(t, s.URL, Options{})
	info, err := h.Stat(t.Context(), testNAR)
	want := layout.Info{Key: testNAR, Size: 5, ETag: "v1", ModTime: time.Date(2026, 11, 23, 6, 29, 0, 0, time.UTC)}
	if err != nil || info != want {
		t.Errorf("Stat: %+v, %v, want %+v", info, err, want)
	}
	if _, err := h.Stat(t.Context(), testNarInfo); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of an absent key: %v", err)
	}
	for _, r := range s.Asked() {
		if r.Method != http.MethodHead {
			t.Errorf("asked with %s", r.Method)
		}
	}
}

func TestHTTPHeaders(t *testing.T) {
	s := webtest.Serve(t, webtest.File([]byte("a NAR"), `W/"weak"`))
	h, _ := openHTTP(t, s.URL+"/sub/dir///?priority=10&trusted=1", Options{UserAgent: "nixstatic/1.2"})
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
	r := s.Asked()[0]
	if r.URL.String() != "/sub/dir/"+string(testNAR) {
		t.Errorf("asked for %s", r.URL)
	}
	for name, want := range map[string]string{"User-Agent": "nixstatic/1.2", "Accept-Encoding": "identity", "Authorization": "", "Range": ""} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	h, _ = openHTTP(t, s.URL, Options{})
	if !strings.HasPrefix(h.o.UserAgent, "nixstatic/") {
		t.Errorf("User-Agent %q", h.o.UserAgent)
	}
}

// TestHTTPKeys checks that every key reaches the server as it is.
func TestHTTPKeys(t *testing.T) {
	const odd layout.Key = "log/00000000000000000000000000000000-we?ird=x+1 0%41#é.drv"
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path+"|"+r.URL.RawQuery) })
	h, _ := openHTTP(t, s.URL+"/a%2Fb", Options{})
	got, err := webtest.Get(t.Context(), h, odd)
	if err != nil || string(got) != "/a/b/"+string(odd)+"|" {
		t.Errorf("the server saw %q, %v", got, err)
	}
	if uri := s.Asked()[0].RequestURI; !strings.HasPrefix(uri, "/a%2Fb/log/") || strings.ContainsAny(uri, "?+ #!") {
		t.Errorf("request line has %s", uri)
	}
}

// Authorities are read with the first request that needs them, which may come after others:
// a redirect leads from http to https.
func TestRedirectToTLS(t *testing.T) {
	secure := &webtest.Server{}
	secure.Server = httptest.NewTLSServer(secure.Record(webtest.File([]byte("x"), "")))
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	plain := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secure.URL+r.URL.Path, http.StatusFound)
	})
	t.Setenv("NIX_SSL_CERT_FILE", ca)
	h, _ := openHTTP(t, plain.URL, Options{})
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := webtest.Get(t.Context(), h, testNarInfo); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(secure.Asked()); n != 4 {
		t.Errorf("the server that speaks TLS was asked %d times", n)
	}
}

// TestHTTP2 also shows that credentials come without being asked for, and that
// a certificate counts only if its authority is known.
func TestHTTP2(t *testing.T) {
	s := &webtest.Server{}
	s.Server = httptest.NewUnstartedServer(s.Record(webtest.File([]byte("x"), "")))
	s.Config.ErrorLog = nil
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	h, _ := openHTTP(t, strings.Replace(s.URL, "https://", "https://me:s3cret@", 1), Options{CAFile: ca})
	if _, err := webtest.Get(t.Context(), h, testNarInfo); err != nil {
		t.Fatal(err)
	}
	r := s.Asked()[0]
	if user, password, _ := r.BasicAuth(); r.ProtoMajor != 2 || user != "me" || password != "s3cret" {
		t.Errorf("%s with user %q", r.Proto, user)
	}
	h, pauses := openHTTP(t, s.URL, Options{})
	_, err := webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "certificate")
	if len(*pauses) != 0 {
		t.Errorf("an unknown authority: %d pauses", len(*pauses))
	}
	if _, err := Open(s.URL, Options{CAFile: webtest.NoCredentials(t)}); err == nil {
		t.Error("a file without certificates was taken")
	}
}
