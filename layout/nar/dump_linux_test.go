package nar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nest makes directories inside one another below root, more than a path can name,
// and calls f with the descriptor of each; the last is the innermost.
func nest(t *testing.T, root string, levels int, f func(i, fd int)) {
	t.Helper()
	fd, err := unix.Open(root, unix.O_DIRECTORY, 0)
	for i := 0; err == nil; i++ {
		f(i, fd)
		if i == levels {
			unix.Close(fd)
			return
		}
		var inner int
		if err = unix.Mkdirat(fd, "d", 0o755); err == nil {
			inner, err = unix.Openat(fd, "d", unix.O_DIRECTORY, 0)
		}
		unix.Close(fd)
		fd = inner
	}
	t.Fatal(err)
}

func create(t *testing.T, dirfd int, name string, body []byte) {
	t.Helper()
	fd, err := unix.Openat(dirfd, name, unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		t.Fatal(err)
	}
}

// TestDumpMovedDirectory moves a directory, whose parent is not open any more,
// while it is dumped. The way back up must not lead to another place unnoticed.
func TestDumpMovedDirectory(t *testing.T) {
	root := t.TempDir()
	nest(t, root, maxOpenDirs+10, func(i, fd int) {
		if i == maxOpenDirs+10 {
			create(t, fd, "big", make([]byte, 1<<20))
		}
	})
	w := &onWrite{func() {
		if err := os.Rename(root+"/d/d/d", root+"/elsewhere"); err != nil {
			t.Fatal(err)
		}
	}}
	err := Dump(t.Context(), w, root)
	var pe *fs.PathError
	if !errors.Is(err, errChanged) || !errors.As(err, &pe) || pe.Path != root+"/d/d/d/.." {
		t.Errorf("Dump = %v, want errChanged about the moved directory", err)
	}
}

func TestDumpDepthLimit(t *testing.T) {
	for _, levels := range []int{MaxDepth - 1, MaxDepth} { // below the root
		root := t.TempDir()
		nest(t, root, levels, func(int, int) {})
		var nar bytes.Buffer
		err := Dump(t.Context(), &nar, root)
		if levels < MaxDepth {
			if err != nil {
				t.Fatal(err)
			}
			if err := parse(nar.Bytes(), 0, nil); err != nil {
				t.Errorf("parser refuses the deepest dump: %v", err)
			}
		} else if err == nil || !strings.Contains(err.Error(), "2048 directories") {
			t.Errorf("Dump of %d levels = %.300v, want an error about the depth", levels, err)
		}
	}
}

func TestMalformedDirent(t *testing.T) {
	rec := make([]byte, 24)
	rec[0], rec[18], rec[19] = 1, unix.DT_REG, 'x'
	binary.NativeEndian.PutUint16(rec[16:], 24)
	got, err := appendEntries(nil, append(bytes.Clone(rec), rec...))
	if err != nil || len(got) != 2 || got[1] != (entry{"x", regular}) {
		t.Fatalf("appendEntries = %v, %v", got, err)
	}
	for n := 1; n < len(rec); n++ {
		if _, err := appendEntries(nil, rec[:n]); err == nil {
			t.Errorf("record cut to %d bytes was taken", n)
		}
	}
}
