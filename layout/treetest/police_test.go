package treetest_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestPolice takes each step that breaks an invariant: the tree notices.
func TestPolice(t *testing.T) {
	whole := treetest.NewMem(t)
	closure := treetest.Populate(t, whole)
	lib, app := closure.Named("lib").Info.Path, closure.Named("app").Info.Path
	text := func(key layout.Key) []byte {
		b, err := layout.ReadAll(t.Context(), whole, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	record, err := layout.ParseNarInfo(text(layout.NarInfoKey(lib)), "")
	if err != nil {
		t.Fatal(err)
	}
	nar := layout.Key(record.URL)
	gone := func(m *treetest.Mem, key layout.Key) { m.Damage(key, func([]byte) []byte { return nil }) }
	put := func(m *treetest.Mem, key layout.Key, b []byte) {
		if err := m.Put(t.Context(), key, layout.Bytes(b), layout.PutOptions{}); err != nil {
			t.Error(err)
		}
	}
	del := func(m *treetest.Mem, key layout.Key) {
		if err := m.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name string
		step func(m *treetest.Mem)
		rule string // "" for a step that is all right
	}{
		{"the same NAR again", func(m *treetest.Mem) { put(m, nar, text(nar)) }, ""},
		{"a NAR that mends a damaged one", func(m *treetest.Mem) {
			m.Damage(nar, func(b []byte) []byte { return b[1:] })
			put(m, nar, text(nar))
		}, ""},
		{"another NAR of the name", func(m *treetest.Mem) { put(m, nar, []byte("x")) }, "I4"},
		{"a NAR of the wrong name", func(m *treetest.Mem) { gone(m, nar); put(m, nar, []byte("x")) }, "I1"},
		{"a record cut off", func(m *treetest.Mem) { put(m, layout.NarInfoKey(lib), text(layout.NarInfoKey(lib))[1:]) }, "I1"},
		{"a record of another path", func(m *treetest.Mem) { put(m, layout.NarInfoKey(lib), text(layout.NarInfoKey(app))) }, "I1"},
		{"a record of another FileSize", func(m *treetest.Mem) {
			put(m, layout.NarInfoKey(lib), bytes.Replace(text(layout.NarInfoKey(lib)), []byte("FileSize: "), []byte("FileSize: 1"), 1))
		}, "I1"},
		{"a cache of nothing", func(m *treetest.Mem) { put(m, layout.CacheInfoKey, nil) }, "I1"},
		{"a record before its NAR", func(m *treetest.Mem) { gone(m, nar); put(m, layout.NarInfoKey(lib), text(layout.NarInfoKey(lib))) }, "I2"},
		{"a record before its listing", func(m *treetest.Mem) {
			gone(m, layout.ListingKey(lib))
			put(m, layout.NarInfoKey(lib), text(layout.NarInfoKey(lib)))
		}, "I2"},
		{"a record before its reference", func(m *treetest.Mem) {
			gone(m, layout.NarInfoKey(lib))
			put(m, layout.NarInfoKey(app), text(layout.NarInfoKey(app)))
		}, "I3"},
		{"a record whose reference is provided", func(m *treetest.Mem) {
			m.Provided = func(p layout.StorePath) bool { return p == lib }
			gone(m, layout.NarInfoKey(lib))
			put(m, layout.NarInfoKey(app), text(layout.NarInfoKey(app)))
		}, ""},
		{"a NAR withdrawn first", func(m *treetest.Mem) { del(m, nar) }, "I2"},
		{"a listing withdrawn first", func(m *treetest.Mem) { del(m, layout.ListingKey(lib)) }, "I2"},
		{"a reference withdrawn first", func(m *treetest.Mem) { del(m, layout.NarInfoKey(lib)) }, "I3"},
		{"withdrawn in order", func(m *treetest.Mem) {
			del(m, layout.NarInfoKey(app))
			del(m, layout.ListingKey(app))
			del(m, layout.NarInfoKey(app))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := whole.Clone(nil)
			c.step(m)
			got := m.Violations()
			if c.rule == "" && len(got) > 0 || c.rule != "" && (len(got) == 0 || !strings.HasPrefix(got[0], c.rule+":")) {
				t.Errorf("violations %q, want of %q", got, c.rule)
			}
		})
	}
}

// TestFaults: each operation fails in each way, once or from then on.
func TestFaults(t *testing.T) {
	fault := errors.New("planned")
	const key layout.Key = "index.html"
	do := func(tree layout.Tree) map[string]error {
		outcome := map[string]error{}
		outcome["put"] = tree.Put(t.Context(), key, layout.Bytes([]byte("12345678")), layout.PutOptions{})
		_, outcome["stat"] = tree.Stat(t.Context(), key)
		r, _, err := tree.Get(t.Context(), key)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		outcome["get"] = err
		for _, err := range tree.List(t.Context(), "") {
			outcome["list"] = err
		}
		outcome["delete"] = tree.Delete(t.Context(), key)
		return outcome
	}
	ops := []string{"put", "stat", "get", "list", "delete"}
	for at := range len(ops) + 1 {
		for _, done := range []bool{false, true} {
			m := treetest.NewMem(t)
			got := do(&treetest.Faulty{Tree: m, Fault: treetest.Fault{At: at, Done: done, Err: fault}})
			for i, op := range ops {
				if failed := errors.Is(got[op], fault); failed != (i+1 == at) {
					t.Errorf("fault at %d, done %t: %s = %v", at, done, op, got[op])
				}
			}
			// A put that did not happen is missed by what comes after; so is a deletion.
			if missed := errors.Is(got["stat"], fs.ErrNotExist); missed != (at == 1 && !done) {
				t.Errorf("fault at %d, done %t: stat = %v", at, done, got["stat"])
			}
			if left := len(m.Keys()) > 0; left != (at == 5 && !done) {
				t.Errorf("fault at %d, done %t: left %v", at, done, m.Keys())
			}
			down := do(&treetest.Faulty{Tree: treetest.NewMem(t), Fault: treetest.Fault{At: at, Done: done, Down: true}})
			for i, op := range ops {
				if failed := errors.Is(down[op], syscall.EIO); failed != (at > 0 && i+1 >= at) {
					t.Errorf("down at %d, done %t: %s = %v", at, done, op, down[op])
				}
			}
		}
	}
	only := &treetest.Faulty{Tree: treetest.NewMem(t), Fault: treetest.Fault{At: 1, Only: func(op treetest.Op, _ layout.Key) bool { return op == treetest.OpGet }}}
	if got := do(only); got["get"] == nil || got["put"] != nil || only.Ops() != 1 {
		t.Errorf("only gets fail: %v, %d operations counted", got, only.Ops())
	}
}
