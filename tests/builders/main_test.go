//go:build real

// Package builders_test builds with the real Nix, and looks that everything that was
// built gets into the cache of nixstatic serve, whatever dies meanwhile.
package builders_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// eachNix runs a test with the oldest Nix and the newest.
func eachNix(t *testing.T, test func(t *testing.T, nix peers.Nix)) {
	for _, nix := range []peers.Nix{peers.Old(t), peers.Newest(t)} {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			nix.Home = t.TempDir()
			test(t, nix)
		})
	}
}

// A server is a nixstatic serve, which may be stopped and started again.
type server struct {
	nixtest.Program
	Tree, Tokens, Token, Address, Netrc string
	args                                []string
	log                                 *nixtest.Buffer
	cmd                                 *exec.Cmd
}

func newServer(t testing.TB, nix peers.Nix, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{Program: nixtest.Program{Nix: nix}, Tree: filepath.Join(dir, "cache"), Tokens: filepath.Join(dir, "tokens"),
		Netrc: filepath.Join(dir, "netrc"), Address: "127.0.0.1:0", args: args, log: &nixtest.Buffer{}}
	s.Token = s.Output(t, "token", "create", "--file", s.Tokens, "--name", "ci", "--scope", "upload")
	if err := os.WriteFile(s.Netrc, []byte("machine 127.0.0.1 login ci password "+s.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The cache is for the store of the machine that builds.
	if i := slices.Index(s.args, "--store-dir"); i >= 0 {
		s.Run(t, "init", s.Tree, "--store-dir", s.args[i+1]).Want(t, 0)
	}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = s.Command(t, append([]string{"serve", s.Tree, "--tokens", s.Tokens, "--listen", s.Address, "--min-free", "0"}, s.args...)...)
	s.cmd.Stderr = s.log
	u, err := url.Parse(nixtest.Listen(t, s.cmd))
	if err != nil {
		t.Fatal(err)
	}
	s.Address = u.Host
}

// kill ends the server without warning.
func (s *server) kill(t testing.TB) {
	t.Helper()
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) stop(t testing.TB) {
	t.Helper()
	if s.cmd != nil {
		s.cmd.Process.Signal(syscall.SIGTERM)
		s.cmd.Wait()
		s.cmd = nil
	}
}

// upload is the URL to send to.
func (s *server) upload() string { return "http://" + s.Address + "/upload" }

// has reports whether the cache has a path.
func (s *server) has(path string) bool {
	_, err := os.Stat(filepath.Join(s.Tree, filepath.Base(path)[:32]+".narinfo"))
	return err == nil
}

// A builder is a machine that builds: its store is in a place of its own.
type builder struct {
	peers.Nix
	storeDir, store, queue string
}

func newBuilder(t testing.TB, nix peers.Nix) *builder {
	t.Helper()
	dir, err := filepath.EvalSymlinks(peers.StoreRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	return &builder{Nix: nix, storeDir: filepath.Join(dir, "store"), queue: filepath.Join(dir, "queue"),
		store: fmt.Sprintf("local?store=%[1]s/store&real=%[1]s/store&state=%[1]s/state&log=%[1]s/log", dir)}
}

// program is nixstatic on the machine.
func (b *builder) program() nixtest.Program { return nixtest.Program{Nix: b.Nix} }

// makeStore makes the store.
func (b *builder) makeStore(t testing.TB) {
	t.Helper()
	b.Output(t, "nix-store", "--store", b.store, "--init")
}

// buildArgs are the arguments of a nix-build of many small builds.
func (b *builder) buildArgs(from, count int, args ...string) []string {
	return append([]string{"--store", b.store, "--no-out-link", "testdata/many.nix",
		"--arg", "from", fmt.Sprint(from), "--arg", "count", fmt.Sprint(count)}, args...)
}

// build builds and returns what was built, with what it needs.
func (b *builder) build(t testing.TB, from, count int, args ...string) []string {
	t.Helper()
	return strings.Fields(b.Output(t, "nix-build", b.buildArgs(from, count, args...)...))
}

// closure returns what was built, with what it refers to.
func (b *builder) closure(t testing.TB, paths []string) []string {
	t.Helper()
	return strings.Fields(b.Output(t, "nix-store", append([]string{"--store", b.store, "-qR"}, paths...)...))
}

// hook makes the hook of the queue and returns its name.
func (b *builder) hook(t testing.TB, s *server) string {
	t.Helper()
	line := b.program().Output(t, "watch", s.upload(), "--hook", "--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc)
	name, ok := strings.CutPrefix(line, "post-build-hook = ")
	if !ok {
		t.Fatalf("watch --hook prints %q", line)
	}
	return name
}

// A status is what watch status --json prints.
type status struct {
	Version, Waiting int
	Sent, Gone       int64
	Draining         bool
	LastError        string
	Failing          []struct{ Path, Error string }
	Missed           string
}

func (b *builder) status(t testing.TB) (s status) {
	t.Helper()
	text := b.program().Output(t, "watch", "status", "--json", "--queue", b.queue)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}

// checkSent looks that the cache has paths, whole, and each NAR once.
func checkSent(t testing.TB, s *server, paths []string) {
	t.Helper()
	for _, p := range paths {
		if !s.has(p) {
			t.Errorf("%s is not in the cache", p)
		}
	}
	s.Run(t, "verify", "--deep", s.Tree).Want(t, 0)
	nars, err := os.ReadDir(filepath.Join(s.Tree, "nar"))
	infos, _ := filepath.Glob(filepath.Join(s.Tree, "*.narinfo"))
	if err != nil || len(nars) != len(infos) {
		t.Errorf("%d NARs for %d paths: %v", len(nars), len(infos), err)
	}
}

// until waits for something that takes a moment.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after a minute", what)
		}
	}
}
