package nixstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// resolving returns a Store that can follow paths and has no daemon.
func resolving(t testing.TB) (s *Store, root string) {
	t.Helper()
	root = newRootDir(t)
	l, err := locate(root, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return &Store{location: l}, root
}

func TestResolve(t *testing.T) {
	s, root := resolving(t)
	const base = "00000000000000000000000000000000-x"
	store := root + "/nix/store/" + base
	if err := os.MkdirAll(store+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	links := map[string]string{
		"result":   "/nix/store/" + base, // what nix-build --store makes: the logical path
		"physical": store,
		"chain":    "result",
		"dir":      store + "/bin",
		"loop":     "loop2",
		"loop2":    "loop",
		"away":     "/",
		"profile":  "result",
		"dangling": "nowhere",
		"store":    root + "/nix/store",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The same folder by another name, as on systems where /tmp is a link.
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(root, alias); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, arg := range []string{
		"/nix/store/" + base, "/nix/store/" + base + "/", "/nix/store/" + base + "/bin/none", "/nix//store/./" + base,
		store, store + "/bin/foo", "result", "./result", dir + "/result", "result/bin/foo", "physical", "chain", "chain/", "dir",
		"../" + filepath.Base(dir) + "/profile/lib", "away/nix/store/" + base, "store/" + base + "/bin", alias + "/nix/store/" + base,
	} {
		if p, err := s.Resolve(t.Context(), arg); err != nil || p != base {
			t.Errorf("%s: %q, %v", arg, p, err)
		}
	}
	for arg, want := range map[string]string{
		"":                                "no path given",
		".":                               "not in the store",
		"/":                               "not in the store",
		"/nix/store":                      "not in the store",
		"/nix/store/.links":               "too short",
		"/nix/store/x/../../y":            "y",
		"none":                            "none",
		"dangling":                        "nowhere",
		"loop":                            "too many links",
		root:                              "not in the store",
		"/nix/store/" + base + "^":        base,
		"/nix/store/" + base + ".drv^":    "name one output",
		"/nix/store/" + base + ".drv^*":   "name one output",
		"/nix/store/" + base + ".drv!a,b": "name one output",
	} {
		p, err := s.Resolve(t.Context(), arg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want an error with %q", arg, p, err, want)
		}
	}
	if _, err := s.Resolve(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
	if _, err := s.Resolve(t.Context(), "chain/../dangling"); err == nil || !strings.Contains(err.Error(), "then") {
		t.Errorf("%v, want what was tried", err)
	}
	if p, err := s.Resolve(t.Context(), "result/../"+base); err == nil {
		t.Errorf("a path that only looks like one inside the store: %s", p)
	}
}
