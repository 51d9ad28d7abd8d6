package layout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// planned counts how often a caller looks for the plan of a directory.
type planned struct {
	*layout.Dir
	looks atomic.Int32
}

func (p *planned) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if key == layout.PlanKey {
		p.looks.Add(1)
	}
	return p.Dir.Stat(ctx, key)
}

func (p *planned) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if key == layout.PlanKey {
		p.looks.Add(1)
	}
	return p.Dir.Get(ctx, key)
}

// TestRenewAll shows that of many paths those that are old become young, that those which
// have gone are named, and that the plan is not looked for with each.
func TestRenewAll(t *testing.T) {
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	tree := &planned{Dir: dir}
	then := time.Now().Add(-6 * time.Hour).Truncate(time.Second)
	old := func(i int) bool { return i%2 == 0 }
	gone := func(i int) bool { return i%10 == 9 || i%10 == 8 }
	listed := func(i int) bool { return i%3 > 0 }
	var paths []layout.StorePath
	file := func(i int) string {
		if listed(i) {
			return filepath.Join(dir.Path(), string(layout.ListingKey(paths[i])))
		}
		return filepath.Join(dir.Path(), string(layout.NarInfoKey(paths[i])))
	}
	for i := range 150 {
		p := layout.StorePath(fmt.Sprintf("%032d-p", i))
		paths = append(paths, p)
		keys := []layout.Key{layout.ListingKey(p)}
		if !listed(i) {
			keys = nil
		}
		if !gone(i) {
			keys = append(keys, layout.NarInfoKey(p))
		}
		for _, key := range keys {
			if err := dir.Put(t.Context(), key, layout.Bytes([]byte("text")), layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(file(i)); err == nil && old(i) {
			if err := os.Chtimes(file(i), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	if errs := layout.RenewAll(t.Context(), tree, paths); len(errs) != len(paths) || errors.Join(errs...) != nil {
		t.Errorf("in a tree that is not pruned: %v", errs)
	}
	if n := tree.looks.Swap(0); n != 1 {
		t.Errorf("the plan that is not there is looked for %d times", n)
	}
	if err := dir.Put(t.Context(), layout.PlanKey, layout.Bytes([]byte(`{"keepYoung": 36000}`)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	errs := layout.RenewAll(t.Context(), tree, paths)
	for i := range paths {
		if gone(i) {
			if !errors.Is(errs[i], layout.ErrRemoved) {
				t.Errorf("%d, which has gone: %v", i, errs[i])
			}
			continue
		}
		st, err := os.Stat(file(i))
		if errs[i] != nil || err != nil {
			t.Errorf("%d: %v, %v", i, errs[i], err)
		} else if st.ModTime().Equal(then) {
			t.Errorf("%d is still old", i)
		} else if text, err := os.ReadFile(file(i)); string(text) != "text" {
			t.Errorf("%d has other bytes: %q, %v", i, text, err)
		}
	}
	// Once for all, and twice for each time that sweepers are kept out.
	if n := tree.looks.Swap(0); n > 20 {
		t.Errorf("for %d paths the plan is looked for %d times", len(paths), n)
	}
	if err := os.WriteFile(filepath.Join(dir.Path(), string(layout.PlanKey)), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, err := range layout.RenewAll(t.Context(), tree, paths) {
		if err == nil {
			t.Errorf("%d: by a plan that cannot be read", i)
		}
	}
}
