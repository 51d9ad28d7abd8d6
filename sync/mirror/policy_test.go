package mirror_test

import (
	"slices"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// The rules by which paths stay go with a tree. A destination that has its own keeps
// them, unless it is to have nothing of its own.
func TestMirrorCarriesThePolicy(t *testing.T) {
	put := func(tree layout.Tree, text string) {
		t.Helper()
		if err := tree.Put(t.Context(), layout.PolicyKey, layout.Bytes([]byte(text)), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	source := treetest.OpenDir(t, t.TempDir())
	treetest.Populate(t, source)
	put(source, "keep pins\n")
	dest := treetest.OpenDir(t, t.TempDir())
	var events []mirror.Event
	m := &mirror.Mirror{Source: source, Dest: dest, Report: func(e mirror.Event) { events = append(events, e) }}
	told := func() bool {
		return slices.ContainsFunc(events, func(e mirror.Event) bool { return e.Key == layout.PolicyKey })
	}
	has := func(want string) {
		t.Helper()
		text, err := layout.ReadAll(t.Context(), dest, layout.PolicyKey)
		if err != nil || string(text) != want {
			t.Errorf("the destination has %q, %v, want %q", text, err, want)
		}
	}
	mustRun(t, m)
	if has("keep pins\n"); !told() {
		t.Error("it was not told of")
	}
	events = nil
	mustRun(t, m)
	if told() {
		t.Error("it was carried again")
	}
	put(source, "keep young 3d\n") // and nothing else changes
	mustRun(t, m)
	has("keep pins\n")
	m.Delete = true
	mustRun(t, m)
	if has("keep young 3d\n"); !told() {
		t.Error("it was not told that it was replaced")
	}
	if err := source.Delete(t.Context(), layout.PolicyKey); err != nil {
		t.Fatal(err)
	}
	mustRun(t, m)
	has("keep young 3d\n")
}
