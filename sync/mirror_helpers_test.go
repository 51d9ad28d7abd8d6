package sync_test

import (
	"context"
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
