package gc_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestClosed shows that only a mirror writes to a tree that it owns: writers that
// looked at the tree before are refused too, and each owner refuses the tree of the other.
func TestClosed(t *testing.T) {
	tree, c := populated(t)
	lib := c.Named("lib")
	seen, err := layout.Look(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := gc.Close(t.Context(), tree); err != nil {
			t.Fatal(err)
		}
	}
	before := treetest.Contents(t, tree)
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Method: "none"}
	packed, err := w.Pack(t.Context(), &lib.Info, func(out io.Writer) error { _, err := out.Write(lib.NAR); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Discard()
	for what, write := range map[string]func() error{
		"a look": func() error { _, err := layout.Look(t.Context(), tree); return err },
		"an export": func() error {
			return w.Add(t.Context(), []layout.Item{{Info: lib.Info, Packed: packed, Seen: seen}})
		},
		"a pin": func() error {
			_, err := gc.Set(t.Context(), tree, gc.PinChange{Name: "a", Paths: []layout.StorePath{lib.Info.Path}})
			return err
		},
		"gc":      func() error { _, err := gc.Collect(t.Context(), tree, days(40), nil); return err },
		"gc -n":   func() error { _, err := gc.Preview(t.Context(), tree, days(40)); return err },
		"rm":      func() error { _, err := gc.Take(t.Context(), tree, nil, gc.TakeOptions{}); return err },
		"gc undo": func() error { _, err := gc.Undo(t.Context(), tree, 0, nil); return err },
	} {
		if err := write(); !errors.Is(err, layout.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	want(t, treetest.Contents(t, tree), before)
	if err := gc.Open(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	pin(t, tree, "a", lib.Info.Path)
	if err := gc.Close(t.Context(), tree); !errors.Is(err, gc.ErrPruned) {
		t.Errorf("a mirror to a tree that is pruned: %v", err)
	}
}

// A skewed tree is on a machine whose clock is off.
type skewed struct {
	*layout.Dir
	by time.Duration
}

func (s skewed) shift(info layout.Info) layout.Info {
	info.ModTime = info.ModTime.Add(s.by)
	return info
}

func (s skewed) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	info, err := s.Dir.Stat(ctx, key)
	return s.shift(info), err
}

func (s skewed) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		for info, err := range s.Dir.List(ctx, prefix) {
			if !yield(s.shift(info), err) {
				return
			}
		}
	}
}

// TestClocks shows that a run removes nothing where its clock and that of the tree
// are apart, whichever is ahead; and that a few minutes do not matter.
func TestClocks(t *testing.T) {
	for _, by := range []time.Duration{-48 * time.Hour, -time.Hour, -5 * time.Minute, 5 * time.Minute, time.Hour, 48 * time.Hour} {
		dir, c := populated(t)
		pin(t, dir, "a", c.Named("app").Info.Path)
		o := now()
		o.Grace = time.Hour
		age(t, dir, 90)
		collect(t, dir, o) // the docket has all that is dead
		o.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		run, err := gc.Collect(t.Context(), skewed{dir, by}, o, nil)
		if wrong := errors.As(err, new(*gc.ClockError)); wrong != (by.Abs() > 15*time.Minute) || !wrong && err != nil {
			t.Errorf("%v apart: %v", by, err)
		}
		if there := len(names(t, dir)); (err == nil) != (there == 4) || run.Withdrawn.Count != int64(9-there) {
			t.Errorf("%v apart: %d paths are left, and %+v was done", by, there, run)
		}
	}
}
