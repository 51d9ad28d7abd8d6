package export

import (
	"fmt"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// TestFaults fails each operation of an export, on each side and in each way, for
// each sort of destination. The tree is whole after it, and the next run completes
// the work.
func TestFaults(t *testing.T) {
	src := treetest.NewMem(t)
	closure := treetest.Populate(t, src)
	builtOnce(t, src)
	export := func(t *testing.T, from layout.Reader, to layout.Tree) error {
		cache, err := NewCache(t.Context(), from, CacheOptions{})
		if err != nil {
			return err
		}
		pool := compress.NewPool(1)
		defer pool.Close()
		run := &Run{Source: cache, Trust: signer.Trust{All: true}, Jobs: 1, Logs: true, Progress: &Progress{}, Writer: &layout.Writer{
			Tree: to, StoreDir: layout.DefaultStoreDir, Pool: pool, DebugInfo: true}}
		plan, err := run.Plan(t.Context(), paths(closure))
		if err != nil {
			return err
		}
		if _, err := layout.Init(t.Context(), to, layout.DefaultCacheInfo()); err != nil {
			return err
		}
		return run.Do(t.Context(), plan)
	}
	want := treetest.NewMem(t)
	if err := export(t, src, want); err != nil {
		t.Fatal(err)
	}
	mem := func(like layout.Traits) func(*testing.T) layout.Tree {
		return func(t *testing.T) layout.Tree {
			tree := treetest.NewMem(t)
			tree.Like = like
			return tree
		}
	}
	for name, fresh := range map[string]func(*testing.T) layout.Tree{
		"far":   mem(layout.Traits{}),
		"local": mem(layout.Traits{Local: true, Batches: true}),
		"dir":   func(t *testing.T) layout.Tree { return treetest.OpenDir(t, t.TempDir()) },
	} {
		for _, side := range []string{"source", "destination"} {
			for _, fault := range []treetest.Fault{{}, {Done: true}, {Down: true}, {Done: true, Down: true}} {
				more, step := true, quick.Step(29)
				if name == "dir" {
					step = 7 * quick.Step(11) // it is slower
				}
				for fault.At = step; more && !t.Failed(); fault.At += step {
					t.Run(fmt.Sprintf("%s/%s/done=%t,down=%t/%d", name, side, fault.Done, fault.Down, fault.At), func(t *testing.T) {
						from, to := &treetest.Faulty{Tree: src}, &treetest.Faulty{Tree: fresh(t)}
						faulty := to
						if side == "source" {
							faulty = from
						}
						faulty.Fault = fault
						err := export(t, from, to)
						more = faulty.Ops() >= fault.At
						if more && side == "destination" && err == nil {
							t.Error("the fault is hidden")
						}
						if _, there, err := layout.Lookup(t.Context(), to.Tree, layout.CacheInfoKey); err != nil {
							t.Error(err)
						} else if there {
							if err := fsck.Whole(t.Context(), to.Tree, fsck.Options{Deep: true}); err != nil {
								t.Errorf("after the fault: %v", err)
							}
						}
						if err == nil {
							treetest.Equal(t, want, to.Tree)
						}
						if err := export(t, src, to.Tree); err != nil {
							t.Errorf("the run after the fault: %v", err)
						}
						treetest.Equal(t, want, to.Tree)
					})
				}
			}
		}
	}
}

// TestAfterKill has a destination where an export was killed that had not flushed
// the NARs it put: no narinfo appears on top of them before they are.
func TestAfterKill(t *testing.T) {
	src := treetest.NewMem(t)
	closure := treetest.Populate(t, src)
	for _, local := range []bool{false, true} {
		dst := src.Clone(t)
		dst.Like.Local = local
		for _, key := range dst.Keys() {
			if key.Kind() != layout.KindNAR {
				dst.Damage(key, func([]byte) []byte { return nil })
			}
		}
		dst.Unflush()
		pool := compress.NewPool(1)
		run := &Run{Source: newCache(t, src), Trust: signer.Trust{All: true}, Writer: &layout.Writer{Tree: dst, StoreDir: layout.DefaultStoreDir, Pool: pool}}
		plan, err := run.Plan(t.Context(), paths(closure))
		if err == nil {
			err = run.Do(t.Context(), plan)
		}
		if err != nil {
			t.Error(err)
		}
		pool.Close()
	}
}

// builtOnce gives a path a deriver whose log has two names, and a realisation.
func builtOnce(t *testing.T, tree layout.Tree) {
	t.Helper()
	const drv = layout.StorePath("dddddddddddddddddddddddddddddddd-we?ird.drv")
	n := treetest.Record(t, tree, "source")
	n.Deriver = drv
	treetest.PutText(t, tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
	treetest.PutText(t, tree, layout.LogKey(drv), "it was built\n")
	r := layout.Realisation{OutPath: n.Path, Output: "out", DrvPath: drv, DrvHash: n.NarHash}
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := tree.Put(t.Context(), o.Key, o.Body, o.Opts); err != nil {
			t.Fatal(err)
		}
	}
}
