package mirror_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestNginx mirrors into an nginx that takes WebDAV, with and without the
// setting that makes folders by itself.
func TestNginx(t *testing.T) {
	w := newWorld(t)
	for _, folders := range []string{"on", "off"} {
		t.Run("create_full_put_path "+folders, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			url := serveDAV(t, root, folders)
			w.sync(t, w.dir, url+"/sub/")
			there := treetest.OpenDir(t, root+"/sub")
			treetest.Equal(t, treetest.OpenDir(t, w.dir), there)
			if r := w.sync(t, w.dir, url+"/sub/"); !strings.Contains(r.Stderr, ": 0 objects copied") {
				t.Errorf("nothing to do: %s", r.Stderr)
			}
			treetest.PutText(t, treetest.OpenDir(t, w.dir), "index.html", "for "+folders)
			w.sync(t, w.dir, url+"/sub/")
			treetest.Equal(t, treetest.OpenDir(t, w.dir), there)
		})
	}
}

// serveDAV runs an nginx that takes uploads.
func serveDAV(t *testing.T, root, folders string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(root+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	conf := fmt.Sprintf(`%sdaemon off; pid %[2]s/pid; error_log stderr warn; worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path %[3]s/.temp; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
	server {
		listen %[4]s;
		root %[3]s;
		client_max_body_size 0;
		dav_methods PUT DELETE MKCOL;
		create_full_put_path %[5]s;
	}
}
`, user, dir, root, address, folders)
	if err := os.WriteFile(dir+"/nginx.conf", []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peers.Program(t, "nginx"), "-e", "stderr", "-p", dir, "-c", dir+"/nginx.conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	until(t, "nginx answers", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// TestServe mirrors to the upload URL of our own server, which checks and signs
// what it is given.
func TestServe(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	tree, tokens := filepath.Join(dir, "served"), filepath.Join(dir, "tokens")
	token := w.program.Output(t, "token", "create", "--file", tokens, "--name", "ci", "--scope", "upload")
	key := w.program.NewKey(t, "served-1")
	cmd := w.command(t, "serve", tree, "--listen", "127.0.0.1:0", "-k", key.File, "--min-free", "0", "--tokens", tokens)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	upload := strings.Replace(strings.TrimSpace(line), "://", "://ci:"+token+"@", 1) + "/upload"
	w.sync(t, w.dir, upload)
	served := treetest.OpenDir(t, tree)
	whole(t, served)
	want, got := treetest.Contents(t, treetest.OpenDir(t, w.dir)), treetest.Contents(t, served)
	for key, text := range want {
		if key.Kind() == layout.KindNarInfo {
			if !strings.Contains(got[key], "\nSig: served-1:") {
				t.Errorf("%s is not signed:\n%s", key, got[key])
			}
		} else if got[key] != text {
			t.Errorf("%s differs: %d bytes, want %d", key, len(got[key]), len(text))
		}
	}
	if r := w.sync(t, w.dir, upload); !strings.Contains(r.Stderr, ": 0 objects copied") {
		t.Errorf("nothing to do: %s", r.Stderr)
	}
	r := nixtest.Wait(t, w.command(t, "sync", w.dir, strings.Replace(upload, token, "wrong", 1)))
	r.Refused(t, "401")
	if strings.Contains(r.Stderr, token) {
		t.Error("the token is printed")
	}
}
