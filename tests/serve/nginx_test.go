//go:build real

package serve_test

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

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// startNginx puts the real nginx before a server, with the files of
// examples/nginx as they are, and returns its URL. It reads the tree itself, and
// passes uploads on.
func startNginx(t testing.TB, s *server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address, dir := listener.Addr().String(), t.TempDir()
	example := func(name string, replace ...string) string {
		text := readFile(t, nixtest.Source(t, "examples/nginx/"+name))
		for i := 0; i < len(replace); i += 2 {
			if !strings.Contains(text, replace[i]) {
				t.Fatalf("examples/nginx/%s does not hold %q", name, replace[i])
			}
			text = strings.ReplaceAll(text, replace[i], replace[i+1])
		}
		return text
	}
	var frame strings.Builder
	fmt.Fprintf(&frame, "pid %q;\nerror_log stderr error;\nworker_processes 1;\n", filepath.Join(dir, "pid"))
	if os.Getuid() == 0 {
		frame.WriteString("user root;\n")
	}
	frame.WriteString("events {}\nhttp {\naccess_log off;\n")
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&frame, "%s_temp_path %q;\n", temp, filepath.Join(dir, temp))
	}
	fmt.Fprintf(&frame, "include %q;\n}\n", filepath.Join(dir, "cache.conf"))
	for name, text := range map[string]string{
		"nginx.conf": frame.String(),
		"cache.conf": example("nginx.conf", "listen 80;", "listen "+address+";", "listen [::]:80;", "",
			"root /srv/nix-cache;", fmt.Sprintf("root %q;", s.Tree),
			"# include /etc/nginx/nixstatic/upload.conf;", fmt.Sprintf("include %q;", filepath.Join(dir, "upload.conf"))),
		"upload.conf": example("upload.conf", "proxy_pass http://127.0.0.1:8080;", "proxy_pass "+s.URL+";"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// nginx takes the socket over as from a predecessor: nobody else can have the
	// port meanwhile. The shell ends it even where the test process is killed.
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var stderr bytes.Buffer
	cmd := exec.Command("sh", "-c", `"$@" & read -r _; kill $!; wait $!`, "sh", peers.Program(t, "nginx"),
		"-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off;")
	cmd.Stderr, cmd.ExtraFiles, cmd.Env = &stderr, []*os.File{socket}, append(os.Environ(), "NGINX=3;")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(int(socket.Fd()), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("nginx: %v\n%s", err, stderr.String())
		}
		for line := range strings.Lines(stderr.String()) {
			if !strings.Contains(line, "[notice]") {
				t.Errorf("nginx: %s", line)
			}
		}
	})
	return "http://" + address
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

	// What would be a redirect, or cleaned, with less care.
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
