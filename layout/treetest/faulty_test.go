package treetest_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

var errPlanned = errors.New("planned")

// TestFaultyBatch: each object of a batch is an operation. The others of its group
// are put, unless the tree is down, and no later group is.
func TestFaultyBatch(t *testing.T) {
	key := func(i int) layout.Key { return layout.Key(fmt.Sprintf("log/%032d-x.drv", i)) }
	object := func(i int) layout.Object { return layout.Object{Key: key(i), Body: layout.Bytes([]byte("x"))} }
	for _, c := range []struct {
		fault treetest.Fault
		want  []int
		fails bool
	}{
		{treetest.Fault{}, []int{1, 2, 3, 4, 5}, false},
		{treetest.Fault{At: 2}, []int{1, 3}, true},
		{treetest.Fault{At: 2, Done: true}, []int{1, 2, 3}, true},
		{treetest.Fault{At: 2, Down: true}, []int{1}, true},
		{treetest.Fault{At: 2, Done: true, Down: true}, []int{1, 2}, true},
		{treetest.Fault{At: 4}, []int{1, 2, 3, 5}, true},
		{treetest.Fault{At: 6}, []int{1, 2, 3, 4, 5}, false},
	} {
		for name, below := range map[string]layout.Tree{"mem": treetest.NewMem(t), "dir": treetest.OpenDir(t, t.TempDir())} {
			c.fault.Err = errPlanned
			tree := &treetest.Faulty{Tree: below, Fault: c.fault}
			_, err := layout.PutBatch(t.Context(), tree, []layout.Object{object(1), object(2), object(3)}, []layout.Object{object(4), object(5)})
			if errors.Is(err, errPlanned) != c.fails {
				t.Errorf("%s, %+v: %v", name, c.fault, err)
			}
			var want, got []layout.Key
			for _, i := range c.want {
				want = append(want, key(i))
			}
			for info, err := range below.List(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, info.Key)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %+v: the tree has (-want +got):\n%s", name, c.fault, diff)
			}
		}
	}
}

// TestFaultySpool: a file of the spool fails when it is made, written or done
// with, and one that did not fail is put without being copied.
func TestFaultySpool(t *testing.T) {
	const text = "0123456789"
	for at, want := range []string{"", "create", "write", "done", "put", ""} {
		for _, done := range []bool{false, true} {
			dir := treetest.OpenDir(t, t.TempDir())
			tree := &treetest.Faulty{Tree: dir, Fault: treetest.Fault{At: at, Done: done, Err: errPlanned}}
			failed := ""
			step := func(name string, err error) bool {
				if errors.Is(err, errPlanned) {
					failed = name
				} else if err != nil {
					t.Errorf("fault at %d, %s: %v", at, name, err)
				}
				return err == nil
			}
			file, err := layout.SpoolFor(tree, "").Create()
			if step("create", err) {
				n, err := io.Copy(file, strings.NewReader(text))
				if step("write", err) && n != int64(len(text)) {
					t.Errorf("wrote %d bytes", n)
				}
				if failed == "write" && file.Size() != map[bool]int64{false: 0, true: 5}[done] {
					t.Errorf("a write that failed, happened %v, leaves %d bytes", done, file.Size())
				}
				if failed == "" && step("done", file.Done()) {
					step("put", tree.Put(t.Context(), "index.html", file, layout.PutOptions{}))
				}
				file.Discard()
			}
			if failed != want {
				t.Errorf("fault at %d: %q failed, want %q", at, failed, want)
			}
			for info, err := range dir.List(t.Context(), layout.PrivatePrefix+"staging/") {
				t.Errorf("fault at %d: %s, %v is left", at, info.Key, err)
			}
			// Had it been copied, it could still be read.
			if failed == "" {
				if _, err := file.ReadAt(make([]byte, 1), 0); err == nil {
					t.Error("the tree copied a file of its own")
				}
			}
		}
	}
}

