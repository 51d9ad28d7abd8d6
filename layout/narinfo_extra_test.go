package layout_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// TestExtra: lines that mean nothing here are kept as they are, in their order;
// those that cannot stand in a line of their own, and those beyond a bound, are
// passed over.
func TestExtra(t *testing.T) {
	want := []string{"X-Note: a: b", "Sig: hello", "X-Note: a: b", "Empty: ", "Ünï: cödé"}
	n := mustParse(t, strings.Join(want[:2], "\n")+"\nTight:x\nBytes: \xff\nReturn: x\r\nno field\nEsc\x1b: x\n"+netTools+strings.Join(want[2:], "\n")+"\n")
	if diff := cmp.Diff(want, n.Extra); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := string(n.Marshal(layout.DefaultStoreDir)); text != netTools+strings.Join(want, "\n")+"\n" {
		t.Errorf("written back:\n%s", text)
	}
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "X-%04d: some text\n", i)
	}
	n = mustParse(t, netTools+many.String())
	if size := len(strings.Join(n.Extra, "")); size < 15_000 || size > 17_000 {
		t.Errorf("%d bytes of unknown fields were kept", size)
	}
}

// TestAbsorb: neither signatures nor lines stand twice, and records do not share.
func TestAbsorb(t *testing.T) {
	a := mustParse(t, netTools+"A: 1\nB: 2\n")
	b := mustParse(t, netTools+"B: 2\nC: 3\n")
	before := a.Extra[:2:2]
	a.Absorb(b)
	if diff := cmp.Diff([]string{"A: 1", "B: 2", "C: 3"}, a.Extra); diff != "" || len(a.Sigs) != 1 {
		t.Errorf("%d signatures, lines (-want +got):\n%s", len(a.Sigs), diff)
	}
	if diff := cmp.Diff([]string{"A: 1", "B: 2"}, before); diff != "" || len(b.Extra) != 2 {
		t.Errorf("a copy changed:\n%s", diff)
	}
}

// TestRewritesKeepExtra: signing and replacing a record leave what we do not
// understand where it is.
func TestRewritesKeepExtra(t *testing.T) {
	tree := treetest.NewMem(t)
	key := newKey(t, "one-1")
	closure := treetest.Populate(t, tree)
	lib := closure.Named("lib").Info
	const lines = "Future: x\nSig: future:v2:x\n"
	tree.Damage(layout.NarInfoKey(lib.Path), func(b []byte) []byte { return append(b, lines...) })
	check := func(what string) {
		t.Helper()
		text, err := layout.ReadAll(t.Context(), tree, layout.NarInfoKey(lib.Path))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(text), "\n"+lines) || !strings.Contains(string(text), "Sig: one-1:") {
			t.Errorf("%s:\n%s", what, text)
		}
	}
	if err := layout.SignAll(t.Context(), tree, layout.DefaultStoreDir, []signer.SecretKey{key}, false, &layout.SignProgress{}); err != nil {
		t.Fatal(err)
	}
	check("signed")
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: newPool(t), Method: "xz"}
	packed, err := w.Pack(t.Context(), &lib, writing(closure.Named("lib").NAR))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(t.Context(), []layout.Item{{Info: lib, Packed: packed, Replace: true}}); err != nil {
		t.Fatal(err)
	}
	check("replaced")
}
