//go:build real

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestBundle carries what another side lacks across, in one file and in parts that come
// one after the other, and each Nix substitutes there what it then has; from the files of
// the bundle too, unpacked by tar.
func TestBundle(t *testing.T) {
	here, store, p := someTree(t), peers.Closure(t), newest(t)
	roots := somePaths(t)
	all := closureOf(t, p.Nix, store.Root, roots...)
	dir := t.TempDir()
	there, state := filepath.Join(dir, "there"), filepath.Join(dir, "state")
	p.Output(t, "export", "--store", store.Root, "--to", there, "-k", here.Key.File, store.Named(t, "second.drv"))
	p.Output(t, "bundle", "state", there, "-o", state)

	for name, flags := range map[string][]string{"one file": nil, "parts": {"--max-size", "8MiB"}} {
		t.Run(name, func(t *testing.T) {
			file, tree := filepath.Join(t.TempDir(), "b.tar"), filepath.Join(t.TempDir(), "tree")
			p.Output(t, "sync", "-q", there, tree)
			create := append([]string{"bundle", "create", "--logs", "--have", state, "-o", file}, flags...)
			p.Output(t, append(append(create, here.Dir), roots...)...)
			files, err := filepath.Glob(file + "*")
			if err != nil || len(files) == 0 {
				t.Fatalf("%q, %v", files, err)
			}
			slices.Sort(files)
			for _, part := range files {
				p.Output(t, "bundle", "apply", part, tree, "--trusted-public-key", here.Key.Public)
				p.Output(t, "verify", "--deep", "--trusted-public-key", here.Key.Public, tree)
			}
			web := nixtest.ServeNginx(t, tree)
			for _, nix := range peers.Nixes(t) {
				copyFrom(t, nix, web.URL, peers.StoreRoot(t), here.Key.Public, all...)
			}
		})
	}
	t.Run("unpacked", func(t *testing.T) {
		file, cache := filepath.Join(t.TempDir(), "b.tar"), t.TempDir()
		app := store.Named(t, "libgcc-s1-")
		p.Output(t, "bundle", "create", "-o", file, here.Dir, app)
		if out, err := exec.Command(peers.Program(t, "tar"), "-C", cache, "-xf", file).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		for _, nix := range peers.Nixes(t) {
			copyFrom(t, nix, fileURL(cache), peers.StoreRoot(t), here.Key.Public, app)
		}
	})
}
