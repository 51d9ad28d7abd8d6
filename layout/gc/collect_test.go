package gc_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// days returns options whose clock is ahead, so that what was put now is old.
func days(n int) gc.Options {
	return gc.Options{KeepYoung: 30 * 24 * time.Hour, Undo: 7 * 24 * time.Hour, MaxRemoval: 1,
		Now: func() time.Time { return time.Now().Add(time.Duration(n) * 24 * time.Hour) }}
}

// now returns the options that the command has, but for the grace.
func now() gc.Options {
	o := days(0)
	o.Now = nil
	return o
}

// age makes everything in a tree older.
func age(t *testing.T, tree *layout.Dir, days int) {
	t.Helper()
	err := filepath.WalkDir(tree.Path(), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		st, err := entry.Info()
		if err != nil {
			return err
		}
		then := st.ModTime().Add(-time.Duration(days) * 24 * time.Hour)
		return os.Chtimes(name, then, then)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// populated returns a tree in a directory with everything in it.
func populated(t *testing.T) (*layout.Dir, *treetest.Paths) {
	t.Helper()
	dir := treetest.OpenDir(t, t.TempDir())
	return dir, treetest.Populate(t, dir)
}

func pin(t *testing.T, tree layout.Tree, name string, paths ...layout.StorePath) gc.Pin {
	t.Helper()
	p, err := gc.Set(t.Context(), tree, gc.PinChange{Name: name, Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func collect(t *testing.T, tree layout.Tree, o gc.Options) (gc.Run, gc.Plan) {
	t.Helper()
	var plan gc.Plan
	run, err := gc.Collect(t.Context(), tree, o, func(p *gc.Plan) error { plan = *p; return nil })
	if err != nil {
		t.Fatal(err)
	}
	whole(t, tree)
	return run, plan
}

func whole(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(t.Context(), tree, fsck.Options{Deep: true, Provided: treetest.Provided(t, tree)}); err != nil {
		t.Error(err)
	}
}

func names(t *testing.T, tree layout.Tree) (names []string) {
	t.Helper()
	for n := range treetest.Records(t, tree) {
		names = append(names, n.Path.Name())
	}
	slices.Sort(names)
	return names
}

func keys(t *testing.T, tree layout.Tree, kinds ...layout.Kind) (keys []layout.Key) {
	t.Helper()
	for info, err := range tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(kinds, info.Key.Kind()) {
			keys = append(keys, info.Key)
		}
	}
	return keys
}

func want[T any](t *testing.T, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestCollect takes a tree through its whole life: what nothing keeps is
// withdrawn, can be brought back for a week, and then its bytes go.
func TestCollect(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "host/a", c.Named("app").Info.Path)

	// Everything is young.
	run, plan := collect(t, tree, now())
	want(t, run, gc.Run{})
	want(t, plan.Withdraw, gc.Size{})

	nars := len(keys(t, tree, layout.KindNAR))
	age(t, tree, 40)
	run, plan = collect(t, tree, now())
	live := []string{"app", "flat", "lib", "source"}
	want(t, names(t, tree), live)
	want(t, run.Withdrawn.Count, int64(5))
	want(t, len(plan.Largest), 5)
	want(t, len(keys(t, tree, layout.KindNAR)), nars)

	// A run with nothing to do changes nothing.
	age(t, tree, 5)
	before := treetest.Contents(t, tree)
	if run, _ = collect(t, tree, now()); run != (gc.Run{}) {
		t.Errorf("a second run did %+v", run)
	}
	want(t, treetest.Contents(t, tree), before)

	age(t, tree, 5)
	collect(t, tree, now())
	want(t, names(t, tree), live)
	// builder.sh, lib-debug, env and selfish had NARs of their own; twin has that of source.
	want(t, len(keys(t, tree, layout.KindNAR)), nars-4)
	want(t, len(keys(t, tree, layout.KindListing)), len(live))
	want(t, len(keys(t, tree, layout.KindDebugInfo)), 0)
	if records, err := gc.Records(t.Context(), tree); err != nil || len(records) != 0 {
		t.Errorf("records remain: %v, %v", records, err)
	}
	runs, err := gc.Runs(t.Context(), tree)
	if err != nil || len(runs) != 2 || runs[0].Epoch != 2 {
		t.Errorf("runs: %+v, %v", runs, err)
	}
}

// TestWaiting shows that what waits keeps what it needs, whichever client sent it, and
// goes when it has waited for too long.
func TestWaiting(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("flat").Info.Path)
	n := treetest.Record(t, tree, "app") // refers to lib
	held := layout.Key(layout.HeldPrefix + n.Path.Hash() + ".0123456789abcdef.narinfo")
	text := string(n.Marshal(layout.DefaultStoreDir))
	treetest.Withdraw(t, tree, "app")
	age(t, tree, 40)
	treetest.PutText(t, tree, held, text)
	collect(t, tree, now())
	if got := names(t, tree); !slices.Contains(got, "lib") {
		t.Errorf("what waits does not keep what it refers to: %v is left", got)
	}
	if _, there, err := layout.Lookup(t.Context(), tree, held); !there || err != nil {
		t.Errorf("what waits has gone: %v", err)
	}
	age(t, tree, 2)
	collect(t, tree, now())
	if got := names(t, tree); slices.Contains(got, "lib") {
		t.Errorf("what has waited for too long keeps what it refers to: %v is left", got)
	}
	if _, there, err := layout.Lookup(t.Context(), tree, held); there || err != nil {
		t.Errorf("what has waited for too long is left: %v", err)
	}
}

// TestGrace shows that nothing goes before it was dead for a while.
func TestGrace(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("lib").Info.Path)
	o := days(40)
	o.Grace = 48 * time.Hour
	if run, plan := collect(t, tree, o); run != (gc.Run{}) || plan.Waiting.Count == 0 || plan.Due.Sub(o.Now()) < 47*time.Hour {
		t.Errorf("the first run did %+v of %+v", run, plan)
	}
	o.Now = days(41).Now
	if run, _ := collect(t, tree, o); run != (gc.Run{}) {
		t.Errorf("a run within the grace did %+v", run)
	}
	o.Now = days(43).Now
	if run, _ := collect(t, tree, o); run.Withdrawn.Count != 7 {
		t.Errorf("a run after the grace did %+v", run)
	}
}

// TestStops lists what keeps a run from removing anything.
func TestStops(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options)
		is   func(error) bool
	}{
		{"no pins", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			if err := gc.RemovePin(t.Context(), tree, "a", 0); err != nil {
				t.Fatal(err)
			}
		}, func(err error) bool { return errors.Is(err, gc.ErrNoRoots) }},
		{"too much", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) { o.MaxRemoval = 0.01 },
			func(err error) bool { return errors.As(err, new(*gc.TooMuchError)) }},
		{"a pin that makes no sense", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			treetest.PutText(t, tree, ".nixstatic/pins/b", "{")
		}, func(err error) bool { return err != nil }},
		{"a pin of a later version", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			treetest.PutText(t, tree, ".nixstatic/pins/b", `{"forever": true, "generations": [{"number": 1, "paths": []}]}`)
		}, func(err error) bool { return err != nil }},
		{"a root that is not there", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			treetest.Withdraw(t, tree, "lib-debug")
		}, func(err error) bool { return errors.As(err, new(*gc.RootError)) }},
		{"a narinfo that makes no sense", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			treetest.PutText(t, tree, layout.NarInfoKey(c.Named("app").Info.Path), "URL: nowhere\n")
		}, func(err error) bool { return err != nil }},
		{"a narinfo that waits and makes no sense", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			key := ".nixstatic/held/" + layout.NarInfoKey(c.Named("app").Info.Path)
			treetest.PutText(t, tree, key, "x")
			if err := os.Chtimes(filepath.Join(tree.Path(), string(key)), o.Now(), o.Now()); err != nil {
				t.Fatal(err)
			}
		}, func(err error) bool { return err != nil }},
		{"a clock that is behind", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			file := filepath.Join(tree.Path(), string(layout.ListingKey(c.Named("app").Info.Path)))
			later := o.Now().Add(time.Hour)
			if err := os.Chtimes(file, later, later); err != nil {
				t.Fatal(err)
			}
		}, func(err error) bool { return errors.As(err, new(*gc.ClockError)) }},
		{"no cache", func(t *testing.T, tree *layout.Dir, c *treetest.Paths, o *gc.Options) {
			os.Remove(filepath.Join(tree.Path(), string(layout.CacheInfoKey)))
		}, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, paths := populated(t)
			pin(t, tree, "a", paths.Named("lib-debug").Info.Path)
			o := days(40)
			c.make(t, tree, paths, &o)
			before := treetest.Contents(t, tree)
			if _, err := gc.Collect(t.Context(), tree, o, nil); !c.is(err) {
				t.Errorf("Collect = %v", err)
			}
			want(t, treetest.Contents(t, tree), before)
		})
	}
}

