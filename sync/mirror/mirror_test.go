package mirror_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

func TestMirror(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	var order []layout.Kind
	m := &mirror.Mirror{Source: src, Dest: dst, Delete: true, Report: func(e mirror.Event) {
		if e.Action != mirror.ActionCopy {
			t.Errorf("%s %s: %s", e.Action, e.Key, e.Why)
		}
		order = append(order, e.Key.Kind())
	}, Progress: &mirror.Progress{}}
	mustRun(t, m)
	treetest.Equal(t, src, dst)
	whole(t, dst)
	want := []layout.Kind{layout.KindNAR, layout.KindLog, layout.KindDebugInfo, layout.KindListing, layout.KindPage,
		layout.KindNarInfo, layout.KindRealisation, layout.KindCacheInfo}
	if diff := cmp.Diff(want, slices.Compact(order)); diff != "" {
		t.Errorf("order of kinds (-want +got):\n%s", diff)
	}
	p := m.Progress
	if p.Objects.Load() != p.ObjectsDone.Load() || p.ObjectsDone.Load() != int64(len(order)) {
		t.Errorf("progress: %d of %d objects, %d events", p.ObjectsDone.Load(), p.Objects.Load(), len(order))
	}
	if p.Bytes.Load() != p.BytesDone.Load() {
		t.Errorf("progress: %d of %d bytes", p.BytesDone.Load(), p.Bytes.Load())
	}
}

// TestMirrorCounts: what each run asks of the two trees.
func TestMirrorCounts(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: src, Dest: dst, State: filepath.Join(t.TempDir(), "state")}
	check := func(what string, wantSrc, wantDst treetest.Counts) {
		t.Helper()
		mustRun(t, m)
		if diff := cmp.Diff([]treetest.Counts{wantSrc, wantDst}, []treetest.Counts{src.Counts(), dst.Counts()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		treetest.Equal(t, src, dst)
		src.Counts()
		dst.Counts()
	}
	objects := len(src.Keys())
	// The source is asked twice what it leans on. The first look ends at the first
	// difference. Each kind with long names is listed again. Each object is read once, and nix-cache-info twice. The lock
	// is put, tried twice, read twice and deleted.
	check("first run", treetest.Counts{Get: objects + 1, List: 2 + 2 + 4}, treetest.Counts{Get: 1 + 2, Put: objects + 3, Delete: 1, List: 2 + 4})
	// Versions of such trees say nothing of each other: small objects are compared
	// once, in the next run.
	mutable := 0
	for _, key := range src.Keys() {
		if !key.Kind().Immutable() {
			mutable++
		}
	}
	check("second run", treetest.Counts{Get: mutable, List: 1 + 1}, treetest.Counts{Get: mutable, List: 1})
	check("nothing to do", treetest.Counts{List: 1 + 1}, treetest.Counts{List: 1})
	treetest.PutText(t, src, "index.html", "<!doctype html>!")
	src.Counts()
	check("one page", treetest.Counts{Get: 2, List: 2 + 2}, treetest.Counts{Get: 3, Put: 4, Delete: 1, List: 2})
}

// TestMirrorMD5Counts: between object stores nothing but the listings is asked
// for, even without a memory.
func TestMirrorMD5Counts(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: md5Tree{src}, Dest: md5Tree{dst}}
	mustRun(t, m)
	src.Counts()
	dst.Counts()
	mustRun(t, m)
	want := treetest.Counts{List: 1}
	if got := []treetest.Counts{src.Counts(), dst.Counts()}; got[0] != (treetest.Counts{List: 1 + 1}) || got[1] != want {
		t.Errorf("nothing to do: %+v", got)
	}
	// From a directory, it is enough to read that.
	m.Source = src
	mustRun(t, m)
	if got := dst.Counts(); got != want {
		t.Errorf("nothing to do, from a directory: %+v", got)
	}
}

func TestMirrorDelete(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: src, Dest: dst}
	mustRun(t, m)
	treetest.Withdraw(t, src, "app")
	treetest.Withdraw(t, src, "env")
	treetest.Withdraw(t, src, "twin") // its NAR is that of source, too
	treetest.Withdraw(t, src, "lib")
	for _, key := range src.Keys() {
		if kind := key.Kind(); kind == layout.KindLog || kind == layout.KindDebugInfo || kind == layout.KindRealisation || kind == layout.KindPage {
			src.Delete(t.Context(), key)
		}
	}
	treetest.Withdraw(t, src, "lib-debug")
	before := treetest.Contents(t, dst)
	mustRun(t, m)
	if diff := cmp.Diff(before, treetest.Contents(t, dst)); diff != "" {
		t.Errorf("without Delete (-before +after):\n%s", diff)
	}
	m.Delete = true
	var planned, done []layout.Key
	for c, err := range m.Plan(t.Context()) {
		if err != nil || c.Action != mirror.ActionDelete {
			t.Fatal(c, err)
		}
		planned = append(planned, c.Key)
	}
	m.Report = func(e mirror.Event) { done = append(done, e.Key) }
	mustRun(t, m)
	treetest.Equal(t, src, dst)
	whole(t, dst)
	slices.Sort(done)
	if diff := cmp.Diff(planned, done); diff != "" {
		t.Errorf("deleted (-planned +done):\n%s", diff)
	}
}

