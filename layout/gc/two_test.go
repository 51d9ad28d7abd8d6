package gc_test

import (
	"errors"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestTwoAtOnce: of two runs in a directory one is told that the other is at work, and
// changes nothing.
func TestTwoAtOnce(t *testing.T) {
	dir, c := populated(t)
	pin(t, dir, "a", c.Named("lib").Info.Path)
	var second error
	run, err := gc.Collect(t.Context(), dir, days(40), func(*gc.Plan) error {
		_, second = gc.Collect(t.Context(), treetest.OpenDir(t, dir.Path()), days(40), func(*gc.Plan) error {
			t.Error("the second run has a plan")
			return nil
		})
		return nil
	})
	if err != nil || run.Withdrawn.Count == 0 {
		t.Errorf("the first: %+v, %v", run, err)
	}
	if held := (*lock.HeldError)(nil); !errors.As(second, &held) {
		t.Errorf("the second: %v", second)
	}
	whole(t, dir)
	if _, there, err := layout.Lookup(t.Context(), dir, layout.NarInfoKey(c.Named("lib").Info.Path)); err != nil || !there {
		t.Errorf("what is pinned is there: %v, %v", there, err)
	}
}