// TestDeclined shows that a plan which is not confirmed is not carried out.
func TestDeclined(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("lib").Info.Path)
	before := treetest.Contents(t, tree)
	no := errors.New("no")
	if _, err := gc.Collect(t.Context(), tree, days(40), func(*gc.Plan) error { return no }); !errors.Is(err, no) {
		t.Errorf("Collect = %v", err)
	}
	preview, err := gc.Preview(t.Context(), tree, days(40))
	if err != nil || preview.Withdraw.Count != 7 {
		t.Errorf("Preview = %+v, %v", preview, err)
	}
	want(t, treetest.Contents(t, tree), before)
}

// TestNoGate shows that a tree is left alone where nothing keeps writers apart
// from a sweep.
func TestNoGate(t *testing.T) {
	mem := treetest.NewMem(t)
	treetest.Populate(t, mem)
	if _, err := gc.Collect(context.Background(), mem, days(40), nil); !errors.Is(err, layout.ErrNoGate) {
		t.Errorf("Collect = %v", err)
	}
}

// TestOtherNames shows that NARs which are called as other caches call theirs go
// with the paths that lead to them.
func TestOtherNames(t *testing.T) {
	tree, c := populated(t)
	n := treetest.Record(t, tree, "lib-debug")
	other := "nar/" + c.Named("lib-debug").Info.Path.Hash() + ".nar.zst"
	if err := os.Rename(filepath.Join(tree.Path(), n.URL), filepath.Join(tree.Path(), other)); err != nil {
		t.Fatal(err)
	}
	n.URL = other
	treetest.PutText(t, tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
	pin(t, tree, "a", c.Named("app").Info.Path)
	age(t, tree, 40)
	if _, err := gc.Collect(t.Context(), tree, now(), nil); err != nil {
		t.Fatal(err)
	}
	want(t, names(t, tree), []string{"app", "flat", "lib", "source"})
	age(t, tree, 5)
	if done, err := gc.Undo(t.Context(), tree, 0, []layout.StorePath{n.Path}); err != nil || len(done.Back) != 1 {
		t.Errorf("Undo = %+v, %v", done, err)
	}
	age(t, tree, 50)
	for range 2 {
		if _, err := gc.Collect(t.Context(), tree, now(), nil); err != nil {
			t.Fatal(err)
		}
		age(t, tree, 10)
	}
	if _, there, err := layout.Lookup(t.Context(), tree, layout.Key(other)); err != nil || there {
		t.Errorf("the NAR of another name: %v, %v", there, err)
	}
	want(t, names(t, tree), []string{"app", "flat", "lib", "source"})
	// A path that is pinned keeps its NAR at each key that its URL may mean.
	live := treetest.Record(t, tree, "app")
	for i, other := range []string{live.URL + "?hash=" + live.Path.Hash(), "nar/" + live.Path.Hash() + ".nar"} {
		treetest.PutText(t, tree, layout.Key(other), treetest.Contents(t, tree)[layout.Key(live.URL)])
		if i == 0 {
			live.URL = other
		}
	}
	treetest.PutText(t, tree, layout.NarInfoKey(live.Path), string(live.Marshal(layout.DefaultStoreDir)))
	age(t, tree, 40)
	if run, err := gc.Collect(t.Context(), tree, now(), nil); err != nil || run.Reclaimed.Count != 1 {
		t.Errorf("beside other keys of the same NAR: %+v, %v", run, err)
	}
	// And a path is purged whatever its NAR is called.
	if err := gc.RemovePin(t.Context(), tree, "a", 0); err != nil {
		t.Fatal(err)
	}
	done, err := gc.Take(t.Context(), tree, []layout.StorePath{live.Path}, gc.TakeOptions{Purge: true})
	if err != nil || !slices.Contains(done.Purged, layout.Key(live.URL)) {
		t.Errorf("Take = %+v, %v", done, err)
	}
	for _, key := range keys(t, tree, layout.KindNAR) {
		if strings.Contains(string(key), "?") {
			t.Errorf("%s is left", key)
		}
	}
}

// TestPieces shows that the pieces of NARs go that a server left behind, and no others.
func TestPieces(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "a", c.Named("app").Info.Path)
	old, fresh := layout.Key(layout.PiecesPrefix+"x.nar~1~a~0"), layout.Key(layout.PiecesPrefix+"x.nar~1~b~0")
	put := func(key layout.Key) {
		if err := tree.Put(t.Context(), key, layout.Bytes([]byte("x")), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put(old)
	age(t, tree, 3)
	put(fresh)
	collect(t, tree, now())
	if _, there, err := layout.Lookup(t.Context(), tree, old); there || err != nil {
		t.Errorf("the old piece is there: %v, %v", there, err)
	}
	if _, there, err := layout.Lookup(t.Context(), tree, fresh); !there || err != nil {
		t.Errorf("the fresh piece is there: %v, %v", there, err)
	}
	// The age is what the clock of the run says, as for all else.
	collect(t, tree, days(3))
	if _, there, err := layout.Lookup(t.Context(), tree, fresh); there || err != nil {
		t.Errorf("three days later the piece is there: %v, %v", there, err)
	}
}
