//go:build real

package prune_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// path finds a path of treetest.Populate.
func path(t *testing.T, b bucket, name string) layout.StorePath {
	t.Helper()
	return treetest.Record(t, b, name).Path
}

// leaf finds a path that nothing refers to and that is not pinned.
func leaf(t *testing.T, b bucket) *layout.NarInfo {
	t.Helper()
	referred := map[layout.StorePath]bool{}
	for n := range treetest.Records(t, b) {
		for _, ref := range n.References {
			if ref != n.Path {
				referred[ref] = true
			}
		}
	}
	for n := range treetest.Records(t, b) {
		if !referred[n.Path] && n.Path.Name() != "lib" {
			return n
		}
	}
	t.Fatal("all are referred to")
	return nil
}

func has(t *testing.T, b bucket, key layout.Key) bool {
	t.Helper()
	_, there, err := layout.Lookup(t.Context(), b, key)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// TestTake: a path is taken out of a bucket when the fence has passed, and an undo
// brings it back.
func TestTake(t *testing.T) {
	b, _ := populate(t, start(t))
	n := leaf(t, b)
	o := gc.TakeOptions{}
	o.Undo = time.Hour
	var waits []time.Time
	o.Waits = func(until time.Time) { waits = append(waits, until) }
	if _, err := gc.Take(t.Context(), b, []layout.StorePath{path(t, b, "lib")}, o); !errors.As(err, new(*gc.PinnedError)) && !errors.As(err, new(*gc.ReferredError)) {
		t.Fatalf("a path that is pinned: %v", err)
	}
	begun := time.Now()
	done, err := gc.Take(t.Context(), b, []layout.StorePath{n.Path}, o)
	if err != nil || done.Run.Withdrawn.Count != 1 || !slices.Equal(done.Paths, []layout.StorePath{n.Path}) {
		t.Fatalf("Take = %+v, %v", done, err)
	}
	if len(waits) != 2 || waits[0].Before(begun.Add(time.Second)) || !waits[1].IsZero() {
		t.Errorf("it waited until %v", waits)
	}
	if has(t, b, layout.NarInfoKey(n.Path)) {
		t.Error("it is there")
	}
	check(t, b)
	if undone, err := gc.Undo(t.Context(), b, 0, nil); err != nil || !slices.Equal(undone.Back, []layout.StorePath{n.Path}) {
		t.Fatalf("undo: %+v, %v", undone, err)
	}
	check(t, b)
}

// TestPurge: the bytes go too. A run that ends early goes on when the same paths are
// taken again, and needs no second wait.
func TestPurge(t *testing.T) {
	b, _ := populate(t, start(t))
	n := leaf(t, b)
	nar, err := n.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	o := gc.TakeOptions{Purge: true, NoWait: true}
	o.Undo = time.Hour
	done, err := gc.Take(t.Context(), b, []layout.StorePath{n.Path}, o)
	if err != nil || done.Run.Condemned < 2 || done.Run.Ripe.IsZero() || !has(t, b, nar) {
		t.Fatalf("Take = %+v, %v", done, err)
	}
	time.Sleep(settled)
	done, err = gc.Take(t.Context(), b, []layout.StorePath{n.Path}, o)
	if err != nil || done.Run.Withdrawn.Count != 1 || done.Run.Reclaimed.Count < 2 {
		t.Fatalf("the second time: %+v, %v", done, err)
	}
	for _, key := range []layout.Key{layout.NarInfoKey(n.Path), layout.ListingKey(n.Path), nar} {
		if has(t, b, key) {
			t.Errorf("%s is there", key)
		}
	}
	check(t, b)
	if _, err := gc.Undo(t.Context(), b, 0, []layout.StorePath{n.Path}); !errors.Is(err, gc.ErrNothingWithdrawn) {
		t.Errorf("undo: %v", err)
	}
	if plan, err := layout.ReadSweepPlan(t.Context(), b); err != nil || plan.State != layout.SweepIdle {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
}

// TestTakeNeeded: what is pinned or pushed again meanwhile stays, and so does all that
// it needs.
func TestTakeNeeded(t *testing.T) {
	server := start(t)
	t.Run("renewed", func(t *testing.T) {
		b, name := populate(t, server)
		n := leaf(t, b)
		o := gc.TakeOptions{Purge: true, NoWait: true}
		if _, err := gc.Take(t.Context(), b, []layout.StorePath{n.Path}, o); err != nil {
			t.Fatal(err)
		}
		// Another process keeps it.
		other := open(t, name, server.Endpoint)
		rely, err := layout.Rely(t.Context(), other, layout.Sight{}, layout.NarInfoKey(n.Path))
		if err != nil {
			t.Fatal(err)
		}
		if err := layout.PutAgain(rely.Context(t.Context()), other, layout.NarInfoKey(n.Path)); err != nil {
			t.Fatal(err)
		}
		rely.Release()
		time.Sleep(settled)
		if done, err := gc.Take(t.Context(), b, []layout.StorePath{n.Path}, o); err != nil || done.Run.Withdrawn.Count+done.Run.Reclaimed.Count != 0 {
			t.Errorf("Take = %+v, %v", done, err)
		}
		check(t, b)
		if !has(t, b, layout.NarInfoKey(n.Path)) {
			t.Error("it has gone")
		}
	})
	t.Run("pinned", func(t *testing.T) {
		b, _ := populate(t, server)
		n := leaf(t, b)
		o := gc.TakeOptions{Waits: func(until time.Time) {
			if until.IsZero() {
				return
			}
			if _, err := gc.Set(t.Context(), b, gc.PinChange{Name: "late", Paths: []layout.StorePath{n.Path}}); err != nil {
				t.Error(err)
			}
		}}
		if _, err := gc.Take(t.Context(), b, []layout.StorePath{n.Path}, o); !errors.As(err, new(*gc.PinnedError)) {
			t.Errorf("Take: %v", err)
		}
		check(t, b)
		if plan, err := layout.ReadSweepPlan(t.Context(), b); err != nil || plan.State != layout.SweepIdle {
			t.Errorf("the plan is %+v, %v", plan, err)
		}
	})
}
