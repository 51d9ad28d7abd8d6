package bundle

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// A path that neither side has is told before anything is written.
func TestMissing(t *testing.T) {
	for name, damage := range map[string]func(*treetest.Mem){
		"record": func(m *treetest.Mem) { treetest.Withdraw(t, m, "lib") },
		"NAR": func(m *treetest.Mem) {
			key := layout.Key(treetest.Record(t, m, "lib").URL)
			if err := m.Delete(context.Background(), key); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			source := treetest.Source(t).Clone(nil)
			whole, err := TakeState(t.Context(), source, nil)
			if err != nil {
				t.Fatal(err)
			}
			app := layout.NarInfoKey(treetest.Record(t, source, "app").Path)
			damage(source)
			var missing *MissingError
			if _, err := MakePlan(t.Context(), source, []layout.Key{app}, nil, nil); !errors.As(err, &missing) || missing.Reference.Name() != "lib" {
				t.Errorf("a plan without lib: %v, want a *MissingError", err)
			}
			if plan, err := MakePlan(t.Context(), source, []layout.Key{app}, whole, nil); err != nil || len(plan.Lacking) > 0 {
				t.Errorf("the other side has all: %v, %v", plan, err)
			}
		})
	}
}

func copyPath(t *testing.T, from layout.Reader, to layout.Tree, p layout.StorePath) {
	t.Helper()
	text, err := layout.ReadAll(t.Context(), from, layout.NarInfoKey(p))
	if err != nil {
		t.Fatal(err)
	}
	n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	nar, err := layout.ReadAll(t.Context(), from, layout.Key(n.URL))
	if err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, to, layout.Key(n.URL), string(nar))
	treetest.PutText(t, to, layout.NarInfoKey(p), string(text))
}

// Paths wait for what neither side has, and so do those that refer to them.
func TestReady(t *testing.T) {
	source := treetest.Source(t)
	other := treetest.Source(t)
	state, err := TakeState(t.Context(), other, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "env", "lib"} {
		treetest.Withdraw(t, other, name)
	}
	less, err := TakeState(t.Context(), other, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, write(t, source, less, Options{}).all()...)
	names := func(tree layout.Tree, provided func(context.Context, layout.StorePath) (bool, error)) (ready, waiting []string) {
		r, w, err := b.Ready(t.Context(), tree, provided)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r {
			ready = append(ready, p.Name())
		}
		for _, p := range w {
			waiting = append(waiting, p.Path.Name()+" "+p.For.Name())
		}
		slices.Sort(ready)
		slices.Sort(waiting)
		return ready, waiting
	}
	if ready, waiting := names(other, nil); !slices.Equal(ready, []string{"app", "env", "lib"}) || waiting != nil {
		t.Errorf("ready %v, waiting %v", ready, waiting)
	}
	treetest.Withdraw(t, other, "flat")
	if ready, waiting := names(other, nil); !slices.Equal(ready, []string{"env", "lib"}) || !slices.Equal(waiting, []string{"app flat"}) {
		t.Errorf("without flat: ready %v, waiting %v", ready, waiting)
	}
	provides := func(_ context.Context, p layout.StorePath) (bool, error) { return p.Name() == "flat", nil }
	if ready, waiting := names(other, provides); len(ready) != 3 || waiting != nil {
		t.Errorf("with flat at an upstream: ready %v, waiting %v", ready, waiting)
	}
	treetest.Withdraw(t, other, "source")
	if ready, waiting := names(other, provides); ready != nil || !slices.Equal(waiting, []string{"app source", "env source", "lib source"}) {
		t.Errorf("without source: ready %v, waiting %v", ready, waiting)
	}
	unsure := errors.New("the disk does not answer")
	if _, _, err := b.Ready(t.Context(), other, func(context.Context, layout.StorePath) (bool, error) { return false, unsure }); !errors.Is(err, unsure) {
		t.Errorf("an upstream that does not answer: %v", err)
	}
	_ = state
}

// Paths that an upstream of the other side provides count as being there, if their records
// are signed by its key; the others do not.
func TestProvided(t *testing.T) {
	source, other := treetest.Source(t), treetest.Source(t).Clone(nil)
	upstream, err := signer.Generate("upstream-1")
	if err != nil {
		t.Fatal(err)
	}
	treetest.LeanOn(t, other, upstream, "lib", "flat")
	flat := layout.ProvisionKey(treetest.Record(t, source, "flat").Path)
	other.Damage(flat, func(text []byte) []byte { return bytes.Replace(text, []byte("NarSize: "), []byte("NarSize: 1"), 1) })
	state, err := TakeState(t.Context(), other, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"lib": true, "flat": false, "source": true} {
		if got := state.Has(treetest.Record(t, source, name).Path); got != want {
			t.Errorf("the state has %s: %v, want %v", name, got, want)
		}
	}
}
