package layout_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// vague is a tree that tells neither sizes nor versions, as a web server may do.
type vague struct{ layout.Tree }

func (v vague) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	body, _, err := v.Tree.Get(ctx, key)
	return body, layout.Info{Key: key, Size: -1}, err
}

func TestReadAll(t *testing.T) {
	tree := treetest.NewMem(t)
	most := int(layout.CacheInfoKey.Kind().MaxBytes())
	for name, tree := range map[string]layout.Tree{"known size": tree, "unknown size": vague{tree}} {
		t.Run(name, func(t *testing.T) {
			text := "Priority: 1\n" + strings.Repeat("\n", most-12)
			treetest.PutText(t, tree, layout.CacheInfoKey, text)
			if got, err := layout.ReadAll(t.Context(), tree, layout.CacheInfoKey); err != nil || string(got) != text {
				t.Errorf("at the limit: %d bytes, %v", len(got), err)
			}
			treetest.PutText(t, tree, layout.CacheInfoKey, text+"\n")
			if _, err := layout.ReadAll(t.Context(), tree, layout.CacheInfoKey); !errors.Is(err, layout.ErrTooLarge) {
				t.Errorf("above the limit: %v", err)
			}
			if _, err := layout.ReadAll(t.Context(), tree, "robots.txt"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("absent: %v", err)
			}
		})
	}
	treetest.PutText(t, tree, "index.html", "12345")
	broken := &treetest.Faulty{Tree: tree, Fault: treetest.Fault{At: 1, Done: true}}
	if text, err := layout.ReadAll(t.Context(), broken, "index.html"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a body that breaks off: %q, %v", text, err)
	}
}

func TestLookup(t *testing.T) {
	tree := treetest.NewMem(t)
	treetest.PutText(t, tree, "index.html", "12345")
	if info, there, err := layout.Lookup(t.Context(), tree, "index.html"); err != nil || !there || info.Size != 5 {
		t.Errorf("a page: %+v, %v, %v", info, there, err)
	}
	if _, there, err := layout.Lookup(t.Context(), tree, "robots.txt"); err != nil || there {
		t.Errorf("no page: %v, %v", there, err)
	}
	faulty := &treetest.Faulty{Tree: tree, Fault: treetest.Fault{At: 1}}
	if _, there, err := layout.Lookup(t.Context(), faulty, "robots.txt"); err == nil || there || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("could not tell: %v, %v", there, err)
	}
}

func TestUpdate(t *testing.T) {
	const key layout.Key = "index.html"
	mem := treetest.NewMem(t)
	var seen [][]byte
	update := func(tree layout.Tree, next []byte) error {
		seen = nil
		return layout.Update(t.Context(), tree, key, func(have []byte) ([]byte, error) {
			seen = append(seen, have)
			return next, nil
		})
	}
	check := func(what string, err error, saw [][]byte, counts treetest.Counts) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(saw, seen); diff != "" {
			t.Errorf("%s: change was given (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(counts, mem.Counts()); diff != "" {
			t.Errorf("%s: operations (-want +got):\n%s", what, diff)
		}
	}
	check("no object", update(mem, []byte("one")), [][]byte{nil}, treetest.Counts{Get: 1, Put: 1})
	check("an object", update(mem, []byte("two")), [][]byte{[]byte("one")}, treetest.Counts{Get: 1, Put: 1})
	check("no change", update(mem, nil), [][]byte{[]byte("two")}, treetest.Counts{Get: 1})
	mem.Damage(key, func([]byte) []byte { return make([]byte, layout.KindPage.MaxBytes()+1) })
	check("too large an object", update(mem, []byte("three")), [][]byte{{}}, treetest.Counts{Get: 1, Put: 1})

	no := errors.New("no")
	err := layout.Update(t.Context(), mem, key, func([]byte) ([]byte, error) { return []byte("four"), no })
	if !errors.Is(err, no) {
		t.Errorf("the error of change: %v", err)
	}
	if err := update(vague{mem}, []byte("four")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tree that tells no versions: %v", err)
	}
	// Others are always faster: it gives up.
	err = layout.Update(t.Context(), mem, key, func([]byte) ([]byte, error) {
		treetest.PutText(t, mem, key, "three")
		return []byte("four"), nil
	})
	if !errors.Is(err, layout.ErrChanged) {
		t.Errorf("others are always faster: %v", err)
	}
	if text, err := layout.ReadAll(t.Context(), mem, key); err != nil || string(text) != "three" {
		t.Errorf("in the end there is %q, %v", text, err)
	}
}

