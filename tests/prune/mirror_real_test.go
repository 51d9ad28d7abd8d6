//go:build real

package prune_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// TestMirrorIntoPruned: a mirror that brings a path to a bucket that is pruned tells the
// sweeper what the path rests on, and the sweeper keeps it.
func TestMirrorIntoPruned(t *testing.T) {
	b, _ := populate(t, start(t))
	source := treetest.OpenDir(t, t.TempDir())
	if _, err := layout.Init(t.Context(), source, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	treetest.Populate(t, source)
	top := leaf(t, b)
	for n := range treetest.Records(t, b) { // one that refers to others
		if len(n.References) > len(top.References) {
			top = n
		}
	}
	o := gc.TakeOptions{WithReferrers: true}
	o.Undo = time.Hour
	if _, err := gc.Take(t.Context(), b, []layout.StorePath{top.Path}, o); err != nil {
		t.Fatal(err)
	}
	if done, err := gc.Collect(t.Context(), b, options(), nil); err != nil || done.Condemned == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if err := (&mirror.Mirror{Source: source, Dest: b}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var noted []layout.Key
	for info, err := range b.List(t.Context(), layout.NotesPrefix) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := layout.ReadAll(t.Context(), b, info.Key)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := layout.ParseSweepNote(text)
		if err != nil {
			t.Fatal(err)
		}
		noted = append(noted, keys...)
	}
	pinned := treetest.Record(t, b, "lib").Path
	for _, ref := range top.References {
		if ref != top.Path && ref != pinned && !strings.HasSuffix(string(ref), "-source") && !slices.Contains(noted, layout.NarInfoKey(ref)) {
			t.Errorf("%s is in no note: %v", ref, noted)
		}
	}
	if len(noted) == 0 {
		t.Error("there are no notes")
	}
	time.Sleep(settled)
	collect(t, b, options(), 1)
	check(t, b)
	if !has(t, b, layout.NarInfoKey(top.Path)) {
		t.Error("what the mirror brought has gone")
	}
	// The tree has an owner already.
	if err := (&mirror.Mirror{Source: source, Dest: b, Delete: true}).Run(t.Context()); !errors.Is(err, gc.ErrPruned) {
		t.Errorf("a mirror that removes: %v", err)
	}
}

// TestMirrorOwns: a bucket that is kept equal to another tree takes nothing from others
// and is not pruned, until it is opened.
func TestMirrorOwns(t *testing.T) {
	server := start(t)
	b, name := populate(t, server)
	if err := b.Delete(t.Context(), layout.PlanKey); err != nil {
		t.Fatal(err)
	}
	source := treetest.OpenDir(t, t.TempDir())
	if _, err := layout.Init(t.Context(), source, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more it is ours already
		treetest.PutText(t, source, "index.html", "page of "+time.Now().String())
		if err := (&mirror.Mirror{Source: source, Dest: b, Delete: true}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if there := names(t, b); len(there) != 0 {
		t.Errorf("there are %v", there)
	}
	other := open(t, name, server.Endpoint)
	if _, err := layout.Look(t.Context(), other); !errors.Is(err, layout.ErrClosed) {
		t.Errorf("a writer that looks: %v", err)
	}
	if _, err := layout.Rely(t.Context(), other, layout.Sight{}); !errors.Is(err, layout.ErrClosed) {
		t.Errorf("a writer: %v", err)
	}
	if _, err := gc.Collect(t.Context(), other, options(), nil); !errors.Is(err, layout.ErrClosed) {
		t.Errorf("gc: %v", err)
	}
	if err := gc.Open(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	// The pin names what the mirror has removed.
	if _, err := gc.Collect(t.Context(), other, options(), nil); !errors.As(err, new(*gc.RootError)) {
		t.Errorf("gc of the opened bucket: %v", err)
	}
}
