//go:build real

package siege_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// filling are attacks on a disk: each keeps something there, or lets something
// become larger than what was sent.
var filling = map[string]attack{
	"NARs that nothing leads to": {do: func(ctx context.Context, a *attacker) {
		file := append(fileHead(4<<20), noise(4<<20)...)
		file = append(file, "\x01\x00\x00\x00\x00\x00\x00\x00)\x00\x00\x00\x00\x00\x00\x00"...)
		a.send(ctx, "PUT", "/upload/nar/"+fileHash(file)+".nar", bytes.NewReader(file))
	}},
	"logs": {do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "PUT", "/upload/log/"+hash()+"-x.drv", bytes.NewReader(noise(2<<20)))
	}},
	"logs of no bytes": {do: func(ctx context.Context, a *attacker) {
		for range 50 {
			a.send(ctx, "PUT", "/upload/log/"+hash()+"-x.drv", bytes.NewReader(nil))
		}
	}},
	"realisations":   attacks["realisations"],
	"early listings": attacks["early listings"],
	"held narinfos":  attacks["held narinfos"],
	"files that are announced": {do: func(ctx context.Context, a *attacker) {
		a.hold(ctx, put(nar(), 100<<20), 4<<10, 2*time.Second)
	}},
}

// A disk that attackers fill keeps its floor, in bytes and in files. The honest
// client is told so at once, readers notice nothing, and when there is room again
// all is as before.
func TestDiskThatFills(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	const size, floor, files = 256 << 20, 64 << 20, 8000
	disk := filepath.Join(t.TempDir(), "disk")
	nixtest.Mount(t, disk, 0, fmt.Sprintf("size=%d,nr_inodes=%d", size, files))
	s := start(t, filepath.Join(disk, "cache"), "--min-free", fmt.Sprint(floor))
	nix := peers.Newest(t)
	store, _, err := s.push(t, nix, "alice")
	if err != nil {
		t.Fatal(err)
	}
	end := s.besiege(t, "", filling)
	var free unix.Statfs_t
	full := func() bool {
		if err := unix.Statfs(disk, &free); err != nil {
			t.Fatal(err)
		}
		return int64(free.Bavail)*int64(free.Bsize) < floor+8<<20 || free.Ffree < files/40
	}
	for limit := time.Now().Add(5 * time.Minute); !full() && time.Now().Before(limit); {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(3 * time.Second) // and some more
	if !full() {
		t.Errorf("the attackers left %d bytes and %d files", int64(free.Bavail)*int64(free.Bsize), free.Ffree)
	}
	// Records may use a sixteenth of the floor, and uploads are looked at when some
	// 16 MiB have come.
	if left := int64(free.Bavail) * int64(free.Bsize); left < floor-floor/16-1<<20 || free.Ffree < 10 {
		t.Errorf("%d bytes and %d files are left of a floor of %d", left, free.Ffree, floor)
	}
	t.Logf("%d MiB and %d files are left", int64(free.Bavail)*int64(free.Bsize)>>20, free.Ffree)
	if _, _, err := s.push(t, nix, "bob"); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("a push to a full disk: %v", err)
	}
	if err := s.read(reader(), store); err != nil {
		t.Errorf("a reader: %v", err)
	}
	end()
	// The operator makes room.
	for _, folder := range []string{"log", "realisations"} {
		if err := os.RemoveAll(filepath.Join(s.tree, folder)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d,nr_inodes=%d", 4*size, 4*files)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.push(t, nix, "bob"); err != nil {
		t.Errorf("a push with room again: %v", err)
	}
	s.ends(t)
}
