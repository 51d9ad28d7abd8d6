//go:build real

// Package e2e_test runs nixstatic against what it is made for: the real Nix, in
// three generations, and the real nginx. Scripts in tests/script say what the
// commands do; here is what Nix makes of the trees, on the store of Debian
// packages that package peers describes.
package e2e_test

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// newest is nixstatic on a machine with the newest Nix.
func newest(t testing.TB) nixtest.Program { return nixtest.Program{Nix: peers.Newest(t)} }

// A signedTree is a tree that tests share. None of them changes it.
type signedTree struct {
	Dir string
	Key nixtest.Key
}

var shared struct {
	sync.Mutex
	full, some signedTree
}

// fullTree returns the whole store of packages as a tree, with everything that
// belongs to it, in the default compression.
func fullTree(t testing.TB) signedTree {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.full.Dir == "" {
		shared.full = exportTree(t, peers.Closure(t).Top)
	}
	return shared.full
}

// someTree returns a tree of somePaths.
func someTree(t testing.TB) signedTree {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.some.Dir == "" {
		shared.some = exportTree(t, somePaths(t)...)
	}
	return shared.some
}

func exportTree(t testing.TB, roots ...string) signedTree {
	t.Helper()
	p := newest(t)
	tree := signedTree{filepath.Join(nixtest.SharedDir(t, "tree"), "cache"), p.NewKey(t, "e2e.example.org-1")}
	p.Output(t, append([]string{"export", "--quiet", "--store", peers.Closure(t).Root, "--to", tree.Dir,
		"-k", tree.Key.File, "--logs", "--debug-info"}, roots...)...)
	return tree
}

// somePaths returns roots whose closure is small, and has a path of each kind.
func somePaths(t testing.TB) []string {
	t.Helper()
	store := peers.Closure(t)
	var paths []string
	for _, name := range []string{"libgcc-s1-", "second.drv", "hello-2.10-debug", "odd?name", "tree", "flat"} {
		paths = append(paths, store.Named(t, name))
	}
	return paths
}

// closureOf returns the closure of paths of a store, sorted.
func closureOf(t testing.TB, nix peers.Nix, store string, paths ...string) []string {
	t.Helper()
	closure := strings.Fields(nix.Output(t, "nix-store", append([]string{"--store", store, "-qR"}, paths...)...))
	slices.Sort(closure)
	return slices.Compact(closure)
}

// copyArgs are the arguments of a nix copy from a cache into a store that trusts
// these keys alone.
func copyArgs(from, to, keys string, paths ...string) []string {
	return append([]string{"copy", "--from", from, "--to", to,
		"--option", "trusted-public-keys", keys}, paths...)
}

// copyFrom copies paths from a cache. Nix 2.8 takes a derivation for what it
// would build, unless it is told otherwise.
func copyFrom(t testing.TB, nix peers.Nix, from, to, keys string, paths ...string) {
	t.Helper()
	drvs, others := split(paths)
	if len(drvs) > 0 {
		nix.Output(t, "nix", append(copyArgs(from, to, keys, drvs...), "--derivation")...)
	}
	nix.Output(t, "nix", copyArgs(from, to, keys, others...)...)
}

// split separates the derivations from other paths.
func split(paths []string) (drvs, others []string) {
	for _, path := range paths {
		if strings.HasSuffix(path, ".drv") {
			drvs = append(drvs, path)
		} else {
			others = append(others, path)
		}
	}
	return drvs, others
}

// fileURL names a directory the way Nix names stores.
func fileURL(dir string) string { return "file://" + dir }

// hashPart returns the hash in the base name of a store path.
func hashPart(path string) string { return filepath.Base(path)[:32] }
