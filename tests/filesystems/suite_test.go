//go:build linux && real

package filesystems

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// open opens a tree that must leave nothing unfinished.
func open(t *testing.T, dir string) layout.Tree {
	t.Helper()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
		tidy(t, dir)
	})
	return tree
}

// link makes all folders of a tree links to folders elsewhere.
func link(t *testing.T, dir, to string) {
	t.Helper()
	mkdir(t, dir)
	for _, name := range folders {
		mkdir(t, filepath.Join(to, name))
		if err := os.Symlink(filepath.Join(to, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSuiteLinked(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree {
		dir := filepath.Join(t.TempDir(), "cache")
		link(t, dir, elsewhere(t))
		return open(t, dir)
	})
}

// Only the private folder is elsewhere, so that nothing is staged where it goes.
func TestSuitePrivateLinked(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree {
		dir, to := filepath.Join(elsewhere(t), "cache"), t.TempDir()
		mkdir(t, dir)
		if err := os.Symlink(to, filepath.Join(dir, ".nixstatic")); err != nil {
			t.Fatal(err)
		}
		return open(t, dir)
	})
}

func TestSuiteMounted(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	treetest.Test(t, func(t *testing.T) layout.Tree {
		dir := filepath.Join(elsewhere(t), "cache")
		for _, name := range folders {
			nixtest.Mount(t, filepath.Join(dir, name), 0, "size=256m")
		}
		return open(t, dir)
	})
}

// Folders that are mounted from the same file system look as if files could be
// renamed into them.
func TestSuiteBound(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	treetest.Test(t, func(t *testing.T) layout.Tree {
		dir := filepath.Join(elsewhere(t), "cache")
		for _, name := range folders {
			nixtest.Bind(t, filepath.Join(dir, "../volumes", name), filepath.Join(dir, name))
		}
		return open(t, dir)
	})
}

func TestSuitePlain(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree { return open(t, filepath.Join(elsewhere(t), "cache")) })
}

// A tree keeps all its promises without renames that do not replace, without hard
// links, and without a way to bring a directory to disk.
func TestSuiteLacking(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lack{calls: "renameat2", more: []lack{{calls: "linkat", errors: []string{"EPERM"}}, {calls: "fsync,sync_file_range", errors: []string{"EINVAL"}}}}
	cmd := l.injected(t, exec.CommandContext(t.Context(), self, "-test.run=^TestSuitePlain$", "-test.v"), "EINVAL", "")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestSuitePlain ") {
		t.Errorf("under strace: %v\n%s", err, out)
	}
}
