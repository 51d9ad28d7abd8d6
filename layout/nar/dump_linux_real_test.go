//go:build linux && real

package nar

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func openFiles(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestDumpDeep dumps a tree with files on both sides of every directory, and looks
// at the open descriptors from the bottom of it.
func TestDumpDeep(t *testing.T) {
	const levels = 1500
	root := filepath.Join(t.TempDir(), "deep")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	nest(t, root, levels, func(i, fd int) {
		create(t, fd, "a", []byte("before"))
		create(t, fd, "z", []byte("after"))
		if i == levels {
			create(t, fd, "big", make([]byte, 1<<20))
		}
	})
	sameAsNix(t, root)

	before, most := openFiles(t), 0
	w := writerFunc(func(p []byte) (int, error) {
		most = max(most, openFiles(t)-before)
		return len(p), nil
	})
	if err := Dump(t.Context(), w, root); err != nil {
		t.Fatal(err)
	}
	if most < maxOpenDirs || most > maxOpenDirs+8 {
		t.Errorf("%d files were open at once, want about %d", most, maxOpenDirs)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open afterwards, %d before", after, before)
	}

	// An error at the bottom closes them too.
	if err := Dump(t.Context(), badWriter{io.ErrClosedPipe}, root); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Dump = %v", err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open after an error, %d before", after, before)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
