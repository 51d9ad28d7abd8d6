package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	treesync "github.com/nixstatic/nixstatic/sync"
)

// source is a cache with one of everything.
func source(t *testing.T) *treetest.Mem {
	t.Helper()
	tree := treetest.NewMem(t)
	treetest.Populate(t, tree)
	drv := "dddddddddddddddddddddddddddddddd-x.drv"
	for key, text := range map[layout.Key]string{
		layout.Key("log/" + drv): "it was built\n",
		"index.html":             "<!doctype html>",
	} {
		put(t, tree, key, text)
	}
	r := layout.Realisation{OutPath: path(t, tree, "source"), Output: "out", DrvPath: layout.StorePath(drv)}
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.PutBatch(t.Context(), tree, objects); err != nil {
		t.Fatal(err)
	}
	tree.Counts()
	return tree
}

func put(t *testing.T, tree layout.Tree, key layout.Key, text string) {
	t.Helper()
	if err := tree.Put(t.Context(), key, layout.Bytes([]byte(text)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func path(t *testing.T, tree layout.Tree, name string) layout.StorePath {
	t.Helper()
	for n := range records(t, tree) {
		if n.Path.Name() == name {
			return n.Path
		}
	}
	t.Fatalf("no path %s", name)
	return ""
}

// records yields the narinfos of a tree.
func records(t *testing.T, tree layout.Tree) func(func(*layout.NarInfo) bool) {
	return func(yield func(*layout.NarInfo) bool) {
		for info, err := range tree.List(context.Background(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if info.Key.Kind() != layout.KindNarInfo {
				continue
			}
			text, err := layout.ReadAll(context.Background(), tree, info.Key, layout.MaxNarInfo)
			if err != nil {
				t.Fatal(err)
			}
			n, err := layout.ParseNarInfo(text, "")
			if err != nil {
				t.Fatal(err)
			}
			if !yield(n) {
				return
			}
		}
	}
}

// contents returns what a tree has, without private keys.
func contents(t *testing.T, tree layout.Tree) map[layout.Key]string {
	t.Helper()
	all := map[layout.Key]string{}
	for info, err := range tree.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		text, err := layout.ReadAll(context.Background(), tree, info.Key, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		all[info.Key] = string(text)
	}
	return all
}

func equal(t *testing.T, src, dst layout.Tree) {
	t.Helper()
	if diff := cmp.Diff(contents(t, src), contents(t, dst)); diff != "" {
		t.Errorf("the trees differ (-source +destination):\n%s", diff)
	}
}

func whole(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(context.Background(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

func mustRun(t *testing.T, m *treesync.Mirror) {
	t.Helper()
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func openDir(t *testing.T, name string) *layout.Dir {
	t.Helper()
	dir, err := layout.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// withdraw removes a path from a tree as a garbage collection does.
func withdraw(t *testing.T, tree layout.Tree, name string) {
	t.Helper()
	p := path(t, tree, name)
	var n *layout.NarInfo
	shared := false
	for r := range records(t, tree) {
		if r.Path == p {
			n = r
		}
	}
	for r := range records(t, tree) {
		shared = shared || r.Path != p && r.URL == n.URL
	}
	keys := []layout.Key{layout.NarInfoKey(p), layout.ListingKey(p), layout.Key(n.URL)}
	if shared {
		keys = keys[:2]
	}
	for _, key := range keys {
		if err := tree.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMirror(t *testing.T) {
	src, dst := source(t), treetest.NewMem(t)
	var order []layout.Kind
	m := &treesync.Mirror{Source: src, Dest: dst, Delete: true, Report: func(e treesync.MirrorEvent) {
		if e.Action != treesync.ActionCopy {
			t.Errorf("%s %s: %v", e.Action, e.Key, e.Err)
		}
		order = append(order, e.Key.Kind())
	}, Progress: &treesync.MirrorProgress{}}
	mustRun(t, m)
	equal(t, src, dst)
	whole(t, dst)
	want := []layout.Kind{layout.KindNAR, layout.KindLog, layout.KindDebugInfo, layout.KindListing, layout.KindPage,
		layout.KindRealisation, layout.KindNarInfo, layout.KindCacheInfo}
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
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: src, Dest: dst, State: filepath.Join(t.TempDir(), "state")}
	check := func(what string, wantSrc, wantDst treetest.Counts) {
		t.Helper()
		mustRun(t, m)
		if diff := cmp.Diff([]treetest.Counts{wantSrc, wantDst}, []treetest.Counts{src.Counts(), dst.Counts()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		equal(t, src, dst)
		src.Counts()
		dst.Counts()
	}
	objects := len(src.Keys())
	// The first look ends at the first difference. Each kind with long names is
	// listed again. Each object is read once, and nix-cache-info twice. The lock
	// is put, tried twice, read twice and deleted.
	check("first run", treetest.Counts{Get: objects + 1, List: 2 + 4}, treetest.Counts{Get: 1 + 2, Put: objects + 3, Delete: 1, List: 2 + 4})
	// Versions of such trees say nothing of each other: small objects are compared
	// once, in the next run.
	mutable := 0
	for _, key := range src.Keys() {
		if !key.Kind().Immutable() {
			mutable++
		}
	}
	check("second run", treetest.Counts{Get: mutable, List: 1}, treetest.Counts{Get: mutable, List: 1})
	check("nothing to do", treetest.Counts{List: 1}, treetest.Counts{List: 1})
	put(t, src, "index.html", "<!doctype html>!")
	src.Counts()
	check("one page", treetest.Counts{Get: 2, List: 2}, treetest.Counts{Get: 3, Put: 4, Delete: 1, List: 2})
}

// TestMirrorMD5Counts: between object stores nothing but the listings is asked
// for, even without a memory.
func TestMirrorMD5Counts(t *testing.T) {
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: md5Tree{src}, Dest: md5Tree{dst}}
	mustRun(t, m)
	src.Counts()
	dst.Counts()
	mustRun(t, m)
	want := treetest.Counts{List: 1}
	if got := []treetest.Counts{src.Counts(), dst.Counts()}; got[0] != want || got[1] != want {
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
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: src, Dest: dst}
	mustRun(t, m)
	withdraw(t, src, "app")
	withdraw(t, src, "env")
	withdraw(t, src, "twin") // its NAR is that of source, too
	withdraw(t, src, "lib")
	for _, key := range src.Keys() {
		if kind := key.Kind(); kind == layout.KindLog || kind == layout.KindDebugInfo || kind == layout.KindRealisation || kind == layout.KindPage {
			src.Delete(t.Context(), key)
		}
	}
	withdraw(t, src, "lib-debug")
	before := contents(t, dst)
	mustRun(t, m)
	if diff := cmp.Diff(before, contents(t, dst)); diff != "" {
		t.Errorf("without Delete (-before +after):\n%s", diff)
	}
	m.Delete = true
	var planned, done []layout.Key
	for c, err := range m.Plan(t.Context()) {
		if err != nil || c.Action != treesync.ActionDelete {
			t.Fatal(c, err)
		}
		planned = append(planned, c.Key)
	}
	m.Report = func(e treesync.MirrorEvent) { done = append(done, e.Key) }
	mustRun(t, m)
	equal(t, src, dst)
	whole(t, dst)
	slices.Sort(done)
	if diff := cmp.Diff(planned, done); diff != "" {
		t.Errorf("deleted (-planned +done):\n%s", diff)
	}
}

// TestMirrorKeeps: what the destination's own narinfos lead to stays, even if
// the source lacks it.
func TestMirrorKeeps(t *testing.T) {
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: src, Dest: dst, Delete: true}
	mustRun(t, m)
	// The source loses a NAR and, of another path, all but the dependents.
	lib, app := path(t, src, "lib"), path(t, src, "app")
	var appNAR layout.Key
	for n := range records(t, src) {
		if n.Path == app {
			appNAR = layout.Key(n.URL)
		}
	}
	for _, key := range []layout.Key{appNAR, layout.NarInfoKey(lib), layout.ListingKey(lib)} {
		src.Damage(key, func([]byte) []byte { return nil })
	}
	before := dst.Keys()
	kept := map[layout.Key]bool{}
	m.Report = func(e treesync.MirrorEvent) { kept[e.Key] = e.Action == treesync.ActionKeep }
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
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: src, Dest: dst, State: filepath.Join(t.TempDir(), "state")}
	mustRun(t, m)
	mustRun(t, m)
	// The same size and other bytes, at the source and at the destination.
	put(t, src, "index.html", "<!doctype HTML>")
	mustRun(t, m)
	equal(t, src, dst)
	put(t, dst, "index.html", "<!doctype hTmL>")
	mustRun(t, m)
	equal(t, src, dst)
	// A damaged NAR of another size is mended.
	for _, key := range dst.Keys() {
		if key.Kind() == layout.KindNAR {
			dst.Damage(key, func(b []byte) []byte { return b[1:] })
		}
	}
	mustRun(t, m)
	equal(t, src, dst)
}

func TestMirrorKinds(t *testing.T) {
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: src, Dest: dst, Kinds: []layout.Kind{layout.KindNarInfo, layout.KindListing}}
	err := m.Run(t.Context())
	incomplete := (*treesync.IncompleteError)(nil)
	if !errors.As(err, &incomplete) || incomplete.Count != 9 {
		t.Errorf("narinfos without NARs: %v", err)
	}
	m.Kinds = []layout.Kind{layout.KindNAR}
	mustRun(t, m)
	m.Kinds = []layout.Kind{layout.KindNarInfo}
	mustRun(t, m)
	for _, key := range dst.Keys() {
		if kind := key.Kind(); kind != layout.KindNAR && kind != layout.KindListing && kind != layout.KindNarInfo {
			t.Errorf("there is %s", key)
		}
	}
}

// TestMirrorBadSource: what is wrong in the source is left out, with all that
// needs it, and nothing else.
func TestMirrorBadSource(t *testing.T) {
	nar := func(t *testing.T, src layout.Tree, name string) layout.Key {
		for n := range records(t, src) {
			if n.Path.Name() == name {
				return layout.Key(n.URL)
			}
		}
		t.Fatal(name)
		return ""
	}
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	gone := func([]byte) []byte { return nil }
	info := func(name string) func(*testing.T, layout.Tree) layout.Key {
		return func(t *testing.T, src layout.Tree) layout.Key { return layout.NarInfoKey(path(t, src, name)) }
	}
	narOf := func(name string) func(*testing.T, layout.Tree) layout.Key {
		return func(t *testing.T, src layout.Tree) layout.Key { return nar(t, src, name) }
	}
	for _, c := range []struct {
		name string
		key  func(*testing.T, layout.Tree) layout.Key
		edit func([]byte) []byte
		says string
		lost []string // paths
	}{
		{"a NAR is damaged", narOf("lib"), flip, "which is not its name", []string{"lib", "env", "app"}},
		{"a NAR is cut off", narOf("flat"), cut, "which is not its name", []string{"flat", "app"}},
		{"a NAR is gone", narOf("app"), gone, "which the source does not have", []string{"app"}},
		{"a NAR of two paths is gone", narOf("twin"), gone, "which the source does not have", []string{"twin", "source", "lib", "env", "app"}},
		{"a narinfo is cut off", info("lib"), cut, "cut off", []string{"lib", "env", "app"}},
		{"a narinfo is empty", info("app"), func([]byte) []byte { return []byte{} }, "no StorePath", []string{"app"}},
		{"a reference is gone", info("lib"), gone, "which the source does not have", []string{"lib", "env", "app"}},
		{"a listing is gone", func(t *testing.T, src layout.Tree) layout.Key { return layout.ListingKey(path(t, src, "app")) }, gone, "", nil},
		{"a listing is damaged", func(t *testing.T, src layout.Tree) layout.Key { return layout.ListingKey(path(t, src, "app")) }, cut, "parse listing", nil},
		{"nix-cache-info is gone", func(*testing.T, layout.Tree) layout.Key { return layout.CacheInfoKey }, gone, "no binary cache", []string{"all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := source(t)
			dst := treetest.NewMem(nil)
			all := map[string]bool{}
			for n := range records(t, src) {
				all[n.Path.Name()] = true
			}
			src.Damage(c.key(t, src), c.edit)
			m := &treesync.Mirror{Source: src, Dest: dst}
			err := m.Run(t.Context())
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("Run: %v", err)
			}
			if slices.Equal(c.lost, []string{"all"}) {
				if len(dst.Keys()) > 0 {
					t.Errorf("there is %v", dst.Keys())
				}
				return
			}
			for n := range records(t, dst) {
				delete(all, n.Path.Name())
			}
			for _, name := range c.lost {
				if !all[name] {
					t.Errorf("%s is there", name)
				}
				delete(all, name)
			}
			if len(all) > 0 {
				t.Errorf("not there: %v", all)
			}
			for _, v := range dst.Violations() {
				if !strings.Contains(v, "before its listing") || len(c.lost) > 0 {
					t.Error(v)
				}
			}
		})
	}
}

func TestMirrorRefuses(t *testing.T) {
	src, dst := source(t), treetest.NewMem(t)
	put(t, dst, layout.CacheInfoKey, "StoreDir: /gnu/store\n")
	before := dst.Keys()
	err := (&treesync.Mirror{Source: src, Dest: dst}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/gnu/store") {
		t.Errorf("another store directory: %v", err)
	}
	if !slices.Equal(before, dst.Keys()) {
		t.Errorf("there is %v", dst.Keys())
	}
	// An empty directory, such as a mount point, empties nothing.
	err = (&treesync.Mirror{Source: treetest.NewMem(t), Dest: src, Delete: true}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no binary cache") {
		t.Errorf("an empty source: %v", err)
	}
	for range (&treesync.Mirror{Source: unsorted{src}, Dest: dst}).Plan(t.Context()) {
		continue
	}
	for _, err := range (&treesync.Mirror{Source: unsorted{src}, Dest: dst}).Plan(t.Context()) {
		if err != nil {
			return
		}
	}
	t.Error("a listing out of order was taken")
}

func TestMirrorDirs(t *testing.T) {
	mem := source(t)
	base := t.TempDir()
	a, b := openDir(t, base+"/a"), openDir(t, base+"/b")
	state := filepath.Join(base, "state")
	mustRun(t, &treesync.Mirror{Source: mem, Dest: a})
	m := &treesync.Mirror{Source: a, Dest: b, Delete: true, State: state}
	mustRun(t, m)
	equal(t, mem, b)
	whole(t, b)
	mustRun(t, m)
	withdraw(t, a, "app")
	mustRun(t, m)
	equal(t, a, b)
	whole(t, b)
	if _, err := b.Stat(t.Context(), layout.NarInfoKey(path(t, mem, "app"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("app is still there: %v", err)
	}
	// Back into memory, which polices.
	mustRun(t, &treesync.Mirror{Source: b, Dest: treetest.NewMem(t), Bandwidth: 100e6})
}

func TestMirrorKeys(t *testing.T) {
	src, dst := source(t), treetest.NewMem(t)
	m := &treesync.Mirror{Source: src, Dest: dst}
	mustRun(t, m)
	lib := path(t, src, "lib")
	for _, name := range []string{"app", "env"} {
		withdraw(t, dst, name)
	}
	withdraw(t, dst, "lib")
	var keys []layout.Key
	for n := range records(t, src) {
		if n.Path == lib {
			keys = append(keys, layout.NarInfoKey(lib), layout.ListingKey(lib), layout.Key(n.URL), "log/none", ".nixstatic/x")
		}
	}
	src.Counts()
	dst.Counts()
	if err := m.RunKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	if n := src.Counts().List + dst.Counts().List; n > 0 {
		t.Errorf("%d lists", n)
	}
	want(t, dst, layout.NarInfoKey(lib))
	// Without what it needs a path is left to a whole run.
	err := m.RunKeys(t.Context(), []layout.Key{layout.NarInfoKey(path(t, src, "app"))})
	if err == nil || !strings.Contains(err.Error(), "not at the destination yet") {
		t.Errorf("app alone: %v", err)
	}
	mustRun(t, m)
	equal(t, src, dst)
}

func want(t *testing.T, tree layout.Tree, key layout.Key) {
	t.Helper()
	if _, err := tree.Stat(t.Context(), key); err != nil {
		t.Error(err)
	}
}

func ExampleMirror() {
	src, err := layout.OpenDir("./cache")
	if err != nil {
		panic(err)
	}
	dst, err := layout.OpenDir("./copy")
	if err != nil {
		panic(err)
	}
	m := &treesync.Mirror{Source: src, Dest: dst, Delete: true}
	for change, err := range m.Plan(context.Background()) {
		fmt.Println(change.Action, change.Key, err)
	}
	if err := m.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
}
