package gc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

func read(t *testing.T, tree layout.Tree, key layout.Key) string {
	t.Helper()
	text, err := layout.ReadAll(context.Background(), tree, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPins(t *testing.T) {
	tree, c := populated(t)
	path := func(name string) layout.StorePath { return c.Named(name).Info.Path }
	for _, name := range []string{"app", "lib", "source"} {
		pin(t, tree, "host/a", path(name))
	}
	want(t, read(t, tree, "pins/host/a"), path("source").Abs(layout.DefaultStoreDir)+"\n")

	p, err := gc.Rollback(t.Context(), tree, "host/a", 0)
	if err != nil || p.Generations[0].Number != 4 || p.Generations[0].Paths[0] != path("lib") {
		t.Errorf("Rollback = %+v, %v", p, err)
	}
	want(t, read(t, tree, "pins/host/a"), path("lib").Abs(layout.DefaultStoreDir)+"\n")
	if err := gc.RemovePin(t.Context(), tree, "host/a", 4); err != nil {
		t.Error(err)
	}
	want(t, read(t, tree, "pins/host/a"), path("source").Abs(layout.DefaultStoreDir)+"\n")

	one := 1
	p, err = gc.Set(t.Context(), tree, gc.PinChange{Name: "host/a", Paths: []layout.StorePath{path("app")}, Last: &one})
	if err != nil || len(p.Generations) != 1 {
		t.Errorf("with --keep-last 1: %+v, %v", p, err)
	}
	for _, name := range []string{"host", "host/a/b", "", "..", "a/../b", "a b", "/a", "a/", "ä", "a/./b"} {
		if _, err := gc.Set(t.Context(), tree, gc.PinChange{Name: name, Paths: []layout.StorePath{path("app")}}); err == nil {
			t.Errorf("there is a pin %q", name)
		}
	}
	if _, err := gc.Set(t.Context(), tree, gc.PinChange{Name: "b", Paths: []layout.StorePath{"00000000000000000000000000000000-x"}}); !errors.As(err, new(*gc.MissingPathError)) {
		t.Errorf("a pin of what is not there: %v", err)
	}
	if err := gc.RemovePin(t.Context(), tree, "host/a", 0); err != nil {
		t.Error(err)
	}
	want(t, keys(t, tree, layout.KindPin), nil)
	if err := gc.RemovePin(t.Context(), tree, "host/a", 0); !errors.Is(err, gc.ErrNoPin) {
		t.Errorf("a pin that is gone is removed: %v", err)
	}
}

// TestKept shows which generations the rules of a pin keep.
func TestKept(t *testing.T) {
	day := func(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * 24 * time.Hour) }
	over := day(9)
	all := []gc.Generation{{Number: 4, Time: day(8)}, {Number: 3, Time: day(5)}, {Number: 2, Time: day(2)}, {Number: 1, Time: day(1), Until: &over}}
	for _, c := range []struct {
		pin  gc.Pin
		want []int
	}{
		{gc.Pin{}, []int{4, 3, 2}},
		{gc.Pin{Last: 2}, []int{4, 3}},
		// The second was in use until the third day, which is five days ago.
		{gc.Pin{Within: 5 * 24 * 3600}, []int{4, 3, 2}},
		{gc.Pin{Within: 4 * 24 * 3600}, []int{4, 3}},
		{gc.Pin{Within: 1, Last: 3}, []int{4}},
	} {
		c.pin.Generations = all
		var got []int
		for _, g := range c.pin.Kept(day(10)) {
			got = append(got, g.Number)
		}
		want(t, got, c.want)
	}
}

// TestPinKeepsGenerations shows that a deployment of yesterday stays.
func TestPinKeepsGenerations(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("lib").Info.Path)
	pin(t, tree, "a", c.Named("selfish").Info.Path)
	age(t, tree, 40)
	collect(t, tree, now())
	want(t, names(t, tree), []string{"lib", "selfish", "source"})
	if err := gc.RemovePin(t.Context(), tree, "a", 1); err != nil {
		t.Fatal(err)
	}
	collect(t, tree, now())
	want(t, names(t, tree), []string{"selfish"})
}

// TestUpstream shows that what upstreams provide is kept as long as something
// refers to it, and no longer.
func TestUpstream(t *testing.T) {
	tree, c := populated(t)
	key, err := signer.Generate("upstream-1")
	if err != nil {
		t.Fatal(err)
	}
	treetest.LeanOn(t, tree, key, "flat")
	pin(t, tree, "a", c.Named("app").Info.Path)
	pin(t, tree, "b", c.Named("selfish").Info.Path)
	age(t, tree, 40)
	collect(t, tree, now())
	provision := layout.ProvisionKey(c.Named("flat").Info.Path)
	read(t, tree, provision)
	if err := gc.RemovePin(t.Context(), tree, "a", 0); err != nil {
		t.Fatal(err)
	}
	collect(t, tree, now())
	read(t, tree, provision) // for an undo
	age(t, tree, 10)
	collect(t, tree, now())
	if _, there, err := layout.Lookup(t.Context(), tree, provision); err != nil || there {
		t.Errorf("an upstream's record that nothing needs: %v, %v", there, err)
	}
	want(t, names(t, tree), []string{"selfish"})
}