// TestFaultyRange: of a range half the bytes arrive, of a flush the answer is lost.
func TestFaultyRange(t *testing.T) {
	mem := treetest.NewMem(t)
	mem.Like = layout.Traits{Batches: true, Folders: true}
	treetest.PutText(t, mem, "index.html", "0123456789")
	info, err := mem.Stat(t.Context(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	faulty := func(done bool) *treetest.Faulty {
		return &treetest.Faulty{Tree: mem, Fault: treetest.Fault{At: 1, Done: done, Err: errPlanned}}
	}
	if diff := cmp.Diff(mem.Like, layout.TraitsOf(faulty(false))); diff != "" {
		t.Errorf("traits (-want +got):\n%s", diff)
	}
	if _, err := layout.OpenRange(t.Context(), faulty(false), info, 2, 8); !errors.Is(err, errPlanned) {
		t.Errorf("a range that fails: %v", err)
	}
	body, err := layout.OpenRange(t.Context(), faulty(true), info, 2, 8)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(body); string(text) != "234" || !errors.Is(err, errPlanned) {
		t.Errorf("a range that breaks off: %q, %v", text, err)
	}
	for _, done := range []bool{false, true} {
		if err := layout.Flush(t.Context(), faulty(done), "index.html"); !errors.Is(err, errPlanned) {
			t.Errorf("a flush that fails: %v", err)
		}
		for _, err := range layout.ListTop(t.Context(), faulty(done)) {
			if !errors.Is(err, errPlanned) {
				t.Errorf("a listing of the top that fails: %v", err)
			}
		}
	}
}

// TestFaultyDeleteBatch: each key is an operation, and after a group with a fault nothing
// more goes.
func TestFaultyDeleteBatch(t *testing.T) {
	key := func(i int) layout.Key { return layout.Key(fmt.Sprintf("log/%032d-x.drv", i)) }
	for _, c := range []struct {
		fault treetest.Fault
		stays []layout.Key
	}{
		{treetest.Fault{At: 1}, []layout.Key{key(1), key(3), key(4)}},
		{treetest.Fault{At: 1, Done: true}, []layout.Key{key(3), key(4)}},
		{treetest.Fault{At: 2, Down: true}, []layout.Key{key(2), key(3), key(4)}},
		{treetest.Fault{At: 4}, []layout.Key{key(4)}},
	} {
		dir := treetest.OpenDir(t, t.TempDir())
		for i := 1; i <= 4; i++ {
			treetest.PutText(t, dir, key(i), "x")
		}
		c.fault.Err = errPlanned
		tree := &treetest.Faulty{Tree: dir, Fault: c.fault}
		if err := layout.DeleteBatch(t.Context(), tree, []layout.Key{key(1), key(2)}, []layout.Key{key(3)}, []layout.Key{key(4)}); !errors.Is(err, errPlanned) {
			t.Errorf("%+v: %v", c.fault, err)
		}
		var stays []layout.Key
		for info, err := range dir.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			stays = append(stays, info.Key)
		}
		if diff := cmp.Diff(c.stays, stays); diff != "" {
			t.Errorf("%+v: the tree has (-want +got):\n%s", c.fault, diff)
		}
	}
}

// TestFaultyAbilities: a tree that fails can do what the tree below it can, no more and
// no less, and fails there.
func TestFaultyAbilities(t *testing.T) {
	mem, dir := treetest.NewMem(t), treetest.OpenDir(t, t.TempDir())
	treetest.PutText(t, dir, "index.html", "x")
	info, err := dir.Stat(t.Context(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tree layout.Tree
		can  bool
	}{{mem, false}, {dir, true}} {
		whole := &treetest.Faulty{Tree: c.tree}
		if layout.CanSweep(whole) != c.can || layout.IsFenced(whole) || !layout.IsTree(whole) {
			t.Errorf("%T: it can sweep: %v, has a fence: %v, is a tree: %v", c.tree, layout.CanSweep(whole), layout.IsFenced(whole), layout.IsTree(whole))
		}
		if _, err := layout.Missing(t.Context(), whole, nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%T: Missing: %v", c.tree, err)
		}
		if _, ok := layout.SumOf(whole, "index.html", nil); ok {
			t.Errorf("%T: it tells sums", c.tree)
		}
	}
	broken := func() *treetest.Faulty {
		return &treetest.Faulty{Tree: dir, Fault: treetest.Fault{At: 1, Err: errPlanned}}
	}
	if _, err := layout.Exclude(t.Context(), broken()); !errors.Is(err, errPlanned) {
		t.Errorf("a gate that fails: %v", err)
	}
	if _, err := layout.Rely(t.Context(), broken(), layout.Sight{}); !errors.Is(err, errPlanned) {
		t.Errorf("a gate that fails for a writer: %v", err)
	}
	if err := layout.Copy(t.Context(), broken(), info, "404.html"); !errors.Is(err, errPlanned) {
		t.Errorf("a copy that fails: %v", err)
	}
	if err := layout.Touch(broken(), "index.html"); !errors.Is(err, errPlanned) {
		t.Errorf("a touch that fails: %v", err)
	}
	for _, err := range layout.NarInfoKeys(t.Context(), broken()) {
		if !errors.Is(err, errPlanned) {
			t.Errorf("a listing of narinfos that fails: %v", err)
		}
	}
	if _, err := dir.Stat(t.Context(), "404.html"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy that failed: %v", err)
	}
}
