package mirror_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

func newKey(t *testing.T, name string) signer.SecretKey {
	t.Helper()
	key, err := signer.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// leaning checks a tree that leans on upstreams, by what is written in it.
func leaning(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(t.Context(), tree, fsck.Options{Deep: true, Provided: treetest.Provided(t, tree)}); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

// TestMirrorProvisions: what a tree leans on goes with it, and is taken away
// again.
func TestMirrorProvisions(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	full := src.Clone(t)
	treetest.LeanOn(t, src, newKey(t, "a-1"), "flat", "source")
	treetest.PutText(t, src, ".nixstatic/held/something", "stays where it is")
	var order []string
	m := &mirror.Mirror{Source: src, Dest: dst, Delete: true, Report: func(e mirror.Event) {
		order = append(order, string(e.Action)+" "+string(e.Key))
	}}
	mustRun(t, m)
	treetest.Equal(t, src, dst) // not what is held
	leaning(t, dst)
	if _, err := dst.Stat(t.Context(), ".nixstatic/held/something"); err == nil {
		t.Error("what is private was mirrored")
	}
	order = nil
	mustRun(t, m)
	if len(order) != 0 {
		t.Errorf("nothing to do: %q", order)
	}

	// A record that was lost at the destination comes back, with no narinfo
	// changed.
	key := layout.ProvisionKey(treetest.Record(t, full, "flat").Path)
	dst.Damage(key, func([]byte) []byte { return nil })
	dst.Damage(layout.UpstreamsKey, func([]byte) []byte { return nil })
	mustRun(t, m)
	treetest.Equal(t, src, dst)
	leaning(t, dst)

	// The destination's own upstreams stay, though it is not told of them.
	other := treetest.NewMem(nil)
	treetest.LeanOn(t, other, newKey(t, "b-1"))
	if err := layout.RecordUpstreams(t.Context(), dst, upstreams(t, other)); err != nil {
		t.Fatal(err)
	}
	want := upstreams(t, dst)
	order = nil
	mustRun(t, m)
	if diff := cmp.Diff(want, upstreams(t, dst)); diff != "" || len(order) != 0 {
		t.Errorf("%q (-want +got):\n%s", order, diff)
	}

	// The path is published after all: its record goes, after that.
	m.Source = full
	for _, k := range []layout.Key{layout.UpstreamsKey, layout.ProvisionKey(treetest.Record(t, full, "source").Path)} {
		copyKey(t, src, full, k)
	}
	mustRun(t, m)
	whole(t, dst)
	if _, err := dst.Stat(t.Context(), key); err == nil {
		t.Error("a record that the source does not have was left")
	}
	if last := order[len(order)-1]; last != "delete "+string(key) {
		t.Errorf("deleted before the end: %q", order)
	}
}

func upstreams(t *testing.T, tree layout.Tree) []layout.RecordedUpstream {
	t.Helper()
	list, err := layout.ReadUpstreams(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestMirrorProvisionsOfKeys: a run that was told of changed paths alone finds
// what they lean on by itself.
func TestMirrorProvisionsOfKeys(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	treetest.LeanOn(t, src, newKey(t, "a-1"), "flat")
	m := &mirror.Mirror{Source: src, Dest: dst}
	if err := m.RunKeys(t.Context(), src.Keys()); err != nil {
		t.Fatal(err)
	}
	treetest.Equal(t, src, dst)
	leaning(t, dst)
}

// TestMirrorProvisionsWrong: a record that cannot be read keeps those back that
// need it, and no others.
func TestMirrorProvisionsWrong(t *testing.T) {
	for name, edit := range map[string]func([]byte) []byte{
		"no narinfo":    func([]byte) []byte { return []byte("what?") },
		"not signed":    func(b []byte) []byte { return b[:len(b)-100] },
		"not there":     func([]byte) []byte { return nil },
		"another store": func(b []byte) []byte { return append([]byte("StorePath: /gnu/store/x\n"), b...) },
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := treetest.Source(t), treetest.NewMem(t)
			app, lib := treetest.Record(t, src, "app").Path, treetest.Record(t, src, "lib").Path
			flat := layout.ProvisionKey(treetest.Record(t, src, "flat").Path)
			treetest.LeanOn(t, src, newKey(t, "a-1"), "flat")
			src.Damage(flat, edit)
			if err := (&mirror.Mirror{Source: src, Dest: dst}).Run(t.Context()); err == nil {
				t.Error("a mirror of what refers to nothing succeeded")
			}
			leaning(t, dst)
			if _, err := dst.Stat(t.Context(), layout.NarInfoKey(app)); err == nil {
				t.Error("app was mirrored")
			}
			if _, err := dst.Stat(t.Context(), layout.NarInfoKey(lib)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMirrorProvisionFaults fails each operation of a run that has upstreams.
func TestMirrorProvisionFaults(t *testing.T) {
	s := scenario{src: treetest.Source(t), dst: treetest.NewMem(t)}
	treetest.LeanOn(t, s.src, newKey(t, "a-1"), "flat", "source")
	faults(t, s, treetest.Fault{}, treetest.Fault{Done: true}, treetest.Fault{Down: true})
}
