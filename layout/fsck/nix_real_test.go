//go:build real

package fsck_test

import (
	"fmt"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestCachesOfNix: what three generations of Nix write themselves is whole, in
// every compression that they and we know.
func TestCachesOfNix(t *testing.T) {
	store := peers.Closure(t)
	path := store.Named(t, "libgcc-s1-")
	methods := []string{"zstd", "bzip2", "lz4"}
	for i, nix := range peers.Nixes(t) {
		t.Run(nix.Version+" "+methods[i], func(t *testing.T) {
			dir := t.TempDir()
			nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", store.Root, "--to",
				fmt.Sprintf("file://%s?compression=%s&write-nar-listing=true&index-debug-info=true", dir, methods[i]), path)
			tree, err := layout.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer tree.Close()
			var progress fsck.Progress
			for p, err := range fsck.Check(t.Context(), tree, fsck.Options{Deep: true, Progress: &progress}) {
				t.Error(p, err)
			}
			if progress.Paths.Load() < 2 || progress.NARs.Load() != progress.Paths.Load() || progress.Bytes.Load() != progress.TotalBytes.Load() {
				t.Errorf("%d of %d paths, %d of %d NARs, %d of %d bytes", progress.Paths.Load(), progress.TotalPaths.Load(),
					progress.NARs.Load(), progress.TotalNARs.Load(), progress.Bytes.Load(), progress.TotalBytes.Load())
			}
		})
	}
}
