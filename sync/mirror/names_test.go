package mirror_test

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// rename calls the NAR of a record otherwise, without a FileHash if bare.
func rename(t *testing.T, tree *treetest.Mem, name string, bare bool, key func(*layout.NarInfo) layout.Key) layout.Key {
	t.Helper()
	n := treetest.Record(t, tree, name)
	to := key(n)
	data, err := layout.ReadAll(t.Context(), tree, layout.Key(n.URL))
	if err != nil {
		t.Fatal(err)
	}
	tree.Damage(layout.Key(n.URL), func([]byte) []byte { return nil })
	tree.Damage(to, func([]byte) []byte { return data })
	n.URL = string(to)
	if bare {
		n.FileHash, n.FileSize = layout.Hash{}, 0
	}
	tree.Damage(layout.NarInfoKey(n.Path), func([]byte) []byte { return n.Marshal(layout.DefaultStoreDir) })
	return to
}

var otherNames = map[string]func(*layout.NarInfo) layout.Key{
	"the NAR's hash": func(n *layout.NarInfo) layout.Key { return layout.NARKey(n.NarHash, ".zst") },
	"hexadecimal": func(n *layout.NarInfo) layout.Key {
		return layout.Key("nar/" + hex.EncodeToString(n.FileHash[:]) + ".nar.zst")
	},
	"the path's hash": func(n *layout.NarInfo) layout.Key { return layout.Key("nar/" + n.Path.Hash() + ".nar") },
	"an identifier":   func(n *layout.NarInfo) layout.Key { return "nar/f47ac10b-58cc-4372-a567-0e02b2c3d479.nar.zst" },
	"nix-serve": func(n *layout.NarInfo) layout.Key {
		return layout.Key("nar/" + n.Path.Hash() + "-" + n.NarHash.Nix32() + ".nar")
	},
	"a query in the name": func(n *layout.NarInfo) layout.Key { return layout.NARKey(n.NarHash, "?hash="+n.Path.Hash()) },
	"another compression": func(n *layout.NarInfo) layout.Key { return layout.NARKey(layout.Hash{1}, "") },
}

// TestOtherNames mirrors trees whose NARs are not called by the hashes of their
// files, whole, and removes nothing that a record leads to.
func TestOtherNames(t *testing.T) {
	for what, key := range otherNames {
		for _, bare := range []bool{true, false} {
			if what == "another compression" && !bare {
				continue // such a record is refused: its FileHash is that of another file
			}
			t.Run(what+map[bool]string{true: ", bare"}[bare], func(t *testing.T) {
				src := treetest.Source(t)
				to := rename(t, src, "lib", bare, key)
				mem := treetest.NewMem(t)
				if what == "another compression" {
					mem = treetest.NewMem(nil) // the police takes the name at its word
				}
				dir := treetest.OpenDir(t, filepath.Join(t.TempDir(), "dir"))
				for _, dst := range []layout.Tree{mem, dir} {
					m := &mirror.Mirror{Source: src, Dest: dst, Delete: true}
					mustRun(t, m)
					treetest.Equal(t, src, dst)
					var changes []mirror.Event
					m.Report = func(e mirror.Event) { changes = append(changes, e) }
					mustRun(t, m)
					if len(changes) > 0 {
						t.Errorf("nothing to do: %v", changes)
					}
				}
				// A NAR that is gone is mended though its record is there.
				if err := dir.Delete(t.Context(), to); err != nil {
					t.Fatal(err)
				}
				mustRun(t, &mirror.Mirror{Source: src, Dest: dir})
				treetest.Equal(t, src, dir)
				// It goes when no record leads to it any more.
				other := treetest.Source(t)
				treetest.Withdraw(t, other, "app")
				mustRun(t, &mirror.Mirror{Source: other, Dest: dir, Delete: true})
				if _, there, err := layout.Lookup(t.Context(), dir, to); there || err != nil {
					t.Errorf("%s stays though nothing leads to it, %v", to, err)
				}
				whole(t, dir)
			})
		}
	}
}

// TestQueryInURL: a record may lead to a NAR by a URL with a query, which is not in
// the NAR's name. A removal knows that it is needed.
func TestQueryInURL(t *testing.T) {
	src := treetest.Source(t)
	n := treetest.Record(t, src, "lib")
	n.URL += "?hash=" + n.Path.Hash()
	src.Damage(layout.NarInfoKey(n.Path), func([]byte) []byte { return n.Marshal(layout.DefaultStoreDir) })
	dst := treetest.NewMem(t)
	mustRun(t, &mirror.Mirror{Source: src, Dest: dst, Delete: true})
	treetest.Equal(t, src, dst)

	// The source leads there by no record, and the destination's own stays.
	nar := layout.Key(strings.TrimSuffix(n.URL, "?hash="+n.Path.Hash()))
	src.Damage(nar, func([]byte) []byte { return nil })
	err := (&mirror.Mirror{Source: src, Dest: dst, Delete: true}).Run(t.Context())
	if !slices.Contains(dst.Keys(), nar) {
		t.Errorf("the NAR is gone: %v", err)
	}
}

