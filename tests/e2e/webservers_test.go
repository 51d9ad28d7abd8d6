//go:build real

package e2e_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// apacheUser is the user that Apache runs as, since it refuses to be root.
const apacheUser = 65534

// forEveryone is a copy of a tree in a directory that other users may enter.
func forEveryone(t testing.TB, tree string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "webserver-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(filepath.Join(dir, "cache"), os.DirFS(tree)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startWeb runs a web server until the test ends, and waits for it to answer.
func startWeb(t testing.TB, address string, cmd *exec.Cmd) string {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("the server says\n%s", log.String())
		}
	})
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return "http://" + address
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v does not answer: %v", cmd.Args, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestCaddy(t *testing.T) {
	dir, address := forEveryone(t, treeForBrowsers(t)), freeAddress(t)
	text := "{\n\tadmin off\n\tauto_https off\n}\n" +
		nixtest.Example(t, "caddy/Caddyfile", "cache.example.org {", "http://"+address+" {", "/srv/nix-cache", filepath.Join(dir, "cache"))
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peers.Program(t, "caddy"), "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	checkWebServer(t, startWeb(t, address, cmd), filepath.Join(dir, "cache"))
}

func TestApache(t *testing.T) {
	dir, address := forEveryone(t, treeForBrowsers(t)), freeAddress(t)
	text := fmt.Sprintf("ServerRoot %q\nServerName localhost\nListen %s\nPidFile %q\nErrorLog %q\n", dir, address, dir+"/pid", dir+"/error.log")
	for _, module := range []string{"mpm_event", "authz_core", "headers", "alias", "dir", "mime"} {
		text += fmt.Sprintf("LoadModule %[1]s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", module)
	}
	// Debian's own configuration has these.
	text += "TypesConfig /etc/mime.types\nAddEncoding x-gzip .gz .tgz\nAddEncoding x-compress .Z\n"
	text += nixtest.Example(t, "apache/nixstatic.conf", "*:80", address, "/srv/nix-cache", filepath.Join(dir, "cache"))
	if err := os.WriteFile(dir+"/apache.conf", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peers.Program(t, "apache2"), "-d", dir, "-f", dir+"/apache.conf", "-D", "FOREGROUND")
	if os.Getuid() == 0 {
		if err := os.Chown(dir, apacheUser, apacheUser); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: apacheUser, Gid: apacheUser}}
	}
	checkWebServer(t, startWeb(t, address, cmd), filepath.Join(dir, "cache"))
}

// checkWebServer checks that a server gives out what is of a cache, as the kinds are
// to be sent, and nothing else.
func checkWebServer(t *testing.T, url, dir string) {
	t.Helper()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	public := 0
	for info, err := range tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		kind := info.Key.Kind()
		if !kind.Public() || strings.Contains(string(info.Key), "?") || info.Key == "404.html" {
			continue
		}
		public++
		want, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(string(info.Key))))
		if err != nil {
			t.Fatal(err)
		}
		r, body := request(t, http.MethodGet, url+"/"+string(info.Key), "Accept-Encoding", "gzip, zstd")
		plain := r.Header.Get("Content-Encoding") == ""
		if r.StatusCode != http.StatusOK || plain && !bytes.Equal(body, want) {
			t.Errorf("%s: status %s, %d bytes, want %d", info.Key, r.Status, len(body), len(want))
		}
		if !plain && strings.HasPrefix(string(info.Key), "nar/") {
			t.Errorf("%s: Content-Encoding %q", info.Key, r.Header.Get("Content-Encoding"))
		}
		checkHeader(t, info.Key, r, "Content-Type", info.Key.ContentType())
		if want := kind.SecurityPolicy(); want != "" {
			checkHeader(t, info.Key, r, "Content-Security-Policy", want)
		}
		got, want1 := r.Header.Get("Cache-Control"), info.Key.CacheControl()
		if strings.Contains(got, "immutable") != strings.Contains(want1, "immutable") || got == "" {
			t.Errorf("%s: Cache-Control %q, want %q", info.Key, got, want1)
		}
	}
	if public < 20 {
		t.Errorf("only %d files were looked at", public)
	}
	if r, body := request(t, http.MethodGet, url+"/"); string(body) != "<!doctype html>" {
		t.Errorf("/ is not index.html: status %s, %q", r.Status, body)
	}
	for _, path := range []string{
		"/00000000000000000000000000000000.narinfo", "/nar/absent.nar.xz", "/log/absent.drv",
		"/nar", "/nar/", "/log/", "/debuginfo", "/realisations/", "/.nixstatic", "/.nixstatic/", "/.nixstatic/spool/x", "/.nixstatic/lock",
		"//.nixstatic/spool/x", "/./.nixstatic/spool/x", "/%2enixstatic/spool/x", "/nar/../.nixstatic/spool/x", "/nar/%2e%2e/.nixstatic/spool/x",
		"/.NIXSTATIC/spool/x", "/secret.key", "/nix-cache-info.bak", "/nar/../secret.key", "/%2e%2e/etc/passwd", "/nar/%2e%2e/secret.key",
		"/nar/.nixstatic-staging/1/x", "/absent/absent",
	} {
		r, body := request(t, http.MethodGet, url+path)
		if r.StatusCode/100 != 4 && r.StatusCode/100 != 3 || r.StatusCode == http.StatusForbidden {
			t.Errorf("%s: status %s, want 404", path, r.Status)
		}
		if r.StatusCode/100 == 3 && r.Header.Get("Location") == "" {
			t.Errorf("%s: a redirect to nowhere", path)
		}
		if r.StatusCode == http.StatusNotFound && !strings.Contains(r.Header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s: Cache-Control %q: what is absent may be there in a moment", path, r.Header.Get("Cache-Control"))
		}
		if bytes.Contains(body, []byte("not for the world")) || bytes.Contains(body, []byte("unfinished")) {
			t.Errorf("%s: %q", path, body)
		}
	}
}
