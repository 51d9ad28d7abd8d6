//go:build real

package serve_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// startNginx puts the real nginx before a server, with the files of
// examples/nginx as they are, and returns its URL. It reads the tree itself, and
// passes uploads on.
func startNginx(t testing.TB, s *server) string {
	t.Helper()
	upload := filepath.Join(t.TempDir(), "upload.conf")
	text := nixtest.Example(t, "nginx/upload.conf", "proxy_pass http://127.0.0.1:8080;", "proxy_pass "+s.URL+";")
	if err := os.WriteFile(upload, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return nixtest.StartNginx(t, func(address string) string {
		return "error_log stderr error;\n" +
			nixtest.Example(t, "nginx/nginx.conf", "listen 80;", "listen "+address+";", "listen [::]:80;", "",
				"root /srv/nix-cache;", fmt.Sprintf("root %q;", s.Tree),
				"# include /etc/nginx/nixstatic/upload.conf;", fmt.Sprintf("include %q;", upload))
	}).URL
}

// Behind nginx all is as without: every Nix pushes through it, reads what nginx
// reads from the files, and is told why it is refused.
func TestBehindNginx(t *testing.T) {
	s := start(t, "--trusted-proxy", "127.0.0.1", "--max-nar-size", "50MB")
	front := startNginx(t, s)
	upload := strings.Replace(front, "://", "://ci:"+s.Token+"@", 1) + "/upload"
	for i, nix := range peers.Nixes(t) {
		nix = fresh(t, nix)
		query := []string{"compression=zstd", "compression=zstd&write-nar-listing=true&index-debug-info=true", "narinfo-compression=gzip&compression=none"}[i]
		push(t, nix, upload+"?"+query, append(somePaths(t), named(t, "libcurl4-")[0])...)
		pull(t, fresh(t, nix), front, s.Key.Public, somePaths(t)...)
		for url, words := range map[string]string{
			front + "/upload": "this needs a token with the scope upload",
			strings.Replace(upload, s.Token, "nst_"+strings.Repeat("A", 43), 1): "this token is not known here",
		} {
			if out := pushRefused(t, fresh(t, nix), url+quick, small(t)); !strings.Contains(out, words) {
				t.Errorf("Nix %s at %s does not say %q:\n%s", nix.Version, url, words, out)
			}
		}
		// Its NAR has 79 MB: it is refused in the middle.
		if out := pushRefused(t, fresh(t, nix), upload+quick, named(t, "valgrind-")...); !strings.Contains(out, "more than") {
			t.Errorf("Nix %s is not told that the NAR is too large:\n%s", nix.Version, out)
		}
	}
	verify(t, s.Tree, s.Key.Public)

	// With less care these would be redirected, or cleaned.
	for _, path := range []string{"/upload", "/upload/", "/upload//nix-cache-info", "/upload/x%2By", "/upload/log/" + strings.Repeat("0", 32) + "-a%2Bb.drv"} {
		response, _ := do(t, http.DefaultTransport, "GET", front+path, nil, "Authorization", "Bearer "+s.Token)
		direct, _ := do(t, http.DefaultTransport, "GET", s.URL+path, nil, "Authorization", "Bearer "+s.Token)
		if response.StatusCode != direct.StatusCode || response.StatusCode/100 == 3 {
			t.Errorf("GET %s: status %d, %d without nginx", path, response.StatusCode, direct.StatusCode)
		}
	}
	const drv = "00000000000000000000000000000000-a+b.drv"
	response, body := do(t, http.DefaultTransport, "PUT", front+"/upload/log/"+strings.Replace(drv, "+", "%2B", 1), strings.NewReader("a log\n"),
		"Authorization", "Bearer "+s.Token)
	if response.StatusCode != 201 {
		t.Errorf("PUT of a log: status %d, %s", response.StatusCode, body)
	}
	if _, err := os.Stat(filepath.Join(s.Tree, "log", drv)); err != nil {
		t.Error(err)
	}
}
