//go:build real

// Package through_test has the real Nix, in three generations, read through a nixstatic
// serve that fills its tree from an upstream, which may misbehave in every way that is
// known of upstreams.
package through_test

import (
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// ours is nixstatic on a machine with the newest Nix.
func ours(t testing.TB) nixtest.Program { return nixtest.Program{Nix: peers.Newest(t)} }

// fresh is a Nix that remembers nothing of any cache.
func fresh(t testing.TB, nix peers.Nix) peers.Nix {
	t.Helper()
	nix.Home = t.TempDir()
	return nix
}

func named(t testing.TB, names ...string) (paths []string) {
	t.Helper()
	for _, name := range names {
		paths = append(paths, peers.Closure(t).Named(t, name))
	}
	return paths
}

// some are roots with a small closure.
func some(t testing.TB) []string { return named(t, "libgcc-s1-", "hello-2.10-debug", "tree", "flat") }

// tryPull copies paths into an empty store that wants a signature by the key.
func tryPull(t testing.TB, nix peers.Nix, from, key string, paths ...string) (string, error) {
	t.Helper()
	return pullInto(t, peers.StoreRoot(t), nix, from, key, paths...)
}

func pullInto(t testing.TB, root string, nix peers.Nix, from, key string, paths ...string) (string, error) {
	t.Helper()
	out, err := nix.Command(t, "nix", append([]string{"copy", "--from", from, "--to", root, "--option", "trusted-public-keys", key}, paths...)...).CombinedOutput()
	if err == nil {
		nix.Output(t, "nix", "store", "verify", "--all", "--no-trust", "--store", root)
	}
	return string(out), err
}

func pull(t testing.TB, nix peers.Nix, from, key string, paths ...string) {
	t.Helper()
	if out, err := tryPull(t, nix, from, key, paths...); err != nil {
		t.Fatalf("Nix %s cannot copy: %v\n%s", nix.Version, err, out)
	}
}

// verify checks a tree to its last byte, and that all in it is signed.
func verify(t testing.TB, tree string, keys ...string) {
	t.Helper()
	args := []string{"verify", "--deep", "--quiet"}
	for _, key := range keys {
		args = append(args, "--trusted-public-key", key)
	}
	if r := ours(t).Run(t, append(args, tree)...); r.Code != 0 {
		t.Errorf("the tree is not whole: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// narinfos counts the records in a tree.
func narinfos(t testing.TB, tree string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(tree, "*.narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func hashPart(path string) string { return filepath.Base(path)[:32] }

// until waits for something to become true.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute: %s", what)
		}
	}
}

// get asks for a URL, and returns the status and the body, or why it is not whole.
func get(t testing.TB, url string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// urlOf asks for the narinfo of a path, and returns the URL of its NAR.
func urlOf(t testing.TB, base, path string) string {
	t.Helper()
	status, text, err := get(t, base+"/"+hashPart(path)+".narinfo")
	if status != 200 || err != nil {
		t.Fatalf("the narinfo of %s: %d, %v", path, status, err)
	}
	for line := range strings.Lines(text) {
		if url, ok := strings.CutPrefix(line, "URL: "); ok {
			return base + "/" + strings.TrimSpace(url)
		}
	}
	t.Fatalf("no URL in\n%s", text)
	return ""
}

// A server is a nixstatic serve that runs.
type server struct {
	URL, Metrics string
	Tree         string
	Key          nixtest.Key

	args   []string
	cmd    *exec.Cmd
	log    *nixtest.Buffer
	exited bool
}

// start runs serve for a new tree before upstreams until the test ends.
func start(t testing.TB, ups []*upstream, args ...string) *server {
	t.Helper()
	s := &server{Tree: filepath.Join(t.TempDir(), "cache"), Key: ours(t).NewKey(t, "through.example.org-1")}
	for _, up := range ups {
		args = append(args, "--pull-through", up.URL, "--pull-through-key", up.Key.Public)
	}
	s.args = args
	ours(t).Output(t, "init", "--no-page", s.Tree)
	s.run(t)
	return s
}

// run starts the server on its tree as it is.
func (s *server) run(t testing.TB) {
	t.Helper()
	args := []string{"serve", s.Tree, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "-k", s.Key.File}
	if !strings.HasPrefix(s.Tree, "s3://") {
		args = append(args, "--min-free", "0")
	}
	s.cmd = ours(t).Command(t, append(args, s.args...)...)
	s.log, s.exited = &nixtest.Buffer{}, false
	s.cmd.Stderr = s.log
	s.URL = nixtest.Listen(t, s.cmd)
	t.Cleanup(func() { s.stop(t) })
	s.Metrics = nixtest.Metrics(t, s.log)
}

// stop ends the server as systemd would. The paths that it has are published then.
func (s *server) stop(t testing.TB) {
	t.Helper()
	if s.exited {
		return
	}
	s.exited = true
	if t.Context().Err() == nil { // else it was told already, and a second signal would end it at once
		s.cmd.Process.Signal(syscall.SIGTERM)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("serve ends with %v\n%s", err, s.log)
	}
	for _, bad := range []string{"level=ERROR msg=\"HTTP server\"", "panic", "DATA RACE"} {
		if strings.Contains(s.log.String(), bad) {
			t.Errorf("the log tells of %q:\n%s", bad, s.log)
		}
	}
}

// kill ends the server at once.
func (s *server) kill(t testing.TB) {
	t.Helper()
	s.exited = true
	if err := s.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	s.cmd.Wait()
}
