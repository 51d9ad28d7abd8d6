package sync_test

import (
	"context"
	"testing"

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
		treetest.PutText(t, tree, key, text)
	}
	r := layout.Realisation{OutPath: treetest.Record(t, tree, "source").Path, Output: "out", DrvPath: layout.StorePath(drv)}
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
