package treetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// testNarInfoKeys: the keys of the narinfos are those that List has.
func testNarInfoKeys(t *testing.T, tree layout.Tree) {
	fill(t, tree)
	Populate(t, tree)
	var want, got []layout.Key
	for _, key := range list(t, tree, "") {
		if key.Kind() == layout.KindNarInfo {
			want = append(want, key)
		}
	}
	for key, err := range layout.NarInfoKeys(t.Context(), tree) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("NarInfoKeys (-want +got):\n%s", diff)
	}
}

// testCopy: the same version is at another key, unless that is taken or the version has gone.
func testCopy(t *testing.T, tree layout.Tree) {
	data := pattern(70_000)
	key, to := narKey(data), layout.QuarantineKey(narKey(data), 0)
	put(t, tree, key, data, layout.PutOptions{})
	from, err := tree.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := layout.Copy(t.Context(), tree, from, to); err != nil {
		t.Fatal(err)
	}
	if err := layout.Copy(t.Context(), tree, from, to); !errors.Is(err, fs.ErrExist) && !errors.Is(err, layout.ErrChanged) {
		t.Errorf("Copy to a key that is taken: %v", err) // in a directory a second name is another version
	}
	if err := tree.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	want(t, tree, to, data)

	put(t, tree, page, []byte("the old one"), layout.PutOptions{})
	old, err := tree.Stat(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	put(t, tree, page, []byte("the new one"), layout.PutOptions{})
	if err := layout.Copy(t.Context(), tree, old, layout.QuarantineKey(page, 0)); !errors.Is(err, layout.ErrChanged) {
		t.Errorf("Copy of a version that was replaced: %v, want layout.ErrChanged", err)
	}
	wantAbsent(t, tree, layout.QuarantineKey(page, 0))
	if err := layout.Copy(t.Context(), tree, from, key); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, layout.ErrChanged) {
		t.Errorf("Copy of a version that was deleted: %v", err)
	}
}

// testDeleteBatch: what is named goes, what is absent is passed over, the rest stays.
func testDeleteBatch(t *testing.T, tree layout.Tree) {
	for i := range 5 {
		put(t, tree, logKey(i), []byte("x"), layout.PutOptions{})
	}
	groups := [][]layout.Key{{logKey(0), logKey(9)}, nil, {logKey(2), logKey(0)}, {logKey(4)}}
	for range 2 {
		if err := layout.DeleteBatch(t.Context(), tree, groups...); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]layout.Key{logKey(1), logKey(3)}, list(t, tree, "")); diff != "" {
			t.Errorf("DeleteBatch leaves (-want +got):\n%s", diff)
		}
	}
}
