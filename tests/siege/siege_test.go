//go:build real

// Package siege_test besieges servers: attackers that may upload, and strangers,
// do all at once what each limit is there for, beside real Nixes that push and
// read. The Nixes notice nothing but that it takes a little longer.
package siege_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// reader is a client that reads, from an address of its own.
func reader() *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConns: 2,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			return d.DialContext(ctx, network, to)
		}}}
}

// large pushes a path of 32 MiB, and returns where its NAR is.
func (s *server) large(t *testing.T) (store, nar string) {
	t.Helper()
	nix, root, dir := peers.Newest(t), peers.StoreRoot(t), filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(dir, noise(32<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	store, err := s.run(nix.Command(t, "nix-store", "--store", root, "--add", dir))
	if err != nil {
		t.Fatal(err)
	}
	to := strings.Replace(s.url, "://", "://alice:"+s.tokens["alice"]+"@", 1) + "/upload?compression=none"
	if _, err := s.run(nix.Command(t, "nix", "copy", "--store", root, "--to", to, store)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.tree, filepath.Base(store)[:32]+".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	return store, "/" + n.URL
}

// No honest push fails or takes much longer, no honest reader is turned away,
// memory is bounded, and nothing is visible that was not checked.
func TestSiege(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "cache"), "--min-free", "100MiB")
	peace := start(t, filepath.Join(t.TempDir(), "cache"), "--min-free", "100MiB")
	store, target := s.large(t)
	alice := s.attacker("127.0.0.6", "alice")
	alice.through = &notice{}
	if status := alice.send(t.Context(), "PUT", "/upload/"+honestLog, strings.NewReader("honest\n")); status != 201 {
		t.Fatalf("PUT %s: %d", honestLog, status)
	}
	stands := map[string]string{honestLog: "", "nix-cache-info": ""}
	for name := range stands {
		stands[name] = s.file(t, name)
	}
	end := s.besiege(t, target, attacks)
	time.Sleep(2 * time.Second) // the attackers were there first
	ctx, stop := context.WithTimeout(t.Context(), lasts(t, 10*time.Second))
	defer stop()
	reading, finish := context.WithCancel(t.Context())
	read := make(chan int)
	go func() { read <- s.readers(t, reading, reader(), store) }()
	took := s.pairs(t, ctx, peace, fewest)
	finish()
	t.Logf("%d reads of 32 MiB", <-read)
	end()
	checkPace(t, took)
	var disk unix.Statfs_t
	if err := unix.Statfs(s.tree, &disk); err != nil || int64(disk.Bavail)*int64(disk.Bsize) < 100<<20 {
		t.Errorf("the disk has %d blocks left, %v", disk.Bavail, err)
	}
	for name, want := range stands {
		if got := s.file(t, name); got != want {
			t.Errorf("%s was %q and is %q", name, want, got)
		}
	}
	for name := range strings.FieldsSeq("index.html favicon.svg") {
		if _, err := os.Stat(filepath.Join(s.tree, name)); err == nil {
			t.Errorf("there is a page %s", name)
		}
	}
	s.ends(t)
	peace.ends(t)
}
