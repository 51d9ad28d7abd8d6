package layout_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/quick"
)

func newPool(t *testing.T) *compress.Pool {
	pool := compress.NewPool(2)
	t.Cleanup(pool.Close)
	return pool
}

func newKey(t *testing.T, name string) signer.SecretKey {
	t.Helper()
	key, err := signer.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustInit(t *testing.T, tree layout.Tree) {
	t.Helper()
	if _, err := layout.Init(t.Context(), tree, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
}

func mustBeWhole(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(t.Context(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("the tree is not whole:\n%v", err)
	}
}

// TestAddInterrupted fails every single step of the publication of a closure, in
// four ways, looks at what is left, and does it again. In memory each step is
// policed. A directory has a spool and batches of its own; it is slower, and fails
// at some of the steps.
func TestAddInterrupted(t *testing.T) {
	closure := treetest.Closure(t)
	pool := newPool(t)
	key := newKey(t, "test-1")
	add := func(tree layout.Tree) error {
		w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: pool, DebugInfo: true, Keys: []signer.SecretKey{key}}
		return closure.Add(t.Context(), w)
	}
	for _, before := range []string{"nothing", "everything"} {
		mem := treetest.NewMem(t)
		dir := treetest.OpenDir(t, t.TempDir())
		for _, tree := range []layout.Tree{mem, dir} {
			mustInit(t, tree)
			if before == "nothing" {
				continue
			}
			if err := add(tree); err != nil {
				t.Fatal(err)
			}
		}
		inDir := func(t *testing.T) layout.Tree {
			name := t.TempDir()
			if err := os.CopyFS(name, os.DirFS(dir.Path())); err != nil {
				t.Fatal(err)
			}
			return treetest.OpenDir(t, name)
		}
		for name, start := range map[string]func(t *testing.T) layout.Tree{
			"mem": func(t *testing.T) layout.Tree { return mem.Clone(t) },
			"dir": inDir,
		} {
			whole := &treetest.Faulty{Tree: start(t)}
			if err := add(whole); err != nil {
				t.Fatal(err)
			}
			step := quick.Step(23)
			if name == "dir" {
				step = 9 * quick.Step(19) // the operations of a file of the spool are three, of a Put in a batch one
			}
			for at := 1; at <= whole.Ops(); at += step {
				for _, fault := range []treetest.Fault{{At: at}, {At: at, Done: true}, {At: at, Down: true}, {At: at, Done: true, Down: true}} {
					t.Run(fmt.Sprintf("%s/%s/%d/done=%t/down=%t", name, before, at, fault.Done, fault.Down), func(t *testing.T) {
						t.Parallel()
						tree := start(t)
						if err := add(&treetest.Faulty{Tree: tree, Fault: fault}); err == nil {
							t.Error("Add hides the fault")
						}
						mustBeWhole(t, tree)
						if err := add(tree); err != nil {
							t.Fatalf("the second time: %v", err)
						}
						mustBeWhole(t, tree)
						for _, p := range closure.Paths {
							if _, err := tree.Stat(t.Context(), layout.NarInfoKey(p.Info.Path)); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
		}
	}
}

// TestAddCounts pins what publication costs, and the keys it makes.
func TestAddCounts(t *testing.T) {
	tree := treetest.NewMem(t)
	mustInit(t, tree)
	closure := treetest.Closure(t)
	tree.Counts()
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: newPool(t), DebugInfo: true, Method: compress.None}
	if err := closure.Add(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	// 8 NARs of 9 paths, a listing and a narinfo each, 2 debug files under 2 names.
	if diff := cmp.Diff(treetest.Counts{Put: 8 + 9 + 9 + 4}, tree.Counts()); diff != "" {
		t.Errorf("operations for 9 new paths (-want +got):\n%s", diff)
	}
	var keys []string
	for _, key := range tree.Keys() {
		keys = append(keys, string(key))
	}
	golden(t, "keys.txt", strings.Join(keys, "\n")+"\n")
	mustBeWhole(t, tree)

	// A second time nothing changes; the records are looked for because of the
	// listings, and looked at.
	before := tree.Clone(nil)
	tree.Counts()
	if err := closure.Add(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(treetest.Counts{Put: 8 + 9 + 9 + 4, Stat: 9, Get: 9}, tree.Counts()); diff != "" {
		t.Errorf("operations for 9 known paths (-want +got):\n%s", diff)
	}
	for _, key := range before.Keys() {
		a, errA := layout.ReadAll(t.Context(), before, key)
		b, errB := layout.ReadAll(t.Context(), tree, key)
		if err := errors.Join(errA, errB); err != nil || string(a) != string(b) {
			t.Errorf("%s changed: %v", key, err)
		}
	}
}

// TestAddSignatures: adding a path that is there already adds a signature.
func TestAddSignatures(t *testing.T) {
	tree := treetest.NewMem(t)
	one, two := newKey(t, "one-1"), newKey(t, "two-1")
	closure := treetest.Populate(t, tree, one)
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: newPool(t), Keys: []signer.SecretKey{two}}
	if err := closure.Add(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for _, key := range []signer.SecretKey{one, two} {
		o := fsck.Options{Deep: true, Trusted: signer.Trusted{key.Public()}}
		if err := fsck.Whole(t.Context(), tree, o); err != nil {
			t.Errorf("trusting %s alone:\n%v", key.Name(), err)
		}
	}
}

// TestAddOtherBuild: of a build that is not reproducible the first one stays,
// with its listing, until it is replaced on purpose.
func TestAddOtherBuild(t *testing.T) {
	for _, c := range []struct {
		name    string
		damage  func(*treetest.Mem, layout.StorePath) // before the second build comes
		replace bool
		first   bool // it stays
		listed  bool
	}{
		{name: "the first stays", first: true, listed: true},
		{name: "replaced", replace: true, listed: true},
		{name: "the first has no listing", first: true, damage: func(m *treetest.Mem, p layout.StorePath) {
			m.Damage(layout.ListingKey(p), func([]byte) []byte { return nil })
		}},
		{name: "the first has a damaged record", listed: true, damage: func(m *treetest.Mem, p layout.StorePath) {
			m.Damage(layout.NarInfoKey(p), func(b []byte) []byte { return b[:10] })
		}},
		{name: "the first has no record", listed: true, damage: func(m *treetest.Mem, p layout.StorePath) {
			m.Damage(layout.NarInfoKey(p), func([]byte) []byte { return nil })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := treetest.NewMem(nil) // a tree cannot tell that a listing is the wrong one
			key := newKey(t, "test-1")
			closure := treetest.Populate(t, tree, key)
			lib := closure.Named("lib").Info
			if c.damage != nil {
				c.damage(tree, lib.Path)
			}
			w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: newPool(t), Keys: []signer.SecretKey{key}}
			other := lib
			other.NarHash, other.NarSize = layout.Hash{}, 0
			packed, err := w.Pack(t.Context(), &other, writing(closure.Named("app").NAR))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Add(t.Context(), []layout.Item{{Info: other, Packed: packed, Replace: c.replace}}); err != nil {
				t.Fatal(err)
			}
			_, err = tree.Stat(t.Context(), layout.ListingKey(lib.Path))
			if listed := err == nil; listed != c.listed {
				t.Errorf("listed %t, want %t", listed, c.listed)
			}
			if c.listed {
				mustBeWhole(t, tree)
			}
			text, err := layout.ReadAll(t.Context(), tree, layout.NarInfoKey(lib.Path))
			if err != nil {
				t.Fatal(err)
			}
			n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
			if err != nil {
				t.Fatal(err)
			}
			if first := n.NarHash == lib.NarHash; first != c.first || len(n.Sigs) != 1 {
				t.Errorf("the first stays: %t, want %t; %d signatures", first, c.first, len(n.Sigs))
			}
		})
	}
}

// TestAddLargeListing has listings that wait in files, not in memory, and finds
// their keys taken.
func TestAddLargeListing(t *testing.T) {
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	mustInit(t, dir)
	files := t.TempDir()
	for i := range 1500 {
		if err := os.WriteFile(fmt.Sprintf("%s/%0100d", files, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := layout.ParseStorePath("00000000000000000000000000000000-many")
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(t.Context(), layout.ListingKey(p), layout.Bytes([]byte("left by a crash")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	w := &layout.Writer{Tree: dir, StoreDir: layout.DefaultStoreDir, Pool: newPool(t)}
	packed, err := w.Pack(t.Context(), nil, func(w io.Writer) error { return nar.Dump(t.Context(), w, files) })
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(t.Context(), []layout.Item{{Info: layout.PathInfo{Path: p}, Packed: packed}}); err != nil {
		t.Fatal(err)
	}
	mustBeWhole(t, dir)
	for info, err := range dir.List(t.Context(), ".nixstatic/staging/") {
		t.Errorf("left in staging: %s, %v", info.Key, err)
	}
}

func writing(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}
