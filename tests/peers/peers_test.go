//go:build real

package peers_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// Every Nix must be what its folder says and able to carry a path from one store
// to another through a binary cache of its own making.
func TestNixes(t *testing.T) {
	nixes := peers.Nixes(t)
	if first, last := nixes[0].Version, nixes[len(nixes)-1].Version; !strings.HasPrefix(first, "2.8.") || first == last {
		t.Errorf("the versions go from %s to %s, want them to start with 2.8", first, last)
	}
	store := peers.Closure(t)
	path := store.Named(t, "odd?name")
	for _, nix := range nixes {
		t.Run(nix.Version, func(t *testing.T) {
			if got, want := nix.Output(t, "nix", "--version"), "nix (Nix) "+nix.Version; got != want {
				t.Errorf("it calls itself %q, want %q", got, want)
			}
			tree, root := t.TempDir(), peers.StoreRoot(t)
			nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", store.Root, "--to", "file://"+tree, path)
			nix.Output(t, "nix", "copy", "--no-check-sigs", "--from", "file://"+tree, "--to", root, path)
			got, err := os.ReadFile(filepath.Join(root, path))
			if err != nil || string(got) != "odd\n" {
				t.Errorf("the copy holds %q, %v", got, err)
			}
		})
	}
}

// The store must hold each kind of path it promises, in the view of both ends of
// the range of versions.
func TestClosure(t *testing.T) {
	store := peers.Closure(t)
	if n := len(store.Paths); n < 100 {
		t.Errorf("%d paths, want at least 100: too few packages are installed", n)
	}
	old, newest := peers.Old(t), peers.Newest(t)
	for _, nix := range []peers.Nix{old, newest} {
		paths := strings.Fields(nix.Output(t, "nix-store", "--store", store.Root, "-qR", store.Top))
		slices.Sort(paths)
		if diff := cmp.Diff(store.Paths, paths); diff != "" {
			t.Errorf("Nix %s: the closure of the top differs from the list of paths (-list +closure):\n%s", nix.Version, diff)
		}
		log := nix.Output(t, "nix", "log", "--store", store.Root, store.Named(t, "odd?name"))
		if !strings.Contains(log, "needs escaping") {
			t.Errorf("Nix %s: the build log reads %q", nix.Version, log)
		}
	}

	var infos []struct {
		Path, Deriver, CA string
		References        []string
	}
	text := old.Output(t, "nix", "path-info", "--json", "--recursive", "--store", store.Root, store.Top)
	if err := json.Unmarshal([]byte(text), &infos); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, info := range infos {
		if slices.Contains(info.References, info.Path) {
			count["refers to itself"]++
		}
		if info.Deriver == "" {
			count["no deriver"]++
		}
		if i := strings.LastIndex(info.CA, ":"); i >= 0 {
			count[info.CA[:i]]++
		}
	}
	for _, kind := range []string{"refers to itself", "no deriver", "text:sha256", "fixed:sha256", "fixed:r:sha256"} {
		if count[kind] == 0 {
			t.Errorf("no path of the kind %q", kind)
		}
	}
}
