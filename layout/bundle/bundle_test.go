package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// written is a bundle in memory.
type written []*bytes.Buffer

func (w *written) next() (io.Writer, error) {
	*w = append(*w, &bytes.Buffer{})
	return (*w)[len(*w)-1], nil
}

func (w written) files(parts ...int) (files []File) {
	for _, i := range parts {
		text := w[i].Bytes()
		files = append(files, File{fmt.Sprintf("b.tar.%d", i+1), bytes.NewReader(text), int64(len(text))})
	}
	return files
}

func (w written) all() []File {
	var parts []int
	for i := range w {
		parts = append(parts, i)
	}
	return w.files(parts...)
}

func write(t testing.TB, cache layout.Reader, have *State, o Options, names ...string) written {
	t.Helper()
	var roots []layout.Key
	for _, name := range names {
		roots = append(roots, layout.NarInfoKey(treetest.Record(t, cache.(layout.Tree), name).Path))
	}
	plan, err := MakePlan(context.Background(), cache, roots, have, nil)
	if err != nil {
		t.Fatal(err)
	}
	var w written
	if err := plan.Write(context.Background(), cache, w.next, o); err != nil {
		t.Fatal(err)
	}
	return w
}

func open(t *testing.T, files ...File) *Bundle {
	t.Helper()
	b, err := Open(files...)
	if err == nil {
		err = b.Check(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// extracted is the tree that tar xf makes of the parts.
func extracted(t *testing.T, w written) *treetest.Mem {
	t.Helper()
	tree := treetest.NewMem(nil)
	for _, part := range w {
		for r := tar.NewReader(bytes.NewReader(part.Bytes())); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(h.Name, "nixstatic-bundle") {
				continue
			}
			treetest.PutText(t, tree, layout.Key(h.Name), string(text))
		}
	}
	return tree
}

func without(all map[layout.Key]string, kinds ...layout.Kind) map[layout.Key]string {
	maps.DeleteFunc(all, func(key layout.Key, _ string) bool { return slices.Contains(kinds, key.Kind()) })
	return all
}

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

// A byte that is not the one that was written is found, or does no harm.
func TestFlip(t *testing.T) {
	source := treetest.Source(t)
	w := write(t, source, nil, Options{Logs: true})
	whole := w[0].Bytes()
	want := treetest.Contents(t, extractedOf(t, whole))
	var places []int
	for at := 0; at < len(whole); at += 509 * quick.Step(5) {
		places = append(places, at)
	}
	for _, m := range open(t, w.all()...).parts[0].members[:8] {
		for at := m.at - block; at < m.at+min(m.size, 64); at += int64(3 * quick.Step(5)) {
			places = append(places, int(at))
		}
	}
	for i, at := range places {
		for _, flip := range []byte{[]byte{1, 0x20, 0xff}[i%3]} {
			text := bytes.Clone(whole)
			text[at] ^= flip
			file := File{"b.tar", bytes.NewReader(text), int64(len(text))}
			b, err := Open(file)
			if err == nil {
				err = b.Check(t.Context(), nil)
			}
			if err != nil {
				continue
			}
			for key, text := range want {
				if got, err := layout.ReadAll(t.Context(), b, key); err != nil || string(got) != text {
					t.Fatalf("byte %d ^ %#x is taken, and %s is another: %v", at, flip, key, err)
				}
			}
			if len(b.keys) != len(want) {
				t.Fatalf("byte %d ^ %#x is taken: %d objects, want %d", at, flip, len(b.keys), len(want))
			}
		}
	}
}

func extractedOf(t *testing.T, text []byte) *treetest.Mem {
	return extracted(t, written{bytes.NewBuffer(bytes.Clone(text))})
}

// A file that was cut off anywhere is not taken.
func TestCut(t *testing.T) {
	w := write(t, treetest.Source(t), nil, Options{})
	whole := w[0].Bytes()
	b := open(t, w.all()...)
	last := b.parts[0].members[len(b.parts[0].members)-1]
	for at := int64(0); at < last.at+last.size; at += 211 {
		_, err := Open(File{"b.tar", bytes.NewReader(whole[:at]), at})
		bad := (*BadError)(nil)
		if !errors.Is(err, ErrCut) && !errors.As(err, &bad) {
			t.Fatalf("cut off after %d bytes: %v", at, err)
		}
		if at > 4096 && !errors.Is(err, ErrCut) {
			t.Fatalf("cut off after %d bytes: %v, want %v", at, err, ErrCut)
		}
	}
}

// A NAR of the cache that is damaged ends the writing.
func TestDamaged(t *testing.T) {
	for name, edit := range map[string]func([]byte) []byte{
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"short":   func(b []byte) []byte { return b[:len(b)-1] },
		"long":    func(b []byte) []byte { return append(b, 0) },
	} {
		source := treetest.Source(t)
		key := layout.Key(treetest.Record(t, source, "app").URL)
		for _, most := range []int64{0, 64_000} {
			plan, err := MakePlan(t.Context(), source, nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			damaged := source.Clone(t)
			damaged.Rot(key, edit)
			var w written
			if err := plan.Write(t.Context(), damaged, w.next, Options{MaxPart: most}); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, parts of %d bytes: %v, want %v", name, most, err, ErrDamaged)
			}
		}
	}
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