func TestEqualBytes(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 6_000) // several buffers
	other := bytes.Clone(long)
	other[70_000]++
	broken := func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), iotest.ErrReader(fs.ErrInvalid)) }
	for _, c := range []struct {
		name string
		a, b io.Reader
		same bool
		err  error
	}{
		{"empty", bytes.NewReader(nil), bytes.NewReader(nil), true, nil},
		{"equal", bytes.NewReader(long), iotest.HalfReader(bytes.NewReader(long)), true, nil},
		{"one byte differs", bytes.NewReader(long), bytes.NewReader(other), false, nil},
		{"shorter", bytes.NewReader(long[:32<<10]), bytes.NewReader(long), false, nil},
		{"longer", bytes.NewReader(long), bytes.NewReader(long[:64<<10]), false, nil},
		{"one breaks off", broken(long[:50_000]), bytes.NewReader(long), false, fs.ErrInvalid},
		{"the other breaks off", bytes.NewReader(long), broken(long[:50_000]), false, fs.ErrInvalid},
	} {
		if same, err := layout.EqualBytes(c.a, c.b); same != c.same || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", c.name, same, err)
		}
	}
}

func TestSameBytes(t *testing.T) {
	tree := treetest.NewMem(t)
	treetest.PutText(t, tree, "index.html", "12345")
	for name, tree := range map[string]layout.Tree{"known size": tree, "unknown size": vague{tree}} {
		for text, want := range map[string]bool{"12345": true, "12346": false, "1234": false, "123456": false, "": false} {
			if same, err := layout.SameBytes(t.Context(), tree, "index.html", layout.Bytes([]byte(text))); err != nil || same != want {
				t.Errorf("%s: as %q: %v, %v", name, text, same, err)
			}
		}
		if _, err := layout.SameBytes(t.Context(), tree, "robots.txt", layout.Bytes(nil)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: absent: %v", name, err)
		}
	}
}

// An object that no client could read is not written.
func TestUpdateHasALimit(t *testing.T) {
	tree := treetest.NewMem(t)
	treetest.PutText(t, tree, layout.CacheInfoKey, "Priority: 1\n")
	most := int(layout.CacheInfoKey.Kind().MaxBytes())
	for _, more := range []int{0, 1} {
		next := "Priority: 2\n" + strings.Repeat("\n", most-12+more)
		err := layout.Update(t.Context(), tree, layout.CacheInfoKey, func([]byte) ([]byte, error) { return []byte(next), nil })
		if more > 0 != errors.Is(err, layout.ErrTooLarge) || more == 0 && err != nil {
			t.Errorf("%d bytes above the limit: %v", more, err)
		}
		if _, err := layout.ReadAll(t.Context(), tree, layout.CacheInfoKey); err != nil {
			t.Error(err)
		}
	}
}

// A narinfo that has no room for a signature stays as it is, and the others gain
// theirs.
func TestSignAllHasALimit(t *testing.T) {
	tree := treetest.NewMem(t)
	paths := treetest.Populate(t, tree)
	full := layout.NarInfoKey(paths.Named("flat").Info.Path)
	var before []byte
	tree.Damage(full, func(text []byte) []byte {
		before = treetest.Bloat(text, layout.MaxNarInfo-50)
		return before
	})
	key, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	var progress layout.SignProgress
	err = layout.SignAll(t.Context(), tree, layout.DefaultStoreDir, []signer.SecretKey{key}, false, &progress)
	if !errors.Is(err, layout.ErrTooLarge) || !strings.Contains(err.Error(), string(full)) {
		t.Errorf("got %v", err)
	}
	if got := progress.Signed.Load(); got != int64(len(paths.Paths)-1) {
		t.Errorf("%d of %d were signed", got, len(paths.Paths))
	}
	if got, err := layout.ReadAll(t.Context(), tree, full); err != nil || !bytes.Equal(got, before) {
		t.Errorf("the full one: %d bytes, %v", len(got), err)
	}
}
