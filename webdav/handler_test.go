package webdav

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout/inbox"
)

// Permission is asked for before anything else.
func TestAuthorization(t *testing.T) {
	var asked []string
	auth := authFunc(func(r *http.Request, need Scope) error {
		asked = append(asked, need.String())
		switch r.Header.Get("X-Who") {
		case "":
			return &AuthError{Status: 401}
		case "many":
			return &AuthError{Status: 429, RetryAfter: 1500 * time.Millisecond, Msg: "slowly"}
		case "broken":
			return errors.New("SECRET")
		}
		return nil
	})
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Auth = auth })
	shared := newRig(t, func(c *Config, _ *inbox.Config) { c.Auth, c.UploadPrefix = auth, "/" })
	for _, test := range []struct {
		r            *rig
		method, path string
		want         string
	}{
		{r, "GET", "/nix-cache-info", "read"}, {r, "HEAD", "/x", "read"}, {r, "OPTIONS", "/", "read"}, {r, "PROPFIND", "/", "read"},
		{r, "PUT", "/nix-cache-info", "read"}, {r, "GET", "/upload/nix-cache-info", "upload"}, {r, "PUT", "/upload/x", "upload"},
		{r, "PROPFIND", "/upload", "upload"}, {r, "LOCK", "/upload/x", "upload"}, {r, "DELETE", "/upload/x", "upload"},
		{r, "PUT", "/upload/index.html", "admin"}, {r, "LOCK", "/upload/favicon.svg", "admin"}, {r, "DELETE", "/upload/style.css", "admin"},
		{r, "PROPPATCH", "/upload/robots.txt", "admin"}, {r, "GET", "/upload/index.html", "upload"}, {r, "PROPFIND", "/upload/index.html", "upload"},
		{r, "PUT", "/index.html", "read"}, {shared, "PUT", "/index.html", "admin"}, {shared, "GET", "/index.html", "read"},
		{shared, "GET", "/nix-cache-info", "read"}, {shared, "PROPFIND", "/", "read"}, {shared, "PUT", "/x", "upload"},
		{shared, "DELETE", "/x", "upload"}, {shared, "MKCOL", "/x", "upload"},
	} {
		asked = nil
		got := test.r.do(t, test.method, test.path, nil)
		if got.Status != 401 || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Basic ") || !slices.Equal(asked, []string{test.want}) {
			t.Errorf("%s %s: %d, asked for %q, want %q", test.method, test.path, got.Status, asked, test.want)
		}
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil, "X-Who: many"); got.Status != 429 || got.Header.Get("Retry-After") != "2" || got.Body != "slowly\n" {
		t.Errorf("too many: %+v", got)
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil, "X-Who: broken"); got.Status != 503 || strings.Contains(got.Body, "SECRET") {
		t.Errorf("could not tell: %+v", got)
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil, "X-Who: me"); got.Status != 200 {
		t.Errorf("allowed: %+v", got)
	}
}

type authFunc func(*http.Request, Scope) error

func (f authFunc) Authorize(r *http.Request, need Scope) (string, error) {
	return r.Header.Get("X-Who"), f(r, need)
}

// Requests are counted under words of a bounded set.
func TestRecorded(t *testing.T) {
	r := newRig(t, nil)
	for _, req := range []string{"GET /nix-cache-info", "GET /x", "GET /upload/nix-cache-info", "PROPFIND /upload/", "BREW /tea", "PUT /upload/x"} {
		method, path, _ := strings.Cut(req, " ")
		r.do(t, method, path, nil, "Depth: 0")
	}
	want := []string{"GET nix-cache-info OK", "GET none Not Found", "GET upload:nix-cache-info OK", "PROPFIND dav Multi-Status",
		"other none Method Not Allowed", "PUT none Forbidden"}
	if !slices.Equal(r.recorded.requests, want) {
		t.Errorf("recorded %q, want %q", r.recorded.requests, want)
	}
}

// TestNoAuth: a server that was told nothing of who may upload takes nothing.
func TestNoAuth(t *testing.T) {
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Auth = nil })
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/nix-cache-info", 200}, {"PROPFIND", "/", 207}, {"PUT", "/upload/robots.txt", 403}, {"GET", "/upload/nix-cache-info", 403}, {"LOCK", "/upload/x", 403}} {
		if got := r.do(t, c.method, c.path, strings.NewReader(""), "Depth: 0"); got.Status != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got.Status, c.want)
		}
	}
}
