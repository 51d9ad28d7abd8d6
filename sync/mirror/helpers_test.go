package mirror_test

import (
	"context"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

func whole(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(context.Background(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

func mustRun(t *testing.T, m *mirror.Mirror) {
	t.Helper()
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
