//go:build linux && real

package crash

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// A mirror to a disk that runs full ends with advice, and leaves a tree that is
// right; given room, the next run completes it.
func TestMirrorDiskFull(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	p, c := newRunner(t), large(t)
	source := filepath.Join(t.TempDir(), "source")
	p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", source, c.Top)
	for _, options := range []string{
		"size=4k", "size=16k", "size=100k", "size=1000k", "size=2500k",
		"size=64m,nr_inodes=2", "size=64m,nr_inodes=5", "size=64m,nr_inodes=9", "size=64m,nr_inodes=14",
	} {
		t.Run(options, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "disk")
			nixtest.Mount(t, dir, 0, options)
			tree := filepath.Join(dir, "tree")
			for range 2 { // what the first run left must not be in the way of the second
				r := p.Run(t, "sync", "--delete", source, tree).Refused(t, "no space left on device")
				wantHint(t, r, "make room and run the command again")
				wholeSoFar(t, tree)
			}
			nixtest.Mount(t, dir, unix.MS_REMOUNT, "size=64m,nr_inodes=10000")
			p.Output(t, "sync", "--delete", source, tree)
			treetest.Equal(t, treetest.OpenDir(t, source), treetest.OpenDir(t, tree))
		})
	}
}

// wholeSoFar checks a tree that a mirror did not finish: nix-cache-info comes last.
func wholeSoFar(t *testing.T, tree string) {
	t.Helper()
	for problem, err := range fsck.Check(t.Context(), treetest.OpenDir(t, tree), fsck.Options{Deep: true}) {
		if err != nil {
			t.Error(err)
		} else if !problem.Kind.Note() && problem.Kind != fsck.NoCacheInfo {
			t.Error(problem)
		}
	}
}
