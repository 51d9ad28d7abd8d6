//go:build real

package nixstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// openWith opens a store served by nix.
func openWith(t testing.TB, nix peers.Nix, store string) *Store {
	t.Helper()
	withoutNixEnv(t)
	return openWithin(t, nix, store)
}

// openWithin is openWith in the environment as it is.
func openWithin(t testing.TB, nix peers.Nix, store string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Store: store, Daemon: nix.Bin("nix-daemon")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func storePaths(t testing.TB, storeDir string, texts ...string) []layout.StorePath {
	t.Helper()
	var paths []layout.StorePath
	for _, text := range texts {
		p, err := layout.ParseAbsStorePath(storeDir, text)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// addFile adds a file to the store at root and returns its path.
func addFile(t testing.TB, nix peers.Nix, root, name, content string) layout.StorePath {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return storePaths(t, layout.DefaultStoreDir, nix.Output(t, "nix-store", "--store", root, "--add", file))[0]
}

// A relocated store has its logical store directory where its files are, so that
// things can be built in it without a sandbox.
type relocated struct {
	dir string
	nix peers.Nix
}

func newRelocated(t testing.TB, nix peers.Nix) relocated {
	t.Helper()
	dir, err := filepath.EvalSymlinks(peers.StoreRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	return relocated{dir, nix}
}

func (r relocated) storeDir() string { return r.dir + "/store" }

func (r relocated) uri() string {
	return "local?store=" + r.storeDir() + "&real=" + r.storeDir() + "&state=" + r.dir + "/state&log=" + r.dir + "/log"
}

// build instantiates and builds attributes of the expression in file, and returns
// the derivations and the outputs.
func (r relocated) build(t testing.TB, file string, attrs ...string) (drvs, outs []layout.StorePath) {
	t.Helper()
	args := []string{"--store", r.uri(), file}
	for _, attr := range attrs {
		args = append(args, "-A", attr)
	}
	drvs = storePaths(t, r.storeDir(), strings.Fields(r.nix.Output(t, "nix-instantiate", args...))...)
	outs = storePaths(t, r.storeDir(), strings.Fields(r.nix.Output(t, "nix-build", append(args, "--no-out-link")...))...)
	return drvs, outs
}
