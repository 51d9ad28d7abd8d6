//go:build real

// Package serve_test runs nixstatic serve against the real Nix, in three
// generations, alone and behind the real nginx: what people and CI push with
// nothing but Nix, and what becomes of it when the server or the network dies.
//
// The rules of uploading, object by object, are tested where they are kept; these
// tests show that a stock Nix can live with them.
package serve_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// newest is nixstatic on a machine with the newest Nix.
func newest(t testing.TB) nixtest.Program { return nixtest.Program{Nix: peers.Newest(t)} }

// somePaths returns roots whose closure is small, and has a path of each kind
// that nix copy takes without further words.
func somePaths(t testing.TB) []string {
	t.Helper()
	return named(t, "libgcc-s1-", "hello-2.10-debug", "odd?name", "tree", "flat")
}

func named(t testing.TB, names ...string) []string {
	t.Helper()
	store := peers.Closure(t)
	var paths []string
	for _, name := range names {
		paths = append(paths, store.Named(t, name))
	}
	return paths
}

// fresh is a Nix that remembers nothing: what it has heard of a URL it would
// believe for a month.
func fresh(t testing.TB, nix peers.Nix) peers.Nix {
	t.Helper()
	nix.Home = t.TempDir()
	return nix
}

// copyArgs are the arguments of a nix copy of paths of the store of packages.
func copyArgs(t testing.TB, to string, paths ...string) []string {
	t.Helper()
	return append([]string{"copy", "--no-check-sigs", "--store", peers.Closure(t).Root, "--to", to}, paths...)
}

// push copies paths of the store of packages.
func push(t testing.TB, nix peers.Nix, to string, paths ...string) {
	t.Helper()
	nix.Output(t, "nix", copyArgs(t, to, paths...)...)
}

// pushRefused copies paths, which must fail, and returns what Nix says.
func pushRefused(t testing.TB, nix peers.Nix, to string, paths ...string) string {
	t.Helper()
	out, err := nix.Command(t, "nix", copyArgs(t, to, paths...)...).CombinedOutput()
	if err == nil {
		t.Errorf("Nix %s copied what should have been refused:\n%s", nix.Version, out)
	}
	return string(out)
}

// pull copies paths into an empty store that wants a signature by the key, and
// has Nix hash them once more.
func pull(t testing.TB, nix peers.Nix, from, key string, paths ...string) {
	t.Helper()
	root := peers.StoreRoot(t)
	nix.Output(t, "nix", append([]string{"copy", "--from", from, "--to", root, "--option", "trusted-public-keys", key}, paths...)...)
	nix.Output(t, "nix", "store", "verify", "--all", "--no-trust", "--store", root)
}

// verify checks a tree to its last byte, and that all in it is signed.
func verify(t testing.TB, tree string, keys ...string) {
	t.Helper()
	args := []string{"verify", "--deep", "--quiet"}
	for _, key := range keys {
		args = append(args, "--trusted-public-key", key)
	}
	if r := newest(t).Run(t, append(args, tree)...); r.Code != 0 {
		t.Errorf("the tree is not whole: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// narinfos returns the names of the records in a tree.
func narinfos(t testing.TB, tree string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(tree, "*.narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// hashPart returns the hash in the base name of a store path.
func hashPart(path string) string { return filepath.Base(path)[:32] }

// readFile returns the text of a file.
func readFile(t testing.TB, name ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lines returns the values of a narinfo's field.
func lines(text, field string) []string {
	var values []string
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+": "); ok {
			values = append(values, strings.TrimSuffix(value, "\n"))
		}
	}
	return values
}
