package gc_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestUndo shows that what was withdrawn comes back byte for byte, and stays.
func TestUndo(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("lib-debug").Info.Path)
	collect(t, tree, now()) // from now on, what comes back is renewed
	age(t, tree, 40)
	before := treetest.Contents(t, tree)
	collect(t, tree, now())
	want(t, names(t, tree), []string{"lib-debug"})

	// A path comes back with its closure.
	done, err := gc.Undo(t.Context(), tree, 0, []layout.StorePath{c.Named("app").Info.Path})
	if err != nil || len(done.Lost) > 0 {
		t.Fatalf("Undo = %+v, %v", done, err)
	}
	want(t, names(t, tree), []string{"app", "flat", "lib", "lib-debug", "source"})
	whole(t, tree)

	done, err = gc.Undo(t.Context(), tree, 1, nil)
	if err != nil || len(done.Lost) > 0 || len(done.Back) != 4 || done.There != 4 {
		t.Fatalf("Undo = %+v, %v", done, err)
	}
	want(t, treetest.Contents(t, tree), before)
	whole(t, tree)

	// It is young, though its listing never went.
	if run, _ := collect(t, tree, now()); run != (gc.Run{}) {
		t.Errorf("what came back went again: %+v", run)
	}
	age(t, tree, 40)
	if run, _ := collect(t, tree, now()); run.Withdrawn.Count != 8 {
		t.Errorf("what came back stays for ever: %+v", run)
	}
}

// TestUndoLost shows that an undo which comes too late says so, and brings back
// nothing that leads nowhere.
func TestUndoLost(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("lib-debug").Info.Path)
	age(t, tree, 40)
	collect(t, tree, now())
	n := c.Named("flat")
	for _, key := range keys(t, tree, layout.KindNAR) {
		info, err := tree.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size < 200 && key != "" { // that of flat is among the small ones
			if err := tree.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	done, err := gc.Undo(t.Context(), tree, 0, []layout.StorePath{c.Named("app").Info.Path})
	if err != nil || len(done.Lost) == 0 || slices.Contains(done.Back, n.Info.Path) {
		t.Errorf("Undo = %+v, %v", done, err)
	}
	whole(t, tree)
	if _, err := gc.Undo(t.Context(), tree, 99, nil); !errors.Is(err, gc.ErrNothingWithdrawn) {
		t.Errorf("Undo of a run that never was: %v", err)
	}
}

func TestWhy(t *testing.T) {
	tree, c := populated(t)
	path := func(name string) layout.StorePath { return c.Named(name).Info.Path }
	pin(t, tree, "host/a", path("app"))
	pin(t, tree, "b", path("lib"), path("builder.sh"))
	age(t, tree, 40)
	chains, err := gc.Why(t.Context(), tree, now(), path("source"))
	if err != nil {
		t.Fatal(err)
	}
	want(t, chains, []gc.Chain{
		{Root: "pin b@1", Paths: []layout.StorePath{path("lib"), path("source")}},
		{Root: "pin host/a@1", Paths: []layout.StorePath{path("app"), path("lib"), path("source")}},
	})
	if chains, err := gc.Why(t.Context(), tree, now(), path("twin")); err != nil || len(chains) != 0 {
		t.Errorf("Why of what nothing keeps = %v, %v", chains, err)
	}
}

func TestTake(t *testing.T) {
	tree, c := populated(t)
	path := func(name string) layout.StorePath { return c.Named(name).Info.Path }
	take := func(o gc.TakeOptions, names ...string) (gc.Taken, error) {
		var paths []layout.StorePath
		for _, name := range names {
			paths = append(paths, path(name))
		}
		done, err := gc.Take(t.Context(), tree, paths, o)
		whole(t, tree)
		return done, err
	}
	before := treetest.Contents(t, tree)
	if _, err := take(gc.TakeOptions{}, "lib"); !errors.As(err, new(*gc.ReferredError)) {
		t.Errorf("Take of what app and env refer to: %v", err)
	}
	if _, err := take(gc.TakeOptions{Purge: true}, "twin"); !errors.As(err, new(*gc.SharedError)) {
		t.Errorf("Take of the NAR that source has too: %v", err)
	}
	pin(t, tree, "a", path("app"))
	if _, err := take(gc.TakeOptions{WithReferrers: true}, "lib"); !errors.As(err, new(*gc.PinnedError)) {
		t.Errorf("Take of what is pinned: %v", err)
	}
	if err := gc.RemovePin(t.Context(), tree, "a", 0); err != nil {
		t.Fatal(err)
	}
	done, err := take(gc.TakeOptions{WithReferrers: true, Dry: true}, "lib")
	if err != nil || len(done.Paths) != 3 {
		t.Errorf("Take = %+v, %v", done, err)
	}
	want(t, treetest.Contents(t, tree), before)
	if _, err = take(gc.TakeOptions{WithReferrers: true}, "lib"); err != nil {
		t.Error(err)
	}
	want(t, names(t, tree), []string{"builder.sh", "flat", "lib-debug", "selfish", "source", "twin"})
	if _, err := gc.Undo(t.Context(), tree, 0, nil); err != nil {
		t.Error(err)
	}
	want(t, treetest.Contents(t, tree), before)

	// A secret goes with its bytes, and so does one that was withdrawn before.
	if _, err := take(gc.TakeOptions{}, "lib-debug"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"lib-debug", "selfish"} {
		nars := len(keys(t, tree, layout.KindNAR))
		if _, err := take(gc.TakeOptions{Purge: true}, name); err != nil {
			t.Error(err)
		}
		want(t, len(keys(t, tree, layout.KindNAR)), nars-1)
	}
	want(t, keys(t, tree, layout.KindDebugInfo), nil)
	want(t, len(keys(t, tree, layout.KindListing)), 7)
}
