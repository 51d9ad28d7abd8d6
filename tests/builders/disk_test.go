//go:build real

package builders_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Builds go on while the disk of the queue is full. Paths that could not be added are told, and
// sent when there is room.
func TestFullDisk(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	b.makeStore(t)
	s := newServer(t, nix, "--store-dir", b.storeDir)
	disk := filepath.Join(t.TempDir(), "disk")
	nixtest.Mount(t, disk, 0, "size=1m,nr_inodes=64")
	b.queue = filepath.Join(disk, "queue")
	hook := b.hook(t, s)
	var fill []string
	for i := range 64 {
		name := filepath.Join(disk, strings.Repeat("x", i+1))
		if err := os.Mkdir(name, 0o755); err != nil {
			break
		}
		fill = append(fill, name)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil || st.Ffree > 0 {
		t.Fatalf("%d files are free: %v", st.Ffree, err)
	}
	built := b.build(t, 0, 4, "--option", "post-build-hook", hook)
	if st := b.status(t); st.Missed == "" || st.Waiting != 0 {
		t.Errorf("with a full disk: %+v", st)
	}
	text := b.program().Output(t, "watch", "status", "--queue", b.queue)
	if !strings.Contains(text, "missed:") {
		t.Errorf("status says\n%s", text)
	}
	for _, name := range fill {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	b.program().Run(t, "watch", "drain", "--strict", "--queue", b.queue).Want(t, 0)
	checkSent(t, s, b.closure(t, built))
	if st := b.status(t); st.Missed != "" || st.Waiting != 0 {
		t.Errorf("afterwards: %+v", st)
	}
}

// Builds go on while the server is stopped, status says why their paths wait, and they are sent when
// it is back.
func TestServerStopped(t *testing.T) {
	nix := peers.Old(t)
	b := newBuilder(t, nix)
	b.makeStore(t)
	s := newServer(t, nix, "--store-dir", b.storeDir)
	hook := b.hook(t, s)
	watch := nixtest.Start(t, b.program().Command(t, "watch", s.upload(), "--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc))
	s.kill(t)
	built := b.build(t, 0, 4, "--option", "post-build-hook", hook)
	until(t, "the status says why", func() bool {
		st := b.status(t)
		return st.Draining && st.Waiting > 0 && strings.Contains(st.LastError, "connection refused")
	})
	s.start(t)
	b.program().Run(t, "watch", "drain", "--strict", "--queue", b.queue).Want(t, 0)
	checkSent(t, s, b.closure(t, built))
	watch.Signal(t, syscall.SIGTERM)
	watch.Wait(t).Want(t, 0)
}
