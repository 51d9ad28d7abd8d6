//go:build real

package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestDoctorReach plants faults on the way to a cache.
func TestDoctorReach(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	closed := httptest.NewServer(nil)
	closed.Close()
	groundAt(t, c, closed.URL).ills(t, "refused")
	groundAt(t, c, "http://none.invalid").ills(t, "host-unknown")

	files := http.FileServer(http.Dir(c.tree))
	plain, secure := httptest.NewServer(files), httptest.NewTLSServer(files)
	defer plain.Close()
	defer secure.Close()
	groundAt(t, c, strings.Replace(plain.URL, "http:", "https:", 1)).ills(t, "speaks-http")
	groundAt(t, c, strings.Replace(secure.URL, "https:", "http:", 1)).ills(t, "speaks-https")
	groundAt(t, c, secure.URL).ills(t, "certificate-unknown")

	// A clock that is off shows in the time that the server says.
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		files.ServeHTTP(w, r)
	}))
	defer behind.Close()
	groundAt(t, c, behind.URL).ills(t, "clock-off")
	kept := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.Header().Set("Age", "3600")
		files.ServeHTTP(w, r)
	}))
	defer kept.Close()
	groundAt(t, c, kept.URL).healthy(t)

	// Proxies that change what passes.
	for fault, change := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"encoding-unreadable": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/nix-cache-info" {
				w.Header().Set("Content-Encoding", "deflate")
			}
			return false
		},
		"redirect-unusable": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/nix-cache-info" {
				return false
			}
			w.Header().Set("Location", "ftp://127.0.0.1/nix-cache-info")
			w.WriteHeader(http.StatusFound)
			return true
		},
		"nar-refused": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/nar/") {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		},
		"nar-page": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/nar/") || r.Header.Get("Range") != "" {
				return false
			}
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>Log in")
			return true
		},
		"cache-info-refused": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/nix-cache-info" {
				return false
			}
			w.WriteHeader(http.StatusBadGateway)
			return true
		},
		"ranges-wrong": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") == "" {
				return false
			}
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, "seven")
			return true
		},
		"unreachable": func(w http.ResponseWriter, r *http.Request) bool {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
			}
			conn.Close()
			return true
		},
		"silent": func(w http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		},
	} {
		between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !change(w, r) {
				files.ServeHTTP(w, r)
			}
		}))
		groundAt(t, c, between.URL).ills(t, fault, between.URL, c.path)
		between.Close()
	}

	// A part from another place of the file, of the length that was asked for.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			r.Header.Set("Range", "bytes=0-1")
		}
		files.ServeHTTP(w, r)
	}))
	defer elsewhere.Close()
	groundAt(t, c, elsewhere.URL).ills(t, "ranges-wrong", elsewhere.URL, c.path)

	// A proxy that is in the way of nothing.
	target, err := url.Parse(plain.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	defer proxy.Close()
	groundAt(t, c, proxy.URL).healthy(t, proxy.URL, c.path, "--deep")
}

// TestDoctorCertificates plants certificates that are of no use.
func TestDoctorCertificates(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	now := time.Now()
	for fault, of := range map[string]struct {
		name string
		end  time.Time
	}{
		"certificate-expired": {"localhost", now.Add(-time.Hour)},
		"certificate-name":    {"other.example.org", now.Add(time.Hour * 1000)},
		"certificate-ends":    {"localhost", now.Add(time.Hour)},
		"":                    {"localhost", now.Add(time.Hour * 1000)},
	} {
		cert, key := makeCertificate(t, of.name, of.end)
		secure := nixtest.StartNginx(t, func(address string) string {
			return fmt.Sprintf("log_not_found off;\nserver {\nlisten %s ssl;\nssl_certificate %q;\nssl_certificate_key %q;\nroot %q;\n}", address, cert, key, c.tree)
		})
		at := strings.Replace(strings.Replace(secure.URL, "http:", "https:", 1), "127.0.0.1", "localhost", 1)
		g := groundAt(t, c, at)
		g.with = []string{"NIX_SSL_CERT_FILE=" + cert}
		if fault == "" {
			g.healthy(t)
		} else {
			g.ills(t, fault)
		}
	}
}

// TestDoctorElsewhere: a reference that another substituter has is not missing, and
// a path that one of several caches has is there.
func TestDoctorElsewhere(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	g, whole := newGround(t, c), newGround(t, c)
	app := withoutReference(t, g)
	store := peers.Closure(t)
	nixtest.Program{Nix: peers.Newest(t)}.Output(t, "export", "--store", store.Root, "--to", whole.tree, "-k", c.key.File, app)
	g.use(t, g.url+" "+whole.url, c.key.Public)
	g.healthy(t, g.url, app)
	g.remove(t, filepath.Base(app)[:32]+".narinfo")
	g.healthy(t, app)
	g.ills(t, "not-there", g.url, app)
}

// A machine without a network, with a cache on its disk: Nix asks no cache unless told to.
func TestDoctorOffline(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	g := newGround(t, c)
	g.use(t, "file://"+g.tree, c.key.Public)
	g.healthy(t)
	g.cut = true
	g.ills(t, "no-network")
	conf := g.machine.read(t, "home/.config/nix/nix.conf")
	g.machine.write(t, "home/.config/nix/nix.conf", conf+"substitute = true\n")
	g.healthy(t)
}
