//go:build linux && real

// Package filesystems uses nixstatic on what trees are put on: folders that are
// symbolic links or file systems of their own, and file systems that cannot do all
// that a local disk can.
//
// Mounts are made in a mount namespace. strace stands in for file systems that lack
// something: it lets system calls fail with the errors that they give.
package filesystems

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// folders are those at the top of a tree, but for realisations: it is then made
// like any other.
var folders = []string{".nixstatic", "build-trace-v2", "debuginfo", "log", "nar"}

// elsewhere returns a directory on another file system than t.TempDir, where the
// machine has one.
func elsewhere(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "nixstatic-filesystems-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func program(t *testing.T) nixtest.Program { return nixtest.Program{Nix: peers.Newest(t)} }

// sample makes a whole cache at dir, and returns the store paths in it, top last.
func sample(t *testing.T, dir string) []string {
	t.Helper()
	tree := treetest.OpenDir(t, dir)
	key, err := signer.Generate("sample-1")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range treetest.Populate(t, tree, key).Paths {
		paths = append(paths, p.Info.Path.Abs(layout.DefaultStoreDir))
	}
	treetest.PutText(t, tree, "log/00000000000000000000000000000000-x.drv", "a log")
	treetest.PutText(t, tree, "index.html", "a page")
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	return paths
}

func whole(t *testing.T, dir string) {
	t.Helper()
	if err := fsck.Whole(t.Context(), treetest.OpenDir(t, dir), fsck.Options{Deep: true}); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
}

// tidy checks that nothing unfinished is left in a tree.
func tidy(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{".nixstatic/staging/*", ".nixstatic-staging/*", "*/.nixstatic-staging/*"} {
		left, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(left) > 0 {
			t.Errorf("left in staging: %q, %v", left, err)
		}
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
