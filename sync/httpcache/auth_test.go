package httpcache

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// TestHTTPRedirect follows the server to other places. Credentials stay.
func TestHTTPRedirect(t *testing.T) {
	elsewhere := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "missing") {
			http.NotFound(w, r)
			return
		}
		webtest.File([]byte("content"), "")(w, r)
	})
	var target string
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/here/") {
			webtest.File([]byte("content"), "")(w, r)
			return
		}
		http.Redirect(w, r, target, http.StatusFound)
	})
	h, _ := openHTTP(t, webtest.WithUser(t, s.URL, "me", "s3cret"), Options{})
	for _, test := range []struct {
		name, target string
		server       *webtest.Server
		credentials  bool
	}{
		{"same place", "/here/x", s, true},
		{"another port", elsewhere.URL + "/x", elsewhere, false},
		{"another host", strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) + "/x", elsewhere, false},
		{"with a user of its own", webtest.WithUser(t, elsewhere.URL, "you", "theirs") + "/x", elsewhere, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			target = test.target
			for _, key := range []layout.Key{testNarInfo, testNAR} {
				if got, err := webtest.Get(t.Context(), h, key); err != nil || string(got) != "content" {
					t.Errorf("%q, %v", got, err)
				}
				asked := test.server.Asked()
				last := asked[len(asked)-1]
				if got := last.Header.Get("Authorization") != ""; got != test.credentials {
					t.Errorf("%s came with credentials: %v", last.URL, got)
				}
				if last.Header.Get("Referer") != "" {
					t.Errorf("Referer %q", last.Header.Get("Referer"))
				}
			}
		})
	}
	t.Run("absent elsewhere", func(t *testing.T) {
		target = elsewhere.URL + "/missing"
		_, err := webtest.Get(t.Context(), h, testNarInfo)
		webtest.WantError(t, err, "404 Not Found from "+strings.TrimPrefix(elsewhere.URL, "http://"))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error("not absent")
		}
	})
	for where, says := range map[string]string{
		"/loop":              "more than 10 redirects",
		"file:///etc/passwd": "not http or https",
	} {
		before := len(s.Asked())
		target = where
		_, err := webtest.Get(t.Context(), h, testNarInfo)
		webtest.WantError(t, err, says)
		if n := len(s.Asked()) - before; n > 11 {
			t.Errorf("%s: %d requests", where, n)
		}
	}
}

func TestHTTPRefusesDowngrade(t *testing.T) {
	h, _ := openHTTP(t, "https://cache.example.org", Options{})
	via := &http.Request{URL: mustParse(t, "https://cache.example.org/x")}
	next := &http.Request{URL: mustParse(t, "http://cache.example.org/x"), Header: http.Header{}}
	webtest.WantError(t, h.redirect(next, []*http.Request{via}), "from https to http://cache.example.org")
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestHTTPForeignNAR has a narinfo that leads to another host.
func TestHTTPForeignNAR(t *testing.T) {
	elsewhere := webtest.Serve(t, webtest.File([]byte("a NAR"), ""))
	s := webtest.Serve(t, webtest.File([]byte("a NAR"), ""))
	h, _ := openHTTP(t, webtest.WithUser(t, s.URL+"/sub", "me", "s3cret"), Options{})
	for _, test := range []struct {
		ref         string
		server      *webtest.Server
		path        string
		credentials bool
	}{
		{"nar/x.nar.xz?hash=abc", s, "/sub/nar/x.nar.xz?hash=abc", true},
		{"/nar/a%20b%2Fc", s, "/nar/a%20b%2Fc", true},
		{s.URL + "/y", s, "/y", true},
		{elsewhere.URL + "/z?sig=1", elsewhere, "/z?sig=1", false},
		{webtest.WithUser(t, elsewhere.URL, "a", "b") + "/z", elsewhere, "/z", false},
	} {
		body, _, err := h.OpenURL(t.Context(), test.ref)
		if err != nil {
			t.Errorf("%s: %v", test.ref, err)
			continue
		}
		body.Close()
		asked := test.server.Asked()
		last := asked[len(asked)-1]
		if last.RequestURI != test.path || (last.Header.Get("Authorization") != "") != test.credentials {
			t.Errorf("%s: asked for %s with %q", test.ref, last.RequestURI, last.Header.Get("Authorization"))
		}
	}
}

// TestHTTPCredentials checks where they come from, and that no error has them.
func TestHTTPCredentials(t *testing.T) {
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "s3cret/: é" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		webtest.File([]byte("x"), "")(w, r)
	})
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	conf := filepath.Join(dir, "conf")
	netrc := filepath.Join(dir, "netrc")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entry := "machine 127.0.0.1 login me password \"s3cret/: é\"\n"
	t.Setenv("HOME", home)
	t.Setenv("NETRC", "")
	t.Setenv("NIX_CONF_DIR", conf)
	works := func(name, rawURL, file string) {
		t.Helper()
		h, err := Open(rawURL, Options{Netrc: file})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := webtest.Get(t.Context(), h, testNarInfo); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(h.URL(), "s3cret") {
			t.Errorf("%s: URL %s", name, h.URL())
		}
	}
	refused := func(name, rawURL, file, says string) {
		t.Helper()
		h, err := Open(rawURL, Options{Netrc: file})
		if err == nil {
			_, err = webtest.Get(t.Context(), h, testNarInfo)
		}
		webtest.WantError(t, err, says)
	}
	refused("nothing known", s.URL, "", "401 Unauthorized (neither the URL nor netrc has")
	works("in the URL", webtest.WithUser(t, s.URL, "me", "s3cret/: é"), "")
	refused("wrong in the URL", webtest.WithUser(t, s.URL, "me", "s3cret"), "", "401 Unauthorized (user name and password were refused)")
	write(netrc, entry)
	works("file", s.URL, netrc)
	works("user in the URL, password in the file", strings.Replace(s.URL, "http://", "http://me@", 1), netrc)
	refused("another user", strings.Replace(s.URL, "http://", "http://you@", 1), netrc, "refused")
	refused("no such file", s.URL, netrc+"x", "no such file")
	refused("not a URL", "http://me:s3cret/@host:80/", "", "percent-encoded")
	write(filepath.Join(conf, "netrc"), entry)
	works("beside nix.conf", s.URL, "")
	write(filepath.Join(home, ".netrc"), "machine 127.0.0.1 login other password s3cret")
	refused("home first", s.URL, "", "refused")
	t.Setenv("NETRC", netrc)
	works("$NETRC first", s.URL, "")
}