// TestMirrorKeeps: what the destination's own narinfos lead to stays, even if
// the source lacks it.
func TestMirrorKeeps(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: src, Dest: dst, Delete: true}
	mustRun(t, m)
	// The source loses a NAR and, of another path, all but the dependents.
	lib, app := treetest.Record(t, src, "lib").Path, treetest.Record(t, src, "app").Path
	var appNAR layout.Key
	for n := range treetest.Records(t, src) {
		if n.Path == app {
			appNAR = layout.Key(n.URL)
		}
	}
	for _, key := range []layout.Key{appNAR, layout.NarInfoKey(lib), layout.ListingKey(lib)} {
		src.Damage(key, func([]byte) []byte { return nil })
	}
	before := dst.Keys()
	kept := map[layout.Key]bool{}
	m.Report = func(e mirror.Event) { kept[e.Key] = e.Action == mirror.ActionKeep }
	mustRun(t, m)
	if diff := cmp.Diff(before, dst.Keys()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if !kept[appNAR] || !kept[layout.NarInfoKey(lib)] {
		t.Errorf("kept: %v", kept)
	}
	whole(t, dst)
}

func TestMirrorMutable(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: src, Dest: dst, State: filepath.Join(t.TempDir(), "state")}
	mustRun(t, m)
	mustRun(t, m)
	// The same size and other bytes, at the source and at the destination.
	treetest.PutText(t, src, "index.html", "<!doctype HTML>")
	mustRun(t, m)
	treetest.Equal(t, src, dst)
	treetest.PutText(t, dst, "index.html", "<!doctype hTmL>")
	mustRun(t, m)
	treetest.Equal(t, src, dst)
	// A damaged NAR of another size is mended.
	for _, key := range dst.Keys() {
		if key.Kind() == layout.KindNAR {
			dst.Damage(key, func(b []byte) []byte { return b[1:] })
		}
	}
	mustRun(t, m)
	treetest.Equal(t, src, dst)
}

// TestMirrorRealisations: a client that finds a realisation asks for its path
// next. So a realisation appears after the path, goes before it, and stays away
// if the path does.
func TestMirrorRealisations(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	var order []layout.Kind
	m := &mirror.Mirror{Source: src, Dest: dst, Delete: true, Report: func(e mirror.Event) {
		if kind := e.Key.Kind(); kind == layout.KindRealisation || kind == layout.KindNarInfo {
			order = append(order, kind)
		}
	}}
	damaged := layout.NarInfoKey(treetest.Record(t, src, "source").Path) // the realisations lead there
	src.Damage(damaged, func(b []byte) []byte { return b[:10] })
	if err := m.Run(t.Context()); err == nil {
		t.Error("half a narinfo was mirrored")
	}
	for key := range treetest.Contents(t, dst) {
		if key.Kind() == layout.KindRealisation {
			t.Errorf("%s is there, and its path is not", key)
		}
	}
	m.Source = treetest.Source(t)
	mustRun(t, m)
	treetest.Equal(t, m.Source.(layout.Tree), dst)
	whole(t, dst)

	// A source that does without the path is mirrored as it is.
	empty := treetest.NewMem(nil)
	for key, text := range treetest.Contents(t, dst) {
		if key.Kind() == layout.KindCacheInfo || key.Kind() == layout.KindRealisation {
			treetest.PutText(t, empty, key, text)
		}
	}
	other := treetest.NewMem(t)
	mustRun(t, &mirror.Mirror{Source: empty, Dest: other})
	treetest.Equal(t, empty, other)

	for key := range treetest.Contents(t, empty) {
		if key.Kind() == layout.KindRealisation {
			if err := empty.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.Source, order = empty, nil
	mustRun(t, m)
	if diff := cmp.Diff([]layout.Kind{layout.KindRealisation, layout.KindNarInfo}, slices.Compact(order)); diff != "" {
		t.Errorf("order of removal (-want +got):\n%s", diff)
	}
}