// TestOtherNamesDamaged: a NAR that is not what its record says does not appear,
// nor does what needs it.
func TestOtherNamesDamaged(t *testing.T) {
	for what, key := range otherNames {
		for _, bare := range []bool{true, false} {
			if what == "another compression" && !bare {
				continue
			}
			src := treetest.Source(t)
			to := rename(t, src, "lib", bare, key)
			src.Damage(to, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
			dst := treetest.NewMem(t)
			err := (&mirror.Mirror{Source: src, Dest: dst}).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), string(to)) {
				t.Errorf("%s, bare %t: %v", what, bare, err)
			}
			if keys := dst.Keys(); slices.Contains(keys, to) || slices.Contains(keys, layout.NarInfoKey(treetest.Record(t, src, "lib").Path)) {
				t.Errorf("%s, bare %t: it is there", what, bare)
			}
		}
	}
}

// TestOtherNamesReplaced: the bytes of a NAR that nothing is known of but its
// size are compared.
func TestOtherNamesReplaced(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	to := rename(t, src, "lib", true, otherNames["an identifier"])
	mustRun(t, &mirror.Mirror{Source: src, Dest: dst})
	dst.Damage(to, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	mustRun(t, &mirror.Mirror{Source: src, Dest: dst})
	treetest.Equal(t, src, dst)
}

// TestNARAlone: of a NAR that no record leads to nothing is known if its name
// promises nothing.
func TestNARAlone(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	const alone = "nar/alone.nar.zst"
	src.Damage(alone, func([]byte) []byte { return []byte("x") })
	var notes []string
	m := &mirror.Mirror{Source: src, Dest: dst, Report: func(e mirror.Event) {
		if e.Action == mirror.ActionNote {
			notes = append(notes, e.Why)
		}
	}}
	mustRun(t, m)
	if slices.Contains(dst.Keys(), layout.Key(alone)) || len(notes) != 1 || !strings.Contains(notes[0], "1 NARs were left out") {
		t.Errorf("there is %v, notes %q", dst.Keys(), notes)
	}
}

// TestOneNARTwoRecords: a record that leads to a NAR of another path's stays out.
func TestOneNARTwoRecords(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	to := rename(t, src, "lib", true, otherNames["an identifier"])
	flat := treetest.Record(t, src, "flat")
	flat.URL, flat.FileHash, flat.FileSize = string(to), layout.Hash{}, 0
	src.Damage(layout.NarInfoKey(flat.Path), func([]byte) []byte { return flat.Marshal(layout.DefaultStoreDir) })
	err := (&mirror.Mirror{Source: src, Dest: dst}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "which holds another NAR") {
		t.Errorf("Run: %v", err)
	}
	keys := dst.Keys()
	if slices.Contains(keys, layout.NarInfoKey(flat.Path)) || !slices.Contains(keys, layout.NarInfoKey(treetest.Record(t, src, "lib").Path)) {
		t.Errorf("there is %v", keys)
	}
}

// TestListingsAsTheyCome: a listing that is compressed under its plain name is
// made plain, and equals what it was made from; one that makes no sense is passed
// over, and neither loses its path.
func TestListingsAsTheyCome(t *testing.T) {
	pool := compress.NewPool(1)
	defer pool.Close()
	for _, method := range []compress.Method{compress.Brotli, compress.Zstd, compress.Gzip, compress.Xz, compress.Bzip2, "rubbish", "html"} {
		src, plain := treetest.Source(t), treetest.Source(t)
		key := layout.ListingKey(treetest.Record(t, src, "app").Path)
		sense := method != "rubbish" && method != "html"
		src.Damage(key, func(text []byte) []byte {
			switch method {
			case "rubbish":
				return bytes.Repeat([]byte("\xff\x00"), 100)
			case "html":
				return []byte("<html>gone</html>")
			}
			var b bytes.Buffer
			z, err := pool.NewWriter(t.Context(), &b, method, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		})
		dst := treetest.NewMem(nil)
		var notes []string
		m := &mirror.Mirror{Source: src, Dest: dst, Report: func(e mirror.Event) {
			if e.Action == mirror.ActionNote {
				notes = append(notes, e.Why)
			}
		}}
		mustRun(t, m)
		if sense {
			treetest.Equal(t, plain, dst)
			var changes []mirror.Event
			m.Report = func(e mirror.Event) { changes = append(changes, e) }
			mustRun(t, m)
			if len(changes) > 0 || len(notes) > 0 {
				t.Errorf("%s: nothing to do: %v, notes %q", method, changes, notes)
			}
			continue
		}
		if slices.Contains(dst.Keys(), key) || len(notes) != 1 || !strings.Contains(notes[0], string(key)) {
			t.Errorf("%s: notes %q", method, notes)
		}
		if got, want := len(dst.Keys()), len(plain.Keys()); got != want-1 {
			t.Errorf("%s: %d objects of %d", method, got, want)
		}
	}
}

// TestDebugLinksOfOtherShapes are copied as they are.
func TestDebugLinksOfOtherShapes(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(nil)
	for id, text := range map[string]string{"01": "\x7fELF", "02": `{"archive":"https://example.org/x"}`, "03": `["x"]`, "04": ""} {
		src.Damage(layout.Key("debuginfo/"+strings.Repeat("0", 38)+id), func([]byte) []byte { return []byte(text) })
	}
	mustRun(t, &mirror.Mirror{Source: src, Dest: dst})
	treetest.Equal(t, src, dst)
}
