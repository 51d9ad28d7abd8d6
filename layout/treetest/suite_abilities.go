package treetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

func testOpenRange(t *testing.T, tree layout.Tree) {
	data := pattern(100_000)
	key := narKey(data)
	put(t, tree, key, data, layout.PutOptions{})
	info, err := tree.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to int64 }{{0, 1}, {0, 100_000}, {5, 10}, {99_999, 100_000}, {7, 7}, {100_000, 100_000}} {
		body, err := layout.OpenRange(t.Context(), tree, info, c.from, c.to)
		if err != nil {
			t.Fatalf("[%d, %d): %v", c.from, c.to, err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("[%d, %d): %d bytes, %v", c.from, c.to, len(got), err)
		}
	}
	for _, c := range []struct{ from, to int64 }{{-1, 5}, {5, 4}, {0, 100_001}} {
		if body, err := layout.OpenRange(t.Context(), tree, info, c.from, c.to); err == nil {
			body.Close()
			t.Errorf("[%d, %d) can be opened", c.from, c.to)
		}
	}

	put(t, tree, page, []byte("the old one"), layout.PutOptions{})
	old, err := tree.Stat(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	put(t, tree, page, []byte("the new one"), layout.PutOptions{})
	if _, err := layout.OpenRange(t.Context(), tree, old, 4, 7); !errors.Is(err, layout.ErrChanged) {
		t.Errorf("a range of a version that was replaced: %v, want layout.ErrChanged", err)
	}
	if err := tree.Delete(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	if _, err := layout.OpenRange(t.Context(), tree, old, 4, 7); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, layout.ErrChanged) {
		t.Errorf("a range of a version that was deleted: %v", err)
	}
}

func testFlush(t *testing.T, tree layout.Tree) {
	keys := []layout.Key{page, logKey(1), narKey(nil)}
	for range 2 { // while nothing is there, and then
		if err := layout.Flush(t.Context(), tree, keys...); err != nil {
			t.Errorf("Flush of keys: %v", err)
		}
		if err := layout.Flush(t.Context(), tree); err != nil {
			t.Errorf("Flush of names: %v", err)
		}
		for _, key := range keys {
			put(t, tree, key, nil, layout.PutOptions{})
		}
	}
	if got := list(t, tree, ""); len(got) != len(keys) {
		t.Errorf("after Flush the tree has %v", got)
	}
}
