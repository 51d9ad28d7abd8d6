package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func TestWhole(t *testing.T) {
	source := treetest.Source(t)
	drv := layout.StorePath("dddddddddddddddddddddddddddddddd-x.drv")
	n := treetest.Record(t, source, "source")
	n.Deriver = drv
	treetest.PutText(t, source, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
	w := write(t, source, nil, Options{Logs: true})
	want := without(treetest.Contents(t, source), layout.KindPage, layout.KindDebugInfo)
	b := open(t, w.all()...)
	got := map[layout.Key]string{}
	for info, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		text, err := layout.ReadAll(t.Context(), b, info.Key)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != int64(len(text)) {
			t.Errorf("%s: %d bytes listed, %d read", info.Key, info.Size, len(text))
		}
		got[info.Key] = string(text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the bundle has other objects (-want +got):\n%s", diff)
	}
	tree := extracted(t, w)
	if diff := cmp.Diff(want, treetest.Contents(t, tree)); diff != "" {
		t.Errorf("tar makes another cache (-want +got):\n%s", diff)
	}
	if err := fsck.Whole(t.Context(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("tar makes a cache with problems:\n%v", err)
	}
	if again := write(t, source, nil, Options{Logs: true}); !bytes.Equal(w[0].Bytes(), again[0].Bytes()) {
		t.Error("the same plan makes another bundle")
	}
}

// The other side has some paths, and one of them in a damaged form.
func TestHave(t *testing.T) {
	source, other := treetest.Source(t), treetest.Source(t)
	treetest.Withdraw(t, other, "app")
	treetest.Withdraw(t, other, "flat")
	lib := treetest.Record(t, other, "lib")
	other.Damage(layout.Key(lib.URL), func(b []byte) []byte { return b[:len(b)-1] })
	state, err := TakeState(t.Context(), other, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := state.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	if state, err = ReadState(&text); err != nil {
		t.Fatal(err)
	}
	for n := range treetest.Records(t, source) {
		want := !slices.Contains([]string{"app", "flat", "lib"}, n.Path.Name())
		if got := state.Has(n.Path); got != want {
			t.Errorf("the state has %s: %v, want %v", n.Path.Name(), got, want)
		}
	}
	for _, test := range []struct{ root, want []string }{
		{[]string{"app"}, []string{"app", "flat", "lib"}},
		{[]string{"env"}, []string{"lib"}},
		{[]string{"twin"}, nil},
		{nil, []string{"app", "flat", "lib"}},
	} {
		var got []string
		for info := range open(t, write(t, source, state, Options{}, test.root...).all()...).List(t.Context(), "") {
			if info.Key.Kind() == layout.KindNarInfo {
				for n := range treetest.Records(t, source) {
					if layout.NarInfoKey(n.Path) == info.Key {
						got = append(got, n.Path.Name())
					}
				}
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v: the bundle has others (-want +got):\n%s", test.root, diff)
		}
	}
}

func TestStatesJoin(t *testing.T) {
	source, other := treetest.Source(t), treetest.Source(t)
	treetest.Withdraw(t, source, "app")
	treetest.Withdraw(t, other, "selfish")
	a, err := TakeState(t.Context(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := TakeState(t.Context(), other, nil)
	if err != nil {
		t.Fatal(err)
	}
	both := &State{}
	for _, s := range []*State{a, b} {
		if err := both.Join(s); err != nil {
			t.Fatal(err)
		}
	}
	all, err := TakeState(t.Context(), treetest.Source(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all.lines, both.lines) {
		t.Errorf("%d paths joined, want %d", both.Len(), all.Len())
	}
	if err := both.Join(&State{StoreDir: "/other/store"}); err == nil {
		t.Error("states of two store directories were joined")
	}
}

// The parts have the size that was asked for, all that is in one file, and references
// in no later part.
func TestParts(t *testing.T) {
	source := treetest.Source(t)
	one := open(t, write(t, source, nil, Options{}).all()...)
	for _, most := range []int64{30_000, 64_000, 200_000, 1 << 20} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			w := write(t, source, nil, Options{MaxPart: most})
			for i, part := range w {
				if int64(part.Len()) > most {
					t.Errorf("part %d has %d bytes, more than %d", i+1, part.Len(), most)
				}
			}
			if (len(w) > 1) != (most < 400_000) {
				t.Errorf("%d parts of %d bytes", len(w), most)
			}
			backwards := w.all()
			slices.Reverse(backwards)
			for _, files := range [][]File{w.all(), backwards, append(w.all(), backwards...)} {
				all := open(t, files...)
				for _, key := range one.keys {
					if key.Kind() == layout.KindListing {
						continue // where it has no room it is made on the other side
					}
					want, err := layout.ReadAll(t.Context(), one, key)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := layout.ReadAll(t.Context(), all, key); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes, %v, want %d bytes", key, len(got), err, len(want))
					}
				}
			}
			// Parts that come one after the other find what they refer to.
			tree := treetest.NewMem(nil)
			for i := range w {
				b := open(t, w.files(i)...)
				ready, waiting, err := b.Ready(t.Context(), tree, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, wait := range waiting {
					if wait.Path.Name() != "app" || wait.For != wait.Path || most >= 400_000 {
						t.Errorf("part %d: %s waits for %s", i+1, wait.Path.Name(), wait.For.Name())
					}
				}
				for _, p := range ready {
					copyPath(t, b, tree, p)
				}
			}
		})
	}
}
