package httpcache

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/sync/webtest"
)

// TestSettingsNotNeeded: what the environment names and nothing asks for may be
// broken.
func TestSettingsNotNeeded(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".netrc"), []byte("machine h password \"open"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("NETRC", home) // a folder
	t.Setenv("NIX_SSL_CERT_FILE", filepath.Join(home, "none"))
	s := webtest.Serve(t, webtest.Status(200, "x"))
	h, err := Open(s.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := webtest.Get(t.Context(), h, testNarInfo); err != nil {
		t.Error(err)
	}
	// Errors of settings that are needed are reported.
	wants := webtest.Serve(t, webtest.Status(401, ""))
	h, err = Open(wants.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	_, err = webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "401", "read netrc", "never closed")
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	h, err = Open(secure.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	_, err = webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "read certificates", "none")
	if strings.Contains(err.Error(), "attempt") {
		t.Errorf("tried again: %v", err)
	}
}

// TestWrongScheme: who asks in plain HTTP where HTTPS is spoken is told so, and
// the other way round, at once.
func TestWrongScheme(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	says := webtest.Serve(t, webtest.Status(400, "<html><h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port</html>"))
	for url, want := range map[string]error{
		"http" + strings.TrimPrefix(secure.URL, "https"): ErrHTTPS,
		says.URL: ErrHTTPS,
		"https" + strings.TrimPrefix(plain.URL, "http"): http.ErrSchemeMismatch,
	} {
		h, pauses := openHTTP(t, url, Options{})
		_, err := webtest.Get(t.Context(), h, testNarInfo)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", url, err, want)
		}
		if len(*pauses) > 0 {
			t.Errorf("%s: tried again", url)
		}
	}
}
