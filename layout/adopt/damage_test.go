package adopt

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// damages are ways in which a tree of others can be wrong. Each returns what is to be
// in the quarantine afterwards: keys, or "app" for the record of that path.
var damages = map[string]func(t *testing.T, tree layout.Tree) []string{
	"the NAR is missing": func(t *testing.T, tree layout.Tree) []string {
		remove(t, tree, narOf(t, tree, "app"))
		return []string{"app"}
	},
	"the NAR is cut off": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func(b []byte) []byte { return b[:len(b)-7] })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR has a byte changed": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR is empty": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func([]byte) []byte { return nil })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR is another one": func(t *testing.T, tree layout.Tree) []string {
		other := read(t, tree, narOf(t, tree, "lib"))
		edit(t, tree, narOf(t, tree, "app"), func([]byte) []byte { return other })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR has bytes behind it": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func(b []byte) []byte { return append(b, "more"...) })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the record is cut off": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func(b []byte) []byte { return b[:len(b)-20] })
		return []string{"app"}
	},
	"the record is a web page": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func([]byte) []byte { return []byte("<html>\n") })
		return []string{"app"}
	},
	"the record is empty": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func([]byte) []byte { return nil })
		return []string{"app"}
	},
	"the record is that of another path": func(t *testing.T, tree layout.Tree) []string {
		other := read(t, tree, record(t, tree, "lib"))
		edit(t, tree, record(t, tree, "app"), func([]byte) []byte { return other })
		return []string{"app"}
	},
	"the record is too large": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func(b []byte) []byte { return append(b, bytes.Repeat([]byte("A: b\n"), 1<<20)...) })
		return []string{"app"}
	},
	"the NarHash is wrong": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.NarHash[3] ^= 1 })
		return []string{"app"}
	},
	"the NarSize is too small": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.NarSize-- })
		return []string{"app"}
	},
	"the NarSize is too large": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.NarSize++ })
		return []string{"app"}
	},
	"the content address is wrong": func(t *testing.T, tree layout.Tree) []string {
		other := treetest.Record(t, tree, "env")
		alter(t, tree, "app", func(n *layout.NarInfo) { n.CA = other.CA })
		return []string{"app"}
	},
	"the URL leads out": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.URL = "https://other.example.org/nar/x.nar.zst" })
		return []string{"app"}
	},
	"the URL leads up": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.URL = "../x.nar.zst" })
		return []string{"app"}
	},
	"a reference is missing": func(t *testing.T, tree layout.Tree) []string {
		all := slices.Sorted(maps.Keys(above(t, tree, "lib")))
		remove(t, tree, record(t, tree, "lib"))
		return all
	},
	"a reference is damaged": func(t *testing.T, tree layout.Tree) []string {
		all := append(slices.Sorted(maps.Keys(above(t, tree, "lib"))), "lib", string(narOf(t, tree, "lib")))
		edit(t, tree, narOf(t, tree, "lib"), func(b []byte) []byte { return b[:5] })
		return all
	},
	"a debug link leads nowhere": func(t *testing.T, tree layout.Tree) []string {
		key := "debuginfo/abcdef0123456789abcdef0123456789abcdef77"
		treetest.PutText(t, tree, layout.Key(key), `{"archive":"../nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz","member":"x"}`)
		return []string{key}
	},
	"a debug link leads to a file that is not there": func(t *testing.T, tree layout.Tree) []string {
		key := "debuginfo/abcdef0123456789abcdef0123456789abcdef77"
		treetest.PutText(t, tree, layout.Key(key), `{"archive":"../`+string(narOf(t, tree, "app"))+`","member":"x"}`)
		return []string{key}
	},
	"a realisation is no JSON": func(t *testing.T, tree layout.Tree) []string {
		key := "realisations/sha256:" + strings.Repeat("0", 64) + "!out.doi"
		treetest.PutText(t, tree, layout.Key(key), `{`)
		return []string{key}
	},
	"a NAR that nothing leads to is not what its name says": func(t *testing.T, tree layout.Tree) []string {
		key := "nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz"
		treetest.PutText(t, tree, layout.Key(key), "x")
		return []string{key}
	},
	"nix-cache-info is damaged": func(t *testing.T, tree layout.Tree) []string {
		treetest.PutText(t, tree, layout.CacheInfoKey, "StoreDir: nix\n")
		return []string{"nix-cache-info"}
	},
	// The rest is put right, and nothing is set aside.
	"the compression is another one": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.Compression = compress.Xz })
		return nil
	},
	"the FileHash is wrong": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.FileHash[0] ^= 1 })
		return nil
	},
	"the FileSize is wrong": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.FileSize++ })
		return nil
	},
	"the listing is cut off": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, layout.ListingKey(treetest.Record(t, tree, "app").Path), func(b []byte) []byte { return b[:len(b)-3] })
		return nil
	},
	"the listing is another one": func(t *testing.T, tree layout.Tree) []string {
		other := read(t, tree, layout.ListingKey(treetest.Record(t, tree, "lib").Path))
		edit(t, tree, layout.ListingKey(treetest.Record(t, tree, "app").Path), func([]byte) []byte { return other })
		return nil
	},
	"nix-cache-info is missing": func(t *testing.T, tree layout.Tree) []string {
		remove(t, tree, layout.CacheInfoKey)
		return nil
	},
}

