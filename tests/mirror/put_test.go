//go:build real

package mirror_test

import (
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
)

// TestNginx mirrors into an nginx that takes WebDAV, with and without the
// setting that makes folders by itself.
func TestNginx(t *testing.T) {
	w := newWorld(t)
	for _, folders := range []string{"on", "off"} {
		t.Run("create_full_put_path "+folders, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			w.syncPut(t, serveDAV(t, root, folders)+"/sub/", root+"/sub")
		})
	}
}

// syncPut mirrors into a server that takes what it is sent, which ends up in a
// directory.
func (w *world) syncPut(t *testing.T, url, dir string) {
	t.Helper()
	src, dst := treetest.OpenDir(t, w.dir), treetest.OpenDir(t, dir)
	w.sync(t, w.dir, url)
	treetest.Equal(t, src, dst)
	if r := w.sync(t, w.dir, url); !strings.Contains(r.Stderr, ": 0 objects copied") {
		t.Errorf("nothing to do: %s", r.Stderr)
	}
	treetest.PutText(t, src, "index.html", "for "+url)
	w.sync(t, w.dir, url)
	treetest.Equal(t, src, dst)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// serveDAV runs an nginx that takes uploads.
func serveDAV(t *testing.T, root, folders string) string {
	t.Helper()
	if err := os.MkdirAll(root+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	return nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf(`server {
	listen %s;
	error_log stderr emerg; # a folder that is missing is part of the test
	root %[2]s;
	client_body_temp_path %[2]s/.temp;
	client_max_body_size 0;
	dav_methods PUT DELETE MKCOL;
	create_full_put_path %s;
}`, address, root, folders)
	}).URL
}

// start runs a server until the test ends and returns its URL.
func start(t *testing.T, address string, cmd *exec.Cmd) string {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	until(t, "the server answers", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// serve runs our own server until the test ends and returns its URL.
func (w *world) serve(t *testing.T, tree string, args ...string) string {
	t.Helper()
	if !strings.HasPrefix(tree, "s3://") {
		nixtest.Init(t, tree)
	}
	return nixtest.Serve(t, w.command(t, append([]string{"serve", tree, "--listen", "127.0.0.1:0"}, args...)...))
}

// TestServe mirrors to the upload URL of our own server, which checks and signs
// what it is given.
func TestServe(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	tree, tokens := filepath.Join(dir, "served"), filepath.Join(dir, "tokens")
	token := w.program.Output(t, "token", "create", "--file", tokens, "--name", "ci", "--scope", "upload")
	key := w.program.NewKey(t, "served-1")
	url := w.serve(t, tree, "-k", key.File, "--min-free", "0", "--tokens", tokens)
	upload := strings.Replace(url, "://", "://ci:"+token+"@", 1) + "/upload"
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
	// Pages are for administrators: the rest goes without them.
	page := []byte("<!DOCTYPE html>\n<title>hello</title>\n")
	if err := os.WriteFile(filepath.Join(w.dir, "index.html"), page, 0o644); err != nil {
		t.Fatal(err)
	}
	log := layout.Key("log/" + strings.Repeat("0", 32) + "-late.drv")
	if err := os.MkdirAll(filepath.Join(w.dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, string(log)), []byte("late\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.sync(t, w.dir, upload)
	if strings.Count(r.Stderr, "are left out: ") != 1 || !strings.Contains(r.Stderr, "note: the pages for browsers are left out: ") {
		t.Errorf("not told once that pages are left out: %s", r.Stderr)
	}
	if text, err := os.ReadFile(filepath.Join(tree, string(log))); err != nil || string(text) != "late\n" {
		t.Errorf("what else is new did not come: %q, %v", text, err)
	}
	r = nixtest.Wait(t, w.command(t, "sync", w.dir, strings.Replace(upload, token, "wrong", 1)))
	r.Refused(t, "401")
	if strings.Contains(r.Stderr, token) {
		t.Error("the token is printed")
	}
}
