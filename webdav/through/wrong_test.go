package through

import (
	"context"
	"io"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// Wrong bytes never come to an end for a reader, and leave nothing in the tree. Then the
// next upstream is asked.
func TestWrongBytes(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"one bit":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"last bit": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut off":  func(b []byte) []byte { return b[:len(b)-100] },
		"longer":   func(b []byte) []byte { return append(b, 0) },
		"a page":   func([]byte) []byte { return []byte("<!doctype html><title>Log in</title>") },
		"nothing":  func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newCache(t, "up-1"), newCache(t, "up-2")
			first.set(onNARs(func(_ context.Context, body io.ReadCloser) (io.ReadCloser, error) { return changed(body, change) }))
			alone := newTrial(t, first)
			app := treetest.Closure(t).Named("app").Info.Path
			n := alone.record(t, app)
			if status, text, err := alone.get(t, n.URL); status == 200 && err == nil {
				t.Errorf("a reader got %d wrong bytes as a whole", len(text))
			}
			alone.nothing(t, app)
			if alone.counted.of(Wrong) != 1 {
				t.Errorf("counted: %v", alone.counted.all)
			}

			tr := newTrial(t, first, second)
			n = tr.record(t, app)
			right, _, err := second.Tree.Get(t.Context(), urlKey(n))
			if err != nil {
				t.Fatal(err)
			}
			defer right.Close()
			want, err := io.ReadAll(right)
			if err != nil {
				t.Fatal(err)
			}
			if status, text, err := tr.get(t, n.URL); status == 200 && err == nil && text != string(want) {
				t.Errorf("a reader got %d wrong bytes as a whole", len(text))
			}
			if tr.counted.of(Wrong) != 1 {
				t.Errorf("counted: %v", tr.counted.all)
			}
			// A reader goes on where it broke off.
			if status, rest, err := tr.get(t, n.URL, "Range", "bytes=1000-"); status != 206 || err != nil || int64(len(rest)) != n.FileSize-1000 {
				t.Errorf("from the second upstream: %d, %d bytes, %v", status, len(rest), err)
			}
			tr.settled(t)
			if !tr.has(t, layout.NarInfoKey(app)) {
				t.Error("the path was not published")
			}
		})
	}
}

// A record whose NAR is gone is as good as none, for a while.
func TestOldRecord(t *testing.T) {
	up := newCache(t, "up-1")
	up.set(onNARs(absentNAR))
	tr := newTrial(t, up)
	app := treetest.Closure(t).Named("app").Info.Path
	n := tr.record(t, app)
	if status, _, _ := tr.get(t, n.URL); status != 404 {
		t.Errorf("the NAR: status %d", status)
	}
	if status, _, _ := tr.get(t, string(layout.NarInfoKey(app))); status != 404 {
		t.Errorf("the narinfo after that: status %d", status)
	}
	tr.nothing(t, app)
}

// A NAR of a consistent record that is not the one that was signed.
func TestOtherNAR(t *testing.T) {
	up := newCache(t, "up-1")
	app, lib := treetest.Record(t, up.Tree, "app"), treetest.Record(t, up.Tree, "lib")
	app.URL, app.FileHash, app.FileSize = lib.URL, lib.FileHash, lib.FileSize
	treetest.PutText(t, up.Tree, layout.NarInfoKey(app.Path), string(app.Marshal(layout.DefaultStoreDir)))
	tr := newTrial(t, up)
	n := tr.record(t, app.Path)
	if status, _, err := tr.get(t, n.URL); status == 200 && err == nil {
		t.Error("a reader got another NAR")
	}
	tr.nothing(t, app.Path)
}

// An upstream may leave out what its file hashes to.
func TestUnnamedFile(t *testing.T) {
	up := newCache(t, "up-1")
	was := treetest.Record(t, up.Tree, "app")
	bare := *was
	bare.FileHash, bare.FileSize = layout.Hash{}, 0
	treetest.PutText(t, up.Tree, layout.NarInfoKey(bare.Path), string(bare.Marshal(layout.DefaultStoreDir)))
	tr := newTrial(t, up)
	n := tr.record(t, bare.Path)
	for range 2 { // while it comes, and from the tree
		status, text, err := tr.get(t, n.URL)
		if status != 200 || err != nil || int64(len(text)) != was.FileSize {
			t.Errorf("%s: %d, %d bytes, %v", n.URL, status, len(text), err)
		}
		tr.settled(t)
	}
	if got := treetest.Record(t, tr.tree, "app"); got.URL != was.URL || got.FileHash != was.FileHash {
		t.Errorf("the tree has\n%s", got.Marshal(layout.DefaultStoreDir))
	}
	if up.nars() != 1 {
		t.Errorf("%d fetches", up.nars())
	}
}
