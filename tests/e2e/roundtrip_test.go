//go:build real

package e2e_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// checkCopy compares a store that was filled from a tree with what it is to
// hold: the paths, and the bytes of each, which Nix hashes once more.
func checkCopy(t testing.TB, nix peers.Nix, root string, want []string) {
	t.Helper()
	var got []string
	for path := range strings.Lines(nix.Output(t, "nix", "path-info", "--all", "--store", root)) {
		got = append(got, strings.TrimSpace(path))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Nix %s: the paths in the store (-want +got):\n%s", nix.Version, diff)
	}
	nix.Output(t, "nix", "store", "verify", "--all", "--no-trust", "--store", root)
}

// The whole store of packages goes through a tree into an empty store, with
// signatures required, for each generation of Nix: by nix copy and by
// substitution, from a directory and from nginx.
func TestRoundTrip(t *testing.T) {
	tree, store := fullTree(t), peers.Closure(t)
	server := nixtest.ServeNginx(t, tree.Dir)
	nixes := peers.Nixes(t)
	t.Run("copy over HTTP, Nix "+nixes[0].Version, func(t *testing.T) {
		nix, root := nixes[0], peers.StoreRoot(t)
		nix.Output(t, "nix", copyArgs(server.URL, root, tree.Key.Public, store.Top)...)
		checkCopy(t, nix, root, store.Paths)
	})
	t.Run("copy from a directory, Nix "+nixes[1].Version, func(t *testing.T) {
		nix, root := nixes[1], peers.StoreRoot(t)
		nix.Output(t, "nix", copyArgs(fileURL(tree.Dir), root, tree.Key.Public, store.Top)...)
		checkCopy(t, nix, root, store.Paths)
	})
	t.Run("substitution over HTTP, Nix "+nixes[2].Version, func(t *testing.T) {
		nix, root := nixes[2], peers.StoreRoot(t)
		nix.Output(t, "nix-store", "--store", root, "--realise", store.Top,
			"--option", "substituters", server.URL, "--option", "trusted-public-keys", tree.Key.Public)
		checkCopy(t, nix, root, store.Paths)
	})
	// A client knows from the records the facts that it cannot tell from the bytes.
	for _, request := range server.Requests(t) {
		if strings.HasPrefix(request, "PUT") {
			t.Errorf("a client that only read wanted to write: %s", request)
		}
	}
}

// Without compression, a NAR is served as it is.
func TestRoundTripUncompressed(t *testing.T) {
	store, p := peers.Closure(t), newest(t)
	tree := filepath.Join(t.TempDir(), "cache")
	p.Output(t, "export", "-q", "--store", store.Root, "--to", tree, "-c", "none", store.Top)
	server := nixtest.ServeNginx(t, tree)
	root := peers.StoreRoot(t)
	p.Nix.Output(t, "nix", append(copyArgs(server.URL, root, "", store.Top), "--no-check-sigs")...)
	checkCopy(t, p.Nix, root, store.Paths)
}

// Every method that can be written is read by every Nix, both ways.
func TestRoundTripEveryCompression(t *testing.T) {
	store, key := peers.Closure(t), someTree(t).Key
	want := closureOf(t, peers.Newest(t), store.Root, somePaths(t)...)
	for _, method := range []string{"zstd", "xz", "gzip", "bzip2", "br", "none"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			p := newest(t)
			tree := filepath.Join(t.TempDir(), "cache")
			p.Output(t, append([]string{"export", "-q", "--store", store.Root, "--to", tree, "-k", key.File, "-c", method}, somePaths(t)...)...)
			p.Output(t, "verify", "--deep", "--trusted-public-key", key.Public, tree)
			server := nixtest.ServeNginx(t, tree)
			for _, nix := range peers.Nixes(t) {
				for _, from := range []string{server.URL, fileURL(tree)} {
					root := peers.StoreRoot(t)
					copyFrom(t, nix, from, root, key.Public, somePaths(t)...)
					checkCopy(t, nix, root, want)
				}
			}
		})
	}
}

// No Nix takes a path without a signature that it trusts, with any compression.
func TestSignaturesAreNeeded(t *testing.T) {
	tree, store := someTree(t), peers.Closure(t)
	app := store.Named(t, "libgcc-s1-")
	other := newest(t).NewKey(t, "e2e.example.org-1") // the same name, another key
	for _, nix := range peers.Nixes(t) {
		for _, keys := range []string{"", other.Public} {
			out, err := nix.Command(t, "nix", copyArgs(fileURL(tree.Dir), peers.StoreRoot(t), keys, app)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "signature") {
				t.Errorf("Nix %s with the keys %q: %v, want an error about signatures\n%s", nix.Version, keys, err, out)
			}
		}
	}
}
