package layout_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// TestPrivateIsClosed: what is private cannot be read by other users, and what is
// public can.
func TestPrivateIsClosed(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	for mode, want := range map[os.FileMode]os.FileMode{0o755: 0o700, 0o775: 0o750} {
		dir := filepath.Join(t.TempDir(), "tree")
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		os.Chmod(dir, mode)
		tree, err := layout.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		if _, err := layout.Init(t.Context(), tree, layout.DefaultCacheInfo()); err != nil {
			t.Fatal(err)
		}
		if err := tree.Put(t.Context(), ".nixstatic/held/x", layout.Bytes([]byte("x")), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		private := 0
		for _, e := range entries {
			st, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			got := st.Mode().Perm()
			switch {
			case strings.HasPrefix(e.Name(), ".nixstatic"):
				private++
				if got != want {
					t.Errorf("in a tree of mode %v, %s has %v, want %v", mode, e.Name(), got, want)
				}
			case got&0o004 == 0:
				t.Errorf("%s has %v: others are to read it", e.Name(), got)
			}
		}
		if private == 0 {
			t.Error("nothing is private")
		}
	}
}
