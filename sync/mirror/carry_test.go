package mirror_test

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// TestCarryRoots: a mirror that owns its destination brings there what runs pushed and
// what was read, and what these lists say later; any other leaves it alone.
func TestCarryRoots(t *testing.T) {
	source, dest, other := treetest.OpenDir(t, t.TempDir()), treetest.OpenDir(t, t.TempDir()), treetest.OpenDir(t, t.TempDir())
	treetest.Populate(t, source)
	lists := []layout.Key{layout.RootsPrefix + "acme/app/@1/one", layout.UsedPrefix + "2030-01-02/server-0000"}
	for _, text := range []string{"{}\n", "{}\nabc\n", "{}\nabd\n"} {
		for _, key := range lists {
			treetest.PutText(t, source, key, text)
		}
		for range 2 {
			if err := (&mirror.Mirror{Source: source, Dest: dest, Delete: true}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range lists {
			if have, err := layout.ReadAll(t.Context(), dest, key); err != nil || string(have) != text {
				t.Errorf("%s is %q, %v", key, have, err)
			}
		}
	}
	if err := (&mirror.Mirror{Source: source, Dest: other}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range lists {
		if _, there, err := layout.Lookup(t.Context(), other, key); err != nil || there {
			t.Errorf("%s is at a destination that is not owned: %v", key, err)
		}
	}
}
