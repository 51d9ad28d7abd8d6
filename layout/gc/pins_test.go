package gc_test

import (
	"context"
	"encoding/json"
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

// TestArrivedPins shows that pins which a mirror brought keep their paths, once the
// tree has stopped to be a mirror, and can be changed.
func TestArrivedPins(t *testing.T) {
	tree, c := populated(t)
	lib, source := c.Named("lib").Info.Path, c.Named("source").Info.Path
	treetest.PutText(t, tree, layout.PinKey("host/a"), lib.Abs(layout.DefaultStoreDir)+"\n")
	age(t, tree, 40)
	if run, _ := collect(t, tree, now()); run.Withdrawn.Count == 0 {
		t.Error("nothing was withdrawn")
	}
	want(t, names(t, tree), []string{"lib", "source"})
	if p := pin(t, tree, "host/a", source); len(p.Generations) != 2 || p.Generations[1].Paths[0] != lib {
		t.Errorf("a generation after the one that came: %+v", p)
	}
	treetest.PutText(t, tree, layout.PinKey("b"), "nonsense\n")
	if _, err := gc.ReadPins(t.Context(), tree); !errors.As(err, new(*gc.PinError)) {
		t.Errorf("a pin that makes no sense: %v", err)
	}
	for _, name := range []string{"b", "host/a"} {
		err := gc.RemovePin(t.Context(), tree, name, 0)
		if broken := errors.As(err, new(*gc.PinError)); broken != (name == "b") || err != nil && !broken {
			t.Errorf("%s is removed: %v", name, err)
		}
	}
}

// TestManyGenerations shows that a pin does not grow without end.
func TestManyGenerations(t *testing.T) {
	tree, c := populated(t)
	many := gc.Pin{}
	for i := range gc.MaxGenerations {
		many.Generations = append(many.Generations, gc.Generation{Number: gc.MaxGenerations - i, Paths: []layout.StorePath{c.Named("lib").Info.Path}})
	}
	text, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, tree, layout.PinHistoryPrefix+"a", string(text))
	change := gc.PinChange{Name: "a", Paths: []layout.StorePath{c.Named("app").Info.Path}}
	if _, err := gc.Set(t.Context(), tree, change); !errors.Is(err, gc.ErrTooManyGenerations) {
		t.Errorf("one more: %v", err)
	}
	last := 10
	change.Last = &last
	if p, err := gc.Set(t.Context(), tree, change); err != nil || len(p.Generations) != last {
		t.Errorf("with a rule: %d generations, %v", len(p.Generations), err)
	}
}
