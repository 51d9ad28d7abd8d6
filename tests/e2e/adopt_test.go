//go:build real

package e2e_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestAdoptOfEachNix adopts what nix copy of each Nix left, with a path in every
// compression that it writes. Each Nix substitutes all of it before and after.
func TestAdoptOfEachNix(t *testing.T) {
	store := peers.Closure(t)
	roots := map[string]string{
		"zstd":  store.Named(t, "libgcc-s1-"),
		"xz":    store.Named(t, "second.drv"),
		"bzip2": store.Named(t, "hello-2.10-debug"),
		"none":  store.Named(t, "odd?name"),
		"gzip":  store.Named(t, "tree"),
		"br":    store.Named(t, "flat"),
	}
	all := closureOf(t, peers.Newest(t), store.Root, slices.Collect(maps.Values(roots))...)
	for _, maker := range peers.Nixes(t) {
		t.Run(maker.Version, func(t *testing.T) {
			p := newest(t)
			theirs, ours := p.NewKey(t, "theirs-1"), p.NewKey(t, "ours-1")
			tree := filepath.Join(t.TempDir(), "cache")
			for _, method := range slices.Sorted(maps.Keys(roots)) {
				args := []string{"copy", "--no-check-sigs", "--store", store.Root,
					"--to", fileURL(tree) + "?compression=" + method + "&secret-key=" + theirs.File, roots[method]}
				if strings.HasSuffix(roots[method], ".drv") {
					args = append(args, "--derivation") // as in copyFrom
				}
				maker.Output(t, "nix", args...)
			}
			written := map[string]bool{}
			for _, path := range all {
				written[readRecord(t, tree, path).one(t, "Compression")] = true
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(roots)), slices.Sorted(maps.Keys(written))); diff != "" {
				t.Errorf("Nix has written other compressions (-want +got):\n%s", diff)
			}
			web := nixtest.ServeNginx(t, tree)
			substituted := func(key nixtest.Key) {
				for _, nix := range peers.Nixes(t) {
					copyFrom(t, nix, web.URL, peers.StoreRoot(t), key.Public, all...)
				}
			}
			substituted(theirs)
			p.Output(t, "adopt", "-k", ours.File, tree)
			p.Output(t, "verify", "--deep", "--trusted-public-key", ours.Public, tree)
			substituted(ours)
			for _, path := range all {
				if diff := cmp.Diff([]string{"ours-1", "theirs-1"}, readRecord(t, tree, path).signedBy()); diff != "" {
					t.Errorf("%s: signed by (-want +got):\n%s", path, diff)
				}
			}
			r := p.Run(t, "adopt", "-k", ours.File, tree).Want(t, 0)
			if want := "nothing to do"; !strings.Contains(r.Stderr, want) {
				t.Errorf("a second run says %q, want %q", r.Stderr, want)
			}
		})
	}
}
