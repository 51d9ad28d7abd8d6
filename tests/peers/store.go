package peers

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A Store is a Nix store under a root of its own, as `nix --store Root` means it.
// The logical store directory is /nix/store; the files are in Root/nix/store.
type Store struct {
	Root  string
	Top   string   // the store path whose closure is all of Paths
	Paths []string // every store path, sorted
}

// Closure returns the store of this machine's Debian packages; tests/closure.sh
// says what is in it. All tests share it: copy from it, never change it.
func Closure(t testing.TB) Store {
	t.Helper()
	root := filepath.Join(cache(t), "closure")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatalf("no store of Debian packages: %v: %s", err, remedy)
		}
		return string(text)
	}
	read("complete")
	return Store{Root: root, Top: strings.TrimSpace(read("top")), Paths: strings.Fields(read("paths"))}
}

// Named returns the one path of the store whose name starts with prefix; the name
// is what follows the hash.
func (s Store) Named(t testing.TB, prefix string) string {
	t.Helper()
	var found []string
	for _, path := range s.Paths {
		if _, name, _ := strings.Cut(path, "-"); strings.HasPrefix(name, prefix) {
			found = append(found, path)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d store paths are named %s…: %q", len(found), prefix, found)
	}
	return found[0]
}

// StoreRoot returns a new directory for a store root that the test may fill.
// Nix leaves directories read-only, which a plain t.TempDir could not remove.
func StoreRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				err = os.Chmod(path, 0o755)
			}
			return err
		})
		if err != nil {
			t.Errorf("make store root removable: %v", err)
		}
	})
	return root
}
