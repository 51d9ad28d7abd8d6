//go:build real

package serve_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A line passes TCP connections on, to one target after the other, and cuts some of
// them.
type line struct {
	address string
	targets []string
	conns   atomic.Int64
	cuts    atomic.Int64 // connections that are still to be cut
	passed  atomic.Int64 // bytes from clients
}

// cutAfter is how many bytes of a client pass before its connection is cut: less than
// a piece.
const cutAfter = 20 << 20

func newLine(t testing.TB, targets ...string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	l := &line{address: listener.Addr().String(), targets: targets}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			target := l.targets[int(l.conns.Add(1))%len(l.targets)]
			go l.pass(client, target)
		}
	}()
	return l
}

func (l *line) pass(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(client, server)
		client.Close()
	}()
	buf := make([]byte, 64<<10)
	for sent := 0; ; {
		n, err := client.Read(buf)
		l.passed.Add(int64(n))
		if sent += n; sent > cutAfter && l.cuts.Add(-1) >= 0 {
			return
		}
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// largePath is a store path whose NAR no compressor makes smaller than 130 MiB.
func largePath(t testing.TB) (store, path string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, 130<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	store = peers.StoreRoot(t)
	return store, strings.TrimSpace(peers.Newest(t).Output(t, "nix-store", "--store", store, "--add", file))
}

// netrc writes a file with the server's token, for a host.
func (s *server) netrc(t testing.TB, host string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "netrc")
	name, _, _ := net.SplitHostPort(host)
	if err := os.WriteFile(file, fmt.Appendf(nil, "machine %s login ci password %s\n", name, s.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func pieces(t testing.TB, tree string) int {
	t.Helper()
	names, err := os.ReadDir(filepath.Join(tree, ".nixstatic", "pieces"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return len(names)
}

// A NAR that a proxy is too narrow for passes it in pieces, over a line that breaks ten
// times, although the client and the server are killed on the way. No Nix can send it.
func TestPushThroughProxy(t *testing.T) {
	store, path := largePath(t)
	s := start(t)
	nginx := nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf("server { listen %s; client_max_body_size 100m; location / { proxy_pass %s; proxy_request_buffering off; } }", address, s.URL)
	})
	nginx.Expected = []string{"client intended to send too large body", "upstream prematurely closed", "connect() failed", "Connection reset by peer"}
	nix := peers.Newest(t)
	if out, err := nix.Command(t, "nix", "copy", "--no-check-sigs", "--store", store, "--to",
		strings.Replace(nginx.URL, "://", "://ci:"+s.Token+"@", 1)+"/upload?compression=none", path).CombinedOutput(); err == nil || !strings.Contains(string(out), "413") {
		t.Fatalf("the proxy is not too narrow for Nix: %v\n%s", err, out)
	}
	l := newLine(t, strings.TrimPrefix(nginx.URL, "http://"))
	push := []string{"push", "--quiet", "--store", store, "--compression", "none", "--netrc-file", s.netrc(t, l.address), "http://" + l.address + "/upload", path}
	run := nixtest.Start(t, newest(t).Command(t, push...))
	until(t, "a piece has arrived", func() bool { return pieces(t, s.Tree) > 0 || run.Ended() })
	run.Signal(t, syscall.SIGKILL)
	run.Wait(t)
	address := s.address(t)
	s.kill(t)
	s.run(t, address)
	l.cuts.Store(10)
	arrived, before := pieces(t, s.Tree), l.passed.Load()
	if arrived == 0 {
		t.Fatal("no piece outlived the kill")
	}
	for range 20 { // as people and CI do
		if newest(t).Run(t, push...).Code == 0 {
			break
		}
	}
	if left := l.cuts.Load(); left > 0 {
		t.Errorf("the line is still to be cut %d times", left)
	}
	const total = 130 << 20
	if most := int64(total - arrived*inbox.PieceSize + 10*2*inbox.PieceSize); l.passed.Load()-before > most {
		t.Errorf("%d bytes were sent after %d pieces had arrived, want at most %d", l.passed.Load()-before, arrived, most)
	}
	if n := pieces(t, s.Tree); n > 0 {
		t.Errorf("%d pieces are left", n)
	}
	verify(t, s.Tree, s.Key.Public)
	pull(t, fresh(t, nix), s.URL, s.Key.Public, path)
	again := newest(t).Run(t, append(push[:1:1], push[2:]...)...).Want(t, 0)
	if !strings.Contains(again.Stderr, "1 already there") {
		t.Errorf("pushed again:\n%s", again.Stderr)
	}
}

// The pieces of a NAR may go to several servers of one bucket.
func TestPushPiecesTogether(t *testing.T) {
	storage := startStore(t)
	bucket := storage.bucket()
	newest(t).Output(t, "init", bucket)
	first := startOn(t, bucket, nil)
	second := startOn(t, bucket, first)
	l := newLine(t, first.address(t), second.address(t))
	l.cuts.Store(6)
	store, path := largePath(t)
	for range 20 {
		if newest(t).Run(t, "push", "--quiet", "--store", store, "--compression", "none", "--netrc-file", first.netrc(t, l.address),
			"http://"+l.address+"/upload", path).Code == 0 {
			break
		}
	}
	if n := l.conns.Load(); n < 4 { // each is to another server than the one before
		t.Errorf("there were %d connections", n)
	}
	verify(t, bucket, first.Key.Public)
	pull(t, fresh(t, peers.Newest(t)), second.URL, first.Key.Public, path)
}