func narOf(t *testing.T, tree layout.Tree, name string) layout.Key {
	return layout.Key(treetest.Record(t, tree, name).URL)
}

func record(t *testing.T, tree layout.Tree, name string) layout.Key {
	return layout.NarInfoKey(treetest.Record(t, tree, name).Path)
}

func read(t *testing.T, tree layout.Tree, key layout.Key) []byte {
	t.Helper()
	body, _, err := tree.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func edit(t *testing.T, tree layout.Tree, key layout.Key, how func([]byte) []byte) {
	t.Helper()
	treetest.PutText(t, tree, key, string(how(bytes.Clone(read(t, tree, key)))))
}

func remove(t *testing.T, tree layout.Tree, key layout.Key) {
	t.Helper()
	if err := tree.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func alter(t *testing.T, tree layout.Tree, name string, how func(*layout.NarInfo)) {
	t.Helper()
	n := treetest.Record(t, tree, name)
	how(n)
	treetest.PutText(t, tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
}

// above returns the names of what refers to a path, all the way up.
func above(t *testing.T, tree layout.Tree, name string) map[string]bool {
	names := map[string]bool{}
	paths := map[layout.StorePath]bool{}
	for n := range treetest.Records(t, tree) {
		if n.Path.Name() == name {
			paths[n.Path] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for n := range treetest.Records(t, tree) {
			if !paths[n.Path] && slices.ContainsFunc(n.References, func(r layout.StorePath) bool { return paths[r] }) {
				paths[n.Path], names[n.Path.Name()], changed = true, true, true
			}
		}
	}
	return names
}

// TestDamage: whatever is wrong is put right or goes into the quarantine, and nothing
// else does. All bytes are still there.
func TestDamage(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := treetest.OpenDir(t, filepath.Join(t.TempDir(), "tree"))
			c := treetest.Populate(t, tree)
			hashes := map[string]string{}
			for _, p := range c.Paths {
				hashes[p.Info.Path.Name()] = string(layout.NarInfoKey(p.Info.Path))
			}
			var want []string
			for _, w := range damage(t, tree) {
				if key := hashes[w]; key != "" {
					w = key
				}
				want = append(want, w)
			}
			slices.Sort(want)
			out := run(t, tree, Options{})
			accepted(t, tree)
			var got []string
			for _, f := range out.Quarantined {
				got = append(got, string(f.Key))
				if _, err := tree.Stat(t.Context(), layout.QuarantineKey(f.Key, 0)); err != nil {
					t.Errorf("what was set aside is gone: %v", err)
				}
				why, err := layout.ReadAll(t.Context(), tree, layout.QuarantineReason(layout.QuarantineKey(f.Key, 0)))
				if err != nil || !strings.HasPrefix(string(why), f.Kind+" ") {
					t.Errorf("the reason is %q, %v", why, err)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("in the quarantine (-want +got):\n%s", diff)
			}
			if len(out.Unknown) > 0 {
				t.Errorf("not known: %q", out.Unknown)
			}
			records := 0
			for range treetest.Records(t, tree) { // all can be read
				records++
			}
			aside := slices.DeleteFunc(got, func(key string) bool { return !strings.HasSuffix(key, ".narinfo") })
			if lost := len(c.Paths) - records - len(aside); name == "a reference is missing" && lost != 1 || name != "a reference is missing" && lost != 0 {
				t.Errorf("%d paths, of which %d are there and %d set aside", len(c.Paths), records, len(aside))
			}
		})
	}
	if len(damages) < 20 {
		t.Errorf("%d kinds of damage", len(damages))
	}
}
