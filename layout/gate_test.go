package layout_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// shut reports whether the gate of a tree keeps a process out.
func shut(t *testing.T, tree layout.Gater, sweep bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	leave, err := tree.Gate(ctx, sweep)
	if err == nil {
		leave()
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return err != nil
}

// TestGate shows that the gate of a directory keeps writers and sweepers apart, for
// all that have the directory open.
func TestGate(t *testing.T) {
	name := t.TempDir()
	one, other := treetest.OpenDir(t, name), treetest.OpenDir(t, name)
	writer, err := one.Gate(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if shut(t, other, false) {
		t.Error("two writers exclude each other")
	}
	if !shut(t, other, true) {
		t.Error("a sweeper comes in beside a writer")
	}
	writer()
	sweeper, err := other.Gate(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !shut(t, one, false) || !shut(t, one, true) {
		t.Error("a sweeper is not alone")
	}
	sweeper()
	if shut(t, one, false) || shut(t, one, true) {
		t.Error("the gate stays shut")
	}
}

// TestGateIsOurs shows that a lock which another program has on the directory, as
// flock(1) takes it around a command, keeps no process of ours out; and that a look leaves
// nothing in a tree.
func TestGateIsOurs(t *testing.T) {
	name := t.TempDir()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := layout.Flock(f, false); err != nil {
		t.Fatal(err)
	}
	tree := treetest.OpenDir(t, name)
	if _, err := layout.Look(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(name); err != nil || len(names) > 0 {
		t.Errorf("a look leaves %v, %v", names, err)
	}
	if shut(t, tree, false) || shut(t, tree, true) {
		t.Error("the lock of another program keeps us out")
	}
}

// TestGateIsFair shows that a sweeper that waits comes in before later writers.
func TestGateIsFair(t *testing.T) {
	name := t.TempDir()
	one, other := treetest.OpenDir(t, name), treetest.OpenDir(t, name)
	first, err := one.Gate(t.Context(), true) // makes the private folder
	if err != nil {
		t.Fatal(err)
	}
	first()
	writer, err := one.Gate(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	inside := make(chan func())
	go func() {
		leave, err := other.Gate(t.Context(), true)
		if err != nil {
			t.Error(err)
		}
		inside <- leave
	}()
	for !shut(t, one, false) {
	} // until the sweeper waits
	writer()
	(<-inside)()
}

// TestRely shows that a writer learns that something was removed since it looked.
func TestRely(t *testing.T) {
	tree := treetest.OpenDir(t, t.TempDir())
	for _, plan := range []string{"{}", "{} ", "{}  "} {
		seen, err := layout.Look(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, stale := range []bool{false, true} {
			rely, err := layout.Rely(t.Context(), tree, seen)
			if err != nil || rely.Stale != stale {
				t.Errorf("after %q: %+v, %v, want stale %v", plan, rely, err, stale)
			}
			rely.Release()
			treetest.PutText(t, tree, layout.PlanKey, plan)
		}
	}
}

// TestRenew shows that a path which is wanted becomes young before it is old, and
// not more often; and that a path which has gone is not taken for there.
func TestRenew(t *testing.T) {
	tree := treetest.OpenDir(t, t.TempDir())
	path := treetest.Populate(t, tree).Named("lib").Info.Path
	file := filepath.Join(tree.Path(), string(layout.ListingKey(path)))
	renewed := func(age time.Duration) bool {
		t.Helper()
		then := time.Now().Add(-age)
		if err := os.Chtimes(file, then, then); err != nil {
			t.Fatal(err)
		}
		before := treetest.Contents(t, tree)
		if err := layout.Renew(t.Context(), tree, path); err != nil {
			t.Fatal(err)
		}
		if after := treetest.Contents(t, tree); after[layout.ListingKey(path)] != before[layout.ListingKey(path)] {
			t.Error("the listing has other bytes")
		}
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return !st.ModTime().Equal(then)
	}
	if renewed(1000 * time.Hour) {
		t.Error("a tree that is not pruned is written to")
	}
	treetest.PutText(t, tree, layout.PlanKey, `{"keepYoung": 36000}`)
	if renewed(4 * time.Hour) {
		t.Error("a young path is renewed")
	}
	if !renewed(6 * time.Hour) {
		t.Error("a path is not renewed")
	}
	if err := layout.DeleteBatch(t.Context(), tree, []layout.Key{layout.NarInfoKey(path)}); err != nil {
		t.Fatal(err)
	}
	if err := layout.Renew(t.Context(), tree, path); !errors.Is(err, layout.ErrRemoved) {
		t.Errorf("a path that has gone: %v", err)
	}
}

// TestAddAfterRemoval shows that nothing is published whose references were
// removed since they were looked for.
func TestAddAfterRemoval(t *testing.T) {
	for _, plan := range []string{"{}", ""} {
		tree := treetest.OpenDir(t, t.TempDir())
		c := treetest.Populate(t, tree)
		seen, err := layout.Look(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		treetest.Withdraw(t, tree, "app")
		app := c.Named("app")
		if plan != "" { // otherwise it was not by a sweeper, and there is no trace of it
			treetest.PutText(t, tree, layout.PlanKey, plan)
			treetest.Withdraw(t, tree, "flat")
		}
		w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Method: "none"}
		packed, err := w.Pack(t.Context(), &app.Info, func(out io.Writer) error { _, err := out.Write(app.NAR); return err })
		if err != nil {
			t.Fatal(err)
		}
		err = w.Add(t.Context(), []layout.Item{{Info: app.Info, Packed: packed, Seen: seen}})
		packed.Discard()
		if removed := errors.Is(err, layout.ErrRemoved); removed != (plan != "") || err != nil && !removed {
			t.Errorf("Add after %q: %v", plan, err)
		}
	}
}
